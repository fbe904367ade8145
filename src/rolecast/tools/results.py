"""The result of a tool as a text for a model: texts as they are, values as JSON, pictures by what they are."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from rolecast.values import size_text

CUT = "\n[cut here: {} more characters]"


def text_of(content: Sequence[Any], structured: Any, most: int) -> str:
    """What the blocks of a result and its structured value say, in at most `most` characters and a note."""
    parts = list(_parts(content))
    if structured is not None and not any(_says(part, structured) for part in parts):
        parts.append(msgspec.json.encode(structured).decode())
    text = "\n".join(parts).replace("\0", "") or "(nothing)"
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= most else text[:most] + CUT.format(len(text) - most)


def _parts(content: Sequence[Any]) -> Iterator[str]:
    for block in content:
        if block.type == "text":
            yield block.text
        elif block.type in ("image", "audio"):
            yield f"({block.type}, {block.mime_type}, {_size(block.data)}; it cannot be shown here)"
        elif block.type == "resource_link":
            yield f"({block.title or block.name}: {block.uri})"
        elif block.type == "resource":
            held = block.resource
            said = getattr(held, "text", None)
            yield said if said is not None else f"({held.uri}, {held.mime_type or 'data'}, {_size(held.blob)})"


def _size(data: str) -> str:
    return size_text(len(data) * 3 // 4)


def _says(text: str, value: Any) -> bool:
    """Whether a text is this value already, as servers send it for clients that know no other."""
    try:
        return bool(msgspec.json.decode(text) == value)
    except (msgspec.DecodeError, RecursionError):
        return False
