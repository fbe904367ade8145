"""A gateway with more models than memory: who is loaded, who makes room, who is refused, and what is remembered."""

import re
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_gguf
from live_gateway import Answer, LiveGateway, Stream, until
from typer.testing import CliRunner

from rolecast.cli import app, output

CONFIG = """
server: {port: 0}
memory: {budget: 2GiB, patience: 0.3s}
models:
  kept: {backend: fake, pinned: true, memory: 500MiB}
  one: {backend: fake, memory: 1GiB}
  two: {backend: fake, memory: 1GiB, script: SCRIPT}
  small: {backend: fake, memory: 300MiB}
  huge: {backend: fake, memory: 1.6GiB}
  unsaid: {backend: fake}
  bad: {backend: command, command: ["sh", "-c", "echo no such weights >&2; exit 1", "{socket}"], memory: 1GiB}
  gone: {source: "file:WEIGHTS", memory: 1GiB}
  unmade: {backend: command, command: [/nowhere/server, "{socket}"], memory: 1GiB}
roles: {standard: [one]}
"""
SLOW = "replies: [{match: '^slow', reply: 'a b c d e f g h i j k l m n o p', token_delay: 0.1}]\n"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[LiveGateway]:
    script = tmp_path / "script.yaml"
    script.write_text(SLOW)
    tiny_gguf.write(weights := tmp_path / "tiny.gguf")
    config = CONFIG.replace("SCRIPT", str(script)).replace("WEIGHTS", str(weights))
    with LiveGateway(tmp_path / "gateway", config) as found:
        until(lambda: states(found)["kept"] == "ready", "the pinned model loads")
        yield found


def states(gateway: LiveGateway) -> dict[str, str]:
    return {each["id"]: each["state"] for each in gateway.get("/admin/status").json["models"]}


def test_an_idle_model_makes_room_and_a_pinned_one_does_not(gateway: LiveGateway) -> None:
    assert gateway.chat("one", "hi").status == 200
    assert gateway.chat("small", "hi").status == 200
    assert states(gateway)["one"] == "ready"
    assert gateway.chat("two", "hi").status == 200
    found = states(gateway)
    assert (found["kept"], found["small"], found["one"], found["two"]) == ("ready", "ready", "cold", "ready")


def test_a_model_that_never_loads_drives_out_nobody_who_answers(gateway: LiveGateway) -> None:
    assert gateway.chat("one", "hi").status == 200

    def put_off() -> bool:
        answer = gateway.chat("bad", "hi")
        assert answer.status == 503
        assert "no such weights" in answer.error["message"]
        assert gateway.chat("one", "hi").status == 200
        return "next try in 60 s" in answer.error["message"]

    until(put_off, "it is put off")
    assert states(gateway)["one"] == "ready"
    assert gateway.chat("bad", "hi").status == 503  # at once
    assert states(gateway)["one"] == "ready"


@pytest.mark.parametrize(
    ("model", "why"), [("gone", "the weights of gone are not here"), ("unmade", "/nowhere/server")]
)
def test_a_model_that_could_not_even_be_started_drives_out_nobody_until_it_can(
    gateway: LiveGateway, tmp_path: Path, model: str, why: str
) -> None:
    (tmp_path / "tiny.gguf").rename(tmp_path / "elsewhere.gguf")
    assert gateway.chat("one", "hi").status == 200
    pid = gateway.model("one")["pid"]
    for _ in range(2):
        answer = gateway.chat(model, "hi")
        assert (answer.status, why in answer.error["message"]) == (503, True), answer.error
        assert "rolecast logs" not in answer.error["message"], "nothing was started, so there is no log"
    assert why in gateway.post("/admin/load", {"model": model}).error["message"]
    assert gateway.model("one")["pid"] == pid
    if model == "gone":
        (tmp_path / "elsewhere.gguf").rename(tmp_path / "tiny.gguf")
        assert gateway.chat(model, "hi", max_tokens=2).status == 200
        assert states(gateway)["one"] == "cold"


def test_a_model_that_answers_ends_its_answer_before_it_makes_room(gateway: LiveGateway) -> None:
    body = {"model": "two", "stream": True, "messages": [{"role": "user", "content": "slow"}]}
    with Stream(gateway.url, "/v1/chat/completions", body) as stream:
        stream.event()
        others: list[Answer] = []
        waits = threading.Thread(target=lambda: others.append(gateway.chat("one", "hi")))
        waits.start()
        until(lambda: states(gateway)["two"] == "draining", "it takes no new requests")
        assert stream.rest()[-1] == "[DONE]"
    waits.join(60)
    assert others[0].status == 200
    assert states(gateway)["two"] == "cold"


def test_a_model_that_waits_for_memory_and_what_there_is_are_told_by_the_commands(gateway: LiveGateway) -> None:
    def told(*args: str) -> str:
        env = {"ROLECAST_HOME": str(gateway.home), "COLUMNS": "200"}
        return CliRunner(env=env).invoke(app, args, catch_exceptions=False).stdout

    room = gateway.get("/admin/status").json["memory"]
    assert room["budget_bytes"] <= room["limit_bytes"] <= 2 << 30
    assert room["held_bytes"] == 500 << 20
    assert f"524 MB of {output.size(room['budget_bytes'])} reserved" in told("status")
    body = {"model": "two", "stream": True, "messages": [{"role": "user", "content": "slow"}]}
    with Stream(gateway.url, "/v1/chat/completions", body) as stream:
        stream.event()
        waits = threading.Thread(target=lambda: gateway.chat("one", "hi"))
        waits.start()
        until(lambda: states(gateway)["two"] == "draining", "it takes no new requests")
        assert re.search(r"^one +waits for memory .* 1 ", told("ps"), re.MULTILINE)
        assert re.search(r"^one .*waits for memory", told("status"), re.MULTILINE)
        stream.rest()
    waits.join(60)
    assert "waits" not in told("ps")


def test_a_model_that_can_never_fit_is_refused_with_both_figures(gateway: LiveGateway) -> None:
    answer = gateway.chat("huge", "hi")
    assert (answer.status, answer.error["code"]) == (503, "model_too_large")
    assert "1.7 GB" in answer.error["message"]
    assert "beside kept, which is pinned" in answer.error["message"]
    assert "`rolecast models --estimate`" in answer.error["message"]


def test_what_a_model_took_is_remembered(gateway: LiveGateway) -> None:
    assert gateway.chat("unsaid", "hi").status == 200

    def kept() -> list[tuple[str, int]]:
        database = sqlite3.connect(f"file:{gateway.home / 'rolecast.db'}?mode=ro", uri=True)
        try:
            return database.execute("SELECT * FROM footprints").fetchall()
        finally:
            database.close()

    rows = until(kept, "its footprint is written")
    assert any("fake" in str(row) for row in rows)
