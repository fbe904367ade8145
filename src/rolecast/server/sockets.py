"""Listening sockets: opening one, and why one cannot be opened. Knows no HTTP and no configuration."""

import contextlib
import errno
import socket

import psutil

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any that is free. Raises OSError."""
    host = host.strip("[]")
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def obstacle(port: int, error: OSError) -> str:
    """Why nobody can listen there, in words that follow the address."""
    if error.errno == errno.EADDRINUSE:
        return f"is taken by {holder(port)}"
    return f"cannot be opened ({error.strerror or error})"


def holder(port: int) -> str:
    """Who listens on a port, in words. Reads the tables of the system: some 10 ms."""
    with contextlib.suppress(psutil.Error, OSError):  # macOS tells only the administrator
        for connection in psutil.net_connections("tcp"):
            # An address is empty for a socket that is not bound.
            held = getattr(connection.laddr, "port", None)
            if held == port and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "a process of another user"
