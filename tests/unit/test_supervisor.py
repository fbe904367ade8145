"""What systemd is told, on a socket of the test."""

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rolecast.processes import supervisor


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's end."""
    with tempfile.TemporaryDirectory(prefix="rc") as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.bind(str(Path(folder) / "notify"))
        own.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", own.getsockname())
        yield own


def test_each_state_is_one_datagram_in_systemds_words(heard: socket.socket) -> None:
    for state in supervisor.LINES:
        assert supervisor.tell(state)
    said = [heard.recv(1000).decode().splitlines() for _ in supervisor.LINES]
    assert [lines[0] for lines in said] == ["READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1"]
    name, _, value = said[1][1].partition("=")
    assert (name, value.isdigit()) == ("MONOTONIC_USEC", True)


@pytest.mark.skipif(not hasattr(socket, "SOCK_CLOEXEC"), reason="only Linux has abstract sockets")
def test_an_abstract_socket_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"rolecast-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.bind("\0" + name)
        own.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert supervisor.tell("ready")
        assert own.recv(1000).startswith(b"READY=1")


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "vsock:2:1234", "@", "/" + "x" * 500])
def test_nobody_who_listens_is_no_fault(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not supervisor.tell("ready")


def test_a_manager_that_reads_nothing_holds_nobody_up(heard: socket.socket) -> None:
    told = [supervisor.tell("alive") for _ in range(5000)]
    assert told[0]
    assert not told[-1]


@pytest.mark.parametrize(
    ("within", "pid", "expected"),
    [("30000000", "", 30.0), ("30000000", "own", 30.0), ("30000000", "1", 0.0), ("", "", 0.0), ("soon", "", 0.0)],
)
def test_the_watchdog_is_ours_only_if_the_environment_says_so(
    within: str, pid: str, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", within)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert supervisor.watched_s() == expected


@pytest.mark.anyio
async def test_a_sign_of_life_comes_twice_in_the_time_that_there_is(
    heard: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.wait_for(supervisor.keep_alive(), 1)  # nobody wants to know
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    alive = asyncio.create_task(supervisor.keep_alive())
    await asyncio.sleep(0.28)
    alive.cancel()
    heard.setblocking(False)
    signs = []
    with contextlib.suppress(BlockingIOError):
        while True:
            signs.append(heard.recv(100))
    assert set(signs) == {b"WATCHDOG=1"}
    assert 3 <= len(signs) <= 6
