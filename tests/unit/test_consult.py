"""A model is asked who answers: what it handles goes to the client at once, all else to the role that it names."""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    DONE,
    SSE_HEAD,
    Answer,
    Gate,
    Held,
    Peer,
    Received,
    Script,
    ScriptedWorker,
    chunk,
    config,
    delta,
    event,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)

from rolecast.books.receipt import Receipt
from rolecast.config.edit import edit_to
from rolecast.config.routing import Consulting
from rolecast.config.schema import Config, Model, Routing
from rolecast.config.units import Count, Seconds
from rolecast.turn.consult import Question

pytestmark = pytest.mark.anyio

FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
USED = event({"choices": [], "usage": {"prompt_tokens": 90, "completion_tokens": 30, "total_tokens": 120}})
SECRET = "the-secret-words-of-the-prompt"
NAMES = ("r", "s", "c", "t")
ROLES = {"standard": ["s"], "router": ["r"], "coding": ["c"], "reasoning": ["t"]}


def says(text: str | dict[str, Any]) -> Script:
    """The router model's answer, in three pieces."""
    text = json.dumps(text) if isinstance(text, dict) else text
    third = len(text) // 3
    pieces = (delta(text[:third]), delta(text[third : 2 * third]), delta(text[2 * third :]))
    return stream(*pieces, FINISH, USED, DONE)


def delegate(target: str = "CODING", **changes: Any) -> Script:
    told = {"routing_decision": "DELEGATE", "target_model": target, "confidence": 0.9, "reasoning_depth": 4}
    return says({**told, "reason": SECRET, **changes})


def handle(response: str = "Hello there!", **changes: Any) -> Script:
    told = {"routing_decision": "HANDLE", "confidence": 0.9, "reasoning_depth": 1, "reason": SECRET}
    return says({**told, "response": response, **changes})


class Cast:
    """A gateway and the workers behind its models."""

    def __init__(self, gate: Gate, workers: dict[str, ScriptedWorker], conf: Config) -> None:
        self.gate = gate
        self.r, self.s, self.c, self.t = (workers[name] for name in NAMES)
        self.conf = conf

    async def ask(self, text: str = SECRET, path: str = "/v1/chat/completions", **fields: Any) -> Answer:
        body = {"model": "auto", "messages": [{"role": "user", "content": text}], **fields}
        return await self.gate.ask(request(body, path=path))

    async def rows(self) -> list[Receipt]:
        return await self.gate.rows()

    async def is_idle(self) -> None:
        await until(lambda: not self.gate.gateway.dispatch.active, "no request runs")
        fleet = self.gate.gateway.fleet
        await until(lambda: not any(fleet.worker(name).active for name in self.conf.models), "all slots are free")


@asynccontextmanager
async def cast(
    roles: dict[str, list[str]] = ROLES,
    *,
    timeout: float = 5,
    strategies: list[Any] | None = None,
    parallel: int = 64,
    **models: Model,
) -> AsyncIterator[Cast]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_folder())
        workers = {
            name: await stack.enter_async_context(ScriptedWorker().listening(f"{folder}/{name}.sock")) for name in NAMES
        }
        conf = config({n: remote(w.url, parallel=parallel) for n, w in workers.items()} | models)
        routing = Routing(
            strategies=strategies or ["explicit", "llm"],
            llm=Consulting(timeout=Seconds(timeout), max_tokens=Count(200)),
        )
        conf = msgspec.structs.replace(conf, roles=roles, routing=routing)
        yield Cast(await stack.enter_async_context(running_gateway(conf, Path(folder))), workers, conf)


def route(answer: Answer) -> str | None:
    return answer.header("x-rolecast-route")


# -- the two decisions -----------------------------------------------------------------------------------


async def test_what_is_delegated_goes_to_the_role_as_if_it_was_named() -> None:
    async with cast() as c:
        c.r.usual = delegate("CODING")
        answer = await c.ask()
        assert (answer.status, answer.json["choices"][0]["message"]["content"]) == (200, "hi")
        assert (answer.header("x-rolecast-model"), answer.header("x-rolecast-role")) == ("c", "coding")
        assert route(answer) == "llm; router says coding"
        (asked,) = c.r.requests
        assert asked.json["stream"] is True
        assert (asked.json["temperature"], asked.json["max_tokens"]) == (0.1, 200)
        assert "anyOf" in asked.json["response_format"]["json_schema"]["schema"]
        assert SECRET in asked.json["messages"][1]["content"]
        (passed,) = c.c.requests
        assert passed.json["messages"] == [{"role": "user", "content": SECRET}], "the body is the client's"
        await c.is_idle()
        client, question = await c.rows()
        assert (question.model, question.asked, question.route) == ("r", "router", "llm; asked who answers")
        assert (question.prompt_tokens, question.completion_tokens, question.outcome) == (90, 30, "ok")
        assert (client.model, client.asked, client.route) == ("c", "auto", "llm; router says coding")
        assert (client.prompt_tokens, client.completion_tokens) == (5, 2)


@pytest.mark.parametrize(("target", "model"), [("STANDARD", "s"), ("REASONING", "t"), ("CODING", "c")])
async def test_each_target_is_a_role(target: str, model: str) -> None:
    async with cast() as c:
        c.r.usual = delegate(target)
        assert (await c.ask()).header("x-rolecast-model") == model


async def test_a_role_that_is_not_there_is_the_default_ones() -> None:
    async with cast({"standard": ["s"], "router": ["r"]}) as c:
        c.r.usual = delegate("REASONING")
        answer = await c.ask()
        assert (answer.header("x-rolecast-model"), route(answer)) == ("s", "llm; router says reasoning")


async def test_what_is_handled_is_answered_at_once_and_has_one_row() -> None:
    async with cast() as c:
        c.r.usual = handle("Hello there!")
        answer = await c.ask("hi")
        assert answer.status == 200
        assert answer.json["object"] == "chat.completion"
        assert answer.json["choices"][0]["message"] == {"role": "assistant", "content": "Hello there!"}
        assert answer.json["choices"][0]["finish_reason"] == "stop"
        assert (answer.json["usage"]["prompt_tokens"], answer.json["usage"]["completion_tokens"]) == (90, 30)
        assert (answer.header("x-rolecast-model"), answer.header("x-rolecast-role")) == ("r", "router")
        assert route(answer) == "llm; router answers itself"
        assert c.s.requests + c.c.requests + c.t.requests == []
        await c.is_idle()
        (row,) = await c.rows()
        assert (row.model, row.asked, row.route, row.status) == ("r", "auto", "llm; router answers itself", 200)
        assert (row.prompt_tokens, row.completion_tokens, row.attempts) == (90, 30, 1)


async def test_a_handled_answer_streams_in_the_clients_dialect() -> None:
    async with cast() as c:
        c.r.usual = handle("Hello there!")
        openai = await c.ask("hi", stream=True, stream_options={"include_usage": True})
        events = [line[6:] for line in openai.body.decode().split("\n\n") if line]
        assert events[-1] == "[DONE]"
        chunks = [json.loads(e) for e in events[:-1]]
        assert "".join(p["choices"][0]["delta"].get("content") or "" for p in chunks if p["choices"]) == "Hello there!"
        assert chunks[-1]["usage"]["completion_tokens"] == 30
        assert route(openai) == "llm; router answers itself"
        ollama = await c.ask("hi", path="/api/chat", stream=True)
        lines = [json.loads(line) for line in ollama.body.splitlines()]
        assert "".join(x["message"]["content"] for x in lines) == "Hello there!"
        assert (lines[-1]["done"], lines[-1]["eval_count"]) == (True, 30)
        claude = await c.ask("hi", path="/v1/messages", stream=True, max_tokens=100)
        assert b'"text_delta","text":"Hello there!"' in claude.body
        assert b"message_stop" in claude.body
        await c.is_idle()
        assert [row.stream for row in await c.rows()] == [True] * 3


async def test_a_handled_answer_is_whole_in_every_dialect() -> None:
    async with cast() as c:
        c.r.usual = handle("Hello there!")
        assert (await c.ask("hi", path="/api/chat", stream=False)).json["message"]["content"] == "Hello there!"
        claude = await c.ask("hi", path="/v1/messages", max_tokens=100)
        assert claude.json["content"] == [{"type": "text", "text": "Hello there!"}]
        responses = await c.gate.ask(request({"model": "auto", "input": "hi"}, path="/v1/responses"))
        assert responses.json["output"][-1]["content"][0]["text"] == "Hello there!"
        kept = await c.gate.ask(request(None, path=f"/v1/responses/{responses.json['id']}", method="GET"))
        assert kept.json["output"][-1]["content"][0]["text"] == "Hello there!", "it can be gone on from"
        conductor = await c.gate.ask(request({"prompt": "hi"}, path="/generate"))
        assert conductor.json["response"] == "Hello there!"
        ollama = await c.gate.ask(request({"model": "auto", "prompt": "hi", "stream": False}, path="/api/generate"))
        assert ollama.json["response"] == "Hello there!"


NOT_HANDLED: dict[str, dict[str, Any]] = {
    "tools": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
    "a schema": {"response_format": {"type": "json_object"}},
    "a stop sequence": {"stop": ["."]},
    "probabilities": {"logprobs": True},
    "a grammar": {"grammar": "root ::= [a-z]+"},
    "a bias": {"logit_bias": {"5": -100}},
    "thoughts": {"reasoning_effort": "high"},
    "what was begun": {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Sure, "}]},
    "a long system prompt": {
        "messages": [{"role": "system", "content": "x " * 5000}, {"role": "user", "content": "hi"}]
    },
}


@pytest.mark.parametrize("why", NOT_HANDLED)
async def test_what_the_router_cannot_give_is_never_handled(why: str) -> None:
    async with cast() as c:
        c.r.usual = handle("Hello there!")
        answer = await c.ask("hi", **NOT_HANDLED[why])
        assert answer.header("x-rolecast-model") == "s"
        assert answer.json["choices"][0]["message"]["content"] == "hi"
        (asked,) = c.r.requests
        assert "HANDLE" not in json.dumps(asked.json["response_format"])
        c.r.usual = delegate("CODING")
        assert (await c.ask("hi", **NOT_HANDLED[why])).header("x-rolecast-model") == "c", "but it may be delegated"


async def test_an_answer_longer_than_asked_for_is_left_to_standard() -> None:
    async with cast() as c:
        c.r.usual = handle("Hello there, how are you today?")
        answer = await c.ask("hi", max_tokens=3)
        assert (answer.header("x-rolecast-model"), c.s.requests[0].json["max_tokens"]) == ("s", 3)
        assert route(answer) == "llm; router's answer is longer than asked for, so standard"
        assert (await c.ask("hi", max_tokens=30)).header("x-rolecast-model") == "r"


async def test_several_answers_are_never_handled() -> None:
    async with cast() as c:
        c.r.usual = handle()
        assert (await c.ask("hi", n=2)).header("x-rolecast-model") == "s"


# -- order -----------------------------------------------------------------------------------------------


async def test_a_name_is_obeyed_without_asking() -> None:
    async with cast() as c:
        answer = await c.gate.ask(request({"model": "coding", "messages": [{"role": "user", "content": "hi"}]}))
        assert (answer.header("x-rolecast-model"), c.r.requests) == ("c", [])


async def test_it_is_asked_only_when_those_before_it_abstained() -> None:
    code = "Write a Python function that reverses a linked list and explain its complexity."
    async with cast(strategies=["explicit", "learned", "llm"]) as c:
        c.r.usual = delegate("REASONING")
        answer = await c.ask(code)
        assert (answer.header("x-rolecast-model"), c.r.requests) == ("c", [])
        assert str(route(answer)).startswith("learned; ")
    async with cast(strategies=["explicit", "llm", "learned"]) as c:
        c.r.usual = delegate("REASONING")
        assert (await c.ask(code)).header("x-rolecast-model") == "t"


# -- failures --------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[Script, str]] = {
    "nothing": (stream(FINISH, DONE), "llm; router's decision could not be parsed, so standard"),
    "no JSON": (says("I think CODING."), "llm; router's decision could not be parsed, so standard"),
    "half of it": (says('{"routing_decision":"DEL'), "llm; router's decision could not be parsed, so standard"),
    "low confidence": (delegate("CODING", confidence=0.3), "llm; router was not sure, so standard"),
    "no response": (handle("  "), "llm; router gave no answer of its own, so standard"),
    "a megabyte": (says("x" * 1_000_000), "default; router could not be asked, no model named, default role for chat"),
    "an error": (
        reply(b'{"error":{"message":"no"}}', 500),
        "default; router could not be asked, no model named, default role for chat",
    ),
    "a refusal": (
        reply(b'{"error":{"message":"no schemas here"}}', 400),
        "default; router could not be asked, no model named, default role for chat",
    ),
    "a cut": (
        raw(SSE_HEAD + chunk(delta('{"routing')), close=True),
        "default; router could not be asked, no model named, default role for chat",
    ),
    "no byte": (raw(b"", close=True), "default; router could not be asked, no model named, default role for chat"),
    "no HTTP": (raw(b"\x00\x01\x02"), "default; router could not be asked, no model named, default role for chat"),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_whatever_the_router_does_the_client_gets_an_answer(what: str) -> None:
    script, reason = BROKEN[what]
    async with cast() as c:
        c.r.usual = script
        for stream_it in (False, True):
            c.s.usual = stream(delta("hi"), FINISH, DONE) if stream_it else reply()
            answer = await c.ask(stream=stream_it)
            assert (answer.status, answer.header("x-rolecast-model"), route(answer)) == (200, "s", reason)
            assert b'"hi"' in answer.body
        await c.is_idle()
        rows = await c.rows()
        assert [row.outcome for row in rows if row.asked == "auto"] == ["ok", "ok"]
        assert all(SECRET not in str(row) for row in rows)


async def test_a_fence_around_the_decision_is_no_failure() -> None:
    async with cast() as c:
        decision = {"routing_decision": "DELEGATE", "target_model": "CODING", "confidence": "0.9"}
        c.r.usual = says(f"```json\n{json.dumps({**decision, 'reasoning_depth': '3', 'reason': ''})}\n```")
        assert (await c.ask()).header("x-rolecast-model") == "c"


async def test_a_router_that_takes_too_long_is_stopped() -> None:
    async with cast(timeout=0.3) as c:
        c.r.usual = slow = Held(delta('{"routing_decision"'))
        answer = await c.ask()
        assert (answer.status, answer.header("x-rolecast-model")) == (200, "s")
        assert route(answer) == "default; router took too long, no model named, default role for chat"
        assert slow.peer is not None
        await asyncio.wait_for(slow.peer.gone.wait(), 5)
        await c.is_idle()
        client, question = await c.rows()
        assert (question.error, question.outcome, client.outcome) == ("upstream_timeout", "error", "ok")


async def test_a_router_with_no_free_slot_is_not_waited_for_longer() -> None:
    async with cast(timeout=0.3, parallel=1) as c:
        c.r.usual = Held()
        first = asyncio.ensure_future(c.ask())
        await until(lambda: c.r.requests)
        answers = await asyncio.gather(first, c.ask(), c.ask())
        assert {a.header("x-rolecast-model") for a in answers} == {"s"}
        await c.is_idle()


async def test_a_client_that_leaves_stops_the_question() -> None:
    async with cast() as c:
        c.r.usual = slow = Held(delta('{"routing_decision"'))
        async with c.gate.client() as client:
            await client.send(request({"model": "auto", "messages": [{"role": "user", "content": SECRET}]}))
            await slow.began.wait()
            client.abort()
        assert slow.peer is not None
        await asyncio.wait_for(slow.peer.gone.wait(), 5)
        await c.is_idle()
        rows = await c.rows()
        assert sorted((row.asked, row.outcome) for row in rows) == [("auto", "cancelled"), ("router", "cancelled")]
        assert not c.s.requests


async def test_another_model_of_the_router_role_is_asked_when_the_first_fails() -> None:
    async with cast({**ROLES, "router": ["r", "t"]}) as c:
        c.r.usual, c.t.usual = raw(b"", close=True), delegate("CODING")
        assert (await c.ask()).header("x-rolecast-model") == "c"


async def test_a_worker_that_dies_under_the_question_costs_no_request(tmp_path: Path) -> None:
    script = tmp_path / "dies.yaml"
    script.write_text("replies: [{reply: 'a b c d e f', die_after: 2}]")
    async with cast({**ROLES, "router": ["dying"]}, dying=Model(backend="fake", script=str(script))) as c:
        answers = await asyncio.gather(*(c.ask() for _ in range(4)))
        assert [a.status for a in answers] == [200] * 4
        assert {a.header("x-rolecast-model") for a in answers} == {"s"}
        await c.is_idle()


async def test_a_router_that_cannot_be_loaded_costs_no_request(tmp_path: Path) -> None:
    gone = Model(backend="llamacpp", source=f"file:{tmp_path}/none.gguf")
    async with cast({**ROLES, "router": ["gone"]}, gone=gone) as c:
        answer = await c.ask()
        assert (answer.status, answer.header("x-rolecast-model")) == (200, "s")


async def test_loading_takes_no_time_of_the_decision() -> None:
    server = [sys.executable, str(Path(__file__).with_name("foreign_server.py")), "--loading", "40"]
    cold = Model(backend="command", command=[*server, "--port", "{port}"])
    async with cast({**ROLES, "router": ["cold"]}, timeout=0.5, cold=cold) as c:
        answer = await c.ask()
        assert route(answer) == "llm; router gave no answer of its own, so standard", "an empty one fits the schema"
        _, question = await c.rows()
        assert question.load_ms > 500, question


async def test_a_reload_under_the_question_loses_nothing() -> None:
    async with cast() as c:
        decision = {"routing_decision": "DELEGATE", "target_model": "CODING", "confidence": 1, "reasoning_depth": 1}
        c.r.usual = slow = Held(delta(json.dumps({**decision, "reason": ""})), FINISH)
        asking = asyncio.ensure_future(c.ask())
        await slow.began.wait()
        models = {name: model for name, model in c.gate.gateway.current.config.models.items() if name in "st"}
        await apply(c.gate, models, {"standard": ["s"], "reasoning": ["t"]})
        slow.let_go.set()
        answer = await asking
        assert (answer.status, answer.header("x-rolecast-model")) == (200, "s"), "its role is not there any more"


async def test_a_reload_that_keeps_the_roles_changes_nothing() -> None:
    async with cast() as c:
        decision = {"routing_decision": "DELEGATE", "target_model": "CODING", "confidence": 1, "reasoning_depth": 1}
        c.r.usual = slow = Held(delta(json.dumps({**decision, "reason": ""})), FINISH)
        asking = asyncio.ensure_future(c.ask())
        await slow.began.wait()
        await apply(c.gate, dict(c.gate.gateway.current.config.models), ROLES)
        slow.let_go.set()
        assert (await asking).header("x-rolecast-model") == "c"


async def apply(gate: Gate, models: dict[str, Model], roles: dict[str, list[str]]) -> None:
    """An edit, as a reload makes it."""
    conf = msgspec.structs.replace(gate.gateway.current.config, models=models, roles=roles)
    edit = edit_to(conf, {})
    changes = [await part.prepare(edit) for part in gate.gateway.parts if part is not gate.gateway.doors]
    for change in changes:
        change.commit()


async def test_a_router_that_a_reload_takes_away_from_who_waits_costs_no_request() -> None:
    async with cast(parallel=1) as c:
        c.r.usual = slow = Held()
        first = asyncio.ensure_future(c.ask())
        await slow.began.wait()
        waiting = asyncio.ensure_future(c.ask())
        await until(lambda: c.gate.gateway.fleet.worker("r").waiting, "one is in line")
        models = {name: model for name, model in c.gate.gateway.current.config.models.items() if name != "r"}
        await apply(c.gate, models, {"standard": ["s"]})
        await asyncio.sleep(0.5)
        slow.let_go.set()
        for answer in await asyncio.gather(first, waiting):
            assert (answer.status, answer.header("x-rolecast-model")) == (200, "s")
        await until(lambda: not c.gate.gateway.dispatch.active)


async def test_nothing_of_a_question_is_left_for_the_collector() -> None:
    async with cast() as c:
        c.r.script += [delegate(), handle(), says("?"), raw(b"", close=True)]
        await c.ask()
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                await c.ask()
            await c.is_idle()
            assert [x for x in gc.get_objects() if isinstance(x, Question)] == []
        finally:
            gc.enable()


# -- many ------------------------------------------------------------------------------------------------


class Echo:
    """A router that says of each request what the request says itself."""

    def __init__(self) -> None:
        self.running = self.most = 0

    async def __call__(self, peer: Peer, received: Received) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.02)
        text = received.json["messages"][1]["content"]
        word = text.rpartition("user: ")[2].split()[0]
        script = handle(f"answer {text.split()[-1]}") if word == "HANDLE" else delegate(word)
        self.running -= 1
        await script(peer, received)


async def test_sixteen_at_once_do_not_mix() -> None:
    async with cast() as c:
        c.r.usual = echo = Echo()
        words = ["HANDLE", "CODING", "REASONING", "STANDARD"] * 4
        asked: list[Awaitable[Answer]] = [c.ask(f"{word} {i}") for i, word in enumerate(words)]
        answers = await asyncio.gather(*asked)
        models = [a.header("x-rolecast-model") for a in answers]
        assert models == ["r", "c", "t", "s"] * 4
        for i, answer in enumerate(answers):
            if words[i] == "HANDLE":
                assert answer.json["choices"][0]["message"]["content"] == f"answer {i}"
        assert echo.most > 4
        await c.is_idle()
        assert len(await c.rows()) == 16 + 12


async def test_a_gateway_that_stops_ends_what_it_had_accepted() -> None:
    async with cast() as c:
        c.r.usual = slow = Held(delta('{"routing_decision"'))
        asking = asyncio.ensure_future(c.ask())
        await slow.began.wait()
        hurry = asyncio.Event()
        draining = asyncio.ensure_future(c.gate.gateway.dispatch.drain(5, hurry))
        await asyncio.sleep(0.05)
        slow.let_go.set()
        answer = await asking
        assert (answer.status, answer.header("x-rolecast-model")) == (200, "s")
        await draining
