"""MCP behind the front door: the official client, what reaches the worker, who the caller is, its life."""

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import mcp_types
import msgspec
import psutil
import pytest
from gateway import (
    SSE_HEAD,
    Gate,
    Held,
    ScriptedWorker,
    chunk,
    config,
    delta,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    turns,
    until,
)
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_talk import ARGUMENTS, TASKS, over_http, over_stdio, says

from rolecast.asgi import Embedded
from rolecast.config.mcp import Mcp
from rolecast.config.schema import Config, Model, Storage
from rolecast.config.units import Seconds
from rolecast.mcp.api import Gateways
from rolecast.mcp.dispatch import Dispatcher

__all__ = ["on_uvloop"]
pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

VECTORS = (
    b'{"object":"list","model":"e","data":[{"index":0,"object":"embedding","embedding":[1,0]},'
    b'{"index":1,"object":"embedding","embedding":[0,1]}],"usage":{"prompt_tokens":2,"total_tokens":2}}'
)
ACCEPT = "Accept: application/json, text/event-stream\r\n"
LONG = {"prompt": "Tell me something long."}


def setting(url: str, **mcp: Any) -> Config:
    models = {"m": remote(url), "e": remote(url, capabilities=["embeddings"]), "l": Model(backend="fake")}
    made = config(models, keys=mcp.pop("keys", []))
    return msgspec.structs.replace(made, mcp=Mcp(**mcp))


@contextlib.asynccontextmanager
async def both(**fields: Any) -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            running = running_gateway(setting(worker.url, **fields), Path(folder))
            async with running as gate:
                yield gate, worker


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    async with both() as found:
        yield found


@pytest.fixture
def front(shared: tuple[Gate, ScriptedWorker], caplog: pytest.LogCaptureFixture) -> Iterator[Gate]:
    gate, worker = shared
    worker.reset()
    worker.usual = says("hi")
    yield gate
    assert not worker.bad
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


@pytest.fixture
def worker(shared: tuple[Gate, ScriptedWorker]) -> ScriptedWorker:
    return shared[1]


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    """Without a session, as the newest protocol is, and with one."""
    return str(request.param)


def post(body: dict[str, Any], head: str = "", host: str = "localhost") -> bytes:
    return request({"jsonrpc": "2.0", **body}, path="/mcp", head=ACCEPT + head, host=host)


INITIALIZE = {
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


async def session(front: Gate, head: str = "", version: str = "2025-11-25") -> tuple[str, dict[str, Any]]:
    """A session that was begun by hand: its header line, and what it was told."""
    body = {**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": version}}  # type: ignore[dict-item]
    answer = await front.ask(post(body, head))
    assert answer.status == 200, answer.body
    line = f"Mcp-Session-Id: {answer.header('mcp-session-id')}\r\n{head}"
    assert (await front.ask(post({"method": "notifications/initialized"}, line))).status == 202
    return line, told(answer.body)["result"]


def told(body: bytes) -> Any:
    """The last message of an event stream, or the one of a plain answer."""
    lines = [line[5:] for line in body.decode().splitlines() if line.startswith("data:") and len(line) > 6]
    return json.loads(lines[-1] if lines else body)


# -- tools -----------------------------------------------------------------------------------------------------


async def test_every_tool_is_listed_with_its_schema_and_can_be_called(
    front: Gate, worker: ScriptedWorker, mode: str
) -> None:
    async with over_http(front, mode) as client:
        listed = (await client.list_tools()).tools
        assert {tool.name for tool in listed} == ARGUMENTS.keys() - {"generate_image"}
        for tool in listed:
            assert tool.description
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint is (tool.name not in ("load_model", "unload_model"))
            if tool.name == "embed":
                worker.script.append(reply(VECTORS))
            arguments = ARGUMENTS[tool.name] | ({"model": "l"} if "load" in tool.name else {})
            result = await client.call_tool(tool.name, arguments)
            assert not result.is_error, (tool.name, result.content)
            assert result.structured_content is not None
            if tool.name in TASKS:
                assert result.structured_content["response"]
                assert result.structured_content["model"] == "m"


async def test_every_tool_works_on_standard_input_and_output_too(front: Gate, worker: ScriptedWorker) -> None:
    async with over_stdio(front) as client:
        listed = (await client.list_tools()).tools
        assert {tool.name for tool in listed} == ARGUMENTS.keys() - {"generate_image"}
        for tool in listed:
            if tool.name == "embed":
                worker.script.append(reply(VECTORS))
            arguments = ARGUMENTS[tool.name] | ({"model": "l"} if "load" in tool.name else {})
            result = await client.call_tool(tool.name, arguments)
            assert not result.is_error, (tool.name, result.content)


async def test_the_tools_of_tasks_ask_for_their_category_with_their_options(
    front: Gate, worker: ScriptedWorker
) -> None:
    async with over_http(front) as client:
        said = {"prompt": "Why?", "reasoning_type": "causal", "depth": "deep", "max_tokens": 7, "temperature": 0}
        result = await client.call_tool("reason", said)
        assert result.structured_content is not None
        assert result.structured_content["category"] == "general_reasoning"
        assert result.structured_content["tokens"] == 2
        (asked,) = worker.requests
        assert asked.json["max_tokens"] == 7
        assert asked.json["temperature"] == 0
        system, user = asked.json["messages"]
        assert "causes and effects" in system["content"]
        assert user["content"] == "Why?"


async def test_the_options_of_a_task_are_arguments_with_their_words(front: Gate) -> None:
    async with over_http(front) as client:
        schemas = {tool.name: tool.input_schema["properties"] for tool in (await client.list_tools()).tools}
    assert schemas["reason"]["depth"] == {
        "type": "string",
        "enum": ["shallow", "medium", "deep"],
        "default": "medium",
        "description": "How far it goes.",
    }
    assert schemas["reason"]["step_by_step"]["type"] == "boolean"
    assert {"code", "language", "max_tokens"} <= schemas["complete_code"].keys()
    assert {"text", "source_lang", "target_lang", "formal_register"} <= schemas["translate_text"].keys()
    assert {"problem", "math_context", "show_work", "use_latex"} <= schemas["solve_math"].keys()
    assert {"prompt", "category", "max_tokens", "temperature", "session_id"} <= schemas["generate_text"].keys()


async def test_a_prompt_without_a_category_is_classified(front: Gate) -> None:
    async with over_http(front) as client:
        result = await client.call_tool("generate_text", {"prompt": "Translate 'good morning' into French, please."})
    assert result.structured_content is not None
    assert result.structured_content["category"] == "translation"


async def test_what_the_gateway_refuses_is_an_error_with_its_sentence(front: Gate, worker: ScriptedWorker) -> None:
    async with over_http(front) as client:
        unknown = await client.call_tool("chat", {"prompt": "x", "model": "nobody"})
        worker.script.extend([reply(b'{"error":{"message":"x"}}', 500)] * 9)
        broken = await client.call_tool("chat", {"prompt": "x"})
    worker.script.clear()
    assert unknown.is_error
    assert "nobody" in unknown.content[0].text  # type: ignore[union-attr]
    assert broken.is_error
    assert broken.content[0].text  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("chat", {}, "'prompt' is a required property"),
        ("chat", {"prompt": ["x"]}, "is not of type 'string'"),
        ("reason", {"prompt": "x", "depth": "bottomless"}, "`depth`: 'bottomless' is not one of"),
        ("chat", {"prompt": "x", "max_tokens": -1}, "`max_tokens`"),
        ("generate_text", {"prompt": "x", "category": "alchemy"}, "`category`"),
    ],
)
async def test_arguments_that_do_not_fit_are_told_and_reach_no_model(
    front: Gate, worker: ScriptedWorker, name: str, arguments: dict[str, Any], word: str
) -> None:
    async with over_http(front) as client:
        result = await client.call_tool(name, arguments)
    assert result.is_error
    assert word in result.content[0].text  # type: ignore[union-attr]
    assert worker.requests == []


@pytest.mark.parametrize(
    ("name", "arguments", "sent"),
    [
        ("chat", {"prompt": "x", "max_tokens": "20", "temperature": "0.5"}, {"max_tokens": 20, "temperature": 0.5}),
        ("chat", {"prompt": "x", "max_tokens": 20.0}, {"max_tokens": 20}),
        ("chat", {"prompt": 42}, {"messages": "42"}),
        ("chat", {"prompt": "x", "temperature": None, "model": None, "session_id": None}, {}),
        ("reason", {"prompt": "x", "depth": "Deep"}, {"messages": "thorough"}),
        ("reason", {"prompt": "x", "depth": "", "step_by_step": "true"}, {}),
        ("reason", {"prompt": "x", "depth": None}, {}),
        ("generate_text", {"prompt": "x", "category": "general_reasoning", "extra_params": '{"depth": "deep"}'}, {}),
    ],
)
async def test_arguments_are_read_as_small_models_and_strict_clients_write_them(
    front: Gate, worker: ScriptedWorker, name: str, arguments: dict[str, Any], sent: dict[str, Any]
) -> None:
    async with over_http(front) as client:
        result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    asked = worker.requests[-1].json
    said = json.dumps(asked["messages"]).lower()
    assert sent.pop("messages", "") in said
    assert {field: asked[field] for field in sent} == sent


async def test_fields_that_a_client_adds_to_a_call_do_no_harm_and_are_told(front: Gate, worker: ScriptedWorker) -> None:
    more = {"toolCallId": "call_1", "sessionId": "s"}
    async with over_http(front) as client:
        result = await client.call_tool("chat", {"prompt": "x", **more})
        listed = await client.call_tool("list_models", more)
    assert not result.is_error
    assert not listed.is_error
    assert result.structured_content is not None
    assert result.structured_content["metadata"]["ignored_options"] == list(more)
    assert b"call_1" not in worker.requests[-1].body


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "text/event-stream"),
        ("Accept: */*\r\n", "text/event-stream"),
        ("Accept: text/event-stream\r\n", "text/event-stream"),
        ("Accept: application/json\r\n", "application/json"),
        ("Accept: application/json; charset=utf-8\r\n", "application/json"),
        ("Accept: text/event-stream, application/json\r\n", "text/event-stream"),
    ],
)
async def test_a_client_gets_what_it_accepts(front: Gate, worker: ScriptedWorker, accept: str, media: str) -> None:
    begun = await front.ask(request({"jsonrpc": "2.0", **INITIALIZE}, path="/mcp", head=accept))
    assert (begun.status, begun.header("content-type").split(";")[0]) == (200, media)
    line = f"Mcp-Session-Id: {begun.header('mcp-session-id')}\r\n"
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await front.ask(request(note, path="/mcp", head=accept + line))).status == 202
    params = {"name": "chat", "arguments": {"prompt": "x"}, "_meta": {"progressToken": 7}}
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    answer = await front.ask(request(call, path="/mcp", head=accept + line))
    found = answer.json if media == "application/json" else told(answer.body)
    assert (found["id"], found["result"]["content"][0]["text"]) == (7, "hi")


async def test_schemas_are_what_the_strictest_clients_take(front: Gate) -> None:
    async with over_http(front) as client:
        listed = (await client.list_tools()).tools
    assert len(listed) <= 40
    for tool in listed:
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,50}", tool.name)  # with `rolecast` below 60
        for schema in (tool.input_schema, tool.output_schema):
            assert schema is not None
            assert schema["type"] == "object"
            assert not {"anyOf", "oneOf", "allOf", "$ref", "$defs", "$schema"} & schema.keys()
            assert not re.search(r'"(\$ref|oneOf|allOf|\$defs)"', json.dumps(schema))
        assert all(re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", name) for name in tool.input_schema["properties"])
        assert all(each.get("type") or each.get("anyOf") for each in tool.input_schema["properties"].values())


async def test_an_unknown_tool_and_an_unknown_method_are_errors_of_the_protocol(front: Gate, mode: str) -> None:
    async with over_http(front, mode) as client:
        with pytest.raises(MCPError) as unknown:
            await client.call_tool("rm", {})
        assert unknown.value.error.code == -32602
        with pytest.raises(MCPError) as resource:
            await client.read_resource("conductor://secrets")
        assert resource.value.error.code == (-32002 if mode == "legacy" else -32602)
    line, _ = await session(front)
    answer = await front.ask(post({"id": 9, "method": "no/such"}, line))
    assert told(answer.body)["error"]["code"] == -32601


# -- progress and leaving --------------------------------------------------------------------------------------


async def test_progress_grows_while_an_answer_is_made_and_comes_before_it(
    front: Gate, worker: ScriptedWorker, mode: str
) -> None:
    held = Held(delta("once upon "))
    worker.script.append(held)
    seen: list[float] = []

    async def note(progress: float, total: float | None, words: str | None) -> None:
        seen.append(progress)
        held.let_go.set()  # so it must come while the answer is open

    async with over_http(front, mode) as client:
        result = await client.call_tool("chat", LONG, progress_callback=note)
    assert seen == [10.0]
    assert result.structured_content is not None
    assert result.structured_content["response"] == "once upon "


async def test_an_answer_that_is_checked_is_asked_for_whole_and_its_time_is_told(
    front: Gate, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    async def note(progress: float, total: float | None, words: str | None) -> None:
        seen.append(words)

    worker.script.append(says("2", after_s=2.5))
    async with over_http(front) as client:
        result = await client.call_tool("solve_math", {"problem": "1+1"}, progress_callback=note)
    assert result.structured_content is not None
    assert result.structured_content["tokens"] >= 2  # a stream would have none
    assert seen[0] == "working for 2 s"


async def test_while_a_model_loads_a_client_that_waits_is_told_that_it_goes_on(
    front: Gate, worker: ScriptedWorker
) -> None:
    seen: list[tuple[float, str | None]] = []

    async def note(progress: float, total: float | None, words: str | None) -> None:
        seen.append((progress, words))

    worker.script.append(says("hello", after_s=4.5))
    async with over_http(front) as client:
        result = await client.call_tool("chat", {"prompt": "x"}, progress_callback=note)
    assert result.content[0].text == "hello"  # type: ignore[union-attr]
    assert [words for _, words in seen] == ["working for 2 s", "working for 4 s", "5 characters"]
    assert [step for step, _ in seen] == sorted({step for step, _ in seen})


async def test_a_cancelled_call_frees_the_slot(front: Gate, worker: ScriptedWorker, mode: str) -> None:
    held = Held(delta("a"))
    worker.script.append(held)

    async def note(*_: Any) -> None:
        pass

    async with over_http(front, mode) as client:
        call = asyncio.ensure_future(client.call_tool("chat", LONG, progress_callback=note))
        await asyncio.wait_for(held.began.wait(), 20)
        assert held.peer is not None
        call.cancel()
        await asyncio.wait_for(held.peer.gone.wait(), 20)
        assert (await client.call_tool("chat", {"prompt": "x"})).is_error is False
    await until(lambda: not front.gateway.dispatch.active)


async def test_a_client_that_hangs_up_frees_the_slot(front: Gate, worker: ScriptedWorker) -> None:
    line, _ = await session(front)
    held = Held(delta("a"))
    worker.script.append(held)
    async with front.client() as client:
        params = {"name": "chat", "arguments": LONG, "_meta": {"progressToken": 1}}
        await client.send(post({"id": 2, "method": "tools/call", "params": params}, line))
        await asyncio.wait_for(held.began.wait(), 20)
        client.abort()
        assert held.peer is not None
        await asyncio.wait_for(held.peer.gone.wait(), 20)


async def test_a_client_that_hangs_up_before_the_head_of_an_answer_frees_the_slot(
    front: Gate, worker: ScriptedWorker
) -> None:
    held = Held()
    worker.script.append(held)
    version = "2026-07-28"
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    }
    params = {"name": "chat", "arguments": {"prompt": "1+1"}, "_meta": meta}
    head = f"MCP-Protocol-Version: {version}\r\nMcp-Method: tools/call\r\nMcp-Name: chat\r\n"
    async with front.client() as client:
        await client.send(post({"id": 2, "method": "tools/call", "params": params}, head))
        await asyncio.wait_for(held.began.wait(), 20)
        client.abort()
        assert held.peer is not None
        await asyncio.wait_for(held.peer.gone.wait(), 20)


async def test_a_failure_inside_of_an_answer_is_an_error_of_the_call(front: Gate, worker: ScriptedWorker) -> None:
    async def breaks(peer: Any, received: Any) -> None:
        await peer.send(SSE_HEAD + chunk(delta("half")))
        await turns()
        peer.close()

    async def note(*_: Any) -> None:
        pass

    worker.script.extend([breaks] * 9)
    async with over_http(front) as client:
        result = await client.call_tool("chat", LONG, progress_callback=note)
    worker.script.clear()
    assert result.is_error


# -- resources, prompts, completions, Conductor's methods -------------------------------------------------------


async def test_resources_tell_of_the_gateway_and_no_secret(front: Gate, worker: ScriptedWorker, mode: str) -> None:
    async with over_http(front, mode) as client:
        listed = (await client.list_resources()).resources
        assert {str(each.uri) for each in listed} == {
            f"conductor://{name}" for name in ("models", "config", "health", "engines")
        }
        texts = {str(each.uri): (await client.read_resource(each.uri)).contents[0].text for each in listed}  # type: ignore[union-attr]
        one = (await client.read_resource("rolecast://models/m")).contents[0].text  # type: ignore[union-attr]
        templates = (await client.list_resource_templates()).resource_templates
    assert json.loads(one)["technical_name"] == "m"
    assert {each.uri_template for each in templates} == {"conductor://models/{name}", "conductor://engines/{category}"}
    assert json.loads(texts["conductor://health"])["status"] == "healthy"
    assert json.loads(texts["conductor://config"])["roles"] == {"standard": ["m"]}
    reasoning = next(
        each for each in json.loads(texts["conductor://engines"]) if each["category"] == "general_reasoning"
    )
    assert reasoning["options"]["depth"]["values"] == ["shallow", "medium", "deep"]
    assert worker.url not in "".join(texts.values())


async def test_a_prompt_of_a_task_names_its_tool_and_arguments_are_completed(front: Gate, mode: str) -> None:
    async with over_http(front, mode) as client:
        prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
        assert prompts.keys() == set(TASKS) - {"generate_image"}
        got = await client.get_prompt("reason", {"prompt": "Why?", "depth": "deep"})
        ref = mcp_types.PromptReference(name="reason")
        deep = (await client.complete(ref, {"name": "depth", "value": "d"})).completion.values
        template = mcp_types.ResourceTemplateReference(uri="conductor://models/{name}")
        names = (await client.complete(template, {"name": "name", "value": ""})).completion.values
        with pytest.raises(MCPError) as missing:
            await client.get_prompt("reason", {})
        with pytest.raises(MCPError):
            await client.get_prompt("route", {"prompt": "x"})
    assert missing.value.error.code == -32602
    text = got.messages[0].content.text  # type: ignore[union-attr]
    assert "`reason`" in text
    assert '{"prompt":"Why?","depth":"deep"}' in text
    assert deep == ["deep"]
    assert names == ["m", "e", "l"]


async def test_conductors_own_methods_are_answered_on_the_same_address(front: Gate) -> None:
    line, result = await session(front, version="2024-11-05")
    assert result["protocolVersion"] == "2024-11-05"
    assert result["serverInfo"]["name"] == "Rolecast"

    async def call(method: str, **params: Any) -> Any:
        return told((await front.ask(post({"id": 5, "method": method, "params": params}, line))).body)

    answer = (await call("generation/generate", prompt="hi", category="conversational_chat"))["result"]
    assert {"response", "category", "model", "metadata"} <= answer.keys()
    assert (await call("system/health"))["result"]["status"] == "healthy"
    assert (await call("models/list"))["result"]["models"][0]["technical_name"] == "m"
    assert (await call("models/status"))["error"]["code"] == -32602
    assert (await call("ping"))["result"] == {}


# -- who may ask, and as whom ------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["Origin: http://evil.example\r\n", ""])
async def test_a_foreign_host_or_origin_is_403_and_starts_nothing(front: Gate, head: str) -> None:
    before = front.gateway.mcp.helper.running
    for method in ("POST", "GET", "DELETE"):
        data = request({}, path="/mcp", method=method, head=head + ACCEPT, host="localhost" if head else "evil.example")
        assert (await front.ask(data)).status == 403
    assert front.gateway.mcp.helper.running == before


async def test_the_address_is_exactly_that_and_never_redirects(front: Gate) -> None:
    for path, status in (("/mcp", 200), ("/mcp/", 200), ("/mcp/x", 404), ("/health/mcp", 404)):
        data = request({"jsonrpc": "2.0", **INITIALIZE}, path=path, head=ACCEPT)
        assert (await front.ask(data)).status == status
    assert (await front.ask(request({}, path="/mcp", method="PUT"))).status == 405


async def test_what_is_no_message_is_an_error_of_json_rpc(front: Gate) -> None:
    line, _ = await session(front)
    broken = await front.ask(request(b"{", path="/mcp", head=ACCEPT + line))
    assert (broken.status, broken.json["error"]["code"]) == (400, -32700)
    command = {"command": "touch", "args": ["/tmp/x"], "env": {}}
    assert (await front.ask(request(command, path="/mcp", head=ACCEPT + line))).status == 400


async def test_a_session_that_nobody_knows_is_404(front: Gate) -> None:
    answer = await front.ask(post({"id": 2, "method": "tools/list"}, "Mcp-Session-Id: nobodys\r\n"))
    assert answer.status == 404
    line, _ = await session(front)
    assert (await front.ask(request(path="/mcp", method="DELETE", head=line + ACCEPT))).status == 200
    assert (await front.ask(post({"id": 2, "method": "tools/list"}, line))).status == 404


async def test_a_port_of_one_model_has_no_mcp(tmp_path: Path) -> None:
    from rolecast.config.schema import Listener

    made = config({"l": Model(backend="fake")}, listeners=[Listener(port=0, name="one", model="l")])
    async with running_gateway(made, tmp_path) as gate:
        assert (await gate.ask(post(INITIALIZE), "one")).status == 404


async def test_every_call_is_the_callers_own_by_key_and_session() -> None:
    async with both(keys=["sk-one", "sk-two"]) as (gate, _):
        assert (await gate.ask(post(INITIALIZE))).status == 401
        assert not gate.gateway.mcp.helper.running
        line, _ = await session(gate, "Authorization: Bearer sk-one\r\nx-session-id: tuesday\r\n")
        params = {"name": "chat", "arguments": {"prompt": "x"}}
        call = {"id": 3, "method": "tools/call", "params": params}
        answer = told((await gate.ask(post(call, line))).body)["result"]
        assert answer["structuredContent"]["session_id"] == "tuesday"
        stolen = line.replace("sk-one", "sk-two")
        assert (await gate.ask(post(call, stolen))).status == 404
        async with over_http(gate, x_api_key="sk-two") as client:
            assert not (await client.call_tool("chat", {"prompt": "x"})).is_error
        keys = [row.key for row in await gate.rows()]
    assert len(keys) == 2
    assert len(set(keys) - {""}) == 2


async def test_on_standard_input_the_key_is_the_programs() -> None:
    async with both(keys=["sk-one"]) as (gate, _):
        async with over_stdio(gate, ROLECAST_API_KEY="sk-one") as client:
            assert not (await client.call_tool("chat", {"prompt": "x"})).is_error
        async with over_stdio(gate) as client:
            result = await client.call_tool("chat", {"prompt": "x"})
            assert result.is_error
            assert "ROLECAST_API_KEY" in result.content[0].text  # type: ignore[union-attr]


async def test_inside_of_an_application_where_no_port_is_open_it_works_too(tmp_path: Path) -> None:
    made = config({"l": Model(backend="fake")})
    storage = Storage(url=f"sqlite:///{tmp_path / 'ledger.db'}", models=str(tmp_path))
    async with Embedded(msgspec.structs.replace(made, storage=storage)) as embedded:
        transport = httpx2.ASGITransport(app=embedded.app())
        async with (
            httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http,
            Client(streamable_http_client("http://localhost/mcp", http_client=http)) as client,
        ):
            result = await client.call_tool("chat", {"prompt": "Hello"})
        base = f"unix:{await embedded.socket(None)}"
        gateways = Gateways()
        asked = {"id": 1, "method": "tools/call", "params": {"name": "chat", "arguments": {"prompt": "Hello"}}}
        answer = json.loads(await Dispatcher(gateways.api(base)).handle(json.dumps(asked)))
        await gateways.aclose()
    assert result.content[0].text == "fake: Hello"  # type: ignore[union-attr]
    assert answer["result"]["content"][0]["text"] == "fake: Hello"


async def test_without_a_gateway_the_tools_are_listed_and_a_call_says_how_to_start_one() -> None:
    async with over_stdio(None) as client:
        assert {"generate_text", "solve_math"} <= {tool.name for tool in (await client.list_tools()).tools}
        result = await client.call_tool("chat", {"prompt": "x"})
        assert result.is_error
        assert result.content[0].text == "No gateway is running. Start one with `rolecast up`."  # type: ignore[union-attr]


# -- its life ----------------------------------------------------------------------------------------------------


async def test_it_starts_with_the_first_request_and_ends_when_idle_but_not_while_somebody_listens(
    tmp_path: Path,
) -> None:
    made = msgspec.structs.replace(config({"l": Model(backend="fake")}), mcp=Mcp(idle_timeout=Seconds(0.3)))
    async with running_gateway(made, tmp_path) as gate:
        helper = gate.gateway.mcp.helper
        assert not helper.running
        line, _ = await session(gate)
        assert helper.running
        async with gate.client() as client:
            await client.send(request(path="/mcp", method="GET", head=line + ACCEPT))
            assert (await client.head())[0] == 200
            await asyncio.sleep(1.0)
            assert helper.running
        await until(lambda: not helper.running)
        assert (await gate.ask(post({"id": 2, "method": "tools/list"}, line))).status == 404  # a new one was started


async def test_after_a_kill_the_next_request_is_404_and_a_new_session_works(front: Gate) -> None:
    line, _ = await session(front)
    child = front.gateway.mcp.helper._child
    assert child is not None
    async with front.client() as client:
        await client.send(request(path="/mcp", method="GET", head=line + ACCEPT))
        assert (await client.head())[0] == 200
        os.kill(child.pid, signal.SIGKILL)
        assert [piece async for piece in client.chunks()] == []  # its stream ends, and is no crash
    answer = await front.ask(post({"id": 2, "method": "tools/list"}, line))
    assert answer.status == 404
    async with over_http(front, "legacy") as again:
        assert (await again.list_tools()).tools


async def test_a_call_whose_process_is_killed_ends_with_an_error_for_it(front: Gate, worker: ScriptedWorker) -> None:
    line, _ = await session(front)
    held = Held(delta("a word"))
    worker.script.append(held)
    params = {"name": "chat", "arguments": LONG, "_meta": {"progressToken": 1}}
    call = {"id": 7, "method": "tools/call", "params": params}
    asked = asyncio.create_task(front.ask(post(call, line)))
    await held.began.wait()
    await asyncio.sleep(0.3)
    os.kill(front.gateway.mcp.helper.pid, signal.SIGKILL)
    answer = await asked
    last = json.loads(answer.body.rsplit(b"data: ", 1)[1])
    assert last["id"] == 7
    assert "send the request again" in last["error"]["message"]
    await until(lambda: not front.gateway.dispatch.active)
    assert held.peer is not None
    assert held.peer.gone.is_set()


async def test_a_gateway_ends_at_once_although_somebody_listens(tmp_path: Path) -> None:
    made = config({"l": Model(backend="fake")})
    server = msgspec.structs.replace(made.server, drain_timeout=Seconds(30))
    from rolecast import app

    gateway = app.Gateway(msgspec.structs.replace(made, server=server))
    loop = asyncio.get_running_loop()
    async with app.serving(gateway):
        gate = Gate(gateway)
        line, _ = await session(gate)
        pid = gateway.mcp.helper._child.pid  # type: ignore[union-attr]
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port())
        writer.write(request(path="/mcp", method="GET", head=line + ACCEPT))
        await reader.readuntil(b"\r\n\r\n")
        begun = loop.time()
    assert loop.time() - begun < 10
    writer.close()
    assert not psutil.pid_exists(pid)


async def test_switched_off_it_says_so_and_starts_nothing(tmp_path: Path) -> None:
    made = msgspec.structs.replace(config({"l": Model(backend="fake")}), mcp=Mcp(enabled=False))
    async with running_gateway(made, tmp_path) as gate:
        answer = await gate.ask(post(INITIALIZE))
        assert answer.status in (404, 501)
        assert "mcp.enabled" in answer.error["message"]
        assert not gate.gateway.mcp.helper.running


async def test_on_a_front_door_of_conductor_it_has_conductors_name(tmp_path: Path) -> None:
    made = config({"l": Model(backend="fake")}, surface="conductor")
    async with running_gateway(made, tmp_path) as gate:
        _, result = await session(gate)
    assert (result["serverInfo"]["name"], result["serverInfo"]["version"]) == ("Conductor LLM Server", "1.0.0")


async def test_no_word_of_a_request_is_in_a_log(front: Gate, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    line, _ = await session(front)
    word = "xylophone"
    for data in (
        request(b'{"' + word.encode(), path="/mcp", head=ACCEPT + line),
        post({"id": 2, "method": "tools/call", "params": {"name": word, "arguments": {"prompt": word}}}, line),
        post({"id": 2, "method": "tools/call", "params": {"name": "chat", "arguments": {"prompt": word}}}, line),
        post({"id": 2, "method": "tools/call", "params": {"name": [word]}}, line),
        post(
            {"id": 2, "method": "prompts/get", "params": {"name": "chat", "arguments": {"prompt": {"a": word}}}}, line
        ),
        post({"method": word, "params": {"a": word}}, line),
        post({"method": "notifications/cancelled", "params": {"requestId": [word]}}, line),
    ):
        assert (await front.ask(data)).status < 500
    assert word not in front.gateway.mcp.helper.log_file.read_text()
    assert word not in caplog.text


async def test_many_clients_at_once_get_their_own_answers(front: Gate, worker: ScriptedWorker) -> None:
    async def echo(peer: Any, received: Any) -> None:
        said = received.json["messages"][-1]["content"]
        body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": said}}], "usage": {}}
        await reply(json.dumps(body).encode())(peer, received)

    worker.usual = echo

    async def one(number: int) -> None:
        async with over_http(front, "legacy" if number % 2 else "auto") as client:
            for turn in range(3):
                said = f"client {number}, turn {turn}"
                result = await client.call_tool("chat", {"prompt": said})
                assert result.content[0].text == said  # type: ignore[union-attr]

    await asyncio.gather(*map(one, range(8)))


async def test_a_large_answer_is_passed_whole_to_a_slow_reader(front: Gate, worker: ScriptedWorker) -> None:
    size = 3_000_000
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * size}}], "usage": {}}
    worker.script.append(reply(json.dumps(body).encode()))
    line, _ = await session(front)
    async with front.client(limit=2**23) as client:
        params = {"name": "chat", "arguments": {"prompt": "x"}}
        await client.send(post({"id": 2, "method": "tools/call", "params": params}, line))
        await asyncio.sleep(0.5)
        answer = await client.answer()
    assert told(answer.body)["result"]["structuredContent"]["response"] == "x" * size
