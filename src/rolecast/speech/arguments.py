"""What a call that a model wrote says: JSON, or literals as in a call of Python. Nothing is evaluated. Pure."""

import json
import re
from typing import Any

_NO_PARAMETERS = re.compile(r"\s*\)")
_PARAMETER = re.compile(r"\s*(\w+)\s*=\s*")
_SINGLE_QUOTED = re.compile(r"'((?:[^'\\\n]|\\.)*)'")
_BARE_WORD = re.compile(r"[^,()\n'\"]+")
_VALUE_END = re.compile(r"\s*([,)])")
_CONSTANTS = {"True": True, "False": False, "None": None}
_TAGGED = re.compile(r"\s*<parameter=([\w.:-]{1,64})>\n?")
_TAG_END = "</parameter>"
_UNREADABLE = (ValueError, RecursionError)


def _refuse(word: str) -> None:
    raise ValueError(word)


# Models write line breaks into strings as they are. NaN and Infinity are not JSON.
_decoder = json.JSONDecoder(strict=False, parse_constant=_refuse)


def calls(text: str) -> list[tuple[str, str]]:
    """Names and arguments of the calls in this JSON, an object or a list of them; empty when it is anything else."""
    try:
        value = _decoder.decode(text)
    except _UNREADABLE:
        return []
    found = [_call(each) for each in (value if isinstance(value, list) else [value])]
    return [call for call in found if call] if all(found) else []


def of_object(text: str) -> str | None:
    """This JSON object, as arguments; None when it is none."""
    try:
        value = _decoder.decode(text)
    except _UNREADABLE:
        return None
    return _written(value) if isinstance(value, dict) else None


def _call(value: Any) -> tuple[str, str] | None:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"]:
        return None
    given = value.get("arguments", value.get("parameters"))
    if isinstance(given, str):
        given = of_object(given) if given.strip() else "{}"
        return (value["name"], given) if given is not None else None
    if not isinstance(given, dict | None):
        return None
    written = _written(given or {})
    return (value["name"], written) if written is not None else None


def _written(value: dict[str, Any]) -> str | None:
    """An object as JSON; None when a text in it is half a character."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return None
    return text


def of_literals(text: str) -> str | None:
    """`key=value, ...)` as JSON arguments; None when it is something else."""
    if closing := _NO_PARAMETERS.match(text):
        return "{}" if closing.end() == len(text) else None
    found: dict[str, Any] = {}
    at = 0
    while parameter := _PARAMETER.match(text, at):
        read = _literal(text, parameter.end())
        if read is None:
            return None
        found[parameter[1]], at, last = read
        if last:
            return _written(found) if at == len(text) else None
    return None


def _literal(text: str, at: int) -> tuple[Any, int, bool] | None:
    """One value: (value, place after the comma or bracket that ends it, whether it was the bracket)."""
    readings: list[tuple[Any, int]] = []
    try:
        readings.append(_decoder.raw_decode(text, at))
    except _UNREADABLE:
        pass
    if quoted := _SINGLE_QUOTED.match(text, at):
        readings.append((re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()))
    if bare := _BARE_WORD.match(text, at):
        word = bare[0].strip()
        readings.append((_CONSTANTS.get(word, word), bare.end()))
    for value, end in readings:
        if after := _VALUE_END.match(text, end):
            return value, after.end(), after[1] == ")"
    return None


def of_tags(text: str, schema: bytes) -> str | None:
    """`<parameter=key>value</parameter>` ... as JSON arguments; None when it is something else.

    A value is a text, unless the schema of the function wants another type and the value is JSON.
    """
    kinds = _kinds(schema)
    found: dict[str, Any] = {}
    at = 0
    while parameter := _TAGGED.match(text, at):
        end = text.find(_TAG_END, parameter.end())
        if end < 0:
            return None
        found[parameter[1]] = _typed(text[parameter.end() : end].removesuffix("\n"), kinds.get(parameter[1]))
        at = end + len(_TAG_END)
    return None if text[at:].strip() else _written(found)


def _typed(text: str, kind: Any) -> Any:
    if kind in (None, "string"):
        return text
    try:
        return _decoder.decode(text)
    except _UNREADABLE:
        return text


def _kinds(schema: bytes) -> dict[str, Any]:
    try:
        properties = json.loads(schema).get("properties")
        return {name: each.get("type") for name, each in properties.items() if isinstance(each, dict)}
    except (*_UNREADABLE, AttributeError):
        return {}
