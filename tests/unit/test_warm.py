"""While the model that was asked for loads, the best one that is loaded answers, where that is wanted."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_gateway import Answer, LiveGateway, ask, until

SLOW = """
import json, pathlib, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.02)

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"status": "ok"})

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "big says hi"}
        self.answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Front:
    def __init__(self, gateway: LiveGateway, go: Path) -> None:
        self.gateway = gateway
        self.go = go

    def big_loads(self) -> None:
        self.go.touch()
        until(lambda: self.state("big") == "ready", "the big model loads")

    def state(self, model: str) -> str:
        models = self.gateway.get("/admin/status").json["models"]
        return next(str(each["state"]) for each in models if each["id"] == model)

    def ask(self, *messages: dict[str, object], **headers: str) -> Answer:
        body = {"model": "big", "messages": list(messages) or [{"role": "user", "content": "Hello"}]}
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(self.gateway.url, "POST", "/v1/chat/completions", body, headers=lines)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    program, go = tmp_path / "slow.py", tmp_path / "go"
    program.write_text(SLOW)
    command = json.dumps([sys.executable, str(program), "{port}", str(go)])
    config = f"""
server: {{port: 0}}
models:
  small: {{backend: fake, pinned: true, quality: 0.3, aliases: [default]}}
  better: {{backend: fake, pinned: true, quality: 0.5, parallel: 1}}
  seer: {{backend: fake, pinned: true, quality: 0.9, capabilities: [embeddings]}}
  big: {{backend: command, command: {command}, quality: 0.8, warm: true}}
roles: {{standard: [small]}}
"""
    with LiveGateway(tmp_path / "gateway", config) as gateway:
        found = Front(gateway, go)
        until(lambda: all(found.state(each) == "ready" for each in ("small", "better", "seer")), "the others load")
        yield found


def test_the_best_loaded_model_answers_while_the_asked_one_loads_and_the_next_turn_is_its_own(front: Front) -> None:
    answer = front.ask()
    assert answer.json["choices"][0]["message"]["content"] == "fake: Hello"
    assert answer.headers["x-rolecast-model"] == "better"
    assert answer.headers["x-rolecast-route"] == "warm; big is loading"
    assert front.state("big") == "loading"
    front.big_loads()
    answer = front.ask()
    assert answer.json["choices"][0]["message"]["content"] == "big says hi"
    assert answer.headers["x-rolecast-model"] == "big"


def test_in_the_middle_of_a_call_and_for_who_does_not_want_it_the_asked_one_answers(front: Front) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    turns = (
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
    )
    front.go.touch()
    assert front.ask(*turns).headers["x-rolecast-model"] == "big"
    front.gateway.post("/admin/unload", {"model": "big"})
    assert front.ask(x_rolecast_warm="false").headers["x-rolecast-model"] == "big"


def test_another_word_in_the_header_is_refused(front: Front) -> None:
    answer = front.ask(x_rolecast_warm="perhaps")
    assert (answer.status, answer.error["param"]) == (400, "x-rolecast-warm")
