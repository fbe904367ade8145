"""Damaged exports: whatever happens to their bytes or values, the answer is an error with words for people, or less."""

import contextlib
import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_exports import (
    ANDROID,
    IPHONE,
    MBOX,
    SLACK,
    Ears,
    chatgpt_conversation,
    claude_conversation,
    discord,
    discord_message,
    imessage,
    pack,
    telegram,
    telegram_message,
    write,
)

from rolecast.avatars.conversation import Message
from rolecast.avatars.sources import SOURCES, read
from rolecast.errors import ExportError, Invalid

LINES = (
    '{"speaker": "M", "message": "x", "timestamp": 5}\n{"messages": [{"role": "user", "content": [{"text": "h"}]}]}\n'
    '{"target_text": "x", "speaker_name": "M", "conversation_history": [{"speaker": "J", "message": "o"}]}\n'
    '{"id": "p", "name": "n", "names": ["x"]}\n{"id": "m", "person": "p", "text": "t", "at": "2024-01-01"}\n'
)
EXPORTS: dict[str, Callable[[Path], Path]] = {
    "android": lambda folder: write(folder / "WhatsApp Chat with x.txt", ANDROID),
    "iphone": lambda folder: write(folder / "_chat.txt", IPHONE),
    "telegram": lambda folder: write(
        folder / "result.json", telegram(*(telegram_message(n, ["a", {"type": "b", "text": "c"}]) for n in range(3)))
    ),
    "discord": lambda folder: write(folder / "d.json", discord(*(discord_message(n, "x <@2>") for n in range(3)))),
    "mail": lambda folder: write(folder / "Inbox", MBOX),
    "chatgpt": lambda folder: write(folder / "conversations.json", [chatgpt_conversation()] * 2),
    "claude": lambda folder: write(folder / "conversations.json", [claude_conversation(branches=True)]),
    "lines": lambda folder: write(folder / "a.jsonl", LINES),
    "imessage": lambda folder: imessage(folder / "chat.db"),
    "slack": lambda folder: pack(folder / "slack.zip", SLACK),
}
VALUES: tuple[Any, ...] = (None, 5, -1, 1e308, "", [], {}, "x", True, [[]], {"a": 1}, 10**30, "\ud800", "\0")


def other_bytes(data: bytes, chance: random.Random) -> bytes:
    """The same with a few bytes changed, taken out or put in, or cut off."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(changed))
        match chance.randrange(8):
            case 0 | 1 | 2 | 3:
                changed[place] = chance.randrange(256)
            case 4 | 5:
                del changed[place : place + chance.randint(1, 40)]
            case 6:
                changed[place:place] = chance.randbytes(5)
            case _:
                del changed[max(1, place) :]
        changed = changed or bytearray(b"x")
    return bytes(changed)


def other_value(said: Any, chance: random.Random) -> Any:
    """The same with one value in it that is another one."""
    if isinstance(said, dict) and said and chance.random() < 0.9:
        name = chance.choice(list(said))
        return said | {name: other_value(said[name], chance)}
    if isinstance(said, list) and said and chance.random() < 0.9:
        place = chance.randrange(len(said))
        return [*said[:place], other_value(said[place], chance), *said[place + 1 :]]
    return chance.choice(VALUES)


@pytest.mark.parametrize("kind", EXPORTS)
def test_damage_is_told_in_words_and_never_crashes_a_reader(tmp_path: Path, kind: str) -> None:
    path = EXPORTS[kind](tmp_path)
    whole = path.read_bytes()
    chance = random.Random(kind)
    said = []
    for number in range(25):
        if path.suffix == ".json" and number % 2:
            path.write_text(json.dumps(other_value(json.loads(whole), chance)))
        elif path.suffix == ".jsonl" and number % 2:
            rows = [json.dumps(other_value(json.loads(line), chance)) for line in whole.splitlines()]
            path.write_text("\n".join(rows))
        else:
            path.write_bytes(other_bytes(whole, chance))
        for reading in (*(lambda s=source: s.read(path, Ears()) for source in SOURCES), lambda: read([path], Ears())):
            try:
                for _ in reading():
                    pass
            except (ExportError, Invalid) as error:
                said.append(error.message)
    assert all(message.endswith(".") for message in said)


SENT = "From a@b Mon Jan  1 00:00:00 2024\nFrom: a@b.de\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n"
NESTED = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(1100))


@pytest.mark.parametrize(
    "header", [NESTED, "To: " + "@a," * 30_000, "To: " + "=?utf-8?q?a?= " * 10_000, "Content-Type: " + "(" * 30_000]
)
def test_a_mail_that_would_take_a_parser_for_ever_costs_no_other(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "Inbox", f"{SENT}{header}\n\nbad\n\n{SENT}\nthe next one\n")
    assert "the next one" in [item.text for item in read([path], Ears()) if isinstance(item, Message)]


def test_a_database_computes_nothing_of_any_size_and_its_modules_are_left_alone(tmp_path: Path) -> None:
    path = imessage(tmp_path / "chat.db", old=True)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("ALTER TABLE message RENAME COLUMN text TO said")
        database.execute("ALTER TABLE message ADD COLUMN text AS (hex(zeroblob(300000000)))")
    with pytest.raises(ExportError, match="cannot be read as a database"):
        list(read([path], Ears()))
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE message")
        database.execute("CREATE VIRTUAL TABLE message USING fts5(guid, text, date, is_from_me, handle_id)")
    with pytest.raises(ExportError, match="no table message"):
        list(SOURCES[0].read(path, Ears()))
