"""What the reference says of OpenAI's chats, completions and embeddings. Answers are an engine's own where it speaks
OpenAI's dialect, so only what clients rely on is promised of them."""

from typing import Any, Literal

import msgspec

from rolecast.dialects.openai import ChatBody
from rolecast.dialects.openai_completions import CompletionBody
from rolecast.dialects.openai_embeddings import EmbeddingsBody
from rolecast.dialects.operation import EVENTS, MODEL_ERRORS, Operation, Reference

TAG = "OpenAI"
DONE = "[DONE]"
TEXTS = str | list[str | int | list[int]]
"""A text, or texts or tokens; an engine may take more."""


class ErrorObject(msgspec.Struct):
    """What went wrong, and what to do."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(msgspec.Struct):
    """The error of OpenAI's paths, and of all that are no dialect's."""

    error: ErrorObject
    detail: str
    """The message once more."""


class Usage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int
    completion_tokens: int | None = None
    prompt_tokens_details: dict[str, Any] | None = None
    completion_tokens_details: dict[str, Any] | None = None


class Message(msgspec.Struct):
    role: str
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class Choice(msgspec.Struct):
    index: int
    message: Message
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class ChatCompletion(msgspec.Struct):
    choices: list[Choice]
    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    usage: Usage | None = None


class Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class ChunkChoice(msgspec.Struct):
    index: int
    delta: Delta
    finish_reason: str | None = None


class ChatChunk(msgspec.Struct):
    """The data of one event; after the last comes `[DONE]`."""

    choices: list[ChunkChoice]
    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    usage: Usage | None = None


class TextChoice(msgspec.Struct):
    text: str
    index: int
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class TextCompletion(msgspec.Struct):
    """Of a stream, each event is such an object; after the last comes `[DONE]`."""

    choices: list[TextChoice]
    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    usage: Usage | None = None


class Vector(msgspec.Struct):
    index: int
    embedding: list[float] | str
    """Numbers, or their bytes in base64."""
    object: str = "embedding"


class Vectors(msgspec.Struct):
    data: list[Vector]
    object: Literal["list"]
    model: str = ""
    usage: Usage | None = None


CHAT = Operation(
    "Answer a chat",
    TAG,
    more="`model` is a model, an alias, a role or a variant; `auto` or nothing is the default role. Fields that are "
    "not listed go to the model's engine as they are.",
    body=ChatBody,
    needs=("messages",),
    example={"model": "auto", "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 100},
    answer=ChatCompletion,
    streams=EVENTS,
    event=ChatChunk,
    ends=DONE,
    errors=MODEL_ERRORS,
)
_COMPLETION = Operation(
    "Go on with a text",
    TAG,
    body=CompletionBody,
    fields={"prompt": TEXTS},
    needs=("prompt",),
    example={"model": "auto", "prompt": "Once upon a time", "max_tokens": 100},
    answer=TextCompletion,
    streams=EVENTS,
    event=TextCompletion,
    ends=DONE,
    errors=MODEL_ERRORS,
)
_EMBEDDINGS = Operation(
    "Turn texts into vectors",
    TAG,
    body=EmbeddingsBody,
    fields={"input": TEXTS},
    needs=("input",),
    example={"model": "embeddings", "input": ["a text", "another"]},
    answer=Vectors,
    errors=MODEL_ERRORS,
)
REFERENCE = Reference(
    {
        prefix + path: operation
        for prefix in ("/v1", "")
        for path, operation in (
            ("/chat/completions", CHAT),
            ("/completions", _COMPLETION),
            ("/embeddings", _EMBEDDINGS),
        )
    },
    Error,
)
