"""Which of a server's tools may be called, and what of a tool is passed on to models. Pure."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

MOST_SCHEMA = 16 * 1024
"""Bytes of a schema; a tool with a longer one is not offered."""
MOST_DEPTH = 24
MOST_DESCRIPTION = 2000
MOST_NAME = 128
_PATTERN = re.compile(r"[*?\[]")


def refusal(name: str, allow: Sequence[str], *, destroys: bool) -> str:
    """Why a tool may not be called, or ''. Patterns do not open what destroys."""
    if name in allow:
        return ""
    if not any(_PATTERN.search(each) and fnmatchcase(name, each) for each in allow):
        return "not in `allow`"
    return "it says that it destroys; name it in full in `allow`" if destroys else ""


def parameters(schema: Any) -> tuple[msgspec.Raw, str]:
    """The schema of a tool's arguments as models get it, else why the tool cannot be offered."""
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        return msgspec.Raw(b"{}"), "its arguments are no object"
    try:
        known = _plain(schema, 0)
    except RecursionError:
        return msgspec.Raw(b"{}"), "its schema is nested too deeply"
    properties = known.get("properties")
    if not isinstance(properties, dict):
        known["properties"] = {}
    text = msgspec.json.encode(known | {"type": "object"})
    if len(text) > MOST_SCHEMA:
        return msgspec.Raw(b"{}"), "its schema is too long"
    return msgspec.Raw(text), ""


def description(title: str, text: str) -> str:
    """What a tool says of itself, within bounds."""
    said = (text or title).replace("\0", "").strip()
    return said if len(said) <= MOST_DESCRIPTION else said[: MOST_DESCRIPTION - 1] + "…"


def _plain(value: Any, depth: int) -> Any:
    """The same without what points outside: no engine may be asked to fetch something. Raises RecursionError."""
    if depth > MOST_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        refers = value.get("$ref")
        if isinstance(refers, str) and not refers.startswith("#"):
            return {}
        return {str(k): _plain(v, depth + 1) for k, v in value.items() if k not in ("$schema", "$id")}
    if isinstance(value, list):
        return [_plain(each, depth + 1) for each in value]
    return value
