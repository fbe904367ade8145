"""What was said in one session, and how much of it the model is told again. Pure, but for its file."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from rolecast.avatars.files import write_private
from rolecast.errors import UNREADABLE, Invalid

Message = dict[str, str]
"""`role` and `content`."""
ROLES = ("user", "assistant")
_MOST = 1 << 26


class Turn(msgspec.Struct, frozen=True):
    """A message and its answer."""

    user: str
    assistant: str
    asked: str
    """When, in ISO 8601."""
    answered: str

    def messages(self) -> list[Message]:
        """As a chat has them."""
        return [{"role": "user", "content": self.user}, {"role": "assistant", "content": self.assistant}]


def now() -> str:
    """The time as ISO 8601, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def fitting(
    system: str, turns: Sequence[Turn], message: str, most: int, count: Callable[[list[Message]], int]
) -> list[Message]:
    """The chat to be answered: the system message, as many of the last turns as fit, and the message.

    `count` tells the tokens of a chat, `most` is how many there may be. Oldest turns are left out whole. Raises
    Invalid when the message alone is too long.
    """
    before = [{"role": "system", "content": system}] if system else []
    last = [{"role": "user", "content": message}]
    for first in range(len(turns) + 1):
        said = [*before, *(each for turn in turns[first:] for each in turn.messages()), *last]
        if (size := count(said)) <= most:
            return said
    raise Invalid(f"The message has {size} tokens with its instructions, and {most} fit; shorten it.", param="message")


def write(path: Path, turns: Sequence[Turn], model: str, began: str) -> None:
    """The session as a transcript, for its owner alone, whole or not at all."""
    said = {
        "model": model,
        "session_start": began,
        "session_end": now(),
        "messages": [
            each
            for turn in turns
            for each in (
                {"role": "user", "content": turn.user, "timestamp": turn.asked},
                {"role": "assistant", "content": turn.assistant, "timestamp": turn.answered},
            )
        ],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, msgspec.json.format(msgspec.json.encode(said), indent=2) + b"\n")
    except OSError as error:
        raise Invalid(f"{path} cannot be written ({(error.strerror or str(error)).lower()}).", param="path") from error


def read(path: Path) -> list[Turn]:
    """The turns of a transcript, or of a list of messages with `role` and `content`. A message without an answer is
    left out. Raises Invalid for anything else."""
    try:
        if path.stat().st_size > _MOST:
            raise Invalid(f"{path} is too large for a conversation.", param="path")
        said: Any = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise Invalid(f"{path} cannot be read ({(error.strerror or str(error)).lower()}).", param="path") from error
    except UNREADABLE as error:
        raise Invalid(f"{path} is no conversation: {str(error)[:200]}.", param="path") from error
    messages = said.get("messages") if isinstance(said, dict) else said
    if not isinstance(messages, list):
        raise Invalid(f"{path} is no conversation: a list of `messages` is expected.", param="path")
    return list(_turns(messages, path))


def _turns(messages: list[Any], path: Path) -> list[Turn]:
    found: list[Turn] = []
    user, asked = "", ""
    for number, each in enumerate(messages, 1):
        role = each.get("role") if isinstance(each, dict) else None
        content = each.get("content") if isinstance(each, dict) else None
        if role == "system":
            continue
        if role not in ROLES or not isinstance(content, str):
            raise Invalid(f"Message {number} of {path} needs a `role` (user, assistant) and a `content`.", param="path")
        at = str(each.get("timestamp") or now())
        if role == "user":
            user, asked = (f"{user}\n{content}" if user else content), asked or at
        elif user:
            found.append(Turn(user, content, asked, at))
            user, asked = "", ""
    return found
