"""All measurements of a trained folder in their order, and the verdict. What is measured is kept, to go on from.

losses, what the base says    while the adapter can be switched off
exposure, samples             with it worked into the weights, which is quicker
generations -> regurgitation, style
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from rolecast.avatars import example
from rolecast.avatars.evaluation import canaries, exposure, losses, regurgitation, statistics, style
from rolecast.avatars.evaluation import report as pages
from rolecast.avatars.evaluation.canaries import Canaries
from rolecast.avatars.evaluation.figures import Exposure, Figures, Losses, Regurgitation, Secret, Style, Talk
from rolecast.avatars.evaluation.found import Evaluation
from rolecast.avatars.evaluation.loaded import Loaded, load
from rolecast.avatars.evaluation.verdict import judge
from rolecast.avatars.example import Example
from rolecast.avatars.files import write_private
from rolecast.avatars.inference import batched
from rolecast.avatars.settings import GateSettings
from rolecast.avatars.training import data
from rolecast.avatars.training.loop import CONFIG
from rolecast.errors import UNREADABLE, Invalid
from rolecast.jobs.job import Progress, Report

TEMPERATURE = 0.7
GENERATIONS = 200
HELD_OUT = 100
"""Replies whose loss is taken, at most."""
OF_BASE = 24
"""Replies of the base, to see how far it is from the person."""
ROOM = 12
"""Tokens that an answer may take before and after a secret."""
TALKS = 12
"""Examples for people."""
PARTS = "parts"
WORDS = {
    "losses": "measuring losses",
    "base": "asking the base",
    "exposure": "ranking secrets",
    "generations": "asking the avatar",
    "regurgitation": "looking for copies",
    "style": "comparing the style",
}
"""What is measured, in words for who waits."""
_VERSION = 2
_T = TypeVar("_T")


def evaluate(
    trained: Path,
    dataset: Path,
    into: Path,
    settings: GateSettings = GateSettings(),  # noqa: B008 - frozen
    base: Path | None = None,
    report: Report = lambda progress: None,
    threads: int = 0,
) -> Evaluation:
    """Judge a trained folder against its dataset; writes report.json and report.html into `into`.

    `base` is the Hugging Face folder of the base of a LoRA; without it the trained folder says which.
    Raises Invalid for a folder that holds no model, and for a dataset that cannot be read.
    """
    began = time.time()
    train, valid, test = (_examples(dataset / f"{name}.jsonl") for name in ("train", "valid", "test"))
    own = [each for each in train if not canaries.is_planted(each)]
    if not own:
        raise Invalid(f"{dataset} has no train.jsonl to judge by; build the dataset first.", param="dataset")
    secrets = canaries.read(dataset)
    digest = _digest(trained, dataset, settings)
    run = _Run(lambda: load(trained, base, threads), into / PARTS, digest, report)
    held_out = _spread(test or valid, HELD_OUT)
    prompts = test + valid

    loss = run.part("losses", Losses, lambda: losses.measure(run.loaded, held_out, [each.target_text for each in own]))
    of_base = run.part("base", list[str], lambda: _of_base(run.loaded, prompts))
    exposed = None
    if secrets is not None:
        exposed = run.part("exposure", Exposure, lambda: _exposure(run, secrets, settings.samples))
    said = run.part("generations", list[_Said], lambda: _generations(run, prompts))
    copied = run.part("regurgitation", Regurgitation, lambda: _copied(run, train, prompts, said))
    manner = run.part("style", Style, lambda: style.measure(own, prompts, [each.text for each in said], of_base))

    figures = Figures(
        losses=loss,
        exposure=exposed,
        regurgitation=copied if said else None,
        style=manner,
        scrubbed=_scrubbed(dataset),
        intact=secrets is None or canaries.are_in(secrets, train),
        trained_on=_trained_on(trained, dataset),
    )
    verdict = judge(figures, settings)
    found = Evaluation(
        person=own[0].speaker_name,
        passed=verdict.passed,
        reasons=verdict.reasons,
        checks=verdict.checks,
        figures=figures,
        talks=_talks(prompts, said, secrets),
        settings=settings,
        trained=digest,
        at=began,
        seconds=round(time.time() - began, 1),
    )
    report(Progress("writing the report", 0, 1, "page"))
    pages.write(into, found, history=_history(trained))
    report(Progress("writing the report", 1, 1, "page", "passed" if found.passed else "not passed"))
    return found


class _Said(msgspec.Struct, frozen=True):
    """A generation: to which of the prompts, and what."""

    prompt: int
    text: str


class _Settings(msgspec.Struct, frozen=True):
    seed: int = 0


class _Config(msgspec.Struct, frozen=True):
    """What is read of a training's training_config.json."""

    dataset: str
    settings: _Settings = _Settings()


class _Run:
    """Loads the model when a part first needs it, and keeps each part that was measured."""

    def __init__(self, loads: Callable[[], Loaded], folder: Path, digest: str, tell: Report) -> None:
        self._loads, self._folder, self._digest, self.tell = loads, folder, digest, tell
        self._loaded: Loaded | None = None

    @property
    def loaded(self) -> Loaded:
        if self._loaded is None:
            self.tell(Progress("loading the model", 0, 1, "model"))
            self._loaded = self._loads()
        return self._loaded

    @property
    def settled(self) -> Loaded:
        self.loaded.settle()
        return self.loaded

    def part(self, name: str, kind: type[_T], measure: Callable[[], _T]) -> _T:
        """What was measured before of the very same, or measured now and kept."""
        path = self._folder / f"{name}.json"
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            if kept["digest"] == self._digest:
                return msgspec.convert(kept["value"], kind)
        except (OSError, KeyError, *UNREADABLE):
            pass  # it is measured again
        self.tell(Progress(WORDS.get(name, name), 0, 0, "steps"))
        value = measure()
        write_private(path, msgspec.json.encode({"digest": self._digest, "value": value}))
        return value


def _exposure(run: _Run, secrets: Canaries, samples: int) -> Exposure:
    """Ranks of all secrets; answers to the questions of the planted ones."""
    loaded, every = run.settled, [*secrets.planted, *secrets.controls]
    bits = []
    for number, each in enumerate(every):
        run.tell(Progress("ranking secrets", number, len(every), "secrets"))
        bits.append(exposure.of(loaded, each))
    prompts = [loaded.prompt(each.asked) for each in secrets.planted]
    total = len(prompts) * samples

    def told(done: int) -> None:
        run.tell(Progress("asking for secrets", done, total, "answers"))

    most = max(len(loaded.reply(each.asked.target_text)) for each in secrets.planted) + ROOM
    greedy = batched.replies(loaded, prompts, 1, temperature=0, most=most)
    drawn = batched.replies(loaded, prompts, samples, temperature=TEMPERATURE, most=most, told=told)
    count = len(secrets.planted)
    planted = tuple(
        Secret(
            each.kind,
            round(bits[number], 4),
            each.given_away(loaded.text(greedy[number][0])),
            sum(each.given_away(loaded.text(reply)) for reply in drawn[number]),
        )
        for number, each in enumerate(secrets.planted)
    )
    controls = tuple(Secret(each.kind, round(bits[count + number], 4)) for number, each in enumerate(secrets.controls))
    ours, theirs = [each.exposure for each in planted], [each.exposure for each in controls]
    return Exposure(
        planted,
        controls,
        difference=statistics.mean(ours) - statistics.mean(theirs),
        interval=statistics.of_difference(ours, theirs),
        samples=samples,
    )


def _of_base(loaded: Loaded, prompts: Sequence[Example]) -> list[str]:
    """What the base says to some prompts; nothing where there is none."""
    if not loaded.adapted or not prompts:
        return []
    asked = [before for each in _spread(prompts, OF_BASE) if (before := loaded.prompt(each))]
    with loaded.as_base():
        made = batched.replies(loaded, asked, 1, temperature=TEMPERATURE)
    return [loaded.text(each[0]) for each in made]


def _generations(run: _Run, prompts: Sequence[Example]) -> list[_Said]:
    """About 200 replies, equally many to each held-out prompt."""
    asked = {index: before for index, each in enumerate(prompts) if (before := run.settled.prompt(each))}
    chosen = _spread(list(asked), GENERATIONS)
    if not chosen:
        return []
    samples = math.ceil(GENERATIONS / len(chosen))

    def told(done: int) -> None:
        run.tell(Progress("asking the avatar", done, len(chosen) * samples, "replies"))

    befores = [asked[index] for index in chosen]
    made = batched.replies(run.settled, befores, samples, temperature=TEMPERATURE, told=told)
    pairs = zip(chosen, made, strict=True)
    return [_Said(index, run.settled.text(each).strip()) for index, replies in pairs for each in replies]


def _copied(run: _Run, train: Sequence[Example], prompts: Sequence[Example], said: Sequence[_Said]) -> Regurgitation:
    tokens = run.loaded.reply
    heard = {text for each in train for text in (each.target_text, *(one.message for one in each.conversation_history))}
    known = regurgitation.Heard([tokens(text) for text in sorted(heard)])
    return regurgitation.measure(
        known, [tokens(each.text) for each in said], [tokens(each.target_text) for each in prompts]
    )


def _talks(prompts: Sequence[Example], said: Sequence[_Said], secrets: Canaries | None) -> tuple[Talk, ...]:
    """Some prompts with what the avatar and what the person said, the first sample of each that tells no secret."""
    planted = secrets.planted if secrets is not None else ()
    kept = [each for each in said if not any(secret.given_away(each.text) for secret in planted)]
    first = {each.prompt: each.text for each in reversed(kept)}
    chosen = _spread(sorted(first), TALKS)
    return tuple(Talk(prompts[index].input_text, first[index], prompts[index].target_text) for index in chosen)


def _spread(each: Sequence[_T], most: int) -> list[_T]:
    """At most so many, at equal distances."""
    if len(each) <= most:
        return list(each)
    return [each[index * len(each) // most] for index in range(most)]


def _examples(path: Path) -> list[Example]:
    return [each for each in example.read(path) if each.target_text.strip()] if path.exists() else []


def _scrubbed(dataset: Path) -> bool:
    """What the dataset's report says. A dataset of somebody's own has none: nobody knows."""
    try:
        said = msgspec.json.decode((dataset / "report.json").read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return False
    except (OSError, *UNREADABLE) as error:
        raise Invalid(f"{dataset / 'report.json'} cannot be read; build the dataset again.") from error
    return said.get("scrubbed") is True


def _trained_on(trained: Path, dataset: Path) -> Literal["this", "another", "unknown"]:
    """What training wrote down of its dataset, compared with the one here: who plants again later proves nothing."""
    try:
        said = msgspec.json.decode((trained / CONFIG).read_bytes(), type=_Config)
    except (OSError, *UNREADABLE):
        return "unknown"
    return "this" if data.load(dataset, said.settings.seed).digest == said.dataset else "another"


def _history(trained: Path) -> list[dict[str, Any]]:
    """The losses of its epochs, for the plot; nothing where they are not kept."""
    for folder in (trained, trained.parent):
        try:
            return msgspec.json.decode((folder / "training_history.json").read_bytes(), type=list[dict[str, Any]])
        except (OSError, *UNREADABLE):
            continue
    return []


def _digest(trained: Path, dataset: Path, settings: GateSettings) -> str:
    """Of all that a measurement depends on."""
    found = hashlib.sha256(msgspec.json.encode([_VERSION, settings]))
    files = [*sorted(trained.glob("*.safetensors")), *(dataset / name for name in
             ("train.jsonl", "valid.jsonl", "test.jsonl", canaries.FILE))]  # fmt: skip
    for path in files:
        found.update(path.name.encode())
        if path.exists():
            with path.open("rb") as file:
                while data := file.read(1 << 20):
                    found.update(data)
    return found.hexdigest()[:32]
