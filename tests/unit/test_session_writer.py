"""Turns that wait for a database: nobody waits for it to fail again, and they are written by themselves."""

import asyncio
from typing import Any

import pytest

from rolecast.books.sessions import New
from rolecast.books.store import StoreError
from rolecast.turn import session_writer
from rolecast.turn.session_writer import Writer

pytestmark = pytest.mark.anyio
anyio_backend = "asyncio"


class Locked:
    """A database that another program keeps locked for a while; each try takes its time."""

    def __init__(self) -> None:
        self.locked = True
        self.tries = 0

    async def transact(self, work: Any) -> list[int]:
        self.tries += 1
        await asyncio.sleep(0.05)
        if self.locked:
            raise StoreError("It is locked.")
        return list(range(1, 1 + len(work.args[0])))


def new(number: int) -> New:
    return New("", f"s{number}", float(number), "asked", "answer", "m", 1)


async def test_while_a_database_is_locked_one_waits_for_it_and_the_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_writer, "RETRY_S", 0.1)
    store = Locked()
    writer = Writer(store, lambda: 1000)  # type: ignore[arg-type]
    numbers = await asyncio.gather(*(writer.write(new(n)) for n in range(20)))
    assert numbers == [0] * 20
    assert store.tries == 1
    store.locked = False
    async with asyncio.timeout(5):  # nobody asks for anything any more
        while writer._waiting:
            await asyncio.sleep(0.01)
    assert store.tries <= 4
    assert await writer.write(new(21)) == 1
    await writer.close()


async def test_the_end_tries_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_writer, "RETRY_S", 60)
    store = Locked()
    writer = Writer(store, lambda: 1000)  # type: ignore[arg-type]
    assert await writer.write(new(1)) == 0
    store.locked = False
    await writer.close()
    assert not writer._waiting
