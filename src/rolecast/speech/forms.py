"""Calls as models write them: where each form begins and ends in a text that comes in pieces, and what it says.

A form takes text until it is a call or can be none; then its text is given back. Every text is looked at once, and a
form holds a bounded piece of it. Arguments are read as JSON or as plain literals (`arguments`), never evaluated.
"""

import re
from collections.abc import Mapping
from typing import Protocol

import msgspec

from rolecast.speech import arguments
from rolecast.speech.scan import LiteralsScan, Scan

MOST_CALL = 2**20
"""No call has so many characters; what goes on for longer is text."""
MOST_LEAD = 160
"""So much may stand before the part of a call that tells that it is one."""
MOST_TRIES = 8
"""So many marks of an end are tried, since the arguments may hold one themselves."""
Calls = list[tuple[str, str]]
"""Names, and arguments as JSON objects."""


class Offer(msgspec.Struct, frozen=True):
    """What a model may call: the JSON schema of the parameters of each function, by its name."""

    tools: Mapping[str, bytes] = {}
    bare: bool = True
    """A JSON object alone may be a call. Not where JSON is what was asked for."""


NO_OFFER = Offer()


class Form(Protocol):
    """One call, or several, under way."""

    closing: str
    """The mark that may follow."""

    def take(self, text: str, at: int) -> tuple[int, Calls | str | None]:
        """The place behind what it took, and the calls; the text that it took when that is none; None = go on."""
        ...

    def last(self) -> Calls | str:
        """What it is when nothing follows."""
        ...


def begun(mark: re.Match[str], offer: Offer, *, at_line: bool) -> Form | None:
    """The form that this mark begins; None when it begins none. `at_line` = it stands at the beginning of a line."""
    word = mark[0]
    if word in _WRAPPED:
        return Wrapped(word, _WRAPPED[word])
    if mark["function"]:
        return Function(word, mark["function"], offer)
    if word.startswith("Tool:") and at_line and mark["tool"] in offer.tools:
        return Line(word, mark["tool"])
    return None


_WRAPPED = {
    "<tool_call>": "</tool_call>",
    "[TOOL_REQUEST]": "[END_TOOL_REQUEST]",
    "[TOOL_CALLS]": "",
    "<|python_tag|>": "",
    "<|tool_call|>": "",
    "<|tool_call_start|>": "",
}
"""Marks before a call in JSON, and those behind it."""
_START = re.compile(r"\s*[{\[]")
_LEAD = re.compile(r"\s*")
_NAMED_START = re.compile(r"\s*\[\s*\{|\s*\{|\s*(?P<name>[\w.-]{1,64})\s*(?:\[CALL_ID\][\w-]{1,64})?(?:\[ARGS\])?\s*\{")
"""Mistral's: a list, or a name before the arguments."""
_NAMED_LEAD = re.compile(r"[\s\w.\-\[\]]*")
_KEYS = ("name", "function", "type", "id", "arguments", "parameters")
_BARE_KEY = re.compile(rf"\{{\s*\"(?:{'|'.join(_KEYS)})\"\s*:")
_BARE_NAME = re.compile(r'\{\s*"name"\s*:\s*"([^"\\]{1,64})"')
_BARE_LEAD = re.compile(r'\{\s*(?:"\w{0,16}|"\w{1,16}"\s*|"name"\s*:\s*(?:"[^"\\]{0,64})?)?')
_FIRST_PARAMETER = re.compile(r"\s*(?:\)|\w{1,64}\s*=)")
_FIRST_LEAD = re.compile(r"\s*(?:\w{1,64}\s*)?")
_TAGS = ("<parameter=", "</function>")


class _Held:
    """A text that grows, and is bounded. Its beginning tells whether it can be a call."""

    closing = ""

    def __init__(self, opening: str, scan: Scan) -> None:
        self._opening = opening
        self._scan = scan
        self._lead = ""
        self._parts: list[str] = []
        self._size = 0
        self._began = False

    def take(self, text: str, at: int) -> tuple[int, Calls | str | None]:
        """Its beginning, sign by sign, then the rest of its value."""
        if self._began:
            return self._grow(text, at)
        for place in range(at, len(text)):
            lead = self._lead + text[place]
            verdict = self._judge(lead) if len(lead) <= MOST_LEAD else False
            if verdict is False:
                return place, self._opening + self._lead
            self._lead = lead
            if verdict:
                self._began = True
                self._begin()
                return self._grow(text, place + 1)
        return len(text), None

    def last(self) -> Calls | str:
        """It never became a call."""
        return self._text()

    def _judge(self, lead: str) -> bool | None:
        """Whether this is the beginning of a call; None = it may become one."""
        raise NotImplementedError

    def _begin(self) -> None:
        """The beginning is the first part of the value."""
        self._keep(self._lead)
        self._scan.end(self._lead, 0)

    def _grow(self, text: str, at: int) -> tuple[int, Calls | str | None]:
        end = self._scan.end(text, at)
        stop = len(text) if end is None else end if end >= 0 else ~end
        over = self._keep(text[at:stop])
        if end is None and not over:
            return stop, None
        return stop, (self._read() if end is not None and end >= 0 else []) or self._text()

    def _read(self) -> Calls:
        """The calls in the whole value; none when it is something else."""
        raise NotImplementedError

    def _keep(self, text: str) -> bool:
        """Keep some more; whether that is more than any call has."""
        self._parts.append(text)
        self._size += len(text)
        return self._size > MOST_CALL

    def _written(self) -> str:
        """The value, as far as it came."""
        return "".join(self._parts)

    def _text(self) -> str:
        """All of it, as the model wrote it."""
        return self._opening + (self._written() if self._began else self._lead)


class Wrapped(_Held):
    """JSON behind a mark: an object or a list of them, or the arguments behind a name."""

    def __init__(self, opening: str, closing: str) -> None:
        token = opening.startswith("<|")
        super().__init__("" if token else opening, Scan())  # a control token is no text in any case
        self.closing = closing
        self._named = opening == "[TOOL_CALLS]"
        self._name = ""

    def _judge(self, lead: str) -> bool | None:
        start, before = (_NAMED_START, _NAMED_LEAD) if self._named else (_START, _LEAD)
        if start.fullmatch(lead):
            return True
        return None if before.fullmatch(lead) else False

    def _begin(self) -> None:
        found = _NAMED_START.fullmatch(self._lead)
        self._name = (found["name"] or "") if found else ""
        if self._name:  # which is no part of the value
            self._opening, self._lead = self._opening + self._lead[:-1], "{"
        super()._begin()

    def _read(self) -> Calls:
        if not self._name:
            return arguments.calls(self._written())
        given = arguments.of_object(self._written())
        return [] if given is None else [(self._name, given)]


class Bare(_Held):
    """A JSON object alone, with the name of a function that was offered."""

    def __init__(self, offer: Offer) -> None:
        super().__init__("", Scan())
        self._offer = offer

    def _judge(self, lead: str) -> bool | None:
        if name := _BARE_NAME.fullmatch(lead):
            return name[1] in self._offer.tools
        if key := _BARE_KEY.fullmatch(lead):
            return None if '"name"' in key[0] else True
        if _BARE_LEAD.fullmatch(lead) is None:
            return False
        word = lead[1:].strip().strip('"')
        return None if '"name"' in lead or any(key.startswith(word) for key in _KEYS) else False

    def _read(self) -> Calls:
        text = self._written()
        if '"arguments"' not in text and '"parameters"' not in text:
            return []
        found = arguments.calls(text)
        return found if all(name in self._offer.tools for name, _ in found) else []


class Line(_Held):
    """`Tool: name(key=value, ...)`."""

    def __init__(self, opening: str, name: str) -> None:
        super().__init__(opening, LiteralsScan())
        self._name = name

    def _judge(self, lead: str) -> bool | None:
        if _FIRST_PARAMETER.fullmatch(lead):
            return True
        return None if _FIRST_LEAD.fullmatch(lead) else False

    def _begin(self) -> None:
        if self._lead.endswith(")"):  # no parameters: nothing else is to come
            self._keep(self._lead)
        else:
            super()._begin()

    def _grow(self, text: str, at: int) -> tuple[int, Calls | str | None]:
        if self._lead.endswith(")"):
            return at, self._read()
        return super()._grow(text, at)

    def _read(self) -> Calls:
        given = arguments.of_literals(self._written())
        return [] if given is None else [(self._name, given)]


class Function(_Held):
    """A function in tags: its arguments are JSON, or in tags themselves."""

    def __init__(self, opening: str, name: str, offer: Offer) -> None:
        super().__init__(opening, Scan())
        self.closing = _FUNCTION_END
        self._name = name
        self._schema = offer.tools.get(name, b"")
        self._tagged = False
        self._tail = ""
        self._tries = 0

    def _judge(self, lead: str) -> bool | None:
        told = lead.lstrip()
        if not told or told == "{":
            return bool(told) or None
        if told in _TAGS:
            self._tagged = True
            return True
        return None if any(tag.startswith(told) for tag in _TAGS) else False

    def _begin(self) -> None:
        if not self._tagged:
            super()._begin()

    def _grow(self, text: str, at: int) -> tuple[int, Calls | str | None]:
        if not self._tagged:
            return super()._grow(text, at)
        if self._lead:  # the first tag
            text, at, self._lead, skipped = self._lead + text[at:], 0, "", at - len(self._lead)
            place, read = self._tags(text, at)
            return place + skipped, read
        return self._tags(text, at)

    def _tags(self, text: str, at: int) -> tuple[int, Calls | str | None]:
        """Up to the mark of the end that makes it whole."""
        begin, window = at - len(self._tail), self._tail + text[at:]
        start = 0
        while (found := window.find(_FUNCTION_END, start)) >= 0:
            start = found + len(_FUNCTION_END)
            place = begin + start
            self._keep(text[at:place])
            at = place
            given = arguments.of_tags(self._written().removesuffix(_FUNCTION_END), self._schema)
            self._tries += 1
            if given is not None or self._tries == MOST_TRIES:
                self.closing = "</tool_call>" if self._opening.startswith("<tool_call>") else ""
                return place, self._text() if given is None else [(self._name, given)]
        self._tail = window[max(start, len(window) - len(_FUNCTION_END) + 1) :]
        return len(text), self._text() if self._keep(text[at:]) else None

    def _read(self) -> Calls:
        given = arguments.of_object(self._written())
        return [] if given is None else [(self._name, given)]

    def last(self) -> Calls | str:
        """Tags may be whole without the mark of their end."""
        given = arguments.of_tags(self._written(), self._schema) if self._tagged and self._began else None
        return self._text() if given is None else [(self._name, given)]


_FUNCTION_END = "</function>"
