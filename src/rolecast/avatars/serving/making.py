"""The making of an avatar as a job: a child process that goes through the steps of its order.

The order lies beside the avatar, since a job keeps only what it is about: so one that was broken off by the end of a
gateway goes on with the next.
"""

import asyncio
import hashlib
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from rolecast.avatars import asked
from rolecast.avatars import order as orders
from rolecast.avatars.order import AvatarOrder
from rolecast.avatars.places import Place, root
from rolecast.avatars.serving import card
from rolecast.config.current import Current
from rolecast.config.schema import Model
from rolecast.errors import Conflict, NotFound, RolecastError
from rolecast.jobs import child
from rolecast.jobs.job import Attempt, Failed, Order
from rolecast.values import Launch

FILE = "order.json"
KIND = "avatar"
_SEEN = re.compile(r"ROLECAST_(?:HOME|CONFIG|STORAGE__\w+|AVATARS__\w+)|XDG_DATA_HOME|NEO4J_\w+|OMP_NUM_THREADS")
"""Variables that such a process reads, passwords of databases among them: it brings the conversations."""


class Making:
    """The kind of job that makes avatars. `arrived` is awaited when one may have been released."""

    at_once = 1
    resumes = True

    def __init__(
        self,
        current: Current,
        arrived: Callable[[], Awaitable[None]],
        folder: Path | None = None,
        find: Callable[[Model], Path | None] = lambda model: None,
    ) -> None:
        self._current = current
        self._arrived = arrived
        self._folder = folder or root()
        self._find = find

    def put(self, wanted: AvatarOrder) -> None:
        """Keep the order that the next job for this avatar carries out. Raises Invalid and Conflict."""
        card.write(Place(wanted.name, self._folder).folder / FILE, wanted)

    def is_put(self, wanted: AvatarOrder) -> bool:
        """Whether the order that is kept is this one."""
        try:
            return self.order(wanted.name).key == _key(wanted)
        except (NotFound, Conflict):
            return False

    def order(self, subject: str) -> Order:
        """What was put for the avatar of that name. Raises NotFound when nothing was."""
        place = Place(subject, self._folder)
        try:
            wanted = card.read(place.folder / FILE, AvatarOrder)
        except NotFound:
            text = f"Nothing was ordered for an avatar {subject[:100]!r}; POST /v1/avatars, or `rolecast avatar train`."
            raise NotFound(text, param="name") from None
        return Order(place.name, _key(wanted))

    def obstacle(self, order: Order) -> str:
        """Another order took its place, or avatars are switched off."""
        if not self._current.config.avatars.enabled:
            return "Avatars are switched off (avatars.enabled), so it was not made."
        try:
            return "" if self.order(order.subject).key == order.key else f"{order.subject} was ordered otherwise since."
        except Exception as error:
            return f"Its order cannot be read: {error}"

    def _completed(self, wanted: AvatarOrder) -> AvatarOrder:
        """The order with where conversations and base are here now; none of that is written down. Raises Failed."""
        config = self._current.config
        address = wanted.settings.extraction.neo4j
        if address and "NEO4J_PASSWORD" in os.environ and address != os.environ.get("NEO4J_URI"):
            # An order comes over the network: it must not say to whom the password is sent.
            raise Failed("The login of Neo4j is for NEO4J_URI alone; start the gateway with that address in it.")
        wanted = replace(wanted, database=config.storage.url, keep=config.avatars.keep)
        if wanted.settings.training.method == "scratch" or not {"train", "evaluate", "release"} & {*wanted.steps}:
            return wanted
        try:
            name, model = asked.base_model(wanted.settings.training.base, config)
            found = self._find(model) if model is not None else Path(name)
        except RolecastError as error:
            raise Failed(error.message) from error
        if found is None:
            raise Failed(f"The weights of {name} are not here; `rolecast pull {name}` brings them.")
        return replace(wanted, base=str(found))

    async def run(self, order: Order, attempt: Attempt) -> str:
        """Go through the steps, and let the gateway look at what was released; gives what the process gave."""
        wanted = await asyncio.to_thread(card.read, Place(order.subject, self._folder).folder / FILE, AvatarOrder)
        if _key(wanted) != order.key:
            raise Failed(f"{order.subject} was ordered otherwise since.")
        wanted = await asyncio.to_thread(self._completed, wanted)
        launch = Launch(
            argv=(sys.executable, "-P", "-m", orders.MODULE),
            env=(*environment(os.environ), (orders.ORDER, msgspec.json.encode(wanted).decode())),
            own_watch=True,
        )
        result = await child.run(launch, name=f"the making of {order.subject}", log=attempt.log, report=attempt.report)
        seen = asyncio.ensure_future(self._arrived())
        try:
            await asyncio.shield(seen)
        except asyncio.CancelledError:  # too late: it is done
            await seen
        return result


def environment(ours: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables of such a process besides its order, and besides those that every child sees."""
    yield from orders.environment(ours)
    yield from ((name, value) for name, value in ours.items() if _SEEN.fullmatch(name))


def _key(wanted: AvatarOrder) -> str:
    """Which order is meant, without naming anybody: the key is written down."""
    return hashlib.blake2s(msgspec.json.encode(wanted), digest_size=16).hexdigest()
