"""llama.cpp's slots as files: its HTTP paths, the head of its files, and what a file depends on.

A file holds the tokens of a conversation and what the model's layers made of them. The engine compares tokens itself
before it goes on with any, so a file that does not fit a request costs time and changes no answer. A file that does
not fit the *engine* may: so its identity has all that the engine does not check. Decides nothing.
"""

import struct
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import msgspec

from rolecast import weights
from rolecast.backends.llamacpp_defaults import BITS
from rolecast.backends.llamacpp_options import Options
from rolecast.backends.slots import Slot
from rolecast.config.schema import Model
from rolecast.errors import UNREADABLE
from rolecast.net.pool import Pool
from rolecast.net.probe import fetch
from rolecast.weights.gguf import Header

LIMIT_S = 30.0
"""Whoever waits has a shorter limit."""
CHAT, COMPLETION = b"/chat/completions", b"/completions"
OWN_STATE = ("--lora", "--control-vector", "--slot-save-path", "--mmproj", "--rpc")
"""Arguments of a user's own binary that a file depends on in ways that cannot be seen here."""
SAMPLES, SAMPLE_BYTES = 64, 4096
"""Pieces of each file of the weights that its identity is made of, besides its size and date."""
MAGIC = 0x67677371
"""`ggsq`: a file of one sequence."""
HEAD = struct.Struct("<III")
"""Magic, version, count of tokens."""
ENVELOPE = -1
"""Not a token: the list has a version and a count of its own before the tokens."""
MOST_TOKENS = 1 << 24
BESIDES = 16.0
"""Bytes in a file for each token besides what the layers made of it."""


class _Slot(msgspec.Struct):
    id: int
    is_processing: bool = False
    id_task: int = -1
    n_prompt_tokens: int = 0


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Prompt(msgspec.Struct):
    prompt: str


class _Recalled(msgspec.Struct):
    id_slot: int


class _Saved(msgspec.Struct):
    n_written: int


class LlamaCppSlots:
    """The slots of a llama.cpp that was started with these options."""

    def __init__(self, options: Options, identity: str, token_bytes: float) -> None:
        self.identity = identity
        self.token_bytes = token_bytes
        self.recalls = options.prompt_cache_mib > 0
        self.least_share = options.slot_similarity if options.parallel > 1 else 0.0

    async def slots(self, pool: Pool) -> Sequence[Slot]:
        """Those that `GET /slots` lists."""
        answer = await fetch(pool, "GET", "/slots", timeout_s=LIMIT_S)
        try:
            listed = msgspec.json.decode(answer.body, type=list[_Slot]) if answer.status == 200 else []
        except UNREADABLE:
            return ()
        return [Slot(each.id, each.is_processing, each.n_prompt_tokens, each.id_task) for each in listed]

    async def save(self, pool: Pool, slot: int, name: str) -> int:
        """What the engine says that it wrote: on a full disk that is nothing, and a part of the file is there."""
        answer = await fetch(pool, "POST", f"/slots/{slot}?action=save", {"filename": name}, timeout_s=LIMIT_S)
        try:
            return msgspec.json.decode(answer.body, type=_Saved).n_written if answer.status == 200 else 0
        except UNREADABLE:
            return 0

    async def recall(self, pool: Pool, tokens: Sequence[int]) -> int | None:
        """A completion of no token. Idle slots are emptied before, or what they hold pushes others out of the cache."""
        for slot in await self.slots(pool):
            if slot.tokens and not slot.busy:
                await fetch(pool, "POST", f"/slots/{slot.number}?action=erase", {}, timeout_s=LIMIT_S)
        asked = {"prompt": list(tokens), "n_predict": 0, "cache_prompt": True}
        answer = await fetch(pool, "POST", "/completion", asked, timeout_s=LIMIT_S)
        try:
            return msgspec.json.decode(answer.body, type=_Recalled).id_slot if answer.status == 200 else None
        except UNREADABLE:
            return None

    async def restore(self, pool: Pool, slot: int, name: str) -> bool:
        """Anything but 200 is a file that does not fit."""
        answer = await fetch(pool, "POST", f"/slots/{slot}?action=restore", {"filename": name}, timeout_s=LIMIT_S)
        return answer.status == 200

    async def tokens(self, pool: Pool, path: bytes, body: bytes) -> Sequence[int] | None:
        """A chat through the model's template, a text as it is; others are not looked up."""
        try:
            if path == CHAT:
                text = await self._templated(pool, body)
            elif path == COMPLETION:
                text = msgspec.json.decode(body, type=_Prompt).prompt
            else:
                return None
            if text is None:
                return None
            asked = {"content": text, "add_special": True, "parse_special": True}
            answer = await fetch(pool, "POST", "/tokenize", asked, timeout_s=LIMIT_S)
            return msgspec.json.decode(answer.body, type=_Tokens).tokens if answer.status == 200 else None
        except UNREADABLE:
            return None

    async def _templated(self, pool: Pool, body: bytes) -> str | None:
        answer = await fetch(pool, "POST", "/apply-template", msgspec.Raw(body), timeout_s=LIMIT_S)
        return msgspec.json.decode(answer.body, type=_Prompt).prompt if answer.status == 200 else None

    def read(self, file: Path) -> Sequence[int] | None:
        """The tokens that stand at its beginning."""
        with file.open("rb") as opened:
            head = opened.read(HEAD.size)
            if len(head) < HEAD.size:
                return None
            magic, _, count = HEAD.unpack(head)
            if magic != MAGIC or not 0 < count <= MOST_TOKENS:
                return None
            found = array("i")
            packed = opened.read(count * found.itemsize)
            if len(packed) < count * found.itemsize:
                return None
            found.frombytes(packed)
        return _unwrapped(found)


def _unwrapped(found: "array[int]") -> Sequence[int] | None:
    """The tokens without what newer engines write around them."""
    if found[0] != ENVELOPE:
        return found
    if len(found) < 3 or not 0 < found[2] <= len(found) - 3:
        return None
    return found[3 : 3 + found[2]]


def carried(model: Model, options: Options) -> bool:
    """Whether what its slots have read can be kept: of a model that writes text, and reads nothing but text.

    Not with adapters, whose work is in what was read: one person's avatar would go on with what another's has read.
    """
    own = any(arg.startswith(OWN_STATE) for arg in model.args)
    return not (options.embeddings or options.adapters or options.projector or own)


def slots(model: Model, options: Options, header: Header | None, engine: Iterable[Path]) -> LlamaCppSlots:
    """How its conversations are kept. Reads pieces of the weights: blocks for a moment. Raises OSError.

    `engine` is its files: another build may compute otherwise.
    """
    keys, values = (BITS.get(name or "f16", 32.0) / 8 for name in (options.cache_type_k, options.cache_type_v))
    per_token = 0.0
    if header is not None:  # layers with a window are written, too
        kept = header.layout
        per_token = (kept.keys + kept.window_keys) * keys + (kept.values + kept.window_values) * values
    return LlamaCppSlots(options, _identity(model, options, engine), per_token + BESIDES)


def _identity(model: Model, options: Options, engine: Iterable[Path]) -> str:
    """A digest of the weights, the engine, and the settings that decide what is computed and how it is laid out."""
    path = Path(options.weights)
    settings = (
        options.context,  # some models are read otherwise with a longer one
        options.parallel,
        options.cache_type_k,
        options.cache_type_v,
        options.flash_attn,
        options.gpu_layers,
        options.whole_inputs,
        model.args if model.binary else [],
    )
    digest = blake2b(msgspec.json.encode(settings), digest_size=8)
    for part in weights.parts(path):
        digest.update(_sample(part, *_stamp(part)))
    for file in engine:
        digest.update(b"%d:%d;" % _stamp(file))
    return digest.hexdigest()


def _stamp(file: Path) -> tuple[int, int]:
    info = file.stat()
    return info.st_size, info.st_mtime_ns


@lru_cache(maxsize=64)
def _sample(file: Path, size: int, modified_ns: int) -> bytes:
    """A digest of a file by its size, its date and pieces all over it: to read gigabytes would take seconds."""
    digest = blake2b(b"%d:%d;" % (size, modified_ns), digest_size=16)
    with file.open("rb") as opened:
        for number in range(SAMPLES):
            opened.seek(max(0, size - SAMPLE_BYTES) * number // (SAMPLES - 1))
            digest.update(opened.read(SAMPLE_BYTES))
    return digest.digest()
