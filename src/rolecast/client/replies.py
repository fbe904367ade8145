"""JSON replies to results and errors. Knows no requests and no streams."""

import json
import math
import re
import uuid
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, NoReturn

from rolecast.client.errors import (
    LLMAuthError,
    LLMBadRequest,
    LLMClientError,
    LLMInvalidResponse,
    LLMNotFound,
    LLMRateLimit,
    LLMServerError,
    error_class,
)
from rolecast.client.results import ChatResult, CompletionResult, HealthResult, ModelInfo, ToolCall, Usage
from rolecast.speech import Offer, part

_ERROR_TYPES: dict[str, type[LLMClientError]] = {
    "invalid_request_error": LLMBadRequest,
    "authentication_error": LLMAuthError,
    "permission_error": LLMAuthError,
    "not_found_error": LLMNotFound,
    "rate_limit_error": LLMRateLimit,
}


def reply_object(status: int, headers: Mapping[str, str], body: bytes, place: str) -> dict[str, Any]:
    """The JSON object of a good reply. Raises the error that a bad one stands for, also behind a 200."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if status >= 300:
        raise _status_error(status, headers, data, place)
    if not isinstance(data, dict):
        invalid(f"{place} answered {status} with something that is not a JSON object.", headers, status)
    if data.get("error"):
        raise error_object(data["error"], headers, status)
    return data


def _status_error(status: int, headers: Mapping[str, str], data: Any, place: str) -> LLMClientError:
    data = data if isinstance(data, dict) else {}
    error = data.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    message = message or data.get("detail") or data.get("message")
    if status < 400:
        message = f"it redirects to {headers.get('location', 'another address')}; use that as base URL"
    if not isinstance(message, str):
        message = json.dumps(message) if message else "no reason given"
    return error_class(status)(
        f"{place} answered {status}: {message}",
        status=status,
        code=_code(error),
        request_id=headers.get("x-request-id"),
        retry_after_s=retry_after_s(headers.get("retry-after"), time()),
    )


def error_object(error: Any, headers: Mapping[str, str], status: int) -> LLMClientError:
    """The error that an `error` object inside a 200 reply stands for."""
    detail = error if isinstance(error, dict) else {"message": error}
    kind, number = str(detail.get("type")), str(detail.get("code"))
    chosen = _ERROR_TYPES.get(kind, LLMServerError)
    if re.fullmatch(r"[45]\d\d", number):
        chosen = error_class(int(number))
    message = f"The server reported an error: {detail.get('message') or 'no reason given'}"
    return chosen(message, status=status, code=_code(error), request_id=headers.get("x-request-id"))


def _code(error: Any) -> str | None:
    code = error.get("code") or error.get("type") if isinstance(error, dict) else None
    return None if code is None else str(code)


def retry_after_s(value: str | None, now_s: float) -> float | None:
    """Seconds named by a Retry-After header, as a number or as a date; None when it says nothing usable."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now_s
        except ValueError:
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def invalid(message: str, headers: Mapping[str, str], status: int | None = 200) -> NoReturn:
    raise LLMInvalidResponse(message, status=status, request_id=headers.get("x-request-id"))


def as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first_choice(data: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        invalid("The reply has no choices; is this an OpenAI-compatible server?", headers)
    return choices[0]


def read_chat(data: dict[str, Any], headers: Mapping[str, str], *, offered: frozenset[str]) -> ChatResult:
    """A chat reply as a result: thinking and control tokens out of the text, tool calls in one form."""
    choice = _first_choice(data, headers)
    message = choice.get("message")
    if not isinstance(message, dict):
        invalid("The reply's first choice has no message.", headers)
    calls = _tool_calls(message.get("tool_calls"))
    said = part(as_text(message.get("content")), Offer({} if calls else dict.fromkeys(offered, b"")))
    calls = calls or tuple(ToolCall(id=_new_call_id(), name=n, arguments=a) for n, a in said.calls)
    usage = as_object(data.get("usage"))
    cost = data.get("cost_usd", usage.get("cost_usd"))
    return ChatResult(
        role=as_word(message.get("role")) or "assistant",
        content=said.text,
        tool_calls=calls,
        reasoning_trace=as_text(message.get("reasoning_content") or message.get("reasoning")) or said.thoughts or None,
        usage=_usage(usage),
        response_id=as_word(data.get("id")),
        model=as_word(data.get("model")) or "",
        finish_reason=as_word(choice.get("finish_reason")),
        raw=data,
        cost_usd=float(cost) if isinstance(cost, int | float) else None,
        route={k[11:]: v for k, v in headers.items() if k.startswith("x-rolecast-")},
    )


def read_completion(data: dict[str, Any], headers: Mapping[str, str]) -> CompletionResult:
    """A completion reply as a result; the text is what the model wrote, untouched."""
    choice = _first_choice(data, headers)
    if not isinstance(choice.get("text"), str):
        invalid("The reply's first choice has no text.", headers)
    return CompletionResult(
        text=choice["text"],
        finish_reason=as_word(choice.get("finish_reason")),
        usage=_usage(as_object(data.get("usage"))),
        response_id=as_word(data.get("id")),
        model=as_word(data.get("model")) or "",
        raw=data,
    )


def read_embeddings(data: dict[str, Any], headers: Mapping[str, str], *, wanted: int) -> list[list[float]]:
    """The vectors, in the order of the texts."""
    rows = data.get("data")
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    rows.sort(key=lambda row: row["index"] if isinstance(row.get("index"), int) else 0)
    vectors = [row.get("embedding") for row in rows]
    if len(vectors) != wanted or not all(isinstance(vector, list) for vector in vectors):
        invalid(f"The reply has {len(vectors)} vectors where {wanted} were asked for.", headers)
    return [list(map(float, vector)) for vector in vectors if vector is not None]


def read_models(data: dict[str, Any], headers: Mapping[str, str]) -> list[ModelInfo]:
    """The model list."""
    rows = data.get("data")
    if not isinstance(rows, list):
        invalid("The reply has no model list.", headers)
    return [ModelInfo(id=str(row["id"]), raw=row) for row in rows if isinstance(row, dict) and "id" in row]


def read_health(data: dict[str, Any], headers: Mapping[str, str]) -> HealthResult:
    """What the server says about itself."""
    return HealthResult(status=as_word(data.get("status")) or "unknown", raw=data)


def arguments_json(arguments: Any) -> str:
    """Arguments as a JSON string, whether the model sent a string, an object or nothing."""
    if isinstance(arguments, str):
        return arguments
    return json.dumps({} if arguments is None else arguments, ensure_ascii=False)


def as_word(value: Any) -> str | None:
    return None if value is None else str(value)


def as_text(content: Any) -> str:
    """Text of a content field: text, a list of parts, or nothing."""
    if isinstance(content, list):
        return "".join(as_text(as_object(part).get("text")) for part in content)
    return content if isinstance(content, str) else ""


def _usage(usage: dict[str, Any]) -> Usage:
    def count(name: str, source: dict[str, Any] = usage) -> int:
        value = source.get(name)
        return value if isinstance(value, int) else 0

    prompt, completion = count("prompt_tokens"), count("completion_tokens")
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=count("total_tokens") or prompt + completion,
        cached_tokens=count("cached_tokens", as_object(usage.get("prompt_tokens_details"))),
    )


def _tool_calls(entries: Any) -> tuple[ToolCall, ...]:
    calls = []
    for entry in entries if isinstance(entries, list) else ():
        function = as_object(as_object(entry).get("function"))
        if name := as_word(function.get("name")):
            arguments = arguments_json(function.get("arguments")) or "{}"
            calls.append(ToolCall(id=as_word(entry.get("id")) or _new_call_id(), name=name, arguments=arguments))
    return tuple(calls)


def _new_call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"
