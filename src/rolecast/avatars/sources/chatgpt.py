"""ChatGPT: `conversations.json`, or the zip of all data that it comes in."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from rolecast.avatars.conversation import AS_IT_IS, Chat, Item, Message, Person, Reading, Told
from rolecast.avatars.sources import jsons
from rolecast.avatars.sources.bundle import Bundle
from rolecast.avatars.sources.words import Clock, Zone, clean, later, name_of
from rolecast.errors import UNREADABLE, ExportError

TITLE = "ChatGPT export (conversations.json)"
_CITED = re.compile(r"\s?\ue200(?P<kind>\w*)\ue202?(?P<what>[^\ue200\ue201]*)\ue201|\s?【\d+(?::\d+)?†[^】]*】")
"""Where the model names a source, or a thing; only the program itself shows what is meant."""
ME, MODEL = "chatgpt:user", "chatgpt:assistant"
_TEXTS = ("text", "multimodal_text")


class _Author(msgspec.Struct, frozen=True):
    role: str = ""


class _Content(msgspec.Struct, frozen=True):
    content_type: str = ""
    parts: list[Any] | None = None


class _Metadata(msgspec.Struct, frozen=True):
    is_user_system_message: bool | None = None
    is_visually_hidden_from_conversation: bool | None = None


class _Message(msgspec.Struct, frozen=True):
    id: str
    author: _Author = _Author()
    content: _Content = _Content()
    create_time: float | str | None = None
    metadata: _Metadata | None = None
    recipient: str | None = "all"


class _Node(msgspec.Struct, frozen=True):
    message: msgspec.Raw = msgspec.Raw(b"null")
    parent: str | None = None


class _When(msgspec.Struct, frozen=True):
    create_time: float | str | None = None


class _Conversation(msgspec.Struct, frozen=True):
    mapping: dict[str, _Node]
    title: str | None = None
    create_time: float | str | None = None
    current_node: str | None = None
    conversation_id: str | None = None
    id: str | None = None


def fits(path: Path) -> bool:
    return is_conversations(path, b'"mapping"')


def read(path: Path, told: Told, how: Reading = AS_IT_IS) -> Iterator[Item]:
    """Each conversation as it stood last: answers that were asked for again, and edited questions, are left out."""
    zone = Zone(how.zone)
    yield Person(ME, name_of(how.me) or "User")
    yield Person(MODEL, "ChatGPT")
    for where, found in conversations(path, _Conversation, told):
        yield from _items(found, where, told, zone)


def is_conversations(path: Path, word: bytes) -> bool:
    """Whether that is a list of conversations with that word in them."""
    with contextlib.suppress(ExportError), Bundle(path) as bundle:
        names = _names(bundle)
        begins = bundle.beginning(names[0]).lstrip() if names else b""
        return begins[:1] in (b"[", b"{") and word in begins
    return False


def conversations(path: Path, kind: type[jsons.T], told: Told) -> Iterator[tuple[str, jsons.T]]:
    """Where each is, for people, and what it is. Raises ExportError."""
    with Bundle(path) as bundle:
        names = _names(bundle)
        if not names:
            raise ExportError(f"{path} has no conversations.json; name that file, or the zip with it.")
        total, done = sum(bundle.sizes[name] for name in names), 0
        for name in names:
            parts = jsons.listed(bundle, name)
            for number, found in jsons.each(parts, kind, "conversation", told):
                yield f"conversation {number}", found
                told.progress(done + bundle.sizes[name] * number // len(parts), total)
            done += bundle.sizes[name]
            told.progress(done, total)


def _names(bundle: Bundle) -> list[str]:
    """Large exports are cut into several files."""
    if not bundle.is_zip and not bundle.path.is_dir():
        return [name for name in bundle.sizes if name.lower().endswith(".json")]
    found = [name for name in bundle.sizes if name.rsplit("/", 1)[-1].startswith("conversations")]
    return sorted(name for name in found if name.endswith(".json"))


def _items(found: _Conversation, where: str, told: Told, zone: Zone) -> Iterator[Item]:
    path = _path(found)
    chat = Chat(f"chatgpt:{found.conversation_id or found.id or path[0]}", name_of(found.title or ""))
    yield chat
    clock = Clock()
    at = zone.read(found.create_time)
    last = ""
    for node in path:
        raw = found.mapping[node].message
        if bytes(raw) == b"null":
            continue
        try:
            said = jsons.decoded(raw, _Message)
        except UNREADABLE:
            told.skipped(f"{where}, a message", jsons.NOT_SO)
            continue
        text = clean(_text(said))
        if not text:
            continue
        at = later(zone.read(said.create_time), at)
        message = Message(
            f"chatgpt:{said.id}",
            chat.id,
            ME if said.author.role == "user" else MODEL,
            text,
            clock(chat.id, at) if at else None,
            last,
        )
        yield message
        last = message.id


def _path(found: _Conversation) -> list[str]:
    """The nodes from the root to where the conversation stands, along one branch: where no export says, the newest."""
    node = found.current_node if found.current_node in found.mapping else _newest(found)
    path: dict[str, None] = {}
    while node is not None and node in found.mapping and node not in path:  # a circle ends, too
        path[node] = None
        node = found.mapping[node].parent
    return list(reversed(path))


def _newest(found: _Conversation) -> str | None:
    """The end of the branch that was written last; without times, of the one that is last in the file."""
    when = {name: (_when(node.message), place) for place, (name, node) in enumerate(found.mapping.items())}
    below: dict[str | None, list[str]] = {}
    for name, node in found.mapping.items():
        below.setdefault(node.parent, []).append(name)
    newest = max(when, key=when.__getitem__, default=None)
    seen: set[str | None] = set()
    while newest not in seen and newest in below:
        seen.add(newest)
        newest = max(below[newest], key=when.__getitem__)
    return newest


def _when(message: msgspec.Raw) -> float:
    with contextlib.suppress(*UNREADABLE):
        said = jsons.decoded(message, _When | None)  # type: ignore[arg-type]
        return (Zone("UTC").read(said.create_time) if said else None) or 0.0
    return 0.0


def _text(said: _Message) -> str:
    """What was written; '' for what the model thinks, what tools say, and what nobody sees."""
    hidden = said.metadata and (
        said.metadata.is_user_system_message or said.metadata.is_visually_hidden_from_conversation
    )
    if said.author.role not in ("user", "assistant") or hidden or said.recipient not in ("all", None):
        return ""
    if said.content.content_type not in _TEXTS:
        return ""
    parts = (part.get("text") if isinstance(part, dict) else part for part in said.content.parts or ())
    text = "\n".join(part for part in parts if isinstance(part, str) and part)
    return _CITED.sub(_named, text) if said.author.role == "assistant" else text


def _named(found: re.Match[str]) -> str:
    """Of a thing its name; of a source nothing."""
    if found["kind"] == "entity":
        with contextlib.suppress(*UNREADABLE, IndexError):
            return f" {msgspec.json.decode(found['what'], type=list[Any])[1]}"
    return ""
