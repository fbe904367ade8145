"""Commands that need no running gateway, in this process where that is enough, else as real processes."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import psutil
import pytest
import tiny_gguf
from rich.text import Text
from typer.testing import CliRunner

from rolecast import __version__
from rolecast.cli import COMMANDS, app
from rolecast.config import paths, presets
from rolecast.processes.folder import file_name

ROOT = Path(__file__).parents[2]
GOOD = "models:\n  tiny: {backend: fake}\nroles: {standard: [tiny]}\n"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)


def invoke(*args: str, stdin: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(app, args, input=stdin, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def rolecast(*args: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "rolecast", *args]
    return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=60)


def write_state(pid: int, create_time: float) -> None:
    paths.state_file().parent.mkdir(parents=True)
    state = {"pid": pid, "create_time": create_time, "url": "http://127.0.0.1:9", "listeners": []}
    paths.state_file().write_text(json.dumps(state))


def test_the_version_is_one_line_and_help_names_every_command() -> None:
    assert invoke("--version") == (0, f"rolecast {__version__}\n", "")
    help_text = invoke("--help")[1]
    assert all(name in help_text for rows in COMMANDS.values() for name, _ in rows)


@pytest.mark.parametrize("name", [name for rows in COMMANDS.values() for name, _ in rows])
def test_every_command_explains_itself(name: str) -> None:
    code, out, _ = invoke(name, "--help")
    assert code == 0
    assert "Usage" in out


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, rolecast.cli\n"
        "heavy = {'httpx2', 'rich', 'uvicorn', 'starlette', 'ruamel', 'numpy', 'xllamacpp', 'psutil'}\n"
        "heavy |= {'prompt_toolkit', 'markdown_it'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_about_the_commands_is_what_they_say_themselves() -> None:
    argv = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "args",
    [
        ("down",),
        ("status",),
        ("ps",),
        ("logs",),
        ("load", "m"),
        ("ask", "hi"),
        ("chat",),
        ("bench",),
        ("unload", "m"),
    ],
)
def test_without_a_gateway_the_sentence_says_how_to_start_one(args: Sequence[str]) -> None:
    code, out, err = invoke(*args)
    assert (code, out) == (1, "")
    assert err.startswith("Error: No gateway is running.")
    assert "rolecast up" in err


def test_a_url_where_nothing_listens_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        code, _, err = invoke("status", "--url", url)
    assert code == 1
    assert f"Nothing answers on {url}." in err


def test_an_address_that_is_none_is_refused_in_words() -> None:
    code, _, err = invoke("status", "--url", "ftp://127.0.0.1")
    assert code == 1
    assert "is not an address" in err


def test_down_leaves_a_process_alone_that_only_has_the_same_pid() -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        write_state(bystander.pid, psutil.Process(bystander.pid).create_time() - 3600)
        code, _, err = invoke("down")
        assert code == 1
        assert f"the last one (pid {bystander.pid}) has ended" in err
        assert bystander.poll() is None
    finally:
        bystander.communicate(b"\n")


def test_a_broken_state_file_counts_as_no_gateway() -> None:
    paths.state_file().parent.mkdir(parents=True)
    paths.state_file().write_text("{")
    assert "No gateway is running" in invoke("status")[2]


def test_logs_of_a_gateway_that_has_ended_are_read_from_its_file() -> None:
    paths.log_file().parent.mkdir(parents=True)
    paths.log_file().write_text("one\ntwo\nthree\n")
    code, out, err = invoke("logs", "-n", "2")
    assert (code, out) == (0, "two\nthree\n")
    assert str(paths.log_file()) in err


def test_logs_of_a_gateway_that_has_ended_say_from_which_day_they_are() -> None:
    paths.log_file().parent.mkdir(parents=True)
    paths.log_file().write_text("12:00:00 INFO rolecast: stopping\n")
    os.utime(paths.log_file(), (1_700_000_000, 1_700_000_000))
    assert "last written on 2023-11-1" in invoke("logs")[2]


@pytest.mark.parametrize("asked", ["vendor/odd:name", "plain", ".hidden", "an-alias"])
def test_logs_of_each_model_are_found_without_a_gateway(tmp_path: Path, asked: str) -> None:
    (tmp_path / "rolecast.yaml").write_text(
        "models:\n  vendor/odd:name: {backend: fake, aliases: [an-alias]}\n  plain: {backend: fake}\n"
        "roles: {standard: [plain]}\n"
    )
    paths.worker_logs().mkdir(parents=True)
    model_id = "vendor/odd:name" if asked == "an-alias" else asked
    (paths.worker_logs() / f"{file_name(model_id)}.log").write_text("its last words\n")
    assert invoke("logs", asked)[:2] == (0, "its last words\n")


def test_logs_of_an_unknown_model_say_where_was_looked() -> None:
    code, _, err = invoke("logs", "nope")
    assert code == 1
    assert f"no log of 'nope' in {paths.worker_logs()}" in err


def test_logs_of_a_model_stay_inside_the_log_folder(tmp_path: Path) -> None:
    paths.worker_logs().mkdir(parents=True)
    (paths.worker_logs().parent / "secret.log").write_text("secret")
    assert invoke("logs", "../secret")[:2] == (1, "")


def test_check_accepts_a_good_file(tmp_path: Path) -> None:
    (tmp_path / "rolecast.yaml").write_text(GOOD)
    done = rolecast("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "rolecast.yaml is valid: 1 model, 1 role." in done.stdout


def test_check_names_each_problem_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("server:\n  prot: 1\nmodels: {a: {backend: fake, parallel: none}}\n")
    done = rolecast("check", "bad.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert "bad.yaml:2: server.prot: unknown setting" in done.stderr
    assert "bad.yaml:3: models.a.parallel" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_as_json_has_the_same_problems(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(f"server: {{prot: 1}}\n{GOOD}")
    code, out, _ = invoke("check", "bad.yaml", "--json")
    report = json.loads(out)
    assert (code, report["ok"], len(report["problems"])) == (1, False, 1)


def test_check_of_a_file_that_is_not_there_is_a_sentence() -> None:
    code, out, err = invoke("check", "absent.yaml")
    assert (code, out) == (1, "")
    assert "absent.yaml" in err


def test_the_schema_is_json_and_knows_the_sections() -> None:
    code, out, _ = invoke("check", "--schema")
    assert code == 0
    assert {"server", "models", "roles"} <= set(json.loads(out)["properties"])


@pytest.mark.parametrize("preset", presets.names())
def test_each_preset_can_be_written_and_checked(preset: str) -> None:
    assert rolecast("init", "--preset", preset).returncode == 0
    assert rolecast("check").returncode == 0


def test_init_overwrites_only_on_demand(tmp_path: Path) -> None:
    (tmp_path / "rolecast.yaml").write_text("mine: 1\n")
    code, _, err = invoke("init")
    assert code == 1
    assert "--force" in err
    assert (tmp_path / "rolecast.yaml").read_text() == "mine: 1\n"
    assert invoke("init", "--force")[0] == 0
    assert (tmp_path / "rolecast.yaml").read_text() == presets.text("default")


def test_init_of_an_unknown_preset_names_the_known_ones() -> None:
    code, _, err = invoke("init", "--preset", "nope")
    assert code == 1
    assert "bestbox" in err


def test_init_and_import_write_to_stdout_on_demand(tmp_path: Path) -> None:
    assert invoke("init", "-", "--preset", "pas") == (0, presets.text("pas"), "")
    (tmp_path / "models.yaml").write_text("model_list:\n  - {model_name: a, litellm_params: {model: openai/a}}\n")
    done = rolecast("import", "models.yaml", "--out", "-")
    assert done.stdout.startswith(("#", "server", "models"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models.yaml"]


def test_the_file_that_init_writes_shows_how_a_model_is_added(tmp_path: Path) -> None:
    lines = presets.text("default").splitlines()
    begin = next(at for at, line in enumerate(lines) if "Add a model like this" in line) + 1
    end = next(at for at, line in enumerate(lines) if at > begin and not line)
    lines[begin:end] = [line.replace("# ", "", 1) for line in lines[begin:end]]
    (tmp_path / "rolecast.yaml").write_text("\n".join(lines))
    done = rolecast("check", "--json")
    assert (done.returncode, json.loads(done.stdout)["problems"]) == (0, [])
    assert "qwen3-4b" in invoke("models")[1]


def test_import_writes_what_check_accepts_and_names_what_was_left_out(tmp_path: Path) -> None:
    (tmp_path / "litellm.yaml").write_text(
        "model_list:\n"
        "  - model_name: gpt\n"
        "    litellm_params: {model: openai/qwen, api_base: 'http://127.0.0.1:9/v1', api_key: os.environ/KEY}\n"
        "litellm_settings: {callbacks: [langfuse]}\n"
    )
    done = rolecast("import", "litellm.yaml", "--out", "rolecast.yaml")
    assert done.returncode == 0, done.stderr
    assert "note:" in done.stderr
    assert rolecast("check").returncode == 0
    again = rolecast("import", "litellm.yaml", "--out", "rolecast.yaml")
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    assert rolecast("import", "litellm.yaml").stdout == (tmp_path / "rolecast.yaml").read_text()
    assert rolecast("import", "litellm.yaml", "--out", "-").stdout == (tmp_path / "rolecast.yaml").read_text()
    assert not (tmp_path / "-").exists()


def test_import_of_an_unknown_format_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    code, out, err = invoke("import", "notes.txt")
    assert (code, out) == (1, "")
    assert "notes.txt" in err


def test_models_come_from_the_configuration_without_a_gateway(tmp_path: Path) -> None:
    (tmp_path / "w.gguf").write_bytes(b"GGUF" + bytes(96))
    (tmp_path / "rolecast.yaml").write_text(
        f"models:\n  here: {{source: 'file:{tmp_path}/w.gguf', aliases: [h]}}\n"
        "  gone: {source: 'file:/nowhere/x.gguf'}\nroles: {standard: [here, gone]}\n"
    )
    code, out, _ = invoke("models", "--json")
    here, gone = json.loads(out)
    assert code == 0
    assert (here["roles"], here["aliases"], here["present"], here["bytes"]) == (
        ["standard"],
        ["h"],
        True,
        100,
    )
    assert (gone["present"], gone["path"]) == (False, None)
    assert (here["absence"], gone["absence"][:26]) == (None, "there is no folder /nowher")
    assert "absent" in invoke("models")[1]


def test_models_with_weights_that_are_not_what_they_should_be_say_so(tmp_path: Path) -> None:
    for name in ("w.gguf", "x-00001-of-00002.gguf"):
        (tmp_path / name).write_bytes(b"GGUF" + bytes(96))
    (tmp_path / "rolecast.yaml").write_text(
        f"models:\n  other: {{source: 'file:{tmp_path}/w.gguf', sha256: '{'0' * 64}'}}\n"
        f"  half: {{source: 'file:{tmp_path}/x-00001-of-00002.gguf'}}\nroles: {{standard: [other, half]}}\n"
    )
    code, out, _ = invoke("models")
    assert code == 0
    assert "w.gguf has not the sha256 that is asked for" in out
    assert "half is absent: part 2 of 2 (x-00002-of-00002.gguf) is missing" in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "Name what to pull"),
        (("nope",), "neither a configured model"),
        (("x:y",), "is not a source of weights"),
    ],
)
def test_pull_says_what_can_be_pulled(args: Sequence[str], words: str) -> None:
    code, _, err = invoke("pull", *args)
    assert code == 1
    assert words in err


def test_rm_of_absent_weights_is_a_sentence() -> None:
    code, _, err = invoke("rm", "default")
    assert code == 1
    assert "nothing was removed" in err


def test_an_empty_question_is_not_asked() -> None:
    code, _, err = invoke("ask", stdin="  \n")
    assert code == 1
    assert "question is empty" in err


def test_config_and_preset_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "rolecast.yaml").write_text(GOOD)
    code, _, err = invoke("up", "--config", "rolecast.yaml", "--preset", "pas")
    assert code == 1
    assert "exclude each other" in err


@pytest.mark.parametrize(
    ("command", "text", "advice"),
    [
        (("import", "x.yaml"), "a: 1", "Correct the file, then import it again."),
        (("import", "x.yaml"), "[", "Correct the file, then import it again."),
        (("check", "x.yaml"), "[", "Correct the file, then run `rolecast check` on it."),
        (("up", "--config", "x.yaml"), "a: 1", "Correct the file, then run `rolecast check` on it."),
        (("import", "x.yaml"), None, "name a file that can be read"),
        (("check", "x.yaml"), None, "name a file that can be read"),
    ],
)
def test_what_to_do_with_a_file_that_is_wrong_depends_on_whose_it_is(
    tmp_path: Path, command: tuple[str, ...], text: str | None, advice: str
) -> None:
    if text is not None:
        (tmp_path / "x.yaml").write_text(text)
    code, _, err = invoke(*command)
    assert (code, err.strip().endswith(advice)) == (1, True), err


def test_up_with_a_bad_option_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    code, _, err = invoke("up", "--stand-in", "nope")
    assert code == 1
    assert err.startswith("Error: --stand-in: there is no model 'nope'")
    assert "Correct the file" not in err


ABSENT = "models: {big: {source: 'pypi:no-such-package-anywhere/x.gguf'}}\nroles: {standard: [big]}\n"


@pytest.mark.parametrize("how", ["--port", "ROLECAST_SERVER__PORT", "server.port", "server.listeners.0.port"])
@pytest.mark.parametrize("detached", [True, False])
def test_a_taken_port_is_said_before_any_download_with_what_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, detached: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = {"server.port": f"port: {port}", "server.listeners.0.port": f"port: 0, listeners: [{{port: {port}}}]"}
        (tmp_path / "rolecast.yaml").write_text(f"server: {{{server.get(how, 'port: 0')}}}\n{ABSENT}")
        if how.startswith("ROLECAST"):
            monkeypatch.setenv(how, str(port))
        options = ["--port", str(port)] if how == "--port" else []
        done = rolecast("up", *(["-d"] if detached else []), *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {how}: port {port} is taken by ")
    assert f"(pid {os.getpid()})" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("how", ["--host", "ROLECAST_SERVER__HOST", "rolecast.yaml"])
def test_an_open_address_without_keys_is_refused_by_the_name_of_what_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "rolecast.yaml":
        (tmp_path / "rolecast.yaml").write_text(f"server: {{host: 0.0.0.0}}\n{ABSENT}")
    if how.startswith("ROLECAST"):
        monkeypatch.setenv(how, "0.0.0.0")
    done = rolecast("up", *(["--host", "0.0.0.0"] if how == "--host" else []))
    assert done.returncode == 1
    assert f"{how}:" in done.stderr
    assert ("Correct the file" in done.stderr) == (how == "rolecast.yaml")


def test_an_address_of_another_machine_is_told_from_a_taken_port(tmp_path: Path) -> None:
    (tmp_path / "rolecast.yaml").write_text(f"server: {{port: 0, keys: [k]}}\n{ABSENT}")
    done = rolecast("up", "--host", "203.0.113.7")
    assert done.returncode == 1
    assert "cannot be opened" in done.stderr
    assert "download" not in done.stderr


def complete(line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What bash is offered at the end of a line."""
    words = line.split(" ")
    monkeypatch.setenv("_ROLECAST_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    done = rolecast()
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("rolecast pull ", ["tiny", "t1", "vendor/odd"]),
        ("rolecast load v", ["vendor/odd"]),
        ("rolecast up --stand-in t", ["tiny", "t1"]),
        ("rolecast ask -m ", ["auto", "standard", "brief", "tiny", "t1", "vendor/odd"]),
        ("rolecast up --preset p", ["pas"]),
        ("rolecast init --preset b", ["bestbox"]),
    ],
)
def test_tab_offers_names_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, offered: list[str]
) -> None:
    (tmp_path / "rolecast.yaml").write_text(
        "models: {tiny: {backend: fake, aliases: [t1]}, vendor/odd: {backend: fake}}\nroles: {standard: [tiny]}\n"
        "variants: {brief: {model: tiny}}\n"
    )
    assert complete(line, monkeypatch) == offered


def test_tab_after_a_mistake_in_the_configuration_offers_nothing_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rolecast.yaml").write_text("nope: 1\n")
    assert complete("rolecast load ", monkeypatch) == []


@pytest.mark.parametrize(
    ("reply", "level", "words"),
    [(None, "warn", "does not answer"), (200, "ok", "answers"), (401, "warn", "key"), (503, "warn", "503")],
)
def test_doctor_asks_each_remote(tmp_path: Path, reply: int | None, level: str, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "rolecast.yaml").write_text(
            f"server: {{port: 0}}\nmodels: {{far: {{backend: openai, url: 'http://127.0.0.1:{server.getsockname()[1]}/v1'}}}}\n"
            "roles: {standard: [far]}\n"
        )
        if reply is None:
            server.close()
        answering = threading.Thread(target=answer_once, args=(server, reply))
        answering.start()
        done = rolecast("doctor", "--json")
        answering.join()
    found = next(finding for finding in json.loads(done.stdout) if finding["check"] == "remote")
    assert (done.returncode, found["level"]) == (0, level)
    assert words in found["message"]


def test_doctor_does_not_call_the_missing_key_of_one_remote_a_hindrance(tmp_path: Path) -> None:
    (tmp_path / "rolecast.yaml").write_text(
        "server: {port: 0}\nmodels: {far: {backend: openai, url: 'http://127.0.0.1:9/v1', key: 'env:NOT_SET_HERE'}}\n"
        "roles: {standard: [far]}\n"
    )
    done = rolecast("doctor", "--json")
    found = [finding for finding in json.loads(done.stdout) if "NOT_SET_HERE" in finding["message"]]
    assert (done.returncode, [(each["check"], each["level"]) for each in found]) == (0, [("remote", "warn")])


def answer_once(server: socket.socket, status: int | None) -> None:
    if status is not None:
        with server.accept()[0] as client:
            client.recv(65536)
            client.sendall(f"HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\n{{}}".encode())


def test_doctor_finds_who_holds_a_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "rolecast.yaml").write_text(f"server: {{port: {port}}}\n{GOOD}")
        done = rolecast("doctor", "--json")
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert findings["ports"]["level"] == "fail"
    assert f"(pid {os.getpid()})" in findings["ports"]["message"]
    assert findings["engine"]["level"] == "ok"
    assert findings["sockets"]["level"] == "ok"


def test_doctor_is_content_with_a_machine_that_can_start(tmp_path: Path) -> None:
    (tmp_path / "rolecast.yaml").write_text(f"server: {{port: 0}}\n{GOOD}")
    done = rolecast("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "not running; `rolecast up` starts it" in done.stdout


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///FOLDER/broken.db", "it is no SQLite database; name another file"),
        ("postgresql://me:sesame@127.0.0.1:1/books", "postgresql://me@127.0.0.1:1/books: it cannot be reached"),
        ("env:NO_SUCH_VARIABLE", "the environment variable NO_SUCH_VARIABLE is not set"),
    ],
)
def test_doctor_names_a_database_that_cannot_be_opened(tmp_path: Path, url: str, words: str) -> None:
    (tmp_path / "broken.db").write_bytes(b"hello" * 1000)
    (tmp_path / "rolecast.yaml").write_text(
        f"models: {{a: {{backend: fake}}}}\nroles: {{standard: [a]}}\n"
        f"storage: {{url: '{url.replace('FOLDER', str(tmp_path))}'}}\n"
    )
    code, out, _ = invoke("doctor", "--config", str(tmp_path / "rolecast.yaml"), "--json")
    (found,) = [each for each in json.loads(out) if each["check"] == "database"]
    assert (code, found["level"]) == (1, "fail")
    assert words in found["message"]
    assert "sesame" not in out


def test_doctor_stops_at_a_bad_configuration_with_the_command_that_shows_it(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("nope: 1\n")
    code, out, _ = invoke("doctor", "--config", "bad.yaml")
    assert code == 1
    assert "rolecast check bad.yaml" in out


def test_doctor_warns_of_absent_weights_with_the_command_that_brings_them(tmp_path: Path) -> None:
    (tmp_path / "rolecast.yaml").write_text(
        "server: {port: 0}\nmodels: {big: {source: 'hf:owner/repo/big.gguf'}}\nroles: {standard: [big]}\n"
    )
    assert "rolecast pull big" in invoke("doctor")[1]


def test_doctor_judges_weights_as_check_does(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "good.gguf")
    (tmp_path / "cutoff.gguf").write_bytes((tmp_path / "good.gguf").read_bytes()[:200])
    (tmp_path / "webpage.gguf").write_text("<!doctype html><title>Sign in</title>")
    names = ("good", "cutoff", "webpage")
    models = ", ".join(f"{name}: {{source: 'file:{tmp_path}/{name}.gguf'}}" for name in names)
    (tmp_path / "rolecast.yaml").write_text(
        f"server: {{port: 0}}\nmodels: {{{models}}}\nroles: {{standard: [good, cutoff, webpage]}}\n"
    )
    code, out, _ = invoke("doctor", "--json")
    found = [(each["check"], each["level"], each["message"]) for each in json.loads(out)]
    assert (code, [message for check, level, message in found if check == "weights" and level == "ok"]) == (
        1,
        ["present: good"],
    )
    failed = [message for check, level, message in found if check == "weights" and level == "fail"]
    assert [message.partition(": ")[0] for message in failed] == ["cutoff", "webpage"]
    checked = invoke("check")[2]
    assert all(message.partition(": ")[2] in checked for message in failed), (failed, checked)
    assert not any("can run" in message and "cutoff" in message for *_, message in found)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("serve", "`rolecast up`"),
        ("run", "`rolecast chat"),
        ("list", "`rolecast models`"),
        ("stop", "`rolecast unload"),
    ],
)
def test_a_command_of_another_program_is_answered_with_ours(command: str, words: str) -> None:
    code, _, err = invoke(command, "llama3.2")
    assert code == 2
    assert f"There is no command '{command}' here: " in err
    assert words in err


def test_a_command_that_is_in_no_program_still_gets_the_nearest_one() -> None:
    code, _, err = invoke("statu")
    assert (code, "Did you mean 'status'?" in err) == (2, True)


@pytest.mark.parametrize("name", ["m", "n", "standard"])
def test_rm_by_any_name_of_a_model_does_not_call_it_another_one(tmp_path: Path, name: str) -> None:
    weights = tmp_path / "data" / "models" / "hf" / "o" / "r" / "main" / "x.gguf"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"GGUF" + bytes(96))
    (tmp_path / "rolecast.yaml").write_text(
        f"storage: {{models: '{tmp_path}/data/models'}}\n"
        "models: {m: {source: 'hf:o/r/x.gguf', aliases: [n]}}\nroles: {standard: [m]}\n"
    )
    code, out, err = invoke("rm", name)
    assert (code, err, weights.exists()) == (0, "", False)
    assert f"Removed the weights of {name}" in out


def test_rm_of_a_variant_deletes_no_weights(tmp_path: Path) -> None:
    weights = tmp_path / "data" / "models" / "hf" / "o" / "r" / "main" / "x.gguf"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"GGUF" + bytes(96))
    (tmp_path / "rolecast.yaml").write_text(
        f"storage: {{models: '{tmp_path}/data/models'}}\nmodels: {{m: {{source: 'hf:o/r/x.gguf'}}}}\n"
        "roles: {standard: [m]}\nvariants: {mario: {model: m, system: You are Mario.}}\n"
    )
    code, _, err = invoke("rm", "mario")
    assert (code, weights.exists()) == (1, True)
    assert "mario is a variant of m and has no weights of its own; it goes by taking it out of `variants:`" in err


def test_a_repository_without_its_scheme_is_answered_with_the_source_that_is_meant(tmp_path: Path) -> None:
    code, _, err = invoke("pull", "Qwen/Qwen3-4B-GGUF")
    assert code == 1
    assert "a source such as hf:Qwen/Qwen3-4B-GGUF;" in err


ABSENT = """\
models:
  pictures: {backend: openai, url: "http://127.0.0.1:9/v1"}
  big: {source: "hf:a/b/c.gguf"}
roles: {standard: [big]}
"""


def test_absent_weights_are_told_with_a_stand_in_that_can_stand_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rolecast import config as configuration
    from rolecast.cli.up import bring_weights

    (tmp_path / "c.yaml").write_text(ABSENT)
    bring_weights(configuration.load(tmp_path / "c.yaml", env={}), pull=False)
    said = " ".join(capsys.readouterr().err.split())
    assert "start with `--stand-in smollm2-135m`" in said
    assert "rolecast pull big" in said


def test_the_hint_at_a_pull_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "my models.yaml").write_text(ABSENT)
    assert "rolecast pull big --config 'my models.yaml'" in " ".join(
        invoke("models", "--config", "my models.yaml")[1].split()
    )
    (tmp_path / "rolecast.yaml").write_text(ABSENT)
    assert invoke("models")[1].rstrip().endswith("rolecast pull big")


def test_ports_without_a_model_are_told_by_what_they_are() -> None:
    from rolecast.cli.serve import SERVES, listeners_table
    from rolecast.config.schema import Service
    from rolecast.statefile import Address

    assert set(SERVES) == set(get_args(Service))
    rows = listeners_table([Address("registry", "http://127.0.0.1:1", surface="registry"), Address("x", "http://y")])
    assert list(rows.columns[2].cells) == [Text("the registry of services"), Text("every model")]


def test_the_models_of_a_provider_are_told_with_their_sizes_and_how_to_use_one() -> None:
    said = " ".join(CliRunner().invoke(app, ["providers", "openai"]).output.split())
    assert "remote_model: low is " in said
    assert "Use one in rolecast.yaml: models: {cloud: {provider: openai, remote_model: " in said
