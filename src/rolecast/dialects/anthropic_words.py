"""Chats of Anthropic's Messages in words of no dialect, for a worker that speaks another.

What cannot be said in them is refused by its place: tools that run on Anthropic's servers, and what they left behind
in a history.
"""

import msgspec

from rolecast.dialects import turns
from rolecast.dialects.anthropic_body import Block, Body, Message, Source, Tool, inside, wrong
from rolecast.errors import UNREADABLE
from rolecast.values import Chat, Part, Sampling, ToolCall
from rolecast.values import Message as Said
from rolecast.values import Tool as Function

BLOCKS = "text, image, document, search_result, tool_use, tool_result and thinking"
CHOICES = {"any": "required", "tool": "required"}
BILLING = "x-anthropic-billing-header:"
"""Claude Code begins its system prompt with such a line, another one each time: no model is to read it, and no
prompt that begins with it would ever be found in a cache."""
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def chat(fields: Body, messages: list[Message]) -> Chat:
    """The chat in such words. Raises BadRequest for what cannot be said in them."""
    for name in ("container", "mcp_servers"):
        if getattr(fields, name) not in (None, [], msgspec.Raw(), msgspec.Raw(b"null")):
            raise wrong(name, "cannot be used: nothing runs on Anthropic's servers here")
    choice, thinking, asked = fields.tool_choice, fields.thinking, fields.output_config
    effort = asked.effort if asked is not None else None
    think = {"enabled": True, "disabled": False}.get(thinking.type) if thinking is not None else None
    return Chat(
        model=fields.model or "",
        messages=tuple(_messages(fields, messages)),
        stream=fields.stream is True,
        tools=tuple(_tool(tool, f"tools[{i}]") for i, tool in enumerate(fields.tools or ())),
        tool_choice="" if choice is None else CHOICES.get(choice.type, choice.type),
        tool_named=choice.name if choice is not None and choice.type == "tool" else "",
        answer_schema=_schema(fields),
        think=think if think is not None else effort,
        sampling=Sampling(
            max_tokens=fields.max_tokens,
            temperature=fields.temperature,
            top_p=fields.top_p,
            top_k=fields.top_k,
            stop=tuple(fields.stop_sequences or ()),
        ),
        extra=_extra(fields),
    )


def _extra(fields: Body) -> dict[str, object]:
    """What engines know by a field of their own."""
    extra: dict[str, object] = {}
    if fields.tool_choice is not None and fields.tool_choice.disable_parallel_tool_use is not None:
        extra["parallel_tool_calls"] = not fields.tool_choice.disable_parallel_tool_use
    if fields.thinking is not None and fields.thinking.type == "enabled" and fields.thinking.budget_tokens:
        extra["thinking_budget_tokens"] = fields.thinking.budget_tokens
    if fields.metadata is not None and fields.metadata.user_id:
        extra["user"] = fields.metadata.user_id
    return extra


def _schema(fields: Body) -> msgspec.Raw | None:
    wanted = fields.output_config.format if fields.output_config is not None else None
    if wanted is None:
        return None
    if wanted.type != "json_schema":
        raise wrong("output_config.format.type", "must be json_schema")
    return wanted.schema


def _tool(tool: Tool, place: str) -> Function:
    if tool.type not in (None, "custom"):
        raise wrong(
            f"{place}.type",
            f"{tool.type[:64]!r} is known to Anthropic's models and servers alone; give a tool of your own with "
            "`name`, `description` and `input_schema`",
        )
    if not tool.name:
        raise wrong(f"{place}.name", "is missing")
    if not bytes(tool.input_schema).startswith(b"{"):
        raise wrong(f"{place}.input_schema", "is missing: the JSON schema of the tool's input, an object")
    return Function(tool.name, tool.description or "", tool.input_schema)


# -- messages ----------------------------------------------------------------------------------------------------


def _messages(fields: Body, given: list[Message]) -> list[Said]:
    """The messages; neighbours of one role are one message, as Anthropic takes them."""
    found: list[Said] = []
    if system := _text(fields.system or "", "system"):
        found.append(Said("system", system))
    for i, message in enumerate(given):
        place = f"messages[{i}].content"
        if message.role == "system":
            found.append(Said("system", _text(message.content, place)))
        elif message.role == "assistant":
            turns.join(found, _assistant(message.content, place))
        elif isinstance(message.content, str):
            turns.join(found, Said("user", message.content))
        else:
            for said in _user(message.content, place):
                turns.join(found, said)
    return found


def _text(content: str | list[Block], place: str) -> str:
    """A content that can be nothing but text."""
    if isinstance(content, str):
        return content
    for i, block in enumerate(content):
        if block.type != "text" or block.text is None:
            raise wrong(f"{place}[{i}]", "must be a block of text, with `text`")
    texts = [block.text or "" for block in content]
    return "\n\n".join(text for text in texts if not text.startswith(BILLING))


def _assistant(content: str | list[Block], place: str) -> Said:
    if isinstance(content, str):
        return Said("assistant", content)
    texts, thoughts, calls = [], [], []
    for i, block in enumerate(content):
        where = f"{place}[{i}]"
        if block.type == "text":
            texts.append(_required(block.text, f"{where}.text"))
        elif block.type == "thinking":
            thoughts.append(_required(block.thinking, f"{where}.thinking"))
        elif block.type == "tool_use":
            calls.append(_call(block, where))
        elif block.type != "redacted_thinking":  # which nobody can read but Anthropic's own models
            raise _unknown(block, where)
    return Said("assistant", "".join(texts), "".join(thoughts), tuple(calls))


def _call(block: Block, place: str) -> ToolCall:
    if not (block.id and block.name):
        raise wrong(place, "must have `id`, `name` and `input`")
    try:
        _object(block.input or b"{}")
    except UNREADABLE:
        raise wrong(f"{place}.input", "must be an object") from None
    return ToolCall(block.id, block.name, bytes(block.input or b"{}").decode())


def _user(content: list[Block], place: str) -> list[Said]:
    """Results of tools, each a message of its own, and what the user says: other wires want results behind calls."""
    found: list[Said] = []
    parts: list[Part] = []
    for i, block in enumerate(content):
        where = f"{place}[{i}]"
        if block.type == "tool_result":
            found.append(_result(block, where))
        else:
            parts += _part(block, where)
    if parts or not found:
        found.append(Said("user", _plain(parts)))
    return found


def _result(block: Block, place: str) -> Said:
    if not block.tool_use_id:
        raise wrong(f"{place}.tool_use_id", "is missing: a result names the call that it answers")
    within = inside(block, place)
    content: str | tuple[Part, ...]
    if isinstance(within, list):
        content = _plain([part for i, each in enumerate(within) for part in _part(each, f"{place}.content[{i}]")])
    else:
        content = within or ""
    if block.is_error:  # other dialects have no word for it
        content = f"Error: {content}" if isinstance(content, str) else (Part("text", text="Error:"), *content)
    return Said("tool", content, tool_call_id=block.tool_use_id)


def _plain(parts: list[Part]) -> str | tuple[Part, ...]:
    """One text is a text."""
    if not parts:
        return ""
    return parts[0].text if len(parts) == 1 and parts[0].kind == "text" else tuple(parts)


def _part(block: Block, place: str) -> list[Part]:
    source = block.source
    if block.type == "text":
        return [Part("text", text=_required(block.text, f"{place}.text"))]
    if block.type == "image" and isinstance(source, Source):
        return [Part("image", data=_data(source, f"{place}.source"))]
    if block.type == "document" and isinstance(source, Source):
        return _document(block, source, place)
    if block.type == "search_result":
        within = inside(block, place)
        head = "\n".join(filter(None, (block.title, source if isinstance(source, str) else "")))
        return [Part("text", text=f"{head}\n{_text(within or '', f'{place}.content')}")]
    raise _unknown(block, place)


def _document(block: Block, source: Source, place: str) -> list[Part]:
    """A document of text is text, under its title; what is in a file stays one."""
    if source.type not in ("text", "content"):
        return [Part("file", data=_data(source, f"{place}.source"), name=block.title or "")]
    head = "\n".join(filter(None, (block.title, block.context)))
    parts = [Part("text", text=head)] if head else []
    if source.type == "text":
        return [*parts, Part("text", text=source.data)]
    if isinstance(source.content, list):
        within = [_part(each, f"{place}.source.content[{i}]") for i, each in enumerate(source.content)]
        return [*parts, *(part for each in within for part in each)]
    return [*parts, Part("text", text=source.content or "")]


def _data(source: Source, place: str) -> str:
    """The data as a URL that holds it, or where it is."""
    if source.type == "base64" and source.media_type and source.data:
        return f"data:{source.media_type};base64,{source.data}"
    if source.type == "url" and source.url:
        return source.url
    raise wrong(place, 'must be {"type":"base64","media_type":"...","data":"..."} or {"type":"url","url":"..."}')


def _required(text: str | None, place: str) -> str:
    if text is None:
        raise wrong(place, "is missing")
    return text


def _unknown(block: Block, place: str) -> Exception:
    return wrong(place, f"of type {block.type[:64]!r} is not understood for this model; {BLOCKS} are")
