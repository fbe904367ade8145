"""Exports in JSON: one part after the other, so that a bad one costs no other, and memory holds the file once."""

import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from rolecast.avatars.conversation import Told
from rolecast.avatars.sources.bundle import Bundle
from rolecast.errors import UNREADABLE, ExportError

T = TypeVar("T")

NOT_SO = "it is not as such exports are"
_ESCAPES = re.compile(
    rb"\\\\|\\u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""A backslash, a pair of halves, a half."""


def whole(bundle: Bundle, name: str, kind: type[T]) -> T:
    """A file of the export. Raises ExportError where it is no JSON, or not of that kind."""
    data = bundle.read(name)
    try:
        return decoded(data, kind)
    except UNREADABLE as error:
        raise ExportError(f"{name} in {bundle.path} cannot be read ({reason(error)}); export it again.") from error


def listed(bundle: Bundle, name: str) -> list[msgspec.Raw]:
    """The parts of a file that is a list; one that was exported alone is a list of one. Raises ExportError."""
    found = whole(bundle, name, msgspec.Raw)
    if bytes(found).lstrip().startswith(b"{"):
        return [found]
    return whole(bundle, name, list[msgspec.Raw])


def each(parts: Sequence[msgspec.Raw], kind: type[T], what: str, told: Told) -> Iterator[tuple[int, T]]:
    """The parts of a list with their numbers, from 1 on; those that cannot be read are told and left out."""
    for number, part in enumerate(parts, 1):
        try:
            yield number, decoded(part, kind)
        except UNREADABLE:
            told.skipped(f"{what} {number}", NOT_SO)


def decoded(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """JSON as that type, also where a string holds half a character pair or bytes that are no UTF-8.

    Raises errors of UNREADABLE.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeError):
        return msgspec.json.decode(_mended(bytes(data)), type=kind)


def _mended(data: bytes) -> bytes:
    """Without escapes of half a pair, which some programs write where they cut a text, and as UTF-8."""
    plain = _ESCAPES.sub(lambda found: b"" if found.lastgroup == "half" else found[0], data)
    return plain.decode("utf-8", "replace").encode()


def reason(error: Exception) -> str:
    """Why, in words that hold nothing of the file."""
    if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        return f"it is cut off or no JSON: {str(error)[:100]}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return NOT_SO
