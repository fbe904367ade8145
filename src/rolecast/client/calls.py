"""Settings and arguments to HTTP requests that are ready to be carried.

All of it is pure; who carries a call, waits or tries again is not known here.
"""

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypedDict, TypeVar
from urllib.parse import urlsplit

import msgspec

from rolecast.client.errors import LLMBadRequest
from rolecast.client.replies import read_chat, read_completion, read_embeddings, read_health, read_models
from rolecast.client.results import ChatResult, CompletionResult, HealthResult, ModelInfo

DEFAULT_URL = "http://localhost:8000/v1"
URL_VARIABLES = ("LLM_BASE_URL", "AGENT_LLM_BASE_URL", "ROLECAST_URL")
"""Where the address may stand, first come first served; the second is what the Personal Agent reads."""
HEALTH_TIMEOUT_S = 5.0
T = TypeVar("T")
Message = Mapping[str, Any]

_VERSION_PART = re.compile(r"v\d\w*")


class Settings(TypedDict, total=False):
    """Options of a client besides its address."""

    api_key: str | None
    """Sent as a bearer token; without it ROLECAST_API_KEY, else none."""
    timeout_s: float | None
    """Longest silence of the server, in seconds; None = no limit."""
    max_retries: int
    headers: Mapping[str, str]
    """Sent with every request."""
    endpoints: Mapping[str, str]
    """Base URLs for single models or roles, by the name they are called by."""


class CallOptions(TypedDict, total=False):
    """Options that every call takes."""

    timeout_s: float | None
    max_retries: int | None
    trace_id: Any
    span_id: Any
    session_id: Any
    trace_ctx: Any
    """An object with `trace_id` and, when it has them, `span_id` or `parent_span_id`, and `session_id`."""
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: str | list[str] | None
    seed: int | None
    extra_body: Mapping[str, Any] | None
    """More fields of the request body; they win over the options."""


class AnswerOptions(CallOptions, total=False):
    """Options of a chat call. One that is None is not sent; an unknown one is sent as it is."""

    system_prompt: str | None
    tools: Sequence[Mapping[str, Any]] | None
    tool_choice: str | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    response_format: Mapping[str, Any] | None
    reasoning_effort: str | None
    previous_response_id: str | None
    """Accepted and not sent: every call carries its whole conversation."""


class ChatOptions(AnswerOptions, total=False):
    """Options of a chat call that does not say elsewhere who answers."""

    role: str | None
    """A role of the cast, instead of a model."""


class Call(msgspec.Struct, Generic[T], frozen=True):
    """One request, ready to be carried, and how to read what comes back."""

    method: str
    base: str
    url: str
    place: str
    """The base address for people, without credentials."""
    headers: dict[str, str]
    body: bytes | None
    timeout_s: float | None
    max_retries: int
    read: Callable[[dict[str, Any], Mapping[str, str]], T]


class Requests:
    """Turns arguments into calls, with one client's settings."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float | None = 120.0,
        max_retries: int = 3,
        headers: Mapping[str, str] | None = None,
        endpoints: Mapping[str, str] | None = None,
    ) -> None:
        from rolecast import __version__

        named = (os.environ.get(name) for name in URL_VARIABLES)
        self.base = api_base(base_url or next(filter(None, named), DEFAULT_URL))
        self.endpoints = {name: api_base(url) for name, url in (endpoints or {}).items()}
        self.timeout_s = timeout_s
        self.max_retries = max_retries
        self.headers = {"user-agent": f"rolecast-python/{__version__}", "accept": "*/*"}
        if key := (api_key if api_key is not None else os.environ.get("ROLECAST_API_KEY", "")).strip():
            self.headers["authorization"] = f"Bearer {_header_text('The API key', key)}"
        for name, value in (headers or {}).items():
            self.headers[name.lower()] = _header_text(name, value)

    def chat(
        self,
        messages: Sequence[Message],
        model: str | None,
        options: Mapping[str, Any],
        *,
        stream: bool = False,
    ) -> Call[ChatResult]:
        """`POST /chat/completions`; the system prompt goes first, tools imply `tool_choice: auto`."""
        fields = dict(options)
        fields.pop("previous_response_id", None)
        role = fields.pop("role", None)
        if role is not None and model is not None:
            raise LLMBadRequest(f"Both model={model!r} and role={role!r} were given; give one of them.")
        if isinstance(messages, str | bytes | Mapping):
            raise LLMBadRequest(
                'messages must be a list such as [{"role": "user", "content": "Hello"}], '
                f"not {type(messages).__name__}."
            )
        conversation = list(messages)
        if (system_prompt := fields.pop("system_prompt", None)) is not None:
            conversation.insert(0, {"role": "system", "content": system_prompt})
        tools = fields.pop("tools", None) or ()
        if tools:
            fields |= {"tools": list(tools), "tool_choice": fields.get("tool_choice") or "auto"}
        offered = frozenset(map(_tool_name, tools))
        body: dict[str, Any] = {"messages": conversation}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        elif fields.get("stream") or (fields.get("extra_body") or {}).get("stream"):
            raise LLMBadRequest("chat_completion() returns whole answers; use stream_chat() to stream.")
        return self._post("/chat/completions", role or model, body, fields, partial(read_chat, offered=offered))

    def completion(
        self, prompt: str | Sequence[str], model: str | None, options: Mapping[str, Any]
    ) -> Call[CompletionResult]:
        """`POST /completions`."""
        return self._post("/completions", model, {"prompt": prompt}, options, read_completion)

    def embeddings(
        self, texts: str | Sequence[str], model: str | None, options: Mapping[str, Any]
    ) -> Call[list[list[float]]]:
        """`POST /embeddings`."""
        wanted = 1 if isinstance(texts, str) else len(texts)
        body = {"input": texts if isinstance(texts, str) else list(texts)}
        return self._post("/embeddings", model, body, options, partial(read_embeddings, wanted=wanted))

    def models(self) -> Call[list[ModelInfo]]:
        """`GET /models`."""
        return self._call("GET", self.base, "/models", None, {}, read_models)

    def health(self) -> Call[HealthResult]:
        """`GET /health`, beside the versioned paths; one attempt, and a short one."""
        root, _, last = self.base.rpartition("/")
        root = root if _VERSION_PART.fullmatch(last) else self.base
        options = {"timeout_s": HEALTH_TIMEOUT_S, "max_retries": 0}
        call = self._call("GET", self.base, "/health", None, options, read_health)
        return msgspec.structs.replace(call, url=root + "/health")

    def _post(
        self,
        path: str,
        name: Any,
        body: dict[str, Any],
        options: Mapping[str, Any],
        read: Callable[[dict[str, Any], Mapping[str, str]], T],
    ) -> Call[T]:
        name = str(getattr(name, "value", name) or "auto")  # role names come as enum members, too
        body = {"model": name} | body | {k: v for k, v in options.items() if k not in _NOT_IN_BODY and v is not None}
        body |= options.get("extra_body") or {}
        try:
            content = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as problem:
            raise LLMBadRequest(
                f"The request cannot be written as JSON ({problem}); use dicts, lists, text and numbers."
            ) from problem
        return self._call("POST", self.endpoints.get(name, self.base), path, content, options, read)

    def _call(
        self,
        method: str,
        base: str,
        path: str,
        body: bytes | None,
        options: Mapping[str, Any],
        read: Callable[[dict[str, Any], Mapping[str, str]], T],
    ) -> Call[T]:
        timeout_s = options.get("timeout_s")
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        retries = options.get("max_retries")
        headers = self.headers | trace_headers(options)
        if body is not None:
            headers["content-type"] = "application/json"
        return Call(
            method=method,
            base=base,
            url=base + path,
            place=re.sub(r"//[^/]*@", "//", base),
            headers=headers,
            body=body,
            timeout_s=None if timeout_s is None or math.isinf(timeout_s) else timeout_s,
            max_retries=self.max_retries if retries is None else retries,
            read=read,
        )


_NOT_IN_BODY = frozenset({"timeout_s", "max_retries", "trace_id", "span_id", "session_id", "trace_ctx", "extra_body"})


def api_base(url: str) -> str:
    """The address with a scheme and a version part: `/v1` is added unless a part such as `/v1` is there."""
    full = url.strip()
    full = (full if "://" in full else f"http://{full}").rstrip("/")
    try:
        parts = urlsplit(full)
        usable = (
            parts.scheme in ("http", "https")
            and parts.hostname
            and parts.port != 0
            and not re.search(r"[\s\x00-\x1f]", full)
        )
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise LLMBadRequest(f"{url!r} is not a base URL; use one such as {DEFAULT_URL}.")
    versioned = any(_VERSION_PART.fullmatch(part) for part in parts.path.split("/"))
    return full if versioned else full + "/v1"


def trace_headers(options: Mapping[str, Any]) -> dict[str, str]:
    """X-Trace-Id, X-Span-Id and X-Session-Id from the options or from a trace context."""
    context = options.get("trace_ctx")
    span = getattr(context, "span_id", None) or getattr(context, "parent_span_id", None)
    ids = {
        "trace-id": options.get("trace_id") or getattr(context, "trace_id", None),
        "span-id": options.get("span_id") or span,
        "session-id": options.get("session_id") or getattr(context, "session_id", None),
    }
    return {f"x-{name}": _header_text(name, str(value)) for name, value in ids.items() if value}


def _header_text(name: str, value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise LLMBadRequest(f"{name} cannot be sent in a header; use printable ASCII characters only.")
    return value


def _tool_name(tool: Any) -> str:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    return str(function.get("name", "")) if isinstance(function, Mapping) else ""
