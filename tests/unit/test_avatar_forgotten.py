"""Somebody is forgotten while avatars are made of their words; and what is done again, because something changed."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from chat_exports import Ears, write
from released import base, dataset, released, verdict
from typer.testing import CliRunner

from rolecast.avatars import example, files, pipeline
from rolecast.avatars.conversations import conversations_of
from rolecast.avatars.order import AvatarOrder, Step
from rolecast.avatars.pipeline import Pipeline
from rolecast.avatars.places import Place
from rolecast.avatars.serving import card, forgotten, versions
from rolecast.avatars.serving.forgetting import forget
from rolecast.avatars.serving.versions import Files
from rolecast.avatars.settings import Extraction
from rolecast.avatars.sources import bring
from rolecast.avatars.training import data
from rolecast.cli import app
from rolecast.errors import Conflict, Invalid, NotFound
from rolecast.jobs.job import Progress

WORDS = """\
the ferry left early again
i took the bus instead
did the harbour master call
twice and he was furious
bring lemons tonight
only if you cook
my bicycle lost its chain
use the old one from the shed
rain until sunday they say
then we paint the kitchen
grandma asked about you
tell her i baked bread
""".splitlines()


def chat(other: str, count: int = 12) -> str:
    """A conversation of Mira and somebody."""
    lines = [f"{1 + n // 2}/3/24, 10:{n:02} - {(other, 'Mira')[n % 2]}: {WORDS[n]}" for n in range(count)]
    return "\n".join(lines) + "\n13/3/24, 10:00 - Mira: x\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROLECAST_HOME", str(tmp_path))
    return tmp_path / "avatars"


def imported(folder: Path, other: str, count: int = 12) -> None:
    path = write(folder / f"WhatsApp Chat with {other}.txt", chat(other, count))

    async def work() -> None:
        async with conversations_of(Extraction(), "") as kept:
            await bring([path], kept._store, Ears())

    asyncio.run(work())


def made(steps: Sequence[Step] = ("extract", "dataset")) -> list[str]:
    """The steps that were done anew."""
    told: list[Progress] = []
    Pipeline(AvatarOrder("mira", "Mira", tuple(steps)), told.append, lambda: False).run()
    return [step for step in steps if Progress(step, 1, 1, "steps", "done before") not in told]


def test_what_was_read_before_somebody_was_forgotten_is_never_released(home):
    place = released(home, "mira", seed=1, people=("p4",))
    dataset(place, "Mira", ("p1", "p2"))  # the next one is being made, and nothing of it is released yet
    found = forget("p2", root=home, erase=False)
    assert (found.unfinished, found.withdrawn, found.ended) == (["mira"], [], [])
    files = Files(place.export / "adapter.gguf", base(home))
    with pytest.raises(Conflict, match="forgotten meanwhile"):
        versions.release(place, verdict(place), files, force=True)
    assert card.numbers(place) == [1]
    later = max(forgotten.known(home).values()) + 1
    assert versions.release(place, verdict(place), files, since=later).number == 2, "it was asked for again since"


def test_what_does_not_say_whose_it_is_is_not_released_after_somebody_was_forgotten(home):
    place = released(home, "mira", seed=1, people=("p4",))
    with pytest.raises(NotFound):
        forget("p2", root=home)
    (place.dataset / "train.jsonl").unlink()
    with pytest.raises(Conflict, match="forgotten meanwhile"):
        versions.release(place, verdict(place), Files(place.export / "adapter.gguf", base(home)))
    (home / forgotten.FILE).write_text("[")
    with pytest.raises(Conflict, match="cannot be read"):
        released(home, "ada", seed=2)


def test_working_files_are_deleted_where_a_link_leads(home, tmp_path):
    place = Place("mira", home)
    place.folder.mkdir(parents=True)
    elsewhere = tmp_path / "disk" / "work"
    elsewhere.mkdir(parents=True)
    place.work.symlink_to(elsewhere)
    dataset(place, "Mira", ("p1", "p2"))
    assert forget("p2", root=home).unfinished == ["mira"]
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("of", ["another", "nobody knows", "this"])
def test_a_training_of_a_dataset_that_is_there_no_more_is_deleted_when_somebody_is_forgotten(home, of):
    released(home, "zoe", seed=2, people=("p2",))
    place = Place("mira", home)
    dataset(place, "Mira", ("p1",))
    for folder in (place.training / "best_model", place.export, place.evaluation):
        folder.mkdir(parents=True)
    digests = {"this": data.load(place.dataset, 0).digest, "another": "0" * 32}
    if of in digests:
        (place.training / data.LEARNT_OF).write_text(digests[of])
    forget("p2", root=home)
    kept = [each.exists() for each in (place.training, place.export, place.evaluation)]
    assert kept == [of == "this"] * 3
    assert (place.dataset / "train.jsonl").exists()


def stale(home: Path, name: str, at: Path | None = None) -> Place:
    """An avatar with a training that does not say of what it is; its exported files may be elsewhere."""
    place = Place(name, home)
    dataset(place, name, ("p1",))
    (place.training / "best_model").mkdir(parents=True)
    if at is not None:
        at.mkdir()
        (at / "adapter.gguf").touch()
        place.export.symlink_to(at)
    return place


def test_what_cannot_be_deleted_keeps_nothing_else_and_all_of_it_is_named(home, monkeypatch):
    ada, zoe = stale(home, "ada"), Place("zoe", home)
    released(home, "zoe", seed=2, people=("p2",))
    dataset(zoe, "Zoe", ("p2",))
    monkeypatch.setattr(files, "erase", refusing(files.erase, ada.training))
    with pytest.raises(Conflict, match=f"delete it yourself: {ada.training}"):
        forget("p2", root=home)
    assert not zoe.work.exists()


def refusing(really, stays: Path):
    def erase(folder: Path) -> None:
        if folder == stays:
            raise PermissionError(13, "Permission denied")
        really(folder)

    return erase


def test_a_training_that_has_just_begun_is_left_alone_when_somebody_else_is_forgotten(home, tmp_path):
    released(home, "zoe", seed=2, people=("p2",))
    place = stale(home, "ada", tmp_path / "disk")
    with files.making(place.folder):  # in a moment it says of which dataset it is
        forget("p2", root=home)
    assert place.training.exists()
    forget("p2", root=home, names=("p2",))
    assert not place.training.exists()
    assert list((tmp_path / "disk").iterdir()) == [], "a link leads to what is deleted, too"


def test_a_training_whose_conversations_are_forgotten_ends_and_leaves_nothing(home, tmp_path, monkeypatch):
    imported(tmp_path, "Jonas")

    def training(running: Pipeline) -> None:
        assert forget("whatsapp:Jonas", root=home).unfinished == ["mira"]
        (running.place.training / "checkpoint_50").mkdir(parents=True)
        raise FileNotFoundError("train.jsonl")

    monkeypatch.setattr(Pipeline, "_train", training)
    with pytest.raises(Invalid, match="deleted while it was made"):
        made(("extract", "dataset", "train"))
    assert not Place("mira", home).work.exists()


def test_a_step_is_done_again_when_what_it_is_made_of_changed_and_only_then(home, tmp_path):
    imported(tmp_path, "Jonas")
    imported(tmp_path, "Vera")
    assert made() == ["extract", "dataset"]
    assert made() == []
    imported(tmp_path, "Kai", count=0)  # of no effect on the replies
    assert made() == ["extract"]
    review = Place("mira", home).dataset / "review.csv"
    review.write_text(review.read_text() + "bicycle,,,\n")
    assert made() == ["dataset"]
    assert made() == []
    with pytest.raises(NotFound):
        forget("whatsapp:Nobody", root=home)
    assert made() == ["extract"], "somebody was forgotten"
    forget("whatsapp:Jonas", root=home, erase=False)
    with pytest.raises(Conflict, match="without them: `rolecast avatar full"):
        made(("dataset",))
    assert made() == ["extract"], "his messages were kept, and are asked for again"
    people = {one for each in example.read(Place("mira", home).extracted) for one in each.metadata.people}
    assert "whatsapp:Jonas" in people


def test_a_version_is_not_released_of_a_dataset_that_it_was_not_made_of(home, tmp_path, monkeypatch):
    imported(tmp_path, "Jonas")
    place = Place("mira", home)
    for step in ("train", "evaluate"):
        monkeypatch.setattr(Pipeline, f"_{step}", lambda running: verdict(running.place))
    monkeypatch.setattr(Pipeline, "_release", lambda running: None)
    monkeypatch.setattr(Pipeline, "_is_there", lambda running, step: True)
    assert made(("extract", "dataset", "train", "evaluate", "release")) == [*pipeline.STEPS]
    (place.dataset / "review.csv").unlink()
    made(("dataset",))
    with pytest.raises(Invalid, match="not judged since"):
        made(("release",))


def test_two_do_not_make_one_avatar_at_the_same_time(home, tmp_path, monkeypatch):
    imported(tmp_path, "Jonas")
    made()
    monkeypatch.setattr(Pipeline, "_train", lambda running: made(("dataset",)))
    with pytest.raises(Conflict, match="another process"):
        made(("train",))
    assert made(("dataset",)) == [], "the lock ends with who held it"


def test_what_a_release_left_that_was_killed_is_deleted_by_the_next_change(home):
    place = released(home, "mira", seed=1)
    for change in (lambda: released(home, "mira", seed=2), lambda: forget("p1", root=home)):
        part = place.folder / "versions" / ".9.0123.part"
        part.mkdir()
        (part / "adapter.gguf").write_bytes(b"x")
        change()
        assert not part.exists()


def test_a_broken_avatar_hides_no_other_from_the_commands(home):
    released(home, "mira", seed=1)
    broken = released(home, "ada", seed=2)
    broken.card.write_text("{")
    (broken.folder / "versions" / "x").mkdir()
    (broken.folder / "versions" / "x" / "report.json").write_text("{}")
    done = CliRunner().invoke(app, ["avatar", "list"])
    assert (done.exit_code, "avatar/mira" in done.output, "mend it" in done.output) == (0, True, True)
    for each in broken.evaluation.iterdir():
        each.unlink()
    assert CliRunner().invoke(app, ["avatar", "report", "ada"]).exit_code == 0
