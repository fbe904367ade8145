"""A cascade: the small model's answer is held until it is judged, and goes out, or the bigger one answers."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    DONE,
    SSE_HEAD,
    USAGE,
    Answer,
    Gate,
    Held,
    Peer,
    Received,
    Script,
    ScriptedWorker,
    chunk,
    config,
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
from rolecast.config.routing import Cascade
from rolecast.config.schema import Routing
from rolecast.config.units import Count, Share
from rolecast.decision import Choice, Verdict
from rolecast.routing.cascade import confidence, may_cascade, trial
from rolecast.values import Chat, Message, Tool, ToolCall

pytestmark = pytest.mark.anyio

FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
SURE = "cascade; light was sure"
UNSURE = "cascade; light was unsure, heavy answers"
UNKNOWN = "cascade; light answers, its confidence is unknown"
TOKENS = 4


def token(text: str, probability: float | None = 0.9, field: str = "content") -> bytes:
    """One event of a stream, with the probability of its token, as llama.cpp tells it."""
    choice: dict[str, Any] = {"index": 0, "delta": {field: text}}
    if probability is not None:
        entry = {"token": text, "logprob": math.log(probability), "bytes": list(text.encode())}
        choice["logprobs"] = {"content": [{**entry, "top_logprobs": [entry]}]}
    return event({"choices": [choice]})


def says(text: str, probability: float | None = 0.9) -> Script:
    """An answer of so probable words."""
    words = [w if i == 0 else f" {w}" for i, w in enumerate(text.split())]
    return stream(*(token(w, probability) for w in words), FINISH, USAGE, DONE)


def whole(text: str, probability: float) -> Script:
    entries = [{"token": t, "logprob": math.log(probability)} for t in text.split()]
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    return reply(json.dumps({"choices": [{**choice, "logprobs": {"content": entries}}], "usage": usage}).encode())


class Cast:
    """A gateway with a cascade, and the workers behind it."""

    def __init__(self, gate: Gate, small: ScriptedWorker, large: ScriptedWorker) -> None:
        self.gate, self.small, self.large = gate, small, large
        small.usual, large.usual = says("small and sure of it"), says("the large one says")

    async def ask(self, text: str = "hello", path: str = "/v1/chat/completions", **fields: Any) -> Answer:
        body = {"model": "auto", "messages": [{"role": "user", "content": text}], **fields}
        return await self.gate.ask(request(body, path=path))

    async def rows(self) -> list[Receipt]:
        await until(lambda: not self.gate.gateway.dispatch.active)
        fleet = self.gate.gateway.fleet
        await until(lambda: not any(fleet.worker(m).active for m in ("small", "large")), "all slots are free")
        return await self.gate.rows()


@asynccontextmanager
async def cast(least: float = 0.6, *, strategies: list[Any] | None = None) -> AsyncIterator[Cast]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_folder())
        small, large = [await stack.enter_async_context(ScriptedWorker().listening(f"{folder}/{n}.sock")) for n in "sl"]
        conf = config({"small": remote(small.url, parallel=64), "large": remote(large.url, parallel=64)})
        roles = {"standard": ["large"], "light": ["small"], "heavy": ["large"]}
        setting = Cascade(enabled=True, then="heavy", tokens=Count(TOKENS), min_confidence=Share(least))
        routing = Routing(strategies=strategies or ["explicit"], cascade=setting)
        conf = msgspec.structs.replace(conf, roles=roles, routing=routing)
        yield Cast(await stack.enter_async_context(running_gateway(conf, Path(folder))), small, large)


def text_of(answer: Answer) -> str:
    """What an answer of OpenAI's says, streamed or not."""
    if not answer.body.startswith(b"data:"):
        return str(answer.json["choices"][0]["message"]["content"])
    events = [json.loads(x[6:]) for x in answer.body.decode().split("\n\n") if x and x != "data: [DONE]"]
    return "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])


def route(answer: Answer) -> str | None:
    return answer.header("x-rolecast-route")


# -- the judgement ---------------------------------------------------------------------------------------


def test_confidence_is_the_geometric_mean_of_the_probabilities() -> None:
    assert confidence([math.log(0.5), math.log(0.5)]) == pytest.approx(0.5)
    assert confidence([math.log(0.9), math.log(0.1)]) == pytest.approx(0.3)
    assert confidence([]) == 0.0
    assert confidence([2.0, 0.0]) == 1.0, "no probability is more than certain"
    assert confidence([-9999.0, 0.0]) == 0.0


def test_a_cascade_wants_two_models_and_a_choice_that_is_open() -> None:
    choices = {"light": Choice("a", alternatives=("b",)), "heavy": Choice("c", alternatives=("a", "d"))}
    on = Cascade(enabled=True, then="heavy")

    def settle(said: Verdict) -> Choice | None:
        return choices.get(said.name)

    found = trial(on, Choice("x", source="default"), settle)
    assert found is not None
    assert (found[0].model, found[0].alternatives) == ("a", ("c", "d"))
    assert (found[1].then.model, found[1].then.alternatives) == ("c", ("d", "a", "b"))
    for source in ("explicit", "role", "rule", "llm", "listener"):
        assert trial(on, Choice("x", source=source), settle) is None  # type: ignore[arg-type]
    assert trial(Cascade(), Choice("x", source="default"), settle) is None
    choices["heavy"] = Choice("b")
    assert trial(on, Choice("x", source="default"), settle) is None, "who tries cannot be who answers then"
    del choices["heavy"]
    assert trial(on, Choice("x", source="default"), settle) is None


def test_an_unsure_answer_goes_to_who_was_chosen_or_to_the_heavy_one_where_that_is_who_tried() -> None:
    choices = {"light": Choice("a"), "heavy": Choice("c")}

    def settle(said: Verdict) -> Choice | None:
        found = choices.get(said.name)
        return found and msgspec.structs.replace(found, reason=said.reason)

    def then(chosen: Choice) -> tuple[str, str] | None:
        found = trial(Cascade(enabled=True), chosen, settle)
        return None if found is None else (found[1].then.model, found[1].then.reason)

    assert then(Choice("coder", role="coding", source="learned")) == ("coder", "coding")
    assert then(Choice("coder", source="learned")) == ("coder", "coder")
    assert then(Choice("a", role="standard", source="default")) == ("c", "heavy")
    del choices["heavy"]
    assert then(Choice("a", role="standard", source="default")) is None


def test_calls_and_schemas_are_in_no_cascade() -> None:
    user = Message("user", "x")
    assert may_cascade(Chat("", (user,)))
    assert may_cascade(Chat("", (user,), tools=(Tool("f"),), tool_choice="none"))
    assert not may_cascade(Chat("", (user,), tools=(Tool("f"),)))
    assert not may_cascade(Chat("", (user,), answer_schema=msgspec.Raw(b"{}")))
    assert not may_cascade(Chat("", (user, Message("tool", "7", tool_call_id="1"))))
    assert not may_cascade(Chat("", (user, Message("assistant", tool_calls=(ToolCall("1", "f"),)))))


# -- sure and unsure -------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [False, True])
async def test_a_sure_answer_goes_out_whole_and_nobody_else_is_asked(streams: bool) -> None:
    async with cast() as c:
        answer = await c.ask(stream=streams)
        assert (answer.status, text_of(answer)) == (200, "small and sure of it")
        assert (answer.header("x-rolecast-model"), route(answer)) == ("small", SURE)
        assert b"logprob" not in answer.body, "they were our wish"
        assert c.large.requests == []
        (asked,) = c.small.requests
        assert (asked.json["logprobs"], asked.json["top_logprobs"], asked.json["stream"]) == (True, 1, True)
        (row,) = await c.rows()
        assert (row.model, row.route, row.asked, row.attempts) == ("small", SURE, "auto", 1)
        assert (row.prompt_tokens, row.completion_tokens, row.stream) == (11, 3, streams)


@pytest.mark.parametrize("streams", [False, True])
async def test_an_unsure_answer_is_stopped_and_the_bigger_model_answers(streams: bool) -> None:
    async with cast() as c:
        c.small.usual = slow = Held(*(token(f"w{i}", 0.3) for i in range(TOKENS)))
        c.large.usual = says("the large one says", None) if streams else whole("the large one says", 0.9)
        answer = await c.ask(stream=streams)
        assert (answer.status, text_of(answer)) == (200, "the large one says")
        assert (answer.header("x-rolecast-model"), route(answer)) == ("large", UNSURE)
        assert b"w0" not in answer.body
        assert slow.peer is not None
        await asyncio.wait_for(slow.peer.gone.wait(), 5)  # which stops an engine
        assert "logprobs" not in c.large.requests[0].json, "the second is asked as the client wrote it"
        client, aside = await c.rows()
        assert (client.model, client.route, client.completion_tokens, client.attempts) == ("large", UNSURE, 3, 2)
        assert (aside.model, aside.route, aside.asked) == ("small", "cascade; light was unsure", "auto")
        assert (aside.completion_tokens, aside.counted, aside.outcome) == (TOKENS, True, "ok")


async def test_nothing_is_sent_before_the_tokens_are_judged() -> None:
    async with cast() as c:
        c.small.usual = slow = Held(*(token(f"w{i}") for i in range(TOKENS - 1)))
        async with c.gate.client() as client:
            await client.send(
                request({"model": "auto", "stream": True, "messages": [{"role": "user", "content": "x"}]})
            )
            await slow.began.wait()
            waiting = asyncio.ensure_future(client.head())
            await asyncio.sleep(0.1)
            assert not waiting.done()
            assert slow.peer is not None
            await slow.peer.send(chunk(token("last")))
            assert (await waiting)[0] == 200
            slow.let_go.set()


async def test_a_sure_beginning_is_enough() -> None:
    async with cast() as c:
        c.small.usual = stream(*[token("yes ")] * TOKENS, *[token("no ", 0.001)] * 20, FINISH, DONE)
        assert route(await c.ask(stream=True)) == SURE
        c.small.usual = stream(*[token("no ", 0.001)] * TOKENS, *[token("yes ")] * 20, FINISH, DONE)
        assert route(await c.ask(stream=True)) == UNSURE


@pytest.mark.parametrize(("probability", "expected"), [(0.9, SURE), (0.3, UNSURE)])
async def test_a_short_answer_is_judged_whole(probability: float, expected: str) -> None:
    async with cast() as c:
        c.small.usual = says("four", probability)
        assert route(await c.ask()) == expected
        assert route(await c.ask(stream=True)) == expected


async def test_thoughts_are_not_judged() -> None:
    async with cast() as c:
        thoughts = [token("hmm ", 0.01, "reasoning_content")] * 30
        c.small.usual = stream(*thoughts, *[token("yes ")] * 5, FINISH, DONE)
        answer = await c.ask()
        assert route(answer) == SURE
        assert answer.json["choices"][0]["message"]["reasoning_content"] == "hmm " * 30
        thoughts = [token("sure ", 0.99, "reasoning_content")] * 30
        c.small.usual = stream(*thoughts, *[token("no ", 0.1)] * 5, FINISH, DONE)
        assert route(await c.ask()) == UNSURE


async def test_marks_of_thoughts_in_the_text_are_seen() -> None:
    async with cast() as c:  # a remote tells nothing apart, so its text is read
        thoughts = [token(t, 0.01) for t in ("<think>", "I ", "do ", "not ", "know", "</think>")]
        c.small.usual = stream(*thoughts, *[token("yes ")] * 5, FINISH, DONE)
        answer = await c.ask()
        assert route(answer) == SURE
        assert answer.json["choices"][0]["message"]["content"].strip() == "yes yes yes yes yes"


# -- what fails ------------------------------------------------------------------------------------------

FAILS: dict[str, tuple[Script, str]] = {
    "nothing": (stream(FINISH, DONE), "cascade; light said nothing, heavy answers"),
    "white space": (stream(token("\n"), FINISH, DONE), "cascade; light said nothing, heavy answers"),
    "only thoughts": (
        stream(token("hm", 0.9, "reasoning_content"), FINISH, DONE),
        "cascade; light said nothing, heavy answers",
    ),
    "an error in the stream": (
        stream(token("a"), event({"error": {"message": "boom"}})),
        "cascade; light failed, heavy answers",
    ),
    "no byte": (raw(b"", close=True), "fallback; small failed"),
    "a cut": (raw(SSE_HEAD + chunk(token("a")), close=True), "fallback; small failed"),
    "too long for it": (
        reply(b'{"error":{"message":"the request exceeds the available context size","code":"x"}}', 413),
        "cascade; light failed, heavy answers",
    ),
}


@pytest.mark.parametrize("what", FAILS)
async def test_a_first_answer_that_fails_is_replaced(what: str) -> None:
    script, expected = FAILS[what]
    async with cast() as c:
        c.small.usual = script
        for streams in (False, True):
            c.large.usual = says("the large one says", None) if streams else whole("the large one says", 0.9)
            answer = await c.ask(stream=streams)
            assert (answer.status, text_of(answer), route(answer)) == (200, "the large one says", expected)
        assert [row.outcome for row in await c.rows()].count("ok") >= 2


async def test_a_server_that_takes_no_wish_for_probabilities_is_asked_without() -> None:
    class Strict:
        async def __call__(self, peer: Peer, received: Received) -> None:
            wish = "logprobs" in received.json
            refusal = reply(b'{"error":{"message":"unknown field logprobs"}}', 400)
            await (refusal if wish else whole("plainly so", 0.1))(peer, received)

    async with cast() as c:
        c.small.usual = Strict()
        answer = await c.ask()
        assert (text_of(answer), route(answer)) == ("plainly so", UNKNOWN)
        assert "logprobs" not in c.small.requests[1].json


@pytest.mark.parametrize("streams", [False, True])
async def test_an_answer_without_probabilities_goes_out(streams: bool) -> None:
    async with cast() as c:
        c.small.usual = says("nobody knows how sure", None)
        answer = await c.ask(stream=streams)
        assert (text_of(answer), route(answer)) == ("nobody knows how sure", UNKNOWN)


async def test_an_unjudged_answer_is_better_than_none() -> None:
    async with cast() as c:
        c.small.usual = says("not sure at all", 0.1)
        c.large.usual = raw(b"", close=True)
        c.small.script += [says("not sure at all", 0.1), whole("not sure at all", 0.1)]
        answer = await c.ask()
        assert (answer.status, answer.header("x-rolecast-model"), route(answer)) == (
            200,
            "small",
            "fallback; large failed",
        )
        assert text_of(answer) == "not sure at all"


async def test_a_client_that_leaves_while_it_is_judged_frees_the_slot() -> None:
    async with cast() as c:
        c.small.usual = slow = Held(token("one"))
        async with c.gate.client() as client:
            await client.send(request({"model": "auto", "messages": [{"role": "user", "content": "x"}]}))
            await slow.began.wait()
            await asyncio.sleep(0.05)
            client.abort()
        assert slow.peer is not None
        await asyncio.wait_for(slow.peer.gone.wait(), 5)
        (row,) = await c.rows()
        assert (row.outcome, row.completion_tokens, c.large.requests) == ("cancelled", 1, [])


# -- who has one -----------------------------------------------------------------------------------------

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "standard"},
        {"model": "large"},
        {"tools": TOOLS},
        {"response_format": {"type": "json_object"}},
        {"n": 2},
    ],
    ids=["a role", "a model", "tools", "a schema", "several answers"],
)
async def test_what_is_in_no_cascade_is_asked_as_ever(fields: dict[str, Any]) -> None:
    async with cast() as c:
        c.large.usual = reply()
        answer = await c.ask(**fields)
        assert (answer.header("x-rolecast-model"), c.small.requests) == ("large", [])
        assert not str(route(answer)).startswith("cascade")


async def test_it_is_off_until_it_is_switched_on() -> None:
    assert not Routing().cascade.enabled


async def test_what_the_client_asked_of_probabilities_it_gets() -> None:
    async with cast() as c:
        answer = await c.ask(stream=True, logprobs=True, top_logprobs=3)
        assert c.small.requests[0].json["top_logprobs"] == 3
        events = [json.loads(x[6:]) for x in answer.body.decode().split("\n\n") if x and x != "data: [DONE]"]
        told = [c for e in events for x in e["choices"] if x.get("logprobs") for c in x["logprobs"]["content"]]
        assert [t["token"] for t in told] == ["small", " and", " sure", " of", " it"]
        c.small.usual = whole("small and sure of it", 0.9)
        answer = await c.ask(logprobs=True)
        assert "stream" not in c.small.requests[1].json, "a stream tells less of them"
        assert len(answer.json["choices"][0]["logprobs"]["content"]) == 5
        assert route(answer) == SURE


async def test_a_stop_sequence_is_asked_for_whole() -> None:
    async with cast() as c:
        c.small.usual = whole("small and sure of it", 0.9)
        assert route(await c.ask(stop=["."])) == SURE
        assert "stream" not in c.small.requests[0].json


@pytest.mark.parametrize("probability", [0.9, 0.2])
async def test_every_dialect_has_it(probability: float) -> None:
    async with cast() as c:
        c.small.usual = says("an answer of some words", probability)
        c.large.usual = says("an answer of some words", 0.9)
        expected = (SURE, "small") if probability > 0.5 else (UNSURE, "large")
        streams = [
            (await c.ask(path="/api/chat", stream=True), b'"done":true'),
            (await c.ask(path="/v1/messages", max_tokens=50, stream=True), b"message_stop"),
            (await c.gate.ask(request({"input": "x", "stream": True}, path="/v1/responses")), b"response.completed"),
            (await c.gate.ask(request({"prompt": "x", "stream": True}, path="/generate/stream")), b'"done":true'),
        ]
        wholes = [
            (await c.ask(path="/api/chat", stream=False), b"an answer of some words"),
            (await c.ask(path="/v1/messages", max_tokens=50), b"an answer of some words"),
            (await c.gate.ask(request({"input": "x"}, path="/v1/responses")), b"an answer of some words"),
            (await c.gate.ask(request({"prompt": "x"}, path="/generate")), b"an answer of some words"),
        ]
        for answer, part in streams + wholes:
            assert answer.status == 200, answer.body
            assert (route(answer), answer.header("x-rolecast-model")) == expected
            assert part in answer.body
            assert b"logprob" not in answer.body.replace(b'"logprobs":[]', b"").replace(b'"top_logprobs":0', b"")


async def test_usage_is_told_as_the_client_asked_for_it() -> None:
    async with cast() as c:
        assert b'"usage"' not in (await c.ask(stream=True)).body
        told = await c.ask(stream=True, stream_options={"include_usage": True})
        assert b'"completion_tokens":3' in told.body


async def test_a_model_that_a_reload_takes_away_is_not_asked_when_the_first_was_unsure() -> None:
    async with cast() as c:
        c.small.usual = slow = Held(*(token(f"w{i}", 0.3) for i in range(TOKENS - 1)))
        asking = asyncio.ensure_future(c.ask(stream=True))
        await slow.began.wait()
        current = c.gate.gateway.current.config
        conf = msgspec.structs.replace(
            current, models={"small": current.models["small"]}, roles={"standard": ["small"]}
        )
        parts = [part for part in c.gate.gateway.parts if part is not c.gate.gateway.doors]
        for change in [await part.prepare(edit_to(conf, {})) for part in parts]:
            change.commit()
        c.small.usual = says("what is left answers", None)
        assert slow.peer is not None
        await slow.peer.send(chunk(token("last", 0.3)))
        answer = await asking
        assert (answer.status, text_of(answer)) == (200, "what is left answers")


async def test_the_opinion_of_the_learned_model_leaves_it_open_who_tries_first() -> None:
    code = "Write a Python function that reverses a linked list and explain its complexity."
    async with cast(strategies=["explicit", "learned"]) as c:
        answer = await c.ask(code)
        assert (route(answer), answer.header("x-rolecast-model")) == (SURE, "small")


# -- many ------------------------------------------------------------------------------------------------


class Mixed:
    """Sure of what is asked with an even number."""

    async def __call__(self, peer: Peer, received: Received) -> None:
        number = int(received.json["messages"][0]["content"])
        await says(f"small {number} says so", 0.95 if number % 2 == 0 else 0.2)(peer, received)


class Large:
    async def __call__(self, peer: Peer, received: Received) -> None:
        number = received.json["messages"][0]["content"]
        script = says if received.json.get("stream") else whole
        await script(f"large {number} says so", 0.9)(peer, received)


async def test_256_at_once_are_all_answered_and_do_not_mix() -> None:
    async with cast() as c:
        c.small.usual, c.large.usual = Mixed(), Large()
        answers = await asyncio.gather(*(c.ask(str(i), stream=i % 3 == 0) for i in range(256)))
        for i, answer in enumerate(answers):
            who = "small" if i % 2 == 0 else "large"
            assert (answer.status, text_of(answer)) == (200, f"{who} {i} says so")
            assert route(answer) == (SURE if i % 2 == 0 else UNSURE)
        rows = await c.rows()
        assert len(rows) == 256 + 128
        assert sum(row.route == "cascade; light was unsure" for row in rows) == 128


@pytest.mark.parametrize("stream_it", [False, True])
@pytest.mark.parametrize("what", ["thoughts", "blanks", "chances"])
async def test_what_never_comes_to_a_word_is_not_held_for_ever(what: str, stream_it: bool) -> None:
    entries = [{"token": "x" * 100, "logprob": -0.1} for _ in range(300)]
    pieces = {
        "thoughts": token("hm " * 20_000, None, "reasoning_content"),
        "blanks": token(" " * 60_000, None),
        "chances": event({"choices": [{"index": 0, "delta": {}, "logprobs": {"content": entries}}]}),
    }

    async def endless(peer: Peer, _: Received) -> None:
        await peer.send(SSE_HEAD)
        while not peer.gone.is_set():
            await peer.send(chunk(pieces[what]))
            await asyncio.sleep(0)

    async with cast() as world:
        world.small.usual = endless
        answer = await world.ask(stream=stream_it)
        assert route(answer) == "cascade; light said nothing, heavy answers"
        assert text_of(answer) == "the large one says"
        await world.rows()  # all slots are free
