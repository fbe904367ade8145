"""Tasks under hostile texts: options beyond all bounds, answers without end, texts that are made to be slow.

What is slow is measured in the processor's time, with room for a slow machine. Unbounded, each takes minutes.
"""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway import (
    SSE_HEAD,
    Gate,
    Peer,
    Received,
    ScriptedWorker,
    chunk,
    config,
    delta,
    on_uvloop,
    remote,
    request,
    running_gateway,
    short_folder,
    until,
)

from rolecast.config.importers import settings_table
from rolecast.config.schema import Images
from rolecast.syntax.parsers import Found
from rolecast.tasks import forms, images, science, words
from rolecast.tasks.aside import LONG, aside
from rolecast.tasks.code import check as code_check
from rolecast.tasks.code.continuation import Unfenced, Unrepeated
from rolecast.tasks.code.definitions import Cut
from rolecast.tasks.code.fences import Fences
from rolecast.tasks.translation import play as translation
from rolecast.turn import stage

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

MOST_CPU_S = 8.0


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            running = running_gateway(config({"m": remote(worker.url, parallel=2)}), Path(folder))
            async with running as gate:
                yield gate, worker


@contextmanager
def soon() -> Iterator[None]:
    began = time.thread_time()
    yield
    assert time.thread_time() - began < MOST_CPU_S


def drip(text: str, read: Callable[[str], Any], size: int = 10) -> None:
    for at in range(0, len(text), size):
        read(text[at : at + size])


# -- options -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [10**30, -(10**400), 10**309])
async def test_a_number_beyond_all_is_no_word_and_no_mistake_of_ours(
    front: Gate, worker: ScriptedWorker, number: int
) -> None:
    for category, option in (("code_generation", "style"), ("legal_analysis", "jurisdiction")):
        body = {"prompt": "x", "category": category, "extra_params": {option: number}}
        answer = await front.ask(request(body, path="/generate"))
        assert answer.status in (200, 400, 422), answer.body
        assert answer.status != 422 or answer.error["param"] == option


async def test_a_review_of_more_than_anybody_reads_is_413(front: Gate, worker: ScriptedWorker) -> None:
    body = {"prompt": "see", "category": "code_review", "code_to_review": "x=1\n" * 600_000}
    answer = await front.ask(request(body, path="/generate"))
    assert answer.status == 413
    assert "2000000" in answer.error["message"]
    assert worker.requests == []


# -- texts that are made to be slow ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a\n" * 400_000, "\n" * 800_000, "```\n" * 200_000, " \n" * 400_000])
def test_an_answer_of_many_lines_is_read_in_time_of_its_length(text: str) -> None:
    fences = Fences("python")
    with soon():
        fences.read(text)
        fences.end()
        Cut("python", "def f():\n", "\n\nreturn 1").read(text)


@pytest.mark.parametrize("text", [" " * 600_000, "\t" * 600_000, "a" * 600_000, "\n" * 600_000])
def test_a_line_without_end_costs_each_piece_the_same(text: str) -> None:
    with soon():
        drip(text, Fences("python").read)
        drip(text, Cut("python", "def f():\n    x = ").read)
        drip(text, Unfenced("python").read)
        drip(text, Unrepeated("def f():\n    x = ").read)


def test_pieces_of_a_line_without_end_are_given_as_they_came() -> None:
    cut = Cut("python", "x = ")
    pieces = ["1 + ", "2" * 3000, " + 3", "\ny = 4\n"]
    assert "".join(map(cut.read, pieces)) + cut.end() == "".join(pieces)
    fences = Fences("python")
    text = f"```python\n{' ' * 5000}x = 1\n```\n"
    drip(text, fences.read, 7)
    fences.end()
    assert fences.code == f"{' ' * 5000}x = 1\n"


@pytest.mark.parametrize(
    "text",
    [
        "(Smith, 2020) Ab" + " " * 200_000 + "x",
        "Ab" + " ,\n" * 100_000,
        "Smith, " * 60_000,
        "Aa-" * 100_000,
        "Smith  et  " * 50_000,
    ],
)
def test_no_text_keeps_the_search_for_citations_busy(text: str) -> None:
    with soon():
        science.citations(text)


def test_citations_are_found_as_before() -> None:
    text = "See Smith et al. (2019), Curie and Curie 1898, O'Neil, 2001a; Ada, Bob, and Eve (1999)."
    assert science.citations(text) == [
        "Smith et al. 2019",
        "Curie and Curie 1898",
        "O'Neil 2001",
        "Ada, Bob, and Eve 1999",
    ]


@pytest.mark.parametrize("text", ["漢" * 60_000, "a" * 200_000, "\n" * 200_000, ("[" + " " * 999) * 200])
def test_a_summary_without_blanks_or_sentences_is_counted_as_it_comes(text: str) -> None:
    live = words.LiveCut(80, 1000)
    with soon():
        drip(text, live.take)
        live.rest()


def test_a_summary_without_blanks_keeps_its_bounds() -> None:
    live = words.LiveCut(80, 120)
    given: list[str] = []
    drip("漢字、" * 300, lambda piece: given.append(live.take(piece)), 3)
    given.append(live.rest())
    assert live.full
    assert 80 <= words.count("".join(given)) <= 120


@pytest.mark.parametrize("text", ["[" * 600_000, "a\n" * 300_000, "\n" * 600_000])
def test_no_answer_keeps_the_parser_of_lists_busy(text: str) -> None:
    with soon():
        forms.fault(forms.Form("steps"), text)


def test_a_translation_of_many_pieces_is_not_copied_with_each() -> None:
    class Stage:
        def tell(self, *events: Any) -> None:
            pass

    told = translation._Told(Stage(), 1)  # type: ignore[arg-type]
    told.begin()
    with soon():
        for _ in range(60_000):
            told.more("x" * 100)
    assert [len(text) for text in told.texts] == [6_000_000]


async def test_only_long_work_goes_aside() -> None:
    from threading import get_ident

    assert await aside(LONG, get_ident) == get_ident()
    assert await aside(LONG + 1, get_ident) != get_ident()


def test_a_table_of_settings_has_an_end() -> None:
    head = "| Category | Technical Model Name | Stay Loaded | Precision |\n|---|---|---|---|\n"
    with soon():
        found = settings_table.read(head + "".join(f"| Own {i} | a/b{i} | True | 4-bit |\n" for i in range(30_000)))
    assert len(found.rows) == settings_table.MOST_ROWS
    assert [remark.line for remark in found.remarks if "more than" in remark.text] == [settings_table.MOST_ROWS + 3]


# -- answers without end -----------------------------------------------------------------------------------------


def endless(gone: asyncio.Event) -> Any:
    async def script(peer: Peer, _: Received) -> None:
        await peer.send(SSE_HEAD)
        while not (peer.gone.is_set() or peer.transport.is_closing()):
            await peer.send(chunk(delta("word " * 200)))
            await asyncio.sleep(0)
        await peer.gone.wait()
        gone.set()

    return script


@pytest.mark.parametrize("category", ["code_generation", "question_answering", "summarization", "creative_writing"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_without_end_ends_and_frees_its_slot(
    front: Gate, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, category: str, stream: bool
) -> None:
    monkeypatch.setattr(stage, "MOST_CHARS", 50_000)
    gone = asyncio.Event()
    worker.usual = endless(gone)
    body = {"prompt": "Tell it.", "category": category, "stream": stream, "context": "a", "enforce_length": False}
    answer = await front.ask(request(body, path="/generate"))
    if stream and category != "code_generation":  # which has told nothing yet: there is no code
        last = json.loads(answer.body.rsplit(b"data: ", 1)[1])
        assert "max_tokens" in last["error"]
    else:
        assert answer.status == 502
        assert "max_tokens" in answer.error["message"]
    await asyncio.wait_for(gone.wait(), 10)
    await until(lambda: not front.gateway.dispatch.active)


# -- helpers -----------------------------------------------------------------------------------------------------


async def test_a_helper_whose_folder_was_tidied_away_is_started_again(front: Gate, worker: ScriptedWorker) -> None:
    check = front.gateway.backstage.code_check
    assert (await check.check("x = 1", "python")).checked
    before, folder = check.helper.pid, check.helper._folder
    assert folder is not None
    shutil.rmtree(folder)
    check.helper._pool.close()  # type: ignore[union-attr]  # no connection of before hides it
    assert (await check.check("x = 1", "python")).checked
    assert check.helper.pid not in (0, before)
    assert check.helper._folder != folder


async def test_nobody_waits_for_ever_for_a_parser_that_others_keep_busy(
    front: Gate, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_check, "WAIT_S", 0.05)
    check = front.gateway.backstage.code_check
    async with check._turn:
        assert await check.check("x = 1", "python") == Found(False, why="too many checks at once")
    assert (await check.check("x = 1", "python")).checked


# -- images ------------------------------------------------------------------------------------------------------


def test_what_an_image_server_says_of_its_bytes_is_no_markup() -> None:
    assert list(images._read(b"abc", "image/png")) == ["data:image/png;base64,YWJj"]
    assert list(images._read(b"abc", 'image/png"<script>')) == []
    assert Images().url == ""


def test_of_many_images_in_many_lists_only_some_are_looked_at() -> None:
    inner: Any = ["x"] * 64
    for _ in range(3):
        inner = [{"images": inner}] * 64  # 64 to the fourth, were all of them looked at
    with soon():
        assert sum(1 for _ in zip(range(images.MOST_IMAGES), images._within({"images": inner}), strict=False)) == 64
