"""Avatar SLM's programs, configuration and conversations: all that needs no model."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import avatar_slm_document as document
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.avatars.documented import configuration, folder, memory, program, said, samples
from rolecast.avatars.documented.chat import Chat
from rolecast.avatars.documented.chat import main as chat_main
from rolecast.avatars.documented.engine import BatchInferenceEngine, InferenceConfig, SLMInferenceEngine
from rolecast.avatars.documented.pipeline import AvatarSLMPipeline
from rolecast.avatars.documented.trainer import SLMTrainer, TrainingConfig
from rolecast.errors import Invalid

ROOT = Path(__file__).parents[2]
SCRIPT = "examples/slm/slm_pipeline_example.py"
TEXTS = ["The cat is under the table.", "Fish and chips, as ever!", "No.", "I come on friday, bring the dog"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in configuration.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def model(name: str = "john", models: str = "slm_models", texts: Any = TEXTS) -> Path:
    """A model of the framework `fallback`."""
    made = Path(models) / name
    made.mkdir(parents=True)
    about = {"framework": "fallback", "person_name": name.title(), "training_examples": 4, "max_length": 64, "new": 1}
    (made / "config.json").write_text(json.dumps(about))
    (made / "samples.json").write_text(json.dumps(texts))
    return made


def lines(*said: str) -> Callable[[str], str]:
    """Somebody who types these lines and then ends the input."""
    left = list(said)

    def ask(prompt: str) -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    return ask


# -- config.json ------------------------------------------------------------------------------------------------------


def test_the_documented_configuration_is_read_as_it_is(here: Path) -> None:
    (here / "config.json").write_text(document.CONFIG)
    config = configuration.read("config.json", {})
    extraction = configuration.extraction(config)
    assert (extraction.neo4j_uri, extraction.neo4j_user, extraction.neo4j_password) == (
        "bolt://localhost:7687",
        "neo4j",
        "password",
    )
    assert extraction.date_range == {"start": "2023-01-01", "end": "2024-12-31"}
    training = configuration.training(config, "x.jsonl", "avatar_slm")
    assert (training.num_epochs, training.gradient_accumulation_steps, training.warmup_steps) == (10, 4, 100)
    inference = configuration.inference(config, "models/x")
    assert (inference.temperature, inference.top_k, inference.max_length) == (0.8, 50, 512)
    assert AvatarSLMPipeline("config.json")._name(Path("data/extracted/john_doe.jsonl")) == "avatar_slm"
    assert AvatarSLMPipeline()._name(Path("data/extracted/john_doe.jsonl")) == "john_doe_avatar"


def test_a_file_is_merged_over_the_defaults_and_variables_go_before_it(here: Path) -> None:
    (here / "c.json").write_text(json.dumps({"neo4j": {"uri": "bolt://file"}, "training": {"method": "scratch"}}))
    config = configuration.read("c.json", {"NEO4J_URI": "bolt://env", "NEO4J_PASSWORD": "p"})
    extraction = configuration.extraction(config)
    assert (extraction.neo4j_uri, extraction.neo4j_user, extraction.neo4j_password) == ("bolt://env", "neo4j", "p")
    assert configuration.read("c.json", {})["neo4j"]["uri"] == "bolt://file"
    assert configuration.training(config, "x", "y").method == "scratch"
    assert "method" not in configuration.DEFAULTS["training"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nothing", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "must be an object"),
        ('{"train": {}}', "`train` is no section"),
        ('{"training": 3}', "`training` is no section"),
        ('{"training": {"epoch": 3}}', "`training.epoch` is no setting"),
        ('{"training": {"batch_size": "many"}}', "`training.batch_size` is 'many'"),
        ('{"training": {"method": "magic"}}', "`training.method` is 'magic'"),
        ('{"training": {"epochs": -1}}', "cannot be as it is told"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_told_with_its_setting(here: Path, text: str, why: str) -> None:
    (here / "c.json").write_text(text)
    with pytest.raises(Invalid, match=why):
        configuration.training(configuration.read("c.json", {}), "x", "y").settings()
    with pytest.raises(Invalid, match="cannot be read"):
        configuration.read("none.json", {})


def test_the_documented_classes_have_the_documented_fields_and_defaults() -> None:
    training = TrainingConfig("a", "b")
    assert vars(training) | {
        "output_dir": "models",
        "num_epochs": 10,
        "batch_size": 16,
        "learning_rate": 5e-5,
        "warmup_steps": 100,
        "max_sequence_length": 512,
        "use_mlx": True,
    } == vars(training)
    inference = InferenceConfig("m")
    assert vars(inference) | {
        "max_length": 512,
        "temperature": 0.7,
        "top_k": 40,
        "top_p": 0.95,
        "repetition_penalty": 1.1,
        "use_cache": True,
        "stream": True,
        "batch_size": 1,
    } == vars(inference)
    settings = training.settings()
    assert (settings.method, settings.learning_rate, settings.precision) == ("lora", pytest.approx(1e-3), "auto")
    training.use_mixed_precision, training.method = False, "scratch"
    settings = training.settings()
    assert (settings.learning_rate, settings.precision, settings.vocabulary) == (5e-5, "fp32", 50_000)
    assert TrainingConfig("a", "b").dataset().most == 600
    assert training.dataset().most == 0


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", "a\0b", "/etc"])
def test_the_name_of_a_model_leads_nowhere_else(name: str) -> None:
    with pytest.raises(Invalid, match="is no name of a model"):
        SLMTrainer(TrainingConfig(name, "x")).config.folder  # noqa: B018
    with pytest.raises(Invalid, match="made of a TrainingConfig"):
        SLMTrainer("model", "tokenizer", "config")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="not trained yet"):
        SLMTrainer(TrainingConfig("fine", "x")).get_final_metrics()


# -- the memory of a conversation -------------------------------------------------------------------------------------

TURNS = st.lists(st.builds(memory.Turn, st.text(min_size=1), st.text(min_size=1), st.just("t"), st.just("t")))


def _count(messages: list[memory.Message]) -> int:
    return sum(3 + len(each["content"]) for each in messages)


@given(TURNS, st.text(min_size=1, max_size=20), st.integers(30, 200))
def test_oldest_turns_are_left_out_whole_and_no_more_than_need_be(
    turns: list[memory.Turn], message: str, most: int
) -> None:
    found = memory.fitting("be", turns, message, most, _count)
    assert _count(found) <= most
    assert (found[0]["role"], found[-1]) == ("system", {"role": "user", "content": message})
    kept = (len(found) - 2) // 2
    assert found[1:-1] == [each for turn in turns[len(turns) - kept :] for each in turn.messages()]
    if kept < len(turns):
        more = turns[len(turns) - kept - 1].messages()
        assert _count([found[0], *more, *found[1:]]) > most


def test_a_message_that_is_too_long_is_told() -> None:
    with pytest.raises(Invalid, match="The message has 28 tokens"):
        memory.fitting("", [], "x" * 25, 20, _count)


def test_a_conversation_is_kept_and_read_again_and_what_is_none_changes_nothing(here: Path) -> None:
    mine = SLMInferenceEngine(InferenceConfig(model(), seed=1))
    list(mine.chat("where is the cat"))
    list(mine.chat("🙂 é"))
    said = mine.conversation_history
    path = mine.save_conversation("logs/a.json")
    assert Path(path).stat().st_mode & 0o077 == 0
    kept = json.loads(Path(path).read_text())
    assert (kept["model"], len(kept["messages"])) == ("john", 4)
    assert set(kept["messages"][0]) == {"role", "content", "timestamp"}
    assert kept["session_start"] <= kept["session_end"]
    mine.clear_conversation()
    mine.load_conversation(path)
    assert mine.conversation_history == said
    for wrong in ("[", "{}", '[{"role": "robot", "content": "x"}]', '[{"role": "user"}]', "[1]", '"' + "a" * 9):
        Path("wrong.json").write_text(wrong)
        with pytest.raises(Invalid):
            mine.load_conversation("wrong.json")
    with pytest.raises(Invalid, match="cannot be read"):
        mine.load_conversation("none.json")
    with pytest.raises(Invalid, match="cannot be written"):
        mine.save_conversation(here)
    assert mine.conversation_history == said
    Path("list.json").write_text(
        json.dumps(
            [
                {"role": r, "content": c}
                for r, c in (("system", "s"), ("user", "a"), ("user", "b"), ("assistant", "c"), ("user", "d"))
            ]
        )
    )
    mine.load_conversation("list.json")
    assert [each["content"] for each in mine.conversation_history] == ["a\nb", "c"]


# -- without a model --------------------------------------------------------------------------------------------------


def test_a_model_of_samples_answers_with_what_fits_and_never_needs_torch(here: Path) -> None:
    made = model()
    code = (
        "import sys; from slm.slm_inference_engine import *; "
        f"e = SLMInferenceEngine(InferenceConfig({str(made)!r}, temperature=0)); "
        "print(e.generate('where is my cat?')); print(*e.chat('and the dog?')); "
        "print('torch' in sys.modules, 'numpy' in sys.modules, 'mlx' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout.splitlines()
    assert told[0] == TEXTS[0], done.stderr
    assert told[1].replace(" ", "") == TEXTS[3].replace(" ", "")
    assert told[2] == "False False False"


def test_streamed_samples_are_those_told_at_once_and_the_same_seed_chooses_the_same(here: Path) -> None:
    made = model()
    config = InferenceConfig(made, seed=3)
    first, second = SLMInferenceEngine(config), SLMInferenceEngine(config)
    assert first.generate("hello") == "".join(second.generate("hello", stream=True))
    assert isinstance(first.generate("hello"), str)
    heard = [["".join(each.chat(text)) for text in ("a", "b", "c")] for each in (first, second)]
    assert heard[0] == heard[1]
    assert len(set(heard[0])) == 3  # what was just said is not said again
    prompts = [f"prompt {n}" for n in range(7)]
    batch = BatchInferenceEngine(InferenceConfig(made, seed=3, batch_size=4))
    assert batch.process_batch(prompts) == [first.generate(each) for each in prompts]
    assert len(first.generate("friday dog", 2).split()) <= 2


def test_a_reply_that_is_left_early_is_remembered_as_far_as_it_was_told(here: Path) -> None:
    mine = SLMInferenceEngine(InferenceConfig(model(), temperature=0))
    reply: Any = mine.chat("the cat")
    first = next(reply)
    reply.close()
    assert [each["content"] for each in mine.conversation_history] == ["the cat", first]
    mine.chat("not heard")
    assert len(mine.conversation_history) == 2
    for wrong in ("", " \n"):
        with pytest.raises(Invalid, match="nothing to answer"):
            mine.chat(wrong)
    with pytest.raises(Invalid, match="1 token or more"):
        mine.generate("x", 0)
    mine.close()
    with pytest.raises(Invalid, match="closed"):
        mine.generate("x")


@given(st.lists(st.text(), min_size=1), st.text(), st.floats(0, 2), st.integers())
def test_a_sample_is_always_found(texts: list[str], message: str, temperature: float, seed: int) -> None:
    found = samples.choose(texts, message, texts, temperature, seed)
    assert found in texts
    assert found == samples.choose(texts, message, texts, temperature, seed)


def test_what_is_no_model_is_told_with_what_is_there(here: Path) -> None:
    model()
    with pytest.raises(Invalid, match=r"no model at .*there: john"):
        SLMInferenceEngine(InferenceConfig("slm_models/jon"))
    broken = model("broken", texts={"no": "list"})
    with pytest.raises(Invalid, match="must be a JSON list"):
        SLMInferenceEngine(InferenceConfig(broken))
    (Path("slm_models") / "empty").mkdir()
    with pytest.raises(Invalid, match="its training may not have ended"):
        SLMInferenceEngine(InferenceConfig("slm_models/empty"))
    for wrong in ({"temperature": -1}, {"top_p": 0}, {"top_k": -1}, {"repetition_penalty": 0}):
        with pytest.raises(Invalid):
            SLMInferenceEngine(InferenceConfig("slm_models/john", **wrong))  # type: ignore[arg-type]


def test_a_card_of_another_program_is_passed_over(here: Path) -> None:
    made = model()
    for text, framework in (
        ('{"model_type": "llama"}', ""),
        ("[" * 5000, ""),
        ('{"framework": "mlx", "training_examples": "x"}', "mlx"),
    ):
        (made / "config.json").write_text(text)
        assert folder.card(made).framework == framework
    assert folder.scan(Path("nowhere")) == []


# -- the example program ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["extract"], "--person"),
        (["full"], "--person"),
        (["train"], "--data-path"),
        (["chat"], "--model-path"),
        (["benchmark"], "--model-path"),
        (["dance"], "invalid choice"),
        ([], "command"),
    ],
)
def test_an_argument_that_is_missing_is_named(
    arguments: list[str], missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(arguments)
    assert ended.value.code == 2
    assert missing in capsys.readouterr().err


def test_the_program_runs_by_its_documented_name_from_anywhere(here: Path) -> None:
    model("john_doe_avatar", "models")
    _, script, *arguments = document.COMMANDS[2].split()
    assert script == SCRIPT
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        input="where is the cat?\nclear\nquit\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert any(each.strip(".!") in done.stdout for each in TEXTS)
    assert "Forgotten." in done.stdout
    assert "models/john_doe_avatar is the only model whose name begins alike" in done.stderr


def test_what_goes_wrong_is_a_sentence_and_an_exit_code(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "c.json").write_text('{"neo4j": {"uri": "bolt://127.0.0.1:1"}}')
    for arguments in (
        ["chat", "--model-path", "models/none"],
        ["train", "--data-path", "none.jsonl"],
        ["extract", "--person", "John", "--config", "c.json"],
        ["chat", "--model-path", "x", "--config", "none.json"],
    ):
        assert program.main(arguments) == 1
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        assert len(told.err.strip()) > 20
    model("john", "models")
    assert program.main(["benchmark", "--model-path", "models/john"]) == 0
    assert "tokens/s" in capsys.readouterr().out


# -- the chat program -------------------------------------------------------------------------------------------------


def test_a_model_is_picked_and_every_command_of_the_chat_works(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model("ann")
    model("john")
    (Path("slm_models") / "notes").mkdir()
    typed = ["9", "2", "/help", "where is the cat", "/save", "/clear", "/sing", "", "/switch", "ann", "hi", "/exit"]
    Chat(Path("slm_models"), lines(*typed)).run()
    told = capsys.readouterr().out
    assert "1  ann" in told
    assert "notes" not in told
    for each in ("John's avatar", "/switch", "Forgotten.", "/sing is not known", "Ann's avatar", "Saved as"):
        assert each in told
    kept = {each.name.split("_")[1]: json.loads(each.read_text()) for each in Path("chat_logs").iterdir()}
    assert set(kept) == {"john", "ann"}
    assert [each["role"] for each in kept["john"]["messages"]] == ["user", "assistant"]
    [one] = Path("chat_logs").glob("chat_john_*.json")
    assert [len(each) for each in one.stem.split("_")[2:]] == [8, 6]


def test_a_chat_that_nothing_was_said_in_leaves_no_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chat_main([]) == 1
    assert "There is no model in slm_models" in capsys.readouterr().err
    model()
    Chat(Path("slm_models"), lines()).run("john")
    assert not Path("chat_logs").exists()
    assert chat_main(["--model", "none"]) == 1
    assert "There is no model at slm_models/none (there: john)" in capsys.readouterr().err


def test_what_a_model_says_cannot_steer_the_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model("evil", texts=["\x1b]0;mine\x07 hi \u202e"])
    Chat(Path("slm_models"), lines("hello")).run()
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\\x1b]0;mine\\x07" in told
    assert said.visible("a\n\tb 👩\u200d🚀") == "a\n\tb 👩\u200d🚀"


def test_the_level_of_the_log_is_the_documented_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    found: list[int] = []
    monkeypatch.setattr(logging, "basicConfig", lambda **told: found.append(told["level"]))
    for value in ("DEBUG", "info", "loud"):
        monkeypatch.setenv("LOG_LEVEL", value)
        program.log_as_told()
    assert found == [logging.DEBUG, logging.INFO, logging.WARNING]
