"""Bounds that would make llama.cpp take all memory: none of them reaches it, and nothing else is kept from it."""

import json
from typing import Any

import pytest

from rolecast.backends import llamacpp_bounds
from rolecast.errors import BadRequest


def form(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def offer(schema: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": schema}}}}]}


STRING, ARRAY = {"minLength": 5, "maxLength": 2}, {"items": {"type": "null"}, "minItems": 2, "maxItems": 1}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (form(STRING), "response_format"),
        (form({"anyOf": [{"type": "null"}, ARRAY]}), "response_format"),
        ({"response_format": {"type": "json_object", "schema": ARRAY}}, "response_format"),
        ({"json_schema": STRING}, "json_schema"),
        (offer(STRING), "tools"),
        ({"functions": [{"name": "f", "parameters": ARRAY}]}, "functions"),
        (form({"pattern": "^a{5,2}$"}), "response_format"),
        (form({"pattern": "^a{ +5x, 2}$"}), "response_format"),
        (form({"minLength": 5, "maxLength": 2**32 + 2}), "response_format"),
        (form({"minLength": 5.5, "maxLength": 2.5}), "response_format"),
        ({"grammar": 'root ::= "a"{5,2}'}, "grammar"),
        ({"grammar": 'root ::= "{" [^{] # {1,1}\nx ::= ("a" | "b"){ 10 , 3 }'}, "grammar"),
    ],
)
def test_what_counts_down_is_refused(fields: dict[str, Any], param: str) -> None:
    for body in (json.dumps(fields), json.dumps({"messages": ["\u00e9" * 100], **fields}, indent=1)):
        with pytest.raises(BadRequest) as refused:
            llamacpp_bounds.refuse(body.encode())
        assert refused.value.param == param
    escaped = json.dumps(fields).replace("minLength", "m\\u0069nLength").replace("grammar", "gr\\u0061mmar")
    with pytest.raises(BadRequest):
        llamacpp_bounds.refuse(escaped.encode())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        form({"minLength": 2, "maxLength": 2}),
        form({"minLength": 5}),
        form({"properties": {"minLength": {"type": "integer"}, "maxLength": {"type": "integer"}, "pattern": {}}}),
        form({"minLength": "5", "maxLength": "2"}),
        form({"pattern": r"^\{5,2\}a{2,5}b{3}c{3,}$"}),
        form({"pattern": 5}),
        {"grammar": 'root ::= "a{5,2}" [{5,2}] "a"{2,5} "b"{3} "c"{3,} # {5,2}'},
        {"grammar": 5},
        {"messages": [{"role": "user", "content": 'what is {"minLength": 5, "maxLength": 2} and "a"{5,2}?'}]},
        offer({"minItems": 1, "maxItems": 3}),
    ],
)
def test_all_else_passes(fields: dict[str, Any]) -> None:
    llamacpp_bounds.refuse(json.dumps(fields).encode())
    llamacpp_bounds.refuse(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode())


def test_what_is_no_json_is_left_to_who_reads_it() -> None:
    llamacpp_bounds.refuse(b'{"grammar":')
