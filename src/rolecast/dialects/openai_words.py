"""A chat of OpenAI's wire in words of no dialect, for a worker that speaks another, or a task that changes it.

The body was judged before (`openai`, `openai_chat`). What the words do not have stays among the extra fields, in the
bytes it was written in.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from rolecast.dialects.request import read_fields
from rolecast.errors import BadRequest
from rolecast.values import Chat, Message, Part, Sampling, Tool, ToolCall

_MEDIA = {"image_url": "image", "audio_url": "audio", "video_url": "video"}
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty")
_SAID = frozenset(
    {*_SAMPLING, "model", "messages", "session_id", "stream", "stream_options", "tools", "tool_choice", "stop", "n"}
)
_LENGTH = ("max_completion_tokens", "max_tokens", "n_predict")
_PENALTY = ("repetition_penalty", "repeat_penalty")


def chat(body: bytes) -> Chat:
    """The chat in this body. Raises BadRequest for what cannot be said in such words."""
    raw = read_fields(body)
    fields: dict[str, Any] = {name: msgspec.json.decode(value) for name, value in raw.items() if name in _SAID}
    if (fields.get("n") or 1) != 1:
        raise BadRequest("`n` must be 1 with this model: it gives one answer at a time.", param="n")
    choice, named = _choice(fields.get("tool_choice"))
    extra: dict[str, Any] = {k: v for k, v in raw.items() if k not in _SAID}
    for name in ("response_format", *_LENGTH, *_PENALTY, "extra_body"):
        extra.pop(name, None)
    if (budget := msgspec.json.decode(extra.pop("thinking_budget", b"null"))) is not None:
        extra["thinking_budget_tokens"] = budget
    if "chat_template_kwargs" in extra:
        extra["chat_template_kwargs"] = msgspec.json.decode(extra["chat_template_kwargs"])
    return Chat(
        model=fields.get("model") or "",
        messages=tuple(_message(each) for each in fields["messages"]),
        stream=fields.get("stream") is True,
        tools=tuple(_tool(each) for each in _raw_list(raw.get("tools"))),
        tool_choice=choice,
        tool_named=named,
        answer_schema=_schema(raw),
        think=_think(extra.pop("reasoning_effort", None)),
        sampling=_sampling(fields, raw),
        extra=extra,
    )


def _message(fields: Mapping[str, Any]) -> Message:
    content = fields.get("content")
    return Message(
        role=fields["role"],
        content=tuple(_part(each) for each in content) if isinstance(content, list) else content or "",
        reasoning=fields.get("reasoning_content") or fields.get("reasoning") or "",
        tool_calls=tuple(_call(each) for each in fields.get("tool_calls") or ()),
        tool_call_id=fields.get("tool_call_id") or "",
        name=fields.get("name") or "",
    )


def _part(fields: Mapping[str, Any]) -> Part:
    kind = fields["type"]
    if kind == "text":
        return Part("text", text=fields["text"])
    if kind in _MEDIA:
        given = fields.get(kind)
        return Part(_MEDIA[kind], data=given.get("url", "") if isinstance(given, dict) else str(given or ""))  # type: ignore[arg-type]
    if kind == "input_audio" and isinstance(given := fields.get(kind), dict):
        return Part("audio", data=f"data:audio/{given.get('format', 'wav')};base64,{given.get('data', '')}")
    if kind == "file" and isinstance(given := fields.get(kind), dict):
        return Part("file", data=str(given.get("file_data") or ""), name=str(given.get("filename") or ""))
    raise BadRequest(f"A part of type {kind[:64]!r} is not understood for this model.", param="messages")


def _call(fields: Mapping[str, Any]) -> ToolCall:
    function = fields.get("function") or {}
    arguments = function.get("arguments", "{}")
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return ToolCall(str(fields.get("id") or ""), str(function.get("name") or ""), text)


def _tool(raw: msgspec.Raw) -> Tool:
    function = read_fields(bytes(read_fields(bytes(raw)).get("function", msgspec.Raw(b"{}"))))
    name, description = (msgspec.json.decode(function.get(k, b'""')) or "" for k in ("name", "description"))
    return Tool(name, description, function.get("parameters", msgspec.Raw(b"{}")))


def _choice(given: Any) -> tuple[str, str]:
    """The choice of a tool as a word, and the one tool that is named."""
    if isinstance(given, str):
        return ("required" if given == "any" else given), ""
    if not isinstance(given, dict):
        return "", ""
    if given.get("type") == "allowed_tools":
        return str((given.get("allowed_tools") or {}).get("mode") or "auto"), ""
    return "required", str((given.get("function") or {}).get("name") or "")


def _schema(raw: Mapping[str, msgspec.Raw]) -> msgspec.Raw | None:
    given = msgspec.json.decode(raw["response_format"]) if "response_format" in raw else None
    if not isinstance(given, dict) or given.get("type") in (None, "text"):
        return None
    inside = given.get("json_schema") if isinstance(given.get("json_schema"), dict) else given
    return msgspec.Raw(msgspec.json.encode((inside or {}).get("schema") or {}))


def _think(raw: msgspec.Raw | None) -> bool | str | None:
    effort = msgspec.json.decode(raw) if raw is not None else None
    return False if effort == "none" else effort if isinstance(effort, str) else None


def _sampling(fields: Mapping[str, Any], raw: Mapping[str, msgspec.Raw]) -> Sampling:
    stop = fields.get("stop") or ()
    return Sampling(
        max_tokens=_first(raw, _LENGTH),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        repetition_penalty=_first(raw, _PENALTY),
        **{name: fields.get(name) for name in _SAMPLING},
    )


def _first(raw: Mapping[str, msgspec.Raw], names: tuple[str, ...]) -> Any:
    return next((value for n in names if n in raw and (value := msgspec.json.decode(raw[n])) is not None), None)


def _raw_list(raw: msgspec.Raw | None) -> list[msgspec.Raw]:
    return msgspec.json.decode(raw, type=list[msgspec.Raw] | None) or [] if raw is not None else []
