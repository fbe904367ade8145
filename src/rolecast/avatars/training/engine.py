"""What the loop needs of an engine (PyTorch, MLX), and what passes between them. Imports neither.

The loop (`train.py`) knows no tensors: it makes batches, asks for gradients, says when and at which rate they are
applied, and where to save. An engine is a module with a function `engine(start, settings) -> Engine`:
`torch_engine.engine` and `mlx_engine.engine`.

What engines agree on, so that one can go on where the other ended and both give the same logits:
- LoRA: rank `settings.rank`, alpha = 2 * rank, no dropout, on all linear layers of the decoder (q k v o gate up down),
  saved in peft's format: adapter_config.json, adapter_model.safetensors (fp32).
- From scratch: weights N(0, 0.02), norms 1, tied embeddings, unless the start folder has a model.safetensors.
- AdamW: beta 0.9 and 0.999, epsilon 1e-8, bias correction, decoupled decay `settings.weight_decay` of matrices alone;
  the gradient's norm over all trained parameters is clipped to `settings.clip` (0 = not) before.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from rolecast.avatars.settings import TrainingSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Method = Literal["lora", "scratch"]
Precision = Literal["fp32", "bf16"]


ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""What an adapter changes: all products of a layer. Attention alone is quicker and gives garbled replies."""


def alpha(rank: int) -> int:
    """The scale of an adapter of that rank, before it is divided by the rank."""
    return 2 * rank


class Start(msgspec.Struct, frozen=True):
    """What training starts from."""

    method: Method
    folder: Path
    """A Hugging Face folder of a Llama: config.json and, unless it begins at nothing, safetensors. Only read."""
    longest: int
    """Tokens of the longest example."""
    steps: int
    """How many steps are planned: what is worth compiling."""


class Batch(msgspec.Struct, frozen=True):
    """Examples of about one length, padded on the right: attention that is causal needs no mask for that."""

    tokens: "NDArray[np.int64]"
    """(rows, length)"""
    learnt: "NDArray[np.bool_]"
    """(rows, length): tokens whose loss counts, each given those before it; never the first of a row, never padding.
    A row may have several replies."""

    @property
    def count(self) -> int:
        """Tokens whose loss counts."""
        return int(self.learnt.sum())


class Engine(Protocol):
    """A model that is being trained, on one device."""

    name: str
    """`torch`, `mlx`"""
    device: str
    """For people: `cpu`, `cuda (NVIDIA H100)`."""
    precision: Precision
    compiled: bool
    at_once: int
    """Tokens that are computed at the same time, a row at least; 0 = whole batches."""
    parameters: int
    """All of the model."""
    trained: int
    """Those that are trained."""

    def gradient(self, batch: Batch, count: int) -> float:
        """Add the gradient of `sum of the batch's losses / count` (count = learnt tokens of the whole step) to what
        waits for `apply`; the sum of the losses, in nats. Raises NoMemory."""
        ...

    def apply(self, rate: float) -> float:
        """One step of the optimiser at that learning rate with what was added up, which is then forgotten; the
        gradient's norm before it was clipped. A norm that is no number changes nothing but that."""
        ...

    def loss(self, batch: Batch) -> float:
        """The sum of the batch's losses in nats, without a gradient. Raises NoMemory."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model as others read it, weights in fp32: for LoRA adapter_config.json and
        adapter_model.safetensors, from scratch config.json and model.safetensors. Tokenizers are the loop's."""
        ...

    def save_state(self, folder: Path) -> Mapping[str, str]:
        """Write what `restore` needs besides `save` (moments of the optimiser, in safetensors; never a pickle);
        small things, such as states of random generators, as words that the loop keeps."""
        ...

    def restore(self, folder: Path, words: Mapping[str, str]) -> None:
        """Go on as after `save` and `save_state` into that folder: every later number is the same. Raises Invalid."""
        ...

    def memory(self) -> int:
        """Bytes that the process holds now (the device's, on a GPU)."""
        ...


class MakesEngine(Protocol):
    """`engine` of an engine's module."""

    def __call__(self, start: Start, settings: TrainingSettings) -> Engine:
        """Raises Invalid for what it cannot train, with the next step."""
        ...


class NoMemory(Exception):
    """There is not enough memory for a batch."""
