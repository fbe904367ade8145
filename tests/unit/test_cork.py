"""Writes of one turn: held back when there is much to do, in order, but never the start of a stream."""

import asyncio
from typing import Any

import pytest
from gateway import turns

from rolecast.net.cork import EAGER, Cork

pytestmark = pytest.mark.anyio


class Transport:
    """Notes what is written to it, in a list shared with others."""

    def __init__(self, name: str, written: list[tuple[str, bytes]]) -> None:
        self._name, self._written = name, written

    def write(self, data: bytes) -> None:
        self._written.append((self._name, data))


def pair() -> tuple[Cork, Any, Any, list[tuple[str, bytes]]]:
    written: list[tuple[str, bytes]] = []
    return Cork(asyncio.get_running_loop()), Transport("a", written), Transport("b", written), written


async def test_with_little_to_do_every_write_goes_out_at_once() -> None:
    cork, a, _, written = pair()
    cork.running = EAGER
    cork.write(a, b"1")
    assert written == [("a", b"1")]


async def test_with_much_to_do_writes_go_out_together_in_their_order() -> None:
    cork, a, b, written = pair()
    cork.running = EAGER + 1
    for transport, data in ((a, b"1"), (b, b"2"), (a, b"3")):
        cork.write(transport, data)
    assert not written
    await turns()
    assert written == [("a", b"1"), ("b", b"2"), ("a", b"3")]


async def test_the_start_of_a_stream_waits_for_nobody_but_its_own_connection() -> None:
    cork, a, b, written = pair()
    cork.running = EAGER + 1
    cork.write(a, b"1")
    cork.write_first(b, b"2")
    assert written == [("b", b"2")]
    cork.write_first(a, b"3")
    assert written == [("b", b"2")]
    await turns()
    assert written == [("b", b"2"), ("a", b"1"), ("a", b"3")]
