"""How much memory a training takes, and what to change when that is too much. An estimate: within a third or so."""

import json
from pathlib import Path

import msgspec

from rolecast.avatars.settings import TrainingSettings
from rolecast.avatars.training.engine import Method, Precision
from rolecast.values import size_text

_LOGITS = 2**24
"""Of a chunk; see loss.py."""
_PROCESS = 450e6
"""Python and PyTorch themselves."""


class Shape(msgspec.Struct, frozen=True):
    """Of a Llama."""

    width: int
    hidden: int
    heads: int
    layers: int
    vocabulary: int
    parameters: int

    @classmethod
    def of(cls, folder: Path) -> "Shape":
        """Of a folder with a config.json."""
        said = json.loads((folder / "config.json").read_text())
        width, hidden, layers = said["hidden_size"], said["intermediate_size"], said["num_hidden_layers"]
        vocabulary, heads = said["vocab_size"], said["num_attention_heads"]
        grouped = said.get("num_key_value_heads") or heads
        each = width * width * (2 + 2 * grouped / heads) + 3 * width * hidden
        tables = vocabulary * width * (1 if said.get("tie_word_embeddings") else 2)
        return cls(width, hidden, heads, layers, vocabulary, int(layers * each + tables))


def needed(
    shape: Shape, settings: TrainingSettings, method: Method, precision: Precision, longest: int, at_once: int = 0
) -> int:
    """Bytes of a training whose batches have rows of `longest` tokens, of which `at_once` are computed at a time, a row
    at least (0 = whole batches)."""
    size = 2 if precision == "bf16" else 4
    pairs = shape.layers * settings.rank * (8 * shape.width + 3 * (shape.width + shape.hidden))
    trained = shape.parameters if method == "scratch" else pairs
    # Of a trained parameter: a master where it is narrow, two moments, two gradients at the worst.
    held = shape.parameters * size + trained * ((4 if size == 2 else 0) + 8 + size + 4)
    rows = settings.batch * longest
    if at_once:
        rows = min(rows, max(at_once, longest))
    # An engine that takes a batch in parts keeps no weights of attention.
    each: float = 14 * shape.width + 5 * shape.hidden + (0 if at_once else 2 * shape.heads * longest)
    layer = rows * each * size
    if method == "lora":
        layer *= 1.3  # what goes into each pair of an adapter
    kept = layer + shape.layers * rows * shape.width * size if settings.checkpointing else shape.layers * layer
    return int(_PROCESS + held + kept + 3 * _LOGITS * size)


def advice(
    shape: Shape,
    settings: TrainingSettings,
    method: Method,
    precision: Precision,
    longest: int,
    free: int,
    at_once: int = 0,
) -> str:
    """What to change, in a sentence with numbers: all that would be less."""

    def estimate(**changes: object) -> int:
        changed = msgspec.structs.replace(settings, **changes)
        return needed(shape, changed, method, precision, min(longest, changed.sequence), at_once)

    def less(what: str, costs: str, **changes: object) -> list[str]:
        found = estimate(**changes)
        return [f"{what} ({costs}about {size_text(found)})"] if found < estimate() else []

    now = f"Batches of {settings.batch} examples of up to {longest} tokens need about {size_text(estimate())}"
    room = f"; {size_text(free)} are free" if free else ""
    ways = []
    if settings.batch > 1:
        fewer = max(1, settings.batch // 4)
        times = settings.accumulation * -(-settings.batch // fewer)
        ways += less(f"batch {fewer} with accumulation {times}", "the same result, ", batch=fewer)
    if not settings.checkpointing:
        ways += less("checkpointing", "slower by a third, ", checkpointing=True)
    if longest > 128:
        half = max(128, longest // 2)
        ways += less(f"sequence {half}", "longer chats lose their beginning, ", sequence=half)
    if method == "scratch" and not ways:
        ways.append(f"layers {max(1, settings.layers // 2)} or a smaller width")
    return f"{now}{room}. Try {', or '.join(ways)}." if ways else f"{now}{room}; nothing smaller is left to try here."
