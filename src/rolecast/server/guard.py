"""Who may talk to us: Host and Origin checks, API keys. Works on raw header bytes, for both lanes.

Covers: DNS rebinding (a foreign name in Host), cross-site requests (a foreign Origin), missing, wrong or revoked
keys. What a key may do at which path is `scopes`', how fast it may ask is the gate's; TLS is a proxy's.
"""

import hashlib
import hmac
import re
import socket
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from rolecast.access.keyring import Keyring
from rolecast.config import allowed, secrets
from rolecast.config.check import exposed, is_key
from rolecast.config.schema import Server
from rolecast.errors import BadRequest, ConfigError, Forbidden, RolecastError, Unauthorized
from rolecast.values import Rights

_SHA256 = re.compile(r"sha256:[0-9a-fA-F]{64}\Z")
_HOST = re.compile(rb"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?\Z")
OPEN_PATHS = frozenset({b"/", b"/health", b"/ui", b"/docs", b"/favicon.ico"})
"""Answered without a key: they tell no more than that somebody is home."""

WELL_KNOWN = b"/.well-known/"
"""Nothing is there. Clients of MCP look for OAuth behind it, and must learn that there is none: 404, not 401."""


class Holder(NamedTuple):
    """Who holds a key."""

    key: str
    """Its id: the first 8 hex digits of the SHA-256 of one of the configuration, 12 of another; '' = none is needed."""
    rights: Rights | None
    """None = it may do everything."""


NOBODY = Holder("", None)


def is_open(method: str, path: bytes) -> bool:
    """Whether this is answered without a key."""
    return method in ("GET", "HEAD") and (path in OPEN_PATHS or path.startswith((b"/ui/", WELL_KNOWN)))


class Guard:
    """Checks the headers of one request; remembers good values so that the usual case is two look-ups."""

    def __init__(self, server: Server, keyring: Keyring | None = None) -> None:
        own = {"localhost", socket.gethostname().lower(), server.host.lower()} - {""}
        self._own = own
        self._hosts = allowed.Allowed(server.allowed_hosts, allowed.host)
        self._origins = allowed.Allowed(server.allowed_origins, allowed.origin)
        self._keys = dict(_digests(server.keys))
        self._ring = keyring
        self._exposed = bool(exposed(server))
        self._good_hosts: set[bytes] = set()
        self._good_keys: dict[bytes, Holder] = {}

    @property
    def keyed(self) -> bool:
        """Whether a key is needed at all: when there is one, whatever became of it, and for other machines always."""
        return bool(self._keys) or self._exposed or bool(self._ring)

    def check_host(self, host: bytes | None) -> None:
        """Raises BadRequest for a malformed Host, Forbidden for a name that is not ours."""
        if host in self._good_hosts:
            return
        if host is None:
            raise BadRequest("The Host header is missing.", code="bad_host")
        if host and not _HOST.match(host):
            raise BadRequest("The Host header is malformed.", code="bad_host")
        name = _host_name(host.decode("ascii"))
        # A literal address cannot be rebound: only names can.
        if not (name in self._own or name.endswith(".localhost") or name in self._hosts or allowed.is_address(name)):
            raise Forbidden(
                "The Host header names a host that this gateway does not answer for. "
                "Use localhost or the address, or add the name to server.allowed_hosts.",
                code="host_not_allowed",
            )
        if len(self._good_hosts) < 256:
            self._good_hosts.add(host)

    def check_origin(self, origin: bytes | None, host: bytes | None) -> bytes:
        """The CORS header line to answer with; Forbidden for a foreign web page."""
        if origin is None:
            return b""
        text = origin.decode("latin-1").lower()
        try:
            parts = urlsplit(text)
        except ValueError:
            parts = urlsplit("")
        name = parts.hostname or ""
        same = host is not None and parts.netloc.encode() == host.lower()
        loopback = parts.scheme in ("http", "https") and (
            name in ("localhost", "127.0.0.1", "::1") or name.endswith(".localhost")
        )
        if not (same or loopback or text in self._origins) or b"\r" in origin or b"\n" in origin:
            raise Forbidden(
                "Web pages of that origin may not use this gateway. Add it to server.allowed_origins if they should.",
                code="origin_not_allowed",
            )
        return b"access-control-allow-origin: %b\r\naccess-control-expose-headers: *\r\nvary: origin\r\n" % origin

    def origin_line(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The CORS header line for an answer that refuses this request: a page must be able to read why.

        Nothing for a page that may not ask anyway. Never raises.
        """
        origin, host = headers.get(b"origin"), headers.get(b"host")
        if origin is None:
            return b""
        try:
            self.check_host(host)
            return self.check_origin(origin, host)
        except RolecastError:
            return b""

    def check_key(self, authorization: bytes | None, x_api_key: bytes | None) -> Holder:
        """Who holds the key that is shown. Raises Unauthorized."""
        if not self.keyed:
            return NOBODY
        presented = authorization or (x_api_key and b"\n" + x_api_key)  # no header value begins with a line break
        if not presented:
            raise Unauthorized("An API key is needed: send `Authorization: Bearer <key>`.", code="missing_api_key")
        known = self._good_keys.get(presented)
        if known is not None:
            return known
        token = x_api_key or b""
        if authorization:
            scheme, _, token = authorization.partition(b" ")
            if scheme.lower() != b"bearer":
                raise Unauthorized("Send the API key as `Authorization: Bearer <key>`.")
        token = token.strip()
        digest = hashlib.sha256(token).digest()
        for expected, key_id in self._keys.items():
            if hmac.compare_digest(digest, expected):
                holder = Holder(key_id, None)
                if len(self._good_keys) < 1024:  # one key can be written with any number of spaces
                    self._good_keys[presented] = holder
                return holder
        rights = self._ring.admit(token) if self._ring is not None else None  # never remembered: it may be revoked
        if rights is None:
            raise Unauthorized("The API key is not valid.")
        return Holder(rights.key, rights)


def ids_of(keys: Iterable[str]) -> frozenset[str]:
    """What keys of the configuration are called in the ledger. Raises ConfigError."""
    return frozenset(key_id for _, key_id in _digests(keys))


def _digests(keys: Iterable[str]) -> Iterable[tuple[bytes, str]]:
    for number, key in enumerate(keys):
        place = f"server.keys.{number}"
        if _SHA256.match(key):
            digest = bytes.fromhex(key[7:])
        elif not is_key(key):
            raise ConfigError([f"{place}: expected a key, env:NAME, or sha256: with 64 hexadecimal digits"])
        else:
            digest = hashlib.sha256(secrets.read(key, place, sent=False).value.encode()).digest()
        yield digest, digest.hex()[:8]


def _host_name(host: str) -> str:
    name = host.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]
