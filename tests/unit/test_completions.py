"""OpenAI's completions, and chats for several answers: on the engine, and on a server that can all."""

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import tiny_gguf
from gateway import (
    DONE,
    Gate,
    Held,
    Peer,
    Received,
    ScriptedWorker,
    config,
    event,
    pair,
    raw,
    reply,
    request,
    running_gateway,
    stream,
    turns,
    until,
)

from rolecast.backends.remote import OpenAIRemote
from rolecast.config.schema import Model

pytestmark = [pytest.mark.anyio]
PATH = "/v1/completions"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    """The real engine with two slots, on random weights that know the marks of a gap."""
    folder = tmp_path_factory.mktemp("tiny")
    marks = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    path = tiny_gguf.write(folder / "tiny.gguf")
    filling = tiny_gguf.write(folder / "fills.gguf", marks=marks)
    common = {"context": 512, "threads": 1}
    models = {
        "m": Model(source=f"file:{path}", parallel=2, **common),
        "fills": Model(source=f"file:{filling}", parallel=1, **common),
    }
    async with running_gateway(config(models), folder) as gate:
        yield gate


async def asked(gate: Gate, prompt: Any = "hello", path: str = PATH, **fields: Any) -> Any:
    answer = await gate.ask(request({"model": "m", "prompt": prompt, "max_tokens": 4, "seed": 1, **fields}, path=path))
    assert answer.status == 200, answer.body
    if not fields.get("stream"):
        return answer.json
    assert answer.body.endswith(b"data: [DONE]\n\n")
    return [json.loads(line[6:]) for line in answer.body.decode().split("\n\n")[:-2]]


async def refused(gate: Gate, **fields: Any) -> tuple[int, str]:
    answer = await gate.ask(request({"model": "m", "prompt": "hello", "max_tokens": 4, **fields}, path=PATH))
    return answer.status, answer.error["param"]


def joined(pieces: list[Any], index: int) -> tuple[str, str]:
    """The text of one answer of a stream, and how it ended."""
    mine = [c for piece in pieces for c in piece["choices"] if c["index"] == index]
    assert all(c["finish_reason"] is None for c in mine[:-1])
    return "".join(c["text"] for c in mine), mine[-1]["finish_reason"]


async def test_each_prompt_and_each_answer_is_a_choice_of_one_answer(gate: Gate) -> None:
    before = len(await gate.rows())
    both = await asked(gate, ["hello", "the"], n=2)
    assert [c["index"] for c in both["choices"]] == [0, 1, 2, 3]
    assert len({c["text"] for c in both["choices"]}) > 2
    assert (both["object"], both["model"], both["id"][:5]) == ("text_completion", "m", "cmpl-")
    single = [await asked(gate, prompt) for prompt in ("hello", "the")]
    assert [both["choices"][i]["text"] for i in (0, 2)] == [each["choices"][0]["text"] for each in single]
    asked_tokens = sum(each["usage"]["prompt_tokens"] for each in single)
    assert both["usage"]["prompt_tokens"] == asked_tokens
    assert both["usage"]["completion_tokens"] == 16
    rows = (await gate.rows())[before:]
    assert len(rows) == 3
    assert (rows[0].prompt_tokens, rows[0].completion_tokens, rows[0].outcome) == (asked_tokens, 16, "ok")


async def test_a_stream_numbers_its_answers_and_has_the_same_texts(gate: Gate) -> None:
    whole = await asked(gate, ["hello", "the"], n=2)
    pieces = await asked(gate, ["hello", "the"], n=2, stream=True, stream_options={"include_usage": True})
    for choice in whole["choices"]:
        assert joined(pieces, choice["index"]) == (choice["text"], "length")
    assert pieces[-1]["choices"] == []
    assert pieces[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert all("usage" not in piece for piece in await asked(gate, ["a", "b"], stream=True))


async def test_tokens_are_prompts_too(gate: Gate) -> None:
    one = await asked(gate, [300, 301])
    both = await asked(gate, [[300, 301], [302]])
    assert both["choices"][0]["text"] == one["choices"][0]["text"]
    assert len(both["choices"]) == 2


async def test_the_prompt_stands_in_front_where_it_is_wanted(gate: Gate) -> None:
    plain = await asked(gate, "hello the")
    echoed = await asked(gate, "hello the", echo=True)
    assert echoed["choices"][0]["text"] == "hello the" + plain["choices"][0]["text"]
    pieces = await asked(gate, ["hello the", "é"], echo=True, stream=True)
    assert joined(pieces, 0)[0] == echoed["choices"][0]["text"]
    assert joined(pieces, 1)[0].startswith("é")


@pytest.mark.parametrize("stream", [False, True])
async def test_logprobs_have_the_shape_of_completions(gate: Gate, stream: bool) -> None:
    answer = await asked(gate, logprobs=2, stream=stream)
    choices = [c for piece in answer for c in piece["choices"]] if stream else answer["choices"]
    text = "".join(c["text"] for c in choices)
    told = [c["logprobs"] for c in choices if c["logprobs"]["tokens"]]
    tokens = [token for each in told for token in each["tokens"]]
    assert "".join(tokens) == text
    assert len(tokens) == 4
    offsets = [offset for each in told for offset in each["text_offset"]]
    assert all(text[offset:].startswith(token) for offset, token in zip(offsets, tokens, strict=True))
    assert all(number <= 0 for each in told for number in each["token_logprobs"])
    assert all(len(top) == 2 for each in told for top in each["top_logprobs"])


async def test_no_others_are_told_where_none_are_asked_for(gate: Gate) -> None:
    (choice,) = (await asked(gate, logprobs=0))["choices"]
    assert choice["logprobs"]["top_logprobs"] is None
    assert len(choice["logprobs"]["token_logprobs"]) == 4
    assert (await asked(gate, n=2))["choices"][0]["logprobs"] is None


async def test_the_best_of_several_is_the_likeliest(gate: Gate) -> None:
    every = await asked(gate, n=4, logprobs=0)
    likely = {c["text"]: sum(c["logprobs"]["token_logprobs"]) for c in every["choices"]}
    best = await asked(gate, best_of=4, n=2)
    assert [c["text"] for c in best["choices"]] == sorted(likely, key=lambda text: -likely[text])[:2]
    assert [c["index"] for c in best["choices"]] == [0, 1]
    assert best["choices"][0]["logprobs"] is None
    assert best["usage"]["completion_tokens"] == 16


async def test_a_gap_is_filled_by_weights_that_can_and_refused_by_those_that_cannot(gate: Gate) -> None:
    plain = await asked(gate, "hello", model="fills")
    filled = await asked(gate, "hello", model="fills", suffix=" the end")
    assert filled["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]
    answer = await gate.ask(request({"model": "m", "prompt": "hello", "suffix": "x"}, path=PATH))
    assert (answer.status, answer.error["code"]) == (400, "wrong_capability")


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"prompt": []}, 422, "prompt"),
        ({"prompt": [[]]}, 422, "prompt"),
        ({"prompt": [1, "a"]}, 422, "prompt"),
        ({"prompt": ["a", [1]]}, 422, "prompt"),
        ({"prompt": [-1]}, 422, "prompt"),
        ({"prompt": [1.5]}, 422, "prompt"),
        ({"prompt": [True]}, 422, "prompt"),
        ({"prompt": 3}, 422, "prompt"),
        ({"prompt": {}}, 422, "prompt"),
        ({"prompt": None}, 422, "prompt"),
        ({"echo": "yes"}, 422, "echo"),
        ({"suffix": 3}, 422, "suffix"),
        ({"logprobs": "2"}, 422, "logprobs"),
        ({"logprobs": -1}, 422, "logprobs"),
        ({"best_of": 0}, 422, "best_of"),
        ({"best_of": 1, "n": 2}, 400, "best_of"),
        ({"best_of": 2, "stream": True}, 400, "best_of"),
        ({"echo": True, "logprobs": 1}, 400, "logprobs"),
        ({"echo": True, "prompt": [300]}, 400, "echo"),
        ({"prompt": ["a"] * 1025}, 400, "prompt"),
        ({"prompt": ["a", "b"], "temperature": "hot"}, 422, "temperature"),
        ({"prompt": ["a", "the " * 2000]}, 400, None),
        ({"prompt": [[300], [999999]]}, 400, "prompt"),
    ],
)
async def test_what_cannot_be_is_refused_with_its_place(
    gate: Gate, fields: dict[str, Any], status: int, param: str | None
) -> None:
    assert await refused(gate, **fields) == (status, param)


async def test_one_model_of_one_slot_gives_several_answers(gate: Gate) -> None:
    assert len((await asked(gate, ["a", "b", "c"], model="fills", n=3))["choices"]) == 9
    worker = gate.gateway.fleet.worker("fills")
    assert not gate.gateway.dispatch.active
    assert (await asked(gate, "a", model="fills"))["choices"]
    assert worker.model_id == "fills"


async def test_who_leaves_ends_all_answers(gate: Gate) -> None:
    body = {"model": "m", "prompt": ["hello", "the", "of"], "n": 4, "max_tokens": 400, "stream": True}
    before = len(await gate.rows())
    async with gate.client() as client:
        await client.send(request(body, path=PATH))
        await client.head()
        assert len(gate.gateway.dispatch.active) == 3  # the whole, and a part in each slot
        client.abort()
    await until(lambda: not gate.gateway.dispatch.active)
    (row,) = (await gate.rows())[before:]
    assert row.outcome == "cancelled"
    assert (await asked(gate))["choices"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_may_have_several_answers(gate: Gate, stream: bool) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "seed": 3, "n": 3}
    one = (await gate.ask(request({**body, "n": 1}))).json
    answer = await gate.ask(request({**body, "stream": stream, "logprobs": True, "top_logprobs": 2}))
    if stream:
        pieces = [json.loads(line[6:]) for line in answer.body.decode().split("\n\n")[:-2]]
        texts = ["", "", ""]
        for piece in pieces:
            for choice in piece["choices"]:
                texts[choice["index"]] += choice["delta"].get("content") or ""
        tokens = [c["logprobs"]["content"] for piece in pieces for c in piece["choices"] if c.get("logprobs")]
        assert sum(map(len, tokens)) == 15
    else:
        texts = [c["message"]["content"] for c in answer.json["choices"]]
        assert [c["index"] for c in answer.json["choices"]] == [0, 1, 2]
        usage = answer.json["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (one["usage"]["prompt_tokens"], 15)
        assert all(len(c["logprobs"]["content"]) == 5 for c in answer.json["choices"])
        assert len(answer.json["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 2
    assert texts[0] == one["choices"][0]["message"]["content"]
    assert len(set(texts)) == 3


async def test_openais_client_reads_them(gate: Gate) -> None:
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{gate.port()}/v1", api_key="x", max_retries=0) as client:
        whole = await client.completions.create(model="m", prompt=["hello", "the"], max_tokens=4, logprobs=2, n=2)
        assert [each.index for each in whole.choices] == [0, 1, 2, 3]
        assert whole.choices[0].logprobs is not None
        assert whole.choices[0].logprobs.text_offset is not None
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 16
        stream = await client.completions.create(model="m", prompt="hello", max_tokens=4, echo=True, stream=True)
        assert "".join([piece.choices[0].text async for piece in stream]).startswith("hello")
        chat = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], n=2, max_tokens=3
        )
        assert [each.index for each in chat.choices] == [0, 1]


# -- a server that takes several ------------------------------------------------------------------------------


async def test_a_server_that_can_all_gets_the_request_as_it_is() -> None:
    async with pair() as (gate, worker):
        body = {
            "model": "m",
            "prompt": ["a", "b"],
            "n": 2,
            "echo": True,
            "logprobs": 3,
            "best_of": 4,
            "suffix": "x",
        }
        await gate.ask(request(body, path=PATH))
        await gate.ask(request({"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 2}))
        assert worker.requests[0].json == body
        assert worker.requests[1].json["n"] == 2


async def test_a_plain_completion_goes_on_byte_for_byte() -> None:
    async with pair() as (gate, worker):
        body = b'{"model":  "m", "prompt":"a", "n":1,"echo":false, "logprobs":null, "best_of":1,"suffix":""}'
        await gate.ask(request(body, path=PATH))
        assert worker.requests[0].body == body


@pytest.fixture
async def parts(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    """A server that is asked for each answer by itself."""
    monkeypatch.setattr(OpenAIRemote, "several", False)
    async with pair(model={"parallel": 2}) as (gate, worker):
        yield gate, worker


def text(piece: str) -> bytes:
    return event({"choices": [{"index": 0, "text": piece, "finish_reason": None}]})


async def test_the_first_piece_of_any_answer_arrives_before_the_last_is_made(
    parts: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = parts
    first, second = Held(text("one")), Held(text("two"))
    worker.script.extend([first, second])
    async with gate.client() as client:
        await client.send(request({"model": "m", "prompt": ["a", "b", "c"], "stream": True}, path=PATH))
        await client.head()
        pieces = client.chunks()
        seen = b""
        while b"one" not in seen or b"two" not in seen:
            seen += await anext(pieces)
        assert len(worker.requests) == 2  # the third waits for a slot
        worker.script.append(stream(text("three"), DONE))
        first.let_go.set()
        while b"three" not in seen:
            seen += await anext(pieces)
        second.let_go.set()
        rest = b"".join([piece async for piece in pieces])
    assert rest.endswith(DONE)
    found = [json.loads(line[6:]) for line in (seen + rest).decode().split("\n\n")[:-2]]
    assert {(c["index"], c["text"]) for each in found for c in each["choices"] if c["text"]} == {
        (0, "one"),
        (1, "two"),
        (2, "three"),
    }


@pytest.mark.parametrize("begun", [False, True])
async def test_an_answer_that_fails_ends_all(parts: tuple[Gate, ScriptedWorker], begun: bool) -> None:
    gate, worker = parts
    held = Held(*([text("one")] if begun else []))
    bad = reply(b'{"error":{"message":"no such thing","type":"invalid_request_error"}}', 400)
    if begun:

        async def later(peer: Peer, received: Received) -> None:
            await held.began.wait()
            await turns(20)
            await bad(peer, received)

        worker.script.extend([held, later])
    else:
        worker.script.extend([held, bad])
    worker.usual = bad  # it is asked once more without our wish for usage
    answer = await gate.ask(request({"model": "m", "prompt": ["a", "b", "c"], "stream": True}, path=PATH))
    assert held.peer is not None
    await held.peer.gone.wait()
    assert (answer.status, b"no such thing" in answer.body) == (200 if begun else 400, True)
    assert len(worker.requests) == 3
    assert not gate.gateway.dispatch.active
    (row,) = await gate.rows()
    assert (row.outcome, row.model) == ("error", "m")


async def test_an_answer_whose_worker_goes_away_is_asked_for_again(parts: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = parts
    good = reply(b'{"choices":[{"index":0,"text":"x"}],"usage":{"prompt_tokens":2,"completion_tokens":1}}')
    worker.usual = good
    worker.script.append(raw(b"HTTP/1.1 200 OK\r\nContent-Le", close=True))
    answer = await gate.ask(request({"model": "m", "prompt": ["a", "b"]}, path=PATH))
    assert [c["text"] for c in answer.json["choices"]] == ["x", "x"]
    (row,) = await gate.rows()
    assert (row.attempts, row.prompt_tokens, row.completion_tokens) == (3, 4, 2)


async def test_a_client_that_reads_slowly_slows_all_answers(parts: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = parts
    flood = stream(*[text("word " * 2000)] * 3000, DONE)
    worker.script.extend([flood, flood])
    async with gate.client(limit=2**10) as client:
        await client.send(request({"model": "m", "prompt": ["a", "b"], "stream": True}, path=PATH))
        await until(lambda: len(worker.peers) == 2 and not any(peer.writable.is_set() for peer in worker.peers))
        client.abort()
    await until(lambda: not gate.gateway.dispatch.active)
