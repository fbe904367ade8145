"""Which ports are open, and how an edit of the configuration opens and closes them.

A port that an edit leaves in place keeps its socket and its connections, whoever answers there afterwards. Every new
port is bound before an old one is closed, so an edit that cannot have one changes nothing. What happens on an open
port is `server/door.py`'s; which pages it has is told by `app.py`.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import msgspec
from starlette.types import ASGIApp

from rolecast.access.keyring import Keyring
from rolecast.config.edit import Change, Edit
from rolecast.config.schema import Config, Limits, Listener, Server
from rolecast.dialects import Entry
from rolecast.errors import ConfigError
from rolecast.server import sockets
from rolecast.server.door import Door, View
from rolecast.server.guard import Guard
from rolecast.server.lane import Lane
from rolecast.statefile import Address
from rolecast.values import authority

log = logging.getLogger("rolecast.server")

FRONT = "front door"
SWEEP_S = 1.0
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where this machine itself finds what listens at every address."""

NewLane = Callable[[Guard, Limits], Lane]
NewApp = Callable[[Lane, Listener], ASGIApp]
"""The pages of the port that this listener asks for; without `model` it has all of them."""
HotOf = Callable[[Listener, Config], Mapping[bytes, Entry]]
"""The paths whose bodies go to models on that port, and what reads them."""


class Place(msgspec.Struct, frozen=True):
    """A port that the configuration asks for, and where it says so."""

    setting: str
    listener: Listener
    """Of the front door, too."""
    host: str
    """Where it listens, in numbers."""


Bind = Callable[[Place, Sequence[socket.socket]], socket.socket]
"""A socket that listens for a place, beside sockets of ours that will be closed soon. Raises OSError."""


def bind_port(place: Place, beside: Sequence[socket.socket]) -> socket.socket:
    """The usual way: the port that the configuration names."""
    return sockets.listen(place.host, place.listener.port, beside)


class Doors:
    """All open ports. The start opens them as any later edit does: it prepares, and then commits."""

    def __init__(
        self,
        new_lane: NewLane,
        new_app: NewApp,
        hot_of: HotOf,
        bind: Bind = bind_port,
        keyring: Keyring | None = None,
    ) -> None:
        self._new_lane = new_lane
        self._new_app = new_app
        self._hot_of = hot_of
        self._bind_one = bind
        self._ring = keyring
        self._open: list[Door] = []
        self._leaving: dict[asyncio.Task[None], Door] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self.changed: Callable[[], None] = lambda: None
        """Called when other addresses are open than before."""

    def __iter__(self) -> Iterator[Door]:
        return iter(self._open)

    @property
    def addresses(self) -> list[Address]:
        """What is open, the front door first."""
        return [_address(door) for door in self._open]

    async def prepare(self, edit: Edit) -> Change:
        """Bind what is new. Refuses a port that cannot be had, and keys that cannot be used."""
        config, guard = edit.config, Guard(edit.config.server, self._ring)
        places = [await self._place(setting, listener) for setting, listener in wanted(config.server)]
        kept = keep(self._open, places)
        leaving = [door for door in self._open if door not in kept]
        absent = [place for place, door in zip(places, kept, strict=True) if door is None]
        bound = await self._bind(absent, leaving)
        fresh = iter(bound)
        doors = [
            door or Door(next(fresh), place.host, self._new_lane(guard, config.server.limits))
            for place, door in zip(places, kept, strict=True)
        ]
        views = [self._view(door, place.listener, guard, config) for door, place in zip(doors, places, strict=True)]
        commit = partial(self._commit, doors, views, leaving, float(config.server.drain_timeout))
        return Change(commit, partial(_close, bound))

    def forget(self) -> None:
        """Let no connection, of an open port or one that closes, go on with what was known of a key."""
        for door in (*self._open, *self._leaving.values()):
            door.lane.forget()

    async def close(self, grace_s: float, hurry: asyncio.Event) -> None:
        """Close all at once; what still runs after `grace_s`, or at `hurry`, gets an error."""
        doors = [*self._open, *self._leaving.values()]
        await asyncio.gather(*(door.close(grace_s, hurry) for door in doors), *self._leaving)
        if self._sweeping is not None:
            self._sweeping.cancel()

    # -- an edit ------------------------------------------------------------------------------------------

    async def _place(self, setting: str, listener: Listener) -> Place:
        host = listener.host or ""
        # A name means what it meant when it was opened, or an edit of something else could move the port.
        known = next((door.host for door in self._open if _listener(door).host == host), "")
        try:
            return Place(setting, listener, known or await sockets.numeric(host))
        except OSError as error:
            text = f"cannot listen on {host}: {error.strerror or error}; choose another address"
            raise ConfigError([f"{setting}.host: {text}"]) from None

    async def _bind(self, places: Iterable[Place], leaving: Sequence[Door]) -> list[socket.socket]:
        """Sockets for these places, all or none."""
        bound: list[socket.socket] = []
        try:
            for place in places:
                beside = [door.sock for door in leaving if door.port == place.listener.port]
                try:
                    bound.append(self._bind_one(place, beside))
                except OSError as error:
                    staying = [door for door in self._open if door not in leaving]
                    raise ConfigError([await _obstacle(place, error, staying)]) from None
        except BaseException:
            _close(bound)
            raise
        return bound

    def _view(self, door: Door, listener: Listener, guard: Guard, config: Config) -> View:
        before = door.view
        app = before.app if before and before.listener == listener else self._new_app(door.lane, listener)
        return View(listener, app, self._hot_of(listener, config), guard, config.server.limits, config.log.access)

    def _commit(self, doors: list[Door], views: list[View], leaving: list[Door], grace_s: float) -> None:
        before = self.addresses
        new = [door for door in doors if door not in self._open]
        for door, view in zip(doors, views, strict=True):
            door.show(view)
        for door in new:
            door.open()
        self._open = doors
        for door in leaving:
            self._let_go(door, grace_s)
        logging.getLogger("uvicorn.access").propagate = views[0].logs_access
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep())
        if before:  # who starts the gateway tells of the first ones
            self._tell(before, self.addresses)

    def _let_go(self, door: Door, grace_s: float) -> None:
        door.leave()
        task = asyncio.create_task(door.close(grace_s, asyncio.Event()))
        self._leaving[task] = door
        task.add_done_callback(self._leaving.pop)

    def _tell(self, before: list[Address], after: list[Address]) -> None:
        for address in before:
            if address not in after:
                log.info("%s listens on %s no longer", address.name, address.url)
        for address in after:
            if address not in before:
                log.info("%s listens on %s", address.name, address.url)
        if before != after:
            self.changed()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            for door in [*self._open, *self._leaving.values()]:
                door.tick()


def wanted(server: Server) -> Iterator[tuple[str, Listener]]:
    """Every port that a configuration asks for with its setting, the front door first; hosts are filled in."""
    yield "server", Listener(port=server.port, host=server.host, name=FRONT, surface=server.surface)
    for i, listener in enumerate(server.listeners):
        host = listener.host or server.host
        yield f"server.listeners.{i}", msgspec.structs.replace(listener, host=host)


def keep(doors: Sequence[Door], places: Sequence[Place]) -> list[Door | None]:
    """The open door for each of these places, as far as one can stay: first its own, then any on that port."""
    found: list[Door | None] = [None] * len(places)
    for fits in (_is_own, _has_port, _is_any):
        for i, place in enumerate(places):
            if found[i] is None:
                fitting = (d for d in doors if d not in found and d.host == place.host and fits(d, place.listener))
                found[i] = next(fitting, None)
    return found


def _is_own(door: Door, listener: Listener) -> bool:
    before = _listener(door)
    return before.label == listener.label and listener.port in (before.port, door.port)


def _has_port(door: Door, listener: Listener) -> bool:
    return door.port == listener.port


def _is_any(door: Door, listener: Listener) -> bool:
    """Whether both would be content with any port, and nobody knows them by a name."""
    before = _listener(door)
    return listener.port == before.port == 0 and not listener.name and not before.name


def _listener(door: Door) -> Listener:
    assert door.view is not None
    return door.view.listener


async def _obstacle(place: Place, error: OSError, staying: Sequence[Door]) -> str:
    """Why a port cannot be opened, and what to do."""
    port = place.listener.port
    if error.errno != errno.EADDRINUSE:
        where = authority(place.host, port)
        return f"{place.setting}.host: cannot listen on {where}: {error.strerror or error}; choose another address"
    ours = next(
        (f"the listener '{_listener(door).label}' of this gateway" for door in staying if door.port == port), ""
    )
    who = ours or f"{await asyncio.to_thread(sockets.holder, port)}; stop it"
    return f"{place.setting}.port: port {port} is taken by {who}, or choose another port in the configuration"


def _address(door: Door) -> Address:
    listener = _listener(door)
    host = (listener.host or "").strip("[]")
    shown = ANYWHERE.get(door.host, host)
    return Address(listener.label, f"http://{authority(shown, door.port)}", listener.model or "", listener.surface)


def _close(bound: Iterable[socket.socket]) -> None:
    for sock in bound:
        sock.close()
