"""What the reference says of rankings, of TEI's vectors, and of sound and pictures."""

from typing import Any

import msgspec

from rolecast.dialects.openai_media import MediaBody
from rolecast.dialects.openai_reference import TAG, Error
from rolecast.dialects.operation import EVENTS, JSON, MODEL_ERRORS, Operation, Reference
from rolecast.dialects.rerank import SPELLINGS, RerankBody
from rolecast.dialects.vectors import EmbedBody

FORM = "multipart/form-data"
NOT_OFFERED = 501
ELSEWHERE = "The request goes as it is to a model that says it can; without one the answer is 501."


class Form(msgspec.Struct):
    """A form; all but `model` goes on unread."""

    file: str = ""
    image: str = ""
    prompt: str = ""
    model: str = ""


class Ranked(msgspec.Struct):
    """A document and how well it answers the query, from 0 to 1."""

    index: int
    relevance_score: float
    document: dict[str, str] | None = None


class RankedText(msgspec.Struct):
    """The same as TEI has it."""

    index: int
    score: float
    text: str | None = None


class Ranking(msgspec.Struct):
    """The best first."""

    id: str
    object: str
    model: str
    results: list[Ranked]
    usage: dict[str, int]


class Vectors(msgspec.Struct):
    """For `texts`."""

    embeddings: list[list[float]]
    model: str


def _elsewhere(says: str, body: Any, takes: tuple[str, ...], needs: tuple[str, ...] = ()) -> Operation:
    """The types of the answer are the server's own, so nothing is promised of them."""
    return Operation(
        says,
        TAG,
        more=ELSEWHERE,
        body=body,
        takes=takes,
        needs=needs,
        answer=Any,
        streams=EVENTS,
        errors=(*MODEL_ERRORS, NOT_OFFERED),
    )


_RANKING = Operation(
    "Put documents in the order in which they answer a query",
    TAG,
    more="`documents` as Jina, Cohere and llama.cpp have them; with `texts` the answer is TEI's list.",
    body=RerankBody,
    needs=("query",),
    example={"model": "rerank", "query": "a question", "documents": ["one answer", "another"]},
    answer=Ranking | list[RankedText],
    errors=MODEL_ERRORS,
)
_EMBED = Operation(
    "Turn texts into vectors, as TEI has it",
    TAG,
    body=EmbedBody,
    example={"model": "embeddings", "inputs": ["a text", "another"]},
    answer=list[list[float]] | Vectors,
    errors=MODEL_ERRORS,
)
_MEDIA = {
    "/audio/transcriptions": _elsewhere("Write down what is spoken", Form, (FORM,)),
    "/audio/translations": _elsewhere("Write down in English what is spoken", Form, (FORM,)),
    "/audio/speech": _elsewhere("Speak a text", MediaBody, (JSON,)),
    "/images/generations": _elsewhere("Make a picture", MediaBody, (JSON,)),
    "/images/edits": _elsewhere("Change a picture", Form, (FORM, JSON)),
    "/images/variations": _elsewhere("Make a picture like another", Form, (FORM,)),
}
_PATHS = {prefix + path: operation for prefix in ("/v1", "") for path, operation in _MEDIA.items()}
REFERENCE = Reference({**dict.fromkeys(SPELLINGS, _RANKING), "/embed": _EMBED, **_PATHS}, Error)
