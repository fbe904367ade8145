"""Avatar SLM's document, as it is typed: from a graph to a model that talks, over a tiny random base."""

import asyncio
import contextlib
import json
import os
import random
import runpy
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import avatar_slm_document as document
import msgspec
import pytest
from bolt_server import BoltServer, bolt_server
from heavy import lazy, needs

from rolecast.avatars import example
from rolecast.avatars.conversation import Chat, Message, Person
from rolecast.avatars.documented import folder
from rolecast.avatars.documented.engine import BatchInferenceEngine, InferenceConfig, SLMInferenceEngine
from rolecast.avatars.documented.shape import SLMConfig, create_model
from rolecast.avatars.documented.trainer import SLMTrainer, TrainingConfig
from rolecast.avatars.documented.utils import profile_model
from rolecast.errors import Invalid

needs("torch", "transformers", "peft", "gguf", "neo4j", "arcadedb_embedded")
torch = lazy("torch")
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
    pytest.mark.xdist_group("avatar_documented"),  # all of it is made once
]

ROOT = Path(__file__).parents[2]
ASKED = ["how are you", "what do we eat", "do you come on friday", "where is the cat", "is it raining", "who called"]
SAID = ["great, matey", "fish and chips", "aye, on friday", "under the table", "it pours, bring a coat", "my aunt did"]
WORDS = """
    garden river window morning music kitchen bread summer winter letter story table coffee water
    street train house school paper picture money number answer question weather evening dinner game
"""
SHAPE = SLMConfig(vocab_size=420, embedding_dim=64, hidden_dim=96, num_heads=4, num_layers=2)


class Told:
    def progress(self, done: int, total: int) -> None:
        pass

    def skipped(self, where: str, why: str) -> None:
        raise AssertionError((where, why))


def conversation() -> Iterator[Any]:
    """John and Ann, in three chats. No two of his replies are alike, or most would be left out."""
    chance = random.Random(5)
    words = WORDS.split()
    yield Person("j", "John Doe")
    yield Person("a", "Ann")
    for chat in range(3):
        yield Chat(f"c{chat}", f"Chat {chat}")
    for n in range(96):
        about = chance.randrange(len(ASKED))
        extra = " ".join(chance.sample(words, 3))
        text = f"{ASKED[about]} {extra}?" if n % 2 == 0 else f"{SAID[about]} {extra}!"
        yield Message(f"m{n}", f"c{n // 32}", "ja"[n % 2 == 0], text, at=1_700_000_000 + n * 60 + n // 32 * 90_000)


async def fill(server: BoltServer) -> None:
    from rolecast.avatars.sources.neo4j import Neo4jGraph

    async with Neo4jGraph(server.uri, server.user, server.password, server.database) as graph:
        await graph.bring(conversation(), Told())


def tiny_base(into: Path) -> Path:
    """A GGUF with random weights, and answers of it as if it had been asked already."""
    from rolecast.avatars.export import base, gguf, writing
    from rolecast.avatars.training import rehearsal, scratch

    size = scratch.tokenizer(into, [*ASKED, *SAID], SHAPE.vocab_size)
    torch.manual_seed(1)
    create_model(SHAPE, size).save_pretrained(into)
    model = gguf.whole(into, None, None, "Tiny")
    made = writing.Model(model.name, "apache-2.0", model.shape, model.words, model.tensors)
    writing.write(into / "tiny.gguf", made, "f16")
    answers = (rehearsal.Answer(each, "A short answer.") for each in rehearsal.questions())
    cache = base.prepared(into / "tiny.gguf").folder / rehearsal.CACHE
    cache.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in answers))
    return into / "tiny.gguf"


def typed(snippet: str, names: dict[str, Any], **spelled: str) -> dict[str, Any]:
    """Run a snippet as somebody types it; `spelled` are addresses and logins of this machine."""
    for old, new in spelled.items():
        snippet = snippet.replace(old, new)
    exec(compile(snippet, "document", "exec"), names)
    return names


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, BoltServer]]:
    """A folder to work in, a graph, a base; the documented variables say where the graph is."""
    here = tmp_path_factory.mktemp("documented")
    with pytest.MonkeyPatch.context() as patch, bolt_server() as server:
        asyncio.run(fill(server))
        patch.chdir(here)
        patch.syspath_prepend(str(ROOT))
        patch.setenv("ROLECAST_HOME", str(here / "home"))
        for name, value in (("URI", server.uri), ("USERNAME", server.user), ("PASSWORD", server.password)):
            patch.setenv(f"NEO4J_{name}", value)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        (here / "base").mkdir()
        patch.setenv("ROLECAST_AVATARS__BASE", str(tiny_base(here / "base")))
        yield here, server
        torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def home(place: tuple[Path, BoltServer], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a home of its own; here all have the one with the base."""
    monkeypatch.setenv("ROLECAST_HOME", str(place[0] / "home"))


@pytest.fixture(scope="module")
def names(place: tuple[Path, BoltServer]) -> dict[str, Any]:
    """What a reader has after the first two snippets."""
    server = place[1]
    login = {'"neo4j"': f'"{server.user}"', '"password"': f'"{server.password}"'}
    # its databases have names of their own; the documented class asks for `neo4j`
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rolecast.avatars.documented.extractor.ExtractionConfig.neo4j_database", server.database)
        patch.setattr(
            "rolecast.avatars.documented.extractor.ExtractionConfig.__init__.__defaults__",
            (*_defaults()[:-1], server.database),
        )
        found = typed(document.EXTRACT, {}, **{"bolt://localhost:7687": server.uri}, **login)
    return typed(document.TRAIN, found)


def _defaults() -> tuple[Any, ...]:
    from rolecast.avatars.documented.extractor import ExtractionConfig

    return ExtractionConfig.__init__.__defaults__ or ()


def engine(**said: Any) -> SLMInferenceEngine:
    return SLMInferenceEngine(InferenceConfig("models/john_avatar", **{"seed": 7, "max_length": 24, **said}))


# -- the document -----------------------------------------------------------------------------------------------------


def test_the_documented_snippets_extract_and_train(names: dict[str, Any]) -> None:
    assert (names["data_path"], names["model_path"]) == ("data/extracted/john_doe.jsonl", "models/john_avatar")
    assert {each.speaker_name for each in example.read(Path(names["data_path"]))} == {"John Doe"}
    model = Path(names["model_path"])
    there = {each.name for each in model.iterdir()}
    assert there >= {"config.json", "best_model", "final_model", "training_history.json", "dataset"}
    assert any(each.startswith("checkpoint_") for each in there)
    history = json.loads((model / "training_history.json").read_text())
    assert len(history) == 10
    assert set(history[0]) >= {"epoch", "train_loss", "val_loss", "learning_rate", "timestamp"}
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    metrics = names["trainer"].get_final_metrics()
    assert 0 < metrics["loss"] <= metrics["initial_val_loss"]
    card = json.loads((model / "config.json").read_text())
    assert (card["framework"], card["person_name"], card["max_length"]) == ("pytorch", "John Doe", 512)
    assert card["training_examples"] > 20
    assert all(each.stat().st_mode & 0o077 == 0 for each in (model, model / "dataset", model / "config.json"))


def test_the_documented_snippets_generate_and_talk(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    found = typed(document.INFER, {})
    told = capsys.readouterr().out
    assert isinstance(found["response"], str)
    talked, answered = found["engine"].conversation_history
    assert (talked["content"], answered["content"]) == ("Tell me about your day", told)
    typed(document.CACHE, found)
    found["prompts"], found["prompt"] = ["where is the cat", "who called"], "is it raining"
    found["config"].max_length = 8
    typed(document.BATCH, found)
    assert [type(each) for each in found["responses"]] == [str, str]
    typed(document.STREAM, found)
    assert capsys.readouterr().out


def test_the_documented_snippets_profile(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    before = {each: each.stat().st_mtime_ns for each in Path("models/john_avatar").rglob("*")}
    with engine(max_length=2) as mine:
        few = replace(names["trainer"].config, batch_size=1)
        typed(document.PROFILE, {"trainer": SLMTrainer(few), "engine": mine})
    told = capsys.readouterr().out
    assert "training: 100 steps" in told
    assert "inference: 50 generations" in told
    assert {each: each.stat().st_mtime_ns for each in Path("models/john_avatar").rglob("*")} == before
    with pytest.raises(Invalid, match="can be profiled"):
        profile_model("models/john_avatar")  # type: ignore[arg-type]


def test_the_documented_pipeline_and_commands_run(
    names: dict[str, Any],
    place: tuple[Path, BoltServer],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing but the number of epochs, the length of replies and the name of the database is another."""
    from rolecast.avatars.documented import configuration

    short = {name: dict(section) for name, section in configuration.DEFAULTS.items()}
    short["neo4j"]["database"] = place[1].database
    short["training"] |= {"epochs": 1}
    short["inference"] |= {"max_length": 6}
    monkeypatch.setattr(configuration, "DEFAULTS", short)
    lines = iter(["hello", "clear", "quit", "who called", "QUIT", "hi"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    monkeypatch.setattr(sys, "argv", sys.argv)
    # the chat's function has its default already
    monkeypatch.setattr(
        "rolecast.avatars.documented.pipeline.AvatarSLMPipeline.chat_demo.__defaults__", (lambda prompt: next(lines),)
    )
    found = typed(document.PIPELINE, {})
    assert found["data_path"] == "data/extracted/john_doe.jsonl"
    assert found["model_path"] == "models/john_doe_avatar"
    assert "Forgotten." in capsys.readouterr().out
    for command in (document.COMMANDS[0], document.COMMANDS[2], document.COMMANDS[4]):
        lines = iter(["hi", "quit"])
        _, script, *arguments = shlex.split(command)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        assert ended.value.code == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "John Doe's avatar" in told
    assert "In the mean" in told


# -- what an answer depends on ----------------------------------------------------------------------------------------


def test_what_is_streamed_is_what_is_told_at_once(names: dict[str, Any]) -> None:
    with engine() as mine:
        whole = mine.generate("where is the cat")
        assert isinstance(whole, str)
        assert "".join(mine.generate("where is the cat", stream=True)) == whole != ""
        streamed = list(mine.chat("where is the cat", stream=True))
        mine.clear_conversation()
        [told] = mine.chat("where is the cat", stream=False)
        assert "".join(streamed) == told == whole
        assert mine.generate("where is the cat", 3) != whole


def test_the_same_seed_gives_the_same_text_and_no_temperature_the_likeliest(names: dict[str, Any]) -> None:
    def text(**said: Any) -> str:
        with engine(**said) as mine:
            return mine.generate("who called")

    assert text() == text()
    assert len({text(seed=n, temperature=1.5, top_k=0, top_p=1.0) for n in range(4)}) > 1
    greedy = {text(temperature=0, seed=n) for n in (None, 1, 2)}
    assert len(greedy) == 1
    assert {text(top_k=1, repetition_penalty=1.1, seed=n) for n in (1, 2)} == greedy
    assert {text(top_p=1e-9, seed=n) for n in (1, 2)} == greedy


def test_what_was_said_matters_until_it_is_cleared(names: dict[str, Any], tmp_path: Path) -> None:
    with engine(temperature=0) as mine:
        asked = [*mine._fitting(mine._open(), (), "hi", None, 8)]
        first = "".join(mine.chat("how are you"))
        list(mine.chat("what do we eat"))
        prompt = mine._fitting(mine._open(), tuple(mine._turns), "hi", None, 8)
        assert [each["role"] for each in prompt] == ["system", *["user", "assistant"] * 2, "user"]
        assert prompt[2]["content"] == first
        mine.save_conversation(tmp_path / "kept.json")
        mine.clear_conversation()
        assert mine.conversation_history == []
        assert mine._fitting(mine._open(), (), "hi", None, 8) == asked
        assert asked[0] == {"role": "system", "content": "You are John Doe."}
        mine.load_conversation(tmp_path / "kept.json")
        assert mine._fitting(mine._open(), tuple(mine._turns), "hi", None, 8) == prompt
        logits = [_logits(mine, each) for each in (asked, prompt)]
    assert not torch.equal(*logits)


def _logits(mine: SLMInferenceEngine, messages: Any) -> Any:
    using: Any = mine._voice
    ids = using._engine.encode(using._written(messages))
    with torch.inference_mode():
        return using._engine._side._model(input_ids=torch.tensor([ids])).logits[0, -1]


def test_a_batch_is_one_by_one_and_ten_sessions_do_not_mix(names: dict[str, Any]) -> None:
    prompts = [f"{each} please" for each in ASKED]
    config = InferenceConfig("models/john_avatar", seed=3, max_length=8, batch_size=3)
    with engine(seed=3, max_length=8) as alone:
        expected = [alone.generate(each) for each in prompts]
        assert BatchInferenceEngine(config).process_batch(prompts, show_progress=True) == expected
        sessions = [SLMInferenceEngine(replace(config, batch_size=1)) for _ in range(10)]
        assert len({id(each._voice) for each in sessions}) == 1
        said = [each.chat(prompts[n % 6], stream=True) for n, each in enumerate(sessions)]
        heard: list[list[str]] = [[] for _ in sessions]
        going = set(range(10))
        while going:  # a piece each, in turns
            for n in sorted(going):
                with contextlib.suppress(StopIteration):
                    heard[n].append(next(said[n]))
                    continue
                going.discard(n)
        assert ["".join(each) for each in heard] == [expected[n % 6] for n in range(10)]
        assert [each.conversation_history[0]["content"] for each in sessions] == [prompts[n % 6] for n in range(10)]
    with pytest.raises(Invalid, match="Prompt 2 is empty"):
        BatchInferenceEngine(config).process_batch(["a", " "])


def test_nobody_ends_a_turn_by_writing_so(names: dict[str, Any]) -> None:
    with engine() as mine:
        assert mine.generate("hi<eos><speaker2>no") == mine.generate("hino")


# -- from nothing, and what is trained again --------------------------------------------------------------------------


def test_a_model_from_nothing_has_the_documented_shape_and_is_loaded_to_the_same_logits(
    names: dict[str, Any], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    config = TrainingConfig("scratch", names["data_path"], tmp_path, 2, learning_rate=5e-3, use_mixed_precision=False)
    shape = replace(SHAPE, vocab_size=300)
    trainer = SLMTrainer(shape, None, config)
    path = Path(trainer.train())
    metrics = trainer.get_final_metrics()
    assert metrics["val_loss"] < metrics["initial_val_loss"]
    said = json.loads((path / "best_model" / "config.json").read_text())
    assert [said[each] for each in ("hidden_size", "intermediate_size", "num_hidden_layers")] == [64, 96, 2]
    words = json.loads((path / "best_model" / "tokenizer.json").read_text())["model"]["vocab"]
    assert [words[each] for each in ("<pad>", "<unk>", "<bos>", "<eos>", "<relationship>")] == [0, 1, 2, 3, 8]
    with SLMInferenceEngine(InferenceConfig(path)) as mine:
        ours = _logits(mine, [{"role": "user", "content": "hi"}])
        using: Any = mine._voice
        ids = using._engine.encode(using._written([{"role": "user", "content": "hi"}]))
    theirs = AutoModelForCausalLM.from_pretrained(path / "best_model")
    with torch.inference_mode():
        assert torch.equal(theirs(input_ids=torch.tensor([ids])).logits[0, -1], ours)
    again = SLMTrainer(shape, None, config)
    steps = (path / "training_history.json").read_text()
    assert again.train() == str(path)  # it is done already: nothing changes
    assert (path / "training_history.json").read_text() == steps
    pytest.importorskip("xllamacpp")
    with SLMInferenceEngine(InferenceConfig(trainer.export_gguf("f32"), temperature=0, max_length=8)) as quick:
        assert quick.card.person_name == "John Doe"
        with SLMInferenceEngine(InferenceConfig(path, temperature=0, max_length=8)) as slow:
            assert quick.generate("where is the cat") == slow.generate("where is the cat")
    kept = trainer.save_checkpoint(tmp_path / "kept")
    with SLMInferenceEngine(InferenceConfig(kept)) as copy:
        assert torch.equal(_logits(copy, [{"role": "user", "content": "hi"}]), ours)
        assert copy.card.person_name == "John Doe"
    assert SLMConfig().parameters == 50_772_480


def test_a_model_of_the_persons_own_is_trained_over(names: dict[str, Any], place: tuple[Path, BoltServer]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = place[0] / "base"
    model, words = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    config = TrainingConfig("own", names["data_path"], num_epochs=1, rehearsal=0, use_mixed_precision=False)
    trainer = SLMTrainer(model, words, config)
    learnt, held = trainer.prepare_dataset()
    assert len(learnt) > len(held)
    path = trainer.train()
    with SLMInferenceEngine(InferenceConfig(path, max_length=4)) as mine:
        assert isinstance(mine.generate("hi"), str)


def test_a_base_that_is_not_here_is_told(names: dict[str, Any], tmp_path: Path) -> None:
    weights = tmp_path / "lost"
    weights.mkdir()
    (weights / "adapter_model.safetensors").write_bytes(b"")
    for said in ({}, {"digest": "../../etc"}, {"hf": "/etc"}):
        (weights / "base.json").write_text(json.dumps(said))
        with pytest.raises(Invalid, match="does not say over which base"):
            folder.base_of(weights)
    (weights / "base.json").write_text(json.dumps({"digest": "0123456789abcdef"}))
    with pytest.raises(Invalid, match="is not here"):
        folder.base_of(weights)


def test_without_mlx_it_says_so_once(names: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """The first training of this process told it."""
    if sys.platform == "darwin":
        pytest.skip("MLX may be here")
    config = TrainingConfig("none", "no.jsonl")
    with pytest.raises(Invalid, match="extract conversations first"):
        SLMTrainer(config).train()
    assert "MLX" not in caplog.text
    assert os.environ["NEO4J_URI"].startswith("bolt://")
