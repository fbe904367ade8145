"""One rule for how a path may be written: doubled slashes and one at the end mean nothing.

Base URLs are put together by hand, so `/v1//chat/completions` and `/v1/models/` are common. Dots are not resolved:
no path here has any meaning to `..`.
"""

import re
from urllib.parse import unquote_to_bytes

_SLASHES = re.compile(rb"/{2,}")


def plain(path: bytes) -> bytes:
    """The path without empty segments."""
    if b"//" in path:
        path = _SLASHES.sub(b"/", path)
    return path.rstrip(b"/") or b"/"


def of_target(target: bytes) -> bytes:
    """The plain path of a request target, without its query, fragment and percent signs."""
    path = target.partition(b"#")[0].partition(b"?")[0]
    return plain(unquote_to_bytes(path) if b"%" in path else path)
