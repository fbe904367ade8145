"""What the Python client returns. No network, no wire format, no knowledge of the gateway's inside."""

from collections.abc import Iterator
from typing import Any

import msgspec


class _Record(msgspec.Struct, frozen=True):
    """A result read by attribute, or by key as callers of dictionary-shaped clients do."""

    def __getitem__(self, key: str) -> Any:
        if key not in self.__struct_fields__:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self.__struct_fields__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__struct_fields__)

    def keys(self) -> tuple[str, ...]:
        """Names of the fields; makes `dict(result)` work."""
        return self.__struct_fields__

    def get(self, key: str, default: Any = None) -> Any:
        """The field, or `default` when there is no such field or it is None."""
        value = getattr(self, key, None) if key in self.__struct_fields__ else None
        return default if value is None else value


class ToolCall(_Record, frozen=True):
    """A function the model wants called; `arguments` is a JSON string."""

    id: str
    name: str
    arguments: str


class Usage(_Record, frozen=True):
    """Tokens of one call, as the server counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0


class ChatResult(_Record, frozen=True):
    """One answer. `content` is clean text; thinking is in `reasoning_trace`; `raw` is the whole reply."""

    role: str = "assistant"
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning_trace: str | None = None
    usage: Usage = Usage()
    response_id: str | None = None
    model: str = ""
    finish_reason: str | None = None
    raw: dict[str, Any] = {}
    cost_usd: float | None = None
    route: dict[str, str] = {}
    """How the gateway chose: its `x-rolecast-*` reply headers, names without the prefix."""

    def message(self) -> dict[str, Any]:
        """This answer as an entry of the next call's `messages`."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in self.tool_calls
            ]
        return message


class ToolCallDelta(_Record, frozen=True):
    """A piece of a tool call: pieces with the same `index` belong together, `arguments` are joined."""

    index: int = 0
    id: str = ""
    name: str = ""
    arguments: str = ""


class Delta(_Record, frozen=True):
    """One step of a streamed answer; most steps carry only `content`."""

    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish_reason: str | None = None


class CompletionResult(_Record, frozen=True):
    """The text that continues a prompt."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage = Usage()
    response_id: str | None = None
    model: str = ""
    raw: dict[str, Any] = {}


class ModelInfo(_Record, frozen=True):
    """One entry of the model list; `raw` has what the server says about it."""

    id: str
    raw: dict[str, Any] = {}


class HealthResult(_Record, frozen=True):
    """What the server says about itself; `status` is its own word, such as `healthy` or `ok`."""

    status: str
    raw: dict[str, Any] = {}
