"""Findings of a review: how a model is asked for them, how its answer is read, and how people read them."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args

import msgspec

Severity = Literal["critical", "high", "medium", "low", "info"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
_MEANT: dict[str, Severity] = {
    "blocker": "critical",
    "severe": "critical",
    "error": "high",
    "major": "high",
    "warning": "medium",
    "moderate": "medium",
    "minor": "low",
    "note": "info",
    "suggestion": "info",
    "information": "info",
    "informational": "info",
}
MOST = 30
"""So many findings of one answer are read."""
SHORT, LONG = 160, 800
"""Characters of a title, and of what is said besides."""
_OBJECT_BEGINS = re.compile(r"\{")


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong or weak in code."""

    severity: Severity
    line: int | None
    """Counted from 1; None = it belongs to none."""
    title: str
    detail: str = ""
    suggestion: str = ""
    source: Literal["model", "parser"] = "model"


def schema(*, suggestions: bool) -> msgspec.Raw:
    """The JSON schema of the answer. Texts are bounded, for a small model may not find their end."""
    properties: dict[str, Any] = {
        "severity": {"enum": list(SEVERITIES)},
        "line": {"type": ["integer", "null"]},
        "title": {"type": "string", "maxLength": 100},
        "detail": {"type": "string", "maxLength": 400},
    }
    if suggestions:
        properties["suggestion"] = {"type": "string", "maxLength": 400}
    finding = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    whole = {
        "type": "object",
        "properties": {
            "summary": {"type": "string", "maxLength": 300},
            "findings": {"type": "array", "items": finding, "maxItems": 20},
        },
        "required": ["summary", "findings"],
        "additionalProperties": False,
    }
    return msgspec.Raw(msgspec.json.encode(whole))


def read(text: str) -> tuple[str, list[Finding]] | None:
    """Summary and findings of an answer; None = it has no list of them.

    JSON in a fence, within words, or cut off at its end is read as far as it goes.
    """
    values = list(_objects(text))
    whole = next((value for value in values if isinstance(value.get("findings"), list)), None)
    if whole is not None:
        items: Iterable[Any] = whole["findings"]
        summary = whole.get("summary")
    elif "[" in text:
        cut = [value for value in values if "severity" in value or "title" in value]
        if not cut and '"findings"' not in text:
            return None if not re.search(r"\[\s*\]", text) else ("", [])
        items, summary = cut, _said_before(text)
    else:
        return None
    found = [finding for item in list(items)[:MOST] if (finding := _finding(item)) is not None]
    return _text(summary, LONG), found


def _said_before(text: str) -> str:
    """The summary of an answer that is cut off."""
    found = re.search(r'"summary"\s*:\s*("(?:[^"\\]|\\.){0,2000}")', text)
    try:
        return str(msgspec.json.decode(found[1].encode())) if found else ""
    except (msgspec.MsgspecError, UnicodeError):
        return ""


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, outer ones first; of one that is broken or cut off, those within."""
    decoder = json.JSONDecoder(strict=False)
    at, tries = 0, 0
    while (begins := _OBJECT_BEGINS.search(text, at)) is not None and tries < MOST * 10:
        tries += 1
        try:
            value, at = decoder.raw_decode(text, begins.start())
        except (ValueError, RecursionError):
            at = begins.start() + 1
            continue
        if isinstance(value, dict):
            yield value


def _finding(item: Any) -> Finding | None:
    if isinstance(item, str):
        item = {"title": item}
    if not isinstance(item, dict):
        return None
    title = _text(item.get("title") or item.get("issue") or item.get("message"), SHORT)
    detail = _text(item.get("detail") or item.get("description"), LONG)
    if not (title or detail):
        return None
    word = _text(item.get("severity"), SHORT).lower()
    severity = word if word in SEVERITIES else _MEANT.get(word, "medium")
    suggestion = _text(item.get("suggestion") or item.get("fix"), LONG)
    return Finding(severity, _line(item.get("line")), title or detail[:SHORT], detail, suggestion)


def _line(value: Any) -> int | None:
    if isinstance(value, str):
        digits = re.search(r"\d{1,9}", value)
        value = int(digits[0]) if digits else None
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**31 else None


def _text(value: Any, most: int) -> str:
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def kept(findings: Iterable[Finding], least: Severity, lines: int, *, suggestions: bool) -> list[Finding]:
    """Those that are severe enough, the worst first, each once; a line that the code does not have is none."""
    found: dict[tuple[int | None, str], Finding] = {}
    for each in sorted(findings, key=lambda each: SEVERITIES.index(each.severity)):
        if SEVERITIES.index(each.severity) > SEVERITIES.index(least):
            continue
        line = each.line if each.line is not None and 1 <= each.line <= lines else None
        each = msgspec.structs.replace(each, line=line, suggestion=each.suggestion if suggestions else "")
        found.setdefault((line, each.title.lower()), each)
    return sorted(found.values(), key=lambda each: (SEVERITIES.index(each.severity), each.line or lines + 1))


def shown(summary: str, findings: list[Finding], least: Severity) -> str:
    """A review as people read it."""
    parts = [summary] if summary else []
    if not findings:
        parts.append("Nothing was found." if least == "info" else f"Nothing was found that is {least} or worse.")
    for number, each in enumerate(findings, 1):
        where = f", line {each.line}" if each.line is not None else ""
        lines = [f"{number}. [{each.severity}{where}] {each.title}"]
        lines += [f"   {each.detail}"] if each.detail and each.detail != each.title else []
        lines += [f"   Suggestion: {each.suggestion}"] if each.suggestion else []
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
