"""The composition root: a Config goes in, a running gateway comes out. Builds every object once."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.routing import Route

from rolecast import books, readiness, sources, statefile, weights
from rolecast.books.ledger import Ledger
from rolecast.config import located, paths
from rolecast.config.current import Current
from rolecast.config.schema import Config, Listener
from rolecast.dialects import Entry, entries
from rolecast.dialects.pas import strict
from rolecast.errors import ConfigError, RolecastError
from rolecast.fleet import Fleet
from rolecast.pages import ui
from rolecast.pages.activity import Activity
from rolecast.pages.admin import Admin
from rolecast.pages.catalogue import Catalogue
from rolecast.pages.health import Health
from rolecast.pages.ports import FrontDoor, SingleModel
from rolecast.reload import Reloader
from rolecast.routing.abilities import Abilities
from rolecast.server import sockets, wire
from rolecast.server.asgi import make_app
from rolecast.server.guard import Guard
from rolecast.server.lane import Lane
from rolecast.sources.here import stand_ins, weights_finder
from rolecast.statefile import Address
from rolecast.telemetry import heap, logfile
from rolecast.telemetry.logs import configure_logging
from rolecast.telemetry.metrics import Telemetry
from rolecast.turn.accounts import Accounts
from rolecast.turn.dispatch import Dispatch
from rolecast.turn.exchange import make_ids
from rolecast.turn.plans import Plans
from rolecast.values import authority

log = logging.getLogger("rolecast")


Door = tuple[Address, socket.socket]
"""An open port with its socket."""


class Running(msgspec.Struct, frozen=True):
    """What runs where; handed to `on_ready`."""

    listeners: list[Address]
    models: list[tuple[str, str]]


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: one process runs several, and signals are ours."""

    capture_signals = nullcontext  # type: ignore[assignment]


class Gateway:
    """All parts of a running gateway. `apps` holds one ASGI app per listener, by name."""

    def __init__(self, config: Config, config_path: Path | None = None) -> None:
        self._find = weights_finder(config)
        self.current = Current(config, stand_ins(config, self._find))
        self.telemetry = Telemetry(i for i, m in config.models.items() if m.enabled)
        self.fleet = Fleet(config, self._find, paths.worker_logs())
        self.store = books.store_of(config)
        self.ledger = Ledger(self.store)
        self.abilities = Abilities(self.current, self._find)
        self.plans = Plans(self.current, self.fleet, self.telemetry, self.abilities.can)
        self.dispatch = Dispatch(self.plans, Accounts(self.fleet, self.ledger, self.telemetry), self.fleet)
        self._guard = Guard(config.server)
        self._new_id = make_ids()
        self.about: dict[str, Any] = {
            "config": str(config_path) if config_path else None,
            "ledger": self.store.name,
            "listeners": [],
        }
        self.reloader = Reloader(config_path, self.current, self.prepare, self.configure)
        self.health = Health(self.current, self.fleet, self.ledger)
        self.admin = Admin(
            self.current,
            self.fleet,
            self.ledger,
            self.telemetry,
            self.reloader,
            self.about,
            self.abilities,
            self.health,
        )
        store = paths.models(config.storage.models)
        self._activity = Activity(
            self.current, self.fleet, self.ledger, self.telemetry, self.dispatch, self._find, store
        )
        self.catalogue = Catalogue(self.current, self.abilities, self.health)
        self.telemetry.gauges = self.health.gauges
        self.lanes: dict[str, Lane] = {}
        self.apps: dict[str, Any] = {}
        self._add_front_door()
        for listener in config.server.listeners:
            self._add_listener(listener)
        self._background: list[asyncio.Task[None]] = []
        self._reloading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the database, start the fleet and the watch over running requests.

        Raises ConfigError when the database cannot be used.
        """
        await self.store.open()
        await self.fleet.start()
        lasting = (
            self.dispatch.watch(),
            asyncio.to_thread(self.abilities.learn, self.current.config.models.values()),
            logfile.keep_bounded(paths.log_file()),
            heap.give_back(self.telemetry.answered, lambda: len(self.dispatch.active)),
        )
        self._background += [asyncio.create_task(each) for each in lasting]
        self._reloading = asyncio.create_task(self.reloader.watch())

    async def close(self, hurry: asyncio.Event | None = None) -> None:
        """Let running requests end, at `hurry` with an error; stop the workers, write the ledger."""
        if self._reloading is not None:
            self._reloading.cancel()
        await self.dispatch.drain(float(self.current.config.server.drain_timeout), hurry or asyncio.Event())
        for task in self._background:
            task.cancel()
        await self.fleet.close()
        await self.ledger.close()
        await self.store.close()

    def prepare(self, config: Config) -> Mapping[str, str]:
        """What can be slow about another configuration, for a thread: finding weights. Gives its stand-ins.

        Raises ConfigError for sources that are none, and for what would break a model that works.
        """
        problems = []
        for model_id, model in config.models.items():
            try:
                source = sources.parse(model.source, model.sha256) if model.source else None
            except RolecastError as error:
                problems.append(f"models.{model_id}.source: {error.message}")
                continue
            if source is not None and model.enabled:
                weights.found(self._find, model)  # which remembers what it had to compute
        if problems:
            raise ConfigError(problems)
        helpers = stand_ins(config, self._find)
        if problems := self._breaks(config, helpers):
            raise ConfigError(problems)
        self.abilities.learn(config.models.values())
        return helpers

    def _breaks(self, config: Config, helpers: Mapping[str, str]) -> list[str]:
        """What would end a model that works now for one that cannot run on this machine as it is."""
        return [
            f"models.{model_id}.{line} ({model_id} works now, and would not with this edit)"
            for model_id, model in config.models.items()
            if model.enabled and model_id not in helpers and self.fleet.would_replace(model_id, model)
            for line in readiness.hindrances(config, model)
        ]

    def configure(self, config: Config, stand_ins: Mapping[str, str]) -> None:
        """Another configuration applies from now on; requests that run are finished as they began.

        Raises ConfigError, with nothing changed. Ports, the ledger's file and the like stay as they are.
        """
        guard, before = Guard(config.server), self.current.config
        hot = {name: self._hot_of(name, config) for name in self.lanes}
        self.telemetry.add(i for i, m in config.models.items() if m.enabled)
        self.fleet.configure(config)
        self.current.replace(config, stand_ins)
        self.plans.renew()
        if config.log != before.log:
            configure_logging(config.log.level, config.log.format, self.telemetry.logs)
        for name, lane in self.lanes.items():
            lane.renew(hot[name], guard, config.server.limits)

    # -- parts --------------------------------------------------------------------------------------------

    def _lane(self, name: str, port_model: str) -> Lane:
        lane = self.lanes[name] = Lane(
            name=name,
            port_model=port_model,
            hot=self._hot_of(name, self.current.config),
            guard=self._guard,
            limits=self.current.config.server.limits,
            dispatch=self.dispatch,
            new_id=self._new_id,
        )
        return lane

    def _hot_of(self, name: str, config: Config) -> dict[bytes, Entry]:
        """What reads the bodies on the port of that name."""
        hot = entries(config.server.limits)
        listener = next((x for x in config.server.listeners if x.label == name and x.surface == "pas"), None)
        model = config.models.get(listener.model or "") if listener else None
        return strict(hot, model.context if model else 0) if listener else hot

    def _add_front_door(self) -> None:
        self.apps["front door"] = make_app(self._lane("front door", ""), self._all_routes(), self)

    def _add_listener(self, listener: Listener) -> None:
        name = listener.label
        lane = self._lane(name, listener.model or "")
        if listener.model is None:
            routes = self._all_routes()
        else:
            single = SingleModel(listener, self.current, self.telemetry, self.health)
            routes = [*self.catalogue.routes(), *single.routes()]
        self.apps[name] = make_app(lane, routes, self)

    def _all_routes(self) -> list[Route]:
        """What every port has that is not the port of one model."""
        door = FrontDoor(self.telemetry, self.health)
        return [*self.catalogue.routes(), *self.admin.routes(), *self._activity.routes(), *door.routes(), *ui.routes()]


# -- running in the foreground ---------------------------------------------------------------------------


def run(config: Config, *, config_path: Path | None = None, on_ready: Callable[[Running], None] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises ConfigError for a port that is taken.

    A second signal cuts off the requests that are still running.
    """
    import uvloop

    try:
        uvloop.run(_serve(config, config_path, on_ready))
    except ConfigError as error:
        raise ConfigError(located(error.problems, config_path), source=error.source) from error
    return 0


async def _serve(config: Config, config_path: Path | None, on_ready: Callable[[Running], None] | None) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def end() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    with contextlib.ExitStack() as stack:
        doors = list(bind(config, stack))
        addresses = [address for address, _ in doors]
        gateway = Gateway(config, config_path)
        configure_logging(config.log.level, config.log.format, gateway.telemetry.logs)
        async with serving(gateway, doors, hurry):
            statefile.write(addresses, config_path, gateway.telemetry.started_at)
            heap.settle()
            if on_ready is not None:
                on_ready(Running(addresses, [(i, gateway.health.state(i)) for i in gateway.telemetry.models]))
            await stop.wait()
            log.info("stopping: %d requests are running", len(gateway.dispatch.active))
        statefile.remove()


@contextlib.asynccontextmanager
async def serving(
    gateway: Gateway, doors: Sequence[Door], hurry: asyncio.Event | None = None
) -> AsyncIterator[dict[str, set[Any]]]:
    """The gateway runs, and answers at these doors, while the block does; gives the open connections of each.

    At the end of the block running requests may finish; `hurry` cuts them off.
    """
    hurry = hurry or asyncio.Event()
    servers = [_server(gateway, address, sock) for address, sock in doors]
    gateway.about["listeners"] = [msgspec.structs.asdict(address) for address, _ in doors]
    await gateway.start()
    connections: dict[str, set[Any]] = {
        address.name: server.server_state.connections for (address, _), server in zip(doors, servers, strict=True)
    }
    for name, its in connections.items():
        gateway.lanes[name].connections = its
    watching = [
        asyncio.create_task(wire.sweep_connections(gateway.lanes[name], its)) for name, its in connections.items()
    ]
    answering = [
        asyncio.create_task(server.serve(sockets=[sock])) for server, (_, sock) in zip(servers, doors, strict=True)
    ]
    while not all(server.started for server in servers):  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.002)
    try:
        yield connections
    finally:
        gateway.telemetry.logs.end_following()
        watching.append(asyncio.create_task(_force(servers, hurry)))
        for server in servers:
            server.should_exit = True
            for listening in server.servers:  # at once, not at the server's next tick
                listening.close()
        await asyncio.gather(gateway.close(hurry), *answering)
        for task in watching:
            task.cancel()


async def _force(servers: Sequence[_Server], hurry: asyncio.Event) -> None:
    await hurry.wait()
    for server in servers:
        server.force_exit = True


def _server(gateway: Gateway, address: Address, sock: socket.socket) -> _Server:
    config = uvicorn.Config(
        gateway.apps[address.name],
        http=wire.protocol_for(gateway.lanes[address.name]),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=gateway.current.config.log.access,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(gateway.current.config.server.drain_timeout) + 5,
        backlog=2048,
    )
    config.load()
    return _Server(config)


def bind(config: Config, stack: contextlib.ExitStack) -> Iterator[Door]:
    """Open every port before anything else starts. Raises ConfigError that names who holds a taken one."""
    server = config.server
    yield _open("front door", server.host, server.port, "", "openai", stack)
    for x in server.listeners:
        yield _open(x.label, x.host or server.host, x.port, x.model or "", x.surface, stack)


def _open(name: str, host: str, port: int, model: str, surface: str, stack: contextlib.ExitStack) -> Door:
    try:
        sock = stack.enter_context(sockets.listen(host, port))
    except OSError as exc:
        raise ConfigError([_port_problem(name, host.strip("[]"), port, exc)]) from None
    host = host.strip("[]")
    shown = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return Address(name, f"http://{authority(shown, sock.getsockname()[1])}", model, surface), sock


def _port_problem(name: str, host: str, port: int, exc: OSError) -> str:
    if exc.errno != errno.EADDRINUSE:
        return f"{name}: cannot listen on {authority(host, port)}: {exc.strerror}"
    return (
        f"{name}: port {port} is taken by {sockets.holder(port)}; stop it, or choose another port in the configuration"
    )
