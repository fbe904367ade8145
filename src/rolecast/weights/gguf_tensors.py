"""The list of tensors in a GGUF file: whether each lies inside it, and what they add up to.

Knows the sizes of ggml's types and which of them llama.cpp keeps in an order of its own; reads no tensor.
"""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rolecast.weights.gguf import Cursor

# ggml's tensor types: number -> (elements per block, bytes per block).
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip
_REPACKED = frozenset({2, 12, 20, 39})
"""Types of which llama.cpp keeps a second, rearranged copy on a CPU: Q4_0, Q4_K, IQ4_NL, MXFP4."""


class Tensors(msgspec.Struct):
    """What the list of tensors adds up to."""

    parameters: int = 0
    bytes: int = 0
    repacked_bytes: int = 0
    tied_bytes: int = 0
    """The part of `repacked_bytes` that is the embedding, used as the output, too."""
    layer_bytes: int = 0
    """In layers; the rest is before and behind them."""
    output_bytes: int = 0
    """Of an output that is no copy of the embedding."""
    ranks: bool = False


def weigh(cursor: "Cursor", tensors: int, alignment: int, size: int) -> Tensors:
    """Add up what matters of so many tensors of a file of `size` bytes. Raises ValueError for one outside of it."""
    if alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 20:
        raise ValueError(f"its alignment {alignment} is not a power of two")
    total, last, embedding, all_known = Tensors(), (0, ""), 0, True
    for _ in range(tensors):
        name, dimensions, elements, kind, offset = _tensor(cursor)
        per_block, block_bytes = BLOCKS.get(kind, (1, 0))  # a newer type: only its start can be checked
        if elements >= 1 << 63 or elements % per_block or offset % alignment:
            raise ValueError(f"tensor {name!r} has an impossible shape or place")
        length = elements // per_block * block_bytes
        all_known = all_known and block_bytes > 0
        total.parameters += elements
        total.bytes += length
        total.ranks = total.ranks or name.startswith("cls.")
        if name.startswith("blk."):
            total.layer_bytes += length
        elif name == "output.weight":
            total.output_bytes = max(1, length)
        if kind in _REPACKED and name == "token_embd.weight":
            embedding = length
        elif kind in _REPACKED and dimensions >= 2:
            total.repacked_bytes += length
        last = max(last, (offset + length, name))
    start = -(-cursor.at // alignment) * alignment
    if tensors and start + last[0] > size:
        raise ValueError(f"tensor {last[1]!r} ends at byte {start + last[0]}, but the file has {size}")
    if not all_known:
        total.bytes = max(total.bytes, size - start)
    total.tied_bytes = 0 if total.output_bytes else embedding
    total.repacked_bytes += total.tied_bytes
    return total


def _tensor(cursor: "Cursor") -> tuple[str, int, int, int, int]:
    """Name, dimensions, elements, type and place of the next tensor."""
    name = cursor.text()
    dimensions = cursor.number("<I")
    if not 0 <= dimensions <= 4:
        raise ValueError(f"tensor {name!r} has {dimensions} dimensions")
    elements = 1
    for _ in range(dimensions):
        elements *= cursor.number("<Q")
    return name, dimensions, elements, cursor.number("<I"), cursor.number("<Q")
