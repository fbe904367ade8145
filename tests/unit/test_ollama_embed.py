"""Ollama's /api/embed and /api/embeddings on a scripted worker: what is asked of it, and what the client sees."""

import json
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from gateway import Gate, ScriptedWorker, pair, reply, request
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config.schema import Limits
from rolecast.dialects import dialect, entries, family
from rolecast.values import Phases, Vector

pytestmark = pytest.mark.anyio
EMBED, BEFORE = "/api/embed", "/api/embeddings"


@pytest.fixture
async def both() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    async with pair(model={"capabilities": ["embeddings"]}) as (gate, worker):
        yield gate, worker


def vectors(*given: list[float], tokens: int = 5) -> bytes:
    data = [{"object": "embedding", "index": i, "embedding": each} for i, each in enumerate(given)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps({"object": "list", "data": data[::-1], "usage": usage}).encode()


async def test_texts_become_vectors_in_their_order(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(reply(vectors([0.6, 0.8], [1.0, 0.0])))
    body = (await gate.ask(request({"model": "m", "input": ["a", "b"], "truncate": True}, path=EMBED))).json
    assert body["embeddings"] == [[0.6, 0.8], [1.0, 0.0]]
    assert (body["model"], body["prompt_eval_count"]) == ("m", 5)
    assert body["total_duration"] >= body["load_duration"]
    assert worker.requests[0].line.startswith("POST /v1/embeddings ")
    assert worker.requests[0].json == {"model": "m", "input": ["a", "b"]}
    (row,) = await gate.rows()
    assert (row.kind, row.prompt_tokens, row.completion_tokens, row.outcome) == ("embeddings", 5, 0, "ok")


async def test_one_text_is_a_list_of_one(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(reply(vectors([1.0])))
    body = (await gate.ask(request({"model": "m", "input": "a"}, path=EMBED))).json
    assert (body["embeddings"], worker.requests[0].json["input"]) == ([[1.0]], ["a"])


async def test_fewer_dimensions_are_the_first_ones_at_length_one(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    for dimensions, wanted in ((2, [0.6, 0.8]), (3, [0.3, 0.4, 0.866]), (9, [0.3, 0.4, 0.866])):
        worker.script.append(reply(vectors([0.3, 0.4, 0.866])))
        body = (await gate.ask(request({"model": "m", "input": "a", "dimensions": dimensions}, path=EMBED))).json
        assert body["embeddings"] == [pytest.approx(wanted)]


async def test_the_path_of_before_gives_one_vector(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(reply(vectors([0.6, 0.8])))
    assert (await gate.ask(request({"model": "m", "prompt": "a"}, path=BEFORE))).json == {"embedding": [0.6, 0.8]}


async def test_nothing_to_embed_loads_the_model(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    for given_input in ([], ""):
        assert (await gate.ask(request({"model": "m", "input": given_input}, path=EMBED))).json["embeddings"] == []
    assert (await gate.ask(request({"model": "m"}, path=BEFORE))).json == {"embedding": []}
    assert not worker.requests


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({}, 400, "`input` is missing"),
        ({"input": 1}, 400, "`input`"),
        ({"input": [1, 2]}, 400, "`input[0]`"),
        ({"input": "x", "dimensions": -1}, 400, "`dimensions`"),
        ({"input": "x", "model": ""}, 400, "`model` is missing"),
        ({"input": "x", "model": "nobody"}, 404, "not found"),
    ],
)
async def test_a_bad_body_is_the_clients_mistake(
    both: tuple[Gate, ScriptedWorker], fields: dict[str, Any], status: int, told: str
) -> None:
    gate, worker = both
    answer = await gate.ask(request({"model": "m", **fields}, path=EMBED))
    assert answer.status == status
    assert told in answer.json["error"]
    assert not worker.requests


@pytest.mark.parametrize("body", [b"{}", b'{"data":[]}', b"<html>", b'{"error":"out of memory"}'])
async def test_what_is_no_answer_is_an_error(both: tuple[Gate, ScriptedWorker], body: bytes) -> None:
    gate, worker = both
    worker.usual = reply(body)
    answer = await gate.ask(request({"model": "m", "input": "x"}, path=EMBED))
    assert (answer.status, list(answer.json)) == (502, ["error"])


@pytest.mark.parametrize(
    "body",
    [
        vectors([0.6, 0.8]),
        vectors([0.6, 0.8], [1.0, 0.0], [0.0, 1.0]),
        b'{"data":[{"index":0,"embedding":null},{"index":1,"embedding":[1]}]}',
        b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}',
    ],
)
@pytest.mark.parametrize("path", [EMBED, "/embed"])
async def test_no_client_takes_the_vectors_of_some_texts_for_those_of_all(
    both: tuple[Gate, ScriptedWorker], path: str, body: bytes
) -> None:
    gate, worker = both
    worker.usual = reply(body)
    texts = {"model": "m", "inputs" if path == "/embed" else "input": ["a", "b"]}
    assert (await gate.ask(request(texts, path=path))).status == 502
    row = (await gate.rows())[-1]
    assert (row.kind, row.outcome) == ("embeddings", "error")


async def test_a_model_that_only_chats_is_not_asked_for_vectors() -> None:
    async with pair() as (gate, worker):
        answer = await gate.ask(request({"model": "m", "input": "x"}, path=EMBED))
        assert (answer.status, "embeddings" in answer.json["error"]) == (400, True)
        assert not worker.requests


@given(st.lists(st.lists(st.floats(-1, 1), min_size=1, max_size=8), min_size=1, max_size=4), st.integers(0, 9))
def test_vectors_survive_the_way_from_the_worker(given_vectors: list[list[float]], dimensions: int) -> None:
    body = json.dumps({"model": "m", "input": "x", "dimensions": dimensions}).encode()
    out = dialect("ollama-embed").writer(entries(Limits())[b"/api/embed"].read(body), "m")
    reader = family("openai").reader(streaming=False)
    for each in reader.read(vectors(*given_vectors)) + reader.end():
        assert out.write(each) == b""
    told = json.loads(out.end(Phases()))["embeddings"]
    assert len(told) == len(given_vectors)
    for vector, whole in zip(told, given_vectors, strict=True):
        if not 0 < dimensions < len(whole):
            assert vector == whole
        elif any(whole[:dimensions]):
            assert math.hypot(*vector) == pytest.approx(1.0)


def test_vectors_without_a_number_are_taken_in_order() -> None:
    reader = family("openai").reader(streaming=False)
    reader.read(b'{"data":[{"embedding":[1]},{"embedding":[2]}]}')
    assert [event.index for event in reader.end() if isinstance(event, Vector)] == [0, 1]
