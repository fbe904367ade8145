"""Servers that speak Anthropic's Messages: chats written for them; their answers are read by `anthropic_reader`.

What the wire has no word for is left out where it only shades an answer (a seed, penalties, thoughts without the
signature of who thought them), and refused where the answer would be another one.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec

from rolecast.dialects import Reader, anthropic_defaults, anthropic_reader
from rolecast.dialects.turns import placed
from rolecast.errors import UNREADABLE, BadRequest
from rolecast.values import Chat, Defaults, Kind, Message, Part, Tool, ToolCall

MAX_TOKENS = 8192
"""The length that an answer may have where the client gives none: the wire cannot do without."""
LEAST_THOUGHT = 1024
"""Tokens to think with; fewer are refused."""
EFFORTS = {"minimal": "low"}
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class AnthropicWorker:
    """Anthropic's own servers, and others with the same API."""

    def ask(self, chat: Chat, *, usage: bool) -> tuple[bytes, bytes]:
        """A message. Raises BadRequest for what cannot be said so."""
        sampling = chat.sampling
        asked = sampling.max_tokens or 0
        most = asked if asked > 0 else MAX_TOKENS
        fields: dict[str, Any] = {"model": chat.model, "max_tokens": most}
        said = placed(chat.messages)
        if said and said[0].role == "system" and (system := _text(said.pop(0))):
            fields["system"] = system
        fields["messages"] = _turns(said)
        if chat.stream:
            fields["stream"] = True
        fields |= _tools(chat) | _thinking(chat, most) | _output(chat)
        for name in ("temperature", "top_p", "top_k"):
            if (value := getattr(sampling, name)) is not None:
                fields[name] = value
        if sampling.stop:
            fields["stop_sequences"] = sampling.stop
        if user := chat.extra.get("user"):
            fields["metadata"] = {"user_id": user}
        return b"/messages", msgspec.json.encode(fields)

    def fill(self, fields: dict[str, Any], kind: Kind, defaults: Defaults) -> None:
        """The defaults of a variant."""
        anthropic_defaults.fill(fields, defaults)

    def reader(self, *, streaming: bool) -> Reader:
        """Reads a stream of events, or one message."""
        return anthropic_reader.reader(streaming=streaming)


def _tools(chat: Chat) -> dict[str, Any]:
    if not chat.tools:
        return {}
    fields: dict[str, Any] = {"tools": [_tool(each) for each in chat.tools]}
    choice = {"required": "any"}.get(chat.tool_choice, chat.tool_choice)
    if chat.tool_named:
        fields["tool_choice"] = {"type": "tool", "name": chat.tool_named}
    elif choice:
        fields["tool_choice"] = {"type": choice}
    parallel = chat.extra.get("parallel_tool_calls")
    apart = parallel is False or (isinstance(parallel, msgspec.Raw) and bytes(parallel) == b"false")
    if apart and choice != "none":
        fields["tool_choice"] = fields.get("tool_choice", {"type": "auto"}) | {"disable_parallel_tool_use": True}
    return fields


def _tool(tool: Tool) -> dict[str, Any]:
    schema: Any = tool.parameters
    with suppress(*UNREADABLE):  # what is no schema at all is refused there
        schema = {"type": "object"} | _object(tool.parameters)
    described = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **described, "input_schema": schema}


def _thinking(chat: Chat, most: int) -> dict[str, Any]:
    if not isinstance(chat.think, bool):
        return {}
    if not chat.think:
        return {"thinking": {"type": "disabled"}}
    budget = chat.extra.get("thinking_budget_tokens") or max(LEAST_THOUGHT, most // 2)
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _output(chat: Chat) -> dict[str, Any]:
    """How hard to think, and the form of the answer."""
    wanted: dict[str, Any] = {}
    if isinstance(chat.think, str):
        wanted["effort"] = EFFORTS.get(chat.think, chat.think)
    if chat.answer_schema is not None:
        if bytes(chat.answer_schema).strip() == b"{}":
            raise BadRequest("This model's server needs a JSON schema; it has no word for any JSON object.")
        wanted["format"] = {"type": "json_schema", "schema": chat.answer_schema}
    return {"output_config": wanted} if wanted else {}


# -- messages ----------------------------------------------------------------------------------------------------


def _turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The messages by turns: results of tools are the user's, and neighbours of one role are one message."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = [_result(message)] if message.role == "tool" else [*_blocks(message), *map(_call, message.tool_calls)]
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "\n\n".join(part.text for part in message.content if part.kind == "text")


def _blocks(message: Message) -> list[dict[str, Any]]:
    """The content; an empty text would be refused."""
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}] if message.content else []
    return [_block(part) for part in message.content if part.kind != "text" or part.text]


def _block(part: Part) -> dict[str, Any]:
    if part.kind == "text":
        return {"type": "text", "text": part.text}
    if part.kind not in ("image", "file"):
        raise BadRequest(f"This model takes no {part.kind}: its server has no word for it.", param="messages")
    head, comma, data = part.data.partition(";base64,")
    if comma and head.startswith("data:"):
        source = {"type": "base64", "media_type": head.removeprefix("data:"), "data": data}
    elif part.data.startswith(("http://", "https://")):
        source = {"type": "url", "url": part.data}
    else:
        raise BadRequest(f"The {part.kind} must be a URL: data:TYPE;base64,... or https://...", param="messages")
    if part.kind == "image":
        return {"type": "image", "source": source}
    return {"type": "document", "source": source} | ({"title": part.name} if part.name else {})


def _call(call: ToolCall) -> dict[str, Any]:
    try:
        given = _object(call.arguments or "{}")
    except UNREADABLE:
        text = "The `arguments` of a call must be the text of a JSON object."
        raise BadRequest(text, param="messages", code="invalid_value") from None
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": given}


def _result(message: Message) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": _blocks(message)}
