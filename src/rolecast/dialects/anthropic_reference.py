"""What the reference says of Anthropic's Messages."""

from typing import Any, Literal

import msgspec

from rolecast.dialects.anthropic_body import Body
from rolecast.dialects.operation import EVENTS, MODEL_ERRORS, Operation, Reference

TAG = "Anthropic"


class ErrorObject(msgspec.Struct):
    """What went wrong, and what to do."""

    type: str
    message: str


class Error(msgspec.Struct):
    """The error of Anthropic's paths."""

    type: Literal["error"]
    error: ErrorObject
    request_id: str | None


class Answer(msgspec.Struct):
    """A message of the model's: blocks of text, thinking and calls."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: str | None
    usage: dict[str, Any]
    stop_sequence: str | None = None


class StreamEvent(msgspec.Struct):
    """The data of one event: `message_start`, `ping`, `content_block_start`, `content_block_delta` ..."""

    type: str


class CountBody(Body):
    """A message that is not sent yet."""


class Count(msgspec.Struct):
    """What the message would be charged with."""

    input_tokens: int


EXAMPLE = {"model": "auto", "max_tokens": 100, "messages": [{"role": "user", "content": "Say hi."}]}
_MESSAGES = Operation(
    "Answer a message",
    TAG,
    more="A model with `backend: anthropic` gets the body as it is; for others it is said in their own words.",
    body=Body,
    needs=("messages", "max_tokens"),
    example=EXAMPLE,
    answer=Answer,
    streams=EVENTS,
    event=StreamEvent,
    errors=MODEL_ERRORS,
)
COUNT = Operation(
    "Count the tokens of a message",
    TAG,
    body=CountBody,
    needs=("messages",),
    example=EXAMPLE,
    answer=Count,
    errors=MODEL_ERRORS,
)
REFERENCE = Reference({"/v1/messages": _MESSAGES, "/messages": _MESSAGES}, Error)
