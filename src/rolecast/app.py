"""The composition root: a Config goes in, a running gateway comes out. Builds every object once."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from starlette.types import ASGIApp

from rolecast import __version__, books, lazily
from rolecast.access.budgets import Budgets
from rolecast.access.keyring import Keyring
from rolecast.access.needed import KeysNeeded
from rolecast.access.table import KeyTable
from rolecast.avatars.serving.joined import Avatars
from rolecast.avatars.serving.making import KIND, Making
from rolecast.books.ledger import Ledger
from rolecast.books.pace import recent
from rolecast.books.store import StoreError
from rolecast.config import paths
from rolecast.config.current import Current
from rolecast.config.edit import Participant, edit_to
from rolecast.config.schema import Config, Limits, Listener
from rolecast.dialects.surfaces import hot_of
from rolecast.egress.departure import Departures
from rolecast.fleet import Fleet
from rolecast.fleet.carry import Carry
from rolecast.fleet.elsewhere import Elsewhere
from rolecast.fleet.learnt import Learnt
from rolecast.fleet.plans import launches
from rolecast.jobs.kinds import kinds
from rolecast.jobs.owner import Jobs
from rolecast.pages import residency
from rolecast.pages.health import Health
from rolecast.pages.mcp import McpPage
from rolecast.ports import Parts, Ports
from rolecast.processes.forks import Forks
from rolecast.readiness import Readiness
from rolecast.registry.adopted import Adopted
from rolecast.registry.directory import Directory
from rolecast.registry.observed import Observed
from rolecast.registry.offers import Offers
from rolecast.registry.own import Sources, Task
from rolecast.registry.registry import Registry
from rolecast.reload import Reloader
from rolecast.routing.abilities import Abilities
from rolecast.server.doors import Bind, Doors, bind_port
from rolecast.server.guard import Guard
from rolecast.server.lane import Lane
from rolecast.sources.here import made_variants, stand_ins, weights_finder
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.persona import Personas
from rolecast.tasks.player import Player
from rolecast.tasks.table import listed
from rolecast.telemetry import heap, logfile
from rolecast.telemetry.events import Events
from rolecast.telemetry.logs import Logging
from rolecast.telemetry.metrics import Telemetry
from rolecast.tools.toolbox import Toolbox, quietly
from rolecast.turn.accounts import Accounts
from rolecast.turn.ask import Asker
from rolecast.turn.cards import Cards
from rolecast.turn.count import Counter
from rolecast.turn.dispatch import Dispatch
from rolecast.turn.energy import EnergyBooks
from rolecast.turn.exchange import ExchangeIds
from rolecast.turn.memory import Memory
from rolecast.turn.paces import Paces
from rolecast.turn.plans import Plans
from rolecast.turn.rehearsal import Rehearsal
from rolecast.turn.rights import RightsCheck
from rolecast.turn.session_budget import Budget
from rolecast.turn.sessions import Sessions
from rolecast.turn.spending import Spending
from rolecast.turn.waiting import Waiting

log = logging.getLogger("rolecast")

DRAIN_SLACK_S = 5.0
"""Connections have so much longer than requests: an answer has to arrive."""


COMPILE_AFTER_S = 1.0
SHARED_S = 60.0
"""So often it is looked at what other gateways have charged."""


class Gateway:
    """All parts of a running gateway. `bind` decides where its listeners really listen."""

    def __init__(self, config: Config, config_path: Path | None = None, bind: Bind = bind_port) -> None:
        made = made_variants(config)
        self.avatars = Avatars()
        config = made.join(self.avatars.join(config))
        self._find = find = weights_finder(config)
        self.adopted = Adopted(self._renew)
        # The user's own names win, then avatars, then clients' own, then strangers'.
        joined = lambda config: self.adopted.join(made.join(self.avatars.join(config)))  # noqa: E731
        self._first = edit_to(config, stand_ins(config, find))
        self.current = Current(self._first)
        self.telemetry = Telemetry((i for i, m in config.models.items() if m.enabled), (*config.tasks, *config.roles))
        self.forks = Forks(config.memory.zygote, paths.worker_logs())
        self.store = books.store_of(config)
        self.fleet = Fleet(config, find, paths.worker_logs(), self.forks, Learnt(self.store))
        self.fleet.stations.keeper = self.carry = Carry(paths.conversations(), config.memory, find)
        self.ledger = Ledger(self.store)
        self.keyring = Keyring(KeyTable(self.store))
        self.abilities = Abilities(self.current, find)
        self.abilities.reaches = self.keyring.reaches
        can = self.abilities
        self.paces = Paces()
        self.cards = Cards(self.current, self.fleet, find, self.paces)
        self.fleet.stations.on_loaded = self.cards.loaded
        self.fleet.machine.paces = self.paces.lately
        self.plans = Plans(
            self.current,
            self.fleet,
            self.telemetry,
            can.can,
            can.marks,
            can.logits,
            room=can.room,
            cards=self.cards,
            lengths=self.paces.lengths,
        )
        self.elsewhere = Elsewhere(self.fleet.stations)
        self.plans.named, self.elsewhere.on_named = self.elsewhere.name_of, self.plans.made.clear
        self.events = Events()
        """What happens here, for who listens."""
        self.keyring.tell = self.events.tell
        self.memory = Memory(self.store)
        self.rehearsal = Rehearsal(self.plans, self.memory)
        accounts = Accounts(self.fleet, self.ledger, self.telemetry, self.paces, self.plans.bonds)
        self.energy = EnergyBooks(accounts, self.store, self.telemetry)
        self.budgets = Budgets(self.store, self.ledger, self.events.tell)
        self.keyring.spends = self.budgets.for_key
        rights = RightsCheck(self.keyring)
        accounts.gate.checks = (rights, Spending(self.budgets, self.current))
        self.plans.needs = rights.needs
        new_id = ExchangeIds()
        self.dispatch = Dispatch(self.plans, accounts, self.fleet, self.memory, new_id)
        waiting = self.dispatch.waiting = Waiting(self.current, self.fleet)
        waiting.percent = partial(residency.percent, self.fleet)
        self.energy.on_change = self.dispatch.measure
        self.asker = Asker(self.dispatch, new_id)
        """For parts that need a model's answer to do their own work."""
        counter = Counter(self.plans, self.fleet)
        self.departures = self.dispatch.departure = counter.departure = Departures(
            config.egress, self.store, self.events
        )
        self.backstage = Backstage(self.current)
        self.personas = Personas(self.current)
        self.sessions = self.dispatch.sessions = Sessions(self.store, self.current, self.plans, Budget(counter))
        self.sessions.voice, self.sessions.asker = self.personas.of, self.asker
        self.player = self.dispatch.player = Player(self.current, counter, self.backstage, self.sessions, self.personas)
        self.toolbox = self.dispatch.toolbox = Toolbox(self.current, counter)
        self.health = Health(self.current, self.fleet, self.ledger)
        self.health.resting, self.plans.breaker.tell = self.plans.breaker.open, self.events.tell
        self.health.elsewhere = self.elsewhere.problems
        self.health.keyed = lambda: len(self.keyring) > 0
        self.telemetry.gauges = self.health.gauges
        store = paths.models(config.storage.models)
        making = Making(self.current, self._renew, find=find)
        every = {**kinds(self.current, store, self._weights_changed), KIND: making}
        self.jobs = Jobs(self.store, every, paths.job_logs())
        spoken = partial(hot_of, note=self.sessions.note)
        self.doors = Doors(partial(_new_lane, self.dispatch, new_id), self._new_app, spoken, bind, self.keyring)
        self.keyring.changed = self.doors.forget
        sources = Sources(
            current=self.current,
            fleet=self.fleet,
            abilities=self.abilities,
            store=self.store,
            addresses=lambda: self.doors.addresses,
            state=self.health.state,
            tasks=self._tasks,
            written=lambda: self.ledger.written,
        )
        self.registry = Registry(self.store, self.events, self.adopted, sources)
        self.parts: list[Participant] = [
            Readiness(find, self.fleet.would_replace),
            KeysNeeded(self.keyring),
            self.departures,
            self.abilities,
            self.telemetry,
            self.forks,
            self.fleet,
            self.carry,
            self.cards,
            self.plans,
            self.energy,
            self.dispatch.again,
            self.jobs,
            Logging(config.log, self.telemetry.logs, self.telemetry.requests),
            self.current,
            self.doors,
            self.registry,
        ]
        """All that follows an edit of the configuration. What refuses quickly comes before what opens ports."""
        self.reloader = Reloader(config_path, self.current, partial(stand_ins, find=find), self.parts, joined)
        self.mcp = McpPage(self.current)
        self.fleet.stations.tell = self.jobs.tell = self.reloader.tell = self.events.tell
        self.directory = Directory(self.store, self.adopted, self.current, self.events.tell)
        self.observed = Observed(self.store)
        offers = Offers(
            self.current,
            self.directory,
            self.observed,
            can.can,
            self.plans.card,
            self.cards,
            self.health.state,
            lambda: self.doors.addresses,
        )
        self.ports = Ports(
            Parts(
                current=self.current,
                config_path=config_path,
                find=find,
                made=made,
                store=self.store,
                ledger=self.ledger,
                budgets=self.budgets,
                telemetry=self.telemetry,
                fleet=self.fleet,
                abilities=self.abilities,
                health=self.health,
                plans=self.plans,
                memory=self.memory,
                rehearsal=self.rehearsal,
                counter=counter,
                dispatch=self.dispatch,
                asker=self.asker,
                player=self.player,
                personas=self.personas,
                sessions=self.sessions,
                toolbox=self.toolbox,
                jobs=self.jobs,
                avatars=self.avatars,
                making=making,
                keyring=self.keyring,
                reloader=self.reloader,
                doors=self.doors,
                mcp=self.mcp,
                events=self.events,
                registry=self.registry,
                directory=self.directory,
                offers=offers,
                tell=self.events.tell,
                weights_changed=self._weights_changed,
            )
        )
        self._background: list[asyncio.Task[None]] = []

    def _new_app(self, lane: Lane, listener: Listener) -> ASGIApp:
        return self.ports.app(lane, listener)

    async def _renew(self) -> None:
        await self.reloader.renew()

    async def _weights_changed(self) -> None:
        """Some came or went: stand-ins step back or in, and pinned models begin to load."""
        await self.reloader.renew()

    async def _tasks(self) -> list[Task]:
        """The kinds of work that somebody here answers."""
        await self.player.tasks()  # reads the rows in a thread, if nobody has yet
        return [Task(task.name, task.path, task.title) for task in listed(self.current.config) if task.model]

    async def _recall(self) -> None:
        """What models took before this start, from the ledger; without it, it is learnt anew."""
        try:
            self.paces.recall(await recent(self.store))
        except StoreError as error:
            log.debug("the speeds of earlier requests are not known: %s", error.message)

    async def _share_budgets(self) -> None:
        """Other gateways with the same database charge the same budgets."""
        while True:
            await asyncio.sleep(SHARED_S)
            with contextlib.suppress(StoreError):  # it is told elsewhere, and tried again
                await self.budgets.reread()

    async def start(self) -> None:
        """Bind all ports, open the database, start the fleet and the watch over running requests, let clients in.

        Raises ConfigError for a port that cannot be had and for a database that cannot be used.
        """
        opening = await self.doors.prepare(self._first)
        try:
            await self.store.open()
            await self.ledger.open(paths.journal())
            await self.budgets.open()
            await self.keyring.open()
            await KeysNeeded(self.keyring).prepare(self._first)
            await self.sessions.open()
            await self.fleet.start()
            await self.jobs.open()
            await self.registry.open()
            await self.directory.open()
        except BaseException:
            opening.discard()
            raise
        lasting = (
            self.forks.keep_ready(partial(launches, self._find, self.fleet.stations)),
            self.dispatch.watch(),
            self.keyring.watch(),
            self.elsewhere.watch(),
            asyncio.to_thread(self.abilities.learn, self.current.config.models.values()),
            self.cards.learn(),
            _compile_soon(),
            self._recall(),
            self.energy.look(self.current.config),
            self._share_budgets(),
            logfile.keep_bounded(paths.log_file()),
            heap.give_back(self.telemetry.answered, lambda: len(self.dispatch.active)),
            self.reloader.watch(),
            self.avatars.watch(self._renew),
            quietly(self.toolbox),
            self.registry.keep(),
        )
        self._background += [asyncio.create_task(each) for each in lasting]
        opening.commit()
        for door in self.doors:
            await door.opened()
        await self.directory.adopt()
        self.events.tell("gateway_started", {"version": __version__, "listeners": len(self.doors.addresses)})

    async def close(self, hurry: asyncio.Event | None = None) -> None:
        """Close all ports, let running requests end, at `hurry` with an error; stop the workers, write the ledger."""
        hurry = hurry or asyncio.Event()
        self.reloader.close()
        self.telemetry.logs.end_following()
        self.events.tell("gateway_stopping", {})
        self.events.close()
        self.mcp.leave()
        grace_s = float(self.current.config.server.drain_timeout)
        for door in self.doors:  # nobody comes in while the others end
            door.leave()
        leaving = asyncio.create_task(self.doors.close(grace_s + DRAIN_SLACK_S, hurry))
        await asyncio.gather(self.dispatch.drain(grace_s, hurry), self.jobs.close())
        for task in self._background:
            task.cancel()
        await self.backstage.close()
        await self.mcp.close()
        await self.toolbox.close()
        await self.observed.close()
        await self.fleet.close()
        await self.forks.close()
        await leaving
        await self.registry.close()
        await self.energy.close()
        await self.departures.close()
        await self.ledger.close()
        self.ledger.leave()
        await self.memory.close()
        await self.keyring.close()
        await self.sessions.close()
        await self.store.close()


async def _compile_soon() -> None:
    """Compile what the first request to nobody in particular would wait for, once whoever waits for us was let in."""
    await asyncio.sleep(COMPILE_AFTER_S)
    await asyncio.to_thread(lazily.compile_all)


def _new_lane(dispatch: Dispatch, new_id: ExchangeIds, guard: Guard, limits: Limits) -> Lane:
    """A lane of no listener yet."""
    return Lane(name="", port_model="", hot={}, guard=guard, limits=limits, dispatch=dispatch, new_id=new_id)


@contextlib.asynccontextmanager
async def serving(gateway: Gateway, hurry: asyncio.Event | None = None) -> AsyncIterator[None]:
    """The gateway runs and answers while the block does.

    At the end of the block running requests may finish; `hurry` cuts them off.
    """
    try:
        await gateway.start()
        yield
    finally:
        await gateway.close(hurry)
