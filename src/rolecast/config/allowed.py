"""How `server.allowed_hosts` and `server.allowed_origins` are written, and what each entry lets in.

The same reading serves `check`, which refuses an entry that could never match and says how to write it, and the
guard, which matches. Pure; knows no request.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import msgspec

_LABELS = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*"
_NAME = re.compile(rf"{_LABELS}\Z")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)\Z", re.DOTALL)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_PRIVATE_ZONES = frozenset(
    ["corp", "home", "internal", "intranet", "lan", "local", "localdomain", "localhost", "private", "test"]
)
"""Endings under which nobody can register a name for the whole world."""


class Pattern(msgspec.Struct, frozen=True):
    """One entry: a text that must be met exactly, or one with labels of any number in place of its asterisk."""

    start: str
    end: str | None = None
    """What follows the asterisk; None when there is none."""

    def lets_in(self, text: str) -> bool:
        """Whether a lower-case host name or origin is meant."""
        if self.end is None:
            return text == self.start
        inner = text[len(self.start) : len(text) - len(self.end)]
        return text.startswith(self.start) and text.endswith(self.end) and _NAME.match(inner) is not None


class Allowed:
    """The entries of one setting, ready to match; those that are wrong let nothing in."""

    def __init__(self, entries: Iterable[str], read: Callable[[str], Pattern]) -> None:
        self.everything = False
        self._exact: set[str] = set()
        self._patterns: list[Pattern] = []
        for entry in entries:
            if entry == "*":
                self.everything = True
                continue
            try:
                pattern = read(entry)
            except ValueError:
                continue
            if pattern.end is None:
                self._exact.add(pattern.start)
            else:
                self._patterns.append(pattern)

    def __contains__(self, text: str) -> bool:
        return self.everything or text in self._exact or any(p.lets_in(text) for p in self._patterns)


def host(entry: str) -> Pattern:
    """A name in `allowed_hosts`: `gw.example.com`, or `*.example.com` for all below it. Any port is meant.

    Raises ValueError with how to write it.
    """
    name = entry.strip().lower()
    if "://" in name or "/" in name:
        raise ValueError(_instead("expected a host name, not a URL", urlsplit(f"//{name.split('://')[-1]}").hostname))
    if is_address(name.strip("[]")):
        return Pattern(name.strip("[]"))
    name, port, number = name.partition(":")
    if port:
        raise ValueError(_instead("the port does not matter and is not written here", name if number else ""))
    return _named("", name, "")


def origin(entry: str) -> Pattern:
    """A web page in `allowed_origins`, as browsers say it: `https://app.example.com`, with its port if it has one,
    `https://*.example.com` for all below it, `chrome-extension://*` for every extension of that kind.

    Raises ValueError with how to write it.
    """
    text = entry.strip().lower()
    if text == "null":
        raise ValueError("every sandboxed page calls itself null; serve the page over http and name its address")
    parts = _ORIGIN.match(text)
    if parts is None:
        plain = text.split("/")[0]
        raise ValueError(_instead("an origin begins with its scheme", f"https://{plain}" if plain else ""))
    scheme, place = parts[1], parts[2].removesuffix("/")
    if scheme not in _DEFAULT_PORTS:
        return _of_application(scheme, place)
    if re.search(r"[/?#]", place):
        plain = re.split(r"[/?#]", place)[0]
        raise ValueError(_instead("browsers send no path with an origin", f"{scheme}://{plain}" if plain else ""))
    if "@" in place:
        raise ValueError(_instead("an origin has no user name", f"{scheme}://{place.rpartition('@')[2]}"))
    name, port = _split_port(place)
    tail = f":{port}" if port and port != _DEFAULT_PORTS[scheme] else ""
    if name == "*":
        raise ValueError(f"{scheme}://* is every page there is; write * for that, or name the pages")
    if name.startswith("[") and is_address(name.strip("[]")):
        return Pattern(f"{scheme}://{name}{tail}")
    return _named(f"{scheme}://", name, tail)


def _of_application(scheme: str, place: str) -> Pattern:
    """The origin of something that is no web page: an extension, an editor, a desktop application."""
    if scheme in ("ws", "wss", "data", "blob", "javascript", "about"):
        raise ValueError("no page has an origin of that scheme; pages have https:// or http://")
    if place == "*":
        return Pattern(f"{scheme}://", "")
    if scheme == "file" and not place:
        return Pattern("file://")
    if place == "." or re.fullmatch(rf"{_LABELS}(?::\d{{1,5}})?", place):
        return Pattern(f"{scheme}://{place}")
    plain = re.split(r"[/?#]", place)[0]
    fits = plain != place and re.fullmatch(_LABELS, plain)
    raise ValueError(_instead("expected SCHEME://NAME or SCHEME://*", f"{scheme}://{plain if fits else '*'}"))


def _named(start: str, name: str, end: str) -> Pattern:
    """A pattern for a host name between `start` and `end`; its first label may be an asterisk."""
    if name.endswith(".") and _NAME.match(name[:-1].removeprefix("*.")):
        raise ValueError(_instead("a name is written without the dot at its end", start + name.rstrip(".") + end))
    if not name.isascii():
        raise ValueError(_instead("browsers send such a name in its ASCII form", start + _ascii(name) + end))
    rest = name.removeprefix("*.")
    if not _NAME.match(rest):
        raise ValueError(f"expected a name, or one asterisk for all names below it, such as {start}*.example.com")
    if rest == name:
        return Pattern(start + name + end)
    if "." not in rest and rest not in _PRIVATE_ZONES:
        raise ValueError(f"*.{rest} is half of the world; write more of the name, such as *.example.{rest}")
    return Pattern(start, f".{rest}{end}")


def _split_port(place: str) -> tuple[str, str]:
    name, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        return place, ""
    if not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535:
        raise ValueError("expected a port number after the colon, such as https://app.example.com:8443")
    return name, str(int(port))


def _instead(what: str, written: str | None) -> str:
    return f"{what}; write {written}" if written else what


def _ascii(name: str) -> str:
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return ""


def is_address(text: str) -> bool:
    """Whether that is a literal address, without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
