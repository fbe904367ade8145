"""The form of a completion's answer, in the words of llama.cpp."""

from typing import Any

import msgspec
import pytest

from rolecast.backends import llamacpp_form

SCHEMA = {"type": "object", "required": ["n"]}
OWN = {"whitespace_flexible": True}
TIGHT = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", "}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}


def written(body: dict[str, Any], *, tight: bool = True) -> Any:
    """The schema that the engine gets; None = none."""
    fields = msgspec.json.decode(msgspec.json.encode(body), type=dict[str, msgspec.Raw])
    llamacpp_form.write(fields, tight=tight)
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
        ({"json_schema": True}, True),
        ({"json_schema": 7}, 7),
        ({"json_schema": [SCHEMA]}, [SCHEMA]),
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


def test_an_engine_of_the_user_s_gets_the_schema_as_it_is() -> None:
    assert written({"json_schema": SCHEMA}, tight=False) == SCHEMA
    assert written({"response_format": FORMAT}, tight=False) == SCHEMA
