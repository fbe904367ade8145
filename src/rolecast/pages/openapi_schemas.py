"""JSON Schemas of msgspec's types, as components that an OpenAPI document refers to.

Written here rather than by `msgspec.json.schema_components`, which fails on a field whose default is raw JSON, and
which names a type by what else is in the document: a name here is always the same. Knows no path.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import inspect

Schema = dict[str, Any]
_BOUNDS = {
    "ge": "minimum",
    "le": "maximum",
    "gt": "exclusiveMinimum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}
_ITEMS = {"min_length": "minItems", "max_length": "maxItems"}
_FIELDS = {"min_length": "minProperties", "max_length": "maxProperties"}
_PLAIN: Mapping[type[inspect.Type], str] = {
    inspect.NoneType: "null",
    inspect.BoolType: "boolean",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.DecimalType: "number",
    inspect.StrType: "string",
}
_WORDS = {"openai": "OpenAI", "pas": "PAS"}
_DIALECTS = ("anthropic", "ollama", "openai", "pas", "responses")
_SILENT = ("body", "reference")
"""Last words of a module's name that say nothing of its types."""


class Schemas:
    """The schemas of a document. A struct becomes a component; all else is written where it is used."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self._names: dict[type, str] = {}
        self._known: dict[Any, Schema] = {}
        self._told: dict[Any, tuple[Mapping[str, Any], Sequence[str]]] = {}

    def of(self, kind: Any) -> Schema:
        """The schema of a type; of a tuple, that of any of its types."""
        found = self._known.get(kind)
        if found is None:
            types = kind if isinstance(kind, tuple) else (kind,)
            each = [self._of(inspect.type_info(one)) for one in types]
            found = self._known[kind] = each[0] if len(each) == 1 else {"anyOf": each}
        return found

    def of_body(self, kind: Any, fields: Mapping[str, Any], needs: Sequence[str]) -> Schema:
        """The schema of what is read as this type, with types of fields that it reads as raw JSON.

        `needs` names fields that must be there, although the type can do without.
        """
        self._told.setdefault(kind, (fields, needs))
        return self.of(kind)

    def _of(self, info: inspect.Type) -> Schema:
        if isinstance(info, inspect.Metadata):
            return {**self._of(info.type), **(info.extra_json_schema or {})}
        if word := _PLAIN.get(type(info)):
            return {"type": word, **_bounds(info, _BOUNDS)}
        if isinstance(info, inspect.StructType):
            return {"$ref": f"#/components/schemas/{self._component(info)}"}
        if isinstance(info, inspect.UnionType):
            return self._union([self._of(each) for each in info.types])
        if isinstance(info, inspect.LiteralType):
            return {"enum": sorted(info.values, key=str)}
        if isinstance(info, inspect.CollectionType):
            return {"type": "array", "items": self._of(info.item_type), **_bounds(info, _ITEMS)}
        if isinstance(info, inspect.DictType):
            values = self._of(info.value_type)
            return {
                "type": "object",
                **({"additionalProperties": values} if values else {}),
                **_bounds(info, _FIELDS),
            }
        return {}  # raw JSON, and what has no schema

    def _union(self, each: list[Schema]) -> Schema:
        """The choices; plain types are written together."""
        if all(set(schema) == {"type"} and isinstance(schema["type"], str) for schema in each):
            return {"type": [schema["type"] for schema in each]}
        if len(each) == 2 and each[1] == {"type": "null"} and isinstance(each[0].get("type"), str):
            words = {"enum": [*each[0]["enum"], None]} if "enum" in each[0] else {}
            return {**each[0], "type": [each[0]["type"], "null"], **words}
        return {"anyOf": each}

    def _component(self, info: inspect.StructType) -> str:
        known = self._names.get(info.cls)
        if known is not None:
            return known
        name = _name(info.cls)
        if name in self.components:
            name = _camel(f"{info.cls.__module__}_{info.cls.__name__}")
        self._names[info.cls] = name
        schema: Schema = {}
        self.components[name] = schema
        schema["type"] = "object"
        if text := (info.cls.__doc__ or "").strip():
            schema["description"] = re.sub(r"\s+", " ", text)
        fields, needs = self._told.get(info.cls, ({}, ()))
        schema["properties"] = {
            field.encode_name: self.of(fields[field.name]) if field.name in fields else self._field(field)
            for field in info.fields
        }
        if info.tag_field:
            schema["properties"] = {info.tag_field: {"enum": [info.tag]}, **schema["properties"]}
        if needed := [field.encode_name for field in info.fields if field.required or field.name in needs]:
            schema["required"] = needed
        if info.forbid_unknown_fields:
            schema["additionalProperties"] = False
        return name

    def _field(self, field: inspect.Field) -> Schema:
        schema = self._of(field.type)
        if isinstance(field.default, str | int | float | bool) and field.default != "" and "$ref" not in schema:
            schema = {**schema, "default": field.default}
        return schema


def _bounds(info: inspect.Type, words: Mapping[str, str]) -> Schema:
    found = {theirs: getattr(info, ours, None) for ours, theirs in words.items()}
    return {name: value for name, value in found.items() if value is not None}


def _name(kind: type[msgspec.Struct]) -> str:
    """By what it is of a dialect by its file, of others by itself alone."""
    own = kind.__name__.lstrip("_")
    package, _, module = kind.__module__.rpartition(".")
    words = module.split("_")
    if not package.endswith(".dialects") and words[0] not in _DIALECTS:
        return own
    if len(words) > 1 and (words[-1] in _SILENT or own.lower().startswith(words[-1].rstrip("s"))):
        words.pop()
    prefix = "".join(map(_word, words))
    return own if own.startswith(prefix) else prefix + own


def _camel(text: str) -> str:
    return "".join(map(_word, re.split(r"[._]+", text.strip("_"))))


def _word(word: str) -> str:
    return _WORDS.get(word, word[:1].upper() + word[1:])
