"""The commands against a real gateway in the background, whose models are scripted."""

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from live_gateway import LiveGateway, Stream, until
from typer.testing import CliRunner

from rolecast.cli import app
from rolecast.cli.gateway import listens_at
from rolecast.statefile import State

CONFIG = """
server: {port: 0}
models:
  tiny: {backend: fake, pinned: true, parallel: 2, aliases: [t], script: SCRIPT}
  spare: {backend: fake}
  big: {source: "hf:owner/repo/big.gguf"}
roles: {standard: [tiny], coding: [big]}
variants: {paris: {model: tiny, system: You are in Paris.}}
"""
SCRIPT = """
replies:
  - {match: "^Capital", reply: "Paris is the capital."}
  - {match: "^Fail", status: 500}
  - {match: "^Slow", reply: "Once **upon** a time there was a fox who ran for a long while", token_delay: 0.2}
  - {match: "", reply: "Hello there."}
"""
OLD_LOG = b"a line of long ago\n" * 600_000


class Running:
    """A detached gateway in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "rolecast.yaml"
        self.config.write_text(CONFIG.replace("SCRIPT", str(folder / "script.yaml")))
        (folder / "script.yaml").write_text(SCRIPT)
        self.log = folder / "data" / "logs" / "gateway.log"
        self.env = {"ROLECAST_HOME": str(folder / "data"), "COLUMNS": "200"}

    def process(self, *args: str) -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, "-m", "rolecast", *args]
        env = {**os.environ, **self.env}
        return subprocess.run(
            argv, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=90
        )

    def invoke(self, *args: str, stdin: str = "") -> tuple[int, str, str]:
        result = CliRunner(env=self.env).invoke(app, args, input=stdin, catch_exceptions=False)
        return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("gateway"))
    running.log.parent.mkdir(parents=True)
    running.log.write_bytes(OLD_LOG)
    started = running.process("up", "--detach", "--config", str(running.config))
    assert started.returncode == 0, started.stderr
    assert "curl http://127.0.0.1:" in started.stdout
    assert "rolecast pull big" in started.stderr
    yield running
    stopped = running.process("down", "--json")
    assert (stopped.returncode, json.loads(stopped.stdout)["stopped"]) == (0, True)


def test_up_detached_returns_when_pinned_models_are_ready(gateway: Running) -> None:
    code, out, _ = gateway.invoke("status", "--json")
    states = {model["id"]: model["state"] for model in json.loads(out)["models"]}
    assert (code, states["tiny"]) == (0, "ready")


def test_the_gateway_tells_who_would_answer_and_a_wrong_name_is_one_sentence(gateway: Running) -> None:
    code, out, err = gateway.invoke("route", "Write a function in Python that adds two numbers.", "--json")
    told = json.loads(out)
    assert (code, err, told["model"]) == (0, "", "tiny"), "the coder's weights are not here"
    assert told["reason"].startswith("looks like code_generation, so coding, ")
    code, out, err = gateway.invoke("route", "hello", "Write a function in Python.", "--model", "coding")
    assert (code, out.count("asked for role coding"), err) == (0, 2, "")
    code, out, err = gateway.invoke("route", "hello", "--model", "nobody")
    assert (code, out) == (1, "")
    assert "'nobody' does not exist here" in err


def test_what_the_gateway_decided_can_be_replayed_while_it_runs(gateway: Running) -> None:
    assert gateway.invoke("ask", "What is the capital of France?")[0] == 0
    replay = ("route", "--backtest", "ledger", "--json")
    until(lambda: gateway.invoke(*replay)[0] == 0, "its row")  # rows are written in batches
    _, out, _ = gateway.invoke(*replay)
    (report,) = json.loads(out)["configurations"]
    assert report["requests"] >= 1
    assert report["agreement"]["was_model"]["share"] == 1.0


def test_what_somebody_thinks_of_an_answer_is_kept_and_shown(gateway: Running) -> None:
    asked = json.loads(gateway.invoke("ask", "Capital of France?", "--json")[1])
    assert asked["choices"]
    with closing(sqlite3.connect(gateway.config.parent / "data" / "rolecast.db")) as books:
        until(lambda: books.execute("SELECT count(*) FROM ledger").fetchone()[0], "a row is written")
        (name,) = books.execute("SELECT id FROM ledger ORDER BY number DESC LIMIT 1").fetchone()
    label = ("--label", "role=coding", "--comment", "should be code")
    assert gateway.invoke("feedback", name, "down", *label)[0] == 0
    code, out, _ = gateway.invoke("feedback")
    assert code == 0
    for words in ("0 up, 1 down, 0 % on average", name, "role coding", "should be code"):
        assert words in out
    assert json.loads(gateway.invoke("feedback", name, "0.75", "--json")[1])["feedback"]["rating"] == 0.75
    assert json.loads(gateway.invoke("feedback", "--json")[1])["summary"]["count"] == 1
    code, _, err = gateway.invoke("feedback", name, "sideways")
    assert code == 1
    assert "`up` or 1" in err
    for number in ("nan", "inf", "1e999"):
        code, _, err = gateway.invoke("feedback", name, number)
        assert (code, "`up` or 1" in err) == (1, True), number
    for words in (("feedback", name, "--comment", "half \udcff"), ("route", "half \udcff")):
        code, _, err = gateway.invoke(*words)
        assert (code, "half a character" in err) == (1, True), err
    assert "write it as role=coding" in gateway.invoke("feedback", name, "--label", "coding")[2]
    assert "There is no request" in gateway.invoke("feedback", "req_0000000000000001", "up")[2]


def test_a_second_up_with_the_same_file_is_no_mistake(gateway: Running) -> None:
    code, out, _ = gateway.invoke("up", "-d", "--config", str(gateway.config))
    assert code == 0
    assert "already runs on http://127.0.0.1:" in out


def test_a_second_up_with_another_configuration_is_refused(gateway: Running) -> None:
    code, _, err = gateway.invoke("up", "--preset", "pas")
    assert code == 1
    assert "rolecast down" in err


@pytest.mark.parametrize("asked", [("--port", "1"), ("--host", "127.9.9.9"), ("--host", "::1"), ("--stand-in", "tiny")])
def test_a_second_up_with_an_option_that_the_first_does_not_have_is_refused(
    gateway: Running, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, str]
) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    url = json.loads(gateway.invoke("status", "--json")[1])["listeners"][0]["url"]
    code, out, err = gateway.invoke("up", "-d", "--config", str(gateway.config), *asked)
    assert (code, out) == (1, "")
    for words in (str(gateway.config), url, f"you asked for {' '.join(asked)}.", "rolecast down"):
        assert words in err


def test_all_that_differs_is_named_at_once(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    err = gateway.invoke("up", "--preset", "pas", "--port", "1", "--host", "::1")[2]
    assert "you asked for preset pas and --host ::1 and --port 1." in err


def test_a_second_up_with_options_that_the_first_has_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    running = Running(tmp_path)
    up = ("up", "-d", "--config", str(running.config))
    assert running.process(*up, "--stand-in", "tiny").returncode == 0
    try:
        port = json.loads(running.invoke("status", "--json")[1])["listeners"][0]["url"].rpartition(":")[2]
        for asked in ((), ("--port", port), ("--port", "0"), ("--host", "localhost"), ("--stand-in", "tiny")):
            code, out, _ = running.invoke(*up, *asked)
            assert (code, "already runs on" in out) == (0, True), asked
        code, _, err = running.invoke(*up, "--stand-in", "spare")
        assert (code, "you asked for --stand-in spare." in err) == (1, True)
    finally:
        running.process("down")


def test_a_gateway_that_listens_everywhere_is_told_from_one_on_loopback() -> None:
    argv = [sys.executable, "-c", "import socket; s = socket.create_server(('0.0.0.0', 0)); print(flush=True); input()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        state = State(process.pid, 0.0, "http://127.0.0.1:9")
        assert process.stdout is not None
        process.stdout.readline()
        assert listens_at(state, "0.0.0.0")
        assert not listens_at(state, "127.0.0.1")
        process.communicate("\n")
    assert listens_at(state, "127.0.0.1")  # nothing left to ask, so its URL decides


BROKEN = """
server: {port: 0, keys: [KEYS]}
models:
  good: {backend: fake, pinned: true}
  broken: {backend: fake, pinned: true, script: BAD}
roles: {standard: [good]}
"""


@pytest.mark.parametrize("keys", ["", "sk-plain", "env:ITS_KEY"])
def test_a_detached_start_whose_pinned_model_fails_says_which_and_why(tmp_path: Path, keys: str) -> None:
    running = Running(tmp_path)
    running.env["ITS_KEY"] = "sk-from-env"
    (tmp_path / "bad.yaml").write_text("replies: 7\n")
    running.config.write_text(BROKEN.replace("KEYS", keys).replace("BAD", str(tmp_path / "bad.yaml")))
    done = running.process("up", "-d", "--config", str(running.config))
    try:
        assert done.returncode == 3, done.stderr
        assert "is up" in done.stdout
        assert re.search(r"^good +- +ready|^good +standard +ready", done.stdout, re.MULTILINE)
        assert "broken could not be loaded: " in done.stderr
        assert "cannot load the script" in done.stderr
    finally:
        running.process("down")


def test_a_detached_start_without_the_weights_of_a_pinned_model_is_no_success(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.config.write_text(
        "server: {port: 0}\nmodels:\n  near: {backend: fake}\n  theirs: {source: 'ollama:none', pinned: true}\n"
        "  far: {source: 'file:/nowhere/x.gguf'}\nroles: {standard: [near]}\n"
    )
    done = running.process("up", "-d", "--config", str(running.config))
    try:
        assert done.returncode == 3, done.stderr
        assert "Bring them with `ollama pull none`" in done.stderr
        assert "theirs could not be loaded: its weights are not here." in done.stderr
        asked = running.process("ask", "--model", "theirs", "hello")
        assert "not here; run `ollama pull none`." in asked.stderr
    finally:
        running.process("down")


def test_with_keys_that_only_clients_know_no_states_are_invented(tmp_path: Path) -> None:
    running = Running(tmp_path)
    text = f"server: {{port: 0, keys: ['sha256:{'a' * 64}']}}\nmodels: {{good: {{backend: fake}}}}\n"
    running.config.write_text(text + "roles: {standard: [good]}\n")
    done = running.process("up", "-d", "--config", str(running.config))
    try:
        assert done.returncode == 0
        assert "State" not in done.stdout
    finally:
        running.process("down")


def test_doctor_is_content_with_a_gateway_that_was_given_another_port(tmp_path: Path) -> None:
    running = Running(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = (
            f"server: {{port: {taken.getsockname()[1]}}}\nmodels: {{a: {{backend: fake}}}}\nroles: {{standard: [a]}}\n"
        )
        running.config.write_text(config)
        assert running.process("up", "-d", "--config", str(running.config), "--port", "0").returncode == 0
        try:
            done = running.process("doctor", "--config", str(running.config), "--json")
        finally:
            running.process("down")
    levels = [finding["level"] for finding in json.loads(done.stdout) if finding["check"] == "ports"]
    assert (done.returncode, levels) == (0, ["ok", "warn"])


def test_reload_after_the_automatic_one_says_what_that_one_changed(gateway: Running) -> None:
    before = gateway.config.read_text()
    try:
        gateway.config.write_text(before.replace("aliases: [t]", "aliases: [t, other-name]"))
        until(lambda: "other-name" in gateway.invoke("status", "--json")[1], "the edit applied by itself")
        assert gateway.invoke("reload")[:2] == (0, "Changed: models.tiny.aliases.\n")
        assert "Nothing" in gateway.invoke("reload")[1]
    finally:
        gateway.config.write_text(before)
        until(lambda: "other-name" not in gateway.invoke("status", "--json")[1], "the edit was taken back")


def test_why_a_model_failed_stands_below_the_table_that_it_would_stretch(tmp_path: Path) -> None:
    running = Running(tmp_path)
    (tmp_path / "bad.yaml").write_text("replies: 7\n")
    running.config.write_text(BROKEN.replace("KEYS", "").replace("BAD", str(tmp_path / "bad.yaml")))
    running.process("up", "-d", "--config", str(running.config))
    try:
        for command in ("status", "ps"):
            out = running.invoke(command)[1]
            assert max(len(line) for line in out.splitlines() if line.startswith(("good", "Model"))) < 80
            assert re.search(r"^broken: .*cannot load the script", out, re.MULTILINE)
    finally:
        running.process("down")


def test_a_log_that_is_full_is_put_aside_before_the_start(gateway: Running) -> None:
    assert gateway.log.with_name("gateway.log.1").read_bytes() == OLD_LOG
    assert 0 < gateway.log.stat().st_size < len(OLD_LOG)


def test_status_shows_models_roles_and_addresses(gateway: Running) -> None:
    code, out, _ = gateway.invoke("status")
    assert code == 0
    for words in ("tiny", "standard", "ready", "front door", "every model", str(gateway.config)):
        assert words in out


def test_status_says_all_that_is_wrong_and_each_thing_once(tmp_path: Path) -> None:
    """Also what belongs to no model, which /health sends people here for."""
    config = """
server: {port: 0, keys: [sk-key]}
models:
  m: {backend: fake}
  here: {source: "file:nothing.gguf", pinned: true}
roles: {standard: [m]}
"""
    with LiveGateway(tmp_path, config, key="sk-key") as gateway:
        env = {"ROLECAST_HOME": str(gateway.home), "ROLECAST_API_KEY": "sk-key", "COLUMNS": "300"}

        def status() -> str:
            return CliRunner(env=env).invoke(app, ["status"], catch_exceptions=False).stdout

        assert status().count("here does not run") == 1
        with closing(sqlite3.connect(gateway.home / "rolecast.db")) as books:
            books.execute("ALTER TABLE requests RENAME TO elsewhere")
            gateway.post("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]})
            until(lambda: "Problem: the ledger cannot be written" in status(), "the ledger's trouble is told")
            assert "`rolecast status`" in gateway.get("/health").json["problems"][0]


STOPPED_SLOWLY = """
server: {port: 0, drain_timeout: 5m}
models: {m: {backend: fake, script: SCRIPT}}
roles: {standard: [m]}
"""


def test_a_gateway_that_stops_is_waited_for_and_a_second_down_cuts_nobody_off(tmp_path: Path) -> None:
    running = Running(tmp_path)
    (tmp_path / "script.yaml").write_text(f"replies: [{{match: ^slow, reply: '{'a ' * 600}', token_delay: 0.3}}]\n")
    running.config.write_text(STOPPED_SLOWLY.replace("SCRIPT", str(tmp_path / "script.yaml")))
    running.process("up", "-d", "--config", str(running.config))
    try:
        url = json.loads(running.invoke("status", "--json")[1])["listeners"][0]["url"]
        body = {"model": "m", "messages": [{"role": "user", "content": "slow"}], "stream": True}
        with Stream(url, "/v1/chat/completions", body) as stream:
            assert stream.event()
            for _ in range(3):
                assert "still finishes requests" in running.process("down", "--timeout", "0.1").stderr
            assert "is stopping, and ends the requests" in running.invoke("ps")[2]
    finally:  # the client has left
        assert running.process("down").returncode in (0, 1)


def test_ps_lists_only_what_runs(gateway: Running) -> None:
    gateway.invoke("unload", "spare")
    code, out, _ = gateway.invoke("ps")
    assert code == 0
    assert "0/2" in out
    assert "spare" not in out


def test_load_and_unload_wait_until_it_is_done(gateway: Running) -> None:
    assert gateway.invoke("load", "spare")[1] == "spare is ready.\n"
    assert [worker["id"] for worker in json.loads(gateway.invoke("ps", "--json")[1])] == ["tiny", "spare"]
    assert json.loads(gateway.invoke("unload", "spare", "--json")[1]) == {"model": "spare", "state": "cold"}


def test_a_model_is_pinned_let_go_renewed_and_unloaded_by_its_commands(gateway: Running) -> None:
    assert gateway.invoke("pin", "spare")[1] == "spare is ready and stays.\n"
    (row,) = [line for line in gateway.invoke("ps")[1].splitlines() if line.startswith("spare")]
    assert row.rstrip().endswith("pinned")
    before = {one["id"]: one["pid"] for one in json.loads(gateway.invoke("ps", "--json")[1])}
    assert gateway.invoke("load", "spare", "--fresh")[1] == "spare is ready.\n"
    after = {one["id"]: one["pid"] for one in json.loads(gateway.invoke("ps", "--json")[1])}
    assert (before["tiny"], before["spare"] != after["spare"]) == (after["tiny"], True)
    assert gateway.invoke("unpin", "spare")[1] == "spare is ready and leaves when it is idle.\n"
    assert gateway.invoke("unload", "spare", "--now")[1] == "spare is unloaded.\n"
    assert gateway.invoke("load", "standard")[1] == "tiny is ready.\n", "standard is a role"


def test_requests_are_listed_and_cancelled_by_their_commands(gateway: Running) -> None:
    assert gateway.invoke("requests")[1] == "No request is under way.\n"
    url = json.loads(gateway.invoke("status", "--json")[1])["listeners"][0]["url"]
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Slow"}], "stream": True}
    with Stream(url, "/v1/chat/completions", body) as stream:
        assert stream.event()
        (one,) = json.loads(gateway.invoke("requests", "--json")[1])
        assert (one["model"], one["phase"]) == ("tiny", "running")
        assert one["id"] in gateway.invoke("requests")[1]
        assert gateway.invoke("cancel", one["id"])[1] == f"Cancelled {one['id']}, which was running on tiny.\n"
        assert any('"code":"cancelled"' in event for event in stream.rest())
    code, out, err = gateway.invoke("cancel", one["id"])
    assert (code, out) == (1, "")
    assert "rolecast requests" in err


def test_an_edit_is_tried_and_taken_back_by_the_command(gateway: Running) -> None:
    assert "Nothing would change" in gateway.invoke("reload", "--dry-run")[1]
    code, _, err = gateway.invoke("reload", "--dry-run", "--rollback")
    assert (code, "cannot be used together" in err) == (1, True)


def test_loading_an_unknown_model_is_a_sentence(gateway: Running) -> None:
    code, out, err = gateway.invoke("load", "nope")
    assert (code, out) == (1, "")
    assert "nope" in err


def test_models_show_the_state_in_the_gateway(gateway: Running) -> None:
    out = gateway.invoke("models", "--config", str(gateway.config), "--json")[1]
    rows = json.loads(out)
    assert [(one["state"], one["variant_of"]) for one in rows] == [
        ("ready", None),
        ("cold", None),
        ("absent", None),
        (None, "tiny"),
    ]
    assert len({tuple(one) for one in rows}) == 1


@pytest.mark.parametrize("how", ["--stats", "--no-stream"])
def test_ask_prints_the_answer_as_plain_text(gateway: Running, how: str) -> None:
    code, out, err = gateway.invoke("ask", how, "-m", "t", "Capital", "of France?")
    assert (code, out) == (0, "Paris is the capital.\n")
    assert ("first token after" in err) == (how == "--stats")


def test_ask_reads_the_question_from_a_pipe(gateway: Running) -> None:
    assert gateway.invoke("ask", stdin="Capital of France?")[1] == "Paris is the capital.\n"
    assert gateway.invoke("ask", "Capital", "of", "-", stdin="France")[1] == "Paris is the capital.\n"


def test_ask_as_json_is_the_whole_answer(gateway: Running) -> None:
    answer = json.loads(gateway.invoke("ask", "--json", "Hi")[1])
    assert answer["choices"][0]["message"]["content"] == "Hello there."


def test_a_failing_answer_is_a_sentence_and_exit_code_1(gateway: Running) -> None:
    code, _, err = gateway.invoke("ask", "Fail please")
    assert code == 1
    assert err.startswith("Error: ")
    assert "Traceback" not in err


def test_chat_keeps_the_conversation_and_obeys_commands(gateway: Running, tmp_path: Path) -> None:
    talk = tmp_path / "talk.json"
    lines = [
        "/system Be brief.",
        "Capital \\",
        "of France?",
        f"/save {talk}",
        "/model nope",
        "/model paris",
        "/model auto",
        "/stats",
        "/bogus",
        "/exit",
    ]
    code, out, err = gateway.invoke("chat", stdin="\n".join([*lines, "never asked"]))
    assert code == 0
    assert "Paris is the capital." in out
    assert "There is no model 'nope'" in err
    assert "Talking to paris (variant of tiny)." in out
    assert "/bogus is not a command" in err
    assert [message["content"] for message in json.loads(talk.read_text())["messages"]] == [
        "Be brief.",
        "Capital \nof France?",
        "Paris is the capital.",
    ]


def test_where_no_configuration_is_that_of_the_gateway_is_meant(
    gateway: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = gateway.invoke("models", "--config", str(gateway.config), "--json")[1]
    assert gateway.invoke("models", "--json")[1] == named
    assert "rolecast.yaml is valid" in gateway.invoke("doctor")[1]
    (tmp_path / "rolecast.yaml").write_text("models: {own: {backend: fake}}\nroles: {standard: [own]}\n")
    assert [each["id"] for each in json.loads(gateway.invoke("models", "--json")[1])] == ["own"]


def test_weights_that_the_gateway_uses_under_another_configuration_stay(tmp_path: Path) -> None:
    used = Running(tmp_path)
    source = f'source: "file:{tmp_path / "script.yaml"}"'
    used.config.write_text(used.config.read_text().replace("tiny: {", f"tiny: {{{source}, "))
    other = tmp_path / "other.yaml"
    other.write_text(f"models: {{mine: {{{source}}}}}\nroles: {{standard: [mine]}}\n")
    started = used.process("up", "--detach", "--config", str(used.config))
    assert started.returncode == 0, started.stderr
    try:
        code, _, err = used.invoke("rm", "mine", "--config", str(other))
    finally:
        used.process("down")
    assert (code, "tiny is loaded from these weights" in err) == (1, True), err


def test_chat_takes_the_model_as_its_word(gateway: Running) -> None:
    assert "Paris is the capital." in gateway.invoke("chat", "tiny", stdin="Capital?")[1]
    assert "'nope' does not exist" in gateway.invoke("chat", "nope", stdin="Capital?")[2]


def test_chat_forgets_on_clear_and_does_not_keep_a_question_that_failed(gateway: Running, tmp_path: Path) -> None:
    talk = tmp_path / "talk.md"
    lines = [
        "Hi",
        "/clear",
        "Fail now",
        "/model coding",
        "/model tiny",
        "Capital?",
        f"/save {talk}",
        f"/save {talk}",
    ]
    code, _, err = gateway.invoke("chat", stdin="\n".join(lines))
    assert code == 0
    assert "exists already" not in err
    assert talk.read_text() == "## User\n\nCapital?\n\n## Assistant\n\nParis is the capital.\n"


def test_chat_does_not_write_over_a_file_of_somebody_else(gateway: Running, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert "exists already" in gateway.invoke("chat", stdin=f"/save {tmp_path / 'mine.txt'}")[2]
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("stream", [True, False])
def test_bench_measures_the_running_gateway(gateway: Running, stream: bool) -> None:
    code, out, _ = gateway.invoke("bench", "-c", "2", "-d", "0.2", "--json", *(["--stream"] if stream else []))
    report = json.loads(out)
    assert (code, report["failed"]) == (0, 0)
    assert report["requests"] > 0
    assert report["tokens_per_second"] > 0
    assert bool(report["first_token_ms"]) == stream


def test_bench_of_an_unknown_model_is_a_sentence(gateway: Running) -> None:
    code, out, err = gateway.invoke("bench", "-m", "nope", "-d", "0.2")
    assert (code, out) == (1, "")
    assert "nope" in err


def test_logs_come_from_the_gateway(gateway: Running) -> None:
    assert "tiny" in gateway.invoke("logs")[1]
    assert gateway.invoke("logs", "tiny", "-n", "5")[0] == 0
    assert gateway.invoke("logs", "tiny", "-n", "0") == (0, "", "")
    code, out, err = gateway.invoke("logs", "big")  # it was never started
    assert (code, out, "big has printed nothing: `rolecast status`" in err) == (0, "", True)
    assert gateway.invoke("logs", "nope")[0] == 1


def test_a_gateway_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    other = Running(tmp_path)
    (tmp_path / "data" / "rolecast.db").mkdir(parents=True)
    done = other.process("up", "--detach", "--config", str(other.config))
    assert (done.returncode, done.stdout) == (1, "")
    assert "rolecast.db" in done.stderr
    assert "gateway.log" in done.stderr
    assert "Traceback" not in done.stderr
