"""A body whose dialect is told by its shape, for who asks about requests and sends none: which path it would go to.

Reads nothing of it but what tells the dialects apart.
"""

from collections.abc import Mapping

import msgspec

from rolecast.dialects import Dialect, Entry
from rolecast.dialects.request import Request, read_fields
from rolecast.errors import UNREADABLE, BadRequest, Invalid

MOST = 1000
"""Prompts of one body."""
OPENAI, ANTHROPIC, OLLAMA = b"/v1/chat/completions", b"/v1/messages", b"/api/chat"
RESPONSES, CONDUCTOR = b"/v1/responses", b"/conductor/generate"
Fields = dict[str, msgspec.Raw]
Hot = Mapping[bytes, Entry]
_OF_OLLAMA = ("options", "keep_alive", "format")
_OF_ANTHROPIC = (b'"tool_use"', b'"tool_result"', b'"input_schema"', b'"source"')
"""Types and keys that only Anthropic's blocks have; a text that holds such a word has its quotes escaped."""
SHAPES = '`messages`, `input`, or a `prompt`; or `prompts`, a list of texts, such as {"prompts":["Fix this loop: ..."]}'


def bodies(body: bytes) -> list[bytes] | None:
    """The bodies that `prompts` stands for, each with the other fields; None = it is one request. Raises BadRequest."""
    fields = read_fields(body)
    raw = fields.pop("prompts", None)
    if raw is None:
        return None
    try:
        prompts = msgspec.json.decode(raw, type=list[str])
    except UNREADABLE:
        raise Invalid("`prompts` must be a list of texts.", param="prompts") from None
    if not 1 <= len(prompts) <= MOST:
        raise Invalid(f"`prompts` must have 1 to {MOST} texts, not {len(prompts)}.", param="prompts")
    if other := next((name for name in ("prompt", "messages", "input") if name in fields), ""):
        raise Invalid(f"`prompts` and `{other}` exclude each other; send one of them.", param=other)
    return [msgspec.json.encode(_as_chat(fields, prompt)) for prompt in prompts]


def read(body: bytes, hot: Hot) -> tuple[Request, Dialect]:
    """The request that this body is, by the first path that takes its shape. Raises as that path does."""
    fields = read_fields(body)
    path = _path(fields)
    if path == OPENAI and "messages" not in fields:
        body = msgspec.json.encode(_as_chat(fields, _text(fields.pop("prompt"), "prompt")))
    entry = hot.get(path) or hot[OPENAI]
    return entry.read(body), entry.dialect


def _path(fields: Fields) -> bytes:
    if (messages := fields.get("messages")) is not None:
        if any(name in fields for name in _OF_OLLAMA) or b'"images"' in bytes(messages):
            return OLLAMA
        blocks = bytes(messages) + bytes(fields.get("tools", b""))
        return ANTHROPIC if "system" in fields or any(word in blocks for word in _OF_ANTHROPIC) else OPENAI
    if "input" in fields or "previous_response_id" in fields:
        return RESPONSES
    if "prompt" in fields:
        return OPENAI if bytes(fields.get("category", b"null")) == b"null" else CONDUCTOR
    raise BadRequest(f"What is to be routed is missing: send {SHAPES}.", param="messages", code="invalid_value")


def _as_chat(fields: Fields, prompt: str) -> dict[str, object]:
    """The other fields, and the prompt as a user's message behind the `system` there may be."""
    said = ("prompt", "system", "category")
    rest: dict[str, object] = {name: raw for name, raw in fields.items() if name not in said}
    messages = [{"role": "user", "content": prompt}]
    if "system" in fields:
        messages.insert(0, {"role": "system", "content": _text(fields["system"], "system")})
    return {**rest, "messages": messages}


def _text(raw: msgspec.Raw, field: str) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except UNREADABLE:
        raise Invalid(f"`{field}` must be a text.", param=field) from None
