"""Rankings: documents in the order in which they answer a query, as Jina, Cohere, llama.cpp and TEI have it.

No engine is asked for more than scores: sorting, cutting and giving documents back is done here, and scores are brought
to the range of 0 to 1, so that every model answers alike. Documents are never cut; one that is too long is an error.
"""

import math
from collections.abc import Mapping
from secrets import token_hex
from typing import Annotated, Any

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects import Read, Writer
from rolecast.dialects.openai import OpenAI
from rolecast.dialects.openai_body import Text, decoded
from rolecast.dialects.operation import Reference
from rolecast.dialects.request import Request
from rolecast.errors import BadRequest, Invalid
from rolecast.values import Event, Phases, Ranking, Report, Score, Usage

MOST_DOCUMENTS = 4096
"""An engine makes a task of each."""
SPELLINGS = ("/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking")


class Document(msgspec.Struct):
    text: str


class RerankBody(msgspec.Struct):
    model: Text | None = None
    query: str | None = None
    documents: list[str | Document] | None = None
    texts: list[str] | None = None
    """TEI's documents; its answer is a bare list."""
    top_n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    return_documents: bool | None = None
    return_text: bool | None = None
    """TEI's wish for its texts."""
    raw_scores: bool | None = None
    """TEI's wish for scores as the model gives them."""


_decode = msgspec.json.Decoder(RerankBody).decode


class Asked(Ranking, frozen=True):
    """A ranking, and what of it the client wants to see."""

    top_n: int = 0
    """So many of the best; 0 = all."""
    with_texts: bool = False
    raw: bool = False
    """Scores as the model gives them."""
    bare: bool = False
    """A list and nothing around it, as TEI answers."""


class Rerank(OpenAI):
    """Rankings, with OpenAI's errors."""

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """All that servers of this field have."""
        return dict.fromkeys(SPELLINGS, _read)

    def writer(self, request: Request, model: str) -> Writer:
        """Writes one object, or TEI's list."""
        assert isinstance(request.plain, Asked)
        return _Ranked(request.plain, model)

    def reference(self) -> Reference:
        """What its paths take and give."""
        from rolecast.dialects import openai_more_reference

        return openai_more_reference.REFERENCE


def _read(body: bytes) -> Request:
    fields = decoded(body, _decode)
    if not fields.query:
        raise Invalid("`query` is missing or empty: the text that the documents are to answer.", param="query")
    name = "documents" if fields.texts is None else "texts"
    given = fields.documents if fields.texts is None else fields.texts
    if not given:
        raise Invalid(f"`{name}` is missing or empty: a list of texts.", param=name)
    if len(given) > MOST_DOCUMENTS:
        text = f"`{name}` holds {len(given)} entries; {MOST_DOCUMENTS} are allowed in one request."
        raise BadRequest(f"{text} Send them in several.", param=name, code="invalid_value")
    asked = Asked(
        fields.model or "",
        fields.query,
        tuple(each if isinstance(each, str) else each.text for each in given),
        top_n=fields.top_n or 0,
        with_texts=bool(fields.return_documents or fields.return_text),
        raw=fields.raw_scores is True,
        bare=fields.texts is not None,
    )
    return Request("rerank", b"", asked.model, False, body, family="", plain=asked)


class _Ranked:
    """The documents with their scores, the best first."""

    content_type = b"application/json"

    def __init__(self, asked: Asked, model: str) -> None:
        self._asked = asked
        self._model = model
        self._scores: dict[int, float] = {}
        self._used = Usage()

    def write(self, event: Event) -> bytes:
        """Nothing before the end."""
        if isinstance(event, Score):
            if 0 <= event.index < len(self._asked.documents):
                self._scores[event.index] = event.score
        elif isinstance(event, Report):
            self._used = event.usage
        return b""

    def end(self, phases: Phases) -> bytes:
        """The whole answer."""
        best = sorted(self._scores, key=lambda index: (-self._scores[index], index))
        if self._asked.top_n:
            best = best[: self._asked.top_n]
        if self._asked.bare:
            return msgspec.json.encode([self._entry(index, "score") for index in best])
        tokens = self._used.prompt_tokens
        return msgspec.json.encode(
            {
                "id": f"rerank-{token_hex(12)}",
                "object": "list",
                "model": self._model,
                "results": [self._entry(index, "relevance_score") for index in best],
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    def _entry(self, index: int, name: str) -> dict[str, Any]:
        score = self._scores[index]
        as_it_is = self._asked.raw or not self._asked.logits
        entry: dict[str, Any] = {"index": index, name: score if as_it_is else _share(score)}
        if self._asked.with_texts:
            text = self._asked.documents[index]
            entry |= {"text": text} if self._asked.bare else {"document": {"text": text}}
        return entry


def _share(logit: float) -> float:
    """A logit as a number from 0 to 1."""
    if logit >= 0:
        return 1 / (1 + math.exp(-min(logit, 700.0)))
    power = math.exp(max(logit, -700.0))
    return power / (1 + power)
