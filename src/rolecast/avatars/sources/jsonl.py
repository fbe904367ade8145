"""JSON lines: ours (messages, or examples of avatars), chats as models are trained on, and plain `speaker`, `message`.

{"id": "1", "chat": "c", "person": "mira", "text": "hi", "at": 1700000000}      a Message; also Person and Chat lines
{"target_text": "hi", "speaker_name": "Mira", "conversation_history": [...]}    an Example
{"messages": [{"role": "user", "content": "hello"}, ...]}                       one chat a line
{"role": "user", "content": "hello"}                                            the file is one chat
{"speaker": "Mira", "message": "hi", "timestamp": "2024-01-05T21:15:00"}        the same, with names

The same objects in a JSON list, or under `examples`, do as well.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from rolecast.avatars.conversation import AS_IT_IS, Chat, Item, Message, Person, Reading, Told
from rolecast.avatars.sources import jsons
from rolecast.avatars.sources.bundle import Bundle
from rolecast.avatars.sources.words import Zone, clean, digest, lines, name_of
from rolecast.errors import UNREADABLE, ExportError

TITLE = "JSON lines"
_SUFFIXES = (".jsonl", ".ndjson", ".json")
_SPEAKER = ("speaker", "sender", "author", "from", "user", "name")
_TEXT = ("message", "text", "content", "body")
_TIME = ("timestamp", "time", "date", "at", "created_at")
_CHAT = ("chat", "conversation", "conversation_id", "thread", "channel")
_ROLES = {"user": "User", "human": "User", "assistant": "Assistant", "gpt": "Assistant"}


class _Said(msgspec.Struct, frozen=True):
    speaker: str
    message: str
    emotional_state: str | None = None


class _Lineage(msgspec.Struct, frozen=True):
    sequence_id: str | int | None = None
    position: int | None = None
    chat: str | None = None
    message_ids: list[str] = []


class _Example(msgspec.Struct, frozen=True):
    target_text: str
    example_id: str | None = None
    speaker_name: str | None = None
    personality_type: str | None = None
    emotional_state: str | None = None
    relationship_type: str | None = None
    conversation_history: list[_Said] | None = None
    metadata: _Lineage | None = None


def fits(path: Path) -> bool:
    with contextlib.suppress(ExportError, *UNREADABLE, ValueError), Bundle(path) as bundle:
        if bundle.is_zip or path.is_dir() or not path.name.lower().endswith(_SUFFIXES):
            return False
        begins = bundle.beginning(path.name).lstrip()
        first = begins.split(b"\n", 1)[0]
        if begins.startswith(b"{") and first.rstrip().endswith(b"}"):
            return _kind(msgspec.json.decode(first, type=dict[str, Any])) != ""
        words = (b'"target_text"', b'"role"', b'"conversations"', b'"speaker"', b'"sender"', b'"person"')
        return begins[:1] in (b"[", b"{") and any(word in begins for word in words)
    return False


def read(path: Path, told: Told, how: Reading = AS_IT_IS) -> Iterator[Item]:
    """The lines in their order. One that is none is told with its number."""
    reader = _Reader(path, Zone(how.zone), name_of(how.me))
    with Bundle(path) as bundle:
        for where, part in _parts(bundle, told):
            try:
                yield from reader.items(jsons.decoded(part, dict[str, Any]))
            except (*UNREADABLE, ValueError, TypeError, AttributeError):
                told.skipped(where, "it is no message, no example and no chat")


def _parts(bundle: Bundle, told: Told) -> Iterator[tuple[str, bytes | msgspec.Raw]]:
    name, total = next(iter(bundle.sizes.items()))
    begins = bundle.beginning(name).lstrip()
    if begins.startswith(b"["):
        yield from ((f"entry {n}", part) for n, part in enumerate(jsons.whole(bundle, name, list[msgspec.Raw]), 1))
    elif begins.startswith(b"{") and b'"examples"' in begins and not _alone(begins):
        parts = jsons.whole(bundle, name, dict[str, msgspec.Raw]).get("examples", msgspec.Raw(b"[]"))
        yield from ((f"example {n}", part) for n, part in enumerate(jsons.decoded(parts, list[msgspec.Raw]), 1))
    else:
        done = 0
        with bundle.open(name) as file:
            for number, line in lines(file):
                done += len(line)
                if not number % 1000:
                    told.progress(done, total)
                if plain := line.removeprefix(b"\xef\xbb\xbf").strip():
                    yield f"line {number}", plain
    told.progress(total, total)


def _alone(begins: bytes) -> bool:
    """Whether the first line is an object by itself, of a kind that is known."""
    with contextlib.suppress(*UNREADABLE):
        return _kind(msgspec.json.decode(begins.split(b"\n", 1)[0], type=dict[str, Any])) != ""
    return False


def _kind(said: Mapping[str, Any]) -> str:
    if "target_text" in said:
        return "example"
    if isinstance(said.get("messages") or said.get("conversations"), list):
        return "chat"
    if "role" in said and "content" in said:
        return "turn"
    if {"id", "person", "text"} <= said.keys():
        return "message"
    if _first(said, _TEXT) is not None and _first(said, _SPEAKER) is not None:
        return "plain"
    if "id" in said and "name" in said:
        return "person"
    return "title" if "id" in said and "title" in said else ""


def _first(said: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((said[name] for name in names if said.get(name) is not None), None)


class _Reader:
    """Makes items of objects; knows which people and chats were named already."""

    def __init__(self, path: Path, zone: Zone, me: str) -> None:
        self._zone, self._me = zone, me
        self._file = Chat(f"jsonl:{path.stem}", name_of(path.stem), False, zone.name)
        self._seen: set[str] = set()
        self._counts: dict[str, int] = {}

    def items(self, said: dict[str, Any]) -> Iterator[Item]:
        """What one object is. Raises errors of UNREADABLE, ValueError or TypeError for none that is known."""
        match _kind(said):
            case "example":
                yield from self._example(msgspec.convert(said, _Example))
            case "chat":
                yield from self._chat(said)
            case "turn":
                yield from self._turn(said, self._file)
            case "message":
                yield from self._message(said)
            case "plain":
                yield from self._plain(said)
            case "person":
                person = msgspec.convert(said, Person)
                self._seen.add(person.id)
                yield Person(clean(person.id), name_of(person.name), tuple(name_of(each) for each in person.names))
            case "title":
                chat = msgspec.convert(said, Chat)
                self._seen.add(chat.id)
                yield Chat(clean(chat.id), name_of(chat.title), chat.group, chat.zone)
            case _:
                raise ValueError("none of the kinds that are known")

    def _message(self, said: dict[str, Any]) -> Iterator[Item]:
        if "at" in said:
            said = said | {"at": self._zone.read(said["at"])}
        told = msgspec.convert(said | {"chat": said.get("chat") or self._file.id}, Message)
        if not told.id or not told.person:
            raise ValueError("an id is empty")
        texts = {name: clean(getattr(told, name)) for name in ("id", "chat", "person", "text", "reply_to")}
        more = {name: clean(getattr(told, name)) for name in ("personality", "emotion", "relationship")}
        yield from self._named(Person(texts["person"], name_of(told.person)))
        yield from self._named(self._file if told.chat == self._file.id else Chat(texts["chat"]))
        if texts["text"]:
            yield Message(**texts, **more, at=told.at, tags=tuple(clean(tag) for tag in told.tags))

    def _plain(self, said: dict[str, Any]) -> Iterator[Item]:
        text, name = clean(_text(_first(said, _TEXT))), name_of(_text(_first(said, _SPEAKER)))
        if not name:
            raise ValueError("nobody is named")
        named = _first(said, _CHAT)
        chat = (
            Chat(f"{self._file.id}:{clean(str(named))}", name_of(str(named)), False, self._zone.name)
            if named
            else self._file
        )
        at = self._zone.read(_first(said, _TIME))
        yield from self._named(Person(f"name:{name}", name))
        yield from self._named(chat)
        if text:
            own = f"jsonl:{said['id']}" if isinstance(said.get("id"), str | int) else ""
            yield Message(
                own or self._id(chat.id, str(at), name, text),
                chat.id,
                f"name:{name}",
                text,
                at,
                personality=clean(_text(said.get("personality_type") or "")),
                emotion=clean(_text(said.get("emotional_state") or "")),
                relationship=clean(_text(said.get("relationship_type") or "")),
            )

    def _turn(self, said: Mapping[str, Any], chat: Chat) -> Iterator[Item]:
        role = _text(said.get("role") or said.get("from"))
        content = said.get("content") or said.get("value")
        if isinstance(content, list):  # parts, of which some are pictures
            content = "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
        if content is None or role not in _ROLES:  # instructions, tools and what they say are nobody's
            return
        name = self._me if _ROLES[role] == "User" and self._me else _ROLES[role]
        person = Person(f"role:{_ROLES[role].lower()}", name)
        yield from self._named(person)
        yield from self._named(chat)
        if text := clean(_text(content)):
            yield Message(self._id(chat.id, person.id, text), chat.id, person.id, text)

    def _chat(self, said: dict[str, Any]) -> Iterator[Item]:
        turns = said.get("messages") or said.get("conversations")
        assert isinstance(turns, list), "that is its kind"
        own = self._id("chat", *(str(each) for each in turns))
        chat = Chat(own, name_of(str(said.get("title") or "")))
        items = [item for turn in turns for item in self._turn(turn, chat)]  # all of it, or none
        yield from items

    def _example(self, said: _Example) -> Iterator[Item]:
        """Its messages. Those that several examples have are one, where the examples say what they are made of."""
        lineage = said.metadata or _Lineage()
        turns = [
            *(said.conversation_history or ()),
            _Said(said.speaker_name or "", said.target_text, said.emotional_state),
        ]
        thread = str(said.example_id or digest(*(turn.message for turn in turns)))
        thread = thread if lineage.sequence_id in (None, "") else str(lineage.sequence_id)
        chat = Chat(clean(lineage.chat or "") or f"example:{thread}", zone="")
        yield from self._named(chat)
        first = (len(turns) - 1 if lineage.position is None else lineage.position) - len(turns) + 1
        for number, turn in enumerate(turns):
            name, text = name_of(turn.speaker), clean(turn.message)
            if not name or not text:
                continue
            yield from self._named(Person(f"name:{name}", name))
            known = len(lineage.message_ids) == len(turns)
            own = lineage.message_ids[number] if known else f"example:{thread}:{first + number:06d}"
            target = turn is turns[-1]
            yield Message(
                clean(own),
                chat.id,
                f"name:{name}",
                text,
                personality=clean(said.personality_type or "") if target else "",
                emotion=clean(turn.emotional_state or ""),
                relationship=clean(said.relationship_type or "") if target else "",
            )

    def _named(self, item: Person | Chat) -> Iterator[Item]:
        if item.id not in self._seen:
            self._seen.add(item.id)
            yield item

    def _id(self, *parts: str) -> str:
        plain = digest(*parts)
        self._counts[plain] = self._counts.get(plain, 0) + 1
        return f"jsonl:{plain}" if self._counts[plain] == 1 else f"jsonl:{plain}:{self._counts[plain]}"


def _text(said: Any) -> str:
    if isinstance(said, dict):  # some name a speaker by an object
        said = said.get("name")
    if not isinstance(said, str):
        raise TypeError("a text is expected")
    return said
