"""WhatsApp: `Export chat`, as a text file, or the zip that it comes in.

Android   12/31/23, 9:15 PM - Mira: text        iPhone   [31.12.23, 21:15:02] Mira: text

What follows a message up to the next header belongs to it. A header counts only at the start of a line, and only when
it is written as the first one of the file is: one that somebody typed or pasted in another way is text.
"""

import contextlib
import io
import re
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rolecast.avatars.conversation import AS_IT_IS, Chat, Item, Message, Person, Reading, Told
from rolecast.avatars.sources import whatsapp_dates as dates
from rolecast.avatars.sources import whatsapp_words as words
from rolecast.avatars.sources.bundle import Bundle
from rolecast.avatars.sources.words import Clock, Zone, clean, digest, lines, name_of
from rolecast.errors import ExportError

TITLE = "WhatsApp chat"
_TITLES = (
    re.compile(r"^(?:WhatsApp[ -]Chat|WhatsApp-chat) (?:with|mit|met|-) (?P<title>.+)$", re.IGNORECASE),
    re.compile(r"^(?:Chat (?:de )?WhatsApp|Chat de WhatsApp) (?:con|com|with|-) (?P<title>.+)$", re.IGNORECASE),
    re.compile(r"^(?:Discussion WhatsApp avec|Conversa do WhatsApp com|WhatsApp Chat -) (?P<title>.+)$", re.IGNORECASE),
)
_COPY = re.compile(r"\s*\(\d+\)$")
"""What a browser adds to the name of a second download."""
_NAMELESS = "_chat"
"""iPhones call every chat so."""
_LOOKED_AT = 30
"""Lines at the beginning of a file, among which a header must be."""
_BRACKETS = 1000
"""Texts in brackets that are counted, at most."""
_REMEMBERED = 64
"""Times at which a message that repeats another one is counted."""


class Survey(NamedTuple):
    """What must be known of a file before its first message."""

    style: dates.Style
    order: str
    """Which of `dmy`, `mdy` and `ymd` its dates are."""
    people: tuple[str, ...]
    first: str
    """Its first header, which no later export of the chat changes."""
    omitted: frozenset[str]
    """What it has in place of media: the same words in brackets from several people."""


def fits(path: Path) -> bool:
    with contextlib.suppress(ExportError), Bundle(path) as bundle:
        name = _text_of(bundle)
        if name is None:
            return False
        beginning = io.BytesIO(bundle.beginning(name))
        return any(dates.header(line) is not None for _, line in islice(lines(beginning), _LOOKED_AT))
    return False


def read(path: Path, told: Told, how: Reading = AS_IT_IS) -> Iterator[Item]:
    """Its people, its chat, its messages. Raises Invalid where only its owner knows how its dates are meant."""
    zone = Zone(how.zone)
    with Bundle(path) as bundle:
        name = _text_of(bundle)
        if name is None:
            raise ExportError(f"{path} holds no text of a WhatsApp chat; export the chat and name that file.")
        with bundle.open(name) as file:
            seen = _survey(file, path, how)
        title = _title(path, name)
        chat = Chat(f"whatsapp:{_chat_id(title, seen)}", title, len(seen.people) > 2, zone.name)
        for person in seen.people:
            yield Person(f"whatsapp:{person}", person)
        yield chat
        with bundle.open(name) as file:
            yield from _messages(file, seen, chat.id, zone, told, bundle.sizes[name])


# -- which file, which chat --------------------------------------------------------------------------------------


def _text_of(bundle: Bundle) -> str | None:
    """The chat among the files: there may be texts that were sent in it."""
    texts = [name for name in bundle.sizes if name.lower().endswith(".txt")]
    if not bundle.is_zip and not bundle.path.is_dir():
        return texts[0] if texts else None
    named = [name for name in texts if Path(name).stem == _NAMELESS or any(t.match(Path(name).stem) for t in _TITLES)]
    return min(named, key=lambda name: (name.count("/"), len(name))) if named else None


def _title(path: Path, name: str) -> str:
    """What the chat is called: its file, else the zip or folder that holds it, is named after it."""
    for stem in (Path(name).stem, path.stem if path.is_file() else path.name, path.absolute().parent.name):
        plain = name_of(_COPY.sub("", stem))
        for pattern in _TITLES:
            if found := pattern.match(plain):
                return found["title"]
    plain = name_of(_COPY.sub("", path.stem if path.is_file() else path.name))
    return "" if plain.startswith(_NAMELESS) else plain


def _chat_id(title: str, seen: Survey) -> str:
    """Its name. Without one, what does not change when it goes on: who the two are, else how it began."""
    if title:
        return title
    return digest("people", *sorted(seen.people)) if len(seen.people) == 2 else digest("first", seen.first)


def _survey(file: BinaryIO, path: Path, how: Reading) -> Survey:
    style, first, evidence = None, "", dates.Evidence()
    people: dict[str, None] = {}
    brackets: dict[str, list[str]] = {}
    for _, line in lines(file):
        if (head := dates.header(line, style)) is None:
            continue
        style = style or head.style
        first = first or f"{head.date}{head.clock}{head.rest}"
        evidence.add(head.date)
        sender, text = words.split(head.rest)
        if sender and not words.is_system(text):
            people[sender] = None
            if words.bracketed(text) and (text in brackets or len(brackets) < _BRACKETS):
                brackets.setdefault(text.strip(), []).append(sender)
    if style is None:
        raise ExportError(f"{path} has no line that begins as WhatsApp's messages do; name the exported chat.")
    omitted = frozenset(text for text, by in brackets.items() if len(by) > 2 and len(set(by)) > 1)
    return Survey(style, evidence.order(how.date_order, path), tuple(people), first, omitted)


# -- messages ----------------------------------------------------------------------------------------------------


class _Open(NamedTuple):
    """A message whose lines are not all read yet."""

    line: int
    at: datetime
    sender: str
    lines: list[str]


def _messages(file: BinaryIO, seen: Survey, chat: str, zone: Zone, told: Told, total: int) -> Iterator[Message]:
    close = _Closing(chat, zone, told, seen.omitted)
    now: _Open | None = None
    done = 0
    begun = False
    for number, line in lines(file):
        done += len(line)
        if not number % 1000:
            told.progress(done, total)
        if (head := dates.header(line, seen.style)) is None:
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if now is not None:
                now.lines.append(text)
            elif not begun and text.strip("\ufeff\u200e \t"):
                told.skipped(f"line {number}", "it comes before the first message")
            continue
        if now is not None and (message := close(now)) is not None:
            yield message
        begun = True
        at = head.at(seen.order)
        if at is None:
            told.skipped(f"line {number}", "there is no such date or time")
            now = None
            continue
        sender, text = words.split(head.rest)
        now = _Open(number, at, sender, [text])
    if now is not None and (message := close(now)) is not None:
        yield message
    told.progress(total, total)


class _Closing:
    """Makes messages of what was read, or tells why it is none that somebody wrote."""

    def __init__(self, chat: str, zone: Zone, told: Told, omitted: frozenset[str]) -> None:
        self._chat, self._zone, self._told, self._omitted = chat, zone, told, omitted
        self._clock = Clock()
        self._seen: OrderedDict[str, dict[str, int]] = OrderedDict()

    def __call__(self, said: _Open) -> Message | None:
        text, why = words.said(said.sender, said.lines, self._omitted)
        text = clean(text)
        if not text or why:
            self._told.skipped(f"line {said.line}", why or "nothing was written")
            return None
        at = self._clock(self._chat, self._zone.seconds(said.at))
        return Message(self._id(said, text), self._chat, f"whatsapp:{said.sender}", text, at)

    def _id(self, said: _Open, text: str) -> str:
        """Of what the export says, because it has no ids; the same text again at that time is the second of its kind.

        It begins with the time, so that what follows each other lies together in an index.
        """
        moment = f"{said.at:%Y%m%d%H%M%S}"
        plain = digest(self._chat, moment, said.sender, text)[:20]
        counts = self._seen.setdefault(moment, {})
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        counts[plain] = counts.get(plain, 0) + 1
        own = f"whatsapp:{moment}:{plain}"
        return own if counts[plain] == 1 else f"{own}:{counts[plain]}"
