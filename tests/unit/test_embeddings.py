"""OpenAI's embeddings and TEI's `/embed`: on the real engine, and on a server that shortens vectors itself."""

import base64
import math
import struct
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import tiny_gguf
from gateway import Gate, config, pair, request, running_gateway

from rolecast.config.schema import Model

pytestmark = pytest.mark.anyio
PATH = "/v1/embeddings"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    folder = tmp_path_factory.mktemp("tiny")
    path = tiny_gguf.write(folder / "pooled.gguf", pooled=True)
    made = config({"m": Model(source=f"file:{path}", capabilities=["embeddings"], context=64, threads=1, parallel=2)})
    made.roles["embeddings"] = ["m"]
    async with running_gateway(made, folder) as gate:
        yield gate


async def vectors(gate: Gate, given: Any, **fields: Any) -> list[Any]:
    answer = await gate.ask(request({"model": "m", "input": given, **fields}, path=PATH))
    assert answer.status == 200, answer.body
    assert [each["index"] for each in answer.json["data"]] == list(range(len(answer.json["data"])))
    assert answer.json["usage"]["prompt_tokens"] > 0
    return [each["embedding"] for each in answer.json["data"]]


async def test_texts_and_tokens_have_vectors_each(gate: Gate) -> None:
    one, other = await vectors(gate, ["hello the", ""])  # computed together, and no vector depends on the other text
    assert await vectors(gate, "hello the") == [pytest.approx(one, abs=1e-5)]
    assert len(one) == len(other) == tiny_gguf.WIDTH
    assert len(await vectors(gate, [300, 301])) == 1
    assert len(await vectors(gate, [[300, 301], [302]])) == 2
    assert math.hypot(*one) == pytest.approx(1, abs=1e-5)


async def test_a_vector_is_packed_where_it_is_wanted(gate: Gate) -> None:
    (plain,) = await vectors(gate, "hello")
    (packed,) = await vectors(gate, "hello", encoding_format="base64")
    assert struct.unpack(f"<{tiny_gguf.WIDTH}f", base64.b64decode(packed)) == pytest.approx(plain, abs=1e-5)


async def test_fewer_dimensions_are_the_first_ones_at_length_one(gate: Gate) -> None:
    whole = await vectors(gate, ["hello", "the"])
    short = await vectors(gate, ["hello", "the"], dimensions=8)
    for long, cut in zip(whole, short, strict=True):
        length = math.hypot(*long[:8])
        assert cut == pytest.approx([number / length for number in long[:8]], abs=1e-5)
    (packed,) = await vectors(gate, "hello", dimensions=8, encoding_format="base64")
    assert struct.unpack("<8f", base64.b64decode(packed)) == pytest.approx(short[0], abs=1e-5)
    assert await vectors(gate, "hello", dimensions=tiny_gguf.WIDTH) == [pytest.approx(whole[0], abs=1e-5)]
    row = (await gate.rows())[-1]
    assert (row.kind, row.outcome, row.attempts) == ("embeddings", "ok", 1)


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"input": []}, 422, "input"),
        ({"input": None}, 422, "input"),
        ({"input": {"a": 1}}, 400, "prompt"),
        ({"input": [], "dimensions": 2}, 422, "input"),
        ({"input": ["a", 1], "dimensions": 2}, 422, "input"),
        ({"input": "a", "dimensions": 65}, 400, "dimensions"),
        ({"input": "a", "dimensions": 0}, 422, "dimensions"),
        ({"input": "a", "dimensions": "8"}, 422, "dimensions"),
        ({"input": "a", "encoding_format": "xml"}, 422, "encoding_format"),
        ({"input": "the " * 100}, 400, "input"),
        ({"input": "the " * 100, "dimensions": 8}, 400, "input"),
        ({"input": [999999]}, 400, "prompt"),
    ],
)
async def test_what_cannot_be_is_refused(gate: Gate, fields: dict[str, Any], status: int, param: str) -> None:
    answer = await gate.ask(request({"model": "m", **fields}, path=PATH))
    assert (answer.status, answer.error["param"]) == (status, param)


async def test_embed_gives_teis_list(gate: Gate) -> None:
    whole = await vectors(gate, ["hello", "the"])
    body = {"inputs": ["hello", "the"], "normalize": True, "truncate": True}
    near = [pytest.approx(each, abs=1e-5) for each in whole]
    assert (await gate.ask(request(body, path="/embed"))).json == near
    assert (await gate.ask(request({"inputs": "hello"}, path="/embed"))).json == near[:1]
    assert (await gate.ask(request({"texts": ["hello"]}, path="/embed"))).json["embeddings"] == near[:1]
    for wrong in ({}, {"inputs": []}, {"inputs": 3}, {"texts": "x"}):
        assert (await gate.ask(request(wrong, path="/embed"))).status == 422


async def test_a_server_that_shortens_vectors_is_asked_to() -> None:
    body = {"model": "m", "input": "a", "dimensions": 2}
    async with pair(model={"capabilities": ["embeddings"]}) as (gate, worker):
        await gate.ask(request(body, path=PATH))
        assert worker.requests[0].json == body


async def test_openais_client_reads_them(gate: Gate) -> None:
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{gate.port()}/v1", api_key="x", max_retries=0) as client:
        answer = await client.embeddings.create(model="auto", input=["hello", "the"], dimensions=8)
        assert [len(each.embedding) for each in answer.data] == [8, 8]
        assert answer.usage.prompt_tokens > 0
