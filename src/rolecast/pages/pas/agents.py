"""The agent router of PAS (its port 6119): agents that registered are found, and given work."""

import time
from typing import Annotated, Any, Literal

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.dialects.operation import told
from rolecast.errors import BadRequest, NotFound, UpstreamError
from rolecast.pages.pas import reading
from rolecast.pages.pas.reading import iso
from rolecast.registry.agents import Agents, agent_name, has_address, role, shown, tier
from rolecast.registry.invoke import Invoker, Tools, Transport
from rolecast.server.asgi import json_response
from rolecast.telemetry.events import Events
from rolecast.tools.toolbox import Toolbox

TAG = "Agent router"
DISCOVER = '{"capabilities":["planning"],"limit":10}'
INVOKE = '{"request_id":"r-1","agent_name":"architect","payload":{"message":"Hello!"}}'
MOST_CHARS = 200_000
ENDPOINTS = {"discover": "POST /discover", "invoke": "POST /invoke", "stats": "GET /stats", "health": "GET /health"}
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Capabilities = Annotated[list[Name], msgspec.Meta(max_length=50)]
Anything = dict[str, Any]


class Discover(msgspec.Struct):
    """Which agents are wanted; what is not said does not matter."""

    capabilities: Capabilities | None = None
    """All of these."""
    agent_role: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    """`coord`, `exec` or `system`."""
    tier: int | None = None
    limit: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None = 10
    """0 = all."""
    include_managed: bool = False
    """Also the models, tasks and ports of this gateway."""


class Invoke(msgspec.Struct):
    """Work for an agent, which is named, or found by what it can do."""

    request_id: Name
    run_id: Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[!-~]*$")] | None = None
    """What its cost is counted for."""
    agent_name: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    capabilities: Capabilities | None = None
    payload: dict[str, Any] = {}
    """For a model: `messages`, or `prompt`, `message`, `task`; also `max_tokens` and `temperature`."""
    timeout_s: Annotated[float, msgspec.Meta(ge=0, le=600)] | None = 30
    transport: Transport | None = None


class Invoked(msgspec.Struct):
    """What became of it."""

    request_id: str
    agent_name: str
    status: Literal["success", "error", "timeout"]
    result: Any
    error: str | None
    metadata: Anything
    latency_ms: int


class AgentRouter:
    """The pages of that port."""

    def __init__(self, agents: Agents, invoker: Invoker, events: Events) -> None:
        self._agents = agents
        self._invoker = invoker
        self._events = events

    def routes(self) -> list[Route]:
        return [
            Route("/", self.root, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/discover", self.discover, methods=["POST"]),
            Route("/invoke", self.invoke, methods=["POST"]),
            Route("/stats", self.stats, methods=["GET"]),
        ]

    @told("What this port is", TAG, answer=Anything)
    async def root(self, request: Request) -> Response:
        """The service, and what it answers."""
        return json_response(reading.service(request, "agent_router", ENDPOINTS))

    @told("Health", TAG, answer=Anything)
    async def health(self, request: Request) -> Response:
        """How many agents are known."""
        return json_response(
            {
                "status": "ok",
                "service": "agent_router",
                "port": reading.port(request),
                "timestamp": iso(time.time()),
                "cached_agents": self._agents.stats()["total_agents"],
            }
        )

    @told(
        "Find agents",
        TAG,
        body=Discover,
        example={"capabilities": ["planning"], "limit": 10},
        answer=Anything,
        errors=(415, 422),
    )
    async def discover(self, request: Request) -> Response:
        """By what they can do, their role and their tier. `count` is how many are listed."""
        wanted = await reading.body(request, Discover, DISCOVER)
        found = self._agents.find(
            wanted.capabilities or (), wanted.agent_role or "", wanted.tier, managed=wanted.include_managed
        )
        listed = [shown(each) for each in found]
        listed = listed[: wanted.limit] if wanted.limit else listed
        return json_response({"count": len(listed), "agents": listed})

    @told(
        "Give an agent work",
        TAG,
        body=Invoke,
        example={"request_id": "r-1", "agent_name": "architect", "payload": {"message": "Hello!"}},
        answer=Invoked,
        errors=(400, 404, 415, 422),
    )
    async def invoke(self, request: Request) -> Response:
        """By name or by what it can do. What goes wrong with the agent is told in `status` and `error`."""
        began = time.perf_counter()
        said = await reading.body(request, Invoke, INVOKE)
        caller = reading.caller(request)
        if said.agent_name:
            agent = self._agents.named(said.agent_name)
        elif said.capabilities:
            agent = self._agents.able(said.capabilities)
        else:
            raise BadRequest("Must specify agent_name or capabilities.", param="agent_name")
        transport: Transport = said.transport or ("rest" if has_address(agent) else "rpc")
        caller = replace(caller, run=said.run_id or caller.run)
        work = self._invoker.invoke(agent, said.payload, transport, said.timeout_s or 30, caller)
        outcome = await reading.while_there(request, work)
        latency_ms = round((time.perf_counter() - began) * 1000)
        told = {
            "request_id": said.request_id,
            "run_id": said.run_id,
            "agent_name": agent_name(agent),
            "status": outcome.status,
            "latency_ms": latency_ms,
        }
        self._events.tell("agent_invocation", told)
        metadata = {"transport": transport, "agent_role": role(agent), "tier": tier(agent)}
        answer = Invoked(
            said.request_id,
            agent_name(agent),
            outcome.status,
            outcome.result,
            outcome.error,
            metadata,
            latency_ms,
        )
        return json_response(answer)

    @told("How many agents there are", TAG, answer=Anything)
    async def stats(self, request: Request) -> Response:
        """By role and by tier. What this gateway registered itself is counted apart."""
        return json_response({**self._agents.stats(), "cache_updated": iso(time.time())})


def tool_caller(toolbox: Toolbox) -> Tools:
    """How an agent behind an MCP server is reached."""

    async def call(server: str, tool: str, arguments: bytes, timeout_s: float) -> str:
        offer = await toolbox.offer([server])
        found = next((each for each in offer.tools if each.tool == tool), None)
        if found is None:
            why = "; ".join(why for _, why in offer.missing)
            raise NotFound(f"The server {server!r} offers no tool {tool[:100]!r}{': ' * bool(why)}{why}.")
        result = await toolbox.call(found, arguments, timeout_s, MOST_CHARS)
        if result.failed:
            raise UpstreamError(result.text)
        return result.text

    return call
