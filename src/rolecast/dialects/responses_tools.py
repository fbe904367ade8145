"""The tools of a Responses request and the choice among them, read and repeated. Functions only: what OpenAI's own
servers would run themselves is refused."""

from collections.abc import Sequence
from typing import Any

import msgspec

from rolecast.errors import BadRequest
from rolecast.values import Tool as Function

MODES = ("auto", "none", "required")


class _Nested(msgspec.Struct):
    name: str | None = None
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None


class Tool(msgspec.Struct):
    """A tool: flat as OpenAI has it, or with its function nested as for chat completions, or both."""

    type: str | None = None
    name: str | None = None
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None
    strict: bool | None = None
    function: _Nested | None = None


class _Named(msgspec.Struct):
    name: str | None = None
    type: str | None = None


class Choice(msgspec.Struct):
    """A choice that is no word."""

    type: str
    name: str | None = None
    function: _Named | None = None
    mode: str | None = None
    tools: list[_Named] | None = None


def tool(given: Tool, place: str) -> Function:
    """A tool in words of no dialect. Raises BadRequest."""
    if given.type not in (None, "function"):
        text = f"a tool of the type {given.type[:64]!r} is not run here; of tools only functions are"
        raise BadRequest(f"`{place}`: {text}.", param=f"{place}.type", code="unsupported_value")
    inner = given.function or _Nested()
    name = given.name or inner.name
    if not name:
        raise BadRequest(f"`{place}.name` is missing: a function has `type`, `name` and `parameters`.", param=place)
    parameters = given.parameters if given.parameters is not None else inner.parameters
    raw = msgspec.Raw(msgspec.json.encode(parameters or {}))
    return Function(name, given.description or inner.description or "", raw)


def choice(tools: Sequence[Function], given: str | Choice | None) -> tuple[tuple[Function, ...], str, str]:
    """The tools that may be called, the choice as a word, and the one tool that is named. Raises BadRequest."""
    tools = tuple(tools)
    if given is None:
        return tools, "", ""
    names = {each.name for each in tools}
    if isinstance(given, str):
        return tools, _mode(given, bool(tools)), ""
    if given.type == "allowed_tools":
        allowed = {each.name for each in given.tools or ()}
        if not allowed or allowed - names:
            raise _unknown("tool_choice.tools")
        return tuple(each for each in tools if each.name in allowed), _mode(given.mode or "auto", True), ""
    name = given.name or (given.function.name if given.function else None)
    if given.type != "function":
        text = f"`tool_choice`: the type {given.type[:64]!r} is not known; use a word, function or allowed_tools."
        raise BadRequest(text, param="tool_choice", code="unsupported_value")
    if name not in names or name is None:
        raise _unknown("tool_choice.name")
    return tools, "required", name


def _mode(word: str, has_tools: bool) -> str:
    if word not in MODES:
        raise BadRequest(f"`tool_choice` must be one of {', '.join(MODES)}, or an object.", param="tool_choice")
    if word == "required" and not has_tools:
        raise BadRequest("`tool_choice` requires a call, and there are no `tools`.", param="tool_choice")
    return word if has_tools else ""


def _unknown(place: str) -> BadRequest:
    return BadRequest(f"`{place}` must name functions of `tools`.", param=place, code="invalid_value")


def told(given: Tool) -> dict[str, Any]:
    """The tool as the answer repeats it, always flat."""
    inner = given.function or _Nested()
    return {
        "type": "function",
        "name": given.name or inner.name,
        "description": given.description or inner.description,
        "parameters": given.parameters if given.parameters is not None else inner.parameters,
        "strict": given.strict is not False,
    }


def told_choice(given: str | Choice | None) -> Any:
    """The choice as the answer repeats it."""
    if given is None or isinstance(given, str):
        return given or "auto"
    if given.type == "allowed_tools":
        names = [{"type": "function", "name": each.name} for each in given.tools or ()]
        return {"type": "allowed_tools", "mode": given.mode or "auto", "tools": names}
    return {"type": given.type, "name": given.name or (given.function.name if given.function else None)}
