"""Seats a request at a worker with adapters: which of them answers, and on which slot its conversation stays.

Adapters are found by their file in what the worker has really loaded, never by a number that was right when the request
came: between the two another worker may have started, with other avatars under the same numbers.
"""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from secrets import token_bytes
from typing import Any

import msgspec

from rolecast.dialects import Dialect
from rolecast.dialects.defaults import LEADING
from rolecast.dialects.request import Request, read_fields
from rolecast.errors import WorkerDown
from rolecast.fleet import Lease
from rolecast.fleet.seats import Marks
from rolecast.turn.look import words_of
from rolecast.turn.plan import Plan
from rolecast.values import Caller, Chat, Completion, Words

PIECE = 512
"""Characters of a prompt without turns for each mark."""
MOST_MARKS = 256
_KEY = token_bytes(32)


def seated(body: bytes, plan: Plan, request: Request, lease: Lease, caller: Caller, dialect: Dialect) -> bytes:
    """The body with the adapter that answers and the slot that is for it.

    Raises WorkerDown when the worker has not loaded that adapter: it was withdrawn while the request waited.
    """
    station = lease.station
    if plan.adapter and plan.adapter not in station.adapters:
        text = f"The version of {plan.asked} that was to answer is no longer here; ask again."
        raise WorkerDown(text, code="model_removed")
    fields: dict[str, Any] = read_fields(body)
    if plan.adapter is not None or not _is_said(fields, "lora"):
        # The engine compares only what a request says: one that says nothing would go on with what another's adapter
        # has read, and spoil the slot for all that follow.
        fields["lora"] = [{"id": i, "scale": float(path == plan.adapter)} for i, path in enumerate(station.adapters)]
    if lease.seat is None and station.seats is not None and not _is_said(fields, "id_slot"):
        words = words_of(request, dialect)
        slot = station.seats.take(marks(words, caller.key, plan.adapter or "")) if words is not None else None
        lease.seat = None if slot is None else (station.seats, slot)
    if lease.seat is not None:
        fields["id_slot"] = lease.seat[1]
    return msgspec.json.encode(fields)


def _is_said(fields: Mapping[str, Any], name: str) -> bool:
    """Whether a client says it, of a model that is no avatar: null and an empty list say nothing."""
    return name in fields and bytes(fields[name]).translate(None, b" \t\r\n") not in (b"null", b"[]")


def marks(words: Words, *whose: str) -> Marks:
    """A conversation by its beginnings, told apart by whose it is. Holds no word of it."""
    found, digest = [], blake2b(key=_KEY, digest_size=8)
    for each in (*whose, *islice(_pieces(words), MOST_MARKS)):
        part = each.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(part))
        digest.update(part)
        found.append(int.from_bytes(digest.digest()))
    return tuple(found[len(whose) :])


def _pieces(words: Words) -> Iterator[str]:
    if isinstance(words, Completion):
        prompt = words.prompt if isinstance(words.prompt, str) else ""
        yield from (prompt[at : at + PIECE] for at in range(0, len(prompt), PIECE))
    elif isinstance(words, Chat):
        led = ""  # what all conversations may begin with is no beginning of one
        for message in words.messages:
            text = message.content if isinstance(message.content, str) else repr(message.content)
            if message.role in LEADING:
                led += text
            else:
                yield f"{led}\0{message.role}\0{text}\0{message.tool_calls!r}"
                led = ""


def share_of(words: Words | None, caller: Caller, name: str) -> float:
    """Where this conversation stands between 0 and 1: the same for all its turns, and evenly spread over all others.

    A caller that names its session, or sends a chat whose first words stay, stays there.
    """
    if session := caller.session:
        found = blake2b(f"{name}\0{caller.key}\0{session}".encode("utf-8", "surrogatepass"), digest_size=8)
        return int.from_bytes(found.digest()) / 2.0**64
    first = next(_pieces(words), "") if words is not None else ""
    found = blake2b(f"{name}\0{caller.key}\0{first}".encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(found.digest()) / 2.0**64
