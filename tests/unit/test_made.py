"""The variants that clients made, on disk: whole or not there, whoever dies or writes beside them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from rolecast.cli import app
from rolecast.config import read, variants
from rolecast.config.made import MOST, MadeVariants
from rolecast.config.variants import Made
from rolecast.errors import ConfigError, Conflict, TooLarge

CONFIG = "models: {m: {backend: fake}, off: {backend: fake, enabled: false}}\nroles: {standard: [m]}\n"
MADE = Made(model="m", system="You are Mario.", made_at=7.0)


@pytest.fixture
def made(tmp_path: Path) -> MadeVariants:
    return MadeVariants(tmp_path / "variants")


def test_what_is_kept_is_read_again_by_another_gateway(made: MadeVariants, tmp_path: Path) -> None:
    made.keep("a/b:7b", MADE)
    other = MadeVariants(tmp_path / "variants")
    assert other.read() == {"a/b:7b": MADE}
    assert other.forget("a/b:7b")
    assert (made.read(), made.forget("a/b:7b")) == ({}, False)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a" * 5000, "\u00fc\U0001f344", "a\nb", "CON", "."])
def test_no_name_becomes_a_path(made: MadeVariants, tmp_path: Path, name: str) -> None:
    made.keep(name, MADE)
    assert made.read() == ({} if not name.isascii() or "\n" in name else {name: MADE})
    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "variants"]


def test_the_files_are_their_owners_alone(made: MadeVariants, tmp_path: Path) -> None:
    made.keep("x", MADE)
    (file,) = (tmp_path / "variants").iterdir()
    assert [path.stat().st_mode & 0o777 for path in (file, file.parent)] == [0o600, 0o700]


WRITER = """
import itertools, pathlib, sys
from rolecast.config.made import MadeVariants
from rolecast.config.variants import Made
made = MadeVariants(pathlib.Path(sys.argv[1]))
print("begun", flush=True)
for i in itertools.count():
    made.keep("x", Made(model="m", system=str(i) * 50_000))
"""


def test_a_writer_that_is_killed_leaves_the_old_one_or_the_new_one(made: MadeVariants, tmp_path: Path) -> None:
    made.keep("x", MADE)
    for _ in range(10):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "variants")], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        before = made.read()["x"]
        while made.read()["x"] == before:
            pass
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        text = made.read()["x"].system
        assert text == text[: len(text) // 50_000] * 50_000
    parts = list((tmp_path / "variants").glob("*.part"))
    for part in parts:
        os.utime(part, (time.time() - 7200,) * 2)
    made.read()
    assert not list((tmp_path / "variants").glob("*.part"))


def test_several_writers_of_one_name_leave_one_of_theirs(made: MadeVariants, tmp_path: Path) -> None:
    def write(letter: str) -> None:
        for _ in range(20):
            MadeVariants(tmp_path / "variants").keep("x", Made(model="m", system=letter * 20_000))

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = made.read()["x"].system
    assert text == text[0] * 20_000


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"null", b'{"name":"y","variant":{"model":"m"}}', b"x" * 2_000_000],
)
def test_a_file_that_cannot_be_read_is_told_and_stays(
    made: MadeVariants, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    made.keep("good", MADE)
    bad = tmp_path / "variants" / ("0" * 32 + ".json")
    bad.write_bytes(content)
    for _ in range(2):
        assert list(made.join(read(CONFIG)).variants) == ["good"]
    assert [record.getMessage().startswith(f"{bad} is no variant") for record in caplog.records] == [True]
    assert bad.read_bytes() == content


def test_a_folder_in_place_of_a_file_is_told(made: MadeVariants, tmp_path: Path) -> None:
    made.keep("good", MADE)
    (tmp_path / "variants" / "x.json").mkdir()
    assert list(made.read()) == ["good"]


def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(made: MadeVariants, tmp_path: Path) -> None:
    made.keep("good", MADE)
    pipe = tmp_path / "variants" / f"{'0' * 32}.json"
    os.mkfifo(pipe)
    found: list[list[str]] = []
    reading = threading.Thread(target=lambda: found.append(list(made.read())), daemon=True)
    reading.start()
    reading.join(20)  # only bounds how long a failure takes to show
    assert found == [["good"]]
    assert pipe.exists()


def test_what_is_too_long_or_too_many_is_refused(made: MadeVariants, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLarge, match="shorter"):
        made.keep("x", Made(model="m", system="x" * variants.MOST_BYTES))
    monkeypatch.setattr("rolecast.config.made.MOST", 2)
    made.keep("a", MADE)
    made.keep("b", MADE)
    with pytest.raises(Conflict, match="delete one"):
        made.keep("c", MADE)
    monkeypatch.setattr("rolecast.config.made.MOST_TOTAL_BYTES", 3000)
    with pytest.raises(Conflict, match="delete one"):
        made.keep("b", Made(model="m", system="x" * 2900))
    made.keep("b", MADE)  # one that is there already
    assert MOST > 100


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Conflict, match="cannot be written"):
        MadeVariants(tmp_path / "file" / "variants").keep("x", MADE)


def test_a_configured_name_wins_and_a_made_one_waits(made: MadeVariants) -> None:
    made.keep("m", MADE)
    made.keep("mario", MADE)
    made.keep("orphan", msgspec.structs.replace(MADE, model="gone"))
    made.keep("dark", msgspec.structs.replace(MADE, model="off"))
    joined = made.join(read(CONFIG + "variants: {mario: {model: m, system: configured}}"))
    assert joined.variants["mario"].system == "configured"
    assert set(variants.unusable(joined)) == {"m", "orphan", "dark"}
    assert variants.all_defaults(joined)["mario"].system == "configured"
    assert made.join(joined) == joined


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: {model: b}\n  b: {model: a}", ["4: variants.a.model: a -> b -> a goes round", "5: variants.b.model"]),
        ("a: {model: a}", ["4: variants.a.model: a -> a goes round in a circle"]),
        ("a: {model: nope}", ["4: variants.a.model: there is no model 'nope'"]),
        ("a: {model: off}", ["4: variants.a.model: model 'off' is disabled"]),
        ("m: {model: standard}", ["4: variants.m: the name 'm' is already taken by the model 'm'"]),
        ("standard: {model: m}", ["already taken by the role 'standard'"]),
        ("auto: {model: m}", ["'auto' is reserved"]),
        ("a: {}", ["4: variants.a: 'model' is missing"]),
        ("a: {model: m, sytem: x}", ["4: variants.a.sytem: unknown setting; did you mean 'system'?"]),
        ("a: {model: m, parameters: {temperature: -1}}", ["4: variants.a.parameters.temperature"]),
        ("a:\n    model: m\n    messages: [{role: x, content: y}]", ["6: variants.a.messages.0.role"]),
        (f"a: {{model: m, system: {'x' * 1_100_000}}}", ["4: variants.a: is longer than 1048576 bytes"]),
    ],
)
def test_a_wrong_variant_is_told_with_its_line(text: str, told: list[str]) -> None:
    with pytest.raises(ConfigError) as wrong:
        read(f"{CONFIG}variants:\n  {text}\n")
    assert len(wrong.value.problems) == len(told)
    for problem, words in zip(wrong.value.problems, told, strict=True):
        assert words in problem


def test_a_role_cannot_hold_a_variant(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it is a variant, which cannot stand here; name what it is made of, 'm'"):
        read("models: {m: {backend: fake}}\nroles: {standard: [v]}\nvariants: {v: {model: m}}\n")


def test_the_command_lists_variants_and_why_one_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLECAST_HOME", str(tmp_path))
    made = MadeVariants(tmp_path / "variants")
    made.keep("luigi", MADE)
    made.keep("orphan", msgspec.structs.replace(MADE, model="gone"))
    file = tmp_path / "rolecast.yaml"
    file.write_text(CONFIG + "variants: {mario: {model: m, description: A plumber.}}\n")
    listed = {
        one["id"]: one for one in json.loads(CliRunner().invoke(app, ["models", "-c", str(file), "--json"]).stdout)
    }
    assert (listed["mario"]["variant_of"], listed["mario"]["made"]) == ("m", False)
    assert (listed["luigi"]["made"], listed["luigi"]["unusable"]) == (True, None)
    assert "'gone'" in listed["orphan"]["unusable"]
    shown = CliRunner().invoke(app, ["models", "-c", str(file)]).stdout
    assert "A plumber." in shown
    assert "cannot be used" in shown
