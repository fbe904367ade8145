"""The tools of a Responses request and the choice among them, read and repeated.

Functions are what every model knows. A `custom` tool, which takes a text of its own form, is told to it as a function
with that text; the functions of a `namespace` by both names. Their calls go back to the client as what it knows. What
OpenAI's own servers would run is refused, or left out where an agent offers it beside tools of its own.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from rolecast.errors import UNREADABLE, BadRequest
from rolecast.values import Tool as Function

MODES = ("auto", "none", "required")
LEFT_OUT = ("web_search", "image_generation", "tool_search")
"""Beginnings of types of tools that a model can do without: agents offer them with every request."""
_TEXT = msgspec.Raw(
    b'{"type":"object","properties":{"input":{"type":"string","description":"The whole input, as it stands."}},'
    b'"required":["input"],"additionalProperties":false}'
)
_decode_object = msgspec.json.Decoder(dict[str, Any] | str).decode


class _Nested(msgspec.Struct):
    name: str | None = None
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None


class _Form(msgspec.Struct, omit_defaults=True):
    """What the input of a custom tool looks like."""

    type: str
    syntax: str | None = None
    definition: str | None = None


class Tool(msgspec.Struct):
    """A tool: flat as OpenAI has it, or with its function nested as for chat completions, or both."""

    type: str | None = None
    name: str | None = None
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None
    strict: bool | None = None
    function: _Nested | None = None
    format: _Form | None = None
    tools: "list[Tool] | None" = None
    """Those of a namespace."""


class _Named(msgspec.Struct):
    name: str | None = None
    type: str | None = None
    namespace: str | None = None


class Choice(msgspec.Struct):
    """A choice that is no word."""

    type: str
    name: str | None = None
    namespace: str | None = None
    function: _Named | None = None
    mode: str | None = None
    tools: list[_Named] | None = None


class Offered(msgspec.Struct, frozen=True):
    """A tool as the model knows it, and as the client does."""

    function: Function
    name: str
    namespace: str = ""
    is_custom: bool = False


def offered(groups: Iterable[tuple[str, Sequence[Tool]]]) -> list[Offered]:
    """The tools at these places of the body. Raises BadRequest."""
    found: list[Offered] = []
    refused: BadRequest | None = None
    for place, tools in groups:
        for i, each in enumerate(tools):
            where = f"{place}[{i}]"
            if each.type == "namespace":
                found += _namespace(each, where)
            elif each.type and each.type.startswith(LEFT_OUT):
                refused = refused or _not_run(each.type, where)
            else:
                found.append(_one(each, where))
    if refused is not None and not found:
        raise refused
    names = Counter(one.function.name for one in found)
    for one in found:
        if one.namespace and names[one.function.name] > 1:
            text = f"`tools`: two tools are {one.function.name[:128]!r} to the model; name one of them otherwise."
            raise BadRequest(text, param="tools", code="invalid_value")
    return found


def qualified(namespace: str | None, name: str) -> str:
    """What the model knows a tool of a namespace by."""
    return f"{namespace.removesuffix('__')}__{name}" if namespace else name


def free_text(arguments: str) -> str:
    """The input of a custom tool in the arguments that a model gave; all of them where they are of another form."""
    try:
        given = _decode_object(arguments)
    except UNREADABLE:
        return arguments
    if isinstance(given, str):
        return given
    texts = [given["input"]] if "input" in given else list(given.values())
    return texts[0] if len(texts) == 1 and isinstance(texts[0], str) else arguments


def _namespace(given: Tool, place: str) -> list[Offered]:
    if not given.name:
        raise BadRequest(f"`{place}.name` is missing: a namespace has `name` and `tools`.", param=place)
    return [_one(each, f"{place}.tools[{i}]", given.name) for i, each in enumerate(given.tools or ())]


def _one(given: Tool, place: str, namespace: str = "") -> Offered:
    if given.type not in (None, "function", "custom"):
        raise _not_run(given.type, place)
    inner = given.function or _Nested()
    name = given.name or inner.name
    if not name:
        raise BadRequest(f"`{place}.name` is missing: a function has `type`, `name` and `parameters`.", param=place)
    described = given.description or inner.description or ""
    if given.type == "custom":
        form = given.format
        if form is not None and form.definition:
            described += f"\n\nThe input obeys this grammar ({form.syntax or 'lark'}):\n{form.definition}"
        schema = _TEXT
    else:
        parameters = given.parameters if given.parameters is not None else inner.parameters
        schema = msgspec.Raw(msgspec.json.encode(parameters or {}))
    function = Function(qualified(namespace, name), described.strip(), schema)
    return Offered(function, name, namespace, given.type == "custom")


def _not_run(kind: str, place: str) -> BadRequest:
    text = f"`{place}`: a tool of the type {kind[:64]!r} is not run here; give functions and custom tools of your own"
    return BadRequest(f"{text}.", param=f"{place}.type", code="unsupported_value")


def choice(tools: Sequence[Offered], given: str | Choice | None) -> tuple[tuple[Function, ...], str, str]:
    """The tools that may be called, the choice as a word, and the one tool that is named. Raises BadRequest."""
    all_of_them = tuple(each.function for each in tools)
    if given is None:
        return all_of_them, "", ""
    if isinstance(given, str):
        return all_of_them, _mode(given, bool(tools)), ""
    names = {each.function.name for each in tools}
    if given.type == "allowed_tools":
        allowed = {qualified(each.namespace, each.name or "") for each in given.tools or ()}
        if not allowed or allowed - names:
            raise _unknown("tool_choice.tools")
        some = tuple(each for each in all_of_them if each.name in allowed)
        return some, _mode(given.mode or "auto", True), ""
    if given.type not in ("function", "custom"):
        text = f"`tool_choice`: the type {given.type[:64]!r} is not known; use a word, function or allowed_tools."
        raise BadRequest(text, param="tool_choice", code="unsupported_value")
    named = given.name or (given.function.name if given.function else None) or ""
    name = qualified(given.namespace, named)
    if name not in names:
        raise _unknown("tool_choice.name")
    return all_of_them, "required", name


def _mode(word: str, has_tools: bool) -> str:
    if word not in MODES:
        raise BadRequest(f"`tool_choice` must be one of {', '.join(MODES)}, or an object.", param="tool_choice")
    if word == "required" and not has_tools:
        raise BadRequest("`tool_choice` requires a call, and there are no `tools`.", param="tool_choice")
    return word if has_tools else ""


def _unknown(place: str) -> BadRequest:
    return BadRequest(f"`{place}` must name functions of `tools`.", param=place, code="invalid_value")


def told(given: Sequence[Tool]) -> list[dict[str, Any]]:
    """The tools as the answer repeats them, always flat, without those that were left out."""
    return [_told(each) for each in given if not (each.type and each.type.startswith(LEFT_OUT))]


def _told(given: Tool) -> dict[str, Any]:
    if given.type == "namespace":
        name = {"type": "namespace", "name": given.name, "description": given.description or ""}
        return {**name, "tools": told(given.tools or ())}
    inner = given.function or _Nested()
    named = {"name": given.name or inner.name, "description": given.description or inner.description}
    if given.type == "custom":
        return {"type": "custom", **named, "format": given.format or _Form("text")}
    parameters = given.parameters if given.parameters is not None else inner.parameters
    return {"type": "function", **named, "parameters": parameters, "strict": given.strict is not False}


def told_choice(given: str | Choice | None) -> Any:
    """The choice as the answer repeats it."""
    if given is None or isinstance(given, str):
        return given or "auto"
    if given.type == "allowed_tools":
        names = [{"type": each.type or "function", "name": each.name} for each in given.tools or ()]
        return {"type": "allowed_tools", "mode": given.mode or "auto", "tools": names}
    return {"type": given.type, "name": given.name or (given.function.name if given.function else None)}
