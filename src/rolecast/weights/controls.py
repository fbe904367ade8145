"""Which tokens of a GGUF are marks of its own: what stands between turns, and is no text."""

import functools
import mmap
import struct
from pathlib import Path

from rolecast.weights.gguf import HEADER_LIMIT, Cursor, list_of, skipped

_TOKENS, _KINDS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_CONTROL = 3
"""llama.cpp's number for such a token."""


def controls(path: Path) -> tuple[str, ...]:
    """Their texts, longest first; none of a file that is no usable GGUF. Read once per version of the file."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return _controls(path, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _controls(path: Path, size: int, modified_ns: int) -> tuple[str, ...]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return _read(Cursor(view, min(len(view), HEADER_LIMIT)))
    except (ValueError, OSError, KeyError, struct.error):
        return ()


def _read(cursor: Cursor) -> tuple[str, ...]:
    cursor.skip(16)
    places: dict[str, int] = {}
    for _ in range(cursor.number("<Q")):
        key, kind = cursor.text(), cursor.number("<I")
        if key in (_TOKENS, _KINDS):
            places[key] = cursor.at
        skipped(cursor, kind)
        if len(places) == 2:
            break
    else:
        return ()
    count, start = list_of(cursor, places[_KINDS])
    kinds = struct.unpack_from(f"<{count}i", cursor.view, start)
    number, at = list_of(cursor, places[_TOKENS])
    found = []
    for kind in kinds[:number]:
        (length,) = struct.unpack_from("<Q", cursor.view, at)
        if kind == _CONTROL:
            found.append(cursor.view[at + 8 : at + 8 + min(length, 256)].decode("utf-8", "replace"))
        at += 8 + length
    return tuple(sorted(filter(None, found), key=len, reverse=True))
