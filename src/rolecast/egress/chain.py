"""The chain of what left: how an entry is hashed, and whether a chain is whole. Pure."""

from collections.abc import Iterable, Mapping
from hashlib import sha256

import msgspec

BEGINNING = "0" * 64
"""What the first entry has in place of the hash of one before."""


class Entry(msgspec.Struct, frozen=True):
    """One thing that left this machine. Holds no word of it, and no digest of its body."""

    place: str
    """The gateway, by its machine and data folder."""
    seq: int
    """Counted from 1 for each place."""
    at_us: int
    """In microseconds since 1970."""
    kind: str
    """`request`, `count`, `images`, `tool` or `agent`."""
    request: int
    """Number of the request; 0 = it has none."""
    key: str
    """Id of the API key of who asked."""
    model: str
    """Who was asked: the model, or the server of tools."""
    provider: str
    host: str
    path: str
    bytes: int
    """Of the body, as it was sent."""
    replaced: str
    """How often each kind of private things was replaced, as JSON."""
    previous: str = ""
    """Hash of the entry before."""
    hash: str = ""


FIELDS = Entry.__struct_fields__


class Fault(msgspec.Struct, frozen=True):
    """The first place where a chain is broken."""

    place: str
    seq: int
    why: str


def sealed(entry: Entry, previous: str) -> Entry:
    """The entry behind the one with that hash, with its own: SHA-256 of its fields as a JSON list in UTF-8."""
    linked = msgspec.structs.replace(entry, previous=previous, hash="")
    return msgspec.structs.replace(linked, hash=_hash(linked))


def _hash(entry: Entry) -> str:
    fields = [getattr(entry, name) for name in FIELDS if name != "hash"]
    return sha256(msgspec.json.encode(fields)).hexdigest()


def check(entries: Iterable[Entry], heads: Mapping[str, tuple[int, str]] | None = None) -> tuple[list[Fault], int]:
    """What is broken in these chains, at most one fault for each, and how many entries were read.

    `entries` come in the order of place and number. `heads` are hashes that were noted earlier, by place, each with its
    number: without one nobody can tell that the newest end was cut off.
    """
    faults: dict[str, Fault] = {}
    last: dict[str, Entry] = {}
    wanted = dict(heads or {})
    count = 0
    for entry in entries:
        count += 1
        place = entry.place
        if place in faults:
            continue
        before = last.get(place)
        seq, previous = (before.seq, before.hash) if before is not None else (0, BEGINNING)
        if entry.seq != seq + 1:
            faults[place] = Fault(place, seq + 1, f"is missing: {entry.seq} follows {seq}")
        elif entry.previous != previous:
            faults[place] = Fault(place, entry.seq, "does not follow the entry before it")
        elif entry.hash != _hash(msgspec.structs.replace(entry, hash="")):
            faults[place] = Fault(place, entry.seq, "was changed: its hash is another")
        elif place in wanted and wanted[place][0] == entry.seq and wanted[place][1] != entry.hash:
            faults[place] = Fault(place, entry.seq, "is not the one that was noted")
        last[place] = entry
    for place, (seq, _) in wanted.items():
        end = last[place].seq if place in last else 0
        if place not in faults and end < seq:
            faults[place] = Fault(place, end + 1, f"is missing: the chain had {seq} entries when it was noted")
    return list(faults.values()), count
