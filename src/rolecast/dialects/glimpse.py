"""What can be read of a body whose dialect cannot say it in words: texts, pictures and calls, and nothing is judged.

For routing alone. A request that passes as it is may hold what only its own kind of server understands; who answers
it is decided by the rest. OpenAI's chats and Anthropic's are alike enough for one reader; so are completions.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from rolecast.dialects.openai_body import prompts_in
from rolecast.dialects.openai_chat import PARTS
from rolecast.errors import UNREADABLE, RolecastError
from rolecast.values import Chat, Completion, Message, Part, Sampling, Tool, ToolCall

_KINDS = {"vision": "image", "audio": "audio", "video": "video", "files": "file"}
_LENGTH = ("max_completion_tokens", "max_tokens", "n_predict")


class _Completion(msgspec.Struct):
    prompt: msgspec.Raw = msgspec.Raw(b'""')
    suffix: str | None = None
    max_tokens: int | None = None
    n_predict: int | None = None
    response_format: Any = None
    json_schema: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Completion).decode


def completion(body: bytes) -> Completion | None:
    """The longest of the prompts of a body; None for what is unreadable."""
    try:
        fields = _decode(body)
        prompts = prompts_in(fields.prompt, "prompt")
    except (RolecastError, *UNREADABLE):
        return None
    form = fields.response_format
    wants = bool(fields.json_schema) or (isinstance(form, dict) and form.get("type") not in (None, "text"))
    return Completion(
        "",
        max(prompts, key=len),
        suffix=fields.suffix or "",
        answer_schema=msgspec.Raw(b"{}") if wants else None,
        sampling=Sampling(max_tokens=fields.max_tokens if fields.max_tokens is not None else fields.n_predict),
    )


def chat(body: bytes) -> Chat | None:
    """The chat as far as it can be read; None for what is none."""
    try:
        fields = msgspec.json.decode(body)
    except UNREADABLE:
        return None
    if not isinstance(fields, dict):
        return None
    messages = [Message("system", _content(fields["system"]))] if fields.get("system") else []
    for each in _list(fields.get("messages")):
        if isinstance(each, dict):
            messages += _messages(each)
    form, output = fields.get("response_format"), fields.get("output_config")
    wants = isinstance(form, dict) and form.get("type") not in (None, "text")
    wants = wants or (isinstance(output, dict) and bool(output.get("format")))
    most = next((fields[name] for name in _LENGTH if isinstance(fields.get(name), int)), None)
    return Chat(
        model="",
        messages=tuple(messages),
        tools=tuple(_tool(each) for each in _list(fields.get("tools"))),
        answer_schema=msgspec.Raw(b"{}") if wants else None,
        sampling=Sampling(max_tokens=most),
    )


def _messages(fields: Mapping[str, Any]) -> list[Message]:
    """A message, with results of tools in front of it as messages of their own."""
    blocks = [block for block in _list(fields.get("content")) if isinstance(block, dict)]
    results = [block for block in blocks if block.get("type") == "tool_result"]
    rest = _content(fields.get("content"))
    calls = [_call(each) for each in (*_list(fields.get("tool_calls")), *blocks) if _calls(each)]
    said = Message(str(fields.get("role", "")), rest, tool_calls=tuple(calls))
    found = [Message("tool", _content(block.get("content")), tool_call_id="?") for block in results]
    return [*found, said] if rest or calls or not results else found


def _calls(fields: Any) -> bool:
    return isinstance(fields, dict) and fields.get("type") in ("tool_use", "function", "custom")


def _call(fields: Mapping[str, Any]) -> ToolCall:
    function = fields.get("function")
    function = function if isinstance(function, dict) else fields
    return ToolCall("?", str(function.get("name", "")), str(function.get("arguments", function.get("input", ""))))


def _content(given: Any) -> str | tuple[Part, ...]:
    """A text, or the parts of it that are known."""
    if isinstance(given, str):
        return given
    parts = []
    for each in _list(given):
        kind = each.get("type") if isinstance(each, dict) else None
        if not isinstance(kind, str):
            continue
        if isinstance(each.get("text"), str):
            parts.append(Part("text", text=each["text"]))
        elif kind in PARTS or kind == "document":
            parts.append(Part(_KINDS[PARTS.get(kind, "files")]))  # type: ignore[arg-type]
    return tuple(parts)


def _tool(fields: Any) -> Tool:
    return Tool("", parameters=msgspec.Raw(msgspec.json.encode(fields)))


def _list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else []
