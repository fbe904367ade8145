"""What each port shows: its pages, by its surface. Makes every page once; the gateway makes what they show.

A surface of PAS is a row in `_services`: a port that has these pages and no others.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
from starlette.routing import Route
from starlette.types import ASGIApp

from rolecast.access.budgets import Budgets
from rolecast.access.keyring import Keyring
from rolecast.avatars.serving.joined import Avatars
from rolecast.avatars.serving.making import Making
from rolecast.books.ledger import Ledger
from rolecast.books.store import Store
from rolecast.config import paths
from rolecast.config.current import Current
from rolecast.config.made import MadeVariants
from rolecast.config.names import Name
from rolecast.config.schema import Listener
from rolecast.fleet import Fleet
from rolecast.jobs.owner import Jobs
from rolecast.pages import openapi, ui
from rolecast.pages.activity import Activity
from rolecast.pages.admin import Admin
from rolecast.pages.anthropic import TokenCounts
from rolecast.pages.avatars import AvatarPages
from rolecast.pages.budgets import BudgetPages
from rolecast.pages.catalogue import Catalogue
from rolecast.pages.conductor import Conductor, ConductorModels
from rolecast.pages.egress import EgressPage
from rolecast.pages.events import EventPages
from rolecast.pages.feedback import FeedbackPage
from rolecast.pages.health import Health
from rolecast.pages.in_flight import InFlightPages
from rolecast.pages.jobs import JobPages
from rolecast.pages.keys import KeyPages
from rolecast.pages.mcp import McpPage
from rolecast.pages.model_control import ModelPages
from rolecast.pages.ollama import OllamaLists
from rolecast.pages.ollama_blobs import OllamaBlobs
from rolecast.pages.ollama_variants import OllamaVariants
from rolecast.pages.ollama_weights import OllamaWeights
from rolecast.pages.pas.adapter import Adapter
from rolecast.pages.pas.agents import AgentRouter, tool_caller
from rolecast.pages.pas.events import EventStream
from rolecast.pages.pas.gateway import GatewayPages
from rolecast.pages.pas.heartbeat import HeartbeatPages
from rolecast.pages.pas.providers import ProviderPages
from rolecast.pages.pas.registry import RegistryPages
from rolecast.pages.pas.resources import ResourceManager
from rolecast.pages.pas.tokens import TokenGovernor
from rolecast.pages.pas_info import PasInfo
from rolecast.pages.personas import PersonaPages
from rolecast.pages.ports import FrontDoor, SingleModel
from rolecast.pages.responses import KeptResponses
from rolecast.pages.routing import RoutePage
from rolecast.pages.services import ServicePage
from rolecast.pages.sessions import SessionPages
from rolecast.pages.tasks import TaskPages
from rolecast.pages.tlc import Domains
from rolecast.pages.tlc import serves as serves_domains
from rolecast.pages.tools import ToolServers
from rolecast.pages.turns import Turns
from rolecast.pages.usage import UsagePage
from rolecast.registry.agents import Agents
from rolecast.registry.directory import Directory
from rolecast.registry.governor import Governor
from rolecast.registry.invoke import Invoker
from rolecast.registry.offers import Offers
from rolecast.registry.registry import Registry
from rolecast.registry.resources import Resources
from rolecast.registry.summaries import Summarizer
from rolecast.reload import Reloader
from rolecast.routing.abilities import Abilities
from rolecast.server.asgi import make_app
from rolecast.server.doors import Doors
from rolecast.server.lane import Lane
from rolecast.sources.here import uploads
from rolecast.tasks.persona import Personas
from rolecast.tasks.player import Player
from rolecast.telemetry.events import Events
from rolecast.telemetry.metrics import Telemetry
from rolecast.tools.toolbox import Toolbox
from rolecast.turn.ask import Asker
from rolecast.turn.collected import Collector
from rolecast.turn.count import Counter
from rolecast.turn.dispatch import Dispatch
from rolecast.turn.memory import Memory
from rolecast.turn.plans import Plans
from rolecast.turn.rehearsal import Rehearsal
from rolecast.turn.sessions import Sessions
from rolecast.turn.tlc import Refiner, Tlc
from rolecast.values import Rights
from rolecast.weights import Finder


class Page(Protocol):
    """Some paths of a port that belong together."""

    def routes(self) -> list[Route]: ...


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a gateway that have something to show."""

    current: Current
    config_path: Path | None
    find: Finder
    made: MadeVariants
    store: Store
    ledger: Ledger
    budgets: Budgets
    telemetry: Telemetry
    fleet: Fleet
    abilities: Abilities
    health: Health
    plans: Plans
    memory: Memory
    rehearsal: Rehearsal
    counter: Counter
    dispatch: Dispatch
    asker: Asker
    player: Player
    personas: Personas
    sessions: Sessions
    toolbox: Toolbox
    jobs: Jobs
    avatars: Avatars
    making: Making
    keyring: Keyring
    reloader: Reloader
    doors: Doors
    mcp: McpPage
    events: Events
    registry: Registry
    directory: Directory
    offers: Offers
    tell: Callable[[str, Mapping[str, Any]], object]
    weights_changed: Callable[[], Awaitable[None]]


class Ports:
    """Makes the app of a port."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        turns = Turns()
        self._domains = Domains(Tlc(parts.plans.mind), Refiner(parts.asker, parts.plans), parts.telemetry, turns)
        self._listed = ConductorModels(parts.current, parts.fleet, parts.telemetry, parts.health, self._reach)
        self._front = self._front_door(turns)
        self._lists: list[Page] = [
            Catalogue(parts.current, parts.abilities, parts.health, parts.fleet, self._reach),
            OllamaLists(parts.current, parts.abilities, parts.fleet, parts.find, self._reach),
            TokenCounts(parts.counter),
            KeptResponses(parts.memory, parts.counter),
        ]
        """What every port with models has."""
        self._services: Mapping[str, list[Page]] = {
            "events": [EventStream(parts.events)],
            "agents": [self._agent_router()],
            "tokens": [self._token_governor()],
            "resources": [ResourceManager(parts.current, Resources(parts.store), parts.events)],
            "registry": [RegistryPages(parts.registry)],
            "heartbeat": [HeartbeatPages(parts.registry, parts.current)],
            "providers": [ProviderPages(parts.directory, parts.offers)],
            "gateway": [
                GatewayPages(
                    parts.current,
                    parts.directory,
                    parts.offers,
                    Collector(parts.dispatch),
                    parts.ledger,
                    parts.store,
                    parts.budgets,
                    parts.tell,
                )
            ],
        }
        """The ports that have nothing but these pages, by their surface."""

    def _reach(self, rights: Rights | None) -> Callable[[Name], Name | None]:
        """What a name means to the holder of a key."""
        return self._parts.keyring.reach(self._parts.current.names, rights)

    def app(self, lane: Lane, listener: Listener) -> ASGIApp:
        """The pages of one port."""
        if (own := self._services.get(listener.surface)) is not None:
            return make_app(lane, [*(route for page in own for route in page.routes()), *openapi.routes()])
        if listener.model is None:
            routes = [route for page in self._front for route in page.routes()] + ui.routes()
        else:
            parts = self._parts
            seen = listener, parts.current, parts.telemetry, parts.health
            single: Page = SingleModel(*seen)
            if listener.surface == "adapter":
                single = Adapter(*seen, parts.abilities, parts.store)
            routes = single.routes() + ui.assets()
        lists = [route for page in self._lists for route in page.routes()]
        return make_app(lane, [*self._of_surface(listener), *lists, *openapi.routes(), *routes])

    def _of_surface(self, listener: Listener) -> list[Route]:
        """What a port with models has for its surface alone; it comes before what every such port has."""
        parts = self._parts
        if listener.surface == "pas" and listener.model is not None:
            own = self._domains.routes("") if serves_domains(listener) else []
            return own + PasInfo(listener, parts.current, parts.abilities, parts.store, parts.find).routes()
        if listener.surface == "conductor":
            return self._listed.routes("/models")
        return []

    def _agent_router(self) -> Page:
        of = self._parts
        return AgentRouter(
            Agents(of.registry), Invoker(of.current, of.asker, tool_caller(of.toolbox), of.dispatch), of.events
        )

    def _token_governor(self) -> Page:
        of = self._parts
        return TokenGovernor(of.current, Governor(of.store), Summarizer(of.asker), of.events)

    def _front_door(self, turns: Turns) -> list[Page]:
        """The pages of a port that is for no model in particular."""
        of = self._parts
        weights = paths.models(of.current.config.storage.models)
        brought = uploads(of.current.config)
        making = OllamaVariants(of.current, of.made, brought, of.find, of.reloader.renew)
        return [
            Admin(
                of.current,
                of.fleet,
                of.ledger,
                of.telemetry,
                of.reloader,
                of.abilities,
                of.health,
                of.doors,
                {
                    "config": str(of.config_path) if of.config_path else None,
                    "ledger": of.store.name,
                    "weights": str(weights.absolute()),
                },
            ),
            Activity(of.current, of.fleet, of.ledger, of.telemetry, of.dispatch, weights, of.jobs),
            InFlightPages(of.dispatch, of.fleet, of.ledger),
            ModelPages(of.current, of.fleet, of.health),
            BudgetPages(of.budgets, of.keyring, of.current),
            JobPages(of.jobs),
            AvatarPages(of.avatars, of.making, of.jobs, of.reloader.renew, of.events.tell, of.store),
            KeyPages(of.keyring),
            OllamaWeights(of.current, of.fleet, of.jobs, of.find, weights, of.weights_changed, making.forget),
            making,
            OllamaBlobs(of.current, brought),
            FrontDoor(of.telemetry, of.health),
            RoutePage(of.rehearsal, turns),
            FeedbackPage(of.current, of.ledger, of.store),
            EgressPage(of.store),
            Conductor(of.current, of.fleet, of.telemetry, of.health, of.reloader, of.sessions, self._listed),
            SessionPages(of.sessions),
            PersonaPages(of.personas),
            self._domains,
            TaskPages(of.current, of.player),
            of.mcp,
            ToolServers(of.toolbox),
            EventPages(of.events),
            ServicePage(of.registry),
            UsagePage(of.current, of.store),
        ]
