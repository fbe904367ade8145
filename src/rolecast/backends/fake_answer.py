"""What the fake model says: pure functions from a request and a script to an answer. Knows no HTTP.

One token is one word with the space before it. The same request always gets the same answer.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

DIMENSIONS = 32
DEEPEST_SCHEMA = 16


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of a script: which requests it is for, and what happens to them. Times in seconds."""

    match: str = ""
    """Regular expression searched in the last user text; empty matches all."""
    reply: str | None = None
    status: int = 200
    error: dict[str, Any] | None = None
    delay: float = 0.0
    token_delay: float = 0.0
    die_after: int | None = None
    """Tokens after which the worker kills itself; 0 = before the head of the answer."""
    hang: bool = False
    """Never answers."""
    raw: str | None = None
    """Sent as the whole body, whatever was asked for."""


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A script file; the first reply that matches counts."""

    replies: list[Reply] = []
    sleep: Literal["", "refuses", "hangs", "dies"] = ""
    """How it does not sleep: it `refuses` to, or does, and `hangs` or `dies` when it is woken."""

    def find(self, text: str) -> Reply:
        """The reply for that text; an empty one, which changes nothing, when none matches."""
        return next((r for r in self.replies if re.search(r.match, text)), Reply())


class Part(msgspec.Struct):
    type: str = "text"
    text: str = ""


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class Function(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class Tool(msgspec.Struct):
    function: Function


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Request(msgspec.Struct):
    """The fields of a chat, completion, embeddings or ranking request that change the answer; others are ignored."""

    messages: list[Message] = []
    prompt: str | list[str] = ""
    input: str | list[str | int | list[int]] = ""
    encoding_format: str | None = None
    query: str = ""
    documents: list[str] = []
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Tool] | None = None
    tool_choice: str | Tool | None = None
    response_format: dict[str, Any] | None = None


class ToolCall(msgspec.Struct, frozen=True):
    name: str
    arguments: str


class Answer(msgspec.Struct, frozen=True):
    """What is said. With a tool call, `tokens` are those of its arguments."""

    tokens: tuple[str, ...]
    finish: str
    prompt_tokens: int
    tool: ToolCall | None = None

    @property
    def text(self) -> str:
        return "".join(self.tokens)


def split(text: str) -> tuple[str, ...]:
    """Words with the white space in front of them; joined they are the text again."""
    return tuple(re.findall(r"\s*\S+|\s+$", text))


def last_text(request: Request) -> str:
    """What is answered to: the last message of the user, or the result of a tool after it."""
    return next((m.text for m in reversed(request.messages) if m.role in ("user", "tool")), "")


def words(request: Request) -> int:
    """The tokens of a chat."""
    return sum(len(m.text.split()) for m in request.messages)


def answer_chat(request: Request, reply: Reply) -> Answer:
    """The answer to a chat: a tool call, JSON, the script's reply, or `fake: ` and what was said."""
    words_asked = words(request)
    text = last_text(request)
    if reply.reply is None and (function := _called(request, text)):
        arguments = msgspec.json.encode(instance(function.parameters)).decode()
        return Answer(split(arguments), "tool_calls", words_asked, ToolCall(function.name, arguments))
    if reply.reply is None and (schema := _schema(request.response_format)) is not None:
        return _cut(msgspec.json.encode(instance(schema)).decode(), request, words_asked)
    return _cut(f"fake: {text}" if reply.reply is None else reply.reply, request, words_asked)


def answer_prompt(prompt: str, request: Request, reply: Reply) -> Answer:
    """The answer to one prompt of a completion request."""
    return _cut(f"fake: {prompt}" if reply.reply is None else reply.reply, request, len(prompt.split()))


def _cut(text: str, request: Request, prompt_tokens: int) -> Answer:
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    ends = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    tokens = split(text[: min(ends, default=len(text))])
    limits = (request.max_completion_tokens, request.max_tokens)
    limit = next((n for n in limits if n is not None and n >= 0), len(tokens))
    return Answer(tokens[:limit], "length" if limit < len(tokens) else "stop", prompt_tokens)


def _called(request: Request, text: str) -> Function | None:
    if not request.tools or request.tool_choice == "none":
        return None
    functions = {tool.function.name: tool.function for tool in request.tools}
    if isinstance(request.tool_choice, Tool):
        return functions.get(request.tool_choice.function.name)
    asked = text.startswith("call ") and request.messages[-1].role == "user"
    return request.tools[0].function if asked or request.tool_choice == "required" else None


def _schema(response_format: Mapping[str, Any] | None) -> dict[str, Any] | None:
    match response_format:
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
        case {"type": "json_object", "schema": dict(schema)}:
            return schema
        case {"type": "json_object"}:
            return {"type": "object", "properties": {"answer": {"const": "fake"}}, "required": ["answer"]}
    return None


def instance(schema: Any, root: Mapping[str, Any] | None = None, depth: int = 0) -> Any:
    """A smallest value that fits a JSON schema: required properties only, first of each choice."""
    if not isinstance(schema, dict) or depth > DEEPEST_SCHEMA:
        return None
    root = schema if root is None else root
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if "$ref" in schema:
        return instance(_resolve(schema["$ref"], root), root, depth + 1)
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return instance(schema[choice][0], root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "null")
    return _of_type(kind[0] if isinstance(kind, list) else kind, schema, root, depth)


def _of_type(kind: str, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: instance(properties.get(name), root, depth + 1) for name in schema.get("required", [])}
    if kind == "array":
        return [instance(schema.get("items"), root, depth + 1)] * int(schema.get("minItems", 0))
    if kind == "string":
        return "x" * int(schema.get("minLength", 0))
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    return False if kind == "boolean" else None


def _resolve(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for name in reference.split("/")[1:]:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def texts_to_embed(request: Request) -> list[str]:
    """The inputs of an embeddings request as texts; token lists count as the text of their numbers."""
    given = request.input
    if isinstance(given, str):
        return [given]
    texts = [item if isinstance(item, str) else msgspec.json.encode(item).decode() for item in given]
    return [" ".join(texts)] if given and isinstance(given[0], int) else texts


def embed(text: str) -> list[float]:
    """A unit vector of `DIMENSIONS` numbers that depends on the text alone."""
    digest = hashlib.blake2b(text.encode(), digest_size=2 * DIMENSIONS).digest()
    raw = [int.from_bytes(digest[i : i + 2], "little") - 32767.5 for i in range(0, len(digest), 2)]
    length = math.sqrt(sum(x * x for x in raw))
    return [x / length for x in raw]


def score(query: str, document: str) -> float:
    """How much of the query's words are in the document, from 0 to 1."""
    asked = set(query.lower().split())
    return len(asked & set(document.lower().split())) / len(asked) if asked else 0.0
