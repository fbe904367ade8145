"""JSON that a server writes a little wrong, read as far as it can be.

A wrong count or id beside a good text must not cost the text. Knows no dialect: who reads says which fields an answer
is nothing without.
"""

import json
import re
from collections.abc import Collection
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

MOST_FAULTS = 16
"""With more than that it is something else."""
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


def read(data: bytes, kind: type[T], needed: Collection[str]) -> T | None:
    """The object in these bytes without the fields that are not as they should be; None when it cannot be told.

    None also when one of the `needed` fields is wrong. Takes NaN, and puts a mark in place of what is no character.
    """
    try:
        value = _parsed(data)
    except (ValueError, RecursionError):
        return None
    for _ in range(MOST_FAULTS):
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as fault:
            if not _leave_out(value, str(fault).rpartition(" - at `$")[2], needed):
                return None
    return None


def _parsed(data: bytes) -> Any:
    value = json.loads(data.decode("utf-8-sig", "replace"), parse_constant=lambda _: None, parse_float=_number)
    text = json.dumps(value, ensure_ascii=False)
    if text.isascii():
        return value
    # Half of a surrogate pair is JSON, but nothing that could be written again.
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value  # whole numbers are written with a point, too


def _leave_out(value: Any, path: str, needed: Collection[str]) -> bool:
    """Take what stands at this path out of the value; false when there must be something."""
    steps = [name or int(place) for name, place in _STEP.findall(path)]
    names = [step for step in steps if isinstance(step, str)]
    if not names or names[-1] in needed:
        return False
    for step in steps[:-1]:
        value = value[step]
    del value[steps[-1]]
    return True
