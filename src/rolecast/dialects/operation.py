"""What the reference says of one method of one path: the words, the types of its bodies, the statuses it may answer.

Who serves a path declares it beside what serves it: a dialect in its `reference`, a page by `told` on the function
that answers. Knows no OpenAPI: `pages/openapi_document.py` writes that.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar

import msgspec

JSON = "application/json"
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
TEXT = "text/plain"
PAGE = "text/html"
BYTES = "application/octet-stream"

F = TypeVar("F", bound=Callable[..., Any])
Shape = Any
"""A type that msgspec knows, or where one is, as `module:Name`: that is only imported once somebody reads of it."""


class Query(msgspec.Struct, frozen=True):
    """A parameter of a query."""

    name: str
    kind: Shape = str
    says: str = ""


class Operation(msgspec.Struct, frozen=True):
    """One method of one path."""

    says: str
    """What it does, in a few words."""
    tag: str
    more: str = ""
    """What else there is to know, in sentences. Markdown."""
    body: Shape = None
    fields: Mapping[str, Shape] = {}
    """Types of fields that are read as raw JSON."""
    needs: Sequence[str] = ()
    """Fields of the body that must be there although its type can do without."""
    example: Mapping[str, Any] | None = None
    """A body that works."""
    optional: bool = False
    """The body may be left out."""
    takes: Sequence[str] = (JSON,)
    """Media types of the body."""
    answer: Shape = None
    media: str = JSON
    """Of the answer."""
    streams: str = ""
    """The media type of an answer that comes in pieces; empty = none does."""
    event: Shape = None
    """One piece of it."""
    lines: Shape = None
    """One line of an answer in lines of JSON, where a path has that besides another kind of stream."""
    ends: str = ""
    """The data of the event after the last piece, where that is no piece."""
    leads: str = ""
    """The path at which what was made is found, by the `id` of the answer."""
    statuses: Sequence[int] = (200,)
    """When it went well."""
    others: Mapping[int, Shape] = {}
    """Answers that are no error of the dialect, by status."""
    errors: Sequence[int] = ()
    """Besides those that any request may get."""
    query: Sequence[Query] = ()


class Reference(msgspec.Struct, frozen=True):
    """What a dialect says of itself."""

    operations: Mapping[str, Operation] = {}
    """By path."""
    error: Shape = None
    """The body of an error; None = nothing is said of it."""


MODEL_ERRORS = (404, 409, 422, 429, 500, 502, 503, 504, 508)
"""What may become of a request to a model, besides what may become of any."""


def told(says: str, tag: str, **more: Any) -> Callable[[F], F]:
    """Declares what a function answers that a route leads to; `more` are other fields of an `Operation`."""
    operation = Operation(says, tag, **more)

    def declare(answers: F) -> F:
        answers.operation = operation  # type: ignore[attr-defined]
        return answers

    return declare


def told_in(place: str) -> Callable[[F], F]:
    """The same, declared elsewhere, as `module:NAME`: it is only read with the reference."""

    def declare(answers: F) -> F:
        answers.operation = place  # type: ignore[attr-defined]
        return answers

    return declare


def declared(answers: Any) -> Operation | None:
    """What was declared of a function, if anything was."""
    found = resolved(getattr(answers, "operation", None))
    return found if isinstance(found, Operation) else None


def resolved(shape: Shape) -> Any:
    """The type itself."""
    if not isinstance(shape, str):
        return shape
    module, _, name = shape.partition(":")
    return getattr(import_module(module), name)
