"""How quick a training or a model is, and what memory it takes: `slm.utils`."""

import itertools
import math
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import psutil

from rolecast.avatars import example
from rolecast.avatars.documented.engine import SLMInferenceEngine
from rolecast.avatars.documented.said import say, shown
from rolecast.avatars.documented.trainer import SLMTrainer
from rolecast.errors import Invalid
from rolecast.jobs.job import Progress
from rolecast.values import size_text

PROMPTS = (
    "Hello, how are you?",
    "What did you do today?",
    "What do you think about the weather?",
    "Can you tell me something funny?",
    "When do we meet again?",
)
TOKENS = 48
"""Of each generation, at most."""


@dataclass(frozen=True)
class Profile:
    """What was measured. Times in seconds, memory in bytes."""

    what: str
    """`training`, `inference`"""
    rounds: int
    """Steps, or generations."""
    seconds: float
    tokens: int
    tokens_per_second: float
    round_seconds: float
    """Of one, in the mean."""
    peak_memory_bytes: int
    """Of this process."""
    first_token_seconds: float | None = None
    """The median."""
    first_token_p95_seconds: float | None = None

    def lines(self) -> list[str]:
        """For people."""
        name = "steps" if self.what == "training" else "generations"
        found = [
            f"{self.what}: {self.rounds} {name} in {self.seconds:.1f} s",
            f"  {self.tokens_per_second:.0f} tokens/s, {1000 * self.round_seconds:.0f} ms each",
        ]
        if self.first_token_seconds is not None and self.first_token_p95_seconds is not None:
            first, slow = 1000 * self.first_token_seconds, 1000 * self.first_token_p95_seconds
            found.append(f"  first token after {first:.0f} ms, 95 % within {slow:.0f} ms")
        return [*found, f"  {size_text(self.peak_memory_bytes)} of memory at most"]


def profile_model(
    model: SLMTrainer | SLMInferenceEngine,
    num_steps: int = 100,
    num_generations: int = 50,
    max_new_tokens: int = TOKENS,
) -> Profile:
    """Measure a trainer for `num_steps` steps, or an engine for `num_generations` texts; print and return it.

    Neither is changed: what is trained is thrown away, and the conversation stays. Raises Invalid for anything else.
    """
    if isinstance(model, SLMTrainer):
        found = _training(model, num_steps)
    elif isinstance(model, SLMInferenceEngine):
        found = _inference(model, num_generations, max_new_tokens)
    else:
        raise Invalid("An SLMTrainer or an SLMInferenceEngine can be profiled.")
    for line in found.lines():
        say(line)
    return found


def _training(trainer: SLMTrainer, steps: int) -> Profile:
    from rolecast.avatars.training.train import train

    if steps < 1:
        raise Invalid("There is nothing to measure in less than 1 step.", param="num_steps")
    with tempfile.TemporaryDirectory(prefix="rolecast-profile-") as scratch, shown("profiling") as report:
        into = Path(scratch)
        mine = type(trainer)(
            trainer.model, trainer.tokenizer, replace(trainer.config, output_dir=into, model_name="it")
        )
        learnt, _ = mine.prepare_dataset()
        settings = mine.settings()
        # an epoch that is long enough: between two of them it would be checked and saved
        count = steps * settings.batch * settings.accumulation
        example.write(into / "data" / "train.jsonl", itertools.islice(itertools.cycle(learnt), count))
        settings = msgspec.structs.replace(settings, epochs=2, patience=0, save_every=0, rehearsal=0)
        done = 0

        def heard(now: Progress) -> None:
            nonlocal done
            done = now.done if now.step == "training" else done
            report(now)

        base = mine.base(settings, heard)
        trained = train(into / "data", into / "run", settings, base, heard, lambda: done >= steps, resume=False)
    return Profile(
        "training",
        trained.steps,
        trained.seconds,
        trained.tokens,
        trained.tokens_per_s,
        trained.seconds / max(1, trained.steps),
        trained.peak_bytes,
    )


def _inference(engine: SLMInferenceEngine, generations: int, most: int) -> Profile:
    if generations < 1:
        raise Invalid("There is nothing to measure in less than 1 generation.", param="num_generations")
    engine.generate(PROMPTS[0], 1)  # memory is taken, layers are made ready
    firsts, tokens, peak = [], 0, 0
    process = psutil.Process(os.getpid())
    began = time.perf_counter()
    with shown("profiling") as report:
        for number in range(generations):
            started, first, said = time.perf_counter(), None, []
            for piece in engine.generate(PROMPTS[number % len(PROMPTS)], most, stream=True):
                first = first or time.perf_counter() - started
                said.append(piece)
            firsts.append(first or time.perf_counter() - started)
            tokens += engine.count_tokens("".join(said))
            peak = max(peak, process.memory_info().rss)
            report(Progress("generating", number + 1, generations, "texts"))
    seconds = time.perf_counter() - began
    return Profile(
        "inference",
        generations,
        seconds,
        tokens,
        tokens / seconds,
        seconds / generations,
        peak,
        statistics.median(firsts),
        sorted(firsts)[math.ceil(0.95 * len(firsts)) - 1],
    )
