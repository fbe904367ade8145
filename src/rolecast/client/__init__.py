"""Python client of the gateway and of any OpenAI-compatible server: `LLMClient` and `AsyncLLMClient`."""

from rolecast.client.clients import AsyncLLMClient, LLMClient
from rolecast.client.errors import (
    LLMAuthError,
    LLMBadRequest,
    LLMClientError,
    LLMConnectionError,
    LLMInvalidResponse,
    LLMNotFound,
    LLMRateLimit,
    LLMServerError,
    LLMTimeout,
)
from rolecast.client.results import (
    ChatResult,
    CompletionResult,
    Delta,
    HealthResult,
    ModelInfo,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from rolecast.client.transport import AsyncChatStream, ChatStream

__all__ = [
    "AsyncChatStream",
    "AsyncLLMClient",
    "ChatResult",
    "ChatStream",
    "CompletionResult",
    "Delta",
    "HealthResult",
    "LLMAuthError",
    "LLMBadRequest",
    "LLMClient",
    "LLMClientError",
    "LLMConnectionError",
    "LLMInvalidResponse",
    "LLMNotFound",
    "LLMRateLimit",
    "LLMServerError",
    "LLMTimeout",
    "ModelInfo",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
]
