"""What tasks find out about answers: forms, limits, grounds, lengths, citations; and what is repaired."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    DONE,
    SSE_HEAD,
    USAGE,
    Gate,
    Held,
    ScriptedWorker,
    chunk,
    config,
    delta,
    event,
    on_uvloop,
    raw,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config.schema import Model, Routing
from rolecast.config.tasks import Task
from rolecast.tasks import forms, grounds, limits
from rolecast.tasks.amounts import amount
from rolecast.tasks.answers import question_type
from rolecast.tasks.creative import title_of
from rolecast.tasks.science import citations

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

LIST = "- one\n- two"
TABLE = "| a | b |\n|---|---|\n| 1 | 2 |"
STEPS = "1. Mix.\n2. Bake."
DISCLAIMER = "not legal advice"


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            models = {"m": remote(worker.url), "other": Model(backend="anthropic", url=worker.url, key="k")}
            made = config(models)
            roles: Any = {"standard": ["m"], "scientific_research": ["m"]}
            own = {"creative_writing": Task(ends="Made by a machine.")}
            made = msgspec.structs.replace(made, roles=roles, routing=Routing(default="standard"), tasks=own)
            async with running_gateway(made, Path(folder)) as gate:
                yield gate, worker


@pytest.fixture
def both(front: Gate, worker: ScriptedWorker) -> tuple[Gate, ScriptedWorker]:
    return front, worker


def said(*pieces: str, reason: str = "stop") -> Any:
    end = event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    return stream(*map(delta, pieces), end, USAGE, DONE)


async def ask(gate: Gate, category: str, *, prompt: str = "Do it.", stream: bool = False, **options: Any) -> Any:
    """The text and the metadata of an answer."""
    body = {"prompt": prompt, "category": category, "stream": stream, "extra_params": options}
    answer = await gate.ask(request(body, path="/conductor/generate"))
    assert answer.status == 200, answer.body
    if not stream:
        return answer.json["response"], answer.json.get("metadata", {}), answer.json
    *pieces, last = [json.loads(line[6:]) for line in answer.body.decode().split("\n\n") if line]
    return "".join(each["chunk"] for each in pieces), last.get("metadata", {}), last


async def test_the_engines_own_times_of_all_questions_are_told_together(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    times = {"prompt_n": 1, "prompt_ms": 0.02, "predicted_n": 1, "predicted_ms": 0.05}
    end = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "timings": times})
    worker.script.extend([stream(delta("one"), end, DONE), stream(delta(LIST), end, DONE)])
    body = {"prompt": "Two.", "category": "instruction_following", "extra_params": {"format": "a bullet list"}}
    told = (await gate.ask(request(body, path="/generate"))).json
    assert told["metadata"]["repaired"]
    assert (told["prompt_eval_duration"], told["eval_duration"]) == (40_000, 100_000)


# -- forms ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("required", "good", "bad"),
    [
        ("as a bullet list", LIST, "one and two"),
        ("a list of exactly two items", LIST, "- one"),
        ("a list of at most two items", "1. one", "- a\n- b\n- c"),
        ("a Markdown table", TABLE, "a | b"),
        ("table, 1 row", TABLE, f"{TABLE}\n| 3 | 4 |"),
        ("numbered steps", STEPS, LIST),
        ("step-by-step", "**Step 1:** Mix.\n\n**Step 2:** Bake.", "Mix and bake."),
        ("three steps", "1. a\n2. b\n3. c", STEPS),
        ("JSON", '{"a": [1, 2]}', "a: [1, 2]"),
        ("valid json please", "[1]", '{"a": NaN}'),
        ("a JSON array", "[]", "{}"),
        ("a JSON list of 2 objects", "[{}, {}]", "[{}]"),
    ],
)
def test_a_form_in_free_words_is_checked_by_a_parser(required: str, good: str, bad: str) -> None:
    form = forms.wanted([required])
    assert form is not None
    assert forms.fault(form, good) == ""
    assert forms.fault(form, bad)
    assert forms.fault(form, "")


@pytest.mark.parametrize("required", ["", "plain prose", "no table", "do not use bullet points", "without any list"])
def test_where_no_form_is_wanted_none_is_checked(required: str) -> None:
    assert forms.wanted([required]) is None


def test_lists_within_lists_are_not_counted() -> None:
    form = forms.wanted(["a list of two items"])
    assert form is not None
    assert forms.fault(form, "- a\n  - x\n  - y\n- b") == ""


@given(st.text(max_size=300), st.sampled_from(["json", "a table", "steps", "a list of 3 items"]))
def test_no_text_breaks_a_parser(text: str, required: str) -> None:
    form = forms.wanted([required])
    assert form is not None
    assert isinstance(forms.fault(form, text), str)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("at most 5 words", 0, 5),
        ("fewer than five words", 0, 4),
        ("no more than 1 word", 0, 1),
        ("at least 10 words", 10, 10**9),
        ("more than 10 words", 11, 10**9),
        ("exactly three words", 3, 3),
        ("50-100 words", 50, 100),
        ("between two and 4 words", 2, 4),
        ("2 short plain words", 2, 2),
        ("5 words or more", 5, 10**9),
        ("5 words maximum", 0, 5),
        ("5 apples and 3 words", 3, 3),
        ("many words", 0, 10**9),
        ("5 wordsmiths", 0, 10**9),
    ],
)
def test_amounts_are_read_as_people_write_them(text: str, least: int, most: int) -> None:
    found = amount(text, "words?")
    assert (found.least, found.most) == (least, most)


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        ("at most 3 words", "one two three", "one two three four"),
        ("exactly two sentences", "Yes. It is!", "Yes."),
        ("two paragraphs", "a\n\nb", "a"),
        ('include the word "tower"', "The Tower stands.", "The towers stand."),
        ('Avoid the words "very" and "nice".', "good", "It is nice."),
        ('Do not mention "cats"', "dogs", "Cats!"),
        ("write everything in lower case", "abc", "Abc"),
        ("ALL CAPS, all of it in capitals", "ABC 1", "Abc"),
        ('Begin with "Dear"', "Dear Ann,", "Hi, dear"),
        ('End with "Yours"', "Bye. Yours", "Yours, Ann"),
    ],
)
def test_limits_that_can_be_counted_are_checked(constraint: str, good: str, bad: str) -> None:
    assert limits.unmet([constraint], good) == []
    assert limits.unmet([constraint], bad) == [constraint]


def test_what_cannot_be_counted_is_judged_by_nobody() -> None:
    assert limits.unmet(["be kind", "no jargon", "no upper case names", "x" * 10**6], "ANYTHING") == []


# -- instructions --------------------------------------------------------------------------------------------------


async def test_a_whole_answer_of_the_wrong_form_is_asked_for_once_more(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.extend([said("one and two"), said(LIST)])
    text, found, reply_ = await ask(gate, "instruction_following", format_requirements="a list")
    assert text == LIST
    assert found == {"format": "list", "format_ok": True, "repaired": True, "complete": True}
    first, second = (each.json["messages"] for each in worker.requests)
    assert second[: len(first)] == first
    assert second[len(first)] == {"role": "assistant", "content": "one and two"}
    assert "has no list" in second[-1]["content"]
    assert reply_["tokens_generated"] == 6  # of both
    (row,) = [each for each in await gate.rows() if each.completion_tokens == 6][-1:]
    assert row.outcome == "ok"


async def test_one_that_cannot_be_repaired_is_the_first_and_says_so(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.extend([said("first"), said("second")])
    text, found, _ = await ask(gate, "instruction_following", format_requirements=["a table"])
    assert (text, found) == ("first", {"format": "table", "format_ok": False, "complete": False})
    assert len(worker.requests) == 2
    worker.reset()
    worker.script.extend([said("first"), reply(b'{"error":{"message":"too long","code":400}}', 400)])
    text, found, _ = await ask(gate, "instruction_following", format_requirements=["a table"])
    assert (text, found["format_ok"]) == ("first", False)


async def test_a_right_answer_is_asked_for_once_and_so_is_one_nobody_checks(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.usual = said(STEPS)
    _, found, _ = await ask(gate, "instruction_following", format_requirements="steps", constraints=["be kind"])
    assert found == {"format": "steps", "format_ok": True, "complete": True}
    _, found, _ = await ask(gate, "instruction_following", format_requirements="a table", validate_completeness=False)
    assert found == {"format": "table", "format_ok": False}
    _, found, _ = await ask(gate, "instruction_following", validate_completeness="no")
    assert found == {}
    assert len(worker.requests) == 3


async def test_stated_limits_that_do_not_hold_are_repaired_and_told(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    rules = ["at most 3 words", 'include "tea"', "be kind"]
    worker.script.extend([said("this is far too long"), said("drink some tea")])
    text, found, _ = await ask(gate, "instruction_following", constraints=rules)
    assert (text, found) == ("drink some tea", {"complete": True, "repaired": True})
    worker.script.extend([said("this is far too long"), said("still far too long")])
    _, found, _ = await ask(gate, "instruction_following", constraints=rules)
    assert found == {"complete": False, "unmet": rules[:2]}


async def test_an_answer_that_was_cut_is_not_complete_and_not_repaired(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(said("one and", reason="length"))
    text, found, _ = await ask(gate, "instruction_following", format_requirements="a list")
    assert text == "one and"
    assert found == {
        "format": "list",
        "format_ok": False,
        "complete": False,
        "cut": True,
        "finish_reason": "length",
    }
    assert len(worker.requests) == 1


async def test_a_stream_goes_out_as_it_comes_and_its_end_says_what_was_found(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    held = Held(delta("one "))
    worker.script.append(held)
    body = {"prompt": "Do it.", "category": "instruction_following", "stream": True}
    sent = request({**body, "extra_params": {"format_requirements": "a list"}}, path="/conductor/generate")
    async with gate.client() as client:
        await client.send(sent)
        await client.head()
        pieces = client.chunks()
        assert b'"chunk":"one "' in await anext(pieces)
        held.let_go.set()
        rest = b"".join([piece async for piece in pieces])
    assert b'"metadata":{"format":"list","format_ok":false,"complete":false}' in rest
    assert len(worker.requests) == 1


async def test_json_is_held_to_by_grammar_and_asked_for_without_where_there_is_none(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    worker.script.append(said('{"a": 1}'))
    text, found, _ = await ask(gate, "instruction_following", format_requirements="JSON")
    assert (text, found["format_ok"]) == ('{"a": 1}', True)
    assert worker.requests[0].json["response_format"] == {"type": "json_object"}
    worker.reset()
    worker.script.extend([reply(b'{"error":{"message":"no response_format here","code":400}}', 400), said("{}")])
    text, found, _ = await ask(gate, "instruction_following", format_requirements="JSON")
    assert (text, found["format_ok"]) == ("{}", True)
    assert "response_format" not in worker.requests[-1].json
    await ask(gate, "instruction_following", format_requirements="a JSON array", validate_completeness=False)
    assert worker.requests[-1].json["response_format"]["json_schema"]["schema"]["type"] == "array"
    await ask(gate, "instruction_following", format_requirements="a list", validate_completeness=False)
    assert "response_format" not in worker.requests[-1].json


async def test_a_server_without_a_word_for_any_json_is_asked_all_the_same(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 1}}}
    piece = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "{}"}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}
    lines = b"".join(event(each) for each in (start, piece, end, {"type": "message_stop"}))
    worker.script.append(raw(SSE_HEAD, chunk(lines), b"0\r\n\r\n"))
    body = {"prompt": "x", "category": "instruction_following", "model": "other", "format_requirements": "JSON"}
    answer = await gate.ask(request(body, path="/conductor/generate"))
    assert (answer.status, answer.json["response"]) == (200, "{}")
    assert answer.json["metadata"]["format_ok"] is True


async def test_a_fence_around_json_is_taken_off_without_asking_again(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(said('```json\n{"a": 1}\n```'))
    text, found, _ = await ask(gate, "instruction_following", format_requirements="JSON")
    assert text == '{"a": 1}'
    assert found == {"format": "json", "format_ok": True, "repaired": True, "complete": True}
    assert len(worker.requests) == 1


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ('```json\n{"a": 1}\n```\nSee [docs] for more.', '{"a": 1}'),
        ('{"a": "done"}\n\nReferences: [1]', '{"a": "done"}'),
        ('Result [1]: {"a": 1}. Note [2].', '{"a": 1}'),
        ('Sure!\n\n```\n[{"a": "```x```"}]\n```', '[{"a": "```x```"}]'),
        ('{"a": "```x```"}', '{"a": "```x```"}'),
        ('The {form} is: {"a": [1, 2]}', '{"a": [1, 2]}'),
        ('{"a": [1, 2, 3], "b": ', '{"a": [1, 2, 3], "b": '),  # cut: what is within it is not what was asked for
        ("{'a': [1, 2, 3]}", "{'a': [1, 2, 3]}"),
        ("no JSON [] at {} all", "no JSON [] at {} all"),
        ("[" * 5000, "[" * 5000),
    ],
)
def test_words_around_json_are_left_out_and_what_is_broken_stays(text: str, bare: str) -> None:
    assert forms.unfenced(forms.Form("json"), text) == bare
    assert forms.unfenced(forms.Form("list"), text) == text


async def test_words_around_json_need_no_second_answer(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(said('Sure, here it is:\n```json\n{"a": 1}\n```\nI hope this helps!'))
    text, found, _ = await ask(gate, "instruction_following", format_requirements="JSON")
    assert (text, found["format_ok"], found["repaired"]) == ('{"a": 1}', True, True)
    assert len(worker.requests) == 1


async def test_who_leaves_during_a_repair_frees_the_slot(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    held = Held(delta("still"))
    worker.script.extend([said("no list"), held])
    body = {"prompt": "x", "category": "instruction_following", "format_requirements": "a list"}
    async with gate.client() as client:
        await client.send(request(body, path="/conductor/generate"))
        await until(lambda: held.peer is not None, "the repair is asked for")
        client.abort()
    assert held.peer is not None
    await held.peer.gone.wait()
    await until(lambda: not gate.gateway.dispatch.active, "the request is over")
    assert gate.gateway.fleet.worker("m").active == 0


# -- questions -----------------------------------------------------------------------------------------------------

CONTEXT = "The tower was built in 1889. It is 330 metres tall. Cats may not climb it."


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("How do I bake bread?", "procedural"),
        ("Why is the sky blue?", "explanatory"),
        ("How does a motor work?", "explanatory"),
        ("What is the capital of France?", "factual"),
        ("How many legs has a spider?", "factual"),
        ("I bake. What is the difference between rye and wheat?", "comparative"),
        ("Is it better to rent or to buy?", "comparative"),
        ("What do you think of it?", "opinion"),
        ("Analyse the causes of the war.", "analytical"),
        ("According to the text, who won?", "contextual"),
        ("Wie alt ist der Turm?", ""),
        ("", ""),
        ("?" * 100_000, ""),
    ],
)
def test_the_kind_of_a_question_is_seen_from_its_words(prompt: str, kind: str) -> None:
    assert question_type(prompt) == kind


async def test_the_kind_that_was_found_is_asked_for_and_one_that_is_said_wins(
    both: tuple[Gate, ScriptedWorker],
) -> None:
    gate, worker = both
    worker.usual = said("So.")
    _, found, _ = await ask(gate, "question_answering", prompt="Why is it so?")
    assert found == {"question_type": "explanatory"}
    assert "Explain how and why." in worker.requests[-1].json["messages"][0]["content"]
    _, found, _ = await ask(gate, "question_answering", prompt="Why is it so?", question_type="opinion")
    assert found == {"question_type": "opinion"}
    system = worker.requests[-1].json["messages"][0]["content"]
    assert ("Explain how and why." in system, "say that it is one" in system) == (False, True)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_an_answer_from_a_context_says_how_much_of_it_stands_there(
    both: tuple[Gate, ScriptedWorker], streamed: bool
) -> None:
    gate, worker = both
    asked = {"prompt": "How tall is the tower?", "context": CONTEXT, "stream": streamed}
    worker.script.append(said("The tower is 330 ", "metres tall."))
    text, found, _ = await ask(gate, "question_answering", **asked)
    assert text == "The tower is 330 metres tall."
    assert found == {"question_type": "factual", "answered": True, "grounded": 1.0}
    system, user = (each["content"] for each in worker.requests[-1].json["messages"])
    assert "Use only the context." in system
    assert user == f"Context:\n{CONTEXT}\n\nHow tall is the tower?"
    worker.script.append(said("The tower is 900 feet high, say zebras from Madagascar."))
    _, found, _ = await ask(gate, "question_answering", **asked)
    assert found["grounded"] < 0.5
    worker.script.append(said("The context does not say."))
    _, found, _ = await ask(gate, "question_answering", **asked)
    assert found == {"question_type": "factual", "answered": False}


async def test_sources_quotes_and_confidence_are_found_in_the_answer(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.append(
        said('It says "it is 330 metres tall", and "nobody has ever climbed it".\nConfidence: **High**')
    )
    options = {"context": CONTEXT, "sources_requested": True, "confidence_level": True}
    _, found, _ = await ask(gate, "question_answering", prompt="How tall is it?", **options)
    assert found["sources"][0] == "It is 330 metres tall."
    assert set(found["sources"]) <= {each + "." for each in CONTEXT.rstrip(".").split(". ")} | {CONTEXT}
    assert (found["quotes"], found["quotes_found"], found["confidence"]) == (2, 1, "high")
    worker.script.append(said("Tall."))
    _, found, _ = await ask(gate, "question_answering", prompt="How tall is it?", confidence_level=True)
    assert "confidence" not in found


def test_words_that_carry_no_content_ground_nothing() -> None:
    assert grounds.share("It is the one that they have.", set(grounds.words(CONTEXT))) is None
    assert grounds.share("towers", set(grounds.words("the tower"))) == 0.0
    assert grounds.share("climbing", set(grounds.words("to climb it"))) == 0.0
    assert grounds.share("buildings", set(grounds.words("a building"))) == 1.0
    assert grounds.share("1,889", set(grounds.words("1889"))) == 0.0
    assert grounds.share("塔は高い", set(grounds.words("高い塔"))) == 0.75


# -- creative writing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "words", "fits"),
    [
        ("short", 199, False),
        ("short", 200, True),
        ("short", 501, False),
        ("medium", 500, True),
        ("long", 999, False),
        ("long", 1000, True),
    ],
)
async def test_the_length_is_counted_and_gets_its_room(
    both: tuple[Gate, ScriptedWorker], length: str, words: int, fits: bool
) -> None:
    gate, worker = both
    worker.script.append(said("word " * words))
    text, found, _ = await ask(gate, "creative_writing", length=length)
    assert found == {"words": words, "length": length, "length_ok": fits}
    assert text.endswith("word \n\nMade by a machine.")
    room = {"short": 1000, "medium": 2000, "long": 3000}
    assert worker.requests[-1].json["max_tokens"] == room[length]
    await ask(gate, "creative_writing", length=length, max_tokens=7)
    assert worker.requests[-1].json["max_tokens"] == 7
    await ask(gate, "creative_writing")
    assert worker.requests[-1].json["max_tokens"] == 1024


async def test_a_title_that_is_missing_is_asked_for_and_put_above(both: tuple[Gate, ScriptedWorker]) -> None:
    gate, worker = both
    worker.script.extend([said("Once there was a cook."), said('"The Cook"')])
    text, found, _ = await ask(gate, "creative_writing", add_title=True)
    assert text.startswith("# The Cook\n\nOnce there was a cook.")
    assert (found["title"], found["title_added"], found["words"]) == ("The Cook", True, 5)
    assert worker.requests[-1].json["max_tokens"] == 24
    worker.script.append(said("# Soup\n\nOnce."))
    text, found, _ = await ask(gate, "creative_writing", add_title=True)
    assert (text.startswith("# Soup\n\nOnce."), found["title"], "title_added" in found) == (True, "Soup", False)
    worker.script.append(said("Once."))
    text, found, _ = await ask(gate, "creative_writing", add_title=True, stream=True)
    assert (text.startswith("Once."), "title" in found) == (True, False)
    assert len(worker.requests) == 4


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# The End\n\nx", "The End"),
        ("**Rain**\n\nx", "Rain"),
        ("Title: Rain\nx", "Rain"),
        ("**Rain** fell on the town.", ""),
        ("Rain", ""),
        ("", ""),
    ],
)
def test_a_title_is_told_from_a_first_line(text: str, title: str) -> None:
    assert title_of(text) == title


# -- research and law ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "works"),
    [
        ("As Smith (2019) says.", ["Smith 2019"]),
        ("(Smith, 2019; Jones & Brown 2020)", ["Smith 2019", "Jones & Brown 2020"]),
        ("Smith et al. (2019) and again Smith et al., 2019.", ["Smith et al. 2019"]),
        ("O'Neil, Li, and Wu (2001)", ["O'Neil, Li, and Wu 2001"]),
        ("see doi:10.1000/xyz.123. And arXiv: 2101.00001", ["10.1000/xyz.123", "arXiv:2101.00001"]),
        ("In 2020, by May 2021 and in Summer 1999 it ended.", []),
        ("no works at all, [citation needed]", []),
        ("Aa, " * 20_000, []),
    ],
)
def test_works_that_are_cited_are_found(text: str, works: list[str]) -> None:
    assert citations(text) == works


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_works_that_the_prompt_does_not_have_are_told_as_unverified(
    both: tuple[Gate, ScriptedWorker], streamed: bool
) -> None:
    gate, worker = both
    worker.script.append(said("Smith et al. (2019) agree with Doe (2020)."))
    asked = {"prompt": "What follows from Smith, 2019?", "stream": streamed}
    _, found, _ = await ask(gate, "scientific_research", **asked)
    assert found == {"citations": ["Smith et al. 2019", "Doe 2020"], "unverified_citations": ["Doe 2020"]}
    assert "never" not in json.dumps(worker.requests[-1].json["messages"][-1])
    assert "[citation needed]" in worker.requests[-1].json["messages"][0]["content"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_the_disclaimer_is_below_every_answer_once(both: tuple[Gate, ScriptedWorker], streamed: bool) -> None:
    gate, worker = both
    worker.script.append(said("It is", " void."))
    text, found, _ = await ask(gate, "legal_analysis", stream=streamed)
    assert text.startswith("It is void.\n\n")
    assert text.count(DISCLAIMER) == 1
    assert found == {}
    assert DISCLAIMER not in json.dumps(worker.requests[-1].json)
    worker.script.append(said("It is void. This is no legal advice."))  # in its own words: ours follows all the same
    again, _, _ = await ask(gate, "legal_analysis", stream=streamed)
    assert again.endswith(text.removeprefix("It is void."))
    worker.script.append(said(text))
    same, _, _ = await ask(gate, "legal_analysis", stream=streamed)
    assert same == text
