"""Reads a folder of safetensors, as transformers and MLX have models, without trusting it: how large a model is.

A file begins with the length of a JSON header and the header; every length is checked against the file before it
is used, and no tensor is read. `config.json` beside the files tells layers and heads. Knows what such a model keeps
of a token; does not know who runs it.
"""

import functools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from rolecast.errors import UNREADABLE, SourceError
from rolecast.footprint import Estimate, Footprint

MIB = 1 << 20
HEADER_LIMIT = 32 * MIB
"""Bytes of one header; that of a model of a thousand layers with experts has a tenth of it."""
CONFIG_LIMIT = 4 * MIB
MOST_FILES = 1000
MOST_TENSORS = 1_000_000
ENGINE = 300 * MIB
"""A Python process with such an engine imported, before it has any weights."""
CONFIG, PATTERN = "config.json", "*.safetensors"
_WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}
_STEP = 256
"""Engines let a cache grow in steps of so many tokens."""
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64,
    "C64": 64,
}  # fmt: skip

Layers = Annotated[int, msgspec.Meta(ge=0, le=4096)]
Heads = Annotated[int, msgspec.Meta(ge=0, le=1 << 14)]
Width = Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=1 << 30)]


class _Tensor(msgspec.Struct):
    dtype: str
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    data_offsets: tuple[int, int]


class Shape(msgspec.Struct, frozen=True):
    """What `config.json` says of a model; 0 = it does not say."""

    num_hidden_layers: Layers = 0
    num_attention_heads: Heads = 0
    num_key_value_heads: Heads | None = None
    head_dim: Width | None = None
    hidden_size: Width = 0
    intermediate_size: Any = 0
    vocab_size: Width = 0
    max_position_embeddings: Tokens = 0
    torch_dtype: str | None = None
    dtype: str | None = None

    @property
    def token_bytes(self) -> int:
        """Bytes that all layers keep of one token, in the type of the weights."""
        heads = self.num_attention_heads if self.num_key_value_heads is None else self.num_key_value_heads
        width = self.head_dim or self.hidden_size // (self.num_attention_heads or 1)
        return 2 * self.num_hidden_layers * heads * width * _WIDTHS.get(self.dtype or self.torch_dtype or "", 2)


class _Nested(msgspec.Struct):
    text_config: Shape | None = None


def tensor_bytes(path: Path) -> int:
    """Bytes of all tensors in one file. Raises SourceError for one that is damaged or points outside itself."""
    try:
        size = path.stat().st_size if path.is_file() else 0
        if size < 8:
            raise ValueError("it is too short" if path.is_file() else "it is not a regular file")
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, HEADER_LIMIT):
                raise ValueError(f"its header is said to have {length} bytes")
            return _sum(file.read(length), size - 8 - length)
    except (ValueError, OSError, struct.error, *UNREADABLE) as error:
        raise SourceError(f"{path.name} is not usable: {error}. Pull the model again or choose another.") from error


def shape(folder: Path) -> Shape:
    """What `config.json` in that folder says. Raises SourceError when it is missing or says what cannot be."""
    path = folder / CONFIG
    try:
        if path.stat().st_size > CONFIG_LIMIT:
            raise ValueError(f"it has more than {CONFIG_LIMIT} bytes")
        raw = path.read_bytes()
        nested = msgspec.json.decode(raw, type=_Nested).text_config
        return nested or msgspec.json.decode(raw, type=Shape)
    except (ValueError, OSError, *UNREADABLE) as error:
        raise SourceError(f"{CONFIG} is not usable: {error}. Pull the model again or choose another.") from error


def folder_estimate(folder: Path, context: int, parallel: int, *, engine_bytes: int = ENGINE) -> Estimate:
    """What a model in that folder takes on an engine whose process alone takes `engine_bytes`.

    `context` is tokens of one slot, 0 = all that it was trained on. The cache grows with what is read, so it is not
    there yet when the model has loaded. All of it counts as RAM, which a GPU of Apple's shares. Raises SourceError.
    """
    files = _stamps(folder)
    if not files:
        raise SourceError(f"{folder.name} holds no {PATTERN}; name the folder of a model, or pull it again.")
    return _estimate(folder, files, context, parallel, engine_bytes)


@functools.lru_cache(maxsize=64)
def _estimate(
    folder: Path, files: tuple[tuple[str, int, int], ...], context: int, parallel: int, engine_bytes: int
) -> Estimate:
    weights = sum(tensor_bytes(folder / name) for name, _, _ in files if name != CONFIG)
    said = shape(folder)
    tokens = min(context or said.max_position_embeddings, said.max_position_embeddings or context)
    cells = -(-tokens // _STEP) * _STEP
    at_once = [("engine", engine_bytes), ("weights", weights)]
    later = [("cache", said.token_bytes * cells * parallel), ("buffers", _work(said))]
    loaded = sum(count for _, count in at_once)
    parts = tuple((name, count) for name, count in (*at_once, *later) if count)
    return Estimate(parts, Footprint(loaded), Footprint(loaded + sum(count for _, count in later)))


def _work(said: Shape) -> int:
    """What one step over a prompt computes in: the inner widths of `_STEP` tokens, and the scores of one."""
    inner = said.intermediate_size if isinstance(said.intermediate_size, int) else 0
    return _STEP * 4 * (5 * said.hidden_size + 3 * min(inner, 1 << 24)) + 4 * said.vocab_size


def _stamps(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """The files that an estimate rests on, with size and time of change; few enough to be a model's."""
    found = []
    try:
        for path in sorted(folder.glob(PATTERN)):
            stat = path.stat()
            found.append((path.name, stat.st_size, stat.st_mtime_ns))
            if len(found) > MOST_FILES:
                raise SourceError(f"{folder.name} holds more than {MOST_FILES} files of weights; no model has so many.")
        if found and (config := folder / CONFIG).exists():
            stat = config.stat()
            found.append((CONFIG, stat.st_size, stat.st_mtime_ns))
    except OSError:
        return ()
    return tuple(found)


def _sum(header: bytes, room: int) -> int:
    """Bytes of the tensors that a header lists, each checked against the `room` behind it."""
    listed = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
    if len(listed) > MOST_TENSORS:
        raise ValueError(f"{len(listed)} tensors are more than any model has")
    total = sum(_checked(name, tensor, room) for name, tensor in _tensors(listed))
    if total > room:
        raise ValueError("its tensors overlap")
    return total


def _tensors(listed: dict[str, msgspec.Raw]) -> Iterator[tuple[str, _Tensor]]:
    for name, raw in listed.items():
        if name != "__metadata__":
            yield name, msgspec.json.decode(raw, type=_Tensor)


def _checked(name: str, tensor: _Tensor, room: int) -> int:
    start, end = tensor.data_offsets
    if not 0 <= start <= end <= room:
        raise ValueError(f"tensor {name[:80]!r} lies outside of the file")
    elements = 1
    for each in tensor.shape[:16]:
        elements *= each
    bits = _BITS.get(tensor.dtype)
    if bits is not None and elements * bits != 8 * (end - start):
        raise ValueError(f"tensor {name[:80]!r} has another size than its shape")
    return end - start
