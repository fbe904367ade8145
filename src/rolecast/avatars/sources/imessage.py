"""iMessage: `chat.db` of a Mac (~/Library/Messages), or of an iPhone's backup. Opened so that nothing in it can change.

A copy that still has its `-wal` file beside it holds the newest messages there; both are copied into a private folder.
"""

import contextlib
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rolecast.avatars.conversation import AS_IT_IS, Chat, Item, Message, Person, Reading, Told
from rolecast.avatars.sources.bundle import unreadable
from rolecast.avatars.sources.words import Clock, clean, name_of, seconds
from rolecast.errors import ExportError

TITLE = "iMessage database (chat.db)"
ME = "imessage:me"
_MAGIC = b"SQLite format 3\x00"
_EPOCH = 978_307_200
"""2001-01-01, where Apple's time begins."""
_NANOSECONDS = 1e11
"""Larger times are in those; seconds of old systems are not so large for another thousand years."""
_GROUP = 43
"""The style of a chat with several people."""
LARGEST = 64 * 1024**2
"""Bytes of a value, at most."""
_NEEDED = ("message", "chat", "handle", "chat_message_join")
_DAMAGED = (sqlite3.Error, UnicodeError)
"""What reading raises; the second where even a name in the schema is no text."""
_REACTED = re.compile(
    r"(?:(?:Liked|Loved|Disliked|Laughed at|Emphasi[sz]ed|Questioned|Reacted \S{1,12} to"
    r"|Removed an? [\w ]{4,20} from) (?:“.*”|\".*\"|an? (?:image|photo|movie|video|audio message|attachment|sticker)))",
    re.DOTALL,
)
"""A reaction as a text, which is what comes of it where one of them has no iMessage."""
_OPTIONAL = {
    "attributedBody": "NULL",
    "associated_message_type": "0",
    "thread_originator_guid": "NULL",
    "item_type": "0",
    "date_retracted": "0",
}
"""Columns that came with newer systems, and what older ones would have in them."""


def fits(path: Path) -> bool:
    file = _file(path)
    with contextlib.suppress(OSError, ExportError, *_DAMAGED):
        if file.is_file() and _begins(file):
            with _opened(file) as database:
                return _tables(database) >= set(_NEEDED)
    return False


def read(path: Path, told: Told, how: Reading = AS_IT_IS) -> Iterator[Item]:
    """Its people, then chat by chat. Reactions, stickers, and what was taken back are left out."""
    file = _file(path)
    try:
        with _opened(file) as database:
            if missing := set(_NEEDED) - _tables(database):
                raise ExportError(f"{file} has no table {min(missing)}; name the chat.db of Messages.")
            yield Person(ME, name_of(how.me) or "Me")
            yield from _people(database)
            yield from _chats(database, told)
    except OSError as error:
        raise unreadable(file, error) from error
    except _DAMAGED as error:
        raise ExportError(f"{file} cannot be read as a database; close Messages and copy it again.") from error


def _file(path: Path) -> Path:
    return path / "chat.db" if path.is_dir() else path


def _begins(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_MAGIC)) == _MAGIC


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.ExitStack() as stack:
        log = file.with_name(file.name + "-wal")
        if log.is_file() and log.stat().st_size:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rolecast-")))  # for its owner alone
            shutil.copyfile(log, folder / "chat.db-wal")
            where = f"{shutil.copyfile(file, folder / 'chat.db').as_uri()}?mode=rw"
        else:
            if not _begins(file):  # `immutable` would make none of it, either; the words of SQLite help nobody
                raise ExportError(f"{file} is no SQLite database; name the chat.db of Messages.")
            where = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        connection = stack.enter_context(contextlib.closing(sqlite3.connect(where, uri=True)))
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        connection.execute("PRAGMA trusted_schema=OFF")  # a stranger's file may define what runs when it is read
        connection.execute("PRAGMA query_only=ON")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)  # a column may be computed, to any length
        yield connection


def _tables(database: sqlite3.Connection) -> set[str]:
    """Real ones: a view could compute for ever, and a virtual table is read by whatever module it names."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0"
    return {name for (name,) in database.execute(query)}


def _people(database: sqlite3.Connection) -> Iterator[Person]:
    for (address,) in database.execute("SELECT DISTINCT id FROM handle WHERE id IS NOT NULL ORDER BY id"):
        if name := name_of(str(address)):
            yield Person(f"imessage:{name}", name)


def _chats(database: sqlite3.Connection, told: Told) -> Iterator[Item]:
    known = {row[1] for row in database.execute("PRAGMA table_info(message)")}
    columns = [f"m.{name}" if name in known else default for name, default in _OPTIONAL.items()]
    query = (
        "SELECT m.guid, m.text, m.date, m.is_from_me, h.id, "  # noqa: S608  # our names
        f"{', '.join(columns)} FROM chat_message_join j JOIN message m ON m.ROWID = j.message_id "
        "LEFT JOIN handle h ON h.ROWID = m.handle_id WHERE j.chat_id = ? ORDER BY m.date, m.ROWID"
    )
    (total,) = database.execute("SELECT count(*) FROM chat_message_join").fetchone()
    done = 0
    fields = "ROWID, guid, display_name, chat_identifier, style"
    for key, guid, title, identifier, style in database.execute(f"SELECT {fields} FROM chat ORDER BY ROWID").fetchall():  # noqa: S608
        chat = Chat(f"imessage:{guid}", name_of(str(title or identifier or "")), style == _GROUP)
        yield chat
        clock = Clock()
        threads: dict[str, str] = {}
        for row in database.execute(query, (key,)):
            done += 1
            message, why = _message(row, chat.id, clock)
            if message is not None:
                # Replies name the first message of their thread; what they answer is the last one of it.
                thread = message.reply_to or message.id
                yield msgspec.structs.replace(message, reply_to=threads.get(thread, message.reply_to))
                threads[thread] = message.id
            else:
                told.skipped(f"{chat.title or guid}, message {done}", why)
            if not done % 1000:
                told.progress(done, total)
    told.progress(total, total)


def _message(row: tuple[object, ...], chat: str, clock: Clock) -> tuple[Message | None, str]:
    guid, text, date, mine, handle, body, associated, thread, item, retracted = row
    if isinstance(associated, int) and 1000 <= associated < 4000:
        return None, "a reaction or a sticker"
    if item:
        return None, "Messages wrote it"
    if retracted:
        return None, "it was taken back"
    if not isinstance(text, str) or not text.strip():
        text = attributed(body) if isinstance(body, bytes) else ""
    text = clean(text.replace("\ufffc", ""))  # where a picture stood
    if not text:
        return None, "a medium without words"
    if _REACTED.fullmatch(text):
        return None, "a reaction or a sticker"
    if not isinstance(date, int | float) or (moment := _time(date)) is None:
        return None, "there is no such time"
    name = name_of(str(handle or ""))
    if not mine and not name:
        return None, "nobody is named as its author"
    person = ME if mine else f"imessage:{name}"
    reply = f"imessage:{thread}" if thread else ""
    return Message(f"imessage:{guid}", chat, person, text, clock(chat, moment), reply), ""


def _time(date: float) -> float | None:
    return seconds(_EPOCH + (date / 1e9 if abs(date) >= _NANOSECONDS else date))


def attributed(body: bytes) -> str:
    """The text of an `attributedBody`, where Messages keeps it since macOS 13; '' = there is none.

    It is an archive of Foundation's: behind the class `NSString` come a mark, the length (one byte, or 0x81 and two, or
    0x82 and four, little-endian) and as many bytes of UTF-8.
    """
    place = body.find(b"NSString")
    mark = body.find(b"\x84\x01+", place)
    if place < 0 or mark < 0 or mark + 4 > len(body):
        return ""
    start = mark + 4
    length = body[mark + 3]
    if width := {0x81: 2, 0x82: 4}.get(length, 0):
        length = int.from_bytes(body[start : start + width], "little")
        start += width
    elif length >= 0x80:
        return ""
    return body[start : start + length].decode("utf-8", "replace")
