"""What `check` knows of this machine: files, folders, variables, engines and memory, without starting anything."""

import json
import os
import struct
from pathlib import Path

import pytest
import tiny_gguf
from hf_server import gguf_file, text
from typer.testing import CliRunner

from rolecast import config, readiness
from rolecast.cli import app as cli
from rolecast.config.schema import Config, Memory, Model, Server, Storage


@pytest.fixture(autouse=True)
def a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ROLECAST_HOME", str(tmp_path / "home/rolecast"))


def said(**settings: object) -> list[str]:
    return readiness.warnings(Config(models={"m": Model(**settings)}))  # type: ignore[arg-type]


def put(path: Path, body: bytes) -> Path:
    path.write_bytes(body)
    return path


def number(key: str, value: int) -> tuple[str, int, bytes]:
    return key, 4, struct.pack("<I", value)


def header(*settings: tuple[str, int, bytes]) -> bytes:
    tensor = text("w") + struct.pack("<IQIQ", 1, 256, 0, 0)
    return gguf_file(*settings, tensors=tensor, count=1, data=bytes(1024))


def test_a_model_that_can_run_raises_no_doubt(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "tiny.gguf")
    assert said(source=f"file:{path}") == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!doctype html><html>Not found</html>" * 9, "it does not start with GGUF"),
        (b"", "too short"),
        (header()[:-100], "but the file has"),
        (header()[:60], "ends inside the header"),
        (header(("general.type", 8, text("adapter"))), "is an adapter"),
        (header(("general.architecture", 8, text("clip"))), "is a projector"),
        (gguf_file(), "a vocabulary without weights"),
        (header(("split.count", 2, struct.pack("<H", 3))), "is one of 3 parts; name them NAME-00001-of-00003.gguf"),
    ],
)
def test_a_file_that_no_engine_can_load_is_named(tmp_path: Path, body: bytes, words: str) -> None:
    (line,) = said(source=f"file:{put(tmp_path / 'x.gguf', body)}")
    assert line.startswith("models.m.source: ")
    assert words in line


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("file:{tmp}/none.gguf", "there is no file {tmp}/none.gguf; correct the path"),
        ("file:{tmp}", "holds no GGUF file"),
        ("file:~nobody-of-that-name/x.gguf", "there is no user 'nobody-of-that-name'"),
        ("hf:o/r", "run `rolecast pull hf:o/r`"),
        ("ollama:m", "run `ollama pull m`"),
    ],
)
def test_absent_weights_are_named_with_what_brings_them(tmp_path: Path, source: str, words: str) -> None:
    (line,) = said(source=source.format(tmp=tmp_path))
    assert line.startswith("models.m.source: ")
    assert words.format(tmp=tmp_path) in line
    assert readiness.warnings(Config(models={"m": Model(source=source.format(tmp=tmp_path))}), absent=False) == []


def test_a_hash_that_does_not_fit_is_named(tmp_path: Path) -> None:
    (line,) = said(source=f"file:{put(tmp_path / 'x.gguf', header())}", sha256="0" * 64)
    assert "has sha256" in line
    assert "expected 0000" in line


def test_a_context_beyond_the_training_is_told_with_both_numbers(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "x.gguf", context=8192)
    (line,) = said(source=f"file:{path}", context=40000)
    assert line.startswith("models.m.context: 40000 is more than the 8192 tokens")
    assert said(source=f"file:{path}", context=0) == []
    assert said(source=f"file:{path}", context=8192) == []


@pytest.mark.parametrize("settings", [{"context": 2_000_000}, {"context": 200_000, "parallel": 200}])
def test_a_context_that_no_memory_holds_is_told_with_its_size(tmp_path: Path, settings: dict[str, object]) -> None:
    deep = (
        number("llama.block_count", 200),
        number("llama.embedding_length", 1 << 16),
        number("llama.attention.head_count", 64),
        number("llama.context_length", 1 << 30),
    )
    path = put(tmp_path / "x.gguf", header(*deep))
    (line,) = said(source=f"file:{path}", gpu_layers=0, **settings)
    assert line.startswith("models.m.context: context times parallel is ")
    assert "TB" in line


@pytest.mark.parametrize(
    ("budget", "settings", "words"),
    [
        (
            "1GB",
            {"backend": "fake", "memory": "2GB"},
            "up to 2.0 GB, and all models together get 1.0 GB (memory.budget)",
        ),
        ("1GB", {"backend": "fake", "memory": "900MB"}, ""),
        ("1GB", {"backend": "fake"}, ""),
        ("1MB", {"prompt_cache": 0}, "MB, and all models together get 1.0 MB (memory.budget)"),
    ],
)
def test_a_model_that_the_budget_never_lets_in_is_told_before_it_is_asked(
    tmp_path: Path, budget: str, settings: dict[str, object], words: str
) -> None:
    source = {} if "backend" in settings else {"source": f"file:{tiny_gguf.write(tmp_path / 'x.gguf')}"}
    models = {"m": Model(**source, **settings)}  # type: ignore[arg-type]
    found = readiness.warnings(Config(models=models, memory=Memory(budget=budget)))
    assert [line.startswith("models.m.memory: it takes ") and words in line for line in found] == [True] * bool(words)


@pytest.mark.parametrize(
    ("pooling", "capabilities", "doubtful"),
    [(True, ["embeddings"], False), (False, ["chat"], False), (False, ["chat", "embeddings"], False)],
)
def test_what_a_model_is_for_fits_its_header(
    tmp_path: Path, pooling: bool, capabilities: list[str], doubtful: bool
) -> None:
    path = tiny_gguf.write(tmp_path / "x.gguf", pooled=pooling)
    assert bool(said(source=f"file:{path}", capabilities=capabilities)) is doubtful


@pytest.mark.parametrize(
    "settings", [(("general.architecture", 8, text("bert")),), (("llama.attention.causal", 7, b"\0"),)]
)
def test_an_embedding_model_that_shall_chat_is_told(tmp_path: Path, settings: tuple[tuple[str, int, bytes]]) -> None:
    path = put(tmp_path / "x.gguf", header(*settings))
    (line,) = said(source=f"file:{path}")
    assert line.startswith("models.m.capabilities: x.gguf makes embeddings and cannot write text")
    assert said(source=f"file:{path}", capabilities=["embeddings"]) == []


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({"backend": "fake", "script": "/none/script.yaml"}, "models.m.script: the script /none/script.yaml"),
        ({"backend": "fake", "script": "~nobody-of-that-name/s"}, "models.m.script: the script ~nobody"),
        ({"backend": "fake", "script": "/"}, "models.m.script: the script / is not a file"),
        ({"backend": "llamacpp", "binary": "/etc/passwd"}, "models.m.binary: /etc/passwd is not an executable"),
        ({"backend": "openai", "url": "http://h/v1", "key": "env:NOT_SET_ANYWHERE"}, "models.m.key: the environment"),
    ],
)
def test_what_a_model_needs_besides_weights_is_looked_for(settings: dict[str, object], start: str) -> None:
    (line,) = said(**settings)
    assert line.startswith(start)


def test_a_disabled_model_is_not_looked_at() -> None:
    assert said(source="file:/none.gguf", enabled=False) == []


def test_keys_of_the_server_are_looked_up() -> None:
    lines = readiness.warnings(Config(server=Server(keys=["plain", "env:NOT_SET_ANYWHERE"])))
    assert [line.partition(";")[0] for line in lines] == [
        "server.keys.1: the environment variable NOT_SET_ANYWHERE is not set"
    ]


def test_folders_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    put(tmp_path / "file", b"")
    models = readiness.warnings(Config(storage=Storage(models=f"{tmp_path}/file/below")))
    assert models == [f"storage.models: {tmp_path}/file is not a folder; name another place"]
    url = readiness.warnings(Config(storage=Storage(url=f"sqlite:///{tmp_path}/file/x.db")))
    assert url == [f"storage.url: {tmp_path}/file is not a folder; name another place"]
    nobody = readiness.warnings(Config(storage=Storage(models="~nobody-of-that-name/x")))
    assert nobody[0].startswith("storage.models: '~nobody-of-that-name/x': there is no user")
    assert readiness.warnings(Config(storage=Storage(models=f"{tmp_path}/new/deep"))) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_without_the_right_to_write_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    (line,) = readiness.warnings(Config(storage=Storage(models=str(closed))))
    assert "cannot be written by this user" in line


CAST = """\
models:
  m:
    source: file:/none/x.gguf
  r:
    backend: openai
    url: http://127.0.0.1:9/v1
    key: env:NOT_SET_ANYWHERE
roles:
  standard: [m, r]
"""


def test_check_says_all_of_it_with_file_and_line_and_still_calls_the_file_valid(tmp_path: Path) -> None:
    file = tmp_path / "cast.yaml"
    file.write_text(CAST)
    result = CliRunner().invoke(cli, ["check", str(file)], env={"COLUMNS": "400"})
    assert result.exit_code == 0
    assert f"{file}:3: models.m.source: there is no folder /none" in result.output
    assert f"{file}:7: models.r.key: the environment variable NOT_SET_ANYWHERE is not set" in result.output
    assert "is valid: 2 models, 1 role, 2 warnings" in result.output
    found = json.loads(CliRunner().invoke(cli, ["check", "--json", str(file)]).stdout)
    assert found["ok"] is True
    assert len(found["warnings"]) == 2


def test_a_late_problem_gets_the_line_or_variable_it_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "cast.yaml"
    file.write_text(CAST.replace("  r:", "  r.1:").replace("m, r]", "m, r.1]"))
    env = {"ROLECAST_SERVER__KEYS": "[env:K]"}
    assert config.located(
        ["models.r.1.key: a", "models.r.1: b", "models.m.parallel: c", "server.keys.0: d", "server.host: e", "else"],
        file,
        env,
    ) == [
        f"{file}:7: models.r.1.key: a",
        f"{file}:4: models.r.1: b",
        f"{file}:2: models.m.parallel: c",
        "ROLECAST_SERVER__KEYS: server.keys.0: d",
        "server.host: e",
        "else",
    ]
