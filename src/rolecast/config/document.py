"""Reads YAML text into plain values and remembers the line of every key.

Knows YAML 1.2 and its traps (duplicate keys, tags, alias bombs). Knows nothing of settings.
"""

from pathlib import Path
from typing import Any

import msgspec

from rolecast.errors import ConfigError

MAX_BYTES = 4 * 1024**2
MAX_NODES = 100_000
MAX_DEPTH = 32

Trail = tuple[str | int, ...]
"""Where a value stands: the keys and list positions that lead to it."""

_Node = Any
"""A node of ruamel's tree; its classes are not imported, so that the package imports fast."""

_TAG = "tag:yaml.org,2002:"


class Document(msgspec.Struct):
    """What a YAML text says. `lines` counts from 1; `faults` are (line, trail, what is wrong)."""

    value: Any
    lines: dict[Trail, int]
    faults: list[tuple[int, Trail, str]]


def parse(text: str, *, name: str) -> Document:
    """Plain values of one YAML document; raises ConfigError with the line when it is not YAML."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(text) > MAX_BYTES:
        raise ConfigError([f"{name}: {len(text)} characters; at most {MAX_BYTES} are read"], source=name)
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        return _Reader().read(root)
    except MarkedYAMLError as e:
        line = f":{e.problem_mark.line + 1}" if e.problem_mark else ""
        reason = ", ".join(part for part in (e.context, e.problem) if part)
        if "'\\t'" in reason:
            reason = "a tab, where YAML wants spaces"
        raise ConfigError([f"{name}{line}: not YAML: {reason}"], source=name) from None
    except YAMLError as e:
        raise ConfigError([f"{name}: not YAML: {str(e).splitlines()[0]}"], source=name) from None
    except (RecursionError, _TooLargeError):
        reason = f"nested deeper than {MAX_DEPTH} levels or larger than {MAX_NODES} values"
        raise ConfigError([f"{name}: {reason}; write it flatter"], source=name) from None


def read_text(path: Path) -> str:
    """The text of a configuration file: UTF-8, at most 4 MiB. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        reason = (e.strerror or str(e)).lower()
        raise ConfigError([f"{path}: {reason}; name a file that can be read"], source=str(path)) from None
    if len(data) > MAX_BYTES:
        raise ConfigError([f"{path}: larger than {MAX_BYTES} bytes; is it the right file?"], source=str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        problem = f"{path}: not UTF-8 text (byte {e.start}); save it as UTF-8"
        raise ConfigError([problem], source=str(path)) from None


class _TooLargeError(Exception):
    """The document is nested or expanded beyond what a configuration needs."""


class _Reader:
    """One walk over the node tree. Aliases are expanded, so the number of values visited is bounded."""

    def __init__(self) -> None:
        self.lines: dict[Trail, int] = {}
        self.faults: list[tuple[int, Trail, str]] = []
        self.left = MAX_NODES

    def read(self, root: _Node) -> Document:
        value = None if root is None else self.plain(root, ())
        return Document(value, self.lines, self.faults)

    def plain(self, node: _Node, trail: Trail) -> Any:
        self.left -= 1
        if self.left < 0 or len(trail) > MAX_DEPTH:
            raise _TooLargeError
        self.lines.setdefault(trail, node.start_mark.line + 1)
        tag = str(node.tag)
        if node.id == "mapping" and tag == _TAG + "map":
            return self.mapping(node, trail)
        if node.id == "sequence" and tag == _TAG + "seq":
            return [self.plain(item, (*trail, i)) for i, item in enumerate(node.value)]
        if node.id == "scalar" and tag.removeprefix(_TAG) in _SCALARS:
            return _scalar(node)
        text = f"the tag {tag.replace(_TAG, '!!')} is not allowed; write a plain value"
        self.faults.append((node.start_mark.line + 1, trail, text))
        return None

    def mapping(self, node: _Node, trail: Trail) -> dict[str, Any]:
        found: dict[str, Any] = {}
        inherited: dict[str, Any] = {}
        for key, value in node.value:
            if str(key.tag) == _TAG + "merge":
                inherited = {**self.merged(value, trail), **inherited}
        for key, value in node.value:
            line, place = key.start_mark.line + 1, (*trail, str(key.value))
            if str(key.tag) == _TAG + "merge":
                continue
            if key.id != "scalar":
                self.faults.append((line, trail, "a key must be plain text"))
            elif key.value in found:
                text = f"the key is already on line {self.lines[place]}; keep one of them"
                self.faults.append((line, place, text))
            else:
                self.lines[place] = line
                found[key.value] = self.plain(value, place)
        return {**inherited, **found}

    def merged(self, node: _Node, trail: Trail) -> dict[str, Any]:
        """What `<<: *base` or `<<: [*a, *b]` brings in; the first base wins."""
        found: dict[str, Any] = {}
        for base in node.value if node.id == "sequence" else [node]:
            entries = self.plain(base, trail)
            if isinstance(entries, dict):
                found = {**entries, **found}
            else:
                self.faults.append((base.start_mark.line + 1, trail, "<< needs a mapping"))
        return found


_SCALARS = frozenset({"str", "int", "float", "bool", "null", "timestamp"})


def _scalar(node: _Node) -> str | int | float | bool | None:
    """YAML 1.2 core schema; what only YAML 1.1 would convert (yes, on, dates) stays text."""
    kind, text = str(node.tag).removeprefix(_TAG), str(node.value)
    lowered = text.lower().replace("_", "")
    try:
        if kind == "null":
            return None
        if kind == "bool":
            return {"true": True, "false": False}.get(lowered, text)
        if kind == "int":
            prefixed = lowered.lstrip("+-")[:2] in ("0x", "0o", "0b")
            return int(lowered, 0 if prefixed else 10)
        if kind == "float":
            return float(lowered.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        pass
    return text
