"""The provider router of PAS (its 6103): who serves which model for how much, and whom to take. Asks nobody."""

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast import __version__
from rolecast.dialects.operation import Query, told
from rolecast.errors import Invalid, NotFound
from rolecast.money import pico
from rolecast.pages.pas.told import (
    Ms,
    Name,
    ProviderShape,
    Window,
    Word,
    Words,
    amount,
    exact_response,
    now_text,
    read,
    shape_of,
    shape_of_ours,
)
from rolecast.registry.directory import Directory
from rolecast.registry.offers import Offers
from rolecast.registry.policy import MOST_ALTERNATIVES, Candidate, Optimization, Wish, choose
from rolecast.registry.providers import Provider, Slo, Stats
from rolecast.server.asgi import json_response
from rolecast.server.lane import Lane, by_name

TAG = "Provider router"
MOST_PER_TOKEN = Decimal(10)
"""Dollars: no token costs more."""
MOST_METADATA = 4096
"""Bytes of JSON."""
EXAMPLE = (
    '{"name":"NAME","model":"MODEL","context_window":8192,"cost_per_input_token":0.00000015,'
    '"cost_per_output_token":0.0000006,"endpoint":"http://localhost:8100"}'
)
SELECT_EXAMPLE = '{"requirements":{"model":"MODEL"},"optimization":"cost"}'
ROUTE_EXAMPLE = '{"capability":"reasoning","prefer_local":true}'


class Registration(msgspec.Struct):
    """What a provider says of itself. Costs are dollars per token, and exact."""

    name: Name
    model: Name
    context_window: Window
    cost_per_input_token: Decimal
    cost_per_output_token: Decimal
    endpoint: Annotated[str, msgspec.Meta(min_length=1, max_length=2000, pattern=r"^[^\x00-\x1f\x7f]+$")]
    features: Words | None = None
    slo: Slo | None = None
    metadata: dict[str, Any] | None = None


class Needed(msgspec.Struct):
    """What is needed of a provider."""

    model: Word
    context_window: Window | None = None
    features: Words | None = None


class SelectBody(msgspec.Struct):
    """Which provider is looked for; a budget is compared with 1,000 tokens of a prompt and 500 of an answer."""

    requirements: Needed
    optimization: Optimization = "cost"
    max_cost_usd: Decimal | None = None
    max_latency_ms: Ms | None = None


class RouteBody(msgspec.Struct):
    """What a model is needed for."""

    capability: Word
    prefer_local: bool = True


class Registered(msgspec.Struct):
    status: Literal["success"]
    action: Literal["registered", "updated"]
    provider: ProviderShape
    timestamp: str


class Deactivated(msgspec.Struct):
    status: Literal["success"]
    action: Literal["deactivated"]
    provider: str
    timestamp: str


class ProviderList(msgspec.Struct):
    providers: list[ProviderShape]
    count: int
    timestamp: str


class Selected(msgspec.Struct):
    selected_provider: ProviderShape
    alternatives: list[ProviderShape]
    selection_reason: str
    optimization: Optimization
    timestamp: str


class Way(msgspec.Struct):
    """A model and where to ask it. `provider` is `local` for one of this machine."""

    provider: str
    model: str
    endpoint: str


class Routed(Way):
    """The best, why it is, and who could answer in its place."""

    capability: str
    reason: str
    alternatives: list[Way]


class RouterHealth(msgspec.Struct):
    status: Literal["ok"]
    service: Literal["provider_router"]
    port: int
    timestamp: str
    registry_stats: Stats


_registration = msgspec.json.Decoder(Registration)
_select = msgspec.json.Decoder(SelectBody)
_route = msgspec.json.Decoder(RouteBody)


class ProviderPages:
    """Its pages."""

    def __init__(self, directory: Directory, offers: Offers) -> None:
        self._directory = directory
        self._offers = offers

    def routes(self) -> list[Route]:
        return [
            Route("/", self.root, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/register", self.register, methods=["POST"]),
            Route("/providers", self.list, methods=["GET"]),
            Route("/providers/{name:path}", self.show, methods=["GET"]),
            Route("/providers/{name:path}", self.deactivate, methods=["DELETE"]),
            Route("/select", self.select, methods=["POST"]),
            Route("/route", self.route, methods=["POST"]),
            Route("/stats", self.stats, methods=["GET"]),
        ]

    @told("Register a provider, or say anew what it is", TAG, body=Registration, answer=Registered, errors=(409, 503))
    async def register(self, request: Request) -> Response:
        """A name that is known is updated, and comes back if it was switched off. It survives a restart. Nobody is
        asked at its address unless `registry.backends` lists it."""
        said = await read(request, _registration, EXAMPLE)
        provider, action = await self._directory.register(_provider(said))
        return exact_response(Registered("success", action, shape_of(provider), now_text()))

    @told(
        "All providers",
        TAG,
        answer=ProviderList,
        query=(Query("model"), Query("min_context", Window)),
        errors=(422,),
    )
    async def list(self, request: Request) -> Response:
        """Those that registered and are active, and the models of this gateway whose servers are elsewhere."""
        await self._offers.ready()
        model, least = request.query_params.get("model"), _least(request)
        found = [shape_of(each) for each in self._directory.known.listed(model, least)]
        names = {each.name for each in found}
        found += [
            shape_of_ours(each)
            for each in self._offers.own()
            if not each.local
            and each.name not in names
            and (model is None or model in each.names)
            and (least is None or (each.context or 0) >= least)
        ]
        return exact_response(ProviderList(found, len(found), now_text()))

    @told("One provider", TAG, answer=ProviderShape, errors=(404,))
    async def show(self, request: Request) -> Response:
        """As it registered, with when that was; or a model of this gateway. Names may hold `/` and `:`."""
        name = request.path_params["name"]
        try:
            return exact_response(shape_of(self._directory.known.of(name)))
        except NotFound:
            await self._offers.ready()
            ours = self._offers.own([name])
            if not ours:
                raise
            return exact_response(shape_of_ours(ours[0]))

    @told("Switch a provider off", TAG, answer=Deactivated, errors=(404, 503))
    async def deactivate(self, request: Request) -> Response:
        """It is chosen no more. Registered again, it is back."""
        provider = await self._directory.deactivate(request.path_params["name"])
        return json_response(Deactivated("success", "deactivated", provider.name, now_text()))

    @told("The provider to take for a model", TAG, body=SelectBody, answer=Selected, errors=(404, 422))
    async def select(self, request: Request) -> Response:
        """By `cost`: the mean price of a token; by `latency`: what was observed, else the promised p95; `balanced`:
        0.7 of the cost and 0.3 of the latency, each as a part of the highest. Who is not well comes last."""
        said = await read(request, _select, SELECT_EXAMPLE)
        wish = wish_of(said.requirements, said.optimization, said.max_cost_usd, said.max_latency_ms, _stays(request))
        await self._offers.ready()
        found = choose(self._offers.for_wish(wish), wish, MOST_ALTERNATIVES)
        others = [self._shape(each) for each in found.others]
        answer = Selected(self._shape(found.first), others, found.reason, said.optimization, now_text())
        return exact_response(answer)

    @told("The model to take for a capability", TAG, body=RouteBody, answer=Routed, errors=(404, 422))
    async def route(self, request: Request) -> Response:
        """A capability is a word of a model's `capabilities`, a role, or what a provider registered with. With
        `prefer_local` the models of this machine come first; without, cost and latency decide alone. 404 when nobody
        has it."""
        said = await read(request, _route, ROUTE_EXAMPLE)
        wish = Wish(
            capability=said.capability,
            prefer_local=said.prefer_local,
            optimization="balanced",
            only_local=_stays(request),
        )
        await self._offers.ready()
        candidates = self._offers.for_wish(wish)
        if not candidates:
            known = ", ".join(self._offers.capabilities())[:1000]
            text = f"Nobody here has the capability {said.capability[:200]!r}; there are: {known}."
            raise NotFound(text, param="capability", code="no_provider")
        found = choose(candidates, wish, MOST_ALTERNATIVES)
        ways = [_way(each) for each in found.others]
        first = _way(found.first)
        return json_response(Routed(first.provider, first.model, first.endpoint, said.capability, found.reason, ways))

    @told("How many providers there are", TAG, answer=Stats)
    async def stats(self, request: Request) -> Response:
        """Of those that registered."""
        return json_response(self._directory.known.stats())

    @told("Whether it is there", TAG, answer=RouterHealth)
    async def health(self, request: Request) -> Response:
        """It is, if it answers."""
        stats = self._directory.known.stats()
        return json_response(RouterHealth("ok", "provider_router", port_of(request), now_text(), stats))

    @told("What this port is", TAG, answer=dict[str, Any])
    async def root(self, request: Request) -> Response:
        """Its name, its version and its paths."""
        return json_response(
            {
                "service": "provider_router",
                "version": __version__,
                "port": port_of(request),
                "status": "running",
                "endpoints": [f"{method} {path}" for method, path in _PATHS],
                "docs": "/docs",
            }
        )

    def _shape(self, candidate: Candidate) -> ProviderShape:
        """A registered one as it registered."""
        known = self._directory.known.get(candidate.name)
        if known is not None and known.active and candidate.provider == candidate.name:
            return shape_of(known)
        return shape_of_ours(candidate)


_PATHS = (
    ("POST", "/register"),
    ("GET", "/providers"),
    ("GET", "/providers/{name}"),
    ("DELETE", "/providers/{name}"),
    ("POST", "/select"),
    ("POST", "/route"),
    ("GET", "/stats"),
    ("GET", "/health"),
)


def wish_of(
    needed: Needed,
    optimization: Optimization,
    max_cost_usd: Decimal | None,
    max_latency_ms: float | None,
    only_local: bool,
) -> Wish:
    """What such a body wants. Raises Invalid."""
    return Wish(
        model=needed.model,
        context=needed.context_window,
        features=frozenset(needed.features or ()),
        max_cost=None if max_cost_usd is None else pico(amount(max_cost_usd, "max_cost_usd")),
        max_latency_ms=max_latency_ms,
        optimization=optimization,
        only_local=only_local,
    )


def port_of(request: Request) -> int:
    """The port that was asked."""
    server = request.scope.get("server")
    return int(server[1]) if server and server[1] else 0


def _provider(said: Registration) -> Provider:
    """Raises Invalid."""
    costs = {name: getattr(said, name) for name in ("cost_per_input_token", "cost_per_output_token")}
    reading, writing = (pico(amount(cost, name, MOST_PER_TOKEN)) for name, cost in costs.items())
    metadata = said.metadata or {}
    if len(msgspec.json.encode(metadata)) > MOST_METADATA:
        raise Invalid(f"`metadata` is too long: {MOST_METADATA} bytes are allowed.", param="metadata")
    return Provider(
        name=said.name,
        model=said.model,
        context_window=said.context_window,
        input_cost=reading,
        output_cost=writing,
        endpoint=said.endpoint,
        features=tuple(dict.fromkeys(said.features or ())),
        slo=said.slo,
        metadata=metadata,
    )


def _way(candidate: Candidate) -> Way:
    return Way(candidate.provider, candidate.model, candidate.endpoint)


def _least(request: Request) -> int | None:
    text = request.query_params.get("min_context")
    if text is None:
        return None
    try:
        return msgspec.convert(text, Window, strict=False)
    except msgspec.ValidationError as exc:
        raise Invalid(f"`min_context`: {exc}.", param="min_context") from None


def _stays(request: Request) -> bool:
    """Whether who asks may not leave this machine. Raises what the guard raises."""
    lane: Lane = request.app.state.lane
    caller = lane.caller(by_name(request.scope["headers"]))
    return caller.local_only or (caller.rights is not None and caller.rights.local_only)
