"""Settings from environment variables: `ROLECAST_SERVER__PORT=9000` is `server.port: 9000`.

They have the last word over the file. Knows the schema only through its types.
"""

import re
from collections.abc import Mapping
from typing import Any, get_args, get_origin

import msgspec

from rolecast.config.document import Trail, parse
from rolecast.config.schema import Config
from rolecast.config.shape import section_of, unknown
from rolecast.errors import ConfigError

PREFIX = "ROLECAST_"
NOT_SETTINGS = frozenset({"ROLECAST_HOME", "ROLECAST_CONFIG", "ROLECAST_API_KEY", "ROLECAST_URL"})


def override(value: Any, env: Mapping[str, str]) -> tuple[dict[Trail, str], list[str]]:
    """Put every ROLECAST_* setting into `value`, the plain values of a file.

    Returns which variable set which place, and the problems. A variable without `__` that names no
    top-level setting is left alone: orchestrators put their own there (ROLECAST_PORT_8000_TCP).
    """
    origins: dict[Trail, str] = {}
    problems: list[str] = []
    if not isinstance(value, dict):
        return origins, problems
    for variable in sorted(env):
        parts = variable.removeprefix(PREFIX).lower().split("__")
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        if len(parts) == 1 and parts[0] not in Config.__struct_fields__:
            continue
        try:
            trail, kind = _resolve(parts, value)
            text = env[variable]
            if text or kind is str:
                _put(value, trail, _read(text, kind, variable))
                origins[trail] = variable
        except _UnknownError as e:
            problems.append(f"{variable}: {e}")
        except ConfigError as e:
            problems += e.problems
    return origins, problems


class _UnknownError(Exception):
    """A variable that points nowhere; the text says what would."""


def _resolve(parts: list[str], value: Any) -> tuple[Trail, Any]:
    """Follow the words of a variable through the schema: where the setting stands, and its type."""
    trail: Trail = ()
    kind: Any = Config
    for part in parts:
        if section := section_of(kind):
            fields = {field.encode_name: field.type for field in msgspec.structs.fields(section)}
            if part not in fields:
                raise _UnknownError(_dotted((*trail, part)) + unknown(part, fields))
            name, kind = part, fields[part]
        elif get_origin(kind) is dict:
            item = get_args(kind)[1]
            name = _key(part, value, trail, may_create=section_of(item) is None)
            kind = item
        else:
            raise _UnknownError(f"{_dotted(trail)}is a single setting; drop '__{part.upper()}'")
        value = value.get(name) if isinstance(value, dict) else None
        trail = (*trail, name)
    return trail, kind


def _key(part: str, entries: Any, trail: Trail, *, may_create: bool) -> str:
    """The entry a word means: `QWEN2_5_14B` is `qwen2.5-14b`, because variables hold no `.`, `-`, `/`."""
    names = list(entries) if isinstance(entries, dict) else []
    matches = [name for name in names if _plain(name) == _plain(part)]
    if len(matches) == 1:
        return str(matches[0])
    if len(matches) > 1:
        raise _UnknownError(f"{_dotted(trail)}'{part}' fits {' and '.join(matches)}; set it in the file instead")
    if may_create:
        return part
    raise _UnknownError(f"{_dotted(trail)}no entry '{part}'; there are: {', '.join(names) or 'none'}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", name.lower())


def _dotted(trail: Trail) -> str:
    return ".".join(map(str, trail)) + ": " if trail else ""


def _read(text: str, kind: Any, variable: str) -> Any:
    """A YAML scalar or flow; a text setting takes whatever was written, as it stands."""
    try:
        document = parse(text, name=variable)
    except ConfigError:
        if kind is str:
            return text
        raise
    if kind is str and not isinstance(document.value, str):
        return text
    if document.faults:
        raise ConfigError([f"{variable}: {document.faults[0][2]}"], source=variable)
    return document.value


def _put(value: dict[str, Any], trail: Trail, item: Any) -> None:
    for key in trail[:-1]:
        inner = value.get(str(key))
        if inner is None:
            inner = value[str(key)] = {}
        elif not isinstance(inner, dict):
            return  # the file is wrong here, which is reported with its line
        value = inner
    value[str(trail[-1])] = item
