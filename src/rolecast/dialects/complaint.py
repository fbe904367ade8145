"""What a server says in an error answer, found in whatever shape it says it.

Knows the shapes of the servers of this field and plain HTTP errors. Does not know what an error means for the
request: that is decided by `dispatch`, and for our own engines by their backend.
"""

import contextlib
import html
import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from rolecast.errors import UNREADABLE
from rolecast.values import Failure

MAX_CHARS = 2000
"""Longer explanations are cut."""
_DEPTH = 6
_ITEMS = 5
"""So many entries of a list of errors are told."""
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
"""What a code may look like: it goes into the books, where no text of a prompt may come."""
_MESSAGES = (
    *("error", "message", "detail", "errors", "msg", "error_message", "errorMessage", "error_msg", "reason"),
    *("description", "error_description", "details", "title", "fault", "Message", "Error", "data"),
)
"""Fields that hold the message or what it is in, most telling first."""
_DURATION = r"(?:(\d{1,3})h)?(?:(\d{1,4})m(?!s))?(?:(\d{1,9}(?:\.\d{1,9})?)(m?s))?"
_WAITS = (
    re.compile(rf'"retryDelay": *"{_DURATION}"'),
    re.compile(rf"(?i)\b(?:try again|retry|retry your request|reset) (?:in|after) {_DURATION}\b"),
)
"""How Google's servers say when to come back, without a Retry-After, and how OpenAI's and Groq's say it in words."""
_TITLE = re.compile(r"<(title|h1)\b[^<>]*>", re.IGNORECASE)
_TITLE_ENDS = re.compile(r"</(?:title|h1)\b", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
"""These look at each character once, whatever a page holds: the loop waits for them."""


def read(body: bytes) -> Failure:
    """What the body of an error answer says. Takes any bytes and never fails."""
    text = _text(body).strip()
    if found := _EVENT.match(text):
        text = found["data"].strip()
    try:
        value = json.loads(text)  # takes what servers in Python write, such as NaN and half of a surrogate pair
    except (ValueError, RecursionError):
        cut = text.startswith(("{", "[", '"'))
        return Failure("" if cut else one_line(_page(text) if text.startswith("<") else text))
    beside: dict[str, Any] = {}
    message = one_line(_message(value, beside, 0))
    code, status = beside.get("code", ""), beside.get("status", 0)
    return Failure(
        message,
        code if _CODE.match(code) else "",
        one_line(beside.get("type", ""))[:64],
        one_line(beside["param"])[:200] if "param" in beside else None,
        status if 400 <= status <= 599 else 0,
        _wait_s(text),
    )


def _wait_s(text: str) -> float:
    """So long to wait is said in these words."""
    for each in _WAITS:
        if told := each.search(text):
            hours, minutes, seconds, unit = told.groups()
            last = float(seconds or 0) * (0.001 if unit and unit.lower() == "ms" else 1)
            return 3600.0 * int(hours or 0) + 60.0 * int(minutes or 0) + last
    return 0.0


def one_line(text: str) -> str:
    """The text on one line of at most MAX_CHARS, without control characters and the like."""
    text = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: 4 * MAX_CHARS])
    text = " ".join(text.split())
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"


def place(location: str) -> str:
    """An address as it may be shown: without credentials, query and whatever does not belong into one."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    start = f"{parts.scheme}:" * bool(parts.scheme) + f"//{host}" * bool(host)
    return one_line(start + parts.path)[:300]


def is_answer(body: bytes) -> bool:
    """Whether a body that came with status 200 may be an answer: no error, no page of another server, not nothing.

    An object that nobody here understands is left to the client.
    """
    text = body.strip(b"\xef\xbb\xbf \t\r\n")
    if text == b"{}" or not text.startswith(b"{"):
        return False
    try:
        fields = msgspec.json.decode(text, type=_Answer)
    except UNREADABLE:
        return True
    if fields.choices or fields.data:
        return True
    return fields.choices is msgspec.UNSET and not read(body).message


def is_prelude(events: bytes) -> bool:
    """Whether what came of a stream says nothing yet: servers send comments so that nobody thinks them dead."""
    return _NO_DATA.fullmatch(events) is not None


def is_error(body: bytes) -> bool:
    """Whether what came of a stream with status 200 begins with an error. For streams that report no usage."""
    if not (found := _ERROR.match(body)):
        return False
    value = body[found.start("value") :]
    try:
        fields = msgspec.json.decode(value.partition(b"\n")[0] if found["data"] else value, type=_Answer)
    except UNREADABLE:
        return False
    told = fields.error not in (None, "", False) or fields.object == "error" or fields.type == "error"
    return told and not fields.choices and not fields.data


_BEFORE = r"(?:(?::|event:|id:|retry:)[^\n]*\n\s*)*"
"""Comments and fields of an event that may stand before its data."""
_EVENT = re.compile(_BEFORE + r"(?:data|error):(?P<data>[^\n]*)")
_ERROR = re.compile(rb'\s*%b(?P<data>(?:data|error): ?)?(?P<value>\{\s*"(?:error|object|type|id)")' % _BEFORE.encode())
_NO_DATA = re.compile(rb"\s*%b" % _BEFORE.encode())


class _Answer(msgspec.Struct):
    error: Any = None
    object: Any = None
    type: Any = None
    choices: Any = msgspec.UNSET
    data: Any = None


def _text(body: bytes) -> str:
    """The body as text; '' when it is none."""
    with contextlib.suppress(UnicodeDecodeError):
        return body.decode("utf-8-sig")
    text = body[: 64 * MAX_CHARS].decode("latin-1")
    odd = sum((not c.isprintable() and not c.isspace()) or c > "\x7f" for c in text)
    return text if odd * 5 < len(text) else ""


def _page(text: str) -> str:
    """What an HTML or XML page says in short: its title or first heading; for a small one its text."""
    begin = _TITLE.search(text)
    end = _TITLE_ENDS.search(text, begin.end()) if begin else None
    if begin and end:
        text = text[begin.end() : min(end.start(), begin.end() + MAX_CHARS)]
    return html.unescape(_TAG.sub(" ", text)) if len(text) <= MAX_CHARS else ""


def _message(value: Any, beside: dict[str, Any], depth: int) -> str:
    """The message inside `value`; what is said beside it goes into `beside`, the innermost first."""
    if isinstance(value, str):
        return _unpacked(value, beside, depth)
    if depth == _DEPTH or not isinstance(value, dict | list):
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, (_message(v, beside, depth + 1) for v in value[:_ITEMS])))
    message = next(filter(None, (_message(value[k], beside, depth + 1) for k in _MESSAGES if k in value)), "")
    if isinstance(where := value.get("loc"), list | tuple) and message:
        message = f"{'.'.join(str(step) for step in where[:10])}: {message}"
    if isinstance(about := value.get("metadata"), dict) and (told := _message(about.get("raw"), beside, depth + 1)):
        message = f"{message}: {told}" if message else told  # what the server behind this one said
    for name, found in _beside(value):
        beside.setdefault(name, found)
    return message


def _unpacked(text: str, beside: dict[str, Any], depth: int) -> str:
    """The message in a text: gateways pass on what the next server said, with all its braces."""
    if depth < _DEPTH and text.lstrip().startswith(("{", "[")):
        with contextlib.suppress(ValueError, RecursionError):
            return _message(json.loads(text), beside, depth + 1) or text
    return text


def _beside(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What an error object says about itself, by our names for it."""
    for field in ("code", "status", "error_code"):
        found = value.get(field)
        if isinstance(found, int) or (isinstance(found, str) and found.isdecimal() and len(found) < 9):
            yield "status", int(found)
        elif isinstance(found, str) and found:
            yield "code", found
    for field, name in (("type", "type"), ("error_type", "type"), ("param", "param")):
        if isinstance(found := value.get(field), str) and found not in ("", "error"):
            yield name, found
