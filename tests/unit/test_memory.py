"""Kept conversations on every database: found at once, in order, by their key alone, and bounded."""

from collections.abc import AsyncIterator, Mapping, Sequence

import pytest
from databases import OpenStore, database, postgres

from rolecast.books.store import Store, StoreError
from rolecast.dialects.thread import Kept
from rolecast.errors import BadRequest, NotFound
from rolecast.turn import memory as memories
from rolecast.turn.memory import Memory
from rolecast.values import Chat, Message

pytestmark = pytest.mark.anyio
__all__ = ["database", "postgres"]  # fixtures


@pytest.fixture
async def store(database: OpenStore) -> AsyncIterator[Store]:
    ready = database()
    await ready.open()
    yield ready
    await ready.close()


class _Place:
    """A place in a conversation that only tells what it was given."""

    def __init__(self, follows: str = "", *refers: str) -> None:
        self.follows = follows
        self.refers = frozenset(refers)

    def join(self, before: Sequence[Kept], referred: Mapping[str, Kept]) -> Chat:
        told = [each.id for each in before] + [f"={name}" for name in sorted(referred)]
        return Chat("", tuple(Message("user", each) for each in told))

    def kept(self) -> Kept | None:
        return None


def kept(name: str, previous: str = "", size: int = 2) -> Kept:
    return Kept(name, previous, b"[]", b" " * (size - 2))


async def told(memory: Memory, place: _Place, key: str = "k") -> list[str]:
    return [str(each.content) for each in (await memory.whole(place, key))[0].messages]


async def test_a_conversation_is_whole_at_once_and_in_order_also_for_another_gateway(store: Store) -> None:
    memory = Memory(store)
    for name, previous in (("a", ""), ("b", "a"), ("c", "b"), ("d", "a")):
        memory.keep(kept(name, previous), "k")
    assert await told(memory, _Place("c", "d")) == ["a", "b", "c", "=d"]
    assert await told(Memory(store), _Place("d")) == ["a", "d"]


async def test_what_is_kept_is_given_and_forgotten_for_its_key_alone(store: Store) -> None:
    memory = Memory(store)
    memory.keep(kept("a", size=9), "k")
    for attempt in (memory.get("a", "other"), memory.delete("a", "other"), memory.whole(_Place("a"), "other")):
        with pytest.raises(NotFound):
            await attempt
    assert await memory.get("a", "k") == kept("a", size=9)
    await memory.delete("a", "k")
    with pytest.raises(NotFound):
        await memory.get("a", "k")


async def test_the_oldest_go_first_by_number_and_by_size(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(store)
    monkeypatch.setattr(memories, "KEPT_BYTES", 100)
    for number, size in enumerate((40, 40, 40)):
        memory.keep(kept(str(number), size=size), "k")
        await memory.close()
    with pytest.raises(NotFound):
        await memory.get("0", "k")
    monkeypatch.setattr(memories, "KEPT", 1)
    memory.keep(kept("3"), "k")
    with pytest.raises(NotFound):
        await memory.get("2", "k")
    assert await memory.get("3", "k")


async def test_the_oldest_are_not_looked_for_with_every_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(store)
    monkeypatch.setattr(memories, "KEPT", 200)  # two more may be there until somebody looks
    for number in range(201):
        memory.keep(kept(str(number)), "k")
        await memory.close()
    assert await memory.get("0", "k")
    memory.keep(kept("201"), "k")
    await memory.close()
    for name in ("0", "1"):
        with pytest.raises(NotFound):
            await memory.get(name, "k")
    assert await memory.get("2", "k")


@pytest.mark.parametrize(("bound", "value"), [("DEEPEST", 2), ("LARGEST", 4)])
async def test_a_conversation_has_an_end(store: Store, monkeypatch: pytest.MonkeyPatch, bound: str, value: int) -> None:
    memory = Memory(store)
    monkeypatch.setattr(memories, bound, value)
    for name, previous in (("a", ""), ("b", "a"), ("c", "b")):
        memory.keep(kept(name, previous), "k")
    assert await told(memory, _Place("b")) == ["a", "b"]
    with pytest.raises(BadRequest, match="begin another one"):
        await memory.whole(_Place("c"), "k")


async def test_without_a_database_answers_wait_for_it_and_only_so_many(
    database: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, store = database(), database()
    await closed.open()
    await closed.close()
    memory = Memory(closed)
    monkeypatch.setattr(memories, "MOST_WAITING", 30)
    for name in "abc":
        memory.keep(kept(name, size=10), "k")
    with pytest.raises(StoreError):
        await memory.get("a", "k")
    for name in "de":
        memory.keep(kept(name, size=10), "k")
    await store.open()
    monkeypatch.setattr(memory, "_store", store)
    assert await memory.get("c", "k")
    assert await memory.get("e", "k")
    with pytest.raises(NotFound):
        await memory.get("a", "k")
    await store.close()
