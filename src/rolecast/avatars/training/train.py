"""Trains an avatar: from a dataset to best_model/ and final_model/, with checkpoints to go on from.

train(Path("dataset"), Path("models/john"), TrainingSettings(), base.hf)
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import psutil

from rolecast.avatars.files import write_private
from rolecast.avatars.settings import TrainingSettings
from rolecast.avatars.training import batches, checkpoints, data, memory, plot, rehearsal, schedule, scratch
from rolecast.avatars.training.batches import Tokens
from rolecast.avatars.training.encode import Encoder
from rolecast.avatars.training.engine import Engine, MakesEngine, NoMemory, Start
from rolecast.avatars.training.loop import Course, Loop, longest
from rolecast.errors import Invalid, counted
from rolecast.jobs.job import Progress, Report
from rolecast.values import size_text

LEAST = 12
"""Bytes that each trained parameter takes at the least: itself and two moments."""
RESULT = "training.json"
BASE = "base.json"
_ASIDE = {"threads": 0, "keep": 1, "save_every": 0}
"""Settings that change nothing of what is learnt: a training goes on although they differ."""


class Trained(msgspec.Struct, frozen=True):
    """What came of a training; also in training.json."""

    folder: Path
    best: Path
    """The model with the best held-out loss: the one to judge and to release."""
    final: Path
    method: str
    engine: str
    device: str
    precision: str
    compiled: bool
    parameters: int
    trained: int
    examples: int
    rehearsed: int
    held_out: int
    refused: int
    """Examples that could not be learnt from: empty, or turns that the template of the base refuses."""
    steps: int
    tokens: int
    seconds: float
    tokens_per_s: float
    peak_bytes: int
    loss_before: float | None
    """Of what is held out, in nats per token."""
    loss_best: float | None
    loss_train: float
    stopped: bool = False
    """It was asked to stop: the same call goes on from the last checkpoint."""
    early: bool = False
    """It ended because the held-out loss no longer fell."""
    resumed: int = 0
    """The step it went on from."""
    note: str = ""


def train(
    dataset: Path,
    into: Path,
    settings: TrainingSettings | None = None,
    base: Path | None = None,
    report: Report = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    *,
    resume: bool = True,
) -> Trained:
    """Train a model on a dataset's folder, or on a single file of examples, into a folder.

    `base`: the hf/ folder of a base, for a LoRA. With `resume` it goes on from the newest checkpoint of the same
    training. Raises Invalid, with the next step, for what cannot be trained and when the memory does not suffice.
    """
    settings = settings or TrainingSettings()
    report(Progress("reading the examples"))
    split = data.load(dataset, settings.seed)
    into.mkdir(parents=True, exist_ok=True, mode=0o700)
    start = _scratch(into, split, settings, report) if settings.method == "scratch" else _hf(base)
    encoder = Encoder(start, settings.sequence)
    most = settings.batch if settings.joined else 1
    learnt, refused = encoder.examples(split.train, most)
    valid, unheld = encoder.examples(split.valid, most)
    if not learnt:
        raise Invalid(f"None of {counted(len(split.train), 'example')} can be learnt from: their replies are empty.")
    own, note = _rehearsed(start, encoder, settings, report, stop)
    course = Course(
        train=tuple(each if settings.response_only else each.all_learnt() for each in (*learnt, *own)),
        valid=tuple(valid),
        pad=encoder.pad,
        into=into,
        settings=settings,
        replies=sum(len(each.replies) for each in learnt),
        rate=settings.learning_rate or schedule.DEFAULT[settings.method],
        finish=lambda folder: _finish(folder, encoder, start, settings),
        facts={"dataset": split.digest, "method": settings.method, "person": split.train[0].speaker_name},
    )
    return _train(course, start, report, stop, resume, len(own), refused + unheld, note)


def _train(
    course: Course,
    start: Path,
    report: Report,
    stop: Callable[[], bool],
    resume: bool,
    rehearsed: int,
    refused: int,
    note: str,
) -> Trained:
    settings, checked = course.settings, (*course.train, *course.valid)
    fingerprint = _fingerprint(course, start)
    checkpoints.mend(course.into)
    report(Progress("loading the model"))
    told = Start(settings.method, start, longest(checked), course.steps)
    engine, state = _opened(told, course, fingerprint, report, resume)
    resumed = state.step
    loop = Loop(course, engine, state, report, stop)
    try:
        whole = loop.run()
    except NoMemory as error:
        raise Invalid(_advice(told, settings, engine), param="batch") from error
    history = state.history
    trained = Trained(
        folder=course.into,
        best=course.into / checkpoints.BEST,
        final=course.into / checkpoints.FINAL,
        method=settings.method,
        engine=engine.name,
        device=engine.device,
        precision=engine.precision,
        compiled=engine.compiled,
        parameters=engine.parameters,
        trained=engine.trained,
        examples=course.replies,
        rehearsed=rehearsed,
        held_out=sum(len(each.replies) for each in course.valid),
        refused=refused,
        steps=state.step,
        tokens=state.tokens,
        seconds=round(state.seconds, 3),
        tokens_per_s=round(state.tokens / state.seconds, 1) if state.seconds else 0.0,
        peak_bytes=loop.peak,
        loss_before=history.before,
        loss_best=history.best,
        loss_train=history.recent(),
        stopped=not whole,
        early=loop.early,
        resumed=resumed,
        note=note,
    )
    write_private(course.into / RESULT, msgspec.json.format(msgspec.json.encode(trained, enc_hook=str), indent=1))
    if whole:
        report(Progress("drawing the loss"))
        person = str(course.facts["person"])
        plot.draw(history, course.into / plot.PICTURE, f"{person}: {settings.method}, {engine.precision}")
    return trained


def _opened(
    told: Start, course: Course, fingerprint: str, report: Report, resume: bool
) -> tuple[Engine, checkpoints.State]:
    """The engine as it was at the newest checkpoint that can be read, or at the beginning."""
    settings, make = course.settings, _maker(course.settings)
    least = LEAST * memory.Shape.of(told.folder).parameters
    if told.method == "scratch" and least > (there := psutil.virtual_memory().total):
        # The system would not say so: it ends processes, perhaps others.
        text = f"A model of that shape takes {size_text(least)} at the least to be trained, and this machine has"
        raise Invalid(f"{text} {size_text(there)}; take fewer layers or a smaller width.", param="width")
    try:
        for folder, state in checkpoints.newest(course.into, fingerprint) if resume else ():
            engine = make(told, msgspec.structs.replace(settings, precision=state.precision))
            try:
                engine.restore(folder, state.words)
            except Invalid:
                continue  # it is damaged; an older one may not be
            checkpoints.restore_chance(state)
            _say_of_what(course)
            return engine, state
        engine = make(told, settings)
        cleared = checkpoints.clear(course.into)
        _say_of_what(course)
        if cleared and resume:
            report(Progress("beginning anew", note="what is there is of other data, settings or another base"))
    except NoMemory as error:
        raise Invalid(_advice(told, settings, None), param="batch") from error
    return engine, checkpoints.State(fingerprint, engine.precision)


def _say_of_what(course: Course) -> None:
    """Write down of which dataset all is that lies there now; its words are the same where a training goes on."""
    write_private(course.into / data.LEARNT_OF, str(course.facts["dataset"]).encode())


def _maker(settings: TrainingSettings) -> MakesEngine:
    """The engine's function, by its name; `auto` = MLX on a Mac that has it, else PyTorch."""
    name = settings.engine
    if name == "auto":
        name = "mlx" if sys.platform == "darwin" and importlib.util.find_spec("mlx_lm") else "torch"
    package = "mlx_lm" if name == "mlx" else "torch"
    if importlib.util.find_spec(package) is None:
        extra = "mlx" if name == "mlx" else "avatars"
        raise Invalid(f"The engine {name} needs {package}: pip install 'rolecast[{extra}]'.", param="engine")
    return cast(MakesEngine, importlib.import_module(f"rolecast.avatars.training.{name}_engine").engine)


def _hf(base: Path | None) -> Path:
    """The folder of a base that is trained over."""
    if base is None:
        raise Invalid(
            "A LoRA is trained over a base; name one (`avatars.base`), or take the method scratch.", param="base"
        )
    folder = base / "hf" if (base / "hf").is_dir() else base
    if not (folder / "config.json").exists():
        raise Invalid(f"{base} holds no base (config.json is expected).", param="base")
    return folder


def _scratch(into: Path, split: data.Split, settings: TrainingSettings, report: Report) -> Path:
    """The folder that a model from nothing starts from, made again only for other data or another shape."""
    folder, digest = into / "start", into / "start" / "digest"
    shape = (settings.vocabulary, settings.width, settings.hidden, settings.heads, settings.layers, settings.sequence)
    of = hashlib.sha256(f"{split.digest} {shape}".encode()).hexdigest()
    if not digest.exists() or digest.read_text() != of:
        report(Progress("learning the vocabulary"))
        scratch.prepare(folder, split.train, settings)
        write_private(digest, of.encode())
    return folder


def _rehearsed(
    start: Path, encoder: Encoder, settings: TrainingSettings, report: Report, stop: Callable[[], bool]
) -> tuple[list[Tokens], str]:
    """The base's own answers, in tokens; none for a model from nothing."""
    from rolecast.avatars.prompt import Turn

    if settings.method == "scratch":
        return [], ""
    found, note = rehearsal.rehearsed(start, encoder, settings.rehearsal, settings.threads, report, stop)
    own = (encoder.chat([Turn("user", each.question)], each.answer, whole=each.whole) for each in found)
    return [each for each in own if each is not None], note


def _finish(folder: Path, encoder: Encoder, start: Path, settings: TrainingSettings) -> None:
    """What makes the engine's files a folder that can be loaded by itself."""
    encoder.save(folder)
    if settings.method == "lora":
        said = {"digest": start.parent.name if start.name == "hf" else "", "name": settings.base, "hf": str(start)}
        write_private(folder / BASE, msgspec.json.encode(said))


def _fingerprint(course: Course, start: Path) -> str:
    """What must be the same for a training to go on. A base by its sizes: its folder is named by its digest."""
    found = hashlib.sha256()
    found.update(batches.digest(course.train).encode())
    found.update(batches.digest(course.valid).encode())
    said = msgspec.json.encode(msgspec.structs.replace(course.settings, **_ASIDE))
    found.update(msgspec.json.encode(msgspec.json.decode(said, type=TrainingSettings)))  # 2 epochs are 2.0 epochs
    found.update((start / "config.json").read_bytes())
    found.update(start.parent.name.encode() if start.name == "hf" else b"")
    return found.hexdigest()


def _advice(told: Start, settings: TrainingSettings, engine: Engine | None) -> str:
    shape = memory.Shape.of(told.folder)
    free = 0 if engine is not None and engine.device != "cpu" else psutil.virtual_memory().available
    exact = engine.precision if engine is not None else "fp32"
    at_once = engine.at_once if engine is not None else 0
    return f"Out of memory. {memory.advice(shape, settings, told.method, exact, told.longest, free, at_once)}"
