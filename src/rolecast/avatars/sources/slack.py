"""Slack: the zip of a workspace, or the folder that was unpacked from it."""

import contextlib
import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from rolecast.avatars.conversation import AS_IT_IS, Chat, Item, Message, Person, Reading, Told
from rolecast.avatars.sources import jsons
from rolecast.avatars.sources.bundle import Bundle
from rolecast.avatars.sources.words import clean, name_of, seconds
from rolecast.errors import ExportError

TITLE = "Slack export"
_CHATS = {"channels.json": True, "groups.json": True, "mpims.json": True, "dms.json": False}
"""The lists of chats, and whether those are groups."""
_DAY = re.compile(r"(?P<chat>[^/]+)/\d{4}-\d\d-\d\d\.json")
_WRITTEN = (None, "", "thread_broadcast", "me_message", "file_share", "file_comment", "reply_broadcast")
"""Kinds of messages that somebody wrote."""
_BRACKETS = re.compile(r"<([@#!]?)([^<>|]*)(?:\|([^<>]*))?>")


class _Profile(msgspec.Struct, frozen=True):
    display_name: str | None = None
    real_name: str | None = None


class _User(msgspec.Struct, frozen=True):
    id: str
    name: str | None = None
    real_name: str | None = None
    profile: _Profile = _Profile()
    is_bot: bool = False


class _Named(msgspec.Struct, frozen=True):
    id: str
    name: str | None = None


class _Message(msgspec.Struct, frozen=True):
    ts: str
    type: str = "message"
    subtype: str | None = None
    user: str | None = None
    text: str | None = ""
    blocks: Any = None
    """What newer clients write; some exports have nothing else."""
    thread_ts: str | None = None
    bot_id: str | None = None
    user_profile: _Profile | None = None


def fits(path: Path) -> bool:
    with contextlib.suppress(ExportError), Bundle(path) as bundle:
        top = _top(bundle)
        return top is not None and any(_DAY.fullmatch(name.removeprefix(top)) for name in bundle.sizes)
    return False


def read(path: Path, told: Told, how: Reading = AS_IT_IS) -> Iterator[Item]:
    """Its people, then chat by chat and day by day."""
    with Bundle(path) as bundle:
        top = _top(bundle)
        if top is None:
            raise ExportError(f"{path} has no users.json; name the zip or folder of Slack's export.")
        users: dict[str, str] = {}
        bots = set()
        for _, user in jsons.each(jsons.whole(bundle, f"{top}users.json", list[msgspec.Raw]), _User, "user", told):
            person = _person(user)
            users[user.id] = person.name
            if user.is_bot:
                bots.add(user.id)
            else:
                yield person
        chats = dict(_chats(bundle, top, told))
        days = sorted(name for name in bundle.sizes if name.startswith(top) and _DAY.fullmatch(name.removeprefix(top)))
        total, done = sum(bundle.sizes[name] for name in days), 0
        last = ""
        threads: dict[str, str] = {}
        for day in days:
            folder = day.removeprefix(top).split("/")[0]
            chat = chats.get(folder) or Chat(f"slack:{folder}", name_of(folder), True)
            if chat.id != last:
                last = chat.id
                yield chat
            try:
                parts = jsons.whole(bundle, day, list[msgspec.Raw])
            except ExportError:
                told.skipped(day, jsons.NOT_SO)
                parts = []
            yield from _day(parts, chat.id, users, bots, told, day.removeprefix(top), threads)
            done += bundle.sizes[day]
            told.progress(done, total)


def _top(bundle: Bundle) -> str | None:
    """The folder that the export is in, within its zip or folder."""
    if not (bundle.is_zip or bundle.path.is_dir()):
        return None
    found = [name for name in bundle.sizes if name.rsplit("/", 1)[-1] == "users.json" and name.count("/") < 2]
    return min(found, key=len).removesuffix("users.json") if found else None


def _chats(bundle: Bundle, top: str, told: Told) -> Iterator[tuple[str, Chat]]:
    for name, group in _CHATS.items():
        if f"{top}{name}" not in bundle.sizes:
            continue
        parts = jsons.whole(bundle, f"{top}{name}", list[msgspec.Raw])
        for _, found in jsons.each(parts, _Named, f"{name}, chat", told):
            yield found.name or found.id, Chat(f"slack:{found.id}", name_of(found.name or ""), group)


def _person(user: _User) -> Person:
    called = [name_of(each or "") for each in (user.profile.display_name, user.profile.real_name, user.real_name)]
    names = list(dict.fromkeys(each for each in (*called, name_of(user.name or "")) if each))
    return Person(f"slack:{user.id}", names[0] if names else user.id, tuple(names[1:]))


def _day(
    parts: list[msgspec.Raw],
    chat: str,
    users: dict[str, str],
    bots: set[str],
    told: Told,
    where: str,
    threads: dict[str, str],
) -> Iterator[Item]:
    """`threads`: of each the message that was written last in it, which is what the next one answers."""
    for number, said in jsons.each(parts, _Message, f"{where}, message", told):
        text = clean(_text(said.text or _blocks(said.blocks), users))
        at = _time(said.ts)
        if why := _why_not(said, text, at, bots):
            told.skipped(f"{where}, message {number}", why)
            continue
        assert said.user, "that was a reason"
        if said.user not in users:  # of another workspace
            person = _person(_User(said.user, profile=said.user_profile or _Profile()))
            users[said.user] = person.name
            yield person
        own, thread = f"{chat}:{said.ts}", f"{chat}:{said.thread_ts}" if said.thread_ts else ""
        reply = threads.get(thread, thread) if thread != own else ""
        if thread:
            threads[thread] = own
        yield Message(own, chat, f"slack:{said.user}", text, at, reply)


def _why_not(said: _Message, text: str, at: float | None, bots: set[str]) -> str:
    if said.type != "message" or said.subtype == "bot_message" or said.subtype not in _WRITTEN:
        return "a bot wrote it" if said.subtype == "bot_message" else "Slack wrote it"
    if said.bot_id or said.user in bots:
        return "a bot wrote it"
    if not said.user:
        return "nobody is named as its author"
    if at is None:
        return "there is no such time"
    return "" if text else "a medium without words"


def _blocks(part: Any, deep: int = 0) -> str:
    """As `text` would be: lines of sections, with who and what is meant in brackets."""
    if isinstance(part, list) and deep < 10:
        return "\n".join(filter(None, (_blocks(each, deep + 1) for each in part)))
    if not isinstance(part, dict):
        return ""
    within = part.get("elements")
    if not isinstance(within, list):
        return _element(part)
    if part.get("type") in ("rich_text", "rich_text_list"):
        return _blocks(within, deep + 1)
    return "".join(_element(each) for each in within if isinstance(each, dict))


def _element(part: dict[str, Any]) -> str:
    text = part.get("text")
    if isinstance(text, dict):  # a section of an app
        text = text.get("text")
    plain = html.escape(text, quote=False) if isinstance(text, str) else ""
    match part.get("type"):
        case "emoji":
            return f":{part.get('name', '')}:"
        case "user":
            return f"<@{part.get('user_id', '')}>"
        case "broadcast":
            return f"<!{part.get('range', '')}>"
        case "link":
            return plain or str(part.get("url", ""))
    return plain


def _time(ts: str) -> float | None:
    with contextlib.suppress(ValueError):
        return seconds(float(ts))
    return None


def _text(text: str, users: Mapping[str, str]) -> str:
    """As people saw it: who and what is meant, in place of ids; entities last, since what they stand for was typed."""

    def plain(found: re.Match[str]) -> str:
        kind, target, label = found.groups()
        if kind == "@":
            return "@" + (users.get(target) or label or "somebody")
        if kind == "#":
            return "#" + (label or "channel")
        if kind == "!":
            return label or "@" + target.split("^")[0]
        return label or target.removeprefix("mailto:")

    return html.unescape(_BRACKETS.sub(plain, text)) if "<" in text or "&" in text else text
