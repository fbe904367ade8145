"""The items of a Responses conversation, read into messages: texts, pictures, calls, their results, thoughts.

Knows neither settings nor tools, and nothing of what is kept.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from rolecast.dialects.openai_chat import explain
from rolecast.dialects.responses_tools import Tool, qualified
from rolecast.errors import UNREADABLE, BadRequest
from rolecast.values import Message, Part, ToolCall

ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
"""Roles of messages, and what models know them as."""
_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
_KNOWN = "message, function_call, custom_tool_call, the outputs of both, reasoning, additional_tools, item_reference"


class _Sound(msgspec.Struct):
    data: str
    format: str = "wav"


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: _Sound | None = None


class Item(msgspec.Struct):
    """One item, whatever its type."""

    type: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    role: str | None = None
    content: str | list[_Part] | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    """Of a custom tool."""
    namespace: str | None = None
    output: str | list[_Part] | None = None
    tools: list[Tool] | None = None
    """Those that may be called from here on."""

    @property
    def kind(self) -> str:
        """Its type; what has a role is a message without saying so, and what has an id alone a reference."""
        return self.type or ("message" if self.role else "item_reference" if self.id else "")


_decode = msgspec.json.Decoder(list[Item]).decode


def read(items: bytes) -> list[Item]:
    """These items. Raises BadRequest, naming the place."""
    try:
        return _decode(items)
    except msgspec.ValidationError as exc:
        where, text = explain(exc)
        where = f"input{where}"
        raise BadRequest(f"`{where}`: {text}.", param=where, code="invalid_value") from None
    except UNREADABLE:
        raise BadRequest("`input` is not valid JSON.", param="input", code="bad_json") from None


def messages(instructions: str, items: Sequence[Item], asked_from: int = 0) -> tuple[Message, ...]:
    """The conversation; places in errors count from `asked_from`, where the client's own items begin."""
    history = _History()
    if instructions:
        history.says("system", instructions)
    for number, item in enumerate(items):
        history.add(item, f"input[{number - asked_from}]")
    return history.whole()


class _History:
    """Puts together what items say apart: one turn of a model is its thoughts, a text and calls."""

    def __init__(self) -> None:
        self._found: list[Message] = []
        self._thoughts: list[str] = []
        self._called: set[str] = set()

    def whole(self) -> tuple[Message, ...]:
        self._think_aloud()
        return tuple(self._found)

    def add(self, item: Item, place: str) -> None:
        """One more item. Raises BadRequest."""
        kind = item.kind
        if kind == "message":
            self._message(item, place)
        elif kind in ("function_call", "custom_tool_call"):
            self._call(item, place)
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._result(item, place)
        elif kind == "reasoning":
            self._thoughts.append(_text(item.content, f"{place}.content"))
        elif kind != "additional_tools":  # which are no part of what was said
            raise _refused(kind, place)

    def says(self, role: str, content: str | tuple[Part, ...]) -> None:
        """A message. What the system says at the beginning is one text: many models take no more than one."""
        last = self._found[-1] if self._found else None
        both = last is not None and isinstance(last.content, str) and isinstance(content, str)
        if role == "system" and len(self._found) == 1 and both and last is not None and last.role == "system":
            self._found[-1] = Message("system", f"{last.content}\n\n{content}")
            return
        self._found.append(Message(role, content))

    def _message(self, item: Item, place: str) -> None:
        role = ROLES.get(item.role or "")
        if role is None:
            raise BadRequest(f"`{place}.role` must be one of {', '.join(ROLES)}.", param=f"{place}.role")
        if role != "assistant":
            self._think_aloud()
            self.says(role, _content(item.content, f"{place}.content"))
        else:
            self._goes_on(_text(item.content, f"{place}.content"))

    def _call(self, item: Item, place: str) -> None:
        if not item.call_id or not item.name:
            raise BadRequest(f"`{place}` needs `call_id`, `name` and `arguments`.", param=place)
        arguments = item.arguments or "{}"
        if item.kind == "custom_tool_call":
            arguments = msgspec.json.encode({"input": item.input or ""}).decode()
        self._called.add(item.call_id)
        self._goes_on("", (ToolCall(item.call_id, qualified(item.namespace, item.name), arguments),))

    def _goes_on(self, text: str, calls: tuple[ToolCall, ...] = ()) -> None:
        """Something more that the model said or called. Behind calls it is the same turn: their results come next."""
        last = self._found[-1] if self._found else None
        same = last is not None and last.role == "assistant"
        if last is None or not same or not (last.tool_calls or (calls and not self._thoughts)):
            self._found.append(Message("assistant", text, self._taken(), calls))
            return
        assert isinstance(last.content, str)
        self._found[-1] = msgspec.structs.replace(
            last,
            content="\n\n".join(filter(None, (last.content, text))),
            reasoning="\n".join(filter(None, (last.reasoning, self._taken()))),
            tool_calls=(*last.tool_calls, *calls),
        )

    def _result(self, item: Item, place: str) -> None:
        self._think_aloud()
        if item.call_id not in self._called or item.call_id is None:
            text = f"`{place}.call_id` must be that of a `function_call` before it."
            raise BadRequest(text, param=f"{place}.call_id")
        if item.output is None:
            raise BadRequest(f"`{place}.output` is missing: a text, or a list of parts.", param=f"{place}.output")
        content = _content(item.output, f"{place}.output")
        self._found.insert(self._behind(item.call_id), Message("tool", content, tool_call_id=item.call_id))

    def _behind(self, call_id: str) -> int:
        """Where the result of a call belongs: behind it, whatever somebody said in between."""
        place = len(self._found)
        while not any(call.id == call_id for call in self._found[place - 1].tool_calls):
            place -= 1
        while place < len(self._found) and self._found[place].role == "tool":
            place += 1
        return place

    def _taken(self) -> str:
        """The thoughts so far, which belong to what is said next."""
        thoughts, self._thoughts = "\n".join(filter(None, self._thoughts)), []
        return thoughts

    def _think_aloud(self) -> None:
        """Thoughts that led to nothing are a turn of their own."""
        if thoughts := self._taken():
            self._found.append(Message("assistant", "", thoughts))


def _refused(kind: str, place: str) -> BadRequest:
    what = f"An item of the type {kind!r}" if kind else "An item without a `type` or a `role`"
    text = f"`{place}`: {what} is not understood; known are {_KNOWN}."
    return BadRequest(text, param=f"{place}.type", code="unsupported_value")


def _content(given: str | list[_Part] | None, place: str) -> str | tuple[Part, ...]:
    if given is None:
        raise BadRequest(f"`{place}` is missing: a text, or a list of parts.", param=place)
    if isinstance(given, str):
        return given
    parts = tuple(_part(each, f"{place}[{i}]") for i, each in enumerate(given))
    if len(parts) == 1 and parts[0].kind == "text":
        return parts[0].text
    return parts or ""


def _text(given: str | list[_Part] | None, place: str) -> str:
    """What a model said: a text, or parts that are texts."""
    if given is None or isinstance(given, str):
        return given or ""
    texts = []
    for i, each in enumerate(given):
        part = _part(each, f"{place}[{i}]")
        if part.kind != "text":
            raise BadRequest(f"`{place}[{i}]`: a model says texts only.", param=f"{place}[{i}]")
        texts.append(part.text)
    return "".join(texts)


def _part(given: _Part, place: str) -> Part:
    kind = given.type
    if kind in _TEXTS and given.text is not None:
        return Part("text", text=given.text)
    if kind == "refusal" and given.refusal is not None:
        return Part("text", text=given.refusal)
    if kind == "input_image" and given.image_url:
        return Part("image", data=given.image_url)
    if kind == "input_file" and (given.file_data or given.file_url):
        return Part("file", data=given.file_data or given.file_url or "", name=given.filename or "")
    if kind == "input_audio" and given.input_audio is not None:
        return Part("audio", data=f"data:audio/{given.input_audio.format};base64,{given.input_audio.data}")
    known = "input_text with `text`, input_image with `image_url`, input_file with `file_data` or `file_url`"
    raise BadRequest(
        f"`{place}`: a part of the type {kind[:64]!r} with these fields is not understood; send {known}. "
        "Files are not kept here, so there are no ids of them.",
        param=place,
        code="unsupported_value",
    )
