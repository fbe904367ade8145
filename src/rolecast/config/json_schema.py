"""The JSON Schema of `rolecast.yaml`, for editors that complete and explain settings.

Derived from the structs and their docstrings: it holds no setting of its own.
"""

from collections.abc import Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any, cast, get_args, get_origin

import msgspec

from rolecast.config import schema
from rolecast.config.shape import section_of


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of the whole file. Durations and sizes are a number or a text with a unit."""
    explained = _docstrings()
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "title": "rolecast.yaml", **_section(schema.Config, explained)}


def _section(kind: type[schema.Section], explained: dict[tuple[str, str], str]) -> dict[str, Any]:
    properties, required = {}, []
    for field in msgspec.structs.fields(kind):
        rules = _setting(field.type, explained)
        texts = (explained.get((each.__name__, field.name)) for each in kind.__mro__)
        if text := next(filter(None, texts), ""):
            rules["description"] = text
        if isinstance(field.default, str | int | float):
            rules["default"] = _plain(field.default)
        elif callable(field.default_factory) and (given := field.default_factory()):
            rules["default"] = given
        properties[field.encode_name] = rules
        if field.required:
            required.append(field.encode_name)
    about = {"description": kind.__doc__} if kind.__doc__ else {}
    needed = {"required": required} if required else {}
    shape = {"type": ["object", "null"], "additionalProperties": False}
    return {**shape, **about, **needed, "properties": properties}


def _setting(kind: Any, explained: dict[tuple[str, str], str]) -> dict[str, Any]:
    if section := section_of(kind):
        return _section(section, explained)
    if get_origin(kind) is dict:
        return {"type": ["object", "null"], "additionalProperties": _setting(get_args(kind)[1], explained)}
    if get_origin(kind) is list:
        return {"type": ["array", "null"], "items": _setting(get_args(kind)[0], explained)}
    return msgspec.json.schema(kind, schema_hook=_quantity)


def _quantity(kind: type) -> dict[str, Any]:
    """Our two types with units."""
    example = "10m" if kind is schema.Seconds else "32MiB"
    return {"type": ["number", "string"], "examples": [example]}


def _plain(default: Any) -> Any:
    """A default without our types, so that it can be written as JSON."""
    if isinstance(default, schema.Seconds):
        return float(default)
    return int(default) if isinstance(default, schema.Bytes) else default


def _sections(kind: Any) -> Iterator[type[schema.Section]]:
    """All sections of a type, those within them too."""
    if section := section_of(kind):
        yield section
        for field in msgspec.structs.fields(section):
            yield from _sections(field.type)
    for inner in get_args(kind):
        yield from _sections(inner)


def _docstrings() -> dict[tuple[str, str], str]:
    """The text under each setting in the sources of the sections, by class and name."""
    import ast
    import inspect

    found = {}
    sources = {inspect.getmodule(each) for section in _sections(schema.Config) for each in section.__mro__[:-1]}
    sources = {each for each in sources if each is not None and each.__name__.startswith("rolecast.")}
    sections = (
        section for source in sources for section in ast.walk(ast.parse(inspect.getsource(cast(ModuleType, source))))
    )
    for section in sections:
        body = section.body if isinstance(section, ast.ClassDef) else []
        for setting, after in pairwise(body):
            if not (isinstance(setting, ast.AnnAssign) and isinstance(setting.target, ast.Name)):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = inspect.cleandoc(str(after.value.value))
                found[(getattr(section, "name", ""), setting.target.id)] = text
    return found
