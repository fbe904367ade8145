"""Tools of real MCP servers in chats of a scripted model: offered, called, bounded, and freed."""

import asyncio
import contextlib
import gzip
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from free_ports import free_port
from gateway import (
    DONE,
    USAGE,
    Gate,
    Peer,
    Received,
    Script,
    ScriptedWorker,
    config,
    delta,
    event,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)
from quick_python import tool_server

from rolecast.config.edit import edit_to
from rolecast.config.mcp import Mcp, ToolServer
from rolecast.config.units import Bytes, Seconds

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

OWN = [{"type": "function", "function": {"name": "mine", "parameters": {"type": "object", "properties": {}}}}]
ON = "x-rolecast-tools: on\r\n"


def program(kind: str = "good", **fields: Any) -> ToolServer:
    return ToolServer(command=tool_server(kind), **({"allow": ["*"]} | fields))


@contextlib.asynccontextmanager
async def tooled(
    servers: dict[str, ToolServer], *, model: dict[str, Any] | None = None, **mcp: Any
) -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    """A gateway with these servers and a scripted model `m`."""
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            models = {"m": remote(worker.url, **(model or {}))}
            settings = msgspec.structs.replace(config(models), mcp=Mcp(servers=servers, **mcp))
            async with running_gateway(settings, Path(folder)) as gate:
                yield gate, worker


def calls(*wanted: tuple[str, dict[str, Any] | str], text: str = "") -> Script:
    """A model that calls these tools, perhaps after some words."""
    pieces = [delta(text)] if text else []
    for index, (name, arguments) in enumerate(wanted):
        said = arguments if isinstance(arguments, str) else json.dumps(arguments)
        head = {"index": index, "id": f"c{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        pieces.append(event({"choices": [{"index": 0, "delta": {"tool_calls": [head]}}]}))
        for part in (said[:3], said[3:]):
            more = {"index": index, "function": {"arguments": part}}
            pieces.append(event({"choices": [{"index": 0, "delta": {"tool_calls": [more]}}]}))
    pieces.append(event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}))
    return stream(*pieces, USAGE, DONE)


def says(text: str) -> Script:
    last = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return stream(delta(text), last, USAGE, DONE)


def results(received: Received) -> list[str]:
    """The results of tools that a request brings."""
    return [each["content"] for each in received.json["messages"] if each["role"] == "tool"]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Go."}], **fields}


def offered(received: Received) -> list[str]:
    return [each["function"]["name"] for each in received.json.get("tools") or []]


async def once(gate: Gate, worker: ScriptedWorker, *scripts: Script, head: str = ON, **fields: Any) -> Any:
    worker.script.extend(scripts)
    return await gate.ask(request(chat(**fields), head=head))


# -- the loop ------------------------------------------------------------------------------------------------


async def test_a_model_calls_a_tool_and_answers_with_its_result() -> None:
    async with tooled({"box": program()}) as (gate, worker):
        answer = await once(gate, worker, calls(("box__echo", {"text": "hi"}), text="Let me see."), says("It said hi."))
        assert answer.status == 200
        choice = answer.json["choices"][0]
        assert choice["message"]["content"] == "Let me see.\n\nIt said hi."
        assert not choice["message"].get("tool_calls")
        assert choice["finish_reason"] == "stop"
        assert answer.header("x-rolecast-tools") == "offered=10; rounds=1; calls=1"
        first, second = worker.requests
        assert "box__echo" in offered(first)
        assert "box__delete_all" not in offered(first)
        assistant, result = second.json["messages"][1:]
        assert assistant["tool_calls"][0]["function"] == {"name": "box__echo", "arguments": '{"text": "hi"}'}
        assert (result["content"], result["tool_call_id"]) == ("echo says hi", "c0")
        (row,) = await gate.rows()
        assert (row.outcome, row.prompt_tokens, row.completion_tokens) == ("ok", 22, 6)


async def test_a_request_that_does_not_ask_for_tools_gets_none_and_starts_nothing() -> None:
    async with tooled({"box": program()}) as (gate, worker):
        answer = await once(gate, worker, reply(), head="")
        assert answer.status == 200
        assert answer.header("x-rolecast-tools") is None
        assert offered(worker.requests[0]) == []
        assert not gate.gateway.toolbox.helper.running


async def test_nothing_is_offered_that_is_not_allowed() -> None:
    servers = {
        "none": program(allow=[]),
        "some": program(allow=["ec*", "delete_all"]),
        "all": program(allow=["*"]),
        "off": program(enabled=False),
    }
    async with tooled(servers) as (gate, worker):
        await once(gate, worker, says("x"))
        names = offered(worker.requests[0])
        assert [n for n in names if n.startswith(("none", "off"))] == []
        assert [n for n in names if n.startswith("some")] == ["some__echo", "some__delete_all"]
        assert "all__delete_all" not in names
        assert "all__echo" in names
        answer = await once(gate, worker, calls(("all__delete_all", {})), says("x"))
        assert "There is no tool" in results(worker.requests[-1])[0]
        assert "failed=1" in (answer.header("x-rolecast-tools") or "")


async def test_a_header_names_servers_or_says_off_and_a_wrong_name_is_told() -> None:
    servers = {"a": program(), "b": program(offer_to=["m"])}
    async with tooled(servers) as (gate, worker):
        await once(gate, worker, says("x"), head="x-rolecast-tools: a\r\n")
        assert {name[:3] for name in offered(worker.requests[-1])} == {"a__"}
        await once(gate, worker, says("x"), head="")
        assert {name[:3] for name in offered(worker.requests[-1])} == {"b__"}
        await once(gate, worker, reply(), head="x-rolecast-tools: off\r\n")
        assert offered(worker.requests[-1]) == []
        for _ in range(2):  # also when its plan is known
            await once(gate, worker, says("x"), head="")
            assert {name[:3] for name in offered(worker.requests[-1])} == {"b__"}
        answer = await once(gate, worker, head="x-rolecast-tools: a, nobody\r\n")
        assert answer.status == 400
        assert "'nobody'; there are: a, b" in answer.error["message"]
        answer = await once(gate, worker, head="x-rolecast-tools: {}\r\n")
        assert answer.status == 400
        answer = await once(gate, worker, n=2)
        assert answer.status == 400


async def test_a_call_of_the_clients_own_tool_goes_to_the_client_and_ends_the_turn() -> None:
    async with tooled({"box": program()}) as (gate, worker):
        answer = await once(
            gate, worker, calls(("box__echo", {"text": "1"})), calls(("box__echo", {}), ("mine", {"a": 1})), tools=OWN
        )
        assert offered(worker.requests[0])[0] == "mine"
        choice = answer.json["choices"][0]
        (call,) = choice["message"]["tool_calls"]
        assert (call["function"], choice["finish_reason"]) == ({"name": "mine", "arguments": '{"a": 1}'}, "tool_calls")
        assert "ended=client_call" in (answer.header("x-rolecast-tools") or "")
        assert len(worker.requests) == 2


async def test_calls_of_one_turn_run_side_by_side_and_each_result_is_its_own() -> None:
    async with tooled({"box": program(timeout=Seconds(5))}) as (gate, worker):
        slow, rest = ("box__slow", {"text": "0.5"}), [("box__echo", {"text": "x"}), ("box__fails", {}), ("no_such", {})]
        await once(gate, worker, says("warm"))
        began = asyncio.get_running_loop().time()
        await once(gate, worker, calls(*[slow] * 4, *rest), says("done"))
        assert asyncio.get_running_loop().time() - began < 1.8
        *slept, echoed, failed, unknown = results(worker.requests[-1])
        assert slept == ["slept"] * 4
        assert (echoed, failed) == ("echo says x", "the tool says no")
        assert unknown.startswith("There is no tool 'no_such'")


async def test_results_become_text_within_bounds() -> None:
    async with tooled({"box": program()}, model={"context": 65536}, result_size=Bytes(2000)) as (gate, worker):
        wanted: list[tuple[str, dict[str, Any] | str]] = [
            ("box__huge", {}),
            ("box__value", {}),
            ("box__picture", {}),
            ("box__echo", "[1]"),
            ("box__echo", "{"),
        ]
        await once(gate, worker, calls(*wanted), says("done"))
        huge, value, picture, no_object, broken = results(worker.requests[-1])
        assert huge == "x" * 2000 + "\n[cut here: 998000 more characters]"
        assert json.loads(value) == {"degrees": 21.5}
        assert "(image, image/png, 3.0 kB; it cannot be shown here)" in picture
        assert "file:///x.txt" in picture
        assert no_object == broken == "The arguments must be one JSON object."


async def test_rounds_are_bounded_and_the_last_turn_is_asked_to_answer() -> None:
    async with tooled({"box": program()}, rounds=2) as (gate, worker):
        worker.usual = calls(("box__echo", {"text": "again"}))
        answer = await once(gate, worker)
        assert answer.status == 200
        assert len(worker.requests) == 3
        assert [each.json.get("tool_choice") for each in worker.requests] == [None, None, "none"]
        assert answer.header("x-rolecast-tools") == "offered=10; rounds=2; calls=2; ended=limit"
        assert answer.json["choices"][0]["finish_reason"] == "stop"


async def test_a_tool_that_must_be_called_is_called_once() -> None:
    async with tooled({"box": program()}, model={"capabilities": ["chat", "tools"]}) as (gate, worker):
        await once(gate, worker, calls(("box__echo", {})), says("x"), tool_choice="required", tools=OWN)
        assert [each.json.get("tool_choice") for each in worker.requests] == ["required", None]
        answer = await once(gate, worker, reply(), tool_choice="none", tools=OWN)
        assert offered(worker.requests[-1]) == ["mine"]
        assert answer.header("x-rolecast-tools") == "offered=0"


def _openai(body: bytes) -> str:
    lines = [json.loads(x[6:]) for x in body.split(b"\n\n") if x.startswith(b"data: {")]
    return "".join(c["delta"].get("content") or "" for x in lines for c in x["choices"])


def _anthropic(body: bytes) -> str:
    lines = [json.loads(x.split(b"data: ", 1)[1]) for x in body.split(b"\n\n") if b"data: " in x]
    return "".join(x["delta"].get("text", "") for x in lines if x["type"] == "content_block_delta")


def _ollama(body: bytes) -> str:
    return "".join(json.loads(x)["message"]["content"] for x in body.splitlines() if x)


def _responses(body: bytes) -> str:
    lines = [json.loads(x.split(b"data: ", 1)[1]) for x in body.split(b"\n\n") if b"data: {" in x]
    return "".join(x["delta"] for x in lines if x["type"] == "response.output_text.delta")


def _conductor(body: bytes) -> str:
    lines = [json.loads(x[6:]) for x in body.split(b"\n\n") if x.startswith(b"data: {")]
    assert any((x.get("metadata") or {}).get("tool_rounds") == 1 for x in lines), lines
    return "".join(x.get("chunk") or x.get("text") or x.get("response") or x.get("token") or "" for x in lines)


MESSAGES = {"model": "m", "messages": [{"role": "user", "content": "Go."}]}
DIALECTS: dict[str, tuple[str, dict[str, Any], Callable[[Any], str], Callable[[bytes], str]]] = {
    "openai": ("/v1/chat/completions", MESSAGES, lambda x: x["choices"][0]["message"]["content"], _openai),
    "anthropic": (
        "/v1/messages",
        MESSAGES | {"max_tokens": 99},
        lambda x: "".join(c.get("text", "") for c in x["content"]),
        _anthropic,
    ),
    "ollama": ("/api/chat", MESSAGES, lambda x: x["message"]["content"], _ollama),
    "responses": (
        "/v1/responses",
        {"model": "m", "input": "Go."},
        lambda x: "".join(c["text"] for o in x["output"] for c in o.get("content", ())),
        _responses,
    ),
    "conductor": ("/generate", {"prompt": "Go.", "model": "m"}, lambda x: x["response"], _conductor),
}


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_has_tools_streamed_and_whole(dialect: str, streams: bool) -> None:
    path, body, whole, pieces = DIALECTS[dialect]
    async with tooled({"box": program()}) as (gate, worker):
        worker.script.extend([calls(("box__echo", {"text": "hi"}), text="Wait."), says("It said hi.")])
        if streams and dialect == "conductor":
            path = "/generate/stream"
        answer = await gate.ask(request(body | {"stream": streams}, path=path, head=ON))
        assert answer.status == 200, answer.body
        found = pieces(answer.body) if streams else whole(answer.json)
        assert found == "Wait.\n\nIt said hi."
        assert b"box__echo" not in answer.body or dialect == "conductor"
        assert results(worker.requests[1]) == ["echo says hi"]


# -- servers that misbehave ----------------------------------------------------------------------------------


async def test_a_tool_that_never_answers_is_timed_out_and_told_so(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    server = program(timeout=Seconds(0.5), env={"TOOL_NOTES": str(notes)})
    async with tooled({"box": server}) as (gate, worker):
        await once(gate, worker, calls(("box__slow", {})), says("x"))
        assert results(worker.requests[-1]) == ["The tool did not answer within 0.5 s."]
        await until(lambda: "cancelled" in notes.read_text())


async def test_a_client_that_hangs_up_cancels_the_call_and_frees_all(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with tooled({"box": program(env={"TOOL_NOTES": str(notes)})}) as (gate, worker):
        worker.script.append(calls(("box__slow", {})))
        async with gate.client() as client:
            await client.send(request(chat(), head=ON))
            await until(lambda: notes.exists() and "call slow" in notes.read_text())
            client.abort()
        await until(lambda: "cancelled" in notes.read_text())
        await until(lambda: not gate.gateway.dispatch.active)
        (row,) = await gate.rows()
        assert row.outcome == "cancelled"


async def test_a_server_that_dies_in_a_call_is_told_and_there_again_for_the_next() -> None:
    async with tooled({"box": program()}) as (gate, worker):
        await once(gate, worker, calls(("box__dies", {})), says("x"))
        assert results(worker.requests[-1]) == ["The tool's server went away while it worked."]
        await asyncio.sleep(1.1)  # its first rest
        await once(gate, worker, calls(("box__echo", {"text": "back"})), says("x"))
        assert results(worker.requests[-1]) == ["echo says back"]


async def test_killing_the_process_of_the_connections_loses_a_call_and_leaves_nobody_behind(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with tooled({"box": program(env={"TOOL_NOTES": str(notes)})}) as (gate, worker):
        worker.script.extend([calls(("box__slow", {})), says("x")])
        asking = asyncio.create_task(gate.ask(request(chat(), head=ON)))
        await until(lambda: notes.exists() and "call slow" in notes.read_text())
        pid = int(notes.read_text().split()[1])
        os.kill(gate.gateway.toolbox.helper.pid, signal.SIGKILL)
        assert (await asking).status == 200
        assert "the tool may have run" in results(worker.requests[-1])[0]
        await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        assert notes.read_text().count("call slow") == 1  # nothing is run twice
        await once(gate, worker, calls(("box__echo", {"text": "back"})), says("x"))
        assert results(worker.requests[-1]) == ["echo says back"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("silent", "it was not there within 1.5 s"),
        ("broken", "the program ended and said: cannot open ***"),
        ("noise", "does not speak MCP"),
        ("line", "more than 4 MiB"),
        ("nobody", "there is no program"),
    ],
)
async def test_a_server_that_cannot_be_used_says_why_and_chats_go_on(kind: str, said: str) -> None:
    bad = program(kind, start_timeout=Seconds(1.5 if kind == "silent" else 20), env={"TOOL_SECRET": "sesame99"})
    if kind == "nobody":
        bad = ToolServer(command=["/no/such/program"], allow=["*"])
    async with tooled({"bad": bad, "good": program(allow=["echo"])}) as (gate, worker):
        answer = await once(gate, worker, says("fine"))
        assert answer.status == 200
        assert offered(worker.requests[-1]) == ["good__echo"]
        told = (await gate.ask(request(path="/mcp/servers", method="GET"), method="GET")).json["servers"]
        assert [each["state"] for each in told] == ["failed", "ready"]
        assert said in told[0]["error"]
        assert "sesame99" not in json.dumps(told)


async def test_a_server_with_ten_thousand_tools_and_one_whose_list_never_ends_are_cut() -> None:
    servers = {"many": program("many"), "endless": program("endless", start_timeout=Seconds(60))}
    async with tooled(servers, model={"context": 65536}) as (gate, worker):
        await once(gate, worker, says("x"), head="x-rolecast-tools: many\r\n")
        assert len(offered(worker.requests[-1])) == 128
        await once(gate, worker, says("x"), head="x-rolecast-tools: endless\r\n")
        assert offered(worker.requests[-1]) == ["endless__echo"]


async def test_tools_leave_room_for_the_chat() -> None:
    async with tooled({"many": program("many")}, model={"context": 4096}) as (gate, worker):
        answer = await once(gate, worker, says("x"))
        listed = len(json.dumps(worker.requests[-1].json["tools"]))
        assert 4096 < listed < 4096 * 3
        assert answer.header("x-rolecast-tools") == f"offered={len(offered(worker.requests[-1]))}; rounds=0; calls=0"


async def test_odd_names_and_schemas_are_made_fit_or_left_out() -> None:
    async with tooled({"odd": program("odd")}) as (gate, worker):
        await once(gate, worker, says("x"))
        names = offered(worker.requests[-1])
        assert all(len(name) <= 64 and set(name) <= set("abcdefghijklmnopqrstuvwxyzG0123456789_-") for name in names)
        assert len(names) == len(set(names)) == 5
        outside = next(each for each in worker.requests[-1].json["tools"] if "outside" in each["function"]["name"])
        assert "http" not in json.dumps(outside["function"]["parameters"])
        odd = next(name for name in names if "Ger" in name)
        await once(gate, worker, calls((odd, {"text": "hi"})), says("x"))
        assert results(worker.requests[-1]) == ["ein Gerät/öffnen says hi"]


async def test_a_list_that_changes_is_read_again() -> None:
    async with tooled({"box": program()}) as (gate, worker):
        await once(gate, worker, calls(("box__add_one", {})), says("x"))

        async def has_new() -> bool:
            await once(gate, worker, says("x"))
            return "box__new_0" in offered(worker.requests[-1])

        async with asyncio.timeout(10):
            while not await has_new():
                await asyncio.sleep(0.2)


async def test_twenty_chats_at_once_share_one_process_of_a_server(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with tooled({"box": program(env={"TOOL_NOTES": str(notes)})}) as (gate, worker):

        async def usual(peer: Peer, received: Received) -> None:
            last = received.json["messages"][-1]
            named = received.json["messages"][0]["content"]
            script = says(last["content"]) if last["role"] == "tool" else calls(("box__echo", {"text": named}))
            await script(peer, received)

        worker.usual = usual
        bodies = [{"model": "m", "messages": [{"role": "user", "content": f"n{i}"}]} for i in range(20)]
        answers = await asyncio.gather(*(gate.ask(request(body, head=ON)) for body in bodies))
        found = [each.json["choices"][0]["message"]["content"] for each in answers]
        assert found == [f"echo says n{i}" for i in range(20)]
        assert notes.read_text().count("start") == 1
        assert len(await gate.rows()) == 20


# -- what servers learn, and what of them is told -----------------------------------------------------------


async def test_a_program_sees_its_own_variables_and_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOOL_TOKEN", "sesame-1234")
    monkeypatch.setenv("OTHER_API_KEY", "not-for-you")
    async with tooled({"box": program(env={"TOOL_SECRET": "env:MY_TOOL_TOKEN"})}) as (gate, worker):
        await once(gate, worker, calls(("box__secret", {})), says("x"))
        (found,) = results(worker.requests[-1])
        assert found.startswith("sesame-1234")
        assert "OTHER_API_KEY" not in found
        assert "MY_TOOL_TOKEN" not in found
        helper = psutil.Process(gate.gateway.toolbox.helper.pid)
        assert "sesame-1234" not in str(helper.environ()) + str(helper.cmdline())


async def test_an_edit_of_the_servers_applies_to_the_next_chat_and_keeps_what_did_not_change(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    kept = program(allow=["echo"], env={"TOOL_NOTES": str(notes)})
    async with tooled({"box": kept, "old": program(allow=["echo"])}) as (gate, worker):
        await once(gate, worker, says("x"))
        assert offered(worker.requests[-1]) == ["box__echo", "old__echo"]
        before = gate.gateway.current.config
        mcp = Mcp(servers={"box": kept, "new": program(allow=["fails"])})
        edit = edit_to(msgspec.structs.replace(before, mcp=mcp), {})
        for change in [await part.prepare(edit) for part in gate.gateway.parts]:
            change.commit()
        await once(gate, worker, says("x"))
        assert offered(worker.requests[-1]) == ["box__echo", "new__fails"]
        assert notes.read_text().count("start") == 1


async def test_a_client_in_a_session_finds_its_answer_there_and_no_call() -> None:
    async with tooled({"box": program()}) as (gate, worker):
        await once(gate, worker, calls(("box__echo", {"text": "1"})), says("First."), session_id="s")
        await once(gate, worker, says("Second."), session_id="s", head="")
        said = [(each["role"], each["content"]) for each in worker.requests[-1].json["messages"]]
        assert said == [("user", "Go."), ("assistant", "First."), ("user", "Go.")]


async def test_a_variable_that_is_not_set_is_told() -> None:
    async with tooled({"box": program(env={"X": "env:NO_SUCH_VARIABLE"})}) as (gate, _):
        told = (await gate.ask(request(path="/mcp/servers", method="GET"), method="GET")).json["servers"]
        assert told[0]["state"] == "failed"
        assert "NO_SUCH_VARIABLE is not set" in told[0]["error"]


async def test_a_server_behind_an_address_is_used_and_found_again_after_a_restart() -> None:
    port = free_port()

    async def started() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(*tool_server("good", "--http", str(port)))
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return process
                await asyncio.sleep(0.05)

    async def ended(process: asyncio.subprocess.Process) -> None:
        """It listens no more: what was killed is who stands for the server, and the server ends just after it."""
        process.kill()
        await process.wait()
        async with asyncio.timeout(20):
            with contextlib.suppress(OSError):
                while True:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    await asyncio.sleep(0.01)

    server = ToolServer(url=f"http://127.0.0.1:{port}/mcp", allow=["*"])
    async with tooled({"far": server}) as (gate, worker):
        process = await started()
        try:
            await once(gate, worker, calls(("far__echo", {"text": "hi"})), says("x"))
            assert results(worker.requests[-1]) == ["echo says hi"]
            await ended(process)
            process = await started()
            await once(gate, worker, calls(("far__echo", {"text": "again"})), says("x"))
            assert results(worker.requests[-1]) == ["echo says again"]
        finally:
            await ended(process)


async def test_headers_reach_their_server_and_not_where_it_redirects_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_TOKEN", "sesame-5678")
    seen: dict[str, list[bytes]] = {"near": [], "else": []}

    def serve(name: str, answer: Callable[[], bytes]) -> Any:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen[name].append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer())
            await writer.drain()
            writer.close()

        return asyncio.start_server(handle, "127.0.0.1", 0)

    other = await serve("else", lambda: b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n")
    there = other.sockets[0].getsockname()[1]
    moved = b"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:%d/mcp\r\ncontent-length: 0\r\n\r\n" % there
    near = await serve("near", lambda: moved)
    url = f"http://127.0.0.1:{near.sockets[0].getsockname()[1]}/mcp"
    servers = {"far": ToolServer(url=url, headers={"Authorization": "Bearer env:FAR_TOKEN"}, allow=["*"])}
    async with near, other, tooled(servers) as (gate, _):
        told = (await gate.ask(request(path="/mcp/servers", method="GET"), method="GET")).json["servers"]
        assert told[0]["state"] == "failed"
        assert b"authorization: bearer sesame-5678" in seen["near"][0].lower()
        assert seen["else"] == []
        assert "sesame" not in json.dumps(told)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("endless", "longer than 4 MiB"),
        ("compressed", "is compressed"),
        ("silent", "within 3 s"),
        ("nonsense", "no MCP"),
    ],
)
async def test_an_address_that_misbehaves_is_given_up_and_chats_go_on(how: str, said: str) -> None:
    sent = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        if how == "silent":
            await reader.read()
        elif how == "endless":
            with contextlib.suppress(OSError):
                writer.write(head + b"connection: close\r\n\r\n")
                while sent < 2**27:
                    writer.write(b" " * 65536)
                    sent += 65536
                    await writer.drain()
        else:
            body = gzip.compress(b" " * 2**24) if how == "compressed" else b"<html>"
            more = b"content-encoding: gzip\r\n" if how == "compressed" else b""
            writer.write(head + more + b"content-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    far = ToolServer(url=url, allow=["*"], start_timeout=Seconds(3))
    async with server, tooled({"far": far, "good": program(allow=["echo"])}) as (gate, worker):
        answer = await once(gate, worker, says("fine"))
        assert answer.status == 200
        assert offered(worker.requests[-1]) == ["good__echo"]
        told = (await gate.ask(request(path="/mcp/servers", method="GET"), method="GET")).json["servers"]
        assert (told[0]["state"], told[1]["state"]) == ("failed", "ready")
        assert said in told[0]["error"]
        assert sent < 2**25


async def test_the_list_of_servers_tells_tools_and_why_some_may_not_be_called() -> None:
    async with tooled({"box": program(allow=["e*", "d*"]), "off": program(enabled=False)}) as (gate, _):
        box, off = (await gate.ask(request(path="/mcp/servers", method="GET"), method="GET")).json["servers"]
        tools = {each["name"]: each for each in box["tools"]}
        assert tools["echo"]["allowed"] is True
        assert tools["fails"]["why"] == "not in `allow`"
        assert tools["delete_all"]["destructive"] is True
        assert "name it in full" in tools["delete_all"]["why"]
        assert off["state"] == "disabled"


async def test_the_command_lists_servers_and_their_tools() -> None:
    async with tooled({"box": program(allow=["echo"])}) as (gate, _):

        async def run(*arguments: str) -> tuple[int | None, str]:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "rolecast", "mcp", *arguments, "--url", f"http://127.0.0.1:{gate.port()}"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            out, _ = await process.communicate()
            return process.returncode, out.decode()

        code, out = await run("servers")
        assert code == 0, out
        assert "not in `allow`" in out
        assert "delete_all" in out
        code, out = await run("servers", "--json")
        (box,) = json.loads(out)["servers"]
        assert (box["state"], box["about"]) == ("ready", "tools of the tests 1")
        code, out = await run("severs")
        assert code == 2
        assert "rolecast mcp servers" in out


async def test_a_server_that_is_started_with_the_gateway_is_there_before_it_is_asked(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with tooled({"box": program(start="now", env={"TOOL_NOTES": str(notes)})}):
        await until(lambda: notes.exists() and "start" in notes.read_text())


async def test_nothing_of_calls_is_in_the_logs(caplog: pytest.LogCaptureFixture) -> None:
    async with tooled({"box": program()}) as (gate, worker):
        await once(gate, worker, calls(("box__echo", {"text": "velvet-otter"})), says("x"))
        assert results(worker.requests[-1]) == ["echo says velvet-otter"]
        assert "velvet-otter" not in caplog.text
        log = gate.gateway.toolbox.helper.log_file
        assert not log.exists() or "velvet-otter" not in log.read_text()
