"""Log lines for requests to models, as who reads `docker logs` gets them: JSON, bounded, and never a prompt."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from live_gateway import LiveGateway, ask, until

MARKER = "xyzzymarker"
KEY = "the-key-of-this-test"
CONFIG = """
server: {port: 0, keys: [KEY]}
models:
  tiny: {backend: fake, script: SCRIPT}
  gone: {source: "file:/nowhere/x.gguf"}
roles: {standard: [tiny], translation: [tiny], erp: [tiny]}
log: {format: json, level: debug, requests: REQUESTS, access: true}
"""
SCRIPT = """
replies:
  - {match: "endless", reply: "ENDLESS", token_delay: 0.02}
"""


def make(folder: Path, requests: str = "true") -> LiveGateway:
    script = folder / "script.yaml"
    script.write_text(SCRIPT.replace("ENDLESS", f"{MARKER} " * 2000))
    text = CONFIG.replace("SCRIPT", str(script)).replace("KEY", KEY).replace("REQUESTS", requests)
    return LiveGateway(folder, text, key=KEY)


def told(gateway: LiveGateway) -> list[dict[str, Any]]:
    """All lines of the log that are about requests; what `up` says to people before is no JSON."""
    lines = [json.loads(line) for line in gateway.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["logger"] == "rolecast.requests"]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> LiveGateway:
    """A gateway that was asked in every way that might show a prompt, and has ended."""
    with make(tmp_path_factory.mktemp("logs")) as gateway:
        prompt = f"{MARKER} tell me"
        assert gateway.chat("tiny", prompt, user=MARKER).status == 200
        assert gateway.post("/translate", {"prompt": prompt}).status == 200
        assert gateway.post("/generate", {"prompt": prompt, "category": "erp", "session_id": "s"}).status == 200
        with gateway.stream("tiny", f"endless {MARKER}") as stream:
            assert stream.event()
        assert gateway.post("/v1/messages", {"model": "tiny", "max_tokens": 5, "messages": [prompt]}).status >= 400
        assert gateway.chat(MARKER, prompt).status == 404
        assert gateway.chat("gone", prompt).status == 503
        assert gateway.post("/v1/chat/completions", f"{MARKER} is no object").status == 400
        assert ask(gateway.url, "POST", "/v1/chat/completions", {"prompt": prompt}, key=MARKER).status == 401
        assert gateway.get(f"/nothing?prompt={MARKER}").status == 404
        body = {"model": "tiny", "messages": [{"role": "user", "content": prompt}]}
        for own_id in ("of-the-client", "c" * 600, "a\x9b31m\x85b"):
            ids = {"x-request-id": own_id}
            ask(gateway.url, "POST", "/v1/chat/completions", body, key=KEY, headers=ids)
        until(lambda: any(line["outcome"] == "cancelled" for line in told(gateway)), "the hang-up is in the log")
    return gateway


def test_each_request_to_a_model_is_one_line_with_what_it_was_and_what_it_took(busy: LiveGateway) -> None:
    lines = [line for line in told(busy) if line["outcome"] != "refused"]
    rows = busy.rows("outcome")
    assert len(lines) == len(rows)
    first = lines[0]
    assert re.fullmatch(r"req_[0-9a-f]{16}", first["request_id"])
    assert len({line["request_id"] for line in lines}) == len(lines)
    assert (first["level"], first["model"], first["kind"], first["status"]) == ("info", "tiny", "chat", 200)
    assert first["completion_tokens"] > 0
    assert first["total_ms"] >= first["first_ms"] > 0
    assert first["listener"] == "front door"
    assert [line["task"] for line in lines if "task" in line] == ["translation", "erp"]


def test_what_goes_wrong_is_a_warning_with_its_code(busy: LiveGateway) -> None:
    errors = {line["error"]: line for line in told(busy) if line["level"] == "warning"}
    assert {"load_failed", "model_not_found"} <= set(errors)
    assert errors["load_failed"]["status"] == 503
    assert errors["model_not_found"]["path"] == "/v1/chat/completions"
    (cut,) = [line for line in told(busy) if line["outcome"] == "cancelled"]
    assert (cut["stream"], cut["level"]) == (True, "info")


def test_no_line_has_a_word_of_a_prompt_an_answer_or_a_key(busy: LiveGateway) -> None:
    assert MARKER not in busy.log()
    assert KEY not in busy.log()


def test_every_line_is_short_and_nothing_in_it_moves_a_terminal(busy: LiveGateway) -> None:
    log = busy.log()
    for line in log.split("\n"):
        assert len(line.encode()) < 16_000
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", line), line
    ids = [line["client_id"] for line in told(busy) if "client_id" in line]
    assert "of-the-client" in ids
    assert all(len(each) <= 128 for each in ids)


def test_without_the_setting_no_request_is_logged_and_an_edit_turns_it_on(tmp_path: Path) -> None:
    with make(tmp_path, requests="false") as gateway:
        assert gateway.chat("tiny", "hello").status == 200
        gateway.config.write_text(gateway.config.read_text().replace("requests: false", "requests: true"))
        assert gateway.get("/admin/reload").status in (404, 405)  # only by POST
        assert gateway.post("/admin/reload", {}).status == 200
        assert gateway.chat("tiny", "hello").status == 200
        until(lambda: told(gateway), "the second request is in the log")
        assert len(told(gateway)) == 1
