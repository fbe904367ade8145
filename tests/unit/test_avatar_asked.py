"""What is asked for an avatar: settings that are kept, Avatar SLM's config.json, the base, the question at the end."""

import asyncio
import importlib.util
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from chat_exports import Ears
from rich.console import Console
from typer.testing import CliRunner

from rolecast.avatars import asked, example, files
from rolecast.avatars.conversation import Reading
from rolecast.avatars.example import Example, Lineage, Said
from rolecast.avatars.order import STEPS, AvatarOrder, Step
from rolecast.avatars.pipeline import Outcome, Pipeline
from rolecast.avatars.places import Place, slug
from rolecast.avatars.settings import AvatarSettings
from rolecast.avatars.sources import bring
from rolecast.avatars.whose import asked_before
from rolecast.books import store_of
from rolecast.cli import app, avatar_making, output
from rolecast.cli.avatar_making import setting
from rolecast.config.schema import Avatars, Config, Model
from rolecast.errors import Invalid, NotFound
from rolecast.jobs.job import Progress

DOCUMENTED: dict[str, Any] = {
    "neo4j": {"uri": "bolt://localhost:7687", "username": "neo4j", "password": "hunter2hunter"},
    "extraction": {
        "output_dir": "data/extracted",
        "include_metadata": True,
        "max_messages": 500,
        "date_range": {"start": "2023-01-01", "end": "2024-12-31"},
    },
    "training": {
        "model_name": "avatar_slm",
        "output_dir": "models",
        "epochs": 4,
        "batch_size": 8,
        "learning_rate": 5e-5,
        "warmup_steps": 100,
        "gradient_accumulation": 4,
        "max_sequence_length": 256,
    },
    "inference": {"temperature": 0.8, "top_k": 50, "top_p": 0.95, "max_length": 512, "repetition_penalty": 1.1},
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place("mira", tmp_path)


def test_a_config_json_of_avatar_slm_is_read_as_it_is(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(DOCUMENTED))
    found = asked.settings(place, file)
    assert found.extraction.neo4j == "bolt://localhost:7687"
    assert (found.extraction.since, found.extraction.until, found.extraction.most) == ("2023-01-01", "2024-12-31", 500)
    training = found.training
    assert (training.epochs, training.batch, training.accumulation, training.sequence) == (4, 8, 4, 256)
    assert (training.learning_rate, training.warmup_steps) == (5e-5, 100)


def test_no_password_of_a_config_json_is_kept(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(DOCUMENTED))
    asked.settings(place, file)
    assert all(b"hunter2" not in each.read_bytes() for each in place.folder.rglob("*") if each.is_file())


@pytest.mark.parametrize(("said", "field"), [("num_epochs", "epochs"), ("gradient_accumulation_steps", "accumulation")])
def test_both_spellings_of_a_setting_are_read(place: Place, said: str, field: str) -> None:
    found = asked.of_config_json({"training": {said: 7}})
    assert found == {"training": {field: 7}}


def test_what_one_step_was_told_the_next_one_knows_and_may_say_otherwise(place: Place) -> None:
    asked.settings(place, over={"training": {"rank": 8, "epochs": 2}})
    assert asked.settings(place).training.rank == 8
    assert asked.settings(place, over={"training": {"rank": 4}}).training.rank == 4
    assert asked.settings(place).training.epochs == 2


@pytest.mark.parametrize(
    "over",
    [{"training": {"rank": "many"}}, {"training": {"nothing": 1}}, {"gate": {"style": 2}}, {"nowhere": {"a": 1}}],
)
def test_a_setting_that_is_wrong_is_named_and_nothing_is_kept(place: Place, over: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="setting"):
        asked.settings(place, over=over)
    assert asked.settings(place) == AvatarSettings()


@pytest.mark.parametrize("text", ["", "[]", "{", "7"])
def test_a_file_that_is_no_config_json_is_refused(place: Place, tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(Invalid):
        asked.settings(place, file)


def test_a_single_setting_is_written_with_its_section() -> None:
    assert setting("training.rank=8") == ("training", "rank", 8)
    assert setting("extraction.since=2024-01-01") == ("extraction", "since", "2024-01-01")
    assert setting("dataset.scrub=false") == ("dataset", "scrub", False)
    for text in ("rank=8", "training.rank", "=", "training.=3"):
        with pytest.raises(Invalid, match="--set"):
            setting(text)


def test_a_base_is_a_file_or_a_model_of_the_configuration_or_of_the_default(tmp_path: Path) -> None:
    config = Config(models={"mine": Model(source="file:/x.gguf"), "far": Model(backend="openai", url="http://h/v1")})
    file = tmp_path / "b.gguf"
    file.write_bytes(b"GGUF")
    assert asked.base_model(str(file), config) == (str(file), None)
    assert asked.base_model("mine", config) == ("mine", config.models["mine"])
    name, model = asked.base_model("", config)
    assert name == Avatars().base
    assert model is not None
    for name in ("far", "nobody", str(tmp_path / "none.gguf")):
        with pytest.raises(NotFound, match="neither"):
            asked.base_model(name, config)


@pytest.mark.parametrize(
    ("name", "is_called"),
    [("John Doe", "john_doe"), ("Zoë Ångström", "zoe_angstrom"), ("../../etc", "etc"), ("さくら", "3055_304f_3089")],
)
def test_a_name_of_a_person_becomes_the_name_of_a_folder(name: str, is_called: str) -> None:
    assert slug(name) == is_called


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "bases", "a..b", "-a", "a" * 80, "a\n"])
def test_no_name_of_an_avatar_leads_elsewhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        Place(name, tmp_path)


def test_the_question_at_the_end_was_not_learnt_from(place: Place) -> None:
    def row(number: int, text: str) -> Example:
        return Example(str(number), text, "yes", "Mira", conversation_history=(Said("Jonas", text),))

    example.write(place.dataset / "train.jsonl", [row(1, "learnt?")])
    example.write(place.dataset / "test.jsonl", [row(2, "no question"), row(3, "held out?")])
    assert asked.held_out(place) == [{"role": "user", "content": "held out?"}]


def test_too_few_replies_are_told_before_a_training_that_no_gate_would_let_pass() -> None:
    place = Place("mira")

    def told(steps: tuple[Step, ...]) -> Outcome:
        return Pipeline(AvatarOrder(place.name, "Mira", steps), lambda _: None, lambda: False).run()

    said = [Example(str(n), f"how is boat {n}?", f"the boat {'floats' * n}", "Mira") for n in range(7)]
    said = [
        msgspec.structs.replace(
            each,
            conversation_history=(Said("Jonas", each.input_text),),
            metadata=Lineage("one", number, chat="one", message_ids=(f"q{number}", f"a{number}")),
        )
        for number, each in enumerate(said)
    ]
    example.write(place.extracted, said)
    outcome = told(("dataset",))
    assert outcome.replies == 7
    assert ["Only 7 replies" in note or "hold anything out" in note for note in outcome.notes] == [True, True]
    with pytest.raises(Invalid, match=r"It is not trained, for it could not pass the gate.*bring more conversations"):
        told(STEPS[1:])
    (place.work / "done.json").unlink()
    example.write(place.extracted, [msgspec.structs.replace(each, target_text="x" * 5000) for each in said])
    with pytest.raises(Invalid, match="7 with nothing that was typed: media, notices, commands, pasted texts"):
        told(("dataset",))


def test_what_came_since_is_learnt_from_and_what_was_there_is_not_done_again(tmp_path: Path) -> None:
    path = tmp_path / "WhatsApp Chat with Jonas.txt"

    async def bring_first(count: int) -> None:
        rows = (f"31/12/23, 10:{n:02} - {('Jonas', 'Mira')[n % 2]}: boat {'ahoy' * n}" for n in range(count))
        path.write_text("\n".join(rows))
        store = store_of(Config())
        await store.open()
        await bring([path], store, Ears(), Reading(zone="UTC"))
        await store.close()

    def done_before() -> list[str]:
        told: list[Progress] = []
        Pipeline(AvatarOrder("mira", "Mira", ("extract", "dataset")), told.append, lambda: False).run()
        return [each.step for each in told if each.note == "done before"]

    asyncio.run(bring_first(10))
    assert [done_before(), done_before()] == [[], ["extract", "dataset"]]
    asyncio.run(bring_first(16))
    assert [done_before(), done_before()] == [[], ["extract", "dataset"]]
    assert sum(1 for _ in example.read(Place("mira").extracted)) == 8
    assert not list(Place("mira").work.glob("*.again*"))


def invoke(*argv: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, argv)
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["full"], "Say whose avatar it is"),
        (["import"], "Name the files"),
        (["dataset", "Nobody"], "needs the step before: `rolecast avatar extract nobody`"),
        (["train", "Nobody", "--method", "scratch"], "needs the step before: `rolecast avatar extract nobody`"),
        (["train", "Nobody", "--set", "training.rank=x"], "A setting is wrong"),
        (["train", "Nobody", "--base", "none.gguf"], "neither a GGUF file nor a model"),
        (["evaluate", "nobody", "--name", "other"], "`rolecast avatar extract nobody --name other`"),
        (["release", "Nobody"], "needs the step before: `rolecast avatar extract nobody`"),
        (["full", "--person", "Nobody"], "rolecast avatar import"),
        (["rollback", "nobody"], "no released avatar"),
        (["report", "nobody"], "was not judged yet"),
        (["forget", "Nobody", "--yes"], "rolecast avatar import"),
        (["import", "/nonexistent.txt"], "nonexistent"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_with_the_next_step(argv: list[str], says: str) -> None:
    code, out = invoke("avatar", *argv)
    assert code != 0
    assert says in " ".join(out.split())
    assert "Traceback" not in out


def test_what_avatars_are_made_with_is_missed_before_anything_is_brought(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "torch" else find(name, *more))
    code, out = invoke("avatar", "full", "--example")
    assert code == 1
    assert "not here (torch): run " in " ".join(out.split())
    assert "pip install 'rolecast[avatars]'`" in " ".join(out.split())
    assert json.loads(invoke("avatar", "list", "--json")[1]) == {"avatars": [], "unreleased": []}


def test_without_any_the_lists_say_how_to_begin() -> None:
    assert "--example" in invoke("avatar", "list")[1]
    assert "--example" in " ".join(invoke("avatar", "people")[1].split())
    assert json.loads(invoke("avatar", "list", "--json")[1]) == {"avatars": [], "unreleased": []}


def test_what_was_begun_is_listed_and_is_not_talked_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROLECAST_HOME", str(tmp_path))
    work = Place("mira").work
    work.mkdir(parents=True)
    (work / "people.json").write_text('{"person": {"id": "1", "name": "Mira Sand"}, "asked": "Mira Sand"}')
    assert "not judged yet" in invoke("avatar", "list")[1]
    code, out = invoke("avatar", "chat", "mira")
    assert (code, "`rolecast avatar full --person mira`" in " ".join(out.split())) == (1, True)
    Place("mira").evaluation.mkdir()
    (Place("mira").evaluation / "report.json").write_text("{}")
    assert "`rolecast avatar release mira`" in " ".join(invoke("avatar", "chat", "mira")[1].split())
    with files.making(Place("mira").folder):
        assert "it is being made just now" in " ".join(invoke("avatar", "chat", "mira")[1].split())
    for name in ("1", "mira sand", "MIRA_SAND", "mira"):
        assert asked_before(Place("mira"), name) == "Mira Sand"
    assert asked_before(Place("mira"), "Jo") == "Jo"


def test_what_a_training_tells_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), width=80, force_terminal=True)
    monkeypatch.setattr(output, "console", lambda *, stderr=False: screen)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    note = "3 h 23 min left, loss 4.09, held out 3.02, 812 tokens/s, 1.7 GB"
    with avatar_making.shown("mira") as report:
        report(Progress("training", 44, 102, "steps", note))
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.file.getvalue()).split("\r")  # type: ignore[attr-defined]
    assert any("training 43 % 0.0 s 3 h 23 min left, loss 4.09, held out 3.02" in line for line in lines)
    assert max(len(each) for line in lines for each in line.split("\n")) <= 80
