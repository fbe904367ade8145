"""What small models leave in their text: thinking, control tokens, tool calls. Knows no HTTP."""

import json
import re
from collections.abc import Collection
from typing import Any

_MARK = re.compile(r"<think>|</think>|<\|[^<>|\n]{1,64}\|>")
_MARK_BEGUN = re.compile(r"<(?:/?(?:t(?:h(?:i(?:nk?)?)?)?)?|\|[^<>|\n]{0,64}\|?)\Z")
_WRAPPED_CALL = re.compile(
    r"\[TOOL_REQUEST\](?P<bracketed>.*?)(?:\[END_TOOL_REQUEST\]|\Z)"
    r"|<tool_call>(?P<tagged>.*?)(?:</tool_call>|\Z)",
    re.DOTALL,
)
_WRITTEN_CALL = re.compile(r"^[ \t]*Tool:[ \t]*(?P<name>[\w.-]+)[ \t]*\(", re.MULTILINE)
_NO_PARAMETERS = re.compile(r"\s*\)")
_PARAMETER = re.compile(r"\s*(\w+)\s*=\s*")
_SINGLE_QUOTED = re.compile(r"'((?:[^'\\\n]|\\.)*)'")
_BARE_WORD = re.compile(r"[^,()\n'\"]+")
_VALUE_END = re.compile(r"\s*([,)])")
_CONSTANTS = {"True": True, "False": False, "None": None}
_decode_json = json.JSONDecoder().raw_decode


class ThinkSplitter:
    """Parts a text that arrives in pieces into answer and thinking, and drops control tokens.

    A mark that may be cut by the end of a piece is held back until the next one.
    """

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False

    def feed(self, piece: str) -> tuple[str, str]:
        """What this piece adds: (answer, thinking)."""
        text = self._held + piece
        parts: tuple[list[str], list[str]] = ([], [])
        at = 0
        for mark in _MARK.finditer(text):
            parts[self._thinking].append(text[at : mark.start()])
            at = mark.end()
            if mark[0] in ("<think>", "</think>"):
                self._thinking = mark[0] == "<think>"
        begun = _MARK_BEGUN.search(text, at)
        end = begun.start() if begun else len(text)
        parts[self._thinking].append(text[at:end])
        self._held = text[end:]
        return "".join(parts[0]), "".join(parts[1])

    def finish(self) -> tuple[str, str]:
        """What was held back, now that nothing follows."""
        held, self._held = self._held, ""
        return ("", held) if self._thinking else (held, "")


def split_thinking(text: str) -> tuple[str, str]:
    """A whole text as (answer, thinking). A `</think>` nobody opened ends thinking that began the text."""
    closing = text.find("</think>")
    opening = text.find("<think>")
    if closing >= 0 and (opening < 0 or opening > closing):
        text = "<think>" + text
    splitter = ThinkSplitter()
    (answer, thinking), (rest, more) = splitter.feed(text), splitter.finish()
    if not thinking and not more and "<think>" not in text:
        return answer + rest, ""
    return (answer + rest).strip(), (thinking + more).strip()


def take_tool_calls(text: str, offered: Collection[str]) -> tuple[str, list[tuple[str, str]]]:
    """Tool calls written as text: (text without them, [(name, JSON arguments)]).

    Read are `[TOOL_REQUEST]{…}[END_TOOL_REQUEST]`, `<tool_call>{…}</tool_call>`, and lines such as
    `Tool: name(key=value, …)`. The last form looks like prose, so it counts only for tools in `offered`.
    What cannot be read stays in the text.
    """
    found = [
        (match.start(), match.end(), *call)
        for match in _WRAPPED_CALL.finditer(text)
        if (call := _wrapped_call(match["bracketed"] or match["tagged"] or ""))
    ]
    for match in _WRITTEN_CALL.finditer(text):
        inside = any(start <= match.start() < end for start, end, _, _ in found)
        if match["name"] in offered and not inside and (read := _parameters(text, match.end())):
            arguments, end = read
            found.append((match.start(), end, match["name"], json.dumps(arguments, ensure_ascii=False)))
    if not found:
        return text, []
    found.sort()
    kept, at = [], 0
    for start, end, _, _ in found:
        kept.append(text[at:start])
        at = end
    kept.append(text[at:])
    return "".join(kept).strip(), [(name, arguments) for _, _, name, arguments in found]


def arguments_json(arguments: Any) -> str:
    """Arguments as a JSON string, whether the model sent a string, an object or nothing."""
    if isinstance(arguments, str):
        return arguments
    return json.dumps({} if arguments is None else arguments, ensure_ascii=False)


def _wrapped_call(text: str) -> tuple[str, str] | None:
    try:
        call = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(call, dict) and isinstance(call.get("function"), dict):
        call = call["function"]
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not call["name"]:
        return None
    return call["name"], arguments_json(call.get("arguments", call.get("parameters")))


def _parameters(text: str, at: int) -> tuple[dict[str, Any], int] | None:
    """`key=value, …)` from `at` on, with the place after the bracket; None when it is something else."""
    if closing := _NO_PARAMETERS.match(text, at):
        return {}, closing.end()
    arguments: dict[str, Any] = {}
    while parameter := _PARAMETER.match(text, at):
        read = _literal(text, parameter.end())
        if read is None:
            return None
        arguments[parameter[1]], at, last = read
        if last:
            return arguments, at
    return None


def _literal(text: str, at: int) -> tuple[Any, int, bool] | None:
    """One value: (value, place after the comma or bracket that ends it, whether it was the bracket)."""
    readings: list[tuple[Any, int]] = []
    try:
        readings.append(_decode_json(text, at))
    except (ValueError, RecursionError):
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
