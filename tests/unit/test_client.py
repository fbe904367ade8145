"""The Python client against a real HTTP server that follows a script."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from free_ports import free_port
from hypothesis import given
from hypothesis import strategies as st

from rolecast import AsyncLLMClient, LLMClient
from rolecast.client import (
    ChatResult,
    Delta,
    LLMAuthError,
    LLMBadRequest,
    LLMClientError,
    LLMConnectionError,
    LLMInvalidResponse,
    LLMNotFound,
    LLMRateLimit,
    LLMServerError,
    LLMTimeout,
    ToolCall,
    Usage,
)
from rolecast.client.calls import api_base
from rolecast.client.errors import pause_s
from rolecast.client.replies import retry_after_s
from rolecast.client.transport import is_loopback, pool_settings, trust

HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


class Script:
    """A server that gives its replies in order, the last one for ever, and remembers what it was asked."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, bytes, dict[str, str]]] = []
        self.requests: list[SimpleNamespace] = []
        self.peers: set[Any] = set()
        self.released = threading.Event()
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                script.answer(self)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.root = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        self.requests.append(
            SimpleNamespace(path=request.path, headers=request.headers, body=json.loads(body) if body else None)
        )
        self.peers.add(request.client_address)
        status, content, headers = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if headers.get("x-test") == "silent":
            self.released.wait(30)
            request.close_connection = True
            return
        if headers.get("x-test") == "hang-up":
            request.close_connection = True
            return
        request.send_response(status)
        stalls = headers.get("x-test") == "stalls"
        length = len(content) + (1000 if stalls else 0)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(length),
            **headers,
        }.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)
        if stalls:
            request.wfile.flush()
            self.released.wait(30)

    def says(self, reply: Any = None, status: int = 200, **headers: str) -> "Script":
        """Add a reply: an object becomes JSON, bytes stay bytes."""
        content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.replies.append((status, content, {k.replace("_", "-"): v for k, v in headers.items()}))
        return self

    def streams(self, *events: Any, done: bool = True, **headers: str) -> "Script":
        """Add an event stream: objects become data lines, bytes stay bytes."""
        lines = [e if isinstance(e, bytes) else b"data: " + json.dumps(e).encode() + b"\n\n" for e in events]
        content = b"".join(lines) + (b"data: [DONE]\n\n" if done else b"")
        return self.says(content, content_type="text/event-stream", **headers)

    @property
    def body(self) -> dict[str, Any]:
        return self.requests[-1].body

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Script]:
    script = Script()
    yield script
    script.close()


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "LLM_BASE_URL",
        "AGENT_LLM_BASE_URL",
        "ROLECAST_URL",
        "ROLECAST_API_KEY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def naps() -> list[float]:
    return []


@pytest.fixture
def client(server: Script, naps: list[float]) -> Iterator[LLMClient]:
    with LLMClient(server.root, sleep=naps.append) as ready:
        yield ready


def reply(content: Any = "Hi", **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "smollm2-135m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, **message},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "total_tokens": 11,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }


def event(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "model": "smollm2-135m", "choices": [choice]}


def refused_url() -> str:
    return f"http://127.0.0.1:{free_port()}"


# --- one call ---------------------------------------------------------------------------------------------


def test_a_reply_becomes_a_result_with_all_its_parts(server: Script, client: LLMClient) -> None:
    server.says(reply(), x_rolecast_model="smollm2-135m", x_rolecast_route="default")
    result = client.chat_completion(messages=HELLO)
    assert (result.role, result.content, result.tool_calls, result.reasoning_trace) == (
        "assistant",
        "Hi",
        (),
        None,
    )
    assert result.usage == Usage(prompt_tokens=9, completion_tokens=2, total_tokens=11, cached_tokens=4)
    assert (result.response_id, result.model, result.finish_reason) == (
        "chatcmpl-1",
        "smollm2-135m",
        "stop",
    )
    assert result.raw == reply()
    assert result.cost_usd is None
    assert result.route == {"model": "smollm2-135m", "route": "default"}
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.body == {"model": "auto", "messages": HELLO}


def test_a_result_can_be_read_by_key_too(server: Script, client: LLMClient) -> None:
    server.says(reply())
    result = client.chat_completion(HELLO)
    assert result["content"] == "Hi"
    assert result["usage"]["prompt_tokens"] == 9
    assert result.get("cost_usd", 0.0) == 0.0
    assert result.get("no such", "default") == "default"
    assert "content" in result
    assert dict(result)["model"] == "smollm2-135m"
    with pytest.raises(KeyError):
        result["no such"]


def test_the_system_prompt_becomes_the_first_message(server: Script, client: LLMClient) -> None:
    server.says(reply())
    client.chat_completion(HELLO, system_prompt="Be brief.")
    assert server.body["messages"] == [{"role": "system", "content": "Be brief."}, *HELLO]
    assert HELLO == [{"role": "user", "content": "Hello"}]


def test_options_are_sent_when_given_even_when_zero(server: Script, client: LLMClient) -> None:
    server.says(reply())
    client.chat_completion(
        HELLO,
        "qwen",
        temperature=0,
        max_tokens=5,
        top_p=None,
        response_format={"type": "json_object"},
        previous_response_id="resp_1",
        timeout_s=5,
        max_retries=1,
        extra_body={"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}},
        cache_prompt=True,
    )
    assert server.body == {
        "model": "qwen",
        "messages": HELLO,
        "temperature": 0,
        "max_tokens": 5,
        "response_format": {"type": "json_object"},
        "top_k": 20,
        "chat_template_kwargs": {"enable_thinking": False},
        "cache_prompt": True,
    }


def test_a_role_is_asked_for_by_its_name(server: Script, client: LLMClient) -> None:
    class Role(Enum):
        CODING = "coding"

    server.says(reply())
    client.chat_completion(HELLO, role="reasoning")
    assert server.body["model"] == "reasoning"
    client.respond(Role.CODING, HELLO)  # type: ignore[arg-type]
    assert server.body["model"] == "coding"
    with pytest.raises(LLMBadRequest, match="give one of them"):
        client.chat_completion(HELLO, model="a", role="b")


def test_trace_ids_travel_as_headers(server: Script, client: LLMClient) -> None:
    server.says(reply())
    client.respond("standard", HELLO, trace_ctx=SimpleNamespace(trace_id="t-1", parent_span_id="s-1"))
    sent = server.requests[-1].headers
    assert (sent["X-Trace-Id"], sent["X-Span-Id"], sent["X-Session-Id"]) == ("t-1", "s-1", None)
    client.chat_completion(HELLO, trace_id="t-2", span_id="s-2", session_id=7)
    sent = server.requests[-1].headers
    assert (sent["X-Trace-Id"], sent["X-Span-Id"], sent["X-Session-Id"]) == ("t-2", "s-2", "7")
    assert set(server.body) == {"model", "messages"}
    with pytest.raises(LLMBadRequest, match="header"):
        client.chat_completion(HELLO, trace_id="a\r\nX-Evil: 1")


def test_what_cannot_be_sent_is_refused_with_the_reason(client: LLMClient) -> None:
    with pytest.raises(LLMBadRequest, match="must be a list"):
        client.chat_completion("Hello")  # type: ignore[arg-type]
    with pytest.raises(LLMBadRequest, match="as JSON"):
        client.chat_completion(HELLO, temperature=float("nan"))
    with pytest.raises(LLMBadRequest, match="as JSON"):
        client.chat_completion([{"role": "user", "content": object()}])
    with pytest.raises(LLMBadRequest, match="stream_chat"):
        client.chat_completion(HELLO, stream=True)  # type: ignore[call-arg]


def test_text_with_odd_characters_arrives_as_it_was(server: Script, client: LLMClient) -> None:
    odd = "a\u2028b \U0001f600 \x00 é"
    server.says(reply(odd))
    assert client.chat_completion([{"role": "user", "content": odd}]).content == odd
    assert server.body["messages"][0]["content"] == odd


# --- tools ------------------------------------------------------------------------------------------------


def test_tool_calls_are_read_and_can_be_sent_back(server: Script, client: LLMClient) -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Bern"}'},
    }
    server.says(reply(None, tool_calls=[call]))
    result = client.chat_completion(HELLO, tools=[WEATHER])
    assert result.tool_calls == (ToolCall(id="call_1", name="weather", arguments='{"city":"Bern"}'),)
    assert result.content == ""
    assert result.message() == {"role": "assistant", "content": "", "tool_calls": [call]}
    assert server.body["tools"] == [WEATHER]
    assert server.body["tool_choice"] == "auto"


def test_tool_calls_without_id_or_with_an_object_are_completed(server: Script, client: LLMClient) -> None:
    server.says(reply(None, tool_calls=[{"function": {"name": "weather", "arguments": {"city": "Bern"}}}, "junk", {}]))
    (call,) = client.chat_completion(HELLO, tools=[WEATHER], tool_choice="none").tool_calls
    assert call.id.startswith("call_")
    assert json.loads(call.arguments) == {"city": "Bern"}
    assert server.body["tool_choice"] == "none"


def test_no_tools_means_no_tool_fields(server: Script, client: LLMClient) -> None:
    server.says(reply())
    client.chat_completion(HELLO, tools=[])
    assert set(server.body) == {"model", "messages"}


def test_tool_calls_written_as_text_are_found_by_the_client(server: Script, client: LLMClient) -> None:
    server.says(reply('Let me see.\n<tool_call>{"name":"weather","arguments":{"city":"Bern"}}</tool_call>'))
    result = client.chat_completion(HELLO, tools=[WEATHER])
    assert result.content == "Let me see."
    assert [(c.name, json.loads(c.arguments)) for c in result.tool_calls] == [("weather", {"city": "Bern"})]


# --- thinking --------------------------------------------------------------------------------------------


def test_a_reasoning_field_wins_over_tags(server: Script, client: LLMClient) -> None:
    server.says(reply("<think>tag</think>Hi", reasoning_content="field"))
    result = client.chat_completion(HELLO)
    assert (result.content, result.reasoning_trace) == ("Hi", "field")


def test_content_in_parts_is_joined(server: Script, client: LLMClient) -> None:
    server.says(reply([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, 3]))
    assert client.chat_completion(HELLO).content == "ab"


def test_a_cost_in_the_reply_is_reported(server: Script, client: LLMClient) -> None:
    server.says(reply() | {"cost_usd": 0.25})
    assert client.chat_completion(HELLO).cost_usd == 0.25


# --- failures and retries ---------------------------------------------------------------------------------


def test_a_refused_connection_is_named_and_not_tried_again(naps: list[float]) -> None:
    url = refused_url()
    with LLMClient(url, sleep=naps.append) as client, pytest.raises(LLMConnectionError) as failure:
        client.chat_completion(HELLO)
    assert url in failure.value.message
    assert "rolecast up" in failure.value.message
    assert failure.value.status is None
    assert naps == []


def test_a_timeout_is_tried_again_once_when_one_retry_is_allowed(
    server: Script, client: LLMClient, naps: list[float]
) -> None:
    server.says(x_test="silent")
    with pytest.raises(LLMTimeout, match="silent for"):
        client.chat_completion(HELLO, timeout_s=0.05, max_retries=1)
    assert len(server.requests) == 2
    assert naps == [1.0]


def test_a_full_server_is_asked_again_when_it_says(server: Script, client: LLMClient, naps: list[float]) -> None:
    error = {"error": {"message": "full", "type": "rate_limit_error", "param": None, "code": "busy"}}
    server.says(error, 429, retry_after="7").says(error, 429).says(reply())
    assert client.chat_completion(HELLO).content == "Hi"
    assert naps == [7.0, 2.0]


def test_a_failing_server_is_tried_four_times_with_doubling_pauses(
    server: Script, client: LLMClient, naps: list[float]
) -> None:
    server.says({"error": {"message": "no", "code": "worker_down"}}, 503, x_request_id="req_1")
    with pytest.raises(LLMServerError) as failure:
        client.chat_completion(HELLO)
    assert len(server.requests) == 4
    assert naps == [1.0, 2.0, 4.0]
    assert (failure.value.status, failure.value.code, failure.value.request_id) == (
        503,
        "worker_down",
        "req_1",
    )


def test_a_wait_longer_than_a_call_may_take_is_not_waited_for(
    server: Script, client: LLMClient, naps: list[float]
) -> None:
    server.says({"detail": "budget spent"}, 429, retry_after="3600")
    with pytest.raises(LLMRateLimit, match="budget spent") as failure:
        client.chat_completion(HELLO)
    assert failure.value.retry_after_s == 3600
    assert naps == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, LLMBadRequest),
        (401, LLMAuthError),
        (403, LLMAuthError),
        (404, LLMNotFound),
        (413, LLMBadRequest),
        (422, LLMBadRequest),
        (307, LLMInvalidResponse),
    ],
)
def test_each_final_status_has_its_class_and_is_not_tried_again(
    server: Script, client: LLMClient, naps: list[float], status: int, kind: type[LLMClientError]
) -> None:
    server.says({"detail": [{"msg": "wrong"}]}, status, location="http://other/")
    with pytest.raises(kind) as failure:
        client.chat_completion(HELLO)
    assert type(failure.value) is kind
    assert failure.value.status == status
    assert len(server.requests) == 1
    assert naps == []


def test_status_408_is_a_timeout_that_is_tried_again(server: Script, client: LLMClient) -> None:
    server.says({"error": "slow"}, 408).says(reply())
    assert client.chat_completion(HELLO).content == "Hi"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":[{}]}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_an_answer_that_is_none_is_an_invalid_response(server: Script, client: LLMClient, body: bytes) -> None:
    server.says(body)
    with pytest.raises(LLMInvalidResponse):
        client.chat_completion(HELLO)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "out of memory", "type": "server_error"}, LLMServerError),
        ({"message": "out of memory", "code": 429}, LLMRateLimit),
        ({"message": "out of memory", "type": "invalid_request_error"}, LLMBadRequest),
        ("out of memory", LLMServerError),
    ],
)
def test_an_error_object_behind_a_200_is_a_failure(
    server: Script, client: LLMClient, error: Any, kind: type[LLMClientError]
) -> None:
    server.says({"error": error} | reply())
    with pytest.raises(kind, match="out of memory") as failure:
        client.chat_completion(HELLO)
    assert type(failure.value) is kind
    assert failure.value.status == 200


def test_a_connection_that_breaks_is_a_connection_error(server: Script, client: LLMClient) -> None:
    server.says(x_test="hang-up")
    with pytest.raises(LLMConnectionError, match="broke"):
        client.chat_completion(HELLO)


def test_a_body_that_cannot_be_decoded_is_an_invalid_response(server: Script, client: LLMClient) -> None:
    server.says(b"not gzip", content_encoding="gzip")
    with pytest.raises(LLMInvalidResponse, match="decoded"):
        client.chat_completion(HELLO)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-1", 0.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now_s=10.0) == seconds


@given(attempt=st.integers(0, 10_000))
def test_a_pause_never_exceeds_a_minute(attempt: int) -> None:
    wait = pause_s(LLMServerError("x", status=500), attempt, 100_000, None)
    assert wait is not None
    assert 1 <= wait <= 60


# --- streams ----------------------------------------------------------------------------------------------


def test_a_stream_gives_deltas_and_then_the_result(server: Script, client: LLMClient) -> None:
    server.streams(
        b": a comment\n\n\r\nevent: message\nid: 4\n",
        event(role="assistant", content=""),
        event(reasoning_content="Hm."),
        b'data:{"choices":[{"delta":{"content":"H"}}]}\r\n\r\n',
        event(content="i\u2028"),
        event(finish_reason="stop"),
        {"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        b"data: [DONE]\n\ndata: after the end\n\n",
        x_rolecast_model="smollm2-135m",
    )
    with client.stream_chat(HELLO, max_tokens=9) as stream:
        deltas = list(stream)
    assert deltas == [
        Delta(reasoning="Hm."),
        Delta(content="H"),
        Delta(content="i\u2028"),
        Delta(finish_reason="stop"),
    ]
    result = stream.result
    assert (result.content, result.reasoning_trace, result.finish_reason) == ("Hi\u2028", "Hm.", "stop")
    assert result.usage == Usage(3, 2, 5)
    assert (result.response_id, result.model, result.route) == (
        "chatcmpl-1",
        "smollm2-135m",
        {"model": "smollm2-135m"},
    )
    assert server.body["stream"] is True
    assert server.body["stream_options"] == {"include_usage": True}


def test_pieces_of_tool_calls_are_merged_by_index(server: Script, client: LLMClient) -> None:
    def piece(**entry: Any) -> dict[str, Any]:
        return event(tool_calls=[entry])

    server.streams(
        piece(id="call_a", function={"name": "weather", "arguments": ""}),
        piece(function={"arguments": '{"city":'}),
        piece(index=1, id="call_b", function={"name": "time", "arguments": '{"z":1}'}),
        piece(index=0, function={"arguments": '"Bern"}'}),
        event(finish_reason="tool_calls"),
    )
    stream = client.stream_chat(HELLO, tools=[WEATHER])
    pieces = [piece for delta in stream for piece in delta.tool_calls]
    assert [p.index for p in pieces] == [0, 0, 1, 0]
    assert stream.result.tool_calls == (
        ToolCall("call_a", "weather", '{"city":"Bern"}'),
        ToolCall("call_b", "time", '{"z":1}'),
    )


def test_think_tags_are_parted_while_streaming(server: Script, client: LLMClient) -> None:
    server.streams(
        *(event(content=c) for c in ["<th", "ink>H", "m.</", "think>", "Hi<|im", "_end|>"]),
        event(finish_reason="stop"),
    )
    stream = client.stream_chat(HELLO)
    deltas = list(stream)
    assert "".join(d.content for d in deltas) == "Hi"
    assert "".join(d.reasoning for d in deltas) == "Hm."
    assert (stream.result.content, stream.result.reasoning_trace) == ("Hi", "Hm.")


def test_text_held_back_at_the_end_of_a_stream_is_delivered(server: Script, client: LLMClient) -> None:
    server.streams(event(content="a <"), event(finish_reason="stop"))
    stream = client.stream_chat(HELLO)
    assert "".join(d.content for d in stream) == "a <" == stream.result.content


def test_an_error_event_ends_the_stream_without_a_second_try(
    server: Script, client: LLMClient, naps: list[float]
) -> None:
    server.streams(event(content="H"), {"error": {"message": "worker died", "code": 503}})
    stream = client.stream_chat(HELLO)
    assert next(iter(stream)).content == "H"
    with pytest.raises(LLMServerError, match="worker died"):
        list(stream)
    with pytest.raises(RuntimeError, match="not complete"):
        _ = stream.result
    assert naps == []
    assert len(server.requests) == 1


def test_a_stream_is_tried_again_until_it_has_begun(server: Script, client: LLMClient, naps: list[float]) -> None:
    server.says({"error": {"message": "loading"}}, 503, retry_after="2")
    server.streams(event(content="Hi"), event(finish_reason="stop"))
    assert "".join(d.content for d in client.stream_chat(HELLO)) == "Hi"
    assert naps == [2.0]


def test_a_stream_that_falls_silent_is_a_timeout_without_a_second_try(
    server: Script, client: LLMClient, naps: list[float]
) -> None:
    server.streams(event(content="H"), done=False, x_test="stalls")
    stream = client.stream_chat(HELLO, timeout_s=0.2)
    with pytest.raises(LLMTimeout):
        list(stream)
    assert naps == []


def test_a_stream_that_is_cut_off_is_not_taken_for_an_answer(server: Script, client: LLMClient) -> None:
    server.streams(event(content="H"), done=False)
    with pytest.raises(LLMConnectionError, match="before the answer was complete"):
        list(client.stream_chat(HELLO))


def test_a_stream_that_forgets_its_last_line_is_complete_when_it_said_why_it_stopped(
    server: Script, client: LLMClient
) -> None:
    server.streams(event(content="Hi"), event(finish_reason="stop"), done=False)
    stream = client.stream_chat(HELLO)
    assert len(list(stream)) == 2
    assert stream.result.content == "Hi"


@pytest.mark.parametrize("junk", [b"data: {\n\n", b"data: []\n\n", b"data: " + b"[" * 100_000 + b"\n\n"])
def test_an_event_that_is_not_an_object_is_an_invalid_response(server: Script, client: LLMClient, junk: bytes) -> None:
    server.streams(junk)
    with pytest.raises(LLMInvalidResponse):
        list(client.stream_chat(HELLO))


def test_a_server_that_does_not_stream_gives_one_delta(server: Script, client: LLMClient) -> None:
    server.says(reply("<think>Hm.</think>Hi"))
    stream = client.stream_chat(HELLO)
    assert list(stream) == [Delta(content="Hi", reasoning="Hm.", finish_reason="stop")]
    assert stream.result.usage.total_tokens == 11


def test_an_error_object_instead_of_a_stream_is_a_failure(server: Script, client: LLMClient) -> None:
    server.says({"error": {"message": "out of memory"}})
    with pytest.raises(LLMServerError, match="out of memory"):
        list(client.stream_chat(HELLO))


def test_closing_a_stream_early_frees_the_server(server: Script, client: LLMClient) -> None:
    server.streams(event(content="H"), done=False, x_test="stalls")
    with client.stream_chat(HELLO) as stream:
        assert next(iter(stream)).content == "H"
    assert list(stream) == []


# --- other calls ------------------------------------------------------------------------------------------


def test_a_completion_continues_a_prompt(server: Script, client: LLMClient) -> None:
    server.says({"id": "c1", "model": "m", "choices": [{"text": " there", "finish_reason": "length"}]})
    result = client.completions("Hello", max_tokens=1, temperature=0)
    assert (result.text, result.finish_reason, result["model"]) == (" there", "length", "m")
    assert server.requests[0].path == "/v1/completions"
    assert server.body == {"model": "auto", "prompt": "Hello", "max_tokens": 1, "temperature": 0}
    server.replies.clear()
    server.says(reply())
    with pytest.raises(LLMInvalidResponse, match="no text"):
        client.completions("Hello")


def test_embeddings_come_in_the_order_of_the_texts(server: Script, client: LLMClient) -> None:
    server.says({"data": [{"index": 1, "embedding": [2, 3]}, {"index": 0, "embedding": [0.5, 1]}]})
    assert client.embeddings(["a", "b"], model="e5") == [[0.5, 1.0], [2.0, 3.0]]
    assert server.body == {"model": "e5", "input": ["a", "b"]}
    with pytest.raises(LLMInvalidResponse, match="2 vectors where 1"):
        client.embeddings("a")


@pytest.mark.parametrize("data", [{}, {"data": "no"}, {"data": [{"embedding": "AAAA"}]}, {"data": [3]}])
def test_embeddings_that_are_none_are_an_invalid_response(
    server: Script, client: LLMClient, data: dict[str, Any]
) -> None:
    server.says(data)
    with pytest.raises(LLMInvalidResponse):
        client.embeddings("a")


def test_models_are_listed(server: Script, client: LLMClient) -> None:
    server.says({"object": "list", "data": [{"id": "standard", "backend": "llamacpp"}, {"id": "coding"}]})
    models = client.models()
    assert [m.id for m in models] == ["standard", "coding"]
    assert models[0].raw["backend"] == "llamacpp"
    assert server.requests[0].path == "/v1/models"
    server.replies[0] = (200, b"{}", {})
    with pytest.raises(LLMInvalidResponse):
        client.models()


def test_health_is_asked_beside_the_versioned_paths_and_only_once(
    server: Script, client: LLMClient, naps: list[float]
) -> None:
    server.says({"status": "healthy", "models": 1}).says({"status": "down"}, 503)
    health = client.health()
    assert (health.status, health.raw["models"]) == ("healthy", 1)
    assert server.requests[0].path == "/health"
    with pytest.raises(LLMServerError):
        client.health()
    assert naps == []


# --- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_url", "base"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("h:8000", "http://h:8000/v1"),
        ("localhost", "http://localhost/v1"),
        ("https://h/openai", "https://h/openai/v1"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_the_version_part_is_added_when_it_is_missing(given_url: str, base: str) -> None:
    assert api_base(given_url) == base


@pytest.mark.parametrize(
    "url", ["ftp://h", "http://", "http://h:99999", "http://h?x=1", "http://[::1", "  ", "http://a b"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(LLMBadRequest, match="base URL"):
        api_base(url)


def test_the_address_comes_from_the_argument_then_the_environment(
    server: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.says({"data": []})
    monkeypatch.setenv("ROLECAST_URL", server.root + "/rolecast")
    with LLMClient() as client:
        client.models()
    monkeypatch.setenv("LLM_BASE_URL", server.root + "/llm/v1")
    with LLMClient() as client:
        client.models()
    with LLMClient(server.root) as client:
        client.models()
    assert [r.path for r in server.requests] == ["/rolecast/v1/models", "/llm/v1/models", "/v1/models"]


def test_the_key_comes_from_the_argument_then_the_environment(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    server.says({"data": []})
    monkeypatch.setenv("ROLECAST_API_KEY", "from-env")
    for key in (None, "given", ""):
        with LLMClient(server.root, api_key=key) as client:
            client.models()
    assert [r.headers["Authorization"] for r in server.requests] == ["Bearer from-env", "Bearer given", None]
    with pytest.raises(LLMBadRequest, match="API key") as failure:
        LLMClient(server.root, api_key="sécret")
    assert "cret" not in failure.value.message


def test_headers_of_the_client_go_with_every_call(server: Script) -> None:
    server.says({"data": []})
    with LLMClient(server.root, headers={"CF-Access-Client-Id": "abc"}) as client:
        client.models()
    assert server.requests[0].headers["CF-Access-Client-Id"] == "abc"
    assert server.requests[0].headers["User-Agent"].startswith("rolecast-python/")


def test_a_model_can_have_its_own_address(server: Script) -> None:
    server.says(reply())
    other = Script().says(reply("from the other one"))
    try:
        with LLMClient(server.root, endpoints={"coding": other.root}) as client:
            assert client.respond("coding", HELLO).content == "from the other one"
            assert client.respond("standard", HELLO).content == "Hi"
    finally:
        other.close()
    assert len(other.requests) == len(server.requests) == 1


def test_credentials_in_the_address_do_not_appear_in_errors() -> None:
    url = refused_url().replace("http://", "http://user:secret@")
    with LLMClient(url) as client, pytest.raises(LLMConnectionError) as failure:
        client.chat_completion(HELLO)
    assert "secret" not in failure.value.message


def test_a_proxy_from_the_environment_is_not_used_for_this_machine(
    server: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", refused_url())
    monkeypatch.setenv("http_proxy", refused_url())
    server.says(reply())
    with LLMClient(server.root) as client:
        assert client.chat_completion(HELLO).content == "Hi"
    with LLMClient("http://models.invalid") as client, pytest.raises(LLMConnectionError):
        client.chat_completion(HELLO)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("gateway.localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("example.org", False),
    ],
)
def test_loopback_addresses_are_recognised(host: str, here: bool) -> None:
    assert is_loopback(host) is here


def test_trust_comes_from_the_named_file_and_a_bad_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trust().verify_mode.name == "CERT_REQUIRED"
    assert pool_settings("https://example.org/v1")["trust_env"] is True
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with LLMClient("https://example.org") as client, pytest.raises(LLMConnectionError, match="SSL_CERT_FILE"):
        client.models()


def test_a_machine_without_authorities_uses_those_of_certifi(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("certifi")
    monkeypatch.setattr("httpx2.create_ssl_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    assert trust().cert_store_stats()["x509_ca"] > 0
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    assert trust().cert_store_stats()["x509_ca"] == 0


# --- plain code, event loops, threads ---------------------------------------------------------------------


def test_the_same_client_is_awaited_inside_a_loop_and_blocks_outside(
    server: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_BASE_URL", server.root + "/v1")
    server.says(reply())
    client = LLMClient()

    async def main() -> Any:
        response = await client.chat_completion(  # type: ignore[misc]
            messages=[{"role": "user", "content": "Explain quantum computing"}]
        )
        return response.content

    assert asyncio.run(main()) == "Hi"
    assert asyncio.run(main()) == "Hi"
    assert client.chat_completion(messages=HELLO).content == "Hi"
    client.close()


def test_awaited_calls_of_one_client_run_at_the_same_time(server: Script) -> None:
    both = threading.Barrier(2, timeout=10)
    answer = server.answer
    server.says(reply())

    def answer_when_both_are_there(request: BaseHTTPRequestHandler) -> None:
        both.wait()
        answer(request)

    server.answer = answer_when_both_are_there  # type: ignore[method-assign]

    async def main() -> list[Any]:
        async with LLMClient(server.root) as client, asyncio.TaskGroup() as tasks:
            started = [tasks.create_task(client.chat_completion(HELLO)) for _ in range(2)]  # type: ignore[arg-type]
        return [task.result().content for task in started]

    assert asyncio.run(main()) == ["Hi", "Hi"]


def test_a_stream_of_the_same_client_is_iterated_asynchronously_inside_a_loop(server: Script) -> None:
    server.streams(event(content="Hi"), event(finish_reason="stop"))

    async def main() -> tuple[str, str]:
        stream: Any = LLMClient(server.root).stream_chat(HELLO)
        text = "".join([delta.content async for delta in stream])
        return text, stream.result.content

    assert asyncio.run(main()) == ("Hi", "Hi")


def test_a_client_in_a_worker_thread_of_a_loop_blocks_only_that_thread(server: Script) -> None:
    server.says(reply())

    async def main() -> ChatResult:
        with LLMClient(server.root) as client:
            return await asyncio.to_thread(client.chat_completion, HELLO)

    assert asyncio.run(main()).content == "Hi"


def test_threads_share_a_client(server: Script, client: LLMClient) -> None:
    server.says(reply())
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(client.chat_completion(HELLO).content)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["Hi"] * 8


def test_calls_in_plain_code_reuse_their_connection(server: Script, client: LLMClient) -> None:
    server.says(reply())
    for _ in range(3):
        client.chat_completion(HELLO)
    assert len(server.peers) == 1


@pytest.mark.anyio
async def test_the_async_client_answers_and_reuses_its_connection(server: Script) -> None:
    server.says(reply())
    async with AsyncLLMClient(server.root) as client:
        assert (await client.chat_completion(HELLO)).content == "Hi"
        assert (await client.respond("coding", HELLO)).content == "Hi"
    assert len(server.peers) == 1
    assert server.body["model"] == "coding"


@pytest.mark.anyio
async def test_the_async_client_retries_with_the_same_pauses(server: Script, naps: list[float]) -> None:
    async def nap(seconds: float) -> None:
        naps.append(seconds)

    server.says({"error": "no"}, 500).says({"error": "no"}, 429, retry_after="9").says(reply())
    async with AsyncLLMClient(server.root, sleep=nap) as client:
        assert (await client.chat_completion(HELLO)).content == "Hi"
    assert naps == [1.0, 9.0]


@pytest.mark.anyio
async def test_the_async_client_streams_and_fails_like_the_other_one(server: Script) -> None:
    server.streams(event(content="H"), event(content="i", finish_reason="stop"))
    server.says({"error": {"message": "no"}}, 404)
    server.says(reply("whole"))
    server.streams(event(content="H"), {"error": {"message": "died"}})
    async with AsyncLLMClient(server.root) as client:
        async with client.stream_chat(HELLO) as stream:
            assert [d.content async for d in stream] == ["H", "i"]
        assert stream.result.content == "Hi"
        with pytest.raises(LLMNotFound):
            await anext(aiter(client.stream_chat(HELLO)))
        assert [d.content async for d in client.stream_chat(HELLO)] == ["whole"]
        with pytest.raises(LLMServerError, match="died"):
            async for _ in client.stream_chat(HELLO):
                pass


@pytest.mark.anyio
async def test_the_async_client_has_the_other_calls_too(server: Script) -> None:
    server.says({"choices": [{"text": "x"}]}).says({"data": [{"embedding": [1]}]})
    server.says({"data": [{"id": "a"}]}).says({"status": "ok"})
    async with AsyncLLMClient(server.root) as client:
        assert (await client.completions("p")).text == "x"
        assert await client.embeddings("p") == [[1.0]]
        assert [m.id for m in await client.models()] == ["a"]
        assert (await client.health()).status == "ok"


@pytest.mark.anyio
async def test_a_cancelled_call_leaves_the_async_client_usable(server: Script) -> None:
    server.says(x_test="silent").says(reply())
    async with AsyncLLMClient(server.root) as client:
        call = asyncio.ensure_future(client.chat_completion(HELLO))
        while not server.requests:
            await asyncio.to_thread(lambda: None)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await client.chat_completion(HELLO)).content == "Hi"


def test_a_client_nobody_closed_closes_its_connections_itself(server: Script) -> None:
    server.says(reply())
    client = LLMClient(server.root)
    client.chat_completion(HELLO)
    pool = next(iter(client._carrier._pools.values()))
    del client
    assert pool.is_closed


# --- the package ------------------------------------------------------------------------------------------


def loaded_after(statement: str) -> Mapping[str, bool]:
    heavy = ("httpx2", "msgspec", "asyncio", "ssl")
    code = f"import sys; {statement}; print([m for m in {heavy!r} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return {name: name in done.stdout for name in heavy}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not any(loaded_after("import rolecast").values())


def test_making_a_client_does_not_load_the_transport() -> None:
    assert not loaded_after("from rolecast import LLMClient; LLMClient()")["httpx2"]


def test_errors_form_one_tree() -> None:
    family: list[type[Exception]] = [
        LLMTimeout,
        LLMConnectionError,
        LLMRateLimit,
        LLMServerError,
        LLMInvalidResponse,
        LLMBadRequest,
    ]
    make: Callable[[type[Exception]], Exception] = lambda kind: kind("x")  # noqa: E731
    assert all(isinstance(make(kind), LLMClientError) for kind in family)
    assert issubclass(LLMNotFound, LLMBadRequest)
    assert issubclass(LLMAuthError, LLMBadRequest)
