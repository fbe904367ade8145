"""A server that quotes our key in its errors does not bring it to clients, into logs or books."""

import json
import logging
from typing import Any

import pytest
from gateway import chat, on_uvloop, reply, request
from test_egress import Both, both, made

from rolecast.dialects import complaint
from rolecast.turn import verdict

anyio_backend = on_uvloop
pytestmark = pytest.mark.anyio
__all__ = ["both", "made"]  # fixtures

KEY = "sekret-key"
LINE = f"Authorization: Bearer {KEY}\r\n".encode()


def error(**fields: Any) -> bytes:
    return json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}.", **fields}}).encode()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
@pytest.mark.parametrize(
    ("status", "body", "head"),
    [
        (400, error(code=KEY), b""),
        (400, error(type=KEY, param=KEY), b""),
        (401, error(), b""),
        (500, f"<title>{KEY}</title>".encode(), b""),
        (302, b"", f"location: http://u:{KEY}@evil.example/{KEY}?k={KEY}\r\n".encode()),
    ],
)
async def test_it_is_struck_out_wherever_it_stands(
    both: Both, caplog: pytest.LogCaptureFixture, path: str, status: int, body: bytes, head: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    both.gate.gateway.dispatch.again.breaker.circuits.clear()
    both.cloud.usual = reply(body, status, head=head)
    answer = await both.gate.ask(request(chat("hi", "cloud", max_tokens=5), path=path))
    both.gate.gateway.dispatch.again.breaker.circuits.clear()
    assert answer.status >= 400
    assert KEY not in repr(answer)
    assert KEY not in caplog.text
    caplog.clear()


def test_half_of_it_at_the_end_of_a_long_error_is_struck_out_too() -> None:
    for cut in range(len(KEY) + 2):
        said = complaint.read(json.dumps({"error": "x" * (complaint.MAX_CHARS - 1 - cut) + KEY * 3}).encode())
        assert said.message.endswith("…")
        message = verdict.on(400, said, "there", "", LINE).message
        assert KEY[:4] not in message
