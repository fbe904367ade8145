"""The commands on a real terminal, as a person sees them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hf_server import gguf_file
from live_gateway import LiveGateway, plain_environment
from terminal import ALT_ENTER, CTRL_C, PASTE, Terminal

pytestmark = pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")

CONFIG = """
server: {port: 0}
models:
  tiny: {backend: fake, pinned: true, script: SCRIPT, aliases: [t]}
  far: {backend: openai, url: "http://127.0.0.1:9/v1"}
roles: {standard: [tiny]}
"""
REPLIES = [
    {"match": "^html", "reply": "<div>\n<h1>Hi</h1>\n</div>\n\nWrite List<String> too."},
    {"match": "^steer", "reply": "a\x1b]0;owned\x07b\x1b[2Jc\u202ed\x9bm"},
    {"match": "^Slow", "reply": "Once **upon** a time " + "there was a fox " * 40, "token_delay": 0.05},
    {"match": "^Long", "reply": "there was a fox " * 40, "token_delay": 0.005},
    {"match": "^Capital", "reply": "Paris."},
    {"match": "^think", "reply": "<think>For ever and"},
    {"match": "\n", "reply": "You wrote several lines."},
    {"match": "", "reply": "Hello there."},
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("terminal")
    (folder / "script.json").write_text(json.dumps({"replies": REPLIES}))
    with LiveGateway(folder, CONFIG.replace("SCRIPT", str(folder / "script.json"))) as running:
        yield running


def on(gateway: LiveGateway, *args: str, columns: int = 80, rows: int = 40, **env: str) -> Terminal:
    return Terminal(*args, env={"ROLECAST_HOME": str(gateway.home)} | env, columns=columns, rows=rows)


def piped(gateway: LiveGateway, *args: str, stdin: bytes = b"", **env: str) -> "subprocess.CompletedProcess[bytes]":
    argv = [sys.executable, "-m", "rolecast", *args]
    return subprocess.run(argv, env=gateway.env | env, input=stdin, capture_output=True, check=False, timeout=60)


def test_a_chat_shows_html_as_the_model_wrote_it(gateway: LiveGateway) -> None:
    with on(gateway, "chat") as terminal:
        terminal.see("you>")
        terminal.type("html\r")
        seen = terminal.see("tokens/s")
        assert "<div>\n<h1>Hi</h1>\n</div>" in seen
        assert "Write List<String> too." in seen


def test_a_chat_with_a_misspelt_model_says_so_before_anything_is_typed(gateway: LiveGateway) -> None:
    with on(gateway, "chat", "nonne") as terminal:
        terminal.see("There is no model 'nonne' here")
        terminal.see("you>")


@pytest.mark.parametrize("command", ["chat", "ask"])
def test_no_answer_steers_the_terminal(gateway: LiveGateway, command: str) -> None:
    with on(gateway, command, *(["steer"] if command == "ask" else [])) as terminal:
        if command == "chat":
            terminal.see("you>")
            terminal.type("steer\r")
        terminal.see(r"a\x1b]0;owned\x07b\x1b[2Jc\u202ed\u009bm")
        assert terminal.title == ""


def test_a_pipe_gets_the_answer_as_it_is(gateway: LiveGateway) -> None:
    done = piped(gateway, "ask", "steer")
    assert done.stdout.decode() == "a\x1b]0;owned\x07b\x1b[2Jc\u202ed\x9bm\n"


def test_several_pasted_lines_are_one_message(gateway: LiveGateway) -> None:
    with on(gateway, "chat") as terminal:
        terminal.see("you>")
        terminal.type(PASTE.format("first\nsecond\n/help"))
        terminal.see("...> /help")
        terminal.type("\r")
        terminal.see("You wrote several lines.")
        terminal.see("you>", times=2)
        assert terminal.text.count("tokens/s") == 1


@pytest.mark.parametrize("new_line", [ALT_ENTER, "\\\r"])
def test_a_new_line_can_be_typed(gateway: LiveGateway, new_line: str) -> None:
    with on(gateway, "chat") as terminal:
        terminal.see("you>")
        terminal.type(f"first{new_line}")
        terminal.see("...>")
        terminal.type("second\r")
        terminal.see("You wrote several lines.")


def test_a_path_at_the_beginning_is_a_question_and_no_command(gateway: LiveGateway) -> None:
    with on(gateway, "chat") as terminal:
        terminal.see("you>")
        terminal.type("/etc/passwd is what?\r")
        terminal.see("Hello there.")


def test_tab_completes_commands_and_names(gateway: LiveGateway) -> None:
    with on(gateway, "chat") as terminal:
        terminal.see("you>")
        terminal.type("/sta\t")
        terminal.see("/stats")
        terminal.type("\r")
        terminal.see("Nothing has been answered yet.")
        terminal.type("/model stan\t")
        terminal.see("/model standard")
        terminal.type("\r")
        terminal.see("Talking to standard")


@pytest.mark.parametrize("columns", [80, 37])
def test_ctrl_c_stops_the_answer_and_leaves_each_word_once(gateway: LiveGateway, columns: int) -> None:
    with on(gateway, "chat", columns=columns) as terminal:
        terminal.see("you>")
        terminal.type("Slow\r")
        terminal.see("was a fox there")
        terminal.type(CTRL_C)
        seen = terminal.see("Stopped.")
        assert (seen.count("Once upon a time"), seen.count("^C")) == (1, 0)
        terminal.see("you>", times=2)
        terminal.type("Capital?\r")
        terminal.see("Paris.")
        terminal.see("you>", times=3)
        terminal.type("/exit\r")
        assert terminal.end() == 0
    history = gateway.home / "chat_history"
    assert "Slow" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_a_history_that_leads_elsewhere_leaves_that_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rolecast.cli import keyboard

    monkeypatch.setenv("ROLECAST_HOME", str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe").chmod(0o666)
    (tmp_path / "chat_history").symlink_to(tmp_path / "pipe")
    keyboard._history()
    assert (tmp_path / "pipe").stat().st_mode & 0o777 == 0o666


def test_an_answer_longer_than_the_screen_is_shown_where_it_grows(gateway: LiveGateway) -> None:
    with on(gateway, "chat", columns=24, rows=8) as terminal:
        terminal.see("you>")
        terminal.type("Long\r")
        terminal.see("tokens/s")
        assert terminal.text.split("tokens/s")[0].count("fox") == 40


def test_ctrl_c_ends_ask_with_the_code_of_shells(gateway: LiveGateway) -> None:
    with on(gateway, "ask", "Slow") as terminal:
        terminal.see("fox")
        terminal.type(CTRL_C)
        assert terminal.end() == 130
        assert "Traceback" not in terminal.text


def test_ask_says_when_a_model_only_thought(gateway: LiveGateway) -> None:
    done = piped(gateway, "ask", "think")
    assert (done.returncode, done.stdout.strip()) == (0, b"")
    assert b"--max-tokens" in done.stderr


@pytest.mark.parametrize("columns", [80, 44])
def test_tables_fit_the_screen_and_cut_nothing(gateway: LiveGateway, columns: int) -> None:
    with on(gateway, "status", columns=columns) as terminal:
        assert terminal.end() == 0
        for word in ("tiny", "standard", "ready", "remote", "http://127.0.0.1:9", "every model"):
            assert word in terminal.text
        assert "…" not in terminal.text


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colours_a_chat_has_none(gateway: LiveGateway, env: dict[str, str]) -> None:
    with on(gateway, "chat", **env) as terminal:
        terminal.see("you>")
        terminal.type("Capital?\r")
        terminal.see("Paris.")


def test_in_another_character_set_everything_runs_and_is_readable(gateway: LiveGateway) -> None:
    env = {"PYTHONIOENCODING": "latin-1:strict", "PYTHONUTF8": "0"}
    done = piped(gateway, "status", **env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"* Rolecast")
    done = piped(gateway, "doctor", "--config", str(gateway.config), **env)
    assert b"+ python" in done.stdout
    done = piped(gateway, "ask", "--json", "steer", **env)
    assert json.loads(done.stdout.decode("latin-1"))["choices"][0]["message"]["content"].startswith("a\x1b")


def test_a_gateway_starts_in_another_character_set(tmp_path: Path) -> None:
    config = "server: {port: 0}\nmodels: {tiny: {backend: fake}}\nroles: {standard: [tiny]}\n"
    with LiveGateway(tmp_path, config, PYTHONIOENCODING="ascii:strict", PYTHONUTF8="0") as running:
        assert running.get("/health").status == 200
        assert "* Rolecast" in running.log()


SLOW_ENGINE = "#!/bin/sh\nexec sleep 600\n"


@pytest.fixture
def loading(tmp_path: Path) -> Path:
    """A configuration whose pinned model is never ready."""
    engine = tmp_path / "llama-server"
    engine.write_text(SLOW_ENGINE)
    engine.chmod(0o755)
    (tmp_path / "w.gguf").write_bytes(gguf_file())
    (tmp_path / "rolecast.yaml").write_text(
        f"server: {{port: 0}}\nmodels: {{slow: {{source: 'file:{tmp_path}/w.gguf', binary: {engine}, pinned: true}}}}\n"
        "roles: {standard: [slow]}\n"
    )
    return tmp_path


def test_ctrl_c_while_a_detached_gateway_loads_says_that_it_goes_on(loading: Path) -> None:
    env = {"ROLECAST_HOME": str(loading / "data")}
    try:
        with Terminal("up", "-d", "--config", str(loading / "rolecast.yaml"), env=env) as terminal:
            terminal.see("Loading slow")
            assert re.search(r"\d:\d\d:\d\d", terminal.text), "the seconds are counted"
            terminal.type(CTRL_C)
            seen = terminal.see("rolecast down")
            assert "keeps running" in seen
            assert terminal.end() == 130
        state = json.loads((loading / "data" / "run" / "gateway.json").read_bytes())
        os.kill(state["pid"], 0)
    finally:
        argv = [sys.executable, "-m", "rolecast", "down", "--timeout", "60"]
        done = subprocess.run(argv, env=plain_environment() | env, capture_output=True, check=False, timeout=90)
    assert done.returncode == 0
