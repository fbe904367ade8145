"""The registry's port (PAS's 6121): services and agents register, live, are found and go."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rolecast import __version__
from rolecast.dialects.openai_chat import explain
from rolecast.dialects.operation import Query, told
from rolecast.errors import UNREADABLE, BadRequest, Invalid, NotFound
from rolecast.pages import asked
from rolecast.pages.pas import registry_shapes as shapes
from rolecast.pages.pas.reading import iso
from rolecast.pages.pas.registry_shapes import AGENT_ROLES
from rolecast.registry.registry import Registry
from rolecast.registry.service import KINDS, ROLES, STATUSES, Beat, Kind, Service, Status
from rolecast.registry.services import counted
from rolecast.server.asgi import json_response

TAG = "Registry"
AT_ONCE = 100
"""More services than these are told in pieces."""
PIECE_BYTES = 64 * 1024
SERVICE = {
    "service_id": "agent-helper",
    "name": "helper",
    "type": "agent",
    "role": "production",
    "url": "http://127.0.0.1:9100",
    "caps": ["reasoning"],
}
FILTERS = (
    Query("type", Kind),
    Query("role", says="also what agents call so, such as `execution`"),
    Query("cap", says="a capability that it must have"),
    Query("name"),
    Query("status", Status),
)
T = TypeVar("T")


class RegistryPages:
    """All of that port."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._written: dict[str, tuple[Service, msgspec.Raw, msgspec.Raw | None]] = {}
        """Services as JSON: most are read far more often than they change."""

    def routes(self) -> list[Route]:
        return [
            Route("/register", self.register, methods=["POST"]),
            Route("/heartbeat", self.heartbeat, methods=["PUT", "POST"]),
            Route("/discover", self.find, methods=["GET"]),
            Route("/discover", self.discover, methods=["POST"]),
            Route("/promote", self.promote, methods=["POST"]),
            Route("/deregister", self.deregister, methods=["POST"]),
            Route("/services", self.services, methods=["GET"]),
            Route("/services/{id:path}", self.service, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/", self.root, methods=["GET"]),
        ]

    @told(
        "Register a service or an agent",
        TAG,
        body=shapes.Registration,
        example=SERVICE,
        answer=shapes.Registered,
        errors=(409, 415, 422, 429),
    )
    async def register(self, request: Request) -> Response:
        """One that is there already is there by what it says now. The registration outlives the gateway."""
        said = await _given(request, shapes.Registration, SERVICE)
        service, is_new = await self._registry.register(shapes.service_of(said))
        action = "registered" if is_new else "updated"
        return json_response(
            shapes.Registered(service.id, iso(service.registered_at), service.agent_id, service.name, action)
        )

    @told(
        "A service lives",
        TAG,
        body=shapes.Heartbeat,
        example={"service_id": "agent-helper", "status": "ok", "queue_depth": 0},
        answer=shapes.Done,
        errors=(404, 415, 422),
    )
    async def heartbeat(self, request: Request) -> Response:
        """One that was down is there again."""
        said = await _given(request, shapes.Heartbeat, {"service_id": "agent-helper", "status": "ok"})
        beat = Beat(said.status or "ok", said.p95_ms, said.queue_depth, said.load, said.message)
        service_id = _named(said.service_id or said.agent_id)
        found = self._registry.beat(service_id, beat)
        if found is None:
            raise _absent(service_id)
        return json_response(shapes.Done(True, iso(found.beat_at)))

    @told("Find services", TAG, query=FILTERS, answer=shapes.Found, errors=(422,))
    async def find(self, request: Request) -> Response:
        """Those that all of this is true of, by name and role; down ones are told, too."""
        query = request.query_params
        cap = query.get("cap")
        words = {name: query.get(name) or None for name in ("type", "role", "name", "status")}
        return await self._found([cap] if cap else [], **words)

    @told(
        "Find services by what they can do",
        TAG,
        body=shapes.Sought,
        example={"capabilities": ["reasoning"]},
        answer=shapes.Found,
        errors=(415, 422),
    )
    async def discover(self, request: Request) -> Response:
        """Those that have all these capabilities."""
        said = await _given(request, shapes.Sought, {"capabilities": ["reasoning"]})
        caps = [*(said.capabilities or ()), *(said.caps or ()), *((said.cap,) if said.cap else ())]
        return await self._found(caps, type=said.type, role=said.role, name=said.name, status=said.status)

    @told(
        "Give all instances of a name another role",
        TAG,
        body=shapes.Promotion,
        example={"name": "helper", "from_role": "staging", "to_role": "production"},
        answer=shapes.Promoted,
        errors=(404, 415, 422),
    )
    async def promote(self, request: Request) -> Response:
        example = {"name": "helper", "from_role": "staging", "to_role": "production"}
        said = await _given(request, shapes.Promotion, example)
        count = await self._registry.promote(said.name, said.from_role, said.to_role)
        if not count:
            text = f"No service {said.name!r} has the role {said.from_role}."
            raise NotFound(text, param="name", code="service_not_found")
        return json_response(shapes.Promoted(count, _now()))

    @told(
        "A service goes",
        TAG,
        body=shapes.Leaving,
        example={"service_id": "agent-helper"},
        answer=shapes.Done,
        errors=(404, 409, 415, 422),
    )
    async def deregister(self, request: Request) -> Response:
        said = await _given(request, shapes.Leaving, {"service_id": "agent-helper"})
        service_id = _named(said.service_id or said.agent_id)
        if not await self._registry.deregister(service_id):
            raise _absent(service_id)
        return json_response(shapes.Done(True, _now()))

    @told("All services", TAG, answer=shapes.Listed)
    async def services(self, request: Request) -> Response:
        await self._registry.settled()
        return json_response(shapes.Listed([shapes.short(service) for service in self._registry.look()]))

    @told("One service", TAG, answer=shapes.Whole, errors=(404,))
    async def service(self, request: Request) -> Response:
        """By its id, an agent also by its own."""
        await self._registry.settled()
        service_id = request.path_params["id"]
        found = self._registry.look().find(service_id)
        if found is None:
            raise _absent(service_id)
        return json_response(shapes.whole(found))

    @told("Health of the registry", TAG, answer=shapes.Health)
    async def health(self, request: Request) -> Response:
        services = self._registry.look()
        return json_response(shapes.Health("ok", len(services), counted(services)["healthy"]))

    @told("What this port is", TAG, answer=shapes.Root)
    async def root(self, request: Request) -> Response:
        services = self._registry.look()
        places = [
            f"{method} {route.path.replace(':path', '')}" for route in self.routes() for method in _methods(route)
        ]
        port = request.scope["server"][1]
        healthy = counted(services)["healthy"]
        return json_response(
            shapes.Root("registry", __version__, port, "running", len(services), healthy, places, "/docs")
        )

    async def _found(
        self,
        caps: Sequence[str],
        *,
        type: str | None,  # noqa: A002  # PAS's word
        role: str | None,
        name: str | None,
        status: str | None,
    ) -> Response:
        _one_of("type", type, KINDS)
        _one_of("status", status, STATUSES)
        await self._registry.settled()
        services = self._registry.look()
        found = services.matching(caps, kind=type, role=role, name=name, status=status)
        if not found:
            _one_of("role", role, (*ROLES, *AGENT_ROLES, *(s.labels.get("agent_role", "") for s in services)))
        if len(self._written) > 2 * len(services):
            self._written = {each.id: known for each in found if (known := self._written.get(each.id)) is not None}
        if len(found) > AT_ONCE:
            return StreamingResponse(self._pieces(found), media_type="application/json")
        written = [self._json(service) for service in found]
        agents = [agent for _, agent in written if agent is not None]
        return json_response({"items": [each for each, _ in written], "agents": agents})

    async def _pieces(self, found: Sequence[Service]) -> AsyncIterator[bytes]:
        """The same answer in pieces: each service may have much to say, and others are not to wait for all of them."""
        agents: list[msgspec.Raw] = []
        piece = bytearray(b'{"items":[')
        for number, service in enumerate(found):
            item, agent = self._json(service)
            piece += (b"," if number else b"") + bytes(item)
            agents += [agent] if agent is not None else []
            if len(piece) > PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
                await asyncio.sleep(0)
        piece += b'],"agents":['
        for number, agent in enumerate(agents):
            piece += (b"," if number else b"") + bytes(agent)
            if len(piece) > PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
                await asyncio.sleep(0)
        yield bytes(piece) + b"]}"

    def _json(self, service: Service) -> tuple[msgspec.Raw, msgspec.Raw | None]:
        known = self._written.get(service.id)
        if known is None or known[0] is not service:
            told = msgspec.Raw(msgspec.json.encode(shapes.item(service)))
            agent = msgspec.Raw(msgspec.json.encode(shapes.agent(service))) if service.is_agent else None
            known = self._written[service.id] = service, told, agent
        return known[1], known[2]


async def _given(request: Request, kind: type[T], example: dict[str, Any]) -> T:
    """The body, with numbers as numbers or as texts. Raises UnsupportedMedia, BadRequest or Invalid."""
    text = msgspec.json.encode(example).decode()
    asked.require_json(request, text)
    try:
        return msgspec.json.decode(await request.body(), type=kind, strict=False)
    except msgspec.ValidationError as exc:
        where, what = explain(exc)
        raise Invalid(
            f"`{where}`: {what}." if where else f"{what}. Send such as {text}.", param=where or None
        ) from None
    except UNREADABLE as exc:
        raise BadRequest(f"The body must be JSON such as {text}: {exc}.", code="bad_json") from None


def _named(service_id: str | None) -> str:
    if service_id is None:
        raise Invalid("`service_id` is missing: it names the service.", param="service_id")
    return service_id


def _absent(service_id: str) -> NotFound:
    text = f"There is no service {service_id[:200]!r} here; GET /services lists them. Register it first."
    return NotFound(text, param="service_id", code="service_not_found")


def _one_of(name: str, word: str | None, words: Sequence[str]) -> None:
    if word is not None and word not in words:
        listed = ", ".join(dict.fromkeys(filter(None, words[:20])))
        raise Invalid(f"`{name}` must be one of {listed}.", param=name)


def _methods(route: Route) -> list[str]:
    return sorted((route.methods or set()) - {"HEAD"})


def _now() -> str:
    return iso(time.time())
