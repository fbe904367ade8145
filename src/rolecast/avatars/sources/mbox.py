"""Mail: an mbox file (Thunderbird, Apple Mail, Google Takeout). Each thread is a chat.

What somebody wrote themselves counts: quoted text, signatures and what machines send are left out.
"""

import contextlib
import email
import email.policy
import email.utils
import mailbox
import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from rolecast.avatars.conversation import AS_IT_IS, Chat, Item, Message, Person, Reading, Told
from rolecast.avatars.sources.bundle import Bundle, unreadable
from rolecast.avatars.sources.mail_text import own_words, text_of_html
from rolecast.avatars.sources.words import Zone, clean, digest, name_of
from rolecast.errors import ExportError

TITLE = "mail (mbox)"
LARGEST = 64 * 1024**2
"""Bytes of a mail with all that is attached to it, at most."""
HEADER = 8 * 1024
"""Characters of a header that are looked at: the parser's time grows with their square."""
_BEGINS = re.compile(rb"From [^\n]*\r?\n[\w-]+:")
_RE = re.compile(r"^(?:(?:re|aw|sv|antw|rif|fwd?|wg|tr|enc|rv)(?:\[\d+\])?\s*:\s*)+", re.IGNORECASE)
_ID = re.compile(r"<([^<>\s]+)>")
_NOT_SENT = re.compile(r"\b(?:spam|junk|drafts?|trash|entwürfe|papierkorb)\b", re.IGNORECASE)


class _Brief(email.policy.EmailPolicy):
    def header_fetch_parse(self, name: str, value: str) -> Any:
        return super().header_fetch_parse(name, value[:HEADER])


_POLICY = _Brief()


def fits(path: Path) -> bool:
    with contextlib.suppress(ExportError, OSError), Bundle(_file(path)) as bundle:
        return not bundle.is_zip and _BEGINS.match(bundle.beginning(_file(path).name)) is not None
    return False


def read(path: Path, told: Told, how: Reading = AS_IT_IS) -> Iterator[Item]:
    """All mails in their order in the file."""
    zone = Zone(how.zone)
    file = _file(path)
    with Bundle(file):  # says what is wrong with it
        pass
    with contextlib.closing(mailbox.mbox(file, create=False)) as box:
        try:
            keys = box.keys()  # only where each begins is in memory
            reader = _Reader(box, zone)
            for number, key in enumerate(keys, 1):
                try:
                    yield from reader.items(key)
                except _Left as left:
                    told.skipped(f"mail {number}", str(left))
                if not number % 100:
                    told.progress(number, len(keys))
            told.progress(len(keys), len(keys))
        except OSError as error:
            raise unreadable(file, error) from error


def _file(path: Path) -> Path:
    """Apple Mail exports a folder `NAME.mbox` with a file `mbox`."""
    return path / "mbox" if path.is_dir() else path


class _Left(Exception):
    """This mail is left out, for that reason."""


class _Reader:
    def __init__(self, box: "mailbox.mbox", zone: Zone) -> None:
        self._box, self._zone = box, zone
        self._people: dict[str, str] = {}
        self._threads: dict[str, str] = {}
        """The thread of each mail so far: later answers may name only the one before them."""

    def items(self, key: str) -> Iterator[Item]:
        with contextlib.closing(self._box.get_file(key)) as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise _Left("it is larger than 64 MB")
        try:
            mail = email.message_from_bytes(data, policy=_POLICY)
            assert isinstance(mail, EmailMessage)
            yield from self._of(mail)
        except _Left:
            raise
        except Exception as error:  # whatever the parser makes of what strangers send, the next mail is another one
            raise _Left(f"it cannot be read ({type(error).__name__})") from error

    def _of(self, mail: EmailMessage) -> Iterator[Item]:
        if why := _why_not(mail):
            raise _Left(why)
        sender = next(_addresses(mail, "From"), None)
        if sender is None:
            raise _Left("nobody is named as its author")
        at = self._time(mail)
        if at is None:
            raise _Left("it has no date, or one that is none")
        text = clean(own_words(clean(_body(mail))))
        if not text:
            raise _Left("nothing of it was written by its sender")
        for address, name in (sender, *_addresses(mail, "To"), *_addresses(mail, "Cc")):
            if address not in self._people or (name and not self._people[address]):
                self._people[address] = name
                yield Person(f"mail:{address}", name or address, (address,) if name else ())
        own = next(iter(_ids(mail, "Message-ID")), "") or digest(sender[0], str(at), text)
        before = [*_ids(mail, "References"), *_ids(mail, "In-Reply-To")]
        root = next((self._threads[each] for each in reversed(before) if each in self._threads), "")
        root = root or (before[0] if before else own)
        if own not in self._threads:
            self._threads[own] = root
        if root == own or root not in self._threads:
            self._threads[root] = root
            title = name_of(_RE.sub("", _said(mail, "Subject")))
            yield Chat(
                f"mail:{root}", title, len({a for a, _ in (*_addresses(mail, "To"), *_addresses(mail, "Cc"))}) > 1
            )
        reply = f"mail:{before[-1]}" if before else ""
        yield Message(f"mail:{own}", f"mail:{root}", f"mail:{sender[0]}", text, at, reply)

    def _time(self, mail: EmailMessage) -> float | None:
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            return self._zone.seconds(email.utils.parsedate_to_datetime(_said(mail, "Date")))
        return None


def _said(mail: EmailMessage, name: str) -> str:
    return str(mail.get(name, ""))


def _ids(mail: EmailMessage, name: str) -> list[str]:
    return [clean(each)[:500] for each in _ID.findall(_said(mail, name))]


def _addresses(mail: EmailMessage, name: str) -> Iterator[tuple[str, str]]:
    for shown, address in email.utils.getaddresses([str(each) for each in mail.get_all(name, [])]):
        if "@" in address:
            yield name_of(address).lower(), name_of(shown).strip("'\" ")


def _why_not(mail: EmailMessage) -> str:
    if _NOT_SENT.search(_said(mail, "X-Gmail-Labels")):
        return "it is in the spam, the bin or among drafts"
    automatic = _said(mail, "Auto-Submitted").lower()
    listed = mail.get("List-Post") is not None  # a list that people write to
    bulk = _said(mail, "Precedence").lower() in ("bulk", "junk") or mail.get("List-Unsubscribe") is not None
    return "a machine wrote it" if automatic not in ("", "no") or (bulk and not listed) else ""


def _body(mail: EmailMessage) -> str:
    part = mail.get_body(preferencelist=("plain", "html"))
    if part is None:
        return ""
    try:
        text = str(part.get_content())
    except (LookupError, UnicodeError):  # a character set that nobody knows
        raw = part.get_payload(decode=True)
        text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else ""
    return text_of_html(text) if part.get_content_subtype() == "html" else text
