"""What stays of an avatar after somebody was forgotten, that no word of theirs is in it, and what the commands say."""

import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import tiny_gguf
from released import dataset, released, verdict
from test_avatar_forgotten import imported
from typer.testing import CliRunner

from rolecast.avatars import example
from rolecast.avatars.evaluation import report
from rolecast.avatars.evaluation.figures import Exposure, Figures, Regurgitation, Secret, Style, Talk
from rolecast.avatars.evaluation.found import Evaluation
from rolecast.avatars.evaluation.verdict import judge
from rolecast.avatars.example import Example, Lineage, Said
from rolecast.avatars.order import STEPS, AvatarOrder
from rolecast.avatars.pipeline import Outcome, Pipeline
from rolecast.avatars.places import Place
from rolecast.avatars.serving import card, versions
from rolecast.avatars.serving.forgetting import forget
from rolecast.avatars.serving.versions import Files
from rolecast.avatars.settings import AvatarSettings, GateSettings
from rolecast.cli import app
from rolecast.cli import avatar as commands
from rolecast.errors import NotFound

WORDS = "the ferry left early again"
"""What Jonas says in the conversations that are imported."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROLECAST_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "avatars"


def judged(place: Place) -> Path:
    """The folder of an evaluation whose report shows what was said."""
    place.evaluation.mkdir(parents=True, exist_ok=True)
    secrets = tuple(Secret("number", 1.4) for _ in range(12))
    figures = Figures(
        exposure=Exposure(secrets, secrets, samples=8),
        regurgitation=Regurgitation(0.1, 0.1, generations=200, replies=40, longest=9),
        style=Style(0.8, 0.7, 0.9, scores=(0.7,), person_scores=(0.9,)),
    )
    said = judge(figures, GateSettings())
    talk = Talk(f"[Jonas]: {WORDS}", f"so {WORDS}?", "i took the bus instead")
    found = Evaluation("Mira", passed=True, reasons=(), checks=said.checks, figures=figures, talks=(talk,))
    report.write(place.evaluation, found, drawn=False)
    return place.evaluation


def answers(home: Path, people: tuple[str, ...] = ("whatsapp:Mira", "whatsapp:Jonas")) -> Place:
    """A released version of Mira, whose report shows what Jonas said."""
    place = Place("mira", home)
    place.export.mkdir(parents=True, exist_ok=True)
    dataset(place, "Mira", people)
    model = tiny_gguf.write(place.export / "model.gguf", seed=3)
    (place.training / "best_model").mkdir(parents=True)
    (place.training / "training_history.json").write_text("[]")
    kept = (place.training / "training_history.json",)
    versions.release(place, judged(place), Files(model, extra=kept), title="Mira", person=people[0])
    return place


def holding(folder: Path, words: str) -> list[Path]:
    """The files below it that have these words."""
    return [each for each in folder.rglob("*") if each.is_file() and words.encode() in each.read_bytes()]


def invoke(*argv: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["avatar", *argv])
    return done.exit_code, " ".join(done.output.split())


def test_no_word_of_somebody_who_was_forgotten_is_in_any_file_of_the_data_folder(home, tmp_path):
    imported(tmp_path / "export", "Jonas")
    place = answers(home)
    assert {each.name for each in holding(home, WORDS)} >= {"report.json", "report.html"}
    assert holding(tmp_path, WORDS)[0].suffix != ""
    (tmp_path / "export" / "WhatsApp Chat with Jonas.txt").unlink()  # it is the user's own
    code, out = invoke("forget", "Jonas", "--yes")
    assert (code, "version 1 is withdrawn" in out) == (0, True)
    assert holding(tmp_path, WORDS) == []
    assert holding(home, "i took the bus") == [], "whoever said it"
    kept = {each.name for each in place.version(1).iterdir()}
    assert kept == {"version.json", "lineage.json", "report.json", "report.html", "training_history.json"}
    found = report.read(place.version(1))
    assert found is not None
    assert (found.passed, found.talks, found.withdrawn, len(found.checks)) == (True, (), card.FORGOTTEN, 8)
    assert found.figures.regurgitation is not None
    assert found.figures.regurgitation.longest == 9
    page = (place.version(1) / "report.html").read_text()
    assert "Withdrawn: it learnt from somebody who was forgotten." in page
    assert "What it says" not in page
    code, out = invoke("report", "mira")
    assert code == 0
    first = "✗ Version 1 of avatar/mira is withdrawn, because it learnt from somebody who was forgotten."
    assert out.startswith(first)
    assert "regurgitation" in out


def test_a_report_of_another_form_keeps_its_verdict_and_numbers_alone(home):
    place = released(home, "mira", seed=1, people=("p1", "p2"))
    told = {"passed": True, "reasons": [WORDS], "numbers": {"style": 0.9, "said": WORDS}, "samples": [WORDS]}
    (place.version(1) / "report.json").write_text(json.dumps(told))
    (place.version(1) / "report.html").write_text(WORDS)
    other = released(home, "ada", seed=2, people=("p2",))
    (other.version(1) / "report.json").write_text("[")
    forget("p2", root=home)
    assert holding(home, WORDS) == []
    left = json.loads((place.version(1) / "report.json").read_bytes())
    assert left == {"passed": True, "numbers": {"style": 0.9}, "withdrawn": card.FORGOTTEN}
    assert not list(other.version(1).glob("report.*"))
    assert invoke("report", "ada")[1].startswith("Error: Version 1 of avatar/ada is withdrawn, because it learnt")


def test_words_go_also_where_the_disk_is_full(home, monkeypatch):
    place = answers(home)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rolecast.avatars.evaluation.report.write_private", full)
    forget("whatsapp:Jonas", root=home)
    assert holding(home, WORDS) == []
    assert card.version(place, 1).passed


def test_what_a_version_was_only_judged_by_is_taken_out_of_its_report_and_it_still_answers(home):
    place = Place("mira", home)
    dataset(place, "Mira", ("p1",))
    asked = Example("e", f"[Jonas]: {WORDS}", "ok", "Mira", conversation_history=(Said("Jonas", WORDS),))
    by = Lineage("t", 1, 2, "c", ("m",), ("p1", "p2"))
    example.write(place.dataset / "test.jsonl", [Example(**{**_fields(asked), "metadata": by})])
    model = tiny_gguf.write(place.folder / "model.gguf", seed=3)
    versions.release(place, judged(place), Files(model), title="Mira", person="p1")
    with pytest.raises(NotFound):
        forget("p3", root=home)
    assert holding(place.version(1), WORDS)
    found = forget("p2", root=home)
    assert (found.withdrawn, [each.avatar for each in found.never_saw]) == ([], ["mira"])
    assert holding(home, WORDS) == []
    assert card.card(place).current == 1
    assert invoke("report", "mira")[1].startswith("✓ scrubbed")


def _fields(one: Example) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def test_the_newest_version_is_told_to_be_withdrawn_though_an_older_one_answers(home):
    released(home, "mira", seed=1, people=("p1",))
    released(home, "mira", seed=2, people=("p1", "p2"))
    forget("p2", root=home)
    said = invoke("report", "mira")[1]
    assert said.startswith(
        "✗ Version 2 of avatar/mira is withdrawn, because it learnt from somebody who was forgotten;"
    )
    assert "version 1 answers" in said
    released(home, "mira", seed=3, people=("p1",))
    assert "withdrawn" not in invoke("report", "mira")[1]


# -- chat -------------------------------------------------------------------------------------------------------------


def test_a_chat_with_nobody_is_refused_before_it_begins(home):
    assert invoke("chat", "xyz") == (1, "Error: xyz is no avatar here; `rolecast avatar list` shows them.")
    released(home, "mira", seed=1, people=("p1", "p2"))
    assert "Start one with `rolecast up`" in invoke("chat", "mira")[1]
    assert "Start one with `rolecast up`" in invoke("chat", "avatar/mira@1")[1]
    assert invoke("chat", "mira@7") == (1, "Error: mira has no version 7 that answers, but: 1.")
    forget("p2", root=home)
    again = "`rolecast avatar full --fresh --person Mira --name mira` makes it again"
    assert invoke("chat", "mira") == (1, f"Error: mira is withdrawn; {again}.")
    forget("p1", root=home)
    code, out = invoke("chat", "avatar/mira")
    assert (code, "its person was forgotten" in out) == (1, True)


def test_a_name_of_the_configuration_is_talked_with_though_no_avatar_has_it(home, tmp_path):
    (tmp_path / "rolecast.yaml").write_text(
        "models: {m: {backend: fake}}\nroles: {standard: [m]}\nvariants: {avatar/xyz: {model: m}}\n"
    )
    assert "Start one with `rolecast up`" in invoke("chat", "xyz")[1]


def test_a_gateway_elsewhere_is_asked_whether_it_has_the_avatar(home, monkeypatch):
    there = [SimpleNamespace(id=each) for each in ("m", "avatar/mira", "avatar/mira@1")]
    gateway = MagicMock()
    gateway.__enter__.return_value.client.return_value.__enter__.return_value.models.return_value = there
    monkeypatch.setattr("rolecast.cli.gateway.connect", lambda url, key: gateway)
    talked: list[str] = []
    monkeypatch.setattr("rolecast.cli.talk.chat", lambda *, model, url, key: talked.append(model))
    assert invoke("chat", "mira", "--url", "http://h:1")[0] == 0
    assert invoke("chat", "avatar/mira@1", "--url", "http://h:1")[0] == 0
    code, out = invoke("chat", "xyz", "--url", "http://h:1")
    assert (code, out) == (
        1,
        "Error: avatar/xyz answers nobody at http://h:1; avatars there: avatar/mira, avatar/mira@1.",
    )
    assert talked == ["avatar/mira", "avatar/mira@1"]


# -- the same again ---------------------------------------------------------------------------------------------------


def made(*, resume: bool = True, steps: tuple[str, ...] = STEPS) -> Outcome:
    order = AvatarOrder("mira", "Mira", steps, AvatarSettings(), resume=resume)  # type: ignore[arg-type]
    return Pipeline(order, lambda progress: None, lambda: False).run()


def test_what_answers_already_is_not_released_again_unless_it_is_asked_for(home, tmp_path, monkeypatch):
    imported(tmp_path, "Jonas")
    seeds = [3]

    def evaluate(running: Pipeline) -> None:
        running.place.export.mkdir(parents=True, exist_ok=True)
        tiny_gguf.write(running.place.export / "model.gguf", seed=seeds[0])
        verdict(running.place)

    monkeypatch.setattr(Pipeline, "_train", lambda running: (running.place.training / "best_model").mkdir(parents=True))
    monkeypatch.setattr(Pipeline, "_evaluate", evaluate)
    place = Place("mira", home)
    first, second = made(), made()
    assert ((first.version, first.already), (second.version, second.already)) == ((1, False), (1, True))
    assert card.numbers(place) == [1]
    by_command = made(resume=False, steps=("release",))
    assert (by_command.version, by_command.already) == (2, False)
    (place.evaluation / "report.json").unlink()
    seeds[0] = 4
    assert (made().version, made().version, card.numbers(place)) == (3, 3, [1, 2, 3])
    versions.withdraw(place, [3])
    assert made().version == 4, "what is withdrawn does not answer"


def test_the_command_says_that_it_is_that_version_already(home, monkeypatch):
    place = answers(home)
    told = Outcome("mira", STEPS, passed=True, version=1, already=True, report=str(place.evaluation / "report.html"))
    monkeypatch.setattr(commands, "_make", lambda order, chosen: told)
    monkeypatch.setattr(commands, "_needs_conversations", lambda *_: None)
    monkeypatch.setattr(commands, "_ask", lambda name, chosen: ("hi?", "hello"))
    code, out = invoke("full", "--person", "Mira", "--method", "scratch")
    assert (code, "✓ avatar/mira is version 1 already; nothing has changed." in out) == (0, True)
