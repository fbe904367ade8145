"""Listening sockets: opening one, and why one cannot be opened. Knows no HTTP and no configuration."""

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Collection, Iterator

import psutil

BACKLOG = 2048


async def numeric(host: str) -> str:
    """The address that a host means when somebody listens there, in numbers. Raises OSError for an unknown name."""
    host = host.strip("[]") or "0.0.0.0"
    if ":" not in host and not host.replace(".", "").isdigit():
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
        host = str(found[0][4][0])
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def listen(host: str, port: int, beside: Collection[socket.socket] = ()) -> socket.socket:
    """A socket that listens there; port 0 is any that is free. Raises OSError.

    `beside` are sockets of ours that will be closed soon: 127.0.0.1 and 0.0.0.0 cannot have one port number, unless
    both sockets allow it.
    """
    try:
        return _listen(host, port)
    except OSError as error:
        if not beside or error.errno != errno.EADDRINUSE:
            raise
    return _listen(host, port, beside)


def _listen(host: str, port: int, beside: Collection[socket.socket] = ()) -> socket.socket:
    host = host.strip("[]")
    # With its protocol named: asyncio switches Nagle's delays off only where that says TCP.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with _shared([sock, *beside]) if beside else contextlib.nullcontext():
            sock.bind((host, port))
            sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def _shared(several: list[socket.socket]) -> Iterator[None]:
    """For a moment these may have one port together."""
    try:
        for each in several:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield
    finally:
        for each in several:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


def obstacle(port: int, error: OSError) -> str:
    """Why nobody can listen there, in words that follow the address."""
    if error.errno == errno.EADDRINUSE:
        return f"is taken by {holder(port)}"
    return f"cannot be opened ({error.strerror or error})"


def _called(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):  # another user's tells no words
        if any(word.startswith("rolecast.") for word in process.cmdline()[:5]):
            return "another Rolecast"
    return process.name()


def holder(port: int) -> str:
    """Who listens on a port, in words. Reads the tables of the system, which takes some 10 ms."""
    with contextlib.suppress(psutil.Error, OSError):  # macOS tells only the administrator
        for connection in psutil.net_connections("tcp"):
            # An address is empty for a socket that is not bound.
            held = getattr(connection.laddr, "port", None)
            if held == port and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f"{_called(psutil.Process(connection.pid))} (pid {connection.pid})"
    return "a process of another user"
