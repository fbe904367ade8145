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
        ({"json_schema": SCHEMA | {"x-guidance": OWN}}, SCHEMA | {"x-guidance": OWN}),
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
        ({"items": [SCHEMA]}, "no object"),
        ({"type": "nonsense"}, "`type`"),
        ({"type": ["string", 5]}, "`type`"),
        ({"anyOf": [{"items": {"type": "int"}}]}, "`type`"),
        ({"$defs": {"a": {"type": [["string"]]}}}, "`type`"),
        ({"additionalProperties": {"$ref": "#/$defs/none"}}, "`$ref`"),
        ({"$ref": "https://example.com/x.json"}, "`$ref`"),
        ({"$ref": 7}, "`$ref`"),
        ({"allOf": [{"$ref": "#/allOf/1"}]}, "`$ref`"),
        ({"pattern": "(?=a)"}, "`pattern`"),
        ({"pattern": r"(a)\1"}, "`pattern`"),
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


def test_an_engine_of_the_user_s_gets_the_schema_as_it_is() -> None:
    assert written({"json_schema": SCHEMA}, built_in=False) == SCHEMA
    assert written({"response_format": FORMAT}, built_in=False) == SCHEMA
