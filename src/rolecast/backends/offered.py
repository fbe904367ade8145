"""What a server elsewhere says that it has: the lists of OpenAI's, Anthropic's and Ollama's APIs. Pure.

Reads the fields that servers of this field add (LM Studio, llama.cpp, vLLM, gateways); believes no number that cannot
be. Asks nobody.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from rolecast.errors import UNREADABLE

MOST = 10_000
"""So many models of one server are read."""
MOST_TOKENS = 2**31 - 1
_CONTEXTS = ("max_model_len", "loaded_context_length", "max_context_length", "context_length", "context_window")
_CAPABILITIES = {
    "completion": ("chat", "completion"),
    "embedding": ("embeddings",),
    "vision": ("vision",),
    "audio": ("audio",),
    "tools": ("tools",),
    "insert": ("insert",),
    "thinking": ("thinking",),
}
"""Ollama's words, and ours that mean them."""
_EMBEDS = re.compile(r"(?i)(?:^|[-_./:])(?:embed|embedding|embeddings|minilm|bge|e5|gte)(?:[-_./:]|$)")


class Offered(msgspec.Struct, frozen=True):
    """One model of a server: its name there, and what is said of it. `context` is in tokens, 0 = not said."""

    name: str
    context: int = 0
    capabilities: tuple[str, ...] = ()
    """In our words; empty = not said."""
    parameters: str = ""
    quantization: str = ""

    @property
    def embeds(self) -> bool:
        """Whether it only makes embeddings, as it says or is called."""
        if self.capabilities:
            return "embeddings" in self.capabilities and "chat" not in self.capabilities
        return bool(_EMBEDS.search(self.name))


def listed(body: bytes) -> tuple[Offered, ...]:
    """The models of a list, in its order; none of what is no list."""
    try:
        said = msgspec.json.decode(body)
    except UNREADABLE:
        return ()
    entries = said.get("data", said.get("models")) if isinstance(said, dict) else said
    found = list(_entries(entries)) if isinstance(entries, list) else []
    return tuple({one.name: one for one in reversed(found)}.values())[::-1]


def shown(name: str, body: bytes) -> Offered:
    """What Ollama's `/api/show` says of a model."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except UNREADABLE:
        return Offered(name)
    info = said.get("model_info")
    context = _context(info if isinstance(info, dict) else {})
    given = said.get("capabilities")
    words = (
        tuple(ours for each in given if isinstance(each, str) for ours in _CAPABILITIES.get(each, ()))
        if (isinstance(given, list))
        else ()
    )
    return msgspec.structs.replace(_described(name, said), context=context, capabilities=words)


def meant(asked: str, there: tuple[Offered, ...]) -> str:
    """What a model that is configured without a name is called there: its id if there is one, else the only one.

    '' = nobody can tell, or the list is empty.
    """
    names = [one.name for one in there]
    if asked in names or f"{asked}:latest" in names:
        return asked
    writing = [one.name for one in there if not one.embeds]
    return writing[0] if len(writing) == 1 else ""


def _entries(entries: list[Any]) -> Iterator[Offered]:
    for entry in entries[:MOST]:
        if not isinstance(entry, dict):
            continue
        name = next((entry[key] for key in ("id", "model", "name") if isinstance(entry.get(key), str)), "")
        if name and len(name) <= 512 and name.isprintable():
            yield _described(name, entry)


def _described(name: str, entry: Mapping[str, Any]) -> Offered:
    details = entry.get("details")
    said = details if isinstance(details, dict) else {}
    meta = entry.get("meta")
    context = next(filter(None, (_tokens(entry.get(key)) for key in _CONTEXTS)), 0)
    if not context and isinstance(meta, dict):
        context = _tokens(meta.get("n_ctx")) or _tokens(meta.get("n_ctx_train"))
    kinds = ("embeddings",) if entry.get("type") in ("embeddings", "embedding") else ()
    return Offered(
        name,
        context,
        kinds,
        parameters=_word(said.get("parameter_size")),
        quantization=_word(said.get("quantization_level") or entry.get("quantization")),
    )


def _context(info: Mapping[str, Any]) -> int:
    """Of the architecture itself, not of a part of it such as its eyes."""
    architecture = info.get("general.architecture")
    own = _tokens(info.get(f"{architecture}.context_length"))
    return own or next((n for key in info if key.endswith(".context_length") and (n := _tokens(info[key]))), 0)


def _tokens(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_TOKENS else 0


def _word(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= 32 and value.isprintable() else ""
