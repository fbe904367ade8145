"""What a request's head must say before anything of it is believed.

Pure: version, target and header lines in, the error out. Refuses whatever two parsers could read in two ways, and
what is beyond the limits. Knows no path, no key and no connection. The grammar itself is llhttp's, in its strict mode.
"""

from collections.abc import Mapping, Sequence

from rolecast.config.schema import Limits
from rolecast.errors import BadRequest, HeadersTooLarge, RolecastError, TooLarge

_SINGLE = (b"host", b"content-length", b"transfer-encoding", b"authorization", b"content-type")

Lines = Sequence[tuple[bytes, bytes]]


def fault(version: str, target: bytes, lines: Lines, headers: Mapping[bytes, bytes]) -> RolecastError | None:
    """What is wrong with a head, if anything; `headers` are its `lines` by (lower-case) name."""
    if version not in ("1.1", "1.0"):
        return BadRequest("Only HTTP/1.1 and HTTP/1.0 are understood.", code="bad_http")
    if not target.startswith(b"/"):
        return BadRequest("The request target must be a path.", code="bad_target")
    if b"host" not in headers and version != "1.0":
        return BadRequest("The Host header is missing.", code="bad_host")
    if len(headers) != len(lines) and (twice := _given_twice(lines)):
        return BadRequest(f"The header {twice} is given more than once.", code="bad_http")
    encoding = headers.get(b"transfer-encoding")
    if encoding is not None and (encoding.lower() != b"chunked" or b"content-length" in headers or version == "1.0"):
        text = "Only `Transfer-Encoding: chunked`, in HTTP/1.1 and without Content-Length, is understood."
        return BadRequest(text, code="bad_http")
    coding = headers.get(b"content-encoding")
    if coding is not None and coding.lower() != b"identity":
        return BadRequest("Compressed request bodies are not accepted.", code="bad_encoding", status=415)
    return None


def excess(target: bytes, lines: Lines, limits: Limits) -> RolecastError | None:
    """The error for a head that is larger than is allowed."""
    size = len(target) + sum(len(name) + len(value) + 4 for name, value in lines)
    return too_large(limits) if size > limits.head else None


def too_large(limits: Limits) -> HeadersTooLarge:
    """The error for more bytes of head than are allowed."""
    return HeadersTooLarge(f"The request head is larger than {limits.head} bytes (server.limits.head).")


def too_many_lines(limits: Limits) -> HeadersTooLarge:
    """The error for more header lines than are allowed."""
    return HeadersTooLarge(f"The request has more than {limits.headers} header lines.")


def body_too_large(limits: Limits) -> TooLarge:
    """The error for a body that is, or says that it will be, larger than is allowed."""
    return TooLarge(f"The request body is larger than {limits.body} bytes (server.limits.body).")


def _given_twice(lines: Lines) -> str:
    names = [name for name, _ in lines]
    return next((name.decode() for name in _SINGLE if names.count(name) > 1), "")
