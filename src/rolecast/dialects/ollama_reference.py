"""What the reference says of Ollama's paths to models, and of prompts on ports with `surface: pas`."""

from typing import Any, Literal

import msgspec

from rolecast.dialects.ollama import Body
from rolecast.dialects.ollama_embed import EmbedBody
from rolecast.dialects.ollama_generate import Prompt
from rolecast.dialects.operation import LINES, MODEL_ERRORS, Operation, Reference

TAG = "Ollama"


class Error(msgspec.Struct):
    """The error of Ollama's paths, in a stream its last line."""

    error: str


class Answer(msgspec.Struct):
    """What both kinds of answer have. Durations in nanoseconds, at the end; of a stream each line is such an object."""

    model: str
    created_at: str
    done: bool
    done_reason: str | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None


class Said(msgspec.Struct):
    """A message, or a piece of one."""

    role: Literal["assistant"]
    content: str
    thinking: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class Chat(Answer, kw_only=True):
    """An answer to a chat. Durations in nanoseconds, at the end; of a stream each line is such an object."""

    message: Said


class Generated(Answer, kw_only=True):
    """An answer to a prompt. Durations in nanoseconds, at the end; of a stream each line is such an object."""

    response: str
    thinking: str | None = None
    context: list[int] | None = None


class TextBody(EmbedBody):
    """One text, in `prompt`."""


class Embeddings(msgspec.Struct):
    """Vectors in the order of the texts."""

    model: str
    embeddings: list[list[float]]
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0


class Embedded(msgspec.Struct):
    """One vector."""

    embedding: list[float]


FIELDS = {"format": str | dict[str, Any] | None}
PROMPT = Operation(
    "Answer a prompt",
    TAG,
    more="Lines of JSON unless `stream` is false. Without a prompt the model is loaded, or let go by `keep_alive` 0.",
    body=Prompt,
    fields=FIELDS,
    needs=("model",),
    example={"model": "auto", "prompt": "Say hi.", "stream": False},
    answer=Generated,
    streams=LINES,
    event=Generated,
    errors=MODEL_ERRORS,
)
_PATHS = {
    "/api/chat": Operation(
        "Answer a chat",
        TAG,
        more="Lines of JSON unless `stream` is false. Without `messages` the model is loaded, or let go by a "
        "`keep_alive` of 0.",
        body=Body,
        fields=FIELDS,
        needs=("model",),
        example={"model": "auto", "messages": [{"role": "user", "content": "Say hi."}], "stream": False},
        answer=Chat,
        streams=LINES,
        event=Chat,
        errors=MODEL_ERRORS,
    ),
    "/api/generate": PROMPT,
    "/api/embed": Operation(
        "Turn texts into vectors",
        TAG,
        more="An empty `input` loads the model.",
        body=EmbedBody,
        needs=("model", "input"),
        example={"model": "embeddings", "input": ["a text", "another"]},
        answer=Embeddings,
        errors=MODEL_ERRORS,
    ),
    "/api/embeddings": Operation(
        "Turn one text into a vector, as it was before",
        TAG,
        more="An empty `prompt` loads the model.",
        body=TextBody,
        needs=("model",),
        example={"model": "embeddings", "prompt": "a text"},
        answer=Embedded,
        errors=MODEL_ERRORS,
    ),
}
REFERENCE = Reference(_PATHS, Error)
