"""Summaries: what each option says to the model, how lengths are kept, and what is a quote."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from gateway import on_uvloop
from long_work import fake, working
from prose import book

from rolecast.errors import Invalid
from rolecast.tasks import words
from rolecast.tasks.long import chunks
from rolecast.tasks.long import extract as extracting
from rolecast.tasks.long.quotes import Quotes
from rolecast.tasks.long.summary import LENGTHS, target_of

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

TEXT = book(900)


def prose(number: int, sentence: int = 10) -> str:
    """So many words, in sentences of ten."""
    return " ".join(f"word{i}{'.' if i % sentence == sentence - 1 else ''}" for i in range(number))


# -- what reaches the model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"summary_type": "abstractive"}, "connected prose"),
        ({"summary_type": "bullet_points"}, 'begins with "- "'),
        ({"summary_type": "bullet-points"}, 'begins with "- "'),
        ({"summary_type": "outline"}, "numbered outline"),
        ({"summary_type": "executive"}, "somebody who decides"),
        ({"summary_type": "technical"}, "methods, figures, units"),
        ({"summary_type": "narrative"}, "short story"),
        ({"focus_areas": ["costs", "risks"]}, "above all about this: costs, risks."),
        ({"focus_areas": "costs"}, "above all about this: costs."),
        ({"content_type": "legal"}, "kind of text: legal."),
        ({"content_type": "sermon"}, "kind of text: sermon."),
        ({"preserve_tone": True}, "Keep the tone"),
        ({"include_key_quotes": "yes"}, "in quotation marks"),
    ],
)
@pytest.mark.parametrize("beside", [True, False])
async def test_every_option_is_said_to_the_model(
    tmp_path: Path, options: dict[str, Any], said: str, beside: bool
) -> None:
    async with working(fake(tmp_path, [{"reply": prose(200)}], context=8192)) as work:
        await work.ask("/summarize", prompt=TEXT, **(options if beside else {"extra_params": options}))
        await work.ask("/summarize", prompt=TEXT)
        assert said in work.sent[0].system
        assert said not in work.sent[1].system or options == {"summary_type": "abstractive"}


@pytest.mark.parametrize(
    ("length", "number"), [*LENGTHS.items(), (150, 150), ("150", 150), ("75 words", 75), (80.0, 80), ("Short", 100)]
)
async def test_lengths_are_asked_for_in_words_and_bound_in_tokens(tmp_path: Path, length: Any, number: int) -> None:
    async with working(fake(tmp_path, [{"reply": prose(number)}], context=8192)) as work:
        told = await work.ask("/summarize", prompt=TEXT, length=length)
        (sent,) = work.sent
        assert f"Write about {number} words" in sent.user
        assert sent.most == number * 2
        assert told["metadata"]["target"] == number
        assert (sent.body["temperature"], sent.body["top_p"], sent.body["repetition_penalty"]) == (0.4, 0.85, 1.1)


async def test_zero_and_an_own_limit_are_honoured(tmp_path: Path) -> None:
    async with working(fake(tmp_path, [{"reply": prose(200)}], context=8192)) as work:
        await work.ask("/summarize", prompt=TEXT, temperature=0, max_tokens=321, repetition_penalty=1)
        body = work.sent[0].body
        assert (body["temperature"], body["max_tokens"], body["repetition_penalty"]) == (0, 321, 1)


@pytest.mark.parametrize("length", ["huge", 0, -5, 4, 10**9, "many words", True, ["short"]])
async def test_a_length_that_is_none_is_refused(tmp_path: Path, length: Any) -> None:
    async with working(fake(tmp_path, [])) as work:
        error = await work.error("/summarize", prompt=TEXT, length=length)
        assert (error["status"], error["param"]) == (422, "length")
        assert not work.sent


async def test_the_text_may_stand_in_an_option_beside_an_instruction(tmp_path: Path) -> None:
    async with working(fake(tmp_path, [{"reply": prose(50)}], context=8192)) as work:
        await work.ask("/summarize", prompt="For my grandmother.", text_to_summarize=TEXT, length="brief")
        await work.ask("/summarize", extra_params={"text_to_summarize": TEXT, "length": "brief"})
        assert "Asked: For my grandmother." in work.sent[0].user
        assert all(TEXT.strip() in sent.user for sent in work.sent)
        assert "Asked" not in work.sent[1].user


# -- how long it is ------------------------------------------------------------------------------------------------

DRAFT, AGAIN = "Write a summary", "This summary has"


@pytest.mark.parametrize(
    ("first", "second", "found", "adjusted", "asks"),
    [
        (100, 0, 100, "", 1),
        (81, 0, 81, "", 1),
        (160, 110, 110, "shortened", 2),
        (160, 150, 120, "cut", 2),
        (160, 0, 120, "cut", 2),
        (40, 95, 95, "lengthened", 2),
        (40, 60, 60, "lengthened", 2),
        (40, 20, 40, "", 2),
        (40, 170, 120, "cut", 2),
    ],
)
async def test_a_whole_answer_is_asked_for_once_more_and_then_cut(
    tmp_path: Path, first: int, second: int, found: int, adjusted: str, asks: int
) -> None:
    replies = [{"match": AGAIN, "reply": prose(second)}, {"match": DRAFT, "reply": prose(first)}]
    async with working(fake(tmp_path, replies, context=8192)) as work:
        told = await work.ask("/summarize", prompt=TEXT, length="short")
        assert len(work.sent) == asks
        assert words.count(told["response"]) == found
        assert told["response"].endswith((".", "word59", "word39", "word94", "word80")), "cut where a sentence ends"
        wanted = {"words": found, "target": 100, "within_tolerance": 80 <= found <= 120, "adjusted": adjusted}
        assert wanted.items() <= told["metadata"].items()


async def test_a_stream_ends_where_its_words_do_and_stops_the_engine(tmp_path: Path) -> None:
    reply = {"reply": prose(160), "token_delay": 0.01}
    async with working(fake(tmp_path, [reply], context=8192)) as work:
        streamed = await work.stream("/summarize", prompt=TEXT, length="short", max_tokens=1000)
        assert words.count(streamed.text) == 120
        assert streamed.text.endswith(".")
        assert streamed.metadata["adjusted"] == "cut"
        assert len(work.sent) == 1
        (row,) = await work.gate.rows()
        assert row.outcome == "ok"
        assert row.completion_tokens < 150, "the engine was stopped"
        assert not work.gate.gateway.dispatch.active


async def test_a_stream_goes_out_as_it_comes_and_is_never_sent_twice(tmp_path: Path) -> None:
    async with working(fake(tmp_path, [{"reply": prose(40)}], context=8192)) as work:
        streamed = await work.stream("/summarize", prompt=TEXT, length="short")
        assert streamed.text == prose(40)
        assert len(work.sent) == 1
        assert streamed.metadata["within_tolerance"] is False


@pytest.mark.parametrize("stream", [False, True])
async def test_lengths_may_be_left_to_the_model(tmp_path: Path, stream: bool) -> None:
    async with working(fake(tmp_path, [{"reply": prose(180)}], context=8192)) as work:
        fields: dict[str, Any] = {"prompt": TEXT, "length": "short", "enforce_length": False}
        if stream:
            streamed = await work.stream("/summarize", **fields)
            text, said = streamed.text, streamed.metadata
        else:
            told = await work.ask("/summarize", **fields)
            text, said = told["response"], told["metadata"]
        assert text == prose(180)
        assert said["within_tolerance"] is False
        assert len(work.sent) == 1


async def test_a_short_text_is_not_padded(tmp_path: Path) -> None:
    replies = [{"match": AGAIN, "reply": prose(20)}, {"match": "", "reply": prose(10)}]
    async with working(fake(tmp_path, replies, context=8192)) as work:
        told = await work.ask("/summarize", prompt=prose(30), length="long")
        assert (told["metadata"]["target"], told["metadata"]["within_tolerance"]) == (30, True)
        assert "at most 30 words" in work.sent[0].user
        assert len(work.sent) == 1


async def test_a_long_text_is_read_in_parts(tmp_path: Path) -> None:
    async with working(fake(tmp_path, [], context=1024, parallel=4)) as work:
        streamed = await work.stream("/summarize", prompt=book(8000), length="brief")
        assert streamed.metadata["strategy"] == "hierarchical"
        assert streamed.metadata["parts"] > 8
        assert words.count(streamed.text) <= 60
        assert streamed.progress[0][0] == "reading"
        await work.assert_fits(1024)
        assert all("bullet" not in sent.system for sent in work.sent)


def test_targets_are_a_fifth_apart() -> None:
    target = target_of("medium", prose(1000))
    assert (target.words, target.least, target.most) == (200, 160, 240)
    assert (target_of("medium", "three short words").words, target_of("medium", "").most) == (3, 1)
    with pytest.raises(Invalid):
        target_of("", prose(1000))


# -- in the words of the text --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("says", "by"), [("3, 1", "model"), ("I like it.", "scores"), ("99, 0", "scores")])
async def test_an_extractive_summary_is_sentences_of_the_text(tmp_path: Path, says: str, by: str, stream: bool) -> None:
    async with working(fake(tmp_path, [{"reply": says}], context=2048)) as work:
        fields: dict[str, Any] = {"prompt": TEXT, "summary_type": "extractive", "length": "short"}
        if stream:
            streamed = await work.stream("/summarize", **fields)
            text, said = streamed.text, streamed.metadata
        else:
            told = await work.ask("/summarize", **fields)
            text, said = told["response"], told["metadata"]
        flat = " ".join(TEXT.split())
        found = list(words.sentences(text))
        assert len(found) == said["sentences"] > 2
        assert all(sentence in flat for sentence in found)
        assert [flat.find(s) for s in found] == sorted(flat.find(s) for s in found), "in the order of the text"
        assert said["within_tolerance"] is True
        assert said["chosen_by"] == by
        await work.assert_fits(2048)


async def test_the_sentences_that_the_model_picks_come_first(tmp_path: Path) -> None:
    async with working(fake(tmp_path, [{"reply": "5, 2"}], context=2048)) as work:
        told = await work.ask("/summarize", prompt=TEXT, summary_type="extractive", length="brief")
        offered = dict(line.split(". ", 1) for line in work.sent[0].user.split("\n") if line[:1].isdigit())
        assert offered["5"] in told["response"]


async def test_of_a_huge_text_only_candidates_are_shown(tmp_path: Path) -> None:
    async with working(fake(tmp_path, [], context=700)) as work:
        told = await work.ask("/summarize", prompt=book(20_000), summary_type="extractive", length="detailed")
        assert len(work.sent) == 1
        assert told["metadata"]["within_tolerance"] is True
        await work.assert_fits(700)


def test_what_is_asked_for_is_found() -> None:
    ranking = extracting.ranked(TEXT + "\n\nThe price of zinc had risen by a third in that year.", ["zinc prices"])
    assert "zinc" in ranking[0].text
    assert not any(each.text.startswith("Chapter") for each in ranking)


def test_a_text_of_one_long_sentence_is_given_whole() -> None:
    (one,) = extracting.ranked("word " * 100)
    assert extracting.filled([one], 10, 12) == [one]


@pytest.mark.parametrize(
    "text", [".", " ", "\n", '"', "# ", "a.", ". ", "a\t", "\n ", "“", "1.1.1 ", "a", "=\n", "日", ".\n)", "#"]
)
def test_no_text_takes_long(text: str) -> None:
    """What a stranger sends must not stop the gateway: all of it is linear."""
    whole = text * (400_000 // len(text)) + "x"
    began = time.process_time()
    extracting.ranked(whole)
    Quotes(whole).check(whole[:5000])
    words.cut(whole, 100, 200)
    words.count(whole)
    chunks.has_headings(whole)
    assert sum(1 for _ in chunks.cut(whole, 4096, lambda piece: len(piece) / 4, at_headings=True)) < 200
    assert time.process_time() - began < 10


async def test_a_large_text_is_ranked_beside_the_loop() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.005)

    ticking = asyncio.ensure_future(tick())
    await asyncio.to_thread(extracting.ranked, book(100_000))
    ticking.cancel()
    assert ticks > 5


# -- quotes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "checked", "counts"),
    [
        ('He said: "The ledger does not lie".', 'He said: "The ledger does not lie".', (1, 0)),
        ("«the LEDGER  does not\xa0lie»", "«the LEDGER  does not\xa0lie»", (1, 0)),
        ("“The ledger … its keeper might”", "“The ledger … its keeper might”", (1, 0)),
        ('"The ledger always lies to us"', "The ledger always lies to us", (0, 1)),
        ('"its keeper might ... The ledger"', "its keeper might ... The ledger", (0, 1)),
        ('a "term" of it', 'a "term" of it', (0, 0)),
        ("no quotes", "no quotes", (0, 0)),
    ],
)
def test_quotes_that_are_not_in_the_text_lose_their_marks(answer: str, checked: str, counts: tuple[int, int]) -> None:
    assert Quotes('"The ledger does not lie, but its keeper might."').check(answer) == (checked, *counts)


@pytest.mark.parametrize("stream", [False, True])
async def test_quotes_are_looked_up(tmp_path: Path, stream: bool) -> None:
    reply = f'{prose(90)} "The ledger does not lie, but its keeper might" and "Nobody ever said this here".'
    async with working(fake(tmp_path, [{"reply": reply}], context=8192)) as work:
        fields: dict[str, Any] = {"prompt": TEXT, "length": "short", "include_key_quotes": True}
        if stream:
            streamed = await work.stream("/summarize", **fields)
            assert streamed.text == reply, "what went out is not taken back"
            said = streamed.metadata
        else:
            told = await work.ask("/summarize", **fields)
            assert told["response"] == reply.replace('"Nobody ever said this here"', "Nobody ever said this here")
            said = told["metadata"]
        assert (said["quotes_verified"], said["quotes_not_in_text"]) == (1, 1)
