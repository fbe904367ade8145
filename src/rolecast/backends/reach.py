"""Where a request to a model goes: it stays on this machine, it leaves it, or it goes to somebody else's cloud.

Judged by the configured address alone; nobody is asked, and no name is looked up.
"""

import ipaddress
import socket
from pathlib import Path
from urllib.parse import urlsplit

from msgspec.structs import replace

from rolecast import backends
from rolecast.config.loopback import is_loopback
from rolecast.config.schema import Model
from rolecast.values import Endpoint, Listen

_PRIVATE = ("local", "lan", "home", "internal", "intranet", "localdomain", "private", "corp", "test", "home.arpa")
"""Endings of names that no public server has."""


def leaves(model: Model) -> bool:
    """Whether requests to it leave this machine: its server is neither a worker of ours nor on loopback.

    One on loopback that is called a cloud passes them on.
    """
    return _host(model) is not None or (bool(model.cloud) and is_cloud(model))


def is_cloud(model: Model) -> bool:
    """Whether they go to somebody else: as configured, else whether the address is a public one."""
    host = _host(model)
    if model.cloud is not None:
        return model.cloud and (host is not None or not backends.get(model.backend).spawns)
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_global
    except ValueError:
        if (odd := _as_numbers(host)) is not None:
            return odd.is_global
        name = host.lower().rstrip(".")
        return "." in name and not name.endswith(tuple(f".{ending}" for ending in _PRIVATE))


def _as_numbers(host: str) -> ipaddress.IPv4Address | None:
    """The address that such as `0x8080808` is, which the system takes for one."""
    if not host[:1].isdigit():
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def is_free(model: Model) -> bool:
    """Whether nobody sends a bill: prices are zero, or there are none and its server is no cloud."""
    if model.price is not None:
        return not (model.price.input or model.price.output or model.price.cached or model.price.written)
    return not is_cloud(model)


def _host(model: Model) -> str | None:
    """The host of a server elsewhere; '' = somewhere, None = this machine."""
    backend = backends.get(model.backend)
    if backend.spawns:  # of a command that only starts what runs elsewhere
        named = urlsplit(model.url).hostname if "://" in model.url else None
        return None if named is None or is_loopback(named) else named
    try:
        planned = backend.plan("", replace(model, key=""), Path(), Listen())  # no key is read for that
    except Exception:  # a plugin's: what it lacks is told where it is started
        return ""
    if not isinstance(planned, Endpoint) or planned.uds:
        return None
    return None if is_loopback(planned.host) else planned.host
