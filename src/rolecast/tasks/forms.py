"""Forms that an answer may be asked to have, in free words: JSON, a table, steps, a list. Each is read by its parser.

Pure: texts in, a form or a fault out.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from rolecast.tasks.amounts import ANY, Amount, amount

MOST_PARSED = 50_000
"""Characters of an answer in which rows and items are counted: the parser is slow, and some texts are made for that."""
LONGEST = 2000
"""Characters of requirements that are read; what is longer is no requirement but a text."""
Kind = Literal["json", "table", "steps", "list"]

_SIGNS: dict[Kind, str] = {
    "json": r"json",
    "table": r"tables?|tabular|tabelle",
    "steps": r"steps?|step-by-step|numbered|ordered|enumerated",
    "list": r"lists?|bullets?|bulleted|bullet-points?",
}
_SIGN = re.compile(rf"\b(?:{'|'.join(f'(?P<{kind}>{signs})' for kind, signs in _SIGNS.items())})\b", re.IGNORECASE)
_NOT = re.compile(r"(?:\bno|\bnot|n't|\bnever|\bwithout|\bavoid)(?:\s+\w+){0,2}\s*$", re.IGNORECASE)
"""In front of a form, it is one that is not wanted."""
_BEFORE = 40
"""Characters in which that is looked for."""
_ARRAY = re.compile(r"\bjson\s+(?:array|list)|\b(?:array|list)\s+of\s+json", re.IGNORECASE)
_COUNTED = r"items?|points?|bullets?|steps?|rows?|entries|elements?|objects?"
_FENCED = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)\n?```", re.DOTALL)
_OPENS = re.compile(r"[\[{]")
MOST_VALUES = 30
"""So many places of a text are tried."""
_STEP = re.compile(r"^[^\w\n]{0,40}step\s+\d+", re.IGNORECASE | re.MULTILINE)


class Form(msgspec.Struct, frozen=True):
    """What an answer must look like."""

    kind: Kind
    count: Amount = ANY
    """How many steps, rows or items."""
    array: bool = False
    """Of JSON: a list, not an object."""

    @property
    def schema(self) -> msgspec.Raw | None:
        """The JSON schema that a grammar can hold the answer to; None = no grammar knows it."""
        if self.kind != "json":
            return None
        return msgspec.Raw(b'{"type":"array","items":{}}' if self.array else b"{}")


def wanted(requirements: Sequence[str]) -> Form | None:
    """The form that is asked for; None = none that can be checked. JSON comes first, else what is named first."""
    text = " ".join(requirements)[:LONGEST]
    found: list[Any] = [m.lastgroup for m in _SIGN.finditer(text) if not _NOT.search(text[: m.start()][-_BEFORE:])]
    if not found:
        return None
    kind: Kind = "json" if "json" in found else found[0]
    return Form(kind, amount(text, _COUNTED), kind == "json" and _ARRAY.search(text) is not None)


def fault(form: Form, text: str) -> str:
    """Why the text does not have the form, as the end of a sentence that begins with `it`; '' = it does."""
    if form.kind == "json":
        return _json_fault(form, text)
    count = _count(form.kind, text)
    if not count:
        return f"has no {'numbered steps' if form.kind == 'steps' else form.kind}"
    if not form.count.holds(count):
        names = {"table": "rows", "steps": "steps", "list": "items"}
        return f"has {count} {names[form.kind]}, and {form.count} are wanted"
    return ""


def unfenced(form: Form, text: str) -> str:
    """JSON without the fence and the words that models like to put around it; any other text as it is.

    Of several values in a text the longest one is meant, so that a `[1]` in the words around is none.
    """
    if form.kind != "json" or not _json_fault(form, text):
        return text
    if (found := _FENCED.fullmatch(text.strip())) is not None:
        return found[1]
    return max(_values(text), key=len, default=text)


def _values(text: str) -> Iterator[str]:
    """The JSON objects and lists that stand in a text, but for those within something broken."""
    decoder = json.JSONDecoder()
    at, broken = 0, -1
    for _ in range(MOST_VALUES):
        if (begin := _OPENS.search(text, at)) is None:
            return
        try:
            value, at = decoder.raw_decode(text, begin.start())
        except (ValueError, RecursionError):
            broken = begin.start() if broken < 0 else broken
            at = begin.end()
            continue
        if broken >= 0 and _is_open(text[broken : begin.start()]):
            return
        if value and isinstance(value, list | dict):
            yield text[begin.start() : at]


def _is_open(text: str) -> bool:
    return sum(map(text.count, "[{")) > sum(map(text.count, "]}"))


def _json_fault(form: Form, text: str) -> str:
    try:
        value = msgspec.json.decode(text.strip())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return "is not JSON alone, or is not valid"
    if not isinstance(value, list | dict):
        return "is not a JSON object"
    if form.array and not isinstance(value, list):
        return "is not a JSON array"
    if isinstance(value, list) and not form.count.holds(len(value)):
        return f"has {len(value)} entries, and {form.count} are wanted"
    return ""


def _count(kind: Kind, text: str) -> int:
    """Rows of the tables in a Markdown text, or items of the lists that are in no other list."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(text[:MOST_PARSED])
    if kind == "table":
        heads = sum(token.type == "thead_open" for token in tokens)
        return sum(token.type == "tr_open" for token in tokens) - heads
    lists = ("ordered_list_open",) if kind == "steps" else ("ordered_list_open", "bullet_list_open")
    items, inside = 0, False
    for token in tokens:
        if token.level == 0 and token.type.endswith("_list_open"):
            inside = token.type in lists
        items += inside and token.type == "list_item_open" and token.level == 1
    return items or (len(_STEP.findall(text)) if kind == "steps" else 0)
