"""Sessions over real sockets: what each request is told of those before it, in every dialect, and what is kept."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    DONE,
    USAGE,
    Answer,
    Gate,
    Held,
    Peer,
    Received,
    ScriptedWorker,
    config,
    delta,
    message,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)

from rolecast.config.schema import Config, Listener, Routing

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

CHAT, OLLAMA, GENERATE, ANTHROPIC, RESPONSES = (
    *("/v1/chat/completions", "/api/chat", "/api/generate"),
    *("/v1/messages", "/v1/responses"),
)


async def echo(peer: Peer, received: Received) -> None:
    """Answers `re: ` and the last text."""
    body = received.json
    text = f"re: {words(body['messages'][-1]['content'])}"
    if body.get("stream"):
        await stream(delta(text[:3]), delta(text[3:]), USAGE, DONE)(peer, received)
        return
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    await peer.send(message(json.dumps({"choices": [choice], "usage": usage}).encode()))


def words(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def cast(worker: ScriptedWorker, **more: Any) -> Config:
    models = {name: remote(worker.url, **more.pop("model", {})) for name in ("m", "other")}
    made = config(models, listeners=[Listener(port=0, name="pas", model="m", surface="pas")], **more.pop("server", {}))
    roles = {"general_reasoning": ["m"], "conversational_chat": ["m"], "legal_analysis": ["m"]}
    return msgspec.structs.replace(made, roles=roles, routing=Routing(default="general_reasoning"), **more)


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    with short_folder() as folder:
        listening = ScriptedWorker().listening(f"{folder}/w.sock")
        async with listening as worker, running_gateway(cast(worker), Path(folder)) as gate:
            yield gate, worker


@pytest.fixture
def gate(front: Gate, worker: ScriptedWorker) -> Gate:
    worker.usual = echo
    return front


def body_of(path: str, text: str, session: str, **more: Any) -> dict[str, Any]:
    named = {"session_id": session} if session else {}
    if path in (GENERATE, "/generate", "/legal/analyze"):
        return {"model": "m", "prompt": text, **named, **more}
    if path == RESPONSES:
        return {"model": "m", "input": text, **named, **more}
    limit = {"max_tokens": 50} if path == ANTHROPIC else {}
    return {"model": "m", "messages": [{"role": "user", "content": text}], **limit, **named, **more}


async def say(gate: Gate, path: str, text: str, session: str = "s", head: str = "", **more: Any) -> Answer:
    answer = await gate.ask(request(body_of(path, text, session, **more), path=path, head=head))
    assert answer.status == 200, answer.body
    return answer


def told(worker: ScriptedWorker) -> list[tuple[str, str]]:
    return [(each["role"], words(each["content"])) for each in worker.requests[-1].json["messages"]]


def pairs(*texts: str) -> list[tuple[str, str]]:
    return [pair for text in texts for pair in (("user", text), ("assistant", f"re: {text}"))]


async def get(gate: Gate, path: str, head: str = "", method: str = "GET", body: Any = None) -> Answer:
    return await gate.ask(request(body, path=path, method=method, head=head), method=method)


@pytest.mark.parametrize("streamed", [False, True])
async def test_every_dialect_goes_on_with_a_session(gate: Gate, worker: ScriptedWorker, streamed: bool) -> None:
    name, said = f"every {streamed}", []
    for path in (CHAT, OLLAMA, GENERATE, ANTHROPIC, RESPONSES, "/generate", CHAT):
        text = f"by {path}"
        answer = await say(gate, path, text, name, stream=streamed)
        assert told(worker) == [*pairs(*said), ("user", text)]
        assert b"session_id" not in worker.requests[-1].body
        assert answer.header("x-rolecast-session") == (
            f"every%20{streamed}; kept={len(said)}; used={len(said)}; dropped=0; summarized=0"
        )
        said.append(text)
    pas = await gate.ask(request(body_of("/api/generate", "pas", name), path="/api/generate"), "pas")
    assert pas.status == 200
    assert told(worker) == [*pairs(*said), ("user", "pas")]
    shown = (await get(gate, f"/sessions/every%20{streamed}")).json
    assert [(turn["asked"], turn["answer"]) for turn in shown["history"]] == [(t, f"re: {t}") for t in (*said, "pas")]


@pytest.mark.parametrize("path", [CHAT, OLLAMA, GENERATE, ANTHROPIC, RESPONSES, "/generate"])
async def test_the_header_goes_on_with_a_begun_session_in_every_dialect(
    gate: Gate, worker: ScriptedWorker, path: str
) -> None:
    name = f"head {path}".replace("/", "-").replace(" ", "-")
    await say(gate, CHAT, "first", name)
    answer = await say(gate, path, "second", "", head=f"X-Session-Id: {name}\r\n")
    assert told(worker) == [*pairs("first"), ("user", "second")]
    assert answer.header("x-rolecast-session") == f"{name}; kept=1; used=1; dropped=0; summarized=0"


async def test_a_response_that_goes_on_from_another_is_not_told_its_session_too(
    gate: Gate, worker: ScriptedWorker
) -> None:
    await say(gate, CHAT, "first", "both")
    before = await say(gate, RESPONSES, "alone", "")
    more = {"previous_response_id": before.json["id"]}
    answer = await say(gate, RESPONSES, "then", "", head="X-Session-Id: both\r\n", **more)
    assert told(worker) == [*pairs("alone"), ("user", "then")]
    assert answer.header("x-rolecast-session") is None


# -- which requests have one ---------------------------------------------------------------------------------------


async def test_a_trace_header_alone_changes_nothing(gate: Gate, worker: ScriptedWorker) -> None:
    body = json.dumps(body_of(CHAT, "hello", "", weird=[1.50, "x"])).encode()
    for _ in range(2):
        answer = await gate.ask(request(body, path=CHAT, head="X-Session-Id: trace\r\n"))
        assert (answer.status, answer.header("x-rolecast-session")) == (200, None)
        assert worker.requests[-1].body == body.replace(b'"m"', b'"m"')
        assert worker.requests[-1].header("x-session-id") == ["trace"]
    assert "trace" not in (await get(gate, "/sessions")).json["sessions"]


async def test_a_session_that_was_merely_named_is_not_begun(gate: Gate, worker: ScriptedWorker) -> None:
    head = "X-Session-Id: named\r\n"
    await say(gate, "/legal/analyze", "one", "", head, model=None)
    await say(gate, "/generate", "two", "", head, category=None)  # who names a model wants that, and no task of ours
    for path in ("/generate", CHAT):
        more = {"category": None} if path == "/generate" else {}
        answer = await say(gate, path, "three", "", head, **more)
        assert (told(worker), answer.header("x-rolecast-session")) == ([("user", "three")], None)
    assert "named" in (await get(gate, "/sessions")).json["sessions"]


@pytest.mark.parametrize("begun", ["page", "body", "conductor"])
async def test_a_header_counts_for_a_session_that_was_begun(gate: Gate, worker: ScriptedWorker, begun: str) -> None:
    name = f"begun-{begun}"
    if begun == "page":
        made = await get(gate, "/sessions", method="POST", body={"session_id": name})
        assert (made.status, made.json) == (201, {"session_id": name})
    else:
        await say(gate, CHAT if begun == "body" else "/generate", "first", name)
    await say(gate, CHAT, "next", "", f"X-Session-Id: {name}\r\n")
    assert told(worker)[-1] == ("user", "next")
    assert len(told(worker)) == (1 if begun == "page" else 3)
    await say(gate, CHAT, "last", "", f"X-Session-Id: {name}\r\n")
    assert ("assistant", "re: next") in told(worker)


async def test_a_conversation_of_its_own_is_taken_as_it_stands_and_only_its_new_turn_kept(
    gate: Gate, worker: ScriptedWorker
) -> None:
    await say(gate, CHAT, "kept", "own")
    whole = [("user", "a"), ("assistant", "b"), ("user", "c")]
    messages = [{"role": role, "content": text} for role, text in whole]
    answer = await say(gate, CHAT, "", "own", messages=messages)
    assert told(worker) == whole
    assert answer.header("x-rolecast-session") == "own; kept=1; used=0; dropped=0; summarized=0"
    await say(gate, CHAT, "", "own", messages=[{"role": "user", "content": text} for text in ("x", "y")])
    assert told(worker) == [("user", "x\n\ny")]  # as chat templates want it
    await say(gate, CHAT, "z", "own")
    assert told(worker) == [*pairs("kept", "c"), ("user", "y"), ("assistant", "re: x\n\ny"), ("user", "z")]


async def test_system_messages_of_a_request_win_and_those_of_the_session_come_first(
    gate: Gate, worker: ScriptedWorker
) -> None:
    await get(gate, "/sessions", method="POST", body={"session_id": "sys", "system": "Be kind."})
    await say(gate, CHAT, "one", "sys")
    assert told(worker) == [("system", "Be kind."), ("user", "one")]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "two"}]
    await say(gate, CHAT, "", "sys", messages=messages)
    assert told(worker) == [("system", "Be kind.\n\nBe brief."), *pairs("one"), ("user", "two")]


async def test_tasks_with_history_keep_the_prompt_as_it_came_and_others_keep_nothing(
    gate: Gate, worker: ScriptedWorker
) -> None:
    for text in ("one", "two"):
        answer = await say(gate, "/generate", text, "task", category="general_reasoning", model=None)
        assert answer.json["session_id"] == "task"
    (role, system), *rest = told(worker)
    assert role == "system"
    assert "reason" in system
    assert rest == [*pairs("one"), ("user", "two")]
    await say(gate, "/legal/analyze", "three", "task", model=None)
    assert [role for role, _ in told(worker)] == ["system", "user"]
    nested = {"session_id": "task"}
    await say(gate, "/generate", "four", "", category="general_reasoning", model=None, extra_params=nested)
    assert told(worker)[1:] == [*pairs("one", "two"), ("user", "four")]
    await say(gate, "/generate", "five", "", "X-Session-Id: task\r\n", category="general_reasoning", model=None)
    assert told(worker)[1:] == [*pairs("one", "two", "four"), ("user", "five")]


async def test_a_play_is_told_of_its_session_too(gate: Gate, worker: ScriptedWorker, tmp_path: Path) -> None:
    from rolecast.config.tasks import Task

    made = msgspec.structs.replace(cast(worker), tasks={"legal_analysis": Task(history=True)})
    async with running_gateway(made, tmp_path) as own:
        for text in ("one", "two"):
            answer = await say(own, "/legal/analyze", text, "play", model=None)
        assert told(worker)[1:3] == [("user", "one"), ("assistant", words_of_first(answer, "one"))]
        assert told(worker)[-1] == ("user", "two")


def words_of_first(answer: Answer, text: str) -> str:
    """What the client was told of the first answer: the disclaimer belongs to it."""
    return str(answer.json["response"]).replace("two", text)


@pytest.mark.parametrize(
    ("path", "more", "status", "param"),
    [
        (CHAT, {"n": 2}, 400, "n"),
        (CHAT, {"session_id": "x" * 513}, 422, "session_id"),
        (CHAT, {"session_id": {"a": 1}}, 422, "session_id"),
        (OLLAMA, {"session_id": 5}, 400, None),
        (ANTHROPIC, {"session_id": []}, 400, None),
        (GENERATE, {"raw": True}, 400, None),
        (RESPONSES, {"previous_response_id": f"resp_{'0' * 32}"}, 400, "session_id"),
    ],
)
async def test_what_cannot_go_on_in_a_session_is_refused(
    gate: Gate, worker: ScriptedWorker, path: str, more: dict[str, Any], status: int, param: str | None
) -> None:
    answer = await gate.ask(request({**body_of(path, "x", "refused"), **more}, path=path))
    assert answer.status == status, answer.body
    if param is not None:
        assert answer.error["param"] == param
    assert not worker.requests


# -- what is kept ---------------------------------------------------------------------------------------------------


async def test_what_failed_or_was_left_is_not_kept_and_the_next_try_takes_its_place(
    gate: Gate, worker: ScriptedWorker
) -> None:
    await say(gate, CHAT, "one", "tries")
    worker.script.append(reply(b'{"error":{"message":"no"}}', 400))
    assert (await gate.ask(request(body_of(CHAT, "two", "tries"), path=CHAT))).status == 400
    held = Held(delta("begun"))
    worker.script.append(held)
    async with gate.client() as client:
        await client.send(request(body_of(CHAT, "two", "tries", stream=True), path=CHAT))
        await held.began.wait()
        await client.head()
        client.abort()
    await until(lambda: not gate.gateway.dispatch.active)
    worker.script.append(stream(delta("half"), b'data: {"error":{"message":"broke"}}\n\n'))
    broken = await gate.ask(request(body_of(CHAT, "two", "tries", stream=True), path=CHAT))
    assert b"error" in broken.body
    await say(gate, CHAT, "two", "tries")
    assert told(worker) == [*pairs("one"), ("user", "two")]
    assert len((await get(gate, "/sessions/tries")).json["history"]) == 2


async def test_calls_of_tools_are_steps_and_only_the_answer_behind_them_is_kept(
    gate: Gate, worker: ScriptedWorker
) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    choice = {"index": 0, "message": {"role": "assistant", "tool_calls": [call]}, "finish_reason": "tool_calls"}
    worker.script.append(reply(json.dumps({"choices": [choice]}).encode()))
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    await say(gate, CHAT, "weather?", "tools", tools=tools)
    assert (await get(gate, "/sessions/tools")).json["turns"] == 0
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "rain"},
    ]
    await say(gate, CHAT, "", "tools", messages=messages, tools=tools)
    (turn,) = (await get(gate, "/sessions/tools")).json["history"]
    assert (turn["asked"], turn["answer"]) == ("weather?", "re: rain")


async def test_thoughts_and_pictures_are_not_kept(tmp_path: Path) -> None:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            made = cast(worker, model={"capabilities": ["chat", "vision"]})
            async with running_gateway(made, tmp_path) as gate:
                part = {"choices": [{"index": 0, "delta": {"reasoning_content": "hmm"}}]}
                worker.script.append(stream(b"data: " + json.dumps(part).encode() + b"\n\n", delta("blue"), DONE))
                image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
                content = [{"type": "text", "text": "which colour?"}, image]
                messages = [{"role": "user", "content": content}]
                answer = await gate.ask(
                    request({"model": "m", "messages": messages, "session_id": "see", "stream": True}, path=CHAT)
                )
                assert answer.status == 200, answer.body
                (turn,) = (await get(gate, "/sessions/see")).json["history"]
                assert (turn["asked"], turn["answer"]) == ("which colour?\n(image)", "blue")


async def test_requests_of_one_session_wait_for_each_other_in_order_and_others_do_not(
    gate: Gate, worker: ScriptedWorker
) -> None:
    held = Held(delta("first"))
    worker.script.append(held)
    asks = [asyncio.ensure_future(say(gate, CHAT, "0", "line", stream=True))]
    await held.began.wait()
    for number in range(1, 5):
        asks.append(asyncio.ensure_future(say(gate, CHAT, str(number), "line")))
        await asyncio.sleep(0.01)
    await say(gate, CHAT, "elsewhere", "free")
    assert len(worker.requests) == 2
    held.let_go.set()
    await asyncio.gather(*asks)
    assert told(worker) == [("user", "0"), ("assistant", "first"), *pairs("1", "2", "3"), ("user", "4")]
    assert not len(gate.gateway.sessions._lines)


async def test_who_waits_and_leaves_holds_nobody_up(gate: Gate, worker: ScriptedWorker) -> None:
    held = Held(delta("first"))
    worker.script.append(held)
    first = asyncio.ensure_future(say(gate, CHAT, "0", "leave", stream=True))
    await held.began.wait()
    async with gate.client() as client:
        await client.send(request(body_of(CHAT, "gone", "leave"), path=CHAT))
        await asyncio.sleep(0.02)
        client.abort()
    last = asyncio.ensure_future(say(gate, CHAT, "1", "leave"))
    await asyncio.sleep(0.02)
    held.let_go.set()
    await asyncio.gather(first, last)
    assert told(worker) == [("user", "0"), ("assistant", "first"), ("user", "1")]


@pytest.mark.parametrize("way", ["DELETE", "clear"])
async def test_what_is_deleted_while_an_answer_is_under_way_does_not_come_back(
    gate: Gate, worker: ScriptedWorker, way: str
) -> None:
    name = f"gone-{way}"
    await say(gate, CHAT, "before", name)
    held = Held(delta("late"))
    worker.script.append(held)
    late = asyncio.ensure_future(say(gate, CHAT, "secret", name, stream=True))
    await held.began.wait()
    method, path = ("DELETE", f"/sessions/{name}") if way == "DELETE" else ("POST", f"/sessions/{name}/clear")
    assert (await get(gate, path, method=method)).status == 200
    held.let_go.set()
    await late
    shown = await get(gate, f"/sessions/{name}")
    assert shown.status == 404 if way == "DELETE" else shown.json["turns"] == 0
    rows = await gate.gateway.store.read(
        "SELECT asked FROM session_turns WHERE asked IN (:a, :b)", a=b"secret", b=b"before"
    )
    assert rows == [] or way == "clear"
    await say(gate, CHAT, "anew", name)
    assert told(worker) == [("user", "anew")]


HOSTILE = [
    "../../etc/passwd",
    "'; DROP TABLE sessions; --",
    "\0",
    "a\r\nx: y",
    "\u202e\U0001f600" * 200,
    " ",
    "%2F",
    "/export",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
async def test_any_text_may_be_an_id(gate: Gate, worker: ScriptedWorker, name: str) -> None:
    from urllib.parse import quote

    await say(gate, CHAT, "one", name)
    await say(gate, CHAT, "two", name)
    assert told(worker) == [*pairs("one"), ("user", "two")]
    shown = await get(gate, f"/sessions/{quote(name, safe='')}")
    assert (shown.status, shown.json["session_id"], shown.json["turns"]) == (200, name, 2)
    assert name in (await get(gate, "/sessions")).json["sessions"]
    assert (await get(gate, f"/sessions/{quote(name, safe='')}", method="DELETE")).status == 200
    assert (await get(gate, f"/sessions/{quote(name, safe='')}")).status == 404


async def test_a_key_sees_and_goes_on_with_its_own_sessions_alone(tmp_path: Path) -> None:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            worker.usual = echo
            async with running_gateway(cast(worker, server={"keys": ["one", "two"]}), tmp_path) as gate:
                heads = [f"Authorization: Bearer {key}\r\n" for key in ("one", "two")]
                for head in heads:
                    await say(gate, CHAT, "hello", "same", head)
                    assert told(worker) == [("user", "hello")]
                assert (await get(gate, "/sessions/same", heads[0], "DELETE")).status == 200
                assert (await get(gate, "/sessions/same", heads[0])).status == 404
                assert (await get(gate, "/sessions/same", heads[1])).json["turns"] == 1
                for path in ("/sessions", "/sessions/same", "/sessions/same/export", "/personas"):
                    assert (await get(gate, path)).status == 401


async def test_a_variant_keeps_its_own_prompt_and_examples_in_a_session(worker: ScriptedWorker, tmp_path: Path) -> None:
    from rolecast.config.variants import Variant

    worker.reset()
    worker.usual = echo
    made = msgspec.structs.replace(cast(worker), variants={"mario": Variant(model="m", system="You are Mario.")})
    async with running_gateway(made, tmp_path) as gate:
        await get(gate, "/sessions", method="POST", body={"session_id": "s", "system": "Be kind."})
        for text in ("one", "two"):
            await say(gate, CHAT, text, "s", model="mario")
            await say(gate, CHAT, text, "other", model="mario")
            assert told(worker)[0] == ("system", "You are Mario.")
        await say(gate, CHAT, "three", "s", model="mario")
        assert told(worker) == [("system", "Be kind.\n\nYou are Mario."), *pairs("one", "two"), ("user", "three")]


# -- pages and commands --------------------------------------------------------------------------------------------


async def test_the_last_turns_are_taken_back_and_asked_again(gate: Gate, worker: ScriptedWorker) -> None:
    for text in ("one", "two", "thre"):
        assert (await gate.ask(request(body_of(CHAT, text, "edit")))).status == 200
    history = (await get(gate, "/sessions/edit")).json["history"]
    back = await get(gate, f"/sessions/edit/clear?after={history[0]['number']}", method="POST")
    assert (back.status, "behind turn" in back.json["message"]) == (200, True)
    assert (await gate.ask(request(body_of(CHAT, "three", "edit")))).status == 200
    told = [words(each["content"]) for each in worker.requests[-1].json["messages"]]
    assert told == ["one", "re: one", "three"]
    shown = (await get(gate, "/sessions/edit")).json
    assert [turn["asked"] for turn in shown["history"]] == ["one", "three"]
    assert shown["history"][1]["number"] > history[2]["number"]  # no number is used twice
    assert (await get(gate, "/sessions/edit/clear?after=x", method="POST")).status == 400
    assert (await get(gate, "/sessions/edit")).json["turns"] == 2


async def test_a_session_is_begun_shown_in_pages_exported_and_cleared(gate: Gate, worker: ScriptedWorker) -> None:
    made = await get(gate, "/sessions", method="POST", body={"session_id": "a/b", "system": "Be kind."})
    again = await get(gate, "/sessions", method="POST", body={"session_id": "a/b"})
    assert (made.status, again.status, again.error["code"]) == (201, 409, "conflict")
    assert len((await get(gate, "/sessions", method="POST", body={})).json["session_id"]) == 32
    for number in range(3):
        await say(gate, CHAT, f"q{number}", "a/b")
    for path in ("/sessions/a/b", "/sessions/a%2Fb"):
        shown = (await get(gate, f"{path}?after=1&limit=1")).json
        assert (shown["turns"], shown["system"], shown["session_id"]) == (3, "Be kind.", "a/b")
        assert [turn["asked"] for turn in shown["history"]] == ["q1"]
    assert shown["tokens"] > 0
    whole = (await get(gate, "/sessions/a%2Fb/export")).json
    assert [(turn["asked"], turn["answer"], turn["model"]) for turn in whole["turns"]] == [
        (f"q{number}", f"re: q{number}", "m") for number in range(3)
    ]
    lines = (await get(gate, "/sessions/a/b/export?format=jsonl")).body.splitlines()
    messages = [json.loads(line) for line in lines]
    assert messages[:2] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "q0"}]
    assert len(messages) == 7
    text = (await get(gate, "/sessions/a/b/export?format=markdown")).body.decode()
    assert text.startswith("# Session a/b\n\n## System\n\nBe kind.\n\n## User (")
    assert (await get(gate, "/sessions/a/b/export?format=pdf")).error["param"] == "format"
    assert (await get(gate, "/sessions/a/b/clear", method="POST")).status == 200
    await say(gate, CHAT, "anew", "a/b")
    assert told(worker) == [("system", "Be kind."), ("user", "anew")]
    for method, path in (("GET", ""), ("GET", "/export"), ("POST", "/clear"), ("DELETE", "")):
        answer = await get(gate, f"/sessions/nowhere{path}", method=method)
        assert (answer.status, answer.error["code"]) == (404, "session_not_found")
    for body in ([], {"session_id": 5}, {"session_id": "x" * 513}, {"system": {}}):
        assert (await get(gate, "/sessions", method="POST", body=json.dumps(body).encode())).status in (400, 422)
    assert (await get(gate, "/sessions/a/b?after=x")).status == 400


async def test_what_was_said_is_in_no_log_no_metric_and_no_row(
    gate: Gate, worker: ScriptedWorker, caplog: pytest.LogCaptureFixture
) -> None:
    await say(gate, CHAT, "xyzzy-secret", "private-id")
    await say(gate, CHAT, "more of xyzzy", "private-id")
    seen = [caplog.text, str(await gate.rows()), (await get(gate, "/metrics")).body.decode()]
    assert not [text for text in seen if "xyzzy" in text]
    assert "xyzzy" in str((await get(gate, "/sessions/private-id")).json)


async def test_many_at_once_on_one_connection_and_on_many_keep_their_order(gate: Gate, worker: ScriptedWorker) -> None:
    async with gate.client() as client:
        asks = (request(body_of(CHAT, f"p{i}", "pipe", stream=bool(i % 2)), path=CHAT) for i in range(6))
        await client.send(b"".join(asks))
        for _ in range(6):
            assert (await client.answer()).status == 200
    assert told(worker) == [*pairs(*(f"p{i}" for i in range(5))), ("user", "p5")]
    await asyncio.gather(*(say(gate, CHAT, f"q{i}", f"many{i % 20}", stream=bool(i % 2)) for i in range(200)))
    for number in range(20):
        shown = (await get(gate, f"/sessions/many{number}")).json
        assert sorted(turn["asked"] for turn in shown["history"]) == sorted(f"q{i}" for i in range(number, 200, 20))
    assert not gate.gateway.dispatch.active
