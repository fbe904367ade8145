"""PyTorch as an engine: CPU, CUDA, Apple's GPU. Weights in bf16 with fp32 masters where that is faster, else fp32."""

import base64
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor

from rolecast.avatars.settings import TrainingSettings
from rolecast.avatars.training import loss, models, precision, steps
from rolecast.avatars.training.engine import Batch, Engine, NoMemory, Precision, Start
from rolecast.avatars.training.llama import Llama
from rolecast.avatars.training.optimiser import Masters
from rolecast.errors import Invalid
from rolecast.telemetry import processor

STATE = "optimizer.safetensors"
AT_ONCE = {"cpu": 1024, "mps": 4096, "cuda": 32768}
"""Tokens whose activations are held at the same time; on a GPU more of them are no faster."""
ROOMY = 12 << 30
"""Bytes of a machine on which a CPU holds twice as many where that pays: of an adapter, whose layers are narrow, and on
processors with AMX, whose products want many rows. Of the whole memory, not of what is free: the same training must
come out the same, bit by bit."""
STEPS_WORTH_COMPILING = 400
"""torch.compile needs some ten seconds before the first step. On a CPU it gains 3 % over `steps` of our own."""


class TorchEngine:
    """See `engine.Engine`."""

    name = "torch"

    def __init__(
        self, model: Llama, start: Start, where: torch.device, exact: Precision, told: TrainingSettings
    ) -> None:
        self._model = model
        self._start, self._rank = start, told.rank
        self._where = where
        self.precision: Precision = exact
        self.compiled = False
        roomy = where.type == "cpu" and psutil.virtual_memory().total >= ROOMY
        pays = start.method == "lora" or "AMX" in processor.features()
        self.at_once = AT_ONCE[where.type] * (2 if roomy and pays else 1)
        self.device = f"cuda ({torch.cuda.get_device_name(where)})" if where.type == "cuda" else where.type
        each = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
        self.parameters = sum(one.numel() for one in model.parameters())
        self.trained = sum(one.numel() for _, one in each)
        self._masters = Masters(each, decay=told.weight_decay, clip=told.clip)
        model.recomputes = told.checkpointing

    def compile(self) -> None:
        """Compile a layer, once for all of them: what lies between the products is then one pass over memory."""
        torch.compiler.config.recompile_limit = 64
        for layer in self._model.model.layers:
            layer.compile(dynamic=True)
        self.compiled = True

    def _hidden(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the head sees of the tokens that are learnt, (tokens, width), and which they are."""
        tokens = torch.from_numpy(batch.tokens).to(self._where)
        # The place before a token says it.
        places = torch.from_numpy(np.flatnonzero(batch.learnt[:, 1:])).to(self._where)
        return self._model.seen(tokens[:, :-1], places), tokens[:, 1:].flatten().index_select(0, places)

    def gradient(self, batch: Batch, count: int) -> float:
        found = 0.0
        with _memory():
            for part in parts(batch, self.at_once):
                hidden, target = self._hidden(part)
                total = loss.summed(hidden, self._model.head, target, 1 / count)
                total.backward()  # type: ignore[no-untyped-call]
                found += float(total.detach()) * count
        return found

    def apply(self, rate: float) -> float:
        with _memory():
            return self._masters.apply(rate)

    def loss(self, batch: Batch) -> float:
        found = 0.0
        with _memory(), torch.no_grad():
            for part in parts(batch, self.at_once):
                hidden, target = self._hidden(part)
                found += loss.measured(hidden, self._model.head, target)
        return found

    def save(self, folder: Path) -> None:
        models.save(self._start, self._rank, folder, self._masters.weights())

    def save_state(self, folder: Path) -> Mapping[str, str]:
        from safetensors.torch import save_file

        save_file(self._masters.moments(), folder / STATE)
        words = {"torch": base64.b64encode(torch.get_rng_state().numpy().tobytes()).decode()}
        if self._where.type == "cuda":
            words["cuda"] = base64.b64encode(torch.cuda.get_rng_state().numpy().tobytes()).decode()
        return words

    def restore(self, folder: Path, words: Mapping[str, str]) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            weights = models.load(self._start, self._masters.master, folder)
            self._masters.restore(weights, {_since(name): each for name, each in load_file(folder / STATE).items()})
            torch.set_rng_state(_state(words["torch"]))
            if self._where.type == "cuda" and "cuda" in words:
                torch.cuda.set_rng_state(_state(words["cuda"]))
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise Invalid(f"{folder} is no checkpoint of this model: {str(error)[:200]}") from error

    def memory(self) -> int:
        if self._where.type == "cuda":
            return int(torch.cuda.memory_allocated())
        return int(psutil.Process().memory_info().rss)


def parts(batch: Batch, most: int) -> Iterator[Batch]:
    """The rows of a batch by length, so many tokens at a time (a row at least), each part as long as its longest."""
    shape = batch.tokens.shape
    if shape[0] * shape[1] <= most:
        yield batch
        return
    # Beyond the last token that is learnt nothing matters.
    ends = shape[1] - np.argmax(batch.learnt[:, ::-1], axis=1)
    order = np.argsort(ends, kind="stable")
    first = 0
    while first < len(order):
        count = 1
        while first + count < len(order) and (count + 1) * ends[order[first + count]] <= most:
            count += 1
        rows, longest = order[first : first + count], int(ends[order[first + count - 1]])
        yield Batch(batch.tokens[rows, :longest], batch.learnt[rows, :longest])
        first += count


def _since(name: str) -> str:
    """A name of the optimiser's state; trainings begun before PyTorch trained a Llama of ours had peft's."""
    return name.replace(".base_model.model.", ".", 1).removesuffix(".default.weight")


def _state(word: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(word)), dtype=torch.uint8)


@contextlib.contextmanager
def _memory() -> Iterator[None]:
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise NoMemory(str(error)[:300]) from error
    except RuntimeError as error:
        if "allocate memory" in str(error) or "out of memory" in str(error):
            raise NoMemory(str(error)[:300]) from error
        raise


def engine(start: Start, settings: TrainingSettings) -> Engine:
    """PyTorch with that model. Raises Invalid when it cannot be loaded."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    where = models.device()
    exact = precision.choose(where, settings.precision)
    compiled = settings.compiled
    if compiled is None:
        worth = where.type != "cpu" and start.method == "scratch" and start.steps >= STEPS_WORTH_COMPILING
        compiled = worth and not settings.checkpointing
    how = steps.steps(where, compiled=compiled)
    model = models.made(start, where, exact, how, rank=settings.rank, seed=settings.seed)
    made = TorchEngine(model, start, where, exact, settings)
    if compiled:
        made.compile()
    return made
