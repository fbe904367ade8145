"""All steps from conversations to a released avatar, in order; what is done already is not done again.

Runs in a child process (`worker`). Knows what each step needs of those before; what a step does is its own folder's.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from rolecast.avatars import example, whose
from rolecast.avatars.conversations import conversations_of, kept_of
from rolecast.avatars.files import erase, making, write_private
from rolecast.avatars.order import STEPS, AvatarOrder, Step
from rolecast.avatars.places import Place
from rolecast.avatars.serving import forgotten
from rolecast.avatars.settings import AvatarSettings
from rolecast.avatars.whose import PEOPLE, People, asked_before, command, people_of
from rolecast.config import paths
from rolecast.errors import Conflict, Invalid, RolecastError
from rolecast.jobs.job import Progress, Report

if TYPE_CHECKING:
    from rolecast.avatars.export.base import Base
    from rolecast.avatars.export.gguf import Form

DONE = "done.json"
KEPT = ("training_history.json", "loss.svg", "loss.png")
"""Of the training, what a version keeps."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of an order."""

    name: str
    steps: tuple[str, ...]
    passed: bool | None = None
    """What the gate says; None = it was not asked."""
    reasons: tuple[str, ...] = ()
    """Why it does not pass, in sentences."""
    version: int | None = None
    """The version that was released; None = none was."""
    already: bool = False
    """Whether it had been released before, of just what is trained."""
    report: str = ""
    """The page that tells about it."""
    replies: int = 0
    """How many there are to learn from and to judge by; 0 = no dataset was made."""
    notes: tuple[str, ...] = ()
    """What is to be known of the dataset before it is trained on."""
    told: tuple[str, ...] = ()
    """What else is to be known of the steps that were asked for, in sentences."""


class Stopped(RolecastError):
    """It was told to stop; what is done stays."""

    status, code = 409, "stopped"


class _Done(msgspec.Struct):
    """Which steps are done, each with a digest of all that it and those before it depend on."""

    steps: dict[str, str] = {}
    review: str = ""
    """A digest of the review file as the dataset left it."""


class Pipeline:
    """One order being carried out. `stop` says whether it is to end early."""

    def __init__(self, order: AvatarOrder, report: Report, stop: Callable[[], bool]) -> None:
        self.place = Place(order.name)
        self.order = replace(order, person=asked_before(self.place, order.person))
        self._report = report
        self._stop = stop
        self._settings: AvatarSettings = order.settings
        self._base: Base | None = None
        self._version: int | None = None
        self._already = False

    def run(self) -> Outcome:
        """Do the steps of the order. Raises RolecastError with what went wrong and what to do."""
        with _alone(self.place):
            return self._run()

    def _run(self) -> Outcome:
        asked = [step for step in STEPS if step in self.order.steps]
        if asked[:1] == ["extract"]:
            paths.make_private(self.place.work)
        elif not self.place.extracted.is_file():
            self._needs(self.place.extracted, "extract")
        done = self._done()
        for step in asked:
            if self._stop():
                raise Stopped(f"It was stopped before {step}; the same command goes on from there.")
            if step != "extract":
                self._refuse_forgotten()
            digest = self._digest(step)
            if self.order.resume and done.steps.get(step) == digest and self._is_there(step):
                self._report(Progress(step, 1, 1, "steps", "done before"))
                continue
            self._refuse(step, asked, done)
            earlier, was = dict(done.steps), _sha256(self.place.extracted) if step == "extract" else b""
            for later in STEPS[STEPS.index(step) :]:
                done.steps.pop(later, None)
            self._keep(done)
            self._do(step)
            if was and was == _sha256(self.place.extracted):  # what comes later was made of just that
                done.steps = earlier
            done.steps[step] = self._digest(step)
            done.review = _digest_of(self._review) if step == "dataset" else done.review
            self._keep(done)
        return self._outcome(tuple(asked))

    def _refuse(self, step: Step, asked: list[Step], done: _Done) -> None:
        """Raises Invalid for a training whose avatar no gate would let pass, and for what was not judged as it is."""
        if step == "train":
            self._needs_review(done)
        made = self._made()
        judged = step == "train" and "evaluate" in asked and not self.order.force
        if judged and made is not None and not made.valid + made.test:
            raise Invalid(f"It is not trained, for it could not pass the gate. {' '.join(made.notes)}", param="person")
        if step == "release" and "evaluate" not in done.steps:
            # Else a version would say that it learnt from a dataset that was built after it was trained.
            how = f"`{self._command('evaluate')}` does it"
            raise Invalid(f"{self.place.name} was not judged since it was made: {how}.")

    def _do(self, step: Step) -> None:
        """Do it. What it was made of may be deleted meanwhile, when somebody is forgotten; then nothing of it stays."""
        there = step != "extract" and self.place.extracted.exists()
        try:
            getattr(self, f"_{step}")()
        except Exception as error:
            if not there or self.place.extracted.exists():
                raise
            with suppress(OSError):  # who forgot deletes it, too, and says what stays
                erase(self.place.work)
            text = f"The working files of {self.place.name} were deleted while it was made; begin it anew."
            raise Invalid(text) from error

    def _refuse_forgotten(self) -> None:
        """Raises Conflict where somebody was forgotten since the conversations were read."""
        folder, at = self.place.folder.parent, people_of(self.place).at
        if not any(when >= at for when in forgotten.known(folder).values()) or not self.place.extracted.is_file():
            return
        people = {one for each in example.read(self.place.extracted) for one in each.metadata.people}
        if forgotten.among(folder, people, at):
            again = f"`rolecast avatar full --person {self.order.person!r} --name {self.place.name}`"
            raise Conflict(
                f"Somebody whose messages {self.place.name} would learn from was forgotten; "
                f"make it again, without them: {again}."
            )

    # -- the steps --------------------------------------------------------------------------------------------

    def _extract(self) -> None:
        from rolecast.avatars.extraction import extract, wanted_of

        async def work() -> None:
            at = time.time()
            wanted = wanted_of(self.order.person, self._settings.extraction)
            async with conversations_of(self._settings.extraction, self.order.database) as conversations:
                told = _Told(self._report)
                found = await extract(conversations, wanted, self._settings.extraction, self.place.extracted, told)
            self._report(Progress("extract", found.messages, found.messages, "messages"))
            known = People(found.person, list(found.people), self.order.person, found.examples, found.chats, at)
            write_private(self.place.work / PEOPLE, msgspec.json.encode(known))

        asyncio.run(work())

    def _dataset(self) -> None:
        from rolecast.avatars.dataset.build import build
        from rolecast.avatars.evaluation.canaries import plant

        self._needs(self.place.extracted, "extract")
        build(
            self.place.extracted, self.place.dataset, people_of(self.place).people, self._settings.dataset, self._report
        )
        plant(self.place.dataset, self._settings.gate, self._settings.dataset.seed)

    def _train(self) -> None:
        from rolecast.avatars.training.train import train

        self._needs(self.place.dataset / "train.jsonl", "dataset")
        base = self._prepared()
        self._empty(self.place.export, self.place.evaluation)  # they are of what was trained before
        trained = train(
            self.place.dataset,
            self.place.training,
            self._settings.training,
            base.hf if base else None,
            self._report,
            self._stop,
            resume=self.order.resume,
        )
        if trained.stopped:
            raise Stopped("The training was stopped; the same command goes on from its last checkpoint.")

    def _evaluate(self) -> None:
        from rolecast.avatars.evaluation.evaluate import evaluate
        from rolecast.avatars.export.gguf import export

        trained = self._trained()
        base = self._prepared()
        self._empty(self.place.export)
        paths.make_private(self.place.export)
        name = people_of(self.place).name or self.order.person
        export(trained, self.place.export, self._form(), base, name=name, report=self._report)
        evaluate(
            trained,
            self.place.dataset,
            self.place.evaluation,
            self._settings.gate,
            base.hf if base else None,
            self._report,
            self._settings.training.threads,
        )

    def _release(self) -> None:
        from rolecast.avatars.serving.versions import Files, answering, release

        self._needs(self.place.evaluation / "report.json", "evaluate")
        self._report(Progress("release"))
        exported = sorted(self.place.export.glob("*.gguf"))
        if not exported:
            raise Invalid(f"{self.place.name} is not exported: `{self._command('evaluate')} --fresh` does it.")
        base = self._prepared() if exported[0].name == "adapter.gguf" else None
        files = Files(
            exported[0],
            base.gguf if base else None,
            base.name if base else "",
            tuple(each for name in KEPT if (each := self.place.training / name).is_file()),
        )
        known, evaluation = people_of(self.place), self.place.evaluation
        same = answering(self.place, evaluation, files) if self.order.resume and not self.order.share else None
        self._already = same is not None
        found = same or release(
            self.place,
            evaluation,
            files,
            title=known.name or self.order.person,
            person=known.id,
            force=self.order.force,
            share=self.order.share,
            keep=self.order.keep,
            since=known.at,
        )
        self._version = found.number

    def _empty(self, *folders: Path) -> None:
        """Raises Conflict for what cannot be deleted: it would be taken for what is made now."""
        for folder in folders:
            try:
                erase(folder)
            except OSError as error:
                text = f"{folder} is of an earlier training and cannot be deleted ({error.strerror}); do it yourself."
                raise Conflict(text) from error

    # -- what they need ---------------------------------------------------------------------------------------

    def _prepared(self) -> "Base | None":
        """The base as it is trained and served; None for a model from scratch."""
        if self._settings.training.method == "scratch":
            return None
        if self._base is None:
            from rolecast.avatars.export.base import prepared

            if not self.order.base:
                raise Invalid(
                    "A LoRA needs a base; name one with --base, or train with --method scratch.", param="base"
                )
            self._base = prepared(Path(self.order.base), self._report)
        return self._base

    def _trained(self) -> Path:
        for name in ("best_model", "final_model"):
            if (folder := self.place.training / name).is_dir():
                return folder
        raise Invalid(f"{self.place.name} is not trained yet: `{self._command('train')}` does it.")

    def _form(self) -> "Form":
        """What is exported: an adapter, or a model by itself."""
        if self._settings.training.method == "scratch":
            return "q8_0" if self._settings.training.width % 32 == 0 else "f16"
        return "adapter" if self._settings.form == "adapter" else "q8_0"

    def _needs(self, path: Path, step: Step) -> None:
        if not path.exists():
            raise Invalid(f"{self.place.name} needs the step before: `{self._command(step)}`.")

    def _needs_review(self, done: _Done) -> None:
        """Nothing is learnt of a dataset whose review people have changed since it was made."""
        if done.review and done.review != _digest_of(self._review):
            raise Invalid(
                f"review.csv was changed since the dataset was made: `{self._command('dataset')}` applies it."
            )

    def _command(self, step: Step) -> str:
        """What is typed for that step of this avatar."""
        return command(step, self.order.person, self.order.name)

    @property
    def _review(self) -> Path:
        return self.place.dataset / "review.csv"

    # -- what is done -----------------------------------------------------------------------------------------

    def _digest(self, step: Step) -> str:
        """Of all that decides what a step makes."""
        parts: list[object] = [self.order.person, self.order.database, self._settings.extraction]
        if step == "extract":
            parts += [self._state(), _stat(self.place.folder.parent / forgotten.FILE)]
        else:
            parts += [self._settings.dataset, self._settings.gate.planted, self._settings.gate.controls]
            parts += [_stat(self._review)]
        if step in ("train", "evaluate", "release"):
            parts += [self._settings.training, self.order.base]
        if step in ("evaluate", "release"):
            parts += [self._settings.gate, self._settings.form]
        return hashlib.blake2s(msgspec.json.encode(parts), digest_size=16).hexdigest()

    def _state(self) -> list[object]:
        """What is another one when conversations were brought or forgotten. Of a Neo4j nobody knows: it is the same."""
        if self._settings.extraction.neo4j:
            return []

        async def read() -> list[object]:
            async with kept_of(self.order.database) as kept:
                return list(await kept.state())

        return asyncio.run(read())

    def _is_there(self, step: Step) -> bool:
        if step == "extract":
            return self.place.extracted.is_file()
        if step == "dataset":
            return (self.place.dataset / "train.jsonl").is_file()
        if step == "train":
            return any((self.place.training / name).is_dir() for name in ("best_model", "final_model"))
        return step == "evaluate" and (self.place.evaluation / "report.json").is_file()

    def _done(self) -> _Done:
        try:
            return msgspec.json.decode((self.place.work / DONE).read_bytes(), type=_Done)
        except (OSError, msgspec.MsgspecError):
            return _Done()

    def _keep(self, done: _Done) -> None:
        write_private(self.place.work / DONE, msgspec.json.encode(done))

    def _made(self) -> "_Made | None":
        try:
            return msgspec.json.decode((self.place.dataset / "report.json").read_bytes(), type=_Made)
        except (OSError, msgspec.MsgspecError):
            return None

    def _outcome(self, steps: tuple[str, ...]) -> Outcome:
        told = self.place.evaluation / "report.json"
        made = (self._made() if "dataset" in steps else None) or _Made()
        replies = made.train + made.valid + made.test
        said = whose.sentences(self.place, steps)
        plain = Outcome(self.place.name, steps, replies=replies, notes=made.notes, told=said)
        if not {"evaluate", "release"} & {*steps} or not told.is_file():
            return plain
        judged = msgspec.json.decode(told.read_bytes(), type=_Judged)
        found = replace(plain, passed=judged.passed, reasons=tuple(judged.reasons), version=self._version)
        return replace(found, already=self._already, report=str(self.place.evaluation / "report.html"))


class _Made(msgspec.Struct):
    """Of a dataset, how much there is."""

    train: int = 0
    valid: int = 0
    test: int = 0
    notes: tuple[str, ...] = ()


class _Judged(msgspec.Struct):
    """Of an evaluation, the verdict."""

    passed: bool
    reasons: list[str] = []


@contextmanager
def _alone(place: Place) -> Iterator[None]:
    """Nobody else makes this avatar meanwhile: two in the same files would train one model of both. Raises Conflict."""
    if not place.folder.is_dir():
        paths.make_private(place.folder)
    with ExitStack() as alone:
        try:
            alone.enter_context(making(place.folder))
        except BlockingIOError as error:
            text = f"{place.name} is being made by another process just now; wait for it, or end it."
            raise Conflict(text) from error
        yield


class _Told:
    """An extraction's words as progress."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._skipped = 0

    def progress(self, done: int, total: int) -> None:
        self._report(Progress("extract", done, total, "messages"))

    def skipped(self, where: str, why: str) -> None:
        self._skipped += 1


def _digest_of(path: Path) -> str:
    return _sha256(path).hex()


def _sha256(path: Path) -> bytes:
    """Of a file; nothing where there is none."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _stat(path: Path) -> list[int]:
    try:
        about = path.stat()
    except OSError:
        return []
    return [about.st_size, about.st_mtime_ns]
