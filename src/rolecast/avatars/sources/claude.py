"""Claude: `conversations.json`, or the zip of all data that it comes in."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rolecast.avatars.conversation import AS_IT_IS, Chat, Item, Message, Person, Reading, Told
from rolecast.avatars.sources import jsons
from rolecast.avatars.sources.chatgpt import conversations, is_conversations
from rolecast.avatars.sources.words import Clock, Zone, clean, digest, later, name_of
from rolecast.errors import UNREADABLE

TITLE = "Claude export (conversations.json)"
ME, MODEL = "claude:human", "claude:assistant"


class _Part(msgspec.Struct, frozen=True):
    type: str | None = ""
    text: str | None = None


class _Message(msgspec.Struct, frozen=True):
    sender: str = ""
    uuid: str = ""
    text: str | None = None
    content: list[msgspec.Raw] | None = None
    created_at: str = ""
    parent_message_uuid: str | None = None


class _Conversation(msgspec.Struct, frozen=True):
    chat_messages: list[msgspec.Raw]
    uuid: str = ""
    name: str | None = None
    current_leaf_message_uuid: str | None = None


def fits(path: Path) -> bool:
    return is_conversations(path, b'"chat_messages"')


def read(path: Path, told: Told, how: Reading = AS_IT_IS) -> Iterator[Item]:
    """Each conversation as it stood last: of branches the one that was gone on with."""
    zone = Zone(how.zone)
    yield Person(ME, name_of(how.me) or "Human")
    yield Person(MODEL, "Claude")
    for where, found in conversations(path, _Conversation, told):
        messages = [said for _, said in jsons.each(found.chat_messages, _Message, f"{where}, message", told)]
        if not messages:
            continue
        chat = Chat(
            f"claude:{found.uuid or digest(messages[0].uuid, messages[0].text or '')}", name_of(found.name or "")
        )
        yield chat
        branch = _path(messages, found.current_leaf_message_uuid)
        yield from _messages(branch, chat.id, zone, where, told)


def _messages(path: list[_Message], chat: str, zone: Zone, where: str, told: Told) -> Iterator[Message]:
    clock = Clock()
    at: float | None = None
    last = ""
    for number, said in enumerate(path, 1):
        text = clean(_text(said))
        if not text or said.sender not in ("human", "assistant"):
            if said.sender == "human":
                told.skipped(f"{where}, message {number}", "a medium without words")
            continue
        at = later(zone.read(said.created_at), at)
        own = f"claude:{said.uuid or digest(chat, said.created_at, text)}"
        person = ME if said.sender == "human" else MODEL
        yield Message(own, chat, person, text, clock(chat, at) if at else None, last)
        last = own


def _path(messages: list[_Message], leaf: str | None) -> list[_Message]:
    """Those from the root to the leaf; all of them in their order, where nothing says what follows what."""
    known = {said.uuid: said for said in messages if said.uuid}
    if not any(said.parent_message_uuid in known for said in messages):
        return messages
    node = known.get(leaf or "") or messages[-1]
    path: dict[str, _Message] = {}
    while node.uuid and node.uuid not in path:
        path[node.uuid] = node
        if (parent := known.get(node.parent_message_uuid or "")) is None:
            break
        node = parent
    return list(reversed(path.values()))


def _text(said: _Message) -> str:
    """What was written or dictated, without thoughts and what tools were asked. A part of a new kind costs no other."""
    parts = []
    for raw in said.content or ():
        with contextlib.suppress(*UNREADABLE):
            part = jsons.decoded(raw, _Part)
            parts += [part.text] if part.type in ("text", "voice_note") and part.text else []
    return "\n".join(parts) if parts else said.text or ""
