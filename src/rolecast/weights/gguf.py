"""Reads the header of a GGUF file without trusting it: what a model is, before anything is loaded.

Every length is checked against the file before it is used, counts are capped, and the file is mapped rather
than read, so memory stays flat whatever the header says. Knows the format (versions 2 and 3, little-endian);
does not know what the engine can run.
"""

import functools
import mmap
import struct
from pathlib import Path
from typing import Any

import msgspec

from rolecast.errors import SourceError
from rolecast.weights import layout as layouts
from rolecast.weights.gguf_tensors import weigh
from rolecast.weights.layout import MOST_LAYERS, Layout

HEADER_LIMIT = 64 << 20
"""Bytes of header read at most; the largest tokenizers in use take about 20 MiB."""
_MAX_PAIRS = 65_536
_MAX_TENSORS = 131_072
_MAX_PER_LAYER = 4096
_KEPT_BYTES = 256  # of each text; names are shorter, and a chat template is only searched

# ggml's value types: number -> struct format. 8 is text, 9 an array.
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_TEXT, _ARRAY = 8, 9

FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0",
    37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0",
}  # fmt: skip


_PROJECTORS = ("clip",)
_SIDES = {"adapter": "an adapter (LoRA) for a model", "imatrix": "an importance matrix, used to quantize a model"}


class Header(msgspec.Struct, frozen=True):
    """What a GGUF says of itself; 0 and '' = it does not say.

    `parameters` counts weights in this file, `context_length` is in tokens as trained, `quantization` is the
    usual name of the file type (Q4_K_M).
    """

    architecture: str
    name: str
    context_length: int
    block_count: int
    embedding_length: int
    parameters: int
    quantization: str
    has_chat_template: bool
    tensor_count: int
    split_no: int = 0
    split_count: int = 0
    kind: str = ""
    """`general.type`: model, adapter, mmproj, imatrix; empty in older files."""
    feed_forward_length: int = 0
    head_count: int = 0
    kv_heads: tuple[int, ...] = ()
    """Key/value heads of each layer."""
    key_length: int = 0
    """Numbers in one head's key; `value_length` likewise."""
    value_length: int = 0
    sliding_window: int = 0
    """Tokens that the window layers see; 0 = all layers see everything."""
    pooling: int | None = None
    """llama.cpp's number: 0 none, 1 mean, 2 first token, 3 last token, 4 ranking head; None = not said."""
    causal: bool = True
    """Whether a token sees only those before it: true for all that generate."""
    ranks: bool = False
    """Whether it has a classification head, as rerankers have."""
    template_tools: bool = False
    """Whether its chat template writes tools."""
    template_thinks: bool = False
    """Whether its chat template knows of thinking before the answer."""
    marks: tuple[str, ...] = ()
    """Tokens that stand before, between and behind what surrounds a gap to be filled; empty = no known ones."""
    tokenizer: str = ""
    """`gpt2` (BPE), `llama` (SPM), `bert` ..."""
    vocabulary: int = 0
    tensor_bytes: int = 0
    """Bytes of all tensors in this file."""
    repacked_bytes: int = 0
    """Those of them, in matrices, that llama.cpp copies into another order on a CPU; the embedding counts only
    when it is also the output."""
    tied_bytes: int = 0
    """The embedding, where it counts there."""
    layer_bytes: int = 0
    """Tensors that belong to layers; the others are the embedding, the output and what is beside them."""
    output_bytes: int = 0
    """Of an output that is no copy of the embedding."""
    layout: Layout = Layout()
    """What a token and a conversation cost."""

    projects_to: int = 0
    """Of a projector: the width (`embedding_length`) of the models it is made for."""
    sees: bool = False
    """Of a projector: whether it is for pictures; `hears` likewise for sound."""
    hears: bool = False

    @property
    def side(self) -> str:
        """What it is when it is no model but goes with one, in plain words; '' for a model."""
        if self.architecture in _PROJECTORS or self.kind == "mmproj":
            return "a projector, which lets a model see or hear"
        if self.kind in _SIDES:
            return _SIDES[self.kind]
        if not self.tensor_count and not self.split_count:
            return "a vocabulary without weights"
        return ""

    @property
    def projects(self) -> bool:
        """Whether it is the projector of a model that sees or hears."""
        return self.architecture in _PROJECTORS or self.kind == "mmproj"

    @property
    def generates(self) -> bool:
        """Whether it can write text, as far as its header tells: no encoder, projector, adapter or ranking head."""
        return self.causal and not self.ranks and not self.side


class Cursor:
    """A position in the mapped file; every step is checked against its end."""

    def __init__(self, view: mmap.mmap, end: int) -> None:
        self.view, self.at, self.end = view, 0, end

    def skip(self, count: int) -> int:
        start = self.at
        if count > self.end - start:
            raise ValueError(f"it ends inside the header at byte {start}")
        self.at = start + count
        return start

    def number(self, form: str) -> Any:
        return struct.unpack_from(form, self.view, self.skip(struct.calcsize(form)))[0]

    def text(self) -> str:
        length = self.number("<Q")
        start = self.skip(length)
        return self.view[start : start + min(length, _KEPT_BYTES)].decode("utf-8", "replace")


def read(path: Path, limit: int = HEADER_LIMIT) -> Header:
    """The header of the GGUF file at `path`, of which at most `limit` bytes are looked at.

    Raises SourceError when the header is damaged, points outside the file, or is no GGUF header at all.
    """
    try:
        size = path.stat().st_size if path.is_file() else 0
        if size < 24:
            raise ValueError("it is too short" if path.is_file() else "it is not a regular file")
        with path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return _header(Cursor(view, min(size, limit)), size)
    except (ValueError, OSError) as e:
        raise SourceError(f"{path.name} is not a usable GGUF: {e}. Bring it again or choose another.") from e


def chat_template(path: Path) -> str:
    """The whole chat template in that file; '' when it has none, or is no usable GGUF. Reads the disk."""
    try:
        with path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as view:
            cursor = Cursor(view, min(len(view), HEADER_LIMIT))
            cursor.skip(16)
            for _ in range(min(cursor.number("<Q"), _MAX_PAIRS)):
                key, kind = cursor.text(), cursor.number("<I")
                if kind == _TEXT:
                    length = cursor.number("<Q")
                    start = cursor.skip(length)
                    if key == _TEMPLATE:
                        return view[start : start + length].decode("utf-8", "replace")
                else:
                    skipped(cursor, kind)
    except (ValueError, OSError, KeyError):
        pass
    return ""


def skipped(cursor: Cursor, kind: int) -> None:
    """Go behind a value of that type. Raises ValueError and KeyError."""
    if kind == _TEXT:
        cursor.text()
    elif kind == _ARRAY:
        _array(cursor)
    else:
        cursor.number(_SCALARS[kind])


def list_of(cursor: Cursor, at: int) -> tuple[int, int]:
    """How long the list at that place is, and where its first value lies."""
    return struct.unpack_from("<Q", cursor.view, at + 4)[0], at + 12


def known(path: Path) -> Header | None:
    """The header of the file as it is now, read once per version of it; None when it is no usable GGUF.

    About 10 ms for a file that was not asked for yet, so not the first time on the event loop.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return _known(path, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=512)
def _known(path: Path, size: int, modified_ns: int) -> Header | None:
    try:
        return read(path)
    except SourceError:
        return None


def _header(cursor: Cursor, size: int) -> Header:
    if cursor.view[cursor.skip(4) : 4] != b"GGUF":
        raise ValueError("it does not start with GGUF")
    version = cursor.number("<I")
    if version not in (2, 3):
        raise ValueError(f"version {version} is not 2 or 3 (or it is for big-endian machines)")
    tensors, pairs = cursor.number("<Q"), cursor.number("<Q")
    if tensors > _MAX_TENSORS or pairs > _MAX_PAIRS:
        raise ValueError(f"{tensors} tensors and {pairs} settings are more than any model has")
    found = _settings(cursor, pairs)
    split = _whole(found, "split.no"), _whole(found, "split.count")
    architecture = str(found.get("general.architecture", ""))
    if not architecture and not split[0] and found.get("general.type") not in _SIDES:
        raise ValueError("general.architecture is missing")
    layers = _whole(found, f"{architecture}.block_count", -1)
    if layers == 0 or layers > MOST_LAYERS:
        raise ValueError(f"its block_count is {layers}, and there can be 1 to {MOST_LAYERS} layers")
    layouts.check(found, architecture)
    tensors_found = weigh(cursor, tensors, _whole(found, "general.alignment") or 32, size)
    return Header(
        architecture=architecture,
        name=str(found.get("general.name", "")),
        context_length=_whole(found, f"{architecture}.context_length"),
        block_count=max(0, layers),
        embedding_length=_whole(found, f"{architecture}.embedding_length"),
        parameters=tensors_found.parameters,
        quantization=FILE_TYPES.get(_whole(found, "general.file_type", -1), ""),
        has_chat_template="tokenizer.chat_template" in found,
        tensor_count=tensors,
        split_no=split[0],
        split_count=split[1],
        kind=str(found.get("general.type", "")),
        feed_forward_length=_first(found.get(f"{architecture}.feed_forward_length")),
        tokenizer=str(found.get("tokenizer.ggml.model", "")),
        vocabulary=_whole(found, _TOKENS) or _whole(found, f"{architecture}.vocab_size"),
        pooling=_whole(found, pooling) if (pooling := f"{architecture}.pooling_type") in found else None,
        causal=bool(found.get(f"{architecture}.attention.causal", architecture not in layouts.ENCODERS)),
        ranks=tensors_found.ranks,
        template_tools=bool(found.get(_TOOLS)),
        template_thinks=bool(found.get(_THINKS)),
        marks=found.get(_MARKS, ()),
        tensor_bytes=tensors_found.bytes,
        repacked_bytes=tensors_found.repacked_bytes,
        tied_bytes=tensors_found.tied_bytes,
        layer_bytes=tensors_found.layer_bytes,
        output_bytes=tensors_found.output_bytes,
        sees=bool(found.get("clip.has_vision_encoder")),
        hears=bool(found.get("clip.has_audio_encoder")),
        projects_to=_whole(found, "clip.vision.projection_dim") or _whole(found, "clip.audio.projection_dim"),
        **_attention(found, architecture, max(0, layers)),
    )


_TOKENS, _TOOLS = "tokenizer.ggml.tokens", "template names tools"
_THINKS, _MARKS = "template names thinking", "marks of a gap"
_THINKING = (b"think", b"THINK", b"reasoning")
"""Words of the templates of models that think."""
_GAPS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
)
"""Of models that were trained to fill gaps: Qwen and CodeGemma, StarCoder, Refact, DeepSeek, GLM."""
_TEMPLATE = "tokenizer.chat_template"


def _attention(found: dict[str, Any], architecture: str, layers: int) -> dict[str, Any]:
    """Heads and their sizes by llama.cpp's rules: what is not said follows from the width."""
    heads = found.get(f"{architecture}.attention.head_count")
    groups = found.get(f"{architecture}.attention.head_count_kv", heads)
    each = _whole(found, f"{architecture}.embedding_length") // (_first(heads) or 1)
    keys = _whole(found, f"{architecture}.attention.key_length", each)
    values = _whole(found, f"{architecture}.attention.value_length", each)
    listed = groups if isinstance(groups, tuple) else (_first(groups),) * layers
    kv_heads = (*listed, *(0,) * layers)[:layers]
    return {
        "head_count": _first(heads),
        "kv_heads": kv_heads,
        "key_length": keys,
        "value_length": values,
        "sliding_window": _first(found.get(f"{architecture}.attention.sliding_window")),
        "layout": layouts.layout(found, architecture, layers, keys=keys, values=values, kv_heads=kv_heads),
    }


def _first(value: Any) -> int:
    """A number, or the largest of one per layer; 0 when there is none."""
    if isinstance(value, tuple):
        return max(value, default=0)
    return value if isinstance(value, int) else 0


def _settings(cursor: Cursor, pairs: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(pairs):
        key = cursor.text()
        kind = cursor.number("<I")
        if kind in _SCALARS:
            found[key] = cursor.number(_SCALARS[kind])
        elif kind == _TEXT:
            start = cursor.at
            found[key] = cursor.text()
            if key.startswith(_TEMPLATE) and cursor.view.find(b"tools", start, cursor.at) >= 0:
                found[_TOOLS] = True
            if key.startswith(_TEMPLATE) and any(cursor.view.find(w, start, cursor.at) >= 0 for w in _THINKING):
                found[_THINKS] = True
        elif kind == _ARRAY:
            start = cursor.at
            found[key] = _array(cursor)
            if key == _TOKENS:
                found[key] = len(found[key])
                found[_MARKS] = _marks(cursor.view, start, cursor.at)
        else:
            raise ValueError(f"{key!r} has the unknown type {kind}")
    return found


def _marks(view: mmap.mmap, start: int, end: int) -> tuple[str, ...]:
    """The marks of a gap that the list of tokens holds."""

    def holds(mark: str) -> bool:
        text = mark.encode()
        return view.find(struct.pack("<Q", len(text)) + text, start, end) >= 0

    return next((marks for marks in _GAPS if all(map(holds, marks))), ())


_INTEGERS = frozenset({0, 1, 2, 3, 4, 5, 7, 10, 11})
_LENGTH = struct.Struct("<Q").unpack_from


def _array(cursor: Cursor) -> Any:
    """One number per layer as a tuple; of any other list only how long it is."""
    kind, count = cursor.number("<I"), cursor.number("<Q")
    if kind in _SCALARS:
        form = _SCALARS[kind]
        start = cursor.skip(count * struct.calcsize(form))
        if kind in _INTEGERS and count <= _MAX_PER_LAYER:
            return struct.unpack_from(f"<{count}{form[1]}", cursor.view, start)
    elif kind == _TEXT:
        if count > (cursor.end - cursor.at) // 8:  # each text takes its length, 8 bytes
            raise ValueError(f"a list of {count} texts does not fit in it")
        view, at, end = cursor.view, cursor.at, cursor.end - 8
        for _ in range(count):  # a tokenizer has hundreds of thousands: no calls here
            if at > end:
                break
            at += 8 + _LENGTH(view, at)[0]
        cursor.skip(at - cursor.at)
    else:
        raise ValueError(f"a list has the unknown type {kind}")
    return range(count)


def _whole(found: dict[str, Any], key: str, default: int = 0) -> int:
    value = found.get(key, default)
    return value if isinstance(value, int) else default
