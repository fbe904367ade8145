"""Telegram Desktop: `result.json`, of one chat or of all."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from rolecast.avatars.conversation import AS_IT_IS, Chat, Item, Message, Person, Reading, Told
from rolecast.avatars.sources import jsons
from rolecast.avatars.sources.bundle import Bundle
from rolecast.avatars.sources.words import Clock, Zone, clean, name_of, seconds
from rolecast.errors import ExportError

TITLE = "Telegram export (result.json)"
_ALONE = re.compile(
    rb'"type"\s*:\s*"(?:personal_chat|bot_chat|saved_messages|private_group|(?:private|public)_(?:supergroup|channel))"'
)
_ALL = (b'"personal_information"', b'"frequent_contacts"', b'"left_chats"')
_DEEP = 50
"""Blocks within each other, at most."""
_GROUPS = ("group", "supergroup", "channel")


class _Part(msgspec.Struct, frozen=True):
    text: str = ""


class _Message(msgspec.Struct, frozen=True):
    id: int
    type: str = "message"
    date: str = ""
    date_unixtime: str | int = ""
    sender: str | None = msgspec.field(name="from", default=None)
    from_id: str | int | None = None
    text: str | list[str | _Part] | None = ""
    rich: Any = msgspec.field(name="rich_message", default=None)
    """What was written in the large editor, as blocks; `text` is empty then."""
    reply_to_message_id: int | None = None
    reply_to_peer_id: str | int | None = None
    """The chat of that message, where it is another one."""
    forwarded_from: str | msgspec.UnsetType | None = msgspec.UNSET
    """Named and empty where its account is deleted."""
    forwarded_from_id: str | int | None = None
    via_bot: str | None = None


class _Chat(msgspec.Struct, frozen=True):
    id: int | str = 0
    name: str | None = None
    type: str = ""
    messages: list[msgspec.Raw] = []


class _List(msgspec.Struct, frozen=True):
    chats: list[_Chat] = msgspec.field(name="list", default_factory=list)


class _Whole(_Chat, frozen=True):
    chats: _List = _List()
    left_chats: _List = _List()


def fits(path: Path) -> bool:
    with contextlib.suppress(ExportError), Bundle(path) as bundle:
        name = _name(bundle)
        begins = bundle.beginning(name) if name else b""
        if not begins.lstrip().startswith(b"{"):
            return False
        return _ALONE.search(begins) is not None or (b'"about"' in begins and any(each in begins for each in _ALL))
    return False


def read(path: Path, told: Told, how: Reading = AS_IT_IS) -> Iterator[Item]:
    """All chats of it. What was forwarded is left out: others wrote it."""
    zone = Zone(how.zone)
    with Bundle(path) as bundle:
        name = _name(bundle)
        if name is None:
            raise ExportError(f"{path} has no result.json; name the folder or file of Telegram's export.")
        found = jsons.whole(bundle, name, _Whole)
        chats = [found] if found.type else [*found.chats.chats, *found.left_chats.chats]
        total = sum(len(chat.messages) for chat in chats)
        done = 0
        for chat in chats:
            yield from _Reader(chat, zone, told, done, total)
            done += len(chat.messages)
        told.progress(total, total)


def _name(bundle: Bundle) -> str | None:
    if bundle.is_zip or bundle.path.is_dir():
        found = [name for name in bundle.sizes if name.rsplit("/", 1)[-1] == "result.json"]
        return min(found, key=len, default=None)
    return next((name for name in bundle.sizes if name.lower().endswith(".json")), None)


class _Reader:
    """The items of one chat."""

    def __init__(self, chat: _Chat, zone: Zone, told: Told, done: int, total: int) -> None:
        self._chat, self._zone, self._told, self._done, self._total = chat, zone, told, done, total
        title = name_of(chat.name or "") or ("Saved messages" if chat.type == "saved_messages" else "")
        group = chat.type.endswith(_GROUPS)
        self._own = Chat(f"telegram:{chat.id}", title, group, zone.name)
        self._names: dict[str, str] = {}
        self._clock = Clock()

    def __iter__(self) -> Iterator[Item]:
        yield self._own
        where = f"{self._own.title or self._own.id}, message"
        for number, said in jsons.each(self._chat.messages, _Message, where, self._told):
            if not number % 1000:
                self._told.progress(self._done + number, self._total)
            if why := _why_not(said):
                self._told.skipped(f"{where} {number}", why)
                continue
            text = clean(_text(said))
            at = self._time(said)
            if not text or at is None:
                self._told.skipped(f"{where} {number}", "there is no such time" if text else "a medium without words")
                continue
            person = f"telegram:{said.from_id or said.sender}"
            name = name_of(said.sender or "") or "Deleted account"
            if self._names.get(person) != name:
                self._names[person] = name
                yield Person(person, name)
            here = said.reply_to_message_id and said.reply_to_peer_id is None
            reply = f"{self._own.id}:{said.reply_to_message_id}" if here else ""
            at = self._clock(self._own.id, at)
            yield Message(f"{self._own.id}:{said.id}", self._own.id, person, text, at, reply)

    def _time(self, said: _Message) -> float | None:
        """`date` is local and has no zone; the other one is exact, and old exports lack it."""
        with contextlib.suppress(ValueError):
            return seconds(float(said.date_unixtime))
        return self._zone.read(said.date)


def _why_not(said: _Message) -> str:
    if said.type != "message":
        return "Telegram wrote it"
    if said.forwarded_from is not msgspec.UNSET or said.forwarded_from_id is not None:
        return "it was forwarded"
    if not (said.from_id or said.sender):
        return "nobody is named as its author"
    if said.via_bot:
        return "a bot wrote it"
    return ""


def _text(said: _Message) -> str:
    if isinstance(said.text, str) and said.text:
        return said.text
    text = "".join(part if isinstance(part, str) else part.text for part in said.text or ())
    return text or _rich(said.rich)


def _rich(part: Any, deep: int = 0) -> str:
    """Blocks below each other, whatever kinds there are; within a block its texts follow each other."""
    if isinstance(part, str):
        return part
    if isinstance(part, list) and deep <= _DEEP:
        between = "\n" if any(isinstance(each, dict) and {"blocks", "items"} & each.keys() for each in part) else ""
        return between.join(filter(None, (_rich(each, deep + 1) for each in part)))
    if not isinstance(part, dict) or deep > _DEEP:
        return ""
    below = [_rich(each, deep + 1) for name in ("blocks", "items", "caption") for each in _several(part.get(name))]
    return "\n".join(filter(None, (_rich(part.get("text"), deep + 1), *below)))


def _several(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]
