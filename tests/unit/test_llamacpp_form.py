"""The form of a completion's answer, in the words of llama.cpp."""

from typing import Any

import msgspec
import pytest

from rolecast.backends import llamacpp_form
from rolecast.errors import BadRequest

SCHEMA = {"type": "object", "required": ["n"]}
OWN = {"whitespace_flexible": True}
TIGHT = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", ", "lenient": True}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}


def written(body: dict[str, Any], *, built_in: bool = True) -> Any:
    """The schema that the engine gets; None = none."""
    fields = msgspec.json.decode(msgspec.json.encode(body), type=dict[str, msgspec.Raw])
    llamacpp_form.write(fields, built_in=built_in)
    told = msgspec.json.decode(msgspec.json.encode(fields))
    assert {name: told[name] for name in body if name != "json_schema"} == {
        name: value for name, value in body.items() if name != "json_schema"
    }
    return told.get("json_schema")


@pytest.mark.parametrize(
    ("body", "schema"),
    [
        ({"json_schema": SCHEMA}, SCHEMA | {"x-guidance": TIGHT}),
        ({"json_schema": SCHEMA | {"x-guidance": OWN}}, SCHEMA | {"x-guidance": OWN | {"lenient": True}}),
        ({"json_schema": {}}, {"x-guidance": TIGHT}),
        ({"response_format": FORMAT}, SCHEMA | {"x-guidance": TIGHT}),
        ({"response_format": {"type": "json_object"}}, {"type": "object", "x-guidance": TIGHT}),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, SCHEMA | {"x-guidance": TIGHT}),
        ({"response_format": FORMAT, "json_schema": {"type": "array"}}, {"type": "array", "x-guidance": TIGHT}),
        ({"response_format": FORMAT, "json_schema": None}, SCHEMA | {"x-guidance": TIGHT}),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_schema"}}, None),
        ({"response_format": "json"}, None),
        ({"response_format": {"type": "json_schema", "json_schema": []}}, None),
        (
            {"json_schema": SCHEMA | {"$schema": "http://x.example/s", "$id": "My Schema"}},
            SCHEMA | {"x-guidance": TIGHT},
        ),
        (
            {"json_schema": {"$schema": "http://json-schema.org/draft-07/schema#", "$id": "urn:x:y"}},
            {"$schema": "http://json-schema.org/draft-07/schema#", "$id": "urn:x:y", "x-guidance": TIGHT},
        ),
        ({"response_format": None}, None),
        ({}, None),
    ],
)
def test_a_form_becomes_a_schema_with_little_white_space(body: dict[str, Any], schema: Any) -> None:
    assert written(body) == schema


LIST = {"$defs": {"a b": {"type": ["object", "null"], "properties": {"next": {"$ref": "#"}, "any": True}}}}


@pytest.mark.parametrize(
    "schema",
    [
        LIST | {"$ref": "#/$defs/a%20b"},
        {"allOf": [{"$ref": "#/allOf/1"}, {"type": "string", "pattern": "^a+$"}]},
        {"$ref": "#named", "$defs": {"x": {"$anchor": "named", "type": "null"}}},
        {"type": "array", "items": False, "prefixItems": [{"const": {"type": "nonsense", "$ref": 7}}]},
        {"enum": [{"$ref": "#/nowhere"}], "if": {"type": "string"}},
        {"type": "null", "$defs": {"unused": {"pattern": "(?=a)"}}, "not": {"type": "nonsense"}},
        {"type": "integer", "pattern": "(?=a)", "minimum": 0, "exclusiveMinimum": True},
        {"type": "array", "items": [{"type": "string"}, {"type": "integer"}]},
        {"type": "string", "pattern": r"^C:\\1[(?=]+\d{2,3}(?:a|b$)"},
        {"$id": "https://x.example/s", "$defs": {"a": {"type": "null"}}, "$ref": "https://x.example/s#/$defs/a"},
        {
            "properties": {
                "a": {"enum": ["x", None], "type": ["string", "null"]},
                "b": {"const": 1.0, "type": "integer"},
            }
        },
    ],
)
def test_a_schema_that_can_be_held_to_passes(schema: dict[str, Any]) -> None:
    assert written({"json_schema": schema}) == schema | {"x-guidance": TIGHT}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (True, "no object"),
        (7, "no object"),
        ([SCHEMA], "no object"),
        ({"properties": {"a": None}}, "no object"),
        ({"type": "nonsense"}, "`type`"),
        ({"type": ["string", 5]}, "`type`"),
        ({"anyOf": [{"items": {"type": "int"}}]}, "`type`"),
        ({"properties": {"a": {"type": [["string"]]}}}, "`type`"),
        ({"$ref": "#/components/A", "components": {"A": {"type": "nonsense"}}}, "`type`"),
        ({"type": []}, "`type`"),
        ({"additionalProperties": {"$ref": "#/$defs/none"}}, "`$ref`"),
        ({"$ref": "https://example.com/x.json"}, "`$ref`"),
        ({"$ref": 7}, "`$ref`"),
        ({"allOf": [{"$ref": "#/allOf/1"}]}, "`$ref`"),
        ({"pattern": "(?=a)"}, "`pattern`"),
        ({"pattern": r"(a)\1"}, "`pattern`"),
        ({"pattern": r"^[^]$"}, "`pattern`"),
        ({"pattern": r"^[a&&b]$"}, "`pattern`"),
        ({"pattern": r"a\Z"}, "`pattern`"),
        ({"pattern": "("}, "`pattern`"),
        ({"pattern": "^{a}$"}, "`pattern`"),
        ({"pattern": "a^b"}, "`pattern`"),
        ({"patternProperties": {"^(?!a)": True}}, "`patternProperties`"),
        ({"$ref": "#"}, "`$ref`"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "`$ref`"),
        ({"$ref": "#/$defs/a b", "$defs": {"a b": {}}}, "`$ref`"),
        ({"$ref": "#/$defs/%FF"}, "`$ref`"),
        ({"$ref": "#/anyOf/" + "1" * 5000, "anyOf": [{}]}, "`$ref`"),
        ({"$ref": "#nowhere"}, "`$ref`"),
        ({"$defs": {"a": {"$ref": "https://example.com/x"}}}, "`$ref`"),
        ({"minLength": 5, "maxLength": 2}, "`minLength`"),
        ({"minItems": 3.0}, "`minItems`"),
        ({"items": {"minItems": -1}}, "`minItems`"),
        ({"maxItems": 1_000_000}, "`maxItems`"),
        ({"minimum": 5, "maximum": 1}, "`minimum`"),
        ({"minimum": -(2**63)}, "`minimum`"),
        ({"exclusiveMinimum": 1, "exclusiveMaximum": 1}, "`exclusiveMinimum`"),
        ({"multipleOf": 0}, "`multipleOf`"),
        ({"enum": []}, "`enum`"),
        ({"enum": "a"}, "`enum`"),
        ({"type": "string", "enum": [1]}, "`enum`"),
        ({"type": "integer", "const": True}, "`const`"),
        ({"anyOf": []}, "`anyOf`"),
        ({"properties": []}, "`properties`"),
        ({"required": "a"}, "`required`"),
        ({"required": ["b"], "properties": {"a": {}}, "additionalProperties": False}, "`required`"),
        ({"required": ["a"], "properties": {"a": False}}, "`required`"),
        ({"properties": {str(n): {} for n in range(401)}}, "`required`"),
        ({"items": False, "minItems": 1}, "items"),
        ({"format": 5}, "`format`"),
        ({"description": "x" * 2**20}, "longer"),
        ({"x-guidance": {"whitespace_pattern": "("}}, "`whitespace_pattern`"),
        ({"x-guidance": {"whitespace_flexible": "yes"}}, "`x-guidance`"),
        ({"x-guidance": 5}, "`x-guidance`"),
        ({"x-guidance": {"bogus": True}}, "`x-guidance`"),
    ],
)
@pytest.mark.parametrize("field", ["json_schema", "response_format"])
def test_one_that_cannot_is_refused_and_not_left_out(field: str, schema: Any, says: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(BadRequest, match="cannot be turned into a grammar") as refused:
        written({field: schema if field == "json_schema" else form})
    assert says in refused.value.message
    assert refused.value.param == field


def test_a_type_of_a_form_that_there_is_not_is_refused() -> None:
    with pytest.raises(BadRequest, match="`type` must be"):
        written({"response_format": {"type": "jsonn"}})


def test_an_engine_of_the_user_s_gets_the_schema_as_it_is() -> None:
    assert written({"json_schema": SCHEMA}, built_in=False) == SCHEMA
    assert written({"response_format": FORMAT}, built_in=False) == SCHEMA
