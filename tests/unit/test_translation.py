"""Translations: what reaches the model for each option, what stays, batches, streams, and languages that are none."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    DONE,
    SSE_HEAD,
    USAGE,
    Gate,
    Peer,
    Received,
    ScriptedWorker,
    chunk,
    config,
    delta,
    event,
    on_uvloop,
    remote,
    request,
    running_gateway,
    short_folder,
    until,
)

from rolecast.config.schema import Routing

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

Say = Callable[[str, list[dict[str, str]]], str]


def speaking(say: Say, *, finish: str = "stop", size: int = 5) -> Any:
    """A worker that answers the last message by a function of it and of all messages, in small pieces."""

    async def script(peer: Peer, received: Received) -> None:
        messages = received.json["messages"]
        text = say(messages[-1]["content"], messages)
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        last = event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        body = b"".join(chunk(each) for each in (*map(delta, pieces), last, USAGE, DONE))
        await peer.send(SSE_HEAD + body + b"0\r\n\r\n")

    return script


def loud(text: str, _: list[dict[str, str]]) -> str:
    """As a good model would: every word another one, all marks as they are."""
    return re.sub(r"<[^>]*>|[^\W\d_]+", lambda m: m[0] if m[0].startswith("<") else m[0].upper(), text)


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            made = config({"m": remote(worker.url, context=2048)})
            made = msgspec.structs.replace(made, roles={"general_reasoning": ["m"]}, routing=Routing(default="m"))
            async with running_gateway(made, Path(folder)) as gate:
                yield gate, worker


@pytest.fixture
def front(shared: tuple[Gate, ScriptedWorker]) -> Gate:
    return shared[0]


@pytest.fixture
def worker(shared: tuple[Gate, ScriptedWorker]) -> ScriptedWorker:
    shared[1].reset()
    shared[1].usual = speaking(loud)
    return shared[1]


async def translate(gate: Gate, **body: Any) -> Any:
    answer = await gate.ask(request(body, path="/translate"))
    assert answer.status == 200, answer.body
    assert answer.json["category"] == "translation"
    return answer.json


def system(worker: ScriptedWorker, number: int = -1) -> str:
    first = worker.requests[number].json["messages"][0]
    assert first["role"] == "system"
    return str(first["content"])


async def test_the_pair_is_told_to_the_model_and_to_the_client(front: Gate, worker: ScriptedWorker) -> None:
    reply = await translate(front, prompt="hello there", source_lang="en", target_lang="Deutsch")
    assert reply["response"] == "HELLO THERE"
    assert "from English into German" in system(worker)
    meta = reply["metadata"]
    assert (meta["source_lang"], meta["target_lang"], meta["engine"]) == ("eng_Latn", "deu_Latn", "model")
    assert (meta["source_detected"], meta["placeholders_ok"], meta["repaired"]) == (False, True, False)
    assert worker.requests[-1].json["messages"][-1] == {"role": "user", "content": "hello there"}
    assert "translation" not in worker.requests[-1].json  # strict servers refuse what they do not know


async def test_without_languages_the_text_tells_its_own_and_spanish_is_wanted(
    front: Gate, worker: ScriptedWorker
) -> None:
    reply = await translate(front, prompt="Guten Tag, ich möchte gern ein Zimmer für zwei Nächte.")
    assert "from German into Spanish" in system(worker)
    assert reply["metadata"]["source_detected"] is True
    reply = await translate(front, prompt="Xyz qqq.")
    assert "from" not in system(worker).split("Translate ")[-1]
    assert reply["metadata"]["source_lang"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"formal_register": True}, "formal register"),
        ({"creative_content": True}, "literary text"),
        ({"technical_content": True}, "technical text"),
        ({"preserve_formatting": True}, "line breaks"),
        ({"target_lang": "pt-BR"}, "Portuguese (Brazil)"),
        ({"to": "zh-Hant"}, "Traditional Chinese"),
    ],
)
async def test_each_option_reaches_the_model(
    front: Gate, worker: ScriptedWorker, options: dict[str, Any], words: str
) -> None:
    await translate(front, prompt="hello there my friend", extra_params=options)
    assert words in system(worker)
    without = dict.fromkeys(options, False) if "preserve_formatting" in options else {}
    await translate(front, prompt="hello there my friend", extra_params=without)
    assert words not in system(worker)


async def test_the_settings_are_the_tasks_unless_the_request_has_its_own(front: Gate, worker: ScriptedWorker) -> None:
    await translate(front, prompt="hello there my friend " * 20)
    sent = worker.requests[-1].json
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"]) == (0.3, 0.9, 512)
    await translate(front, prompt="hello there my friend", temperature=0, top_p=0.5)
    assert (worker.requests[-1].json["temperature"], worker.requests[-1].json["top_p"]) == (0, 0.5)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_few_words_get_room_for_a_few_words_unless_the_request_says_how_much(
    front: Gate, worker: ScriptedWorker, stream: bool
) -> None:
    path = "/generate/stream" if stream else "/translate"
    body = {"prompt": "hello there my friend", "category": "translation", "stream": stream}
    await front.ask(request(body, path=path))
    assert 64 < worker.requests[-1].json["max_tokens"] < 150
    await front.ask(request(body | {"max_tokens": 400}, path=path))
    assert worker.requests[-1].json["max_tokens"] == 400


async def test_placeholders_code_and_addresses_never_reach_the_model(front: Gate, worker: ScriptedWorker) -> None:
    text = (
        "Hi {name}, you have %d of ${total} in {{cart}}, <b>see</b> `run it` at https://x.org/a or mail me@x.org.\n\n"
        "```python\nprint('hello {name}')\n```\n\nBye %(who)s\n"
    )
    reply = await translate(front, prompt=text, target_lang="fr")
    kept = ["{name}", "%d", "${total}", "{{cart}}", "<b>", "</b>", "`run it`", "https://x.org/a", "me@x.org", "%(who)s"]
    for each in kept:
        assert reply["response"].count(each) == text.count(each), each
    assert "```python\nprint('hello {name}')\n```\n\nBYE" in reply["response"]
    assert reply["response"].endswith("%(who)s\n")
    sent = "".join(each.json["messages"][-1]["content"] for each in worker.requests)
    assert not any(each in sent for each in kept)
    assert reply["metadata"]["placeholders_ok"] is True


async def test_a_lost_placeholder_is_asked_for_once_more(front: Gate, worker: ScriptedWorker) -> None:
    def forgetful(text: str, messages: list[dict[str, str]]) -> str:
        if len(messages) > 2:
            assert "<x1/>" in messages[-1]["content"]
            return "HOLA <x1/>"
        return "HOLA"

    worker.usual = speaking(forgetful)
    reply = await translate(front, prompt="hello {name}", target_lang="es", source_lang="en")
    assert reply["response"] == "HOLA {name}"
    assert reply["metadata"]["repaired"] is True
    assert len(worker.requests) == 2


async def test_a_model_that_loses_it_twice_translates_around_it(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = speaking(lambda text, _: re.sub(r"<x\d/>|\n", "", text).upper())
    reply = await translate(front, prompt="- hello {name}, you\n- owe %s", target_lang="es", source_lang="en")
    assert reply["response"] == "- HELLO {name}, YOU\n- OWE %s"
    assert (reply["metadata"]["placeholders_ok"], reply["metadata"]["repaired"]) == (True, True)


async def test_an_invented_or_doubled_mark_never_reaches_the_client(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = speaking(lambda text, _: f"{text.upper().replace('X1', 'x1')} <x1/> <x9/>")
    reply = await translate(front, prompt="hello {name}", target_lang="es", source_lang="en")
    assert reply["response"].count("{name}") == 1
    assert "<x" not in reply["response"]


async def test_lines_that_were_lost_are_asked_for_unless_the_layout_is_free(
    front: Gate, worker: ScriptedWorker
) -> None:
    worker.usual = speaking(lambda text, _: " ".join(text.upper().split()))
    body = {"prompt": "# one\n- two\n- three", "target_lang": "es", "source_lang": "en"}
    assert (await translate(front, **body))["response"] == "# ONE\n- TWO\n- THREE"
    free = await translate(front, **body, preserve_formatting=False)
    assert free["response"] == "# ONE - TWO - THREE"


async def test_a_batch_gives_a_list_in_its_order(front: Gate, worker: ScriptedWorker) -> None:
    texts = [f"hello number {number} of {{total}}" for number in range(100)]
    reply = await translate(front, texts=texts, source_lang="en", target_lang="fr")
    assert reply["metadata"]["translations"] == [f"HELLO NUMBER {n} OF {{total}}" for n in range(100)]
    assert reply["response"] == "\n\n".join(reply["metadata"]["translations"])
    assert len(worker.requests) == 100
    rows = await front.rows()
    assert rows[-1].completion_tokens == 300
    assert rows[-1].prompt_tokens == 1100


async def test_texts_of_several_languages_are_told_one_by_one(front: Gate, worker: ScriptedWorker) -> None:
    texts = [
        "Where is the train station, please?",
        "Wo ist denn hier der Bahnhof, bitte?",
        "Hola, ¿dónde está la casa?",
    ]
    reply = await translate(front, texts=texts, target_lang="es")
    assert reply["metadata"]["source_lang"] == ["eng_Latn", "deu_Latn", "spa_Latn"]
    assert reply["metadata"]["translations"][2] == texts[2]  # it is Spanish already
    assert len(worker.requests) == 2


async def test_the_same_language_on_both_sides_asks_nobody(front: Gate, worker: ScriptedWorker) -> None:
    reply = await translate(front, prompt="hello there", source_lang="en", target_lang="english")
    assert (reply["response"], reply["metadata"]["engine"]) == ("hello there", "none")
    assert worker.requests == []
    await translate(front, prompt="colour", source_lang="en-GB", target_lang="en-US")
    assert "from English (United Kingdom) into English (United States)" in system(worker)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"target_lang": "spansih"}, "target_lang", "Spanish"),
        ({"target_lang": "klingon"}, "target_lang", "no language known here"),
        ({"source_lang": "x" * 5000}, "source_lang", "no language known here"),
        ({"target_lang": "en-Cyrl"}, "target_lang", "no language known here"),
        ({"formal_register": "perhaps"}, "formal_register", "true or false"),
    ],
)
async def test_a_language_that_is_none_is_refused_with_what_was_perhaps_meant(
    front: Gate, worker: ScriptedWorker, body: dict[str, Any], param: str, words: str
) -> None:
    answer = await front.ask(request({"prompt": "hello"} | body, path="/translate"))
    assert (answer.status, answer.error["param"]) == (422, param)
    assert words in answer.error["message"]
    assert len(answer.error["message"]) < 400
    assert worker.requests == []


@pytest.mark.parametrize(
    ("prompt", "text", "pair"),
    [
        ("Translate to French: hello my friend", "hello my friend", "into French"),
        (
            "Please translate the following text from English to German:\n\nhi\nyou",
            "hi\nyou",
            "from English into German",
        ),
        ('Translate "good morning" into Brazilian Portuguese.', "good morning", "into Portuguese (Brazil)"),
    ],
)
async def test_an_instruction_in_the_prompt_is_followed_and_not_translated(
    front: Gate, worker: ScriptedWorker, prompt: str, text: str, pair: str
) -> None:
    answer = await front.ask(request({"prompt": prompt, "category": "translation"}, path="/generate"))
    assert answer.status == 200
    assert worker.requests[-1].json["messages"][-1]["content"] == text
    assert pair in system(worker)


async def test_a_target_that_is_said_beats_the_prompt(front: Gate, worker: ScriptedWorker) -> None:
    await translate(front, prompt="Translate to French: hello my friend", target_lang="de")
    assert worker.requests[-1].json["messages"][-1]["content"] == "Translate to French: hello my friend"
    assert "into German" in system(worker)


async def test_a_long_text_goes_in_pieces_that_fit_and_comes_back_whole(front: Gate, worker: ScriptedWorker) -> None:
    text = "\n\n".join(f"Paragraph {n} tells of a day. " * 12 + f"It ends with {{p{n}}}." for n in range(30))
    reply = await translate(front, prompt=text, source_lang="en", target_lang="fr")
    assert reply["response"] == re.sub(
        r"\{p\d+\}|[^\W\d_]+", lambda m: m[0] if m[0].startswith("{") else m[0].upper(), text
    )
    assert len(worker.requests) > 10
    assert max(len(each.json["messages"][-1]["content"]) for each in worker.requests) < 2500


async def test_a_stream_goes_out_as_it_comes_and_marks_are_never_seen(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = speaking(loud, size=2)
    body = {"prompt": "hello {name}, how are you?", "category": "translation", "stream": True, "source_lang": "en"}
    answer = await front.ask(request(body, path="/generate/stream"))
    events = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line]
    chunks = [each["chunk"] for each in events if "chunk" in each]
    assert "".join(chunks) == "HELLO {name}, HOW ARE YOU?"
    assert len(chunks) > 5
    assert not any("<x" in each for each in chunks)
    assert events[-1]["done"] is True
    assert events[-1]["metadata"]["placeholders_ok"] is True


async def test_a_stream_that_lost_a_mark_says_so_and_is_not_sent_twice(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = speaking(lambda text, _: "HOLA")
    body = {"prompt": "hello {name}", "category": "translation", "stream": True, "source_lang": "en"}
    answer = await front.ask(request(body, path="/generate/stream"))
    events = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line]
    assert "".join(each.get("chunk", "") for each in events) == "HOLA"
    assert events[-1]["metadata"]["placeholders_ok"] is False
    assert len(worker.requests) == 1


async def test_a_stream_of_many_pieces_tells_its_progress_and_keeps_the_order(
    front: Gate, worker: ScriptedWorker
) -> None:
    texts = [f"hello number {number}" for number in range(8)]
    body = {"texts": texts, "category": "translation", "stream": True, "source_lang": "en", "target_lang": "fr"}
    answer = await front.ask(request(body, path="/generate/stream"))
    events = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line]
    assert "".join(e.get("chunk", "") for e in events) == "\n\n".join(t.upper() for t in texts)
    steps = [e["progress"] for e in events if "progress" in e]
    assert [step["done"] for step in steps] == list(range(1, 9))
    assert {step["total"] for step in steps} == {8}


async def test_an_answer_that_the_requests_own_limit_ended_is_cut_and_says_so(
    front: Gate, worker: ScriptedWorker
) -> None:
    worker.usual = speaking(loud, finish="length")
    body = {"prompt": "hello {you}", "category": "translation", "source_lang": "en", "max_tokens": 3}
    answer = await front.ask(request(body, path="/generate"))
    assert (answer.json["done_reason"], answer.json["response"]) == ("length", "HELLO {you}")
    assert len(worker.requests) == 1


async def test_an_answer_that_runs_on_is_translated_in_short_segments(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.append(speaking(lambda text, _: "LA " * 100, finish="length"))
    reply = await translate(front, prompt="hello {you}, my friend", source_lang="en")
    assert reply["response"] == "HELLO {you}, MY FRIEND"
    limits = [each.json["max_tokens"] for each in worker.requests]
    assert max(limits[1:]) < 100 < limits[0] < 200


async def test_a_client_that_leaves_ends_all_pieces(front: Gate, worker: ScriptedWorker) -> None:
    began = asyncio.Event()

    async def hang(peer: Peer, _: Received) -> None:
        began.set()
        await peer.gone.wait()

    worker.usual = hang
    texts = [f"hello number {number}" for number in range(20)]
    async with front.client() as client:
        await client.send(request({"texts": texts, "source_lang": "en", "target_lang": "fr"}, path="/translate"))
        await began.wait()
        await until(lambda: len(worker.requests) == 20)
        client.abort()
        await until(lambda: all(each.peer.gone.is_set() for each in worker.requests))


async def test_a_worker_that_fails_is_an_error_and_no_text(front: Gate, worker: ScriptedWorker) -> None:
    async def broken(peer: Peer, _: Received) -> None:
        await peer.send(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")

    worker.usual = broken
    texts = ["hello there", "and you"]
    answer = await front.ask(request({"texts": texts, "source_lang": "en", "target_lang": "fr"}, path="/translate"))
    assert answer.status == 502


async def test_nothing_to_translate_is_said(front: Gate, worker: ScriptedWorker) -> None:
    for body in ({"prompt": "   "}, {"texts": ["", " "], "prompt": "x"}):
        answer = await front.ask(request(body, path="/translate"))
        assert (answer.status, answer.error["param"]) == (422, "text"), body


async def test_too_much_text_is_refused_before_anybody_is_asked(front: Gate, worker: ScriptedWorker) -> None:
    answer = await front.ask(request({"prompt": "word " * 250_000}, path="/translate"))
    assert answer.status == 413
    assert worker.requests == []
