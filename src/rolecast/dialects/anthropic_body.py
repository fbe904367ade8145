"""Bodies of Anthropic's Messages, as far as they are looked into: types, ranges, and what a chat needs of a model.

What a block means is not judged here (`anthropic_words`): a server of Anthropic's kind may take more than others do.
"""

import re
from collections.abc import Iterator
from typing import Annotated

import msgspec

from rolecast.dialects.openai_chat import explain
from rolecast.dialects.request import NOTHING, TOOLS, read_fields
from rolecast.errors import UNREADABLE, BadRequest

Filled = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
ROLES = ("user", "assistant", "system")
CHOICES = ("auto", "any", "tool", "none")


class Source(msgspec.Struct):
    """Where the data of a picture or document is."""

    type: Filled
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: "str | list[Block] | None" = None


class Block(msgspec.Struct):
    """A block of a content, of any type: each uses some of the fields."""

    type: Filled
    text: str | None = None
    thinking: str | None = None
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()
    tool_use_id: str = ""
    content: msgspec.Raw = msgspec.Raw()
    is_error: bool | None = None


class Message(msgspec.Struct):
    role: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ROLES})]
    content: str | list[Block]


class Tool(msgspec.Struct):
    """One of the client's own has a schema; one that Anthropic runs or knows has a type."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = msgspec.Raw()


class ToolChoice(msgspec.Struct):
    type: Annotated[str, msgspec.Meta(extra_json_schema={"enum": CHOICES})]
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    type: str
    budget_tokens: Count | None = None


class Format(msgspec.Struct):
    type: str
    schema: msgspec.Raw = msgspec.Raw(b"{}")


class OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: Format | None = None


class Metadata(msgspec.Struct):
    user_id: str | None = None


class Body(msgspec.Struct):
    model: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    messages: list[Message] | None = None
    max_tokens: Count | None = None
    system: str | list[Block] | None = None
    stream: bool | None = None
    stop_sequences: list[Filled] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    metadata: Metadata | None = None
    container: msgspec.Raw = msgspec.Raw()
    session_id: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    mcp_servers: list[msgspec.Raw] | None = None


_decode = msgspec.json.Decoder(Body).decode
_decode_content = msgspec.json.Decoder(str | list[Block] | None).decode


def read(body: bytes, most: int) -> tuple[Body, list[Message]]:
    """The fields and the messages. Raises BadRequest that names the field."""
    try:
        if not body.isascii():
            body.decode()  # what goes on in its own bytes is not decoded below
        fields = _decode(body)
    except msgspec.ValidationError as exc:
        where, text = explain(exc)
        if not where:
            raise BadRequest(f"The body must be a JSON object: {text}.", code="bad_json") from None
        raise BadRequest(f"`{where}`: {text}.", param=where, code="invalid_value") from None
    except UNREADABLE as exc:
        raise BadRequest(f"The body is not valid JSON: {exc}.", code="bad_json") from None
    if not fields.messages:
        raise wrong("messages", "is missing: a list of objects with `role` and `content`")
    if len(fields.messages) > most:
        raise wrong("messages", f"holds {len(fields.messages)} entries; {most} are allowed")
    for i, message in enumerate(fields.messages):
        if message.role not in ROLES:
            raise wrong(f"messages[{i}].role", f"must be one of {', '.join(ROLES)}")
    return fields, fields.messages


def inside(block: Block, place: str) -> str | list[Block] | None:
    """The content within a block, such as the result of a tool. Raises BadRequest."""
    if not block.content:
        return None
    try:
        content: str | list[Block] | None = _decode_content(block.content)
    except UNREADABLE:
        raise wrong(f"{place}.content", "must be a text or a list of blocks") from None
    return content


def needs(fields: Body, messages: list[Message]) -> tuple[frozenset[str], frozenset[str]]:
    """What the chat cannot do without, and what it would rather have. Raises BadRequest for a choice of no tool."""
    found: set[str] = set()
    called = False
    for block in _blocks(messages):
        found.add(_need(block))
        called = called or block.type in ("tool_use", "tool_result")
    found.discard("")
    choice, tools = fields.tool_choice, fields.tools or []
    if choice is not None:
        _check_choice(choice, tools)
    forced = choice is not None and choice.type in ("any", "tool")
    may = bool(tools) and not forced and (choice is None or choice.type != "none")
    return frozenset(found) | (TOOLS if forced else NOTHING), TOOLS if may or (called and not forced) else NOTHING


def _check_choice(choice: ToolChoice, tools: list[Tool]) -> None:
    if choice.type not in CHOICES:
        raise wrong("tool_choice.type", f"must be one of {', '.join(CHOICES)}")
    if choice.type in ("any", "tool") and not tools:
        raise wrong("tool_choice", "asks for a call, but `tools` lists no tool")
    if choice.type == "tool" and choice.name not in {tool.name for tool in tools}:
        raise wrong("tool_choice.name", "names a tool that `tools` does not list")


def _blocks(messages: list[Message]) -> Iterator[Block]:
    """All blocks, those in results of tools too."""
    for i, message in enumerate(messages):
        if isinstance(message.content, list):
            yield from message.content
            for j, block in enumerate(message.content):
                if block.type == "tool_result":
                    within = inside(block, f"messages[{i}].content[{j}]")
                    yield from within if isinstance(within, list) else ()


def _need(block: Block) -> str:
    if block.type == "image":
        return "vision"
    source = block.source
    is_file = block.type == "document" and isinstance(source, Source) and source.type in ("base64", "url")
    return "files" if is_file else ""


def wrong(place: str, what: str) -> BadRequest:
    """A mistake in a field."""
    return BadRequest(f"`{place}` {what}.", param=place, code="invalid_value")


def to_pass(body: bytes) -> dict[str, msgspec.Raw] | None:
    """The messages without thoughts that nobody signed, which Anthropic's own servers refuse; None where all may pass.

    A model that is none of Anthropic's cannot sign, and its thoughts come back with the next turn, which may be for
    another one.
    """
    if not _UNSIGNED.search(body):
        return None
    kept = []
    for raw in msgspec.json.decode(read_fields(body)["messages"], type=list[msgspec.Raw]):
        message = read_fields(bytes(raw))
        content = message.get("content")
        if content is not None and bytes(content).startswith(b"["):
            blocks = msgspec.json.decode(content, type=list[msgspec.Raw])
            signed = [block for block in blocks if not _is_unsigned(bytes(block))]
            if not signed and blocks:
                continue
            message["content"] = msgspec.Raw(msgspec.json.encode(signed))
        kept.append(message)
    return {"messages": msgspec.Raw(msgspec.json.encode(kept))}


def _is_unsigned(block: bytes) -> bool:
    return _UNSIGNED.search(block) is not None and bytes(read_fields(block).get("type", b"")) == b'"thinking"'


_UNSIGNED = re.compile(rb'"signature"\s*:\s*""')
