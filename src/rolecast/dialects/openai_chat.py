"""The messages and tools of a chat request: whether they are well-formed, and what they need of a model.

A plain text is not looked into, only a content in parts. Knows no other field of a request, and what
no engine trips over is left to the engine.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from rolecast.dialects.request import NOTHING, TOOLS, read_fields
from rolecast.errors import BadRequest

Label = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Filled = Annotated[str, msgspec.Meta(min_length=1)]

PARTS = {
    "image_url": "vision",
    "input_image": "vision",
    "image": "vision",
    "input_audio": "audio",
    "audio_url": "audio",
    "audio": "audio",
    "video_url": "video",
    "input_video": "video",
    "video": "video",
    "file": "files",
    "input_file": "files",
}
"""What a part of a content needs, by its type. Of others nothing is known."""
SHAPES = {
    "tool_calls[": 'A call is {"id":"...","type":"function","function":{"name":"...","arguments":"{...}"}}',
    "tools[": 'A tool is {"type":"function","function":{"name":"...","description":"...","parameters":{...}}}',
    "tool_choice": 'Write "auto", "none", "required" or {"type":"function","function":{"name":"..."}}',
    ".content": 'A part is {"type":"text","text":"..."} or {"type":"image_url","image_url":{"url":"..."}}',
}
"""How it is written right, by where the mistake is."""


class Called(msgspec.Struct, gc=False):
    """The function of a call in the history. Some clients write its arguments as an object."""

    name: Filled
    arguments: str | dict[str, msgspec.Raw]


class Call(msgspec.Struct):
    type: Filled
    function: Called | msgspec.UnsetType = msgspec.UNSET


class Part(msgspec.Struct):
    type: Filled
    text: str | msgspec.UnsetType | None = msgspec.UNSET


class Message(msgspec.Struct):
    role: Label
    content: str | list[Part] | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None


class Function(msgspec.Struct):
    name: Filled
    parameters: dict[str, msgspec.Raw] | None = None


class Tool(msgspec.Struct):
    type: Filled
    function: Function | msgspec.UnsetType = msgspec.UNSET


class Named(msgspec.Struct):
    name: Filled


class NamedTool(msgspec.Struct):
    function: Named | msgspec.UnsetType = msgspec.UNSET


class Allowed(msgspec.Struct):
    mode: str = "auto"
    tools: list[NamedTool] = []


class ToolChoice(msgspec.Struct):
    """`tool_choice` as an object: one function, another kind of tool, or a choice among some."""

    type: Filled
    function: Named | msgspec.UnsetType = msgspec.UNSET
    allowed_tools: Allowed | msgspec.UnsetType = msgspec.UNSET


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def needs_of_messages(messages: Sequence[Message]) -> tuple[frozenset[str], frozenset[str]]:
    """What the contents cannot do without, and what they would rather have: a model that knows calls, if there are any.

    Raises BadRequest with the place of what is malformed.
    """
    found = wishes = NOTHING
    for i, message in enumerate(messages):
        if message.content.__class__ is list:
            found |= _look_into(message.content, f"messages[{i}].content")
        if message.tool_calls is not None or message.role == "tool":
            _check_calls(message, f"messages[{i}]")
            wishes = TOOLS
    return found, wishes


def _look_into(parts: Sequence[Part], place: str) -> frozenset[str]:
    """What a content in parts needs."""
    for i, part in enumerate(parts):
        if part.type == "text" and not isinstance(part.text, str):
            raise malformed(f"{place}[{i}].text", "must be a text")
    return frozenset(PARTS[part.type] for part in parts if part.type in PARTS)


def _check_calls(message: Message, place: str) -> None:
    if message.role == "tool" and message.tool_call_id is None:
        raise malformed(f"{place}.tool_call_id", "is missing: a result names the call that it answers")
    for i, call in enumerate(message.tool_calls or ()):
        if call.type == "function" and call.function is msgspec.UNSET:
            raise malformed(f"{place}.tool_calls[{i}].function", "is missing: it holds `name` and `arguments`")


def needs_of_tools(
    tools: Sequence[Tool] | None, choice: str | ToolChoice | None
) -> tuple[frozenset[str], frozenset[str]]:
    """What tools need, and what they would rather have. Raises BadRequest for tools that are none.

    A call that is forced needs a model that can call; tools that may be used or not are better off with one.
    """
    for i, tool in enumerate(tools or ()):
        if tool.type == "function" and tool.function is msgspec.UNSET:
            raise malformed(f"tools[{i}].function", "is missing: it holds `name`, `description` and `parameters`")
    if _forced(choice):
        if not tools:
            raise malformed("tool_choice", "asks for a call, but `tools` lists no tool")
        _check_named(tools, choice)
        return TOOLS, NOTHING
    return NOTHING, TOOLS if tools and choice != "none" else NOTHING


def _forced(choice: str | ToolChoice | None) -> bool:
    if choice is None or isinstance(choice, str):
        return choice in ("required", "any")
    if choice.type == "allowed_tools":
        return isinstance(choice.allowed_tools, Allowed) and choice.allowed_tools.mode == "required"
    return choice.type not in ("auto", "none")


def _named(choice: str | ToolChoice | None) -> list[str]:
    """The functions that a choice names, if it does."""
    if not isinstance(choice, ToolChoice):
        return []
    allowed = choice.allowed_tools.tools if isinstance(choice.allowed_tools, Allowed) else []
    functions = [choice.function, *(tool.function for tool in allowed)]
    return [function.name for function in functions if isinstance(function, Named)]


def _check_named(tools: Sequence[Tool], choice: str | ToolChoice | None) -> None:
    """A function that is asked for by its name must be there."""
    if set(_named(choice)) - {_name(tool) for tool in tools}:
        raise malformed("tool_choice", "names a function that `tools` does not list")


def _name(tool: Tool) -> str:
    return tool.function.name if isinstance(tool.function, Function) else ""


def in_words(
    body: bytes, tools: Sequence[Tool] | None, choice: str | ToolChoice | None
) -> dict[str, msgspec.Raw] | None:
    """The same choice for an engine that takes a word only: the tools it names, and `required` or `auto`.

    None when there is nothing to say in another way.
    """
    if not tools or not (isinstance(choice, ToolChoice) or choice == "any"):
        return None
    named = _named(choice)
    written = _decode_list(read_fields(body)["tools"])
    kept = [raw for raw, tool in zip(written, tools, strict=True) if not named or _name(tool) in named]
    word = b'"required"' if _forced(choice) else b'"auto"'
    return {"tools": msgspec.Raw(msgspec.json.encode(kept)), "tool_choice": msgspec.Raw(word)}


# -- words -----------------------------------------------------------------------------------------------


def malformed(place: str, what: str) -> BadRequest:
    """A mistake in messages or tools, which agents build in code: 400, so that nobody tries it again."""
    shape = next((f". {text}" for start, text in SHAPES.items() if start in place), "")
    return BadRequest(f"`{place}` {what}{shape}.", param=place, code="invalid_value")


def fault(exc: msgspec.ValidationError) -> BadRequest:
    """The mistake that msgspec found, with its place."""
    where, text = explain(exc)
    field, missing = missing_field(text)
    return malformed(f"{where}.{field}" if missing else where, "is missing" if missing else f"is wrong: {text}")


def explain(exc: msgspec.ValidationError) -> tuple[str, str]:
    """Where the mistake is, as a path without `$`, and what it is."""
    text, _, where = str(exc).partition(" - at `$")
    return where.removesuffix("`").removeprefix("."), text


def missing_field(text: str) -> tuple[str, bool]:
    """The name of the field that is not there, if that is the mistake."""
    before, _, name = text.partition("missing required field `")
    return name.removesuffix("`"), bool(name) and before == "Object "


def is_malformed(where: str) -> bool:
    """Whether this place lies within messages or tools."""
    return where.startswith(("messages[", "tools", "tool_choice"))
