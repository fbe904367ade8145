"""JSON-RPC as texts over the methods of MCP, as Conductor's `handle_mcp_request`: example, errors, methods."""

import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway import Gate, ScriptedWorker, config, on_uvloop, remote, running_gateway, short_folder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp_talk import says

from rolecast.config.schema import Model
from rolecast.mcp.api import Gateways
from rolecast.mcp.calls import Outcome
from rolecast.mcp.catalogue import Catalogue
from rolecast.mcp.dispatch import Dispatcher
from rolecast.mcp.pictures import pictured
from rolecast.mcp.tools import tools
from rolecast.telemetry.quiet import Quiet

__all__ = ["on_uvloop"]
pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker, Dispatcher]]:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            models = {"m": remote(worker.url), "org/l": Model(backend="fake")}
            async with running_gateway(config(models), Path(folder)) as gate:
                gateways = Gateways()
                yield gate, worker, Dispatcher(gateways.api(f"http://127.0.0.1:{gate.port()}"))
                await gateways.aclose()


@pytest.fixture
def dispatcher(shared: tuple[Gate, ScriptedWorker, Dispatcher]) -> Iterator[Dispatcher]:
    shared[1].reset()
    shared[1].usual = says("hi")
    yield shared[2]
    assert not shared[1].bad


@pytest.fixture
def worker(shared: tuple[Gate, ScriptedWorker, Dispatcher]) -> ScriptedWorker:
    return shared[1]


async def ask(dispatcher: Dispatcher, method: str, params: Any = None, number: Any = "1") -> Any:
    asked = {"id": number, "method": method} | ({} if params is None else {"params": params})
    answer = json.loads(await dispatcher.handle(json.dumps(asked)))
    assert answer["jsonrpc"] == "2.0"
    assert answer["id"] == number
    assert ("result" in answer) != ("error" in answer)
    return answer


async def test_the_documented_request_is_answered_without_a_handshake(dispatcher: Dispatcher) -> None:
    params = {"name": "generate_text", "arguments": {"prompt": "Hello world", "category": "conversational_chat"}}
    answer = await ask(dispatcher, "tools/call", params)
    assert answer["result"]["content"] == [{"type": "text", "text": "hi"}]


async def test_the_handshake_is_conductors(dispatcher: Dispatcher) -> None:
    result = (await ask(dispatcher, "initialize", {"protocolVersion": "2024-11-05"}))["result"]
    assert result["protocolVersion"] == "2024-11-05"
    assert result["serverInfo"] == {"name": "Conductor LLM Server", "version": "1.0.0"}
    assert {"tools", "resources"} <= result["capabilities"].keys()
    newer = (await ask(dispatcher, "initialize", {"protocolVersion": "2025-06-18"}))["result"]
    assert newer["protocolVersion"] == "2025-06-18"
    assert (await ask(dispatcher, "ping"))["result"] == {}


@pytest.mark.parametrize("method", ["initialized", "notifications/initialized", "notifications/cancelled", "no/such"])
async def test_a_notification_gets_no_reply(dispatcher: Dispatcher, method: str) -> None:
    assert await dispatcher.handle(json.dumps({"jsonrpc": "2.0", "method": method})) == ""


async def test_conductors_four_tools_have_its_arguments(dispatcher: Dispatcher, worker: ScriptedWorker) -> None:
    for name, arguments, category in (
        ("generate_text", {"prompt": "x", "category": "general_reasoning", "max_tokens": 5, "temperature": 0}, ""),
        ("complete_code", {"code": "def f(", "language": "python", "max_tokens": 5}, "code_completion"),
        (
            "translate_text",
            {"text": "x", "source_lang": "english", "target_lang": "german", "formal_register": True},
            "translation",
        ),
        (
            "solve_math",
            {"problem": "2+2", "math_context": "algebra", "show_work": True, "use_latex": False},
            "mathematical_reasoning",
        ),
    ):
        result = (await ask(dispatcher, "tools/call", {"name": name, "arguments": arguments}))["result"]
        assert not result["isError"], result
        assert result["structuredContent"]["category"] == (category or "general_reasoning")
    assert worker.requests[0].json["max_tokens"] == 5


@pytest.mark.parametrize(
    ("text", "number", "code"),
    [
        ("{", None, -32700),
        ("", None, -32700),
        ("\ud800".encode("utf-8", "surrogatepass"), None, -32700),
        ("[" * 100_000, None, -32700),
        ("5", None, -32600),
        ("[]", None, -32600),
        ('{"id": 3}', 3, -32600),
        ('{"id": {}, "method": "ping"}', None, -32600),
        ('{"id": 3, "method": 5}', 3, -32600),
        ('{"id": 3, "method": "no/such"}', 3, -32601),
        ('{"id": 3, "method": "tools/call", "params": 7}', 3, -32602),
        ('{"id": 3, "method": "tools/call", "params": {"name": "rm"}}', 3, -32602),
        ('{"id": 3, "method": "tools/call", "params": {"name": "chat", "arguments": []}}', 3, -32602),
        ('{"id": 3, "method": "generation/generate", "params": {}}', 3, -32602),
        ('{"id": 3, "method": "models/load", "params": {"technical_name": "nobody"}}', 3, -32603),
        ('{"id": 3, "method": "sessions/clear", "params": {"session_id": "nobodys"}}', 3, -32603),
        ('{"id": 3, "method": "system/config", "params": {"operation": "drop"}}', 3, -32602),
    ],
)
async def test_errors_have_the_codes_of_json_rpc(
    dispatcher: Dispatcher, text: str | bytes, number: Any, code: int
) -> None:
    answer = json.loads(await dispatcher.handle(text))
    assert (answer["id"], answer["error"]["code"]) == (number, code)
    assert "result" not in answer
    if code == -32603:
        assert answer["error"]["data"]


async def test_a_batch_is_answered_but_for_its_notifications(dispatcher: Dispatcher) -> None:
    batch = [{"id": 1, "method": "ping"}, {"method": "initialized"}, 5, {"id": "b", "method": "no/such"}]
    answers = json.loads(await dispatcher.handle(json.dumps(batch)))
    assert [each["id"] for each in answers] == [1, None, "b"]
    assert await dispatcher.handle('[{"method": "initialized"}]') == ""


async def test_conductors_own_methods_have_its_fields(dispatcher: Dispatcher) -> None:
    async def result(method: str, **params: Any) -> Any:
        return (await ask(dispatcher, method, params))["result"]

    for method in ("generation/generate", "generation/stream"):
        answer = await result(method, prompt="hi", category="conversational_chat", session_id="s")
        assert {"response", "category", "model", "metadata"} <= answer.keys()
        assert answer["response"] == "hi"
    assert [each["technical_name"] for each in (await result("models/list"))["models"]] == ["m", "org/l"]
    assert (await result("models/load", technical_name="org/l"))["status"] == "ready"
    assert (await result("models/status", technical_name="org/l"))["status"] == "loaded"
    health = await result("system/health")
    assert health["status"] == "healthy"
    assert "org/l" in health["loaded_models"]
    assert {"error_models", "total_memory_gb", "engines_active", "timestamp"} <= health.keys()
    assert (await result("models/unload", technical_name="org/l"))["status"] == "cold"
    assert (await result("models/status", technical_name="org/l"))["status"] == "unloaded"
    assert {"memory", "activity", "registry", "engines"} == (await result("system/stats")).keys()
    assert (await result("system/config", operation="get"))["config"]["roles"] == {"standard": ["m"]}
    refused = (await ask(dispatcher, "system/config", {"operation": "reload"}))["error"]
    assert (refused["code"], refused["message"]) == (-32603, refused["data"])  # this gateway has no file
    assert (await result("system/config", operation="validate"))["valid"] is True
    assert (await result("sessions/create", session_id="mine")) == {"session_id": "mine"}
    assert (await result("sessions/create"))["session_id"]
    assert "s" in (await result("sessions/list"))["sessions"]
    assert "s" in (await result("sessions/clear"))["cleared"]
    assert (await result("sessions/list"))["sessions"] == []
    completion = await result("completion/complete", argument={"name": "category", "value": "trans"})
    assert completion["completion"] == {"values": ["translation"], "total": 1, "hasMore": False}
    contents = (await result("resources/read", uri="conductor://engines"))["contents"]
    assert "general_reasoning" in contents[0]["text"]


async def test_a_gateway_that_has_gone_is_an_error_with_the_next_step() -> None:
    gateways = Gateways()
    dispatcher = Dispatcher(gateways.api("http://127.0.0.1:9"))
    result = (await ask(dispatcher, "tools/call", {"name": "chat", "arguments": {"prompt": "x"}}))["result"]
    assert result["isError"]
    assert "rolecast up" in result["content"][0]["text"]
    assert (await ask(dispatcher, "models/list"))["error"]["code"] == -32603
    await gateways.aclose()


async def test_the_gateways_own_list_of_tasks_decides_what_tools_take() -> None:
    option = {"kind": "word", "default": None, "values": ["dry", "wet"], "open": None, "also": [], "description": "d"}
    task = {"name": "weather", "title": "Weather", "description": "Says it.", "model": "m", "options": {"kind": option}}
    pages: dict[str, Any] = {
        "/categories": {"categories": ["weather"], "category_info": {}},
        "/v1/models": {"data": [{"id": "m"}]},
        "/tasks": {"tasks": [task, {"name": "nobodys", "title": None, "options": {}}]},
    }

    class Pages:
        async def get(self, path: str) -> Any:
            return pages[path]

    found = tools(await Catalogue().offer(Pages()))  # type: ignore[arg-type]
    assert "chat" not in found  # nobody answers it
    assert "nobodys" not in found
    assert found["weather"].takes["properties"]["kind"] == {
        "type": "string",
        "enum": ["dry", "wet"],
        "description": "d",
    }
    assert found["weather"].takes["required"] == ["prompt"]


def test_logs_tell_where_something_failed_and_nothing_of_what_was_said() -> None:
    try:
        raise ValueError("the prompt")
    except ValueError:
        record = logging.LogRecord("mcp", 40, "f.py", 1, "handler for %r failed", ("the prompt",), sys.exc_info())
    line = Quiet().format(record)
    assert line.startswith("ERROR mcp: handler for %r failed (ValueError: test_logs_tell_where")
    assert "the prompt" not in line


def test_the_bytes_of_pictures_are_content_and_no_text() -> None:
    images = ["data:image/png;base64,AAAA", "http://127.0.0.1:1/a.png"]
    outcome = Outcome("\n".join(images), {"response": "\n".join(images), "metadata": {"images": images, "n": 2}})
    told, content = pictured(outcome)
    assert content == [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]
    assert "AAAA" not in repr(told)
    assert told.data["metadata"]["n"] == 2
    assert images[1] in told.text
    plain = Outcome("x", {"response": "x"})
    assert pictured(plain) == (plain, [])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
METHODS = ("initialize", "ping", "tools/call", "resources/read", "prompts/get", "completion/complete", "models/status")
requests = st.fixed_dictionaries(
    {"method": st.sampled_from(METHODS) | json_values},
    optional={
        "id": json_values,
        "params": json_values
        | st.dictionaries(
            st.sampled_from(["name", "arguments", "uri", "argument", "ref", "technical_name"]), json_values
        ),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=requests | json_values)
async def test_whatever_is_asked_has_one_answer_or_none(dispatcher: Dispatcher, asked: Any) -> None:
    said = await dispatcher.handle(json.dumps(asked))
    if said:
        answers = json.loads(said)
        for answer in answers if isinstance(answers, list) else [answers]:
            assert ("result" in answer) != ("error" in answer)
            assert answer.get("error", {}).get("message") != "Internal error", answer
