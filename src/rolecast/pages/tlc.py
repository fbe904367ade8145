"""The pages of the domain classifier (TLC): /classify_domain, /extract_tmd, /validate_domain, /taxonomies.

On the port of PAS's classifier as PAS has them, everywhere else below /v1/tlc. The learned model answers at once; with
`refine` a language model names the answer, and the confidence stays what the learned model gives that answer. Work of
more than one text is done in slices, so that requests to models do not wait for it.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.config.schema import Listener
from rolecast.dialects.openai_chat import explain, missing_field
from rolecast.dialects.operation import told
from rolecast.errors import UNREADABLE, BadRequest, Invalid
from rolecast.pages import tlc_shapes as shapes
from rolecast.pages.turns import Turn, Turns
from rolecast.routing import taxonomy
from rolecast.routing.taxonomy import INVALID, OTHER, Scheme
from rolecast.server.asgi import json_response
from rolecast.telemetry.metrics import Telemetry
from rolecast.turn.tlc import Refined, Refiner, Tlc

if TYPE_CHECKING:  # numpy comes with it
    from rolecast.routing.tlc import Classifier, Said

AGENT = "tlc_domain_classifier"
"""PAS's name of the classifier, and of its port."""
PATHS = ("/classify_domain", "/extract_tmd", "/validate_domain", "/taxonomies")
BELOW = "/v1/tlc"
TAG = "Domains"
PLACES = 4
"""Digits of a confidence."""
SIDE_BY_SIDE = 4
"""So many questions of one request are put to a language model at a time."""
VALID = 0.5
"""A text is of a domain that is so probable, or that stands for sure."""
_WORDS = {"scheme": taxonomy.NAMES, "method_hint": get_args(shapes.Method)}
"""Fields that are one of a few words."""
_HERE = "rolecast.pages.tlc_shapes"
_REFUSED = {422: f"{_HERE}:Refused"}
_QUERY = "What is the role of glucose in diabetes?"

T = TypeVar("T", bound=shapes.TlcBody)


class Mistaken(Invalid):
    """A wrong value; `detail` is a list, as those who check bodies by a schema write it."""

    def body(self) -> bytes:
        """The error, and where it is."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        detail = {"loc": ["body", *filter(None, [self.param])], "msg": self.message, "type": "value_error"}
        return msgspec.json.encode({"error": error, "detail": [detail]})


def serves(listener: Listener) -> bool:
    """Whether this port has the pages at the paths that PAS has them at."""
    return listener.surface == "pas" and listener.model is not None and listener.name == AGENT


class Domains:
    """Answers which domain a text belongs to, and what is asked in it."""

    def __init__(self, tlc: Tlc, refiner: Refiner, telemetry: Telemetry, turns: Turns) -> None:
        self._tlc = tlc
        self._turns = turns
        self._refiner = refiner
        self._telemetry = telemetry

    def routes(self, start: str = BELOW) -> list[Route]:
        answers = (self.classify, self.extract, self.validate, self.taxonomies)
        return [
            Route(f"{start}{path}", answer, methods=["GET" if path == PATHS[-1] else "POST"])
            for path, answer in zip(PATHS, answers, strict=True)
        ]

    @told(
        "Which domain a text belongs to",
        TAG,
        more="Give `query`, or `queries` for a list of answers. With `refine` a language model names the domain.",
        body=f"{_HERE}:ClassifyBody",
        example={"query": _QUERY, "top_k": 3},
        answer=f"{_HERE}:CLASSIFIED",
        others=_REFUSED,
        errors=(501,),
    )
    async def classify(self, request: Request) -> Response:
        """The likeliest domains, and the one that stands."""
        body = await _read(request, shapes.ClassifyBody)
        work = await self._work(request, body, refine=body.refine is True, tmd=False)
        return await work.answer(lambda query: work.classified(query, body.top_k or 3))

    @told(
        "Task, method and domain of a question",
        TAG,
        more="`tmd` has the seed's names in every scheme; the codes of `v1` and `v2` come beside it.",
        body=f"{_HERE}:ExtractBody",
        example={"query": _QUERY, "context_docs": ["Diabetes is a disorder of the metabolism."]},
        answer=f"{_HERE}:EXTRACTED",
        others=_REFUSED,
        errors=(501,),
    )
    async def extract(self, request: Request) -> Response:
        """What is to be done, how it is best looked for, and what it is about."""
        body = await _read(request, shapes.ExtractBody)
        work = await self._work(request, body, refine=body.refine is True, tmd=True)
        return await work.answer(lambda query: work.extracted(query, body.method_hint or ""))

    @told(
        "Whether a taxonomy has a domain, and a text is of it",
        TAG,
        more="Without a text only the name is looked up.",
        body=f"{_HERE}:ValidateBody",
        example={"query": _QUERY, "domain": "MEDICINE"},
        answer=f"{_HERE}:VALIDATED",
        others=_REFUSED,
        errors=(501,),
    )
    async def validate(self, request: Request) -> Response:
        """A name that is not in the taxonomy is an answer, not an error."""
        body = await _read(request, shapes.ValidateBody, needs_query=False)
        scheme = taxonomy.scheme(body.scheme or "seed")
        name, near = _named(body.domain, scheme)
        if body.query is None and body.queries is None:
            return json_response(
                shapes.Validated(name, name in scheme.domains, name in scheme.domains, did_you_mean=near)
            )
        work = await self._work(request, body, refine=False, tmd=False)
        return await work.answer(lambda query: work.validated(query, name, near))

    @told("The taxonomies", TAG, answer=f"{_HERE}:Taxonomies")
    async def taxonomies(self, request: Request) -> Response:
        """Names, codes, and where each domain of the seed's may go."""
        return json_response(shapes.Taxonomies([_shown(taxonomy.scheme(name)) for name in taxonomy.NAMES]))

    async def _work(self, request: Request, body: shapes.TlcBody, *, refine: bool, tmd: bool) -> "_Work":
        lane = request.app.state.lane
        self._telemetry.last_request[lane.name] = time.perf_counter()
        scheme = taxonomy.scheme(body.scheme or "seed")
        started = time.perf_counter()
        classifier = await self._tlc.classifier(scheme.name, tmd=tmd)
        work = _Work(classifier, scheme, body, started, partial(self._turns.one, request))
        await work.read_documents()
        if refine:
            if len(body.queries or ()) > shapes.MOST_REFINED:
                text = f"At most {shapes.MOST_REFINED} `queries` are put to a language model in one request."
                raise Mistaken(text, param="queries")
            hinted = isinstance(body, shapes.ExtractBody) and body.method_hint is not None
            choices = _choices(scheme, tmd=tmd, hinted=hinted)
            queue = asyncio.Semaphore(SIDE_BY_SIDE)
            caller = lane.beside(request.scope["headers"])

            async def ask(query: str) -> Refined:
                async with queue:
                    return await self._refiner.ask(caller, query, body.context_docs or (), choices)

            work.refined = await asyncio.gather(*map(ask, work.queries))
        return work


class _Work:
    """One request: its questions, and what all of them share."""

    def __init__(
        self, classifier: "Classifier", scheme: Scheme, body: shapes.TlcBody, started: float, turn: Turn
    ) -> None:
        self._turn = turn
        self._classifier = classifier
        self._scheme = scheme
        self._documents: dict[str, list[Mapping[str, float]]] = {}
        self._given = body.context_docs or []
        self._several = body.queries is not None
        self.queries = [body.query] if body.query is not None else body.queries or []
        self.refined: Sequence[Refined] = ()
        self._started = started
        self._began = started
        self._now: Refined | None = None

    async def read_documents(self) -> None:
        """What the documents say, once for all questions."""
        from rolecast.routing.tlc import DOCUMENTS

        for scheme in {taxonomy.scheme("seed").name, self._scheme.name}:
            found = self._documents.setdefault(scheme, [])
            for text in self._given[:DOCUMENTS]:
                async with self._turn():
                    if (odds := self._classifier.odds(text, taxonomy.scheme(scheme))) is not None:
                        found.append(odds)

    async def answer(self, of: Any) -> Response:
        """The answer to one question, or to each of several."""
        results = []
        for i, query in enumerate(self.queries):
            async with self._turn():
                self._now = self.refined[i] if self.refined else None
                self._began = time.perf_counter() if self._several else self._started
                results.append(of(query))
        if not self._several:
            return json_response(results[0])
        took = shapes.BatchMetadata(_ms(self._started))
        return json_response({"results": results, "count": len(results), "metadata": took})

    # -- one question ----------------------------------------------------------------------------------------

    def classified(self, query: str, top_k: int) -> shapes.Classified:
        """Its likeliest domains. The one that stands is among them, if need be as the last."""
        said = self._refined(self._domain(query, self._scheme), "domain")
        names = list(said.odds)[:top_k]
        if said.label not in names:
            names[-1] = said.label
        domains = [
            shapes.DomainConfidence(name, round(said.odds.get(name, 0.0), PLACES), self._code(name)) for name in names
        ]
        return shapes.Classified(query, domains, said.label, self._about(said, {"domain": said}))

    def extracted(self, query: str, hint: str) -> shapes.Extracted:
        """Its task, method and domain."""
        domain = self._refined(self._domain(query, taxonomy.scheme("seed")), "domain")
        task = self._refined(self._classifier.task(query), "task")
        method = self._classifier.method(query)
        method = replace(method, label=hint, confidence=1.0, sure=True) if hint else self._refined(method, "method")
        found = shapes.Extracted(
            query,
            shapes.Tmd(task.label, method.label, domain.label),
            shapes.TmdConfidence(_share(task), _share(method), _share(domain)),
            self._about(domain, {"task": task, "method": method, "domain": domain}),
        )
        if self._scheme.name != "seed":
            self._label(found, query)
        return found

    def validated(self, query: str, name: str, near: list[str]) -> shapes.Validated:
        """Whether it is of that domain."""
        said = self._domain(query, self._scheme)
        known = name in self._scheme.domains
        confidence = round(said.odds.get(name, 0.0), PLACES) if known else 0.0
        valid = known and ((said.sure and said.label == name) or confidence >= VALID)
        about = self._about(said, {"domain": said})
        return shapes.Validated(name, known, valid, query, confidence, said.label, near, about)

    def _domain(self, query: str, scheme: Scheme) -> "Said":
        return self._classifier.domain(query, scheme, self._documents[scheme.name])

    def _label(self, found: shapes.Extracted, query: str) -> None:
        """Add what the scheme calls it."""
        scheme = self._scheme
        domain = self._refined(self._domain(query, scheme), "label_domain")
        if scheme.bits is None:
            found.labels = shapes.TmdLabels(domain.label, {"domain": _share(domain)})
            found.domain_l0 = found.domain_path = domain.label
            found.domain_conf = _share(domain)
            return
        from rolecast.routing.tlc import code_of

        task = self._refined(self._classifier.task_in(query, scheme), "label_task")
        modifier = self._classifier.modifier(domain, task, scheme)
        shares = {"domain": _share(domain), "task": _share(task), "modifier": _share(modifier)}
        found.labels = shapes.TmdLabels(domain.label, shares, task.label, modifier.label)
        code = code_of(scheme, domain, task, modifier)
        packed = taxonomy.pack(code, scheme.bits) if code is not None else 0
        found.codes = shapes.TmdCodes(code.domain, code.task, code.modifier) if code is not None else None
        found.packed, found.bits, found.lane = packed, f"{packed:016b}", taxonomy.lane(packed)
        found.text = taxonomy.text_form(code) if code is not None else INVALID
        found.vector = [float(number) for number in taxonomy.vector(packed)]

    def _refined(self, said: "Said", field: str) -> "Said":
        """What a language model said instead, with the confidence that the learned model has in just that."""
        if self._now is None or field not in self._now.answers:
            return said
        label = self._now.answers[field]
        return replace(said, label=label, confidence=said.odds.get(label, 0.0), sure=label != OTHER)

    def _about(self, domain: "Said", each: "Mapping[str, Said]") -> shapes.TlcMetadata:
        from rolecast.routing.tlc import MODEL

        now = self._now
        refined = now is not None and bool(now.answers)
        return shapes.TlcMetadata(
            _ms(self._began),
            now.model if now is not None and refined else MODEL,
            now.text if now is not None and now.text else None,
            not domain.sure,
            self._scheme.name,  # type: ignore[arg-type]
            self._scheme.version,
            [name for name, said in each.items() if not said.sure],
            {name: next(iter(said.odds)) for name, said in each.items()} if refined else msgspec.UNSET,
            now.error if now is not None and now.error else msgspec.UNSET,
        )

    def _code(self, name: str) -> int | msgspec.UnsetType | None:
        if self._scheme.bits is None:
            return msgspec.UNSET
        return self._scheme.domains.index(name) if name in self._scheme.domains else None


async def _read(request: Request, kind: type[T], *, needs_query: bool = True) -> T:
    """The body. Raises BadRequest for what is no JSON, Mistaken for a wrong value."""
    try:
        body = msgspec.json.decode(await request.body(), type=kind)
    except msgspec.ValidationError as exc:
        raise _mistake(*explain(exc)) from None
    except UNREADABLE as exc:
        raise BadRequest(f'The body must be JSON such as {{"query":"{_QUERY}"}}: {exc}.', code="bad_json") from None
    if body.query is not None and body.queries is not None:
        raise Mistaken("Give `query` or `queries`, not both.", param="queries")
    if needs_query and body.query is None and body.queries is None:
        raise Mistaken("`query` is missing: give the text to classify, or several as `queries`.", param="query")
    return body


def _mistake(where: str, text: str) -> Mistaken:
    name, is_missing = missing_field(text)
    if is_missing and not where:
        return Mistaken(f"`{name}` is missing.", param=name)
    if where in _WORDS:  # what was sent instead may be of any length
        text = f"Expected one of {', '.join(_WORDS[where])}"
    return Mistaken(f"`{where}`: {text}." if where else f"{text}.", param=where or None)


def _choices(scheme: Scheme, *, tmd: bool, hinted: bool) -> dict[str, Sequence[str]]:
    """What a language model is asked, and its possible answers."""
    seed = taxonomy.scheme("seed")
    if not tmd:
        return {"domain": _names(scheme)}
    found: dict[str, Sequence[str]] = {"task": seed.tasks, "domain": seed.domains}
    if not hinted:
        found["method"] = seed.methods
    if scheme is not seed:
        found["label_domain"] = _names(scheme)
        if scheme.tasks:
            found["label_task"] = scheme.tasks
    return found


def _names(scheme: Scheme) -> Sequence[str]:
    return tuple(dict.fromkeys((*scheme.domains, OTHER)))


def _named(word: str, scheme: Scheme) -> tuple[str, list[str]]:
    """A domain as the taxonomy spells it, or the word as it came and the names that are near to it."""
    by_word = {_plain(name): name for name in scheme.domains}
    word = word[:200]
    if (name := by_word.get(_plain(word))) is not None:
        return name, []
    return word, [by_word[each] for each in get_close_matches(_plain(word), by_word, n=3)]


def _plain(word: str) -> str:
    return "_".join(word.lower().replace("_", " ").replace("-", " ").split())


def _shown(scheme: Scheme) -> shapes.Taxonomy:
    bits = scheme.bits
    return shapes.Taxonomy(
        scheme.name,  # type: ignore[arg-type]
        scheme.version,
        scheme.says,
        list(scheme.domains),
        list(scheme.tasks),
        list(scheme.methods),
        list(scheme.modifiers),
        shapes.TaxonomyBits(bits.domain, bits.task, bits.modifier) if bits is not None else None,
        {} if scheme.name == "seed" else dict(_homes(scheme)),
    )


def _homes(scheme: Scheme) -> Iterator[tuple[str, list[str]]]:
    """For each domain of the seed's the domains that its topics are in."""
    topics = tuple(topic for topic in taxonomy.examples("domains") if topic != "Other")
    for domain, about in taxonomy.scheme("seed").topics.items():
        homes = dict.fromkeys(scheme.home(topic) for topic in (topics if "*" in about else about))
        yield domain, [home for home in homes if home != OTHER]


def _share(said: "Said") -> float:
    return round(said.confidence, PLACES)


def _ms(since: float) -> float:
    return round((time.perf_counter() - since) * 1000, 3)
