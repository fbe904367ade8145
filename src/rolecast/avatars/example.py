"""One example to learn from, and its file: a JSON object a line, in Avatar SLM's words.

Both of its forms are read: ours, and the one object with `examples` that Avatar SLM wrote.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rolecast.errors import UNREADABLE, Invalid


class Said(msgspec.Struct, frozen=True, omit_defaults=False):
    """A message of the history."""

    speaker: str
    message: str
    emotional_state: str = ""


class Lineage(msgspec.Struct, frozen=True):
    """Where an example comes from: enough to find and withdraw whatever was learnt of a message."""

    sequence_id: str = ""
    """The thread."""
    position: int = 0
    """Of the target within it."""
    total_length: int = 0
    """Messages of the thread."""
    chat: str = ""
    message_ids: tuple[str, ...] = ()
    """Of history and target, in order."""
    people: tuple[str, ...] = ()
    """The ids of all who wrote them."""
    at: float | None = None


class Example(msgspec.Struct, frozen=True):
    """A reply of the person, with what was said before."""

    example_id: str
    input_text: str
    """`[speaker]: text`, the message that is answered."""
    target_text: str
    speaker_name: str
    """Whose reply it is."""
    personality_type: str = ""
    emotional_state: str = ""
    relationship_type: str = ""
    conversation_history: tuple[Said, ...] = ()
    """What was said before the target, oldest first; its last one is what `input_text` shows."""
    metadata: Lineage = Lineage()


_encode = msgspec.json.Encoder().encode


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Callable[[Example], None]]:
    """A file of examples that is there, whole, when the block has ended, and not at all when it fails."""
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield lambda example: file.writelines((_encode(example), b"\n"))
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def write(path: Path, examples: Iterable[Example]) -> int:
    """Write a file of examples, whole or not at all; how many."""
    count = 0
    with writing(path) as put:
        for example in examples:
            put(example)
            count += 1
    return count


def read(path: Path) -> Iterator[Example]:
    """The examples of a file, one after the other. Raises Invalid with the line that is none."""
    try:
        with path.open("rb") as file:
            beginning = file.read(4096).lstrip()
            file.seek(0)
            first = beginning.split(b"\n", 1)[0]
            if beginning.startswith(b"{") and (b'"example_id"' not in first or b'"examples"' in first):
                if (whole := _whole(file.read())) is not None:
                    yield from _each(whole)
                    return
                file.seek(0)
            yield from _each(enumerate(file, 1))
    except OSError as error:
        raise Invalid(f"{path} cannot be read ({(error.strerror or str(error)).lower()}).") from error


def _whole(data: bytes) -> list[tuple[int, Any]] | None:
    try:
        said = json.loads(data)
    except ValueError:
        return None
    if not isinstance(said, dict) or not isinstance(said.get("examples"), list):
        return None
    return list(enumerate(said["examples"], 1))


def _each(rows: Iterable[tuple[int, Any]]) -> Iterator[Example]:
    for number, row in rows:
        if isinstance(row, bytes) and not row.strip():
            continue
        try:
            yield _of(msgspec.json.decode(row) if isinstance(row, bytes) else row)
        except (*UNREADABLE, TypeError, KeyError) as error:
            raise Invalid(f"Example {number} is none: {str(error)[:200]}") from error


def _of(said: Any) -> Example:
    """Missing words of Avatar SLM's own files are blank, and null is."""
    if not isinstance(said, dict):
        raise TypeError("an object is expected")
    plain = {key: value for key, value in said.items() if value is not None}
    history: Sequence[Any] = plain.get("conversation_history", ())
    plain["conversation_history"] = [
        {k: v for k, v in each.items() if v is not None} if isinstance(each, dict) else each for each in history
    ]
    if isinstance(plain.get("metadata"), dict):
        plain["metadata"] = {k: v for k, v in plain["metadata"].items() if v is not None}
        if isinstance(plain["metadata"].get("sequence_id"), int):
            plain["metadata"]["sequence_id"] = str(plain["metadata"]["sequence_id"])
    plain.setdefault("example_id", "")
    plain.setdefault("speaker_name", "")
    return msgspec.convert(plain, Example)
