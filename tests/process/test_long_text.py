"""Texts that are far longer than the context of a real engine: two hundred pages, ten at once, an engine that dies."""

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import gateway
import psutil
import pytest
import tiny_gguf
from gateway import config, on_uvloop, request, running_gateway, short_folder, until
from long_work import Work, spied
from prose import PAGE, book

from rolecast.config.schema import Model
from rolecast.tasks import words

pytestmark = [pytest.mark.anyio, pytest.mark.real]
anyio_backend = on_uvloop

CONTEXT = 2048
TYPESCRIPT = 300
"""Words of a page that is typed, not printed."""
SLOTS = 2
TIMES = 12
"""The gateway, the client and the spy of this test together may keep a text so many times while it is read."""
PLAIN: dict[str, Any] = {"temperature": 0, "repetition_penalty": 1}
"""What an engine of half a megabyte spends most of its time on is left out."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights that knows the words of the text."""
    known = sorted(set(re.findall(r"[A-Za-z']+", book(20_000))))
    path = tmp_path_factory.mktemp("weights") / "tiny.gguf"
    return tiny_gguf.write(path, context=CONTEXT, phrases=[f" {word}" for word in known])


@contextlib.asynccontextmanager
async def reading(weights: Path, pages: float = 2.4, context: int = CONTEXT) -> AsyncIterator[Work]:
    """A gateway whose model has read so many pages already. Its client is patient: an engine may be slow."""
    with short_folder() as folder, pytest.MonkeyPatch.context() as patch:
        sent = spied(patch)
        patch.setattr(gateway, "DEADLINE_S", 200.0)
        model = Model(source=f"file:{weights}", context=context, parallel=SLOTS, threads=1)
        async with running_gateway(config({"m": model}), Path(folder)) as gate:
            work = Work(gate, sent)
            await work.ask(prompt=book(int(pages * PAGE)), category="long_context", max_tokens=2, **PLAIN)
            sent.clear()
            yield work


def engine(work: Work) -> psutil.Process:
    """The process of the model."""
    child = work.gate.gateway.fleet.stations.at["m"].child
    assert child is not None
    return psutil.Process(child.pid)


@contextlib.contextmanager
def growth() -> Iterator[list[int]]:
    """By how many bytes this process grew at most, at the end of the block."""
    ours, most = psutil.Process(), [0]
    before = ours.memory_info().rss

    async def watch() -> None:
        while True:
            most[0] = max(most[0], ours.memory_info().rss - before)
            await asyncio.sleep(0.02)

    watching = asyncio.ensure_future(watch())
    try:
        yield most
    finally:
        watching.cancel()


async def test_two_hundred_pages_are_read_with_progress_and_nothing_is_too_long(tiny: Path) -> None:
    text = book(200 * PAGE)
    assert len(text.split()) >= 100_000
    async with reading(tiny) as work:
        with growth() as grown:
            streamed = await work.stream("/generate", category="long_context", prompt=text, max_tokens=24, **PLAIN)
        said = streamed.metadata
        assert said["strategy"] == "hierarchical"
        assert said["tokens_read"] > 100_000
        assert said["levels"] >= 2
        assert len([p for p in streamed.progress if p[0] == "reading"]) == said["parts"] + 1 > 50
        assert streamed.text
        assert grown[0] < TIMES * len(text)
        await work.assert_fits(CONTEXT)
        everything = "\n".join(sent.user for sent in work.sent)
        assert all(paragraph in everything for paragraph in text.strip().split("\n\n"))
        (row,) = (await work.gate.rows())[1:]
        assert (row.outcome, row.stream) == ("ok", True)


async def test_who_leaves_a_long_text_frees_all_slots_within_a_second(tiny: Path) -> None:
    async with reading(tiny) as work:
        async with work.gate.client() as client:
            body = {"category": "long_context", "prompt": book(40 * PAGE), "stream": True, **PLAIN}
            await client.send(request(body, path="/generate"))
            await client.head()
            await until(lambda: len(work.sent) >= 4)
            client.abort()
        left = time.monotonic()
        await until(lambda: not work.gate.gateway.dispatch.active)
        assert time.monotonic() - left < 1
        number = len(work.sent)
        told = await work.ask(prompt="hi", model="m", max_tokens=1)
        assert told["tokens_generated"] == 1
        assert len(work.sent) == number + 1, "nothing more was read"


async def test_an_engine_that_is_killed_is_started_again_and_the_text_is_read_to_its_end(tiny: Path) -> None:
    text = book(12 * PAGE)
    async with reading(tiny) as work:
        reads = asyncio.ensure_future(
            work.stream("/generate", category="long_context", prompt=text, max_tokens=24, **PLAIN)
        )
        await until(lambda: len(work.sent) >= 4)
        os.kill(engine(work).pid, signal.SIGKILL)
        streamed = await reads
        assert streamed.metadata["parts"] > 4
        assert streamed.text
        await work.assert_fits(CONTEXT)


async def test_ten_long_texts_at_once_are_all_answered_and_never_mixed(tiny: Path) -> None:
    texts = [book(4 * PAGE, seed=seed, headings=False) for seed in range(10)]
    async with reading(tiny) as work:
        marked = [f"Mark{number}mark. {text}" for number, text in enumerate(texts)]
        answers = await asyncio.gather(
            *(
                work.stream(
                    "/generate",
                    category="long_context",
                    context_text=text,
                    prompt=f"Question {number}.",
                    strategy="chunk_and_merge",
                    max_tokens=8,
                    **PLAIN,
                )
                for number, text in enumerate(marked)
            )
        )
        assert all(answer.metadata["parts"] > 1 and answer.text for answer in answers)
        await work.assert_fits(CONTEXT)
        for number, text in enumerate(marked):
            mine = [sent.user for sent in work.sent if f"Asked: Question {number}." in sent.user]
            first = [user for user in mine if "mark." in user]
            assert first, number
            assert all(f"Mark{number}mark." in user for user in first)
            assert all(paragraph in "\n".join(mine) for paragraph in text.strip().split("\n\n"))
        assert not work.gate.gateway.dispatch.active


async def test_two_pages_are_summarized_by_real_weights_in_as_many_words(store: Path) -> None:
    (weights,) = store.rglob("SmolLM2-135M-Instruct.Q4_1.gguf")
    async with reading(weights, 0.1, CONTEXT // 2) as work:
        streamed = await work.stream("/summarize", prompt=book(2 * TYPESCRIPT), length=30, seed=1)
        assert 1 <= words.count(streamed.text) <= 36
        assert streamed.metadata["words"] == words.count(streamed.text)
        assert streamed.metadata["parts"] >= 2
        await work.assert_fits(CONTEXT // 2)
