"""Ports for servers that a test starts later.

The system gives numbers of its own range to whoever asks for any port, so that one of those may be another test's
before its server has started. These are below that range, and each process of the tests has its own.
"""

import itertools
import os
import socket
from collections.abc import Iterable

FIRST, EACH, PROCESSES = 20_000, 1_500, 8
"""Above the ports of well-known servers and below 32,768."""


def _own() -> "itertools.cycle[int]":
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PROCESSES
    start = FIRST + EACH * number
    # Another run of the tests on this machine begins elsewhere.
    begin = start + os.getpid() % EACH
    return itertools.cycle((*range(begin, start + EACH), *range(start, begin)))


_numbers = _own()


def free_port() -> int:
    """One that nobody has."""
    for port in itertools.islice(_numbers, EACH):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


def instead_of(documented: Iterable[int]) -> dict[int, int]:
    """One for each of these."""
    return {port: free_port() for port in dict.fromkeys(documented)}
