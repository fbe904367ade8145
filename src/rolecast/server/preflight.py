"""What a browser is told before it sends the real request of a page (CORS preflight).

The page's origin has been judged by then, so whatever headers it wants to send are allowed: clients invent new ones
with each version. The key travels in a header, never in a cookie, so no credentials are allowed.
"""

import re
from collections.abc import Mapping

METHODS = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
USUAL_HEADERS = b"authorization, content-type, x-api-key, x-trace-id, x-span-id, x-session-id, x-request-id"
MAX_AGE_S = b"600"
_NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*\Z")
_NAMES_BYTES = 4096


def answer(headers: Mapping[bytes, bytes], cors: bytes) -> list[tuple[bytes, bytes]]:
    """The header lines of the answer; `cors` are those that let the origin in, empty when nobody asked."""
    asked = headers.get(b"access-control-request-headers", b"").strip()
    echoed = asked if len(asked) <= _NAMES_BYTES and _NAMES.match(asked) else USUAL_HEADERS
    lines = [line.partition(b": ") for line in cors.split(b"\r\n") if line]
    found = [(name, value) for name, _, value in lines]
    found += [
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", echoed),
        (b"access-control-max-age", MAX_AGE_S),
        (b"content-length", b"0"),
    ]
    if cors and headers.get(b"access-control-request-private-network") == b"true":
        # A page on the internet asks for something on this machine: its origin was allowed by name.
        found.append((b"access-control-allow-private-network", b"true"))
    return found
