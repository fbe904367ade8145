"""Services and alerts in the database: read once at the start, written in batches.

A registration and a good-bye are waited for, so that they survive whatever comes after their answer. Heartbeats are
written now and then. While the database cannot be used everything goes on in memory, and is written when it can.
"""

import asyncio
import logging
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from rolecast.books.store import Query, Row, Step, Store, StoreError
from rolecast.registry.service import Alert, Service

log = logging.getLogger("rolecast.registry")
T = TypeVar("T")

KEPT_ALERTS = 1000
"""So many alerts of a gateway are kept; older ones are forgotten."""
RETRY_S = 1.0
CLOSE_S = 5.0

SERVICES = Query("SELECT told FROM services WHERE place = :place ORDER BY id")
ALERTS = Query("SELECT number, told FROM service_alerts WHERE place = :place ORDER BY number DESC LIMIT :most")
PUT = Query(
    "INSERT INTO services (place, id, told) VALUES (:place, :id, :told)"
    " ON CONFLICT (place, id) DO UPDATE SET told = excluded.told"
)
DROP = Query("DELETE FROM services WHERE place = :place AND id = :id")
TELL = Query(
    "INSERT INTO service_alerts (place, number, told) VALUES (:place, :number, :told)"
    " ON CONFLICT (place, number) DO UPDATE SET told = excluded.told"
)
PRUNE = Query("DELETE FROM service_alerts WHERE place = :place AND number <= :oldest")


class Rows:
    """The rows of one gateway."""

    def __init__(self, store: Store, place: str) -> None:
        self._store = store
        self._place = place
        self._services: dict[str, Service | None] = {}
        """What is to be written; None = it is gone."""
        self._alerts: list[tuple[int, Alert]] = []
        self._number = 0
        self._writing: asyncio.Task[None] | None = None
        self._turn: asyncio.Future[None] | None = None
        """Done when all that is noted now was tried to be written."""
        self._trouble = ""

    async def read(self) -> tuple[list[Service], list[Alert]]:
        """What was there before, alerts oldest first; nothing while the database cannot be used."""
        try:
            services = await self._store.read(SERVICES, place=self._place)
            alerts = await self._store.read(ALERTS, place=self._place, most=KEPT_ALERTS)
        except StoreError as error:
            log.warning("what services there were is not known: %s", error.message)
            return [], []
        self._number = alerts[0][0] if alerts else 0
        kept = [_read(text, Service) for (text,) in services]
        told = [_read(text, Alert) for _, text in reversed(alerts)]
        return [each for each in kept if each is not None], [each for each in told if each is not None]

    def note(self, service: Service) -> None:
        """Keep it as it is now, with the next batch."""
        self._services[service.id] = service

    def forget(self, service_id: str) -> None:
        """Keep it no more."""
        self._services[service_id] = None

    def alert(self, alert: Alert) -> None:
        """Keep this alert."""
        self._number += 1
        self._alerts.append((self._number, alert))
        del self._alerts[:-KEPT_ALERTS]

    def write(self) -> None:
        """Write what is noted; returns at once."""
        if self._writing is None and (self._services or self._alerts):
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def written(self) -> None:
        """Write what is noted, and wait until that was tried. While the database cannot be used, nobody waits."""
        if self._trouble or not (self._services or self._alerts):
            return
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_future()
        turn = self._turn
        self.write()
        await asyncio.shield(turn)

    async def close(self) -> None:
        """Write the rest, for a few seconds at most."""
        self.write()
        if (writing := self._writing) is not None:
            await asyncio.wait({writing}, timeout=CLOSE_S)
            writing.cancel()
            await asyncio.wait({writing})

    async def _write(self) -> None:
        try:
            while self._services or self._alerts:
                turn, self._turn = self._turn, None
                try:
                    await self._batch()
                finally:
                    _end(turn)
                if self._trouble:
                    await asyncio.sleep(RETRY_S)
        finally:
            self._writing = None
            _end(self._turn)
            self._turn = None

    async def _batch(self) -> None:
        services, self._services = self._services, {}
        alerts, self._alerts = self._alerts, []
        try:
            await self._store.transact(partial(_steps, self._place, services, alerts))
        except StoreError as error:
            self._services = services | self._services
            self._alerts = (alerts + self._alerts)[-KEPT_ALERTS:]
            self._note_trouble(error.message)
        except Exception:
            log.exception("%d services could not be written down", len(services))
            self._note_trouble("")
        else:
            self._note_trouble("")

    def _note_trouble(self, why: str) -> None:
        before, self._trouble = self._trouble, why
        if why and not before:
            log.warning("services go on, but would be forgotten if the gateway ended now: %s", why)
        elif before and not why:
            log.info("services are written down again")


def _steps(
    place: str, services: Mapping[str, Service | None], alerts: Sequence[tuple[int, Alert]]
) -> Generator[Step, list[Row], None]:
    for service_id, service in services.items():
        if service is None:
            yield Step(DROP, {"place": place, "id": service_id})
        else:
            yield Step(PUT, {"place": place, "id": service_id, "told": _text(service)})
    for number, alert in alerts:
        yield Step(TELL, {"place": place, "number": number, "told": _text(alert)})
    if alerts:
        yield Step(PRUNE, {"place": place, "oldest": alerts[-1][0] - KEPT_ALERTS})


def _text(value: Service | Alert) -> str:
    return msgspec.json.encode(value).decode()


def _read(text: str, kind: type[T]) -> T | None:
    """None for what another version has written in another way."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError:
        return None


def _end(turn: asyncio.Future[None] | None) -> None:
    if turn is not None and not turn.done():
        turn.set_result(None)
