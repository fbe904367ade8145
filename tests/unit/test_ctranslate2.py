"""Translation models on the real engine: a tiny one with NLLB's architecture, through a real worker and gateway."""

import asyncio
import importlib.util
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import tiny_translator
from gateway import Gate, config, on_uvloop, request, running_gateway, short_folder

from rolecast import backends, sources
from rolecast.backends.ctranslate2 import CTranslate2, Options
from rolecast.backends.ctranslate2_text import loops
from rolecast.backends.ctranslate2_worker import END, Pair, Translator, Worker
from rolecast.config.check import check
from rolecast.config.schema import Config, Model, Routing
from rolecast.config.source import parse
from rolecast.errors import SourceError
from rolecast.readiness import hindrances
from rolecast.values import Launch, Listen

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_translator.write(tmp_path_factory.mktemp("nllb")).parent


@pytest.fixture(scope="module")
def translator(folder: Path) -> Translator:
    return Translator(Options("tiny", "", str(folder), "int8", threads=1, parallel=1, gpu=False))


@pytest.fixture(scope="module")
async def gate(folder: Path) -> AsyncIterator[Gate]:
    with short_folder() as place:
        made = config({"nllb": Model(source=f"file:{folder}", backend="ctranslate2", capabilities=["chat"], threads=1)})
        made = msgspec.structs.replace(made, roles={"translation": ["nllb"]}, routing=Routing(default="nllb"))
        async with running_gateway(made, Path(place)) as gate:
            yield gate


async def translate(gate: Gate, **body: Any) -> Any:
    answer = await gate.ask(request(body, path="/translate"))
    assert answer.status == 200, answer.body
    return answer.json


SORRY = ["▁I", "'m", "▁sorry", ",", "▁but"]


@pytest.mark.parametrize(
    ("said", "source", "is_loop"),
    [
        (SORRY * 6, ["▁a", "▁b"], True),
        (SORRY * 6 + SORRY[:3], ["a"], True),  # cut within a turn
        (["\u2581Well", *["\u2581so"] * 9], ["a"], True),
        (SORRY * 6, ["x", "y"] * 6, False),  # so does the text itself
        (SORRY * 2 + ["."], ["a"], False),
        (["\u2581ha"] * 5, ["a"], False),
        ([], [], False),
    ],
)
def test_a_translation_that_goes_round_in_circles_is_seen(said: list[str], source: list[str], is_loop: bool) -> None:
    assert loops(said, source) is is_loop


def test_what_goes_round_in_circles_is_made_once_more_and_only_that(
    translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, dict[str, Any]]] = []

    class Circling:
        def translate_batch(self, source: Any, **options: Any) -> Any:
            asked.append((len(source), options))
            firm = "no_repeat_ngram_size" in options
            says = [SORRY if firm or "good" in each else SORRY * 7 for each in source]
            return [type("Result", (), {"hypotheses": [["spa_Latn", *each]]})() for each in says]

    monkeypatch.setattr(translator, "_model", Circling())
    found = translator.translate([["good"], ["bad"], ["good"]], Pair("eng_Latn", "spa_Latn"), 100, 1.0)
    assert found == [SORRY] * 3
    assert [count for count, _ in asked] == [3, 1]
    assert asked[1][1]["repetition_penalty"] > asked[0][1]["repetition_penalty"] == 1.0


def test_the_engine_is_asked_as_nllb_was_trained(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Source: its language, the pieces, the end. Translation: begins with its own language."""
    seen: dict[str, Any] = {}
    real = translator._model.translate_batch

    class Spy:
        def translate_batch(self, source: Any, **options: Any) -> Any:
            seen.update({} if seen else {"source": source, **options})  # this model's own is a loop, and made again
            return real(source, **options)

    monkeypatch.setattr(translator, "_model", Spy())
    pieces = translator.tokens("hello world")
    first = translator.translate([pieces], Pair("eng_Latn", "spa_Latn"), 50, 1.1)
    assert seen["source"] == [["eng_Latn", *pieces, END]]
    assert seen["target_prefix"] == [["spa_Latn"]]
    assert (seen["beam_size"], seen["repetition_penalty"]) == (4, 1.1)
    assert first == translator.translate([pieces], Pair("eng_Latn", "spa_Latn"), 50, 1.1)
    assert first != translator.translate([pieces], Pair("eng_Latn", "deu_Latn"), 50, 1.1)


async def test_a_translation_keeps_lines_and_placeholders_and_says_who_made_it(gate: Gate) -> None:
    text = "# hello world\n\n- the {name} dog\n- one two three %s\n\n```\nhello {x}\n```\n"
    reply = await translate(gate, prompt=text, source_lang="en", target_lang="german")
    meta = reply["metadata"]
    assert (meta["engine"], meta["source_lang"], meta["target_lang"]) == ("nllb", "eng_Latn", "deu_Latn")
    assert meta["placeholders_ok"] is True
    lines = reply["response"].split("\n")
    assert [line[:2] for line in lines] == ["# ", "", "- ", "- ", "", "``", "he", "``", ""]
    assert "{name}" in lines[2]
    assert "%s" in lines[3]
    assert "```\nhello {x}\n```\n" in reply["response"]
    assert reply["tokens_generated"] > 0
    assert reply["model"] == "nllb"


async def test_the_same_twice_is_the_same(gate: Gate) -> None:
    body = {"prompt": "hello world how are you", "source_lang": "en", "target_lang": "fr"}
    assert (await translate(gate, **body))["response"] == (await translate(gate, **body))["response"]


async def test_a_batch_of_a_hundred_and_a_stream(gate: Gate) -> None:
    texts = [f"one two {number}" for number in range(100)]
    reply = await translate(gate, texts=texts, source_lang="en", target_lang="fr")
    assert len(reply["metadata"]["translations"]) == 100
    body = {"prompt": "hello world. one two three", "category": "translation", "stream": True, "source_lang": "en"}
    answer = await gate.ask(request(body, path="/generate/stream"))
    events = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line]
    assert events[-1]["metadata"]["engine"] == "nllb"
    assert "".join(each.get("chunk", "") for each in events)


@pytest.mark.parametrize(
    ("body", "param", "shown"),
    [
        ({"target_lang": "latin"}, "target_lang", "Latin"),
        ({"source_lang": "breton", "target_lang": "fr"}, "source_lang", "Breton"),
    ],
)
async def test_a_language_that_nllb_does_not_know_is_a_clear_error(
    gate: Gate, body: dict[str, Any], param: str, shown: str
) -> None:
    answer = await gate.ask(request({"prompt": "hello"} | body, path="/translate"))
    assert (answer.status, answer.error["param"], answer.error["code"]) == (422, param, "unsupported_language")
    assert shown in answer.error["message"]
    assert "nllb" in answer.error["message"]


async def test_a_language_that_this_model_has_no_token_for_is_the_clients_mistake(gate: Gate) -> None:
    answer = await gate.ask(request({"prompt": "hello", "source_lang": "en", "target_lang": "zulu"}, path="/translate"))
    assert answer.status == 400
    assert "zul_Latn" in answer.error["message"]


async def test_a_text_that_tells_no_language_is_taken_for_english(gate: Gate) -> None:
    reply = await translate(gate, prompt="xq zzt", target_lang="fr")
    assert (reply["metadata"]["source_lang"], reply["metadata"]["source_detected"]) == ("eng_Latn", True)


async def test_options_that_it_cannot_heed_are_told(gate: Gate) -> None:
    reply = await translate(gate, prompt="hello", source_lang="en", formal_register=True)
    assert reply["metadata"]["without_effect"] == ["formal_register"]


async def test_a_plain_chat_is_told_what_the_model_is_for(gate: Gate) -> None:
    body = {"model": "nllb", "messages": [{"role": "user", "content": "secret words"}]}
    answer = await gate.ask(request(body))
    assert answer.status == 400
    assert "translation" in answer.error["message"]
    assert "secret" not in answer.error["message"]
    said = await gate.ask(request(body | {"translation": {"source": "eng_Latn", "target": "spa_Latn"}}))
    assert said.status == 200
    assert said.json["usage"]["completion_tokens"] > 0
    odd = await gate.ask(request(body | {"translation": {"source": "eng_Latn", "target": "secret"}}))
    assert odd.status == 400
    assert "secret" not in odd.error["message"]


async def test_a_limit_cuts_and_says_so(gate: Gate) -> None:
    pair = {"source": "eng_Latn", "target": "spa_Latn"}
    body = {"model": "nllb", "messages": [{"role": "user", "content": "one two. " * 50}], "translation": pair}
    answer = await gate.ask(request(body | {"max_tokens": 3}))
    assert answer.json["choices"][0]["finish_reason"] == "length"
    assert answer.json["usage"]["completion_tokens"] < 3 * 2


@pytest.mark.parametrize("text", ["One two. " * 4000, "one two " * 40_000])
async def test_a_client_that_leaves_stops_the_work_after_a_batch(
    folder: Path, translator: Translator, text: str
) -> None:
    begun, calls = asyncio.Event(), list[int]()
    loop = asyncio.get_running_loop()

    class Slow:
        codes, tokens, text = translator.codes, translator.tokens, translator.text

        def translate(self, batch: Any, *_: Any) -> Any:
            calls.append(len(batch))
            loop.call_soon_threadsafe(begun.set)
            time.sleep(0.02)
            return batch

    pair = {"source": "eng_Latn", "target": "spa_Latn"}
    body = {"messages": [{"role": "user", "content": text}], "translation": pair, "stream": True}
    arrived = [{"type": "http.request", "body": json.dumps(body).encode()}]

    async def receive() -> Any:
        if arrived:
            return arrived.pop()
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        return

    worker = Worker(Options("tiny", "", str(folder), "int8", 1, 1, gpu=False), cast("Translator", Slow()))
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [], "query_string": b""}
    async with asyncio.timeout(10):
        await worker.app(scope, receive, send)
    done = len(calls)
    await asyncio.sleep(0.2)
    assert set(calls) == {8}
    assert len(calls) == done < 10  # of hundreds, or of dozens


# -- plans and weights -----------------------------------------------------------------------------------


def planned(folder: Path, **fields: Any) -> Options:
    model = Model(source=f"file:{folder}", backend="ctranslate2", capabilities=["chat"], **fields)
    plan = CTranslate2().plan("t", model, folder / "model.bin", Listen("w.sock"))
    assert isinstance(plan, Launch)
    return msgspec.json.decode(plan.argv[-1], type=Options)


@pytest.mark.parametrize(
    ("said", "compute"),
    [("", "int8"), ("8-bit", "int8"), ("FP16", "float16"), ("FP32", "float32"), ("4-bit", "int8"), ("odd", "int8")],
)
def test_precision_is_the_engines_type(folder: Path, said: str, compute: str) -> None:
    assert planned(folder, quantization=said).compute == compute


@pytest.mark.parametrize("compute", ["int8", "float16", "bfloat16", "float32"])
def test_a_type_that_the_machine_lacks_is_no_failure(folder: Path, compute: str) -> None:
    made = Translator(Options("tiny", "", str(folder), compute, threads=1, parallel=1, gpu=False))
    assert made.translate([made.tokens("hello")], Pair("eng_Latn", "spa_Latn"), 9, 1.0)[0]


def test_threads_and_devices_are_the_models(folder: Path) -> None:
    assert planned(folder, threads=3, gpu_layers=0).threads == 3
    assert planned(folder, gpu_layers=0).gpu is False
    assert planned(folder).gpu is True


@pytest.mark.parametrize("lost", ["sentencepiece.bpe.model", "shared_vocabulary.json"])
def test_a_folder_that_lacks_a_file_is_refused_with_its_name(tmp_path: Path, folder: Path, lost: str) -> None:
    for each in folder.iterdir():
        if each.name != lost:
            (tmp_path / each.name).write_bytes(each.read_bytes())
    model = Model(source=f"file:{tmp_path}", backend="ctranslate2", capabilities=["chat"])
    assert any(lost in line for line in hindrances(Config(models={"t": model}), model))
    with pytest.raises(SourceError, match=lost):
        CTranslate2().plan("t", model, tmp_path / "model.bin", Listen())


def test_a_whole_folder_has_nothing_in_its_way(folder: Path) -> None:
    model = Model(source=f"file:{folder}", backend="ctranslate2", capabilities=["chat"])
    made = Config(models={"t": model}, routing=Routing(default="t"))
    assert hindrances(made, model) == []
    assert [text for trail, text in check(made, backends.table()) if trail[:1] == ("models",)] == []
    assert sources.locate(parse(model.source), folder) == folder / "model.bin"


def test_weights_of_another_engine_are_refused_both_ways(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(SourceError, match="no model for ctranslate2"):
        CTranslate2().plan("t", Model(), tmp_path / "x.gguf", Listen())
    gguf = Model(source=f"file:{folder}/model.bin")
    assert any("source" in line for line in hindrances(Config(models={"t": gguf}), gguf))


@pytest.mark.skipif(importlib.util.find_spec("ctranslate2") is None, reason="the engine is not installed")
def test_an_engine_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CTranslate2().missing(Model()) is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "rolecast[translation]" in str(CTranslate2().missing(Model()))
