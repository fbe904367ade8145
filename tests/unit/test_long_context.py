"""Long texts: what reaches a worker that counts, by each strategy, and how parts fail, stop and report."""

import asyncio
import itertools
from pathlib import Path

import pytest
from gateway import (
    DONE,
    delta,
    event,
    on_uvloop,
    pair,
    request,
    stream,
    until,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from long_work import fake, working
from prose import book

from rolecast.tasks.long import chunks
from rolecast.tasks.long import prompts as long_prompts

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

NOTE = {"match": "Part \\d+ of", "reply": "A note on this part."}
MERGED = {"match": "notes on neighbouring parts", "reply": "A merged note."}
FINAL = {"match": "Do not mention (notes or )?parts", "reply": "The answer to all."}
REPLIES = [FINAL, MERGED, NOTE]
PARTED = ["sliding_window", "hierarchical", "summarize_and_refine", "key_extraction", "chunk_and_merge"]
FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})


# -- pieces --------------------------------------------------------------------------------------------------------


@given(
    text=st.text(st.sampled_from("ab .!\n\r#日。é\u0301\u200d👩-1"), max_size=400),
    size=st.integers(1, 120),
    overlap=st.integers(0, 60),
    headings=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_no_character_is_lost_and_no_piece_is_larger(text: str, size: int, overlap: int, headings: bool) -> None:
    pieces = list(chunks.cut(text, size, len, overlap=overlap, at_headings=headings))
    assert "".join(text[piece.start : piece.end] for piece in pieces) == text
    for piece in pieces:
        assert piece.begin <= piece.start < piece.end
        assert len(piece.shown(text)) <= size or piece.end - piece.start == 1
        if (parted := chunks.halves(text, piece)) is not None:
            assert "".join(text[half.start : half.end] for half in parted) == text[piece.start : piece.end]


def test_pieces_end_where_a_reader_would_stop() -> None:
    text = book(6000)
    pieces = list(chunks.cut(text, 4000, len, overlap=500))
    assert len(pieces) > 8
    for before, piece in itertools.pairwise(pieces):
        assert text[: piece.start].endswith("\n\n"), "between paragraphs"
        assert before.start < piece.begin < piece.start
        assert text[: piece.begin].rstrip()[-1] in '."', "what is shown again begins with a sentence"
    one = text.replace("\n\n", " ")
    assert all(one[: p.end].rstrip()[-1] in '."' for p in chunks.cut(one, 4000, len)), "between sentences"


def test_pieces_end_before_headings() -> None:
    text = "# One\n\n" + "A word is here. " * 60 + "\n\n# Two\n\n" + "Another word. " * 60
    pieces = list(chunks.cut(text, 1400, len, at_headings=True))
    assert [text[p.start : p.start + 5] for p in pieces] == ["# One", "# Two"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("## Results ##\nText", "Results"),
        ("Chapter 3: The Mill\n\nText", "Chapter 3: The Mill"),
        ("text\n\n2.1 Methods\n\nText", "2.1 Methods"),
        ("Results\n=======\nText", "Results"),
        ("Chapter and verse were read to him.\nText", ""),
        ("The price was\n12 dollars\nText", ""),
        ("- a\n- b\n", ""),
    ],
)
def test_headings_are_told_from_lines_that_look_like_them(text: str, title: str) -> None:
    assert chunks.title_in(text) == title


# -- which strategy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task_type", "headings", "strategy"),
    [
        ("comprehensive_summary", True, "hierarchical"),
        ("comprehensive_summary", False, "summarize_and_refine"),
        ("question_answering", True, "key_extraction"),
        ("cross_reference", True, "chunk_and_merge"),
        ("contradictions", False, "chunk_and_merge"),
        ("timeline", True, "sliding_window"),
        ("entities", False, "sliding_window"),
        ("key_points", True, "hierarchical"),
        ("who is kind", False, "summarize_and_refine"),
    ],
)
async def test_the_work_decides_how_a_text_is_read_that_does_not_fit(
    tmp_path: Path, task_type: str, headings: bool, strategy: str
) -> None:
    assert len(long_prompts.WORKS) == 10
    async with working(fake(tmp_path, REPLIES, context=1024, parallel=4)) as work:
        fields = {"category": "long_context", "context_text": book(2500, headings=headings), "prompt": "Go on."}
        extra = {"task_type": task_type, "strategy": "full_context"}
        told = await work.ask(**fields, extra_params=extra)
        assert told["response"] == "The answer to all."
        assert told["metadata"]["strategy"] == strategy
        assert told["metadata"]["strategy_asked"] == "full_context"
        assert task_type.replace("_", " ") in work.sent[0].user or task_type in long_prompts.WORKS
        await work.assert_fits(1024)


async def test_a_text_that_fits_is_asked_about_whole(tmp_path: Path) -> None:
    text = book(300)
    async with working(fake(tmp_path, [], context=2048)) as work:
        told = await work.ask(category="long_context", context_text=text, prompt="Who lost the map?", max_tokens=2000)
        (sent,) = work.sent
        assert text.strip() in sent.user
        assert "Who lost the map?" in sent.user
        assert told["metadata"] | {"tokens_read": 0} == {
            "strategy": "full_context", "parts": 1, "levels": 0, "tokens_read": 0, "context": 2048,
        }  # fmt: skip
        assert abs(told["metadata"]["tokens_read"] - len(text.split())) < 30
        (count,) = await work.counts()
        assert sent.most == min(2000, 2048 - count), "the answer has what is left"
        body = sent.body
        assert (body["temperature"], body["top_p"], body["repetition_penalty"]) == (0.5, 0.9, 1.2)


async def test_zero_is_a_wish_as_any_other(tmp_path: Path) -> None:
    async with working(fake(tmp_path, REPLIES, context=1024)) as work:
        await work.ask(category="long_context", prompt=book(1500), temperature=0, extra_params={"chunk_overlap": 0})
        assert {sent.body["temperature"] for sent in work.sent} == {0}
        assert (await work.error(category="long_context", prompt="x", extra_params={"chunk_overlap": -1}))[
            "status"
        ] == 422
        assert (await work.error(category="long_context", prompt="x", strategy="by_magic"))["param"] == "strategy"


# -- in parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", PARTED)
@pytest.mark.parametrize("context", [700, 2048])
async def test_every_sentence_is_read_and_no_prompt_is_too_long(tmp_path: Path, strategy: str, context: int) -> None:
    text = book(6000)
    async with working(fake(tmp_path, [], context=context, parallel=4)) as work:  # notes as long as they may be
        streamed = await work.stream(
            category="long_context", context_text=text, prompt="Do it.", strategy=strategy, focus_query="the lost map"
        )
        said = streamed.metadata
        assert said["strategy"] == strategy
        assert said["context"] == context
        assert streamed.text
        await work.assert_fits(context)
        parts = [sent for sent in work.sent if f" of {said['parts']} of a long text" in sent.user]
        read = "\n".join(sent.user for sent in parts)
        assert all(sentence in read for sentence in text.strip().split("\n\n"))
        assert all("the lost map" in sent.user and "Do it." in sent.user for sent in work.sent)
        assert said["tokens_read"] >= len(text.split()) * 0.97
        assert next(p for p in streamed.progress if p[0] == "reading") == ("reading", 0, said["parts"])
        done = [p[1] for p in streamed.progress if p[0] == "reading"]
        assert done == sorted(done)


async def test_parts_overlap_as_much_as_is_asked(tmp_path: Path) -> None:
    text = book(4000, headings=False)
    async with working(fake(tmp_path, REPLIES, context=2048)) as work:
        sizes = []
        for overlap in (0, 64):
            work.sent.clear()
            told = await work.ask(
                category="long_context", context_text=text, prompt="-", strategy="sliding_window", chunk_overlap=overlap
            )
            sizes.append(told["metadata"]["tokens_read"])
            parts = told["metadata"]["parts"]
        assert 30 * (parts - 1) < sizes[1] - sizes[0] < 70 * parts


async def test_as_many_parts_are_read_at_once_as_the_model_has_slots(tmp_path: Path) -> None:
    slow = [FINAL, {**NOTE, "delay": 0.05}]
    async with working(fake(tmp_path, slow, context=1024, parallel=3)) as work:
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(
                    most,
                    sum(
                        len(e.carrier.parts()) for e in work.gate.gateway.dispatch.active if hasattr(e.carrier, "parts")
                    ),
                )
                await asyncio.sleep(0.005)

        watching = asyncio.ensure_future(watch())
        await work.ask(category="long_context", prompt=book(5000), strategy="sliding_window")
        watching.cancel()
        assert most == 3
        (row,) = await work.gate.rows()
        assert (row.outcome, row.kind) == ("ok", "chat")
        assert row.completion_tokens >= 5 * len(work.sent) - 5


async def test_parts_without_anything_that_was_asked_for_are_left_out(tmp_path: Path) -> None:
    replies = [
        {"match": "Part 2 of", "reply": "The map was lost."},
        {"match": "Part \\d+ of", "reply": "None."},
        {"match": "", "reply": "It was lost."},
    ]
    async with working(fake(tmp_path, replies, context=1024)) as work:
        await work.ask(
            category="long_context", context_text=book(4000), prompt="What was lost?", task_type="question_answering"
        )
        assert "The map was lost." in work.sent[-1].user
        assert "None." not in work.sent[-1].user


async def test_notes_that_do_not_fit_together_are_merged_until_they_do(tmp_path: Path) -> None:
    async with working(fake(tmp_path, [], context=600, parallel=4)) as work:
        streamed = await work.stream(category="long_context", prompt=book(9000), strategy="chunk_and_merge")
        assert streamed.metadata["levels"] >= 3
        steps = [step for step, _, _ in streamed.progress]
        assert list(dict.fromkeys(steps)) == ["reading", "merging", "writing"]
        await work.assert_fits(600)


@pytest.mark.parametrize("strategy", PARTED)
async def test_a_text_of_one_part_may_be_read_by_any_strategy(tmp_path: Path, strategy: str) -> None:
    async with working(fake(tmp_path, [], context=4096)) as work:
        told = await work.ask(category="long_context", context_text="One sentence.", prompt="Why?", strategy=strategy)
        assert told["metadata"]["strategy"] == strategy
        assert told["metadata"]["parts"] == 1
        assert "One sentence." in work.sent[0].user
        assert "parts before" not in work.sent[-1].user


async def test_a_question_in_the_prompt_is_asked_of_every_part(tmp_path: Path) -> None:
    async with working(fake(tmp_path, REPLIES, context=1024)) as work:
        await work.ask(
            category="long_context", prompt=f"Who sold the ferry?\n\n{book(3000)}", strategy="sliding_window"
        )
        assert len(work.sent) > 3
        assert all("Asked: Who sold the ferry?" in sent.user for sent in work.sent)


async def test_the_instructions_of_the_file_are_said_with_every_part(tmp_path: Path) -> None:
    async with working(fake(tmp_path, REPLIES, context=1024)) as work:
        await work.ask(category="long_context", prompt=book(2000))
        assert {sent.system.split(".")[0] for sent in work.sent} == {"You work carefully on long texts"}


# -- what goes wrong -----------------------------------------------------------------------------------------------


async def test_a_model_that_is_too_small_for_any_part_is_named(tmp_path: Path) -> None:
    async with working(fake(tmp_path, REPLIES, context=160)) as work:
        error = await work.error(category="long_context", prompt=book(1000))
        assert (error["status"], error["code"]) == (400, "context_length_exceeded")
        assert "context of 160 tokens is too small" in error["message"]
        assert not work.sent


async def test_no_text_at_all_is_refused(tmp_path: Path) -> None:
    async with working(fake(tmp_path, REPLIES)) as work:
        error = await work.error(category="long_context", prompt=" ", context_text=" ")
        assert (error["status"], error["param"]) == (422, "context_text")


async def test_a_part_that_fails_is_read_once_more_and_then_named(tmp_path: Path) -> None:
    async with pair(model={"context": 4096}) as (gate, worker):
        good = stream(delta("A note."), FINISH, DONE)
        broken = stream(delta("A no"), event({"error": {"message": "the disk is full", "code": 500}}))
        worker.script += [good, broken, good]
        worker.usual = good
        body = {"category": "long_context", "prompt": book(9000, headings=False)}
        answer = await gate.ask(request(body, path="/generate"))
        assert answer.status == 200, answer.body
        total = answer.json["metadata"]["parts"]
        worker.script += [good, broken, broken]
        answer = await gate.ask(request(body, path="/generate"))
        assert answer.status == 502
        assert answer.error["message"].startswith(f"Part 2 of {total} of the text could not be read: ")
        assert not gate.gateway.dispatch.active


async def test_a_server_that_cannot_count_gets_less(tmp_path: Path) -> None:
    async with pair(model={"context": 4096}) as (gate, worker):
        worker.usual = stream(delta("A note."), FINISH, DONE)
        text = book(9000)
        answer = await gate.ask(
            request({"category": "long_context", "prompt": text, "strategy": "chunk_and_merge"}, path="/generate")
        )
        assert answer.json["metadata"]["tokens_estimated"] is True
        for received in worker.requests:
            said = received.json
            words = sum(len(each["content"].split()) for each in said["messages"])
            assert words * 1.5 + said["max_tokens"] <= 4096
        assert answer.json["metadata"]["parts"] > len(text.split()) * 1.3 / 4096


async def test_who_leaves_stops_all_parts_at_once(tmp_path: Path) -> None:
    slow = [FINAL, {**NOTE, "token_delay": 1.0}]
    async with working(fake(tmp_path, slow, context=1024, parallel=4)) as work:
        async with work.gate.client() as client:
            body = {"category": "long_context", "prompt": book(5000), "stream": True, "strategy": "sliding_window"}
            await client.send(request(body, path="/generate"))
            await client.head()
            await until(lambda: len(work.sent) == 4)
            client.abort()
        began = asyncio.get_running_loop().time()
        await until(lambda: not work.gate.gateway.dispatch.active)
        assert asyncio.get_running_loop().time() - began < 1
        assert len(work.sent) == 4
        told = await asyncio.wait_for(work.ask(prompt="hello", model="m"), 1)
        assert told["response"]
        assert [row.outcome for row in await work.gate.rows()] == ["cancelled", "ok"]


async def test_the_last_step_goes_out_as_it_comes(tmp_path: Path) -> None:
    last = {"match": "", "reply": "one two three four five six", "token_delay": 0.05}
    async with working(fake(tmp_path, [NOTE, last], context=1024)) as work:
        async with work.gate.client() as client:
            body = {"category": "long_context", "prompt": book(1500), "stream": True, "strategy": "sliding_window"}
            await client.send(request(body, path="/generate"))
            await client.head()
            times = [asyncio.get_running_loop().time() async for piece in client.chunks() if b'"chunk"' in piece]
        assert len(times) == 6
        assert times[-1] - times[0] > 0.15
