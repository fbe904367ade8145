"""Ollama's /api/generate on a scripted worker: prompts with the model's template, raw ones, gaps, conversations."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway import (
    DONE,
    SSE_HEAD,
    USAGE,
    Answer,
    Gate,
    Held,
    ScriptedWorker,
    chunk,
    config,
    delta,
    event,
    pair,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    stream,
    until,
)
from hf_server import gguf_file, text
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config.schema import Limits, Model
from rolecast.dialects import dialect, entries, family, ollama_context
from rolecast.dialects.ollama_body import seconds
from rolecast.errors import BadRequest
from rolecast.values import Caller, Completion, Done, Message, Report, Text, Usage

pytestmark = pytest.mark.anyio
PATH = "/api/generate"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
PLAIN = json.dumps(
    {
        "choices": [{"index": 0, "text": "and so on", "finish_reason": "length"}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 3},
    }
).encode()


@pytest.fixture
async def both() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    async with pair() as (gate, worker):
        yield gate, worker


def asked(prompt: str | None = "hello", model: str = "m", **fields: Any) -> bytes:
    return request({"model": model, "prompt": prompt, **fields}, path=PATH)


def lines(answer: Answer) -> list[dict[str, Any]]:
    assert (answer.status, answer.header("content-type")) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.body.splitlines()]


# -- with the template of the model --------------------------------------------------------------------------------


async def test_a_prompt_streams_lines_of_text_and_ends_with_counts(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    thought = event({"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]})
    worker.script.append(stream(thought, delta("Hel"), delta("lo"), FINISH, USAGE, DONE))
    first, *pieces, last = lines(await gate.ask(asked(think=True)))
    assert (first["thinking"], first["response"]) == ("hm", "")
    assert [piece["response"] for piece in pieces] == ["Hel", "lo"]
    assert all(set(piece) == {"model", "created_at", "response", "done"} for piece in pieces)
    assert (last["done"], last["done_reason"], last["response"]) == (True, "stop", "")
    assert (last["prompt_eval_count"], last["eval_count"]) == (11, 3)
    assert last["total_duration"] >= last["load_duration"] + last["prompt_eval_duration"] + last["eval_duration"]
    (row,) = await gate.rows()
    assert (row.kind, row.stream, row.prompt_tokens, row.completion_tokens) == ("chat", True, 11, 3)


async def test_a_whole_answer_is_one_object(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    body = (await gate.ask(asked(stream=False, system="be brief", options={"num_predict": 5}))).json
    assert (body["response"], body["done"], body["eval_count"]) == ("hi", True, 2)
    sent = worker.requests[0].json
    assert sent["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    assert sent["max_tokens"] == 5


async def test_the_context_of_an_answer_goes_on_with_the_conversation(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    context = (await gate.ask(asked("one", stream=False, system="be brief"))).json["context"]
    worker.script.append(stream(delta("ho"), FINISH, DONE))
    *_, last = lines(await gate.ask(asked("two", context=context)))
    said = [(m["role"], m["content"]) for m in worker.requests[1].json["messages"]]
    assert said == [("system", "be brief"), ("user", "one"), ("assistant", "hi"), ("user", "two")]
    assert [m.content for m in ollama_context.unpack(last["context"])] == ["be brief", "one", "hi", "two", "ho"]
    await gate.ask(asked("three", context=last["context"], system="be long", stream=False))
    said = [(m["role"], m["content"]) for m in worker.requests[2].json["messages"]]
    assert said[0] == ("system", "be long")
    assert [role for role, _ in said] == ["system", "user", "assistant", "user", "assistant", "user"]


async def test_pictures_go_with_the_prompt(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    await gate.ask(asked("what is it?", images=[PNG], stream=False))
    (message,) = worker.requests[0].json["messages"]
    assert message["content"][0] == {"type": "text", "text": "what is it?"}
    assert message["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PNG}"


async def test_the_first_line_is_there_before_the_last_is_made(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    slow = Held(delta("one"))
    worker.script.append(slow)
    async with gate.client() as client:
        await client.send(asked())
        await client.head()
        size = int(await client.reader.readline(), 16)
        assert json.loads(await client.reader.readexactly(size))["response"] == "one"
        assert not slow.let_go.is_set()
        slow.let_go.set()


async def test_who_leaves_frees_the_slot_and_stops_the_worker(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    slow = Held(delta("one"))
    worker.script.append(slow)
    async with gate.client() as client:
        await client.send(asked())
        await slow.began.wait()
        client.abort()
        assert slow.peer is not None
        await asyncio.wait_for(slow.peer.gone.wait(), 10)
    await until(lambda: gate.gateway.fleet.worker("m").active == 0)
    assert (await gate.rows())[0].outcome == "cancelled"


async def test_an_error_inside_of_a_stream_is_its_last_line(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(raw(SSE_HEAD + chunk(delta("one")), close=True))
    first, last = lines(await gate.ask(asked()))
    assert (first["response"], list(last)) == ("one", ["error"])


# -- raw, and gaps -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [True, False])
async def test_a_raw_prompt_reaches_the_worker_as_it_stands(both: tuple[Gate, ScriptedWorker], streams: bool) -> None:
    gate, worker = both
    piece = event({"choices": [{"index": 0, "text": "and so on", "finish_reason": "length"}]})
    worker.script.append(stream(piece, USAGE, DONE) if streams else reply(PLAIN))
    answer = await gate.ask(asked("[INST] hi", raw=True, stream=streams, options={"seed": 3, "stop": "x"}))
    said = lines(answer) if streams else [answer.json]
    assert "".join(each["response"] for each in said) == "and so on"
    assert (said[-1]["done_reason"], said[-1]["eval_count"]) == ("length", 3)
    assert "context" not in said[-1]
    assert worker.requests[0].line.startswith("POST /v1/completions ")
    sent = worker.requests[0].json
    assert (sent["prompt"], sent["seed"], sent["stop"]) == ("[INST] hi", 3, ["x"])
    assert (await gate.rows())[0].kind == "completion"


async def test_a_suffix_is_told_to_a_server_elsewhere(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(reply(PLAIN))
    await gate.ask(asked("def f(", suffix="return 1", stream=False))
    assert {name: worker.requests[0].json[name] for name in ("prompt", "suffix")} == {
        "prompt": "def f(",
        "suffix": "return 1",
    }


def tokens(*words: str) -> tuple[str, int, bytes]:
    import struct

    return "tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, len(words)) + b"".join(map(text, words))


@pytest.mark.parametrize(
    ("vocabulary", "marks"),
    [
        (
            ("a", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
            ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
        ),
        (("<fim_prefix>", "<fim_suffix>", "<fim_middle>"), ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")),
        (("<|fim_prefix|>", "<|fim_suffix|>", "x<|fim_middle|>"), ()),
        (("a", "b"), ()),
    ],
)
async def test_the_engine_here_gets_the_marks_of_its_vocabulary_around_a_gap(
    tmp_path: Path, vocabulary: tuple[str, ...], marks: tuple[str, ...]
) -> None:
    file = tmp_path / "w.gguf"
    file.write_bytes(gguf_file(tokens(*vocabulary)))
    models = {"m": Model(source=f"file:{file}"), "r": remote("http://127.0.0.1:9/v1")}
    async with running_gateway(config(models), tmp_path) as gate:
        abilities = gate.gateway.abilities
        assert (abilities.marks("m"), abilities.can("m", "insert"), abilities.can("r", "insert")) == (
            marks,
            bool(marks),
            None,
        )
        read = entries(Limits())[b"/api/generate"].read(b'{"model":"m","prompt":"<","suffix":">"}')
        if not marks:
            refused = await gate.ask(asked("<", suffix=">"))
            assert (refused.status, "gap" in refused.json["error"], "r can" in refused.json["error"]) == (
                400,
                True,
                False,
            )
            return
        plan = gate.gateway.plans.make("m", read, Caller(), dialect("ollama"))
        assert read.plain is not None
        _, written = plan.written(read, read.plain)
        sent = json.loads(written)
        assert sent["prompt"] == f"{marks[0]}<{marks[1]}>{marks[2]}"
        assert "suffix" not in sent


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"prompt": 1}, "`prompt`"),
        ({"template": "{{ .Prompt }}"}, "`template`"),
        ({"raw": True, "system": "x"}, "`system`"),
        ({"raw": True, "context": [1]}, "`context`"),
        ({"suffix": "x", "images": [PNG]}, "`images`"),
        ({"raw": True, "suffix": "x"}, "exclude each other"),
        ({"raw": True, "think": True}, "`think`"),
        ({"context": [1, 2, 3]}, "was not made here"),
        ({"context": [ollama_context.MARK, 2**70]}, "was not made here"),
        ({"context": [ollama_context.MARK, -1]}, "was not made here"),
        ({"context": ["x"]}, "`context[0]`"),
        ({"images": ["@@"]}, "`images[0]` is not base64"),
        ({"format": "xml"}, "`format`"),
        ({"logprobs": True}, "`logprobs`"),
        ({"tools": [{"function": {"name": "f"}}]}, "`tools` belong to /api/chat"),
        ({"messages": [{"role": "user", "content": "x"}]}, "`messages` belong to /api/chat"),
        ({"think": "very"}, "`think` must be"),
        ({"keep_alive": "soon"}, "`keep_alive`"),
        ({"keep_alive": []}, "`keep_alive`"),
        ({"options": {"temperature": -1}}, "`options.temperature`"),
    ],
)
async def test_what_cannot_be_done_is_said(
    both: tuple[Gate, ScriptedWorker], fields: dict[str, Any], told: str
) -> None:
    gate, worker = both
    answer = await gate.ask(request({"model": "m", "prompt": "x", **fields}, path=PATH))
    assert answer.status == 400
    assert told in answer.json["error"]
    assert not worker.requests


async def test_a_model_that_is_known_not_to_think_is_not_made_to(tmp_path: Path) -> None:
    models = {}
    for name, template in (("plain", "{{ x }}"), ("thinks", "<think>")):
        (tmp_path / f"{name}.gguf").write_bytes(gguf_file(("tokenizer.chat_template", 8, text(template))))
        models[name] = Model(source=f"file:{tmp_path}/{name}.gguf")
    async with running_gateway(config(models), tmp_path) as gate:
        assert [gate.gateway.abilities.can(name, "thinking") for name in models] == [False, True]
        for path, more in ((PATH, {"prompt": "x"}), ("/api/chat", {"messages": [{"role": "user", "content": "x"}]})):
            refused = await gate.ask(request({"model": "plain", "think": "high", **more}, path=path))
            assert (refused.status, "think" in refused.json["error"]) == (400, True)
            assert "thinks can" in refused.json["error"]


# -- durations and contexts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, None),
        ("", None),
        (0, 0),
        (300, 300),
        (-1, float("inf")),
        ("-1", float("inf")),
        ("0", 0),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("300ms", 0.3),
        ("-1m", float("inf")),
        ("24h", 86400),
        (1e300, float("inf")),
        ("999999999999999h", float("inf")),
    ],
)
def test_a_duration_is_read_as_go_writes_it(given: Any, meant: Any) -> None:
    assert seconds(given) == (pytest.approx(meant) if meant is not None else None)


@given(st.text(alphabet="0123456789.-+smhnuµ ", max_size=40))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        found = seconds(text)
    except BadRequest:
        return
    assert found is None or found >= 0


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text()), max_size=4), st.text())
def test_a_conversation_survives_as_numbers(said: list[tuple[str, str]], answer: str) -> None:
    messages = [Message(role, content) for role, content in said]
    numbers = ollama_context.pack(messages, answer)
    assert all(0 <= number < 2**31 for number in numbers)
    assert ollama_context.unpack(numbers) == [*messages, Message("assistant", answer)]


@given(st.lists(st.integers(-(2**64), 2**64), max_size=8))
def test_any_numbers_are_a_conversation_or_refused(numbers: list[int]) -> None:
    for given_numbers in (numbers, [ollama_context.MARK, *numbers]):
        try:
            ollama_context.unpack(given_numbers)
        except BadRequest:
            pass


@given(texts=st.lists(st.text(min_size=1), max_size=5), cut=st.integers(1, 40))
def test_a_stream_of_plain_text_is_read_alike_however_its_bytes_are_cut(texts: list[str], cut: int) -> None:
    pieces = [event({"choices": [{"index": 0, "text": text, "finish_reason": None}]}) for text in texts]
    end = event({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})
    data = b"".join(pieces) + end + USAGE + DONE
    reader = family("openai").reader(streaming=True)
    events = [e for at in range(0, len(data), cut) for e in reader.read(data[at : at + cut])] + reader.end()
    assert events == [*map(Text, texts), Done("stop"), Report(Usage(11, 3))]


def test_only_streams_are_asked_for_usage() -> None:
    for streams in (True, False):
        _, body = family("openai").ask(Completion("m", "x", stream=streams), usage=True)
        assert ("stream_options" in json.loads(body)) is streams
