"""What the reference says of OpenAI's Responses, and of what is kept of them."""

from typing import Annotated, Any, Literal

import msgspec

from rolecast.dialects import openai_reference
from rolecast.dialects.operation import EVENTS, MODEL_ERRORS, Operation, Query, Reference
from rolecast.dialects.responses_body import Body
from rolecast.dialects.responses_items import Item

TAG = "OpenAI Responses"
PLACE = "/v1/responses/{id}"
INPUT = {"input": str | list[Item] | None}
EXAMPLE = {"model": "auto", "input": "Say hi.", "max_output_tokens": 100}


class Answer(msgspec.Struct):
    """A response: items of the types `message`, `reasoning` and `function_call`, and the settings it was made with."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete", "failed", "in_progress"]
    model: str
    output: list[dict[str, Any]]
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    usage: dict[str, Any] | None
    metadata: dict[str, str]
    previous_response_id: str | None = None
    store: bool = True


class StreamEvent(msgspec.Struct):
    """The data of one event: `response.created`, `response.output_text.delta` ... `response.completed`."""

    type: str
    sequence_number: int


class Deleted(msgspec.Struct):
    """What was forgotten."""

    id: str
    object: Literal["response"]
    deleted: bool


class Items(msgspec.Struct):
    """What was asked for an answer, a page of it."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool


class Count(msgspec.Struct):
    """What the answer would be charged with."""

    object: Literal["response.input_tokens"]
    input_tokens: int


_RESPONSES = Operation(
    "Answer, and keep the answer",
    TAG,
    more="Unless `store` is false, the answer and what was asked are kept for `previous_response_id`.",
    body=Body,
    fields=INPUT,
    example=EXAMPLE,
    answer=Answer,
    streams=EVENTS,
    event=StreamEvent,
    leads=PLACE,
    errors=MODEL_ERRORS,
)
COUNT = Operation(
    "Count the tokens of a request",
    TAG,
    body=Body,
    fields=INPUT,
    example=EXAMPLE,
    answer=Count,
    errors=MODEL_ERRORS,
)
_KEPT = (404,)
SHOW = Operation("A kept answer", TAG, answer=Answer, query=(Query("stream", Literal["false"]),), errors=_KEPT)
DELETE = Operation("Forget an answer", TAG, answer=Deleted, errors=_KEPT)
ITEMS = Operation(
    "What was asked for an answer",
    TAG,
    answer=Items,
    query=(
        Query("limit", Annotated[int, msgspec.Meta(ge=1, le=100)]),
        Query("order", Literal["asc", "desc"]),
        Query("after", says="the id of an item of this list"),
    ),
    errors=_KEPT,
)
CANCEL = Operation(
    "Not possible here",
    TAG,
    more="Nothing runs in the background; hanging up ends an answer.",
    statuses=(),
    errors=_KEPT,
)
COMPACT = Operation("Not here", TAG, more="Conversations are not compacted.", statuses=(), errors=(404,))
REFERENCE = Reference({"/v1/responses": _RESPONSES, "/responses": _RESPONSES}, openai_reference.Error)
