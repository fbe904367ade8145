"""Discord, as DiscordChatExporter writes it in JSON: one channel a file."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rolecast.avatars.conversation import AS_IT_IS, Chat, Item, Message, Person, Reading, Told
from rolecast.avatars.sources import jsons
from rolecast.avatars.sources.bundle import Bundle
from rolecast.avatars.sources.words import Zone, clean, name_of
from rolecast.errors import ExportError

TITLE = "Discord export (DiscordChatExporter, JSON)"
_KINDS = ("Default", "Reply", "0", "19")
"""Types of messages that somebody wrote."""
_NONE = msgspec.Raw(b"null")
_EMOJI = re.compile(r"<a?(:\w+:)\d+>")
_MENTION = re.compile(r"<@!?(\d+)>")


class _User(msgspec.Struct, frozen=True):
    id: str
    name: str = ""
    nickname: str | None = None
    is_bot: bool = msgspec.field(name="isBot", default=False)

    @property
    def shown(self) -> str:
        return name_of(self.nickname or "") or name_of(self.name) or self.id


class _Reference(msgspec.Struct, frozen=True):
    message: str | None = msgspec.field(name="messageId", default=None)


class _Message(msgspec.Struct, frozen=True):
    id: str
    author: _User
    timestamp: str
    type: str | int = "Default"
    content: str | None = ""
    reference: _Reference | None = None
    mentions: list[_User] = []
    forwarded: msgspec.Raw = msgspec.field(name="forwardedMessage", default=_NONE)


class _Guild(msgspec.Struct, frozen=True):
    id: str = "0"
    name: str = ""


class _Channel(msgspec.Struct, frozen=True):
    id: str
    type: str | int = ""
    name: str | None = ""


class _Export(msgspec.Struct, frozen=True):
    channel: _Channel
    messages: list[msgspec.Raw]
    guild: _Guild = _Guild()


def fits(path: Path) -> bool:
    with contextlib.suppress(ExportError), Bundle(path) as bundle:
        if bundle.is_zip or path.is_dir():
            return False
        begins = bundle.beginning(path.name)
        return begins.lstrip().startswith(b"{") and b'"guild"' in begins and b'"channel"' in begins
    return False


def read(path: Path, told: Told, how: Reading = AS_IT_IS) -> Iterator[Item]:
    """The channel's people, itself, its messages. Bots are nobody to learn from."""
    zone = Zone(how.zone)
    with Bundle(path) as bundle:
        found = jsons.whole(bundle, next(iter(bundle.sizes), ""), _Export)
    direct = str(found.channel.type) in ("DirectTextChat", "1") or found.guild.id == "0"
    title = " / ".join(filter(None, (name_of(each or "") for each in (found.guild.name, found.channel.name))))
    chat = Chat(f"discord:{found.channel.id}", title, not direct or "Group" in str(found.channel.type))
    yield chat
    names: dict[str, str] = {}
    total = len(found.messages)
    for number, said in jsons.each(found.messages, _Message, "message", told):
        if not number % 1000:
            told.progress(number, total)
        for user in said.mentions:
            if user.id not in names and not user.is_bot:
                names[user.id] = user.shown
                yield _person(user)
        text = clean(_text(said, names))
        at = zone.read(said.timestamp)
        if why := _why_not(said, text, at):
            told.skipped(f"message {number}", why)
            continue
        if names.get(said.author.id) != said.author.shown:
            names[said.author.id] = said.author.shown
            yield _person(said.author)
        reply = said.reference.message if said.reference and str(said.type) in ("Reply", "19") else None
        reply_to = f"discord:{reply}" if reply else ""
        yield Message(f"discord:{said.id}", chat.id, f"discord:{said.author.id}", text, at, reply_to)
    told.progress(total, total)


def _person(user: _User) -> Person:
    other = name_of(user.name)
    return Person(f"discord:{user.id}", user.shown, (other,) if other and other != user.shown else ())


def _why_not(said: _Message, text: str, at: float | None) -> str:
    if str(said.type) not in _KINDS:
        return "Discord wrote it"
    if said.author.is_bot:
        return "a bot wrote it"
    if not text:
        return "it was forwarded" if said.forwarded != _NONE else "a medium without words"
    return "there is no such time" if at is None else ""


def _text(said: _Message, names: dict[str, str]) -> str:
    text = _EMOJI.sub(r"\1", said.content or "")
    return _MENTION.sub(lambda found: "@" + names.get(found[1], "somebody"), text)
