"""The two clients: `AsyncLLMClient`, and `LLMClient`, which also serves code that does not know async.

Only names and arguments live here; calls are made in `calls`, carried by `transport`, read by `replies`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack, cast

from rolecast.client.calls import AnswerOptions, Call, CallOptions, ChatOptions, Message, Requests, Settings
from rolecast.client.results import ChatResult, CompletionResult, HealthResult, ModelInfo
from rolecast.client.transport import AsyncCarrier, AsyncChatStream, Carrier, ChatStream

T = TypeVar("T")


class AsyncLLMClient:
    """Client for one event loop; connections are kept and reused until `aclose`.

    `base_url`: else LLM_BASE_URL, AGENT_LLM_BASE_URL or ROLECAST_URL, else http://localhost:8000/v1.
    Every call raises a subclass of LLMClientError when it fails.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        **settings: Unpack[Settings],
    ) -> None:
        self._requests = Requests(base_url, **settings)
        self._carrier = AsyncCarrier(sleep)

    async def chat_completion(
        self, messages: Sequence[Message], model: str | None = None, **options: Unpack[ChatOptions]
    ) -> ChatResult:
        """The answer to a conversation. Without `model` and `role` the gateway chooses who answers."""
        return await self._carrier.send(self._requests.chat(messages, model, options))

    async def respond(self, role: str, messages: Sequence[Message], **options: Unpack[AnswerOptions]) -> ChatResult:
        """The answer of the model that plays `role`."""
        return await self._carrier.send(self._requests.chat(messages, role, options))

    def stream_chat(
        self, messages: Sequence[Message], model: str | None = None, **options: Unpack[ChatOptions]
    ) -> AsyncChatStream:
        """The answer piece by piece: iterate with `async for`, then read `result`."""
        return self._carrier.stream(self._requests.chat(messages, model, options, stream=True))

    async def completions(
        self, prompt: str | Sequence[str], model: str | None = None, **options: Unpack[CallOptions]
    ) -> CompletionResult:
        """The text that continues a prompt."""
        return await self._carrier.send(self._requests.completion(prompt, model, options))

    async def embeddings(
        self,
        input: str | Sequence[str],  # noqa: A002 - the API's name for it
        model: str | None = None,
        **options: Unpack[CallOptions],
    ) -> list[list[float]]:
        """One vector per text, in their order; a single text gives a list of one."""
        return await self._carrier.send(self._requests.embeddings(input, model, options))

    async def models(self) -> list[ModelInfo]:
        """The models, roles and aliases that can be asked for."""
        return await self._carrier.send(self._requests.models())

    async def health(self) -> HealthResult:
        """What the server says about itself; one attempt of at most 5 s."""
        return await self._carrier.send(self._requests.health())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._carrier.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class LLMClient:
    """Client whose calls return results, or, inside a running event loop, coroutines to be awaited.

    `client.chat_completion(...)` blocks and answers in plain code; in a coroutine the same call is written
    `await client.chat_completion(...)`, and `stream_chat` is iterated with `async for`. The annotations
    describe plain code. May be shared by threads; options and errors are those of AsyncLLMClient.
    Connections are reused in plain code; an awaited call opens its own and closes it, so that nothing
    outlives the loop.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        sleep: Callable[[float], object] = time.sleep,
        **settings: Unpack[Settings],
    ) -> None:
        self._requests = Requests(base_url, **settings)
        self._carrier = Carrier(sleep)

    def chat_completion(
        self, messages: Sequence[Message], model: str | None = None, **options: Unpack[ChatOptions]
    ) -> ChatResult:
        """The answer to a conversation. Without `model` and `role` the gateway chooses who answers."""
        return self._send(self._requests.chat(messages, model, options))

    def respond(self, role: str, messages: Sequence[Message], **options: Unpack[AnswerOptions]) -> ChatResult:
        """The answer of the model that plays `role`."""
        return self._send(self._requests.chat(messages, role, options))

    def stream_chat(
        self, messages: Sequence[Message], model: str | None = None, **options: Unpack[ChatOptions]
    ) -> ChatStream:
        """The answer piece by piece: iterate over it, then read `result`."""
        call = self._requests.chat(messages, model, options, stream=True)
        if _in_event_loop():
            return cast("ChatStream", AsyncCarrier().stream(call, close_after=True))
        return self._carrier.stream(call)

    def completions(
        self, prompt: str | Sequence[str], model: str | None = None, **options: Unpack[CallOptions]
    ) -> CompletionResult:
        """The text that continues a prompt."""
        return self._send(self._requests.completion(prompt, model, options))

    def embeddings(
        self,
        input: str | Sequence[str],  # noqa: A002 - the API's name for it
        model: str | None = None,
        **options: Unpack[CallOptions],
    ) -> list[list[float]]:
        """One vector per text, in their order; a single text gives a list of one."""
        return self._send(self._requests.embeddings(input, model, options))

    def models(self) -> list[ModelInfo]:
        """The models, roles and aliases that can be asked for."""
        return self._send(self._requests.models())

    def health(self) -> HealthResult:
        """What the server says about itself; one attempt of at most 5 s."""
        return self._send(self._requests.health())

    def close(self) -> None:
        """Close the connections."""
        self._carrier.close()

    async def aclose(self) -> None:
        """Close the connections, from a coroutine."""
        self._carrier.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, call: Call[T]) -> T:
        if _in_event_loop():
            return cast("T", _send_awaited(call))
        return self._carrier.send(call)


async def _send_awaited(call: Call[T]) -> T:
    carrier = AsyncCarrier()
    try:
        return await carrier.send(call)
    finally:
        await carrier.aclose()


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
