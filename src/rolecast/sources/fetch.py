"""One file over HTTP: resumed, verified, redirect-safe. The only place here that opens sockets.

Knows ranges, retries, redirects and where a token may go. Knows nothing of hubs, repositories or GGUF.
httpx2 is imported when the first download starts, never before.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rolecast.errors import UNREADABLE, SourceError
from rolecast.sources import store as folder
from rolecast.sources.store import Progress, Report
from rolecast.values import size_text

if TYPE_CHECKING:
    import httpx2

BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits between tries that bring nothing new; after the last one we give up."""
ADVANCE_BYTES = 1 << 20
"""A try that gets this much further than any before it does not count against the tries."""
MAX_REDIRECTS = 5
LARGEST_FILE = 4 << 40
_CONNECT_S, _SILENCE_S = 15.0, 60.0


class RefusedError(SourceError):
    """The server answered, and retrying will not help; `answer` is its HTTP status."""

    def __init__(self, message: str, answer: int) -> None:
        super().__init__(message)
        self.answer = answer


class _AgainError(Exception):
    """This try failed, the next may not."""


class Want(msgspec.Struct, frozen=True):
    """One download. `size` 0 and `sha256` '' = not known before; `token` goes to the origin of `url` only."""

    url: str
    part: Path
    size: int = 0
    sha256: str = ""
    token: str = ""


class _Mark(msgspec.Struct):
    """What a part file is a part of, so that it is only ever continued with the same bytes."""

    url: str
    etag: str


def download(want: Want, report: Report) -> str:
    """Fetch `want.url` into `want.part`, continuing what is there, and give its SHA-256.

    Reports 'downloading', 'trying again' and 'verifying'. Raises SourceError (RefusedError for a final status); unless
    the bytes were wrong, the part stays and the next call continues it.
    """
    want.part.parent.mkdir(parents=True, exist_ok=True)
    with _client() as client:
        failures, furthest = 0, 0
        while True:
            try:
                _try(client, want, report)
                break
            except _AgainError as e:
                here = want.part.stat().st_size if want.part.exists() else 0
                failures = 0 if here >= furthest + ADVANCE_BYTES else failures + 1
                furthest = max(furthest, here)
                _wait(failures, f"{_shown(want.url)} could not be downloaded: {e}", report)
    digest = folder.require_hash(want.part, want.sha256, _shown(want.url), report)
    _mark_path(want.part).unlink(missing_ok=True)
    return digest


def get(url: str, token: str, limit: int, report: Report) -> tuple[bytes, str]:
    """A small document and the URL of its next page ('' = last), which is on the same origin.

    Reports 'trying again'. Raises SourceError when it is longer than `limit` bytes, RefusedError for a final HTTP
    status.
    """
    with _client() as client:
        failures = 0
        while True:
            try:
                return _get(client, url, token, limit)
            except _AgainError as e:
                failures += 1
                _wait(failures, f"{_shown(url)} could not be read: {e}", report)


def _wait(failures: int, message: str, report: Report) -> None:
    if failures > len(BACKOFF_S):
        raise SourceError(f"{message}. {failures} tries failed; check the connection and run it again.")
    report(Progress("trying again"))
    time.sleep(BACKOFF_S[max(failures, 1) - 1])


def _get(client: "httpx2.Client", url: str, token: str, limit: int) -> tuple[bytes, str]:
    import httpx2

    body = bytearray()
    with _answer(client, url, {}, token) as response:
        _require(response.status_code == 200, response, url)
        for block in response.iter_raw():
            body += block
            if len(body) > limit:
                raise SourceError(f"{_shown(url)} answers with more than {size_text(limit)}; not read.")
        follow = response.links.get("next", {}).get("url", "")
        following = response.url.join(follow) if follow else httpx2.URL("")
        if follow and _origin(following) != _origin(httpx2.URL(url)):
            raise SourceError(f"{_shown(url)} continues its list on another host; not followed.")
    return bytes(body), str(following)


def _try(client: "httpx2.Client", want: Want, report: Report) -> None:
    offset, etag = _resumable(want)
    if want.size and offset == want.size:
        return
    headers = {"range": f"bytes={offset}-"} if offset else {}
    if offset and etag:
        headers["if-range"] = etag
    with _answer(client, want.url, headers, want.token) as response:
        if response.status_code == 416 or (response.status_code == 206 and not _continues(response, offset)):
            want.part.unlink(missing_ok=True)
            raise _AgainError("the server cannot continue it; starting over")
        _require(response.status_code in (200, 206), response, want.url)
        _write(response, offset if response.status_code == 206 else 0, want, report)


def _write(response: "httpx2.Response", offset: int, want: Want, report: Report) -> None:
    length = response.headers.get("content-length", "")
    total = offset + int(length) if length.isdecimal() else want.size
    if want.size and total != want.size:
        raise SourceError(
            f"{_shown(want.url)} has {total} bytes, expected {want.size}. Pull again later; the file may be changing."
        )
    limit = min(total or LARGEST_FILE, LARGEST_FILE)
    folder.require_space(want.part.parent, max(total, offset) - offset, _shown(want.url))
    mark = _Mark(want.url, response.headers.get("etag", ""))
    _mark_path(want.part).write_bytes(msgspec.json.encode(mark))
    done = offset
    with want.part.open("ab" if offset else "wb") as f:
        report(Progress("downloading", done, total))
        for block in response.iter_raw():
            done += len(block)
            if done > limit:
                raise SourceError(f"{_shown(want.url)} sends more than the {limit} bytes it announced.")
            f.write(block)
            f.flush()  # a process that is killed has lost nothing; most blocks are larger than the buffer anyway
            if not total:
                folder.require_space(want.part.parent, len(block), _shown(want.url))
            report(Progress("downloading", done, total))
    if total and done < total:
        raise _AgainError(f"it ended after {done} of {total} bytes")


def _resumable(want: Want) -> tuple[int, str]:
    """Bytes that may be kept and the strong ETag they belong to; (0, '') = start over."""
    try:
        mark = msgspec.json.decode(_mark_path(want.part).read_bytes(), type=_Mark)
        size = want.part.stat().st_size
    except (OSError, *UNREADABLE):
        return 0, ""
    strong = mark.etag if mark.etag.startswith('"') else ""
    # Without a strong ETag only the final hash can tell whether the pieces belong together.
    fits = mark.url == want.url and bool(strong or want.sha256) and (not want.size or size <= want.size)
    return (size, strong) if fits else (0, "")


def _continues(response: "httpx2.Response", offset: int) -> bool:
    return bool(offset) and response.headers.get("content-range", "").startswith(f"bytes {offset}-")


def _require(good: bool, response: "httpx2.Response", url: str) -> None:
    """Sort a status: carry on, try again, or give up."""
    status = response.status_code
    if status in (408, 429) or status >= 500:
        raise _AgainError(f"the server answered {status}")
    if not good:
        raise RefusedError(f"{_shown(url)} was refused with status {status}; check the name and the URL.", status)
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise SourceError(f"{_shown(url)} comes as {encoding}, which was not asked for; use another server.")


@contextlib.contextmanager
def _answer(client: "httpx2.Client", url: str, headers: dict[str, str], token: str) -> Iterator["httpx2.Response"]:
    """The streaming answer at the end of the redirects; transport failures come out as _AgainError."""
    import httpx2

    at = httpx2.URL(url)
    trusted = _origin(at)
    try:
        for _ in range(MAX_REDIRECTS + 1):
            own = {"authorization": f"Bearer {token}"} if token and _origin(at) == trusted else {}
            with client.stream("GET", at, headers={**headers, **own}) as response:
                if response.status_code not in (301, 302, 303, 307, 308):
                    yield response
                    return
                at = _next_hop(at, response.headers.get("location", ""))
    except httpx2.TransportError as e:
        raise _AgainError(str(e) or type(e).__name__) from e
    raise SourceError(f"{_shown(url)} redirects more than {MAX_REDIRECTS} times; check the URL.")


def _next_hop(at: "httpx2.URL", location: str) -> "httpx2.URL":
    import httpx2

    try:
        to = at.join(location) if location else httpx2.URL("")
    except httpx2.InvalidURL:
        to = httpx2.URL("")
    if to.scheme not in ("http", "https") or not to.host or to.userinfo:
        raise SourceError(f"{_shown(str(at))} redirects to something that is no plain web address; refused.")
    if at.scheme == "https" and to.scheme == "http":
        raise SourceError(f"{_shown(str(at))} redirects from https to unprotected http; refused.")
    return to


def _origin(url: "httpx2.URL") -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)


def _client() -> "httpx2.Client":
    import httpx2

    return httpx2.Client(
        follow_redirects=False,
        timeout=httpx2.Timeout(_SILENCE_S, connect=_CONNECT_S),
        headers={"accept-encoding": "identity", "user-agent": "rolecast"},
    )


def _shown(url: str) -> str:
    """A URL without its query, which may hold a signature."""
    return url.partition("?")[0]


def _mark_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")
