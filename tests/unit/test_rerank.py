"""Rankings: what a worker is asked, and what clients of Jina's, Cohere's, llama.cpp's and TEI's shapes see."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import tiny_gguf
import tiny_ranker
from gateway import Gate, ScriptedWorker, config, pair, remote, reply, request, running_gateway, short_folder

from rolecast.config.schema import Model

pytestmark = pytest.mark.anyio
PATHS = ("/v1/rerank", "/rerank", "/v2/rerank", "/v1/reranking", "/reranking")
DOCUMENTS = ["you are my word", "the cat", "hello system time"]


@pytest.fixture
async def both() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    async with pair(model={"capabilities": ["rerank"]}) as (gate, worker):
        worker.usual = reply(scores(0.1, 0.9, 0.5))
        yield gate, worker


def scores(*given: float, **fields: Any) -> bytes:
    results = [{"index": i, "relevance_score": each} for i, each in enumerate(given)]
    usage = {"prompt_tokens": 12, "total_tokens": 12}
    return json.dumps({"model": "x", "object": "list", "results": results, "usage": usage, **fields}).encode()


def asked(path: str = "/v1/rerank", **fields: Any) -> bytes:
    return request({"model": "m", "query": "hello", "documents": DOCUMENTS, **fields}, path=path)


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_gives_the_best_first(both: tuple[Gate, ScriptedWorker], path: str) -> None:
    gate, worker = both
    body = (await gate.ask(asked(path))).json
    assert [each["index"] for each in body["results"]] == [1, 2, 0]
    assert [each["relevance_score"] for each in body["results"]] == [0.9, 0.5, 0.1]
    assert (body["model"], body["usage"]) == ("m", {"prompt_tokens": 12, "total_tokens": 12})
    assert worker.requests[0].line == "POST /v1/rerank HTTP/1.1"
    assert worker.requests[0].json == {"model": "m", "query": "hello", "documents": DOCUMENTS}
    (row,) = await gate.rows()
    assert (row.kind, row.prompt_tokens, row.completion_tokens, row.outcome) == ("rerank", 12, 0, "ok")


async def test_what_no_engine_does_is_done_here(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    documents = [DOCUMENTS[0], {"text": DOCUMENTS[1], "id": 7}, DOCUMENTS[2]]
    body = (await gate.ask(asked(documents=documents, top_n=2, return_documents=True))).json
    assert [each["document"] for each in body["results"]] == [{"text": DOCUMENTS[1]}, {"text": DOCUMENTS[2]}]
    assert worker.requests[0].json["documents"] == DOCUMENTS
    assert "document" not in (await gate.ask(asked(top_n=99))).json["results"][0]


async def test_a_request_in_teis_words_gets_teis_list(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    body = {"query": "hello", "texts": DOCUMENTS, "return_text": True, "truncate": True, "raw_scores": False}
    answer = await gate.ask(request(body, path="/rerank"))
    assert answer.json[0] == {"index": 1, "score": 0.9, "text": DOCUMENTS[1]}
    assert worker.requests[0].json["documents"] == DOCUMENTS


@pytest.mark.parametrize(
    ("answer", "used"),
    [
        (scores(0.1, 0.9, 0.5, usage={"total_tokens": 9}), 9),
        (
            json.dumps(
                {"results": [{"index": i, "score": s} for i, s in [(1, 0.9), (7, 1), (0, 0.1), (-1, 1), (2, 0)]]}
            ),
            None,
        ),
    ],
)
async def test_scores_are_read_however_a_server_writes_them(
    both: tuple[Gate, ScriptedWorker], answer: Any, used: int | None
) -> None:
    gate, worker = both
    worker.script.append(reply(answer if isinstance(answer, bytes) else answer.encode()))
    body = (await gate.ask(asked())).json
    assert body["results"][0] == {"index": 1, "relevance_score": 0.9}
    assert all(0 <= each["index"] < 3 for each in body["results"])
    assert used in (None, body["usage"]["total_tokens"])


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"query": ""}, 422, "query"),
        ({"query": 1}, 422, "query"),
        ({"query": None}, 422, "query"),
        ({"documents": []}, 422, "documents"),
        ({"documents": "a"}, 422, "documents"),
        ({"documents": ["a", 1]}, 422, "documents[1]"),
        ({"documents": [{"title": "a"}]}, 422, "documents[0]"),
        ({"documents": ["a"] * 4097}, 400, "documents"),
        ({"documents": None, "texts": []}, 422, "texts"),
        ({"top_n": 0}, 422, "top_n"),
        ({"top_n": "3"}, 422, "top_n"),
        ({"return_documents": "yes"}, 422, "return_documents"),
        ({"model": 3}, 422, "model"),
    ],
)
async def test_a_wrong_value_is_refused_with_its_place(
    both: tuple[Gate, ScriptedWorker], fields: dict[str, Any], status: int, param: str
) -> None:
    gate, worker = both
    answer = await gate.ask(asked(**fields))
    assert (answer.status, answer.error["param"]) == (status, param)
    assert not worker.requests


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"object":"list"}',
        b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}',
        scores(0.1, 0.9),
        b'{"results":[{"index":0,"score":1},{"index":0,"score":1},{"index":1,"score":1}]}',
        b'{"results":[{"index":0,"score":1},{"index":2,"score":null},{"index":1,"score":1}]}',
    ],
)
async def test_an_answer_that_does_not_score_each_document_is_an_error(
    both: tuple[Gate, ScriptedWorker], path: str, body: bytes
) -> None:
    gate, worker = both
    worker.usual = reply(body)
    answer = await gate.ask(asked(path))
    assert answer.status == 502
    assert answer.error["code"] == "upstream_error"


async def test_only_models_that_rank_rank() -> None:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            models = {"chat": remote(worker.url), "order": remote(worker.url, capabilities=["rerank"])}
            async with running_gateway(config(models), Path(folder)) as gate:
                worker.usual = reply(scores(1, 2, 3))
                assert (await gate.ask(asked(model="chat"))).status == 400
                body = {"model": "order", "messages": [{"role": "user", "content": "x"}]}
                assert (await gate.ask(request(body))).error["code"] == "wrong_capability"
                answer = await gate.ask(asked(model=None))
                assert answer.header("x-rolecast-model") == "order"


async def test_without_a_model_that_ranks_the_answer_says_how_to_get_one() -> None:
    async with pair() as (gate, _):
        answer = await gate.ask(asked(model=None))
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")
        assert "capabilities: [rerank]" in answer.error["message"]


@pytest.mark.parametrize(("write", "logits"), [(tiny_ranker.decoder, False), (tiny_ranker.encoder, True)])
async def test_the_engine_ranks(tmp_path: Path, write: Any, logits: bool) -> None:
    path = write(tmp_path / "ranker.gguf")
    ranker = Model(source=f"file:{path}", capabilities=["rerank"], context=256, threads=1, parallel=2)
    chat = Model(source=f"file:{tiny_gguf.write(tmp_path / 'tiny.gguf')}", context=256, threads=1)
    async with running_gateway(config({"chat": chat, "order": ranker}), tmp_path) as gate:
        body = (await gate.ask(asked(model="order", return_documents=True))).json
        found = [each["relevance_score"] for each in body["results"]]
        assert found == sorted(found, reverse=True)
        assert len(set(found)) == 3
        assert all(0 < score < 1 for score in found)
        assert {each["document"]["text"] for each in body["results"]} == set(DOCUMENTS)
        assert body["usage"]["prompt_tokens"] > 10
        raw = await gate.ask(
            request({"model": "order", "query": "hello", "texts": DOCUMENTS, "raw_scores": True}, path="/rerank")
        )
        assert [each["index"] for each in raw.json] == [each["index"] for each in body["results"]]
        assert ([each["score"] for each in raw.json] != found) is logits
        long = await gate.ask(asked(model="order", documents=["the word " * 600]))
        assert (long.status, long.error["code"]) == (400, "context_length_exceeded")
