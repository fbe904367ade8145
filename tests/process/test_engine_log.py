"""The engine quotes requests in its warnings; none of that is kept, and why it died still is."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_gguf
from live_gateway import LiveGateway, until

SECRET = "swordfish"
ASKED = [{"role": "user", "content": SECRET}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "pattern": f"{SECRET}("}}}
CALL = {"id": "1", "function": {"name": SECRET, "arguments": "{}"}}
LOOKS_LIKE_THE_ENGINE = "\n".join(
    [
        f"/home/me/{SECRET}/main.cpp:42: error: expected ;",
        f"serving tiny at unix:///{SECRET}.sock",
        f"terminate called after throwing an instance of '{SECRET}'",
        f"malloc {SECRET}: invalid",
        f"ggml_{SECRET}: out of memory",
        f"slot {SECRET}: id  0 | task 1 | processing task",
        f"{SECRET}: failed to decode",
        f"0.12.345.678 E {SECRET}: out of memory",
    ]
)
"""Lines of a request that the engine quotes each on a line of its own."""
QUOTED: list[tuple[str, dict[str, Any]]] = [
    ("chat/completions", {"messages": [*ASKED, {"role": "assistant", "tool_calls": [CALL]}]}),
    ("chat/completions", {"messages": ASKED, "tools": [{"type": "web_search", "q": SECRET}]}),
    ("chat/completions", {"messages": ASKED, "grammar": f"root ::= {SECRET}\nsrv {SECRET}: {SECRET}"}),
    ("chat/completions", {"messages": ASKED, "response_format": {"type": SECRET}}),
    ("chat/completions", {"messages": ASKED, "response_format": SCHEMA, "max_tokens": 2}),
    ("chat/completions", {"messages": ASKED, "tool_choice": SECRET}),
    ("chat/completions", {"messages": ASKED, "samplers": [SECRET], "max_tokens": 2}),
    ("chat/completions", {"messages": [{"role": "user", "content": f"{SECRET} " * 400}]}),
    ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "text", "text": f"no {SECRET}"}]}]}),
    ("chat/completions", {"messages": [{"role": "user", "content": f"no \n{LOOKS_LIKE_THE_ENGINE}"}]}),
    ("chat/completions", {"messages": ASKED, "grammar": LOOKS_LIKE_THE_ENGINE}),
    ("completions", {"prompt": f"{SECRET}\n{SECRET}", "max_tokens": 2, "stop": [SECRET]}),
]
TEMPLATE = (
    "{% if 'no ' in (messages[0].content | string) %}{{ raise_exception('bad: ' ~ messages[0].content) }}{% endif %}"
)


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveGateway]:
    monkeypatch.setattr(tiny_gguf, "CHAT_TEMPLATE", TEMPLATE + tiny_gguf.CHAT_TEMPLATE)
    weights = tiny_gguf.write(tmp_path / "tiny.gguf")
    config = f"""
server: {{port: 0}}
models:
  tiny: {{source: "file:{weights}", context: 512, threads: 1, pinned: true}}
  both: {{source: "file:{weights}", context: 512, threads: 1, capabilities: [chat, embeddings]}}
roles: {{standard: [tiny]}}
"""
    with LiveGateway(tmp_path / "gateway", config) as running:
        until(lambda: running.model("tiny")["state"] == "ready", "the engine loaded")
        yield running


def test_no_line_of_a_worker_holds_content_of_a_request(gateway: LiveGateway) -> None:
    for path, body in QUOTED:
        gateway.post(f"/v1/{path}", {"model": "tiny", **body})
    assert gateway.chat("tiny", "hello", max_tokens=1).status == 200
    pid = gateway.model("tiny")["pid"]
    os.kill(pid, signal.SIGABRT)
    until(lambda: gateway.model("tiny")["pid"] != pid, "another worker runs")

    kept = (gateway.home / "logs" / "workers" / "tiny.log").read_text()
    assert "serving tiny" in kept  # what it says while it loads is kept
    assert "exceeds the available context size (512 tokens)" in kept
    assert SECRET not in kept
    assert SECRET not in gateway.get("/admin/logs?model=tiny").body.decode()
    assert SECRET not in gateway.log()
    assert "killed by signal 6" in gateway.log()


def test_an_input_beyond_the_context_is_the_clients_mistake_with_both_numbers(gateway: LiveGateway) -> None:
    fits = gateway.post("/v1/embeddings", {"model": "both", "input": "word " * 100})
    assert (fits.status, fits.json["usage"]["prompt_tokens"]) == (200, 501)
    answer = gateway.post("/v1/embeddings", {"model": "both", "input": "word " * 120})
    assert answer.status == 400
    assert "601 tokens" in answer.error["message"]
    assert "512" in answer.error["message"]
