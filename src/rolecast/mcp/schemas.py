"""JSON Schemas (2020-12) of tools: what they take, made of the options of a task, and what they give."""

from collections.abc import Mapping
from typing import Any

from rolecast.mcp.catalogue import Option

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TOKENS: Schema = {"type": "integer", "minimum": 0, "description": "Longest answer, in tokens."}
TEMPERATURE: Schema = {"type": "number", "minimum": 0, "description": "How freely words are drawn; 0 = not at all."}
SESSION: Schema = {"type": "string", "description": "A conversation that goes on; any name of yours."}
MODEL: Schema = {"type": "string", "description": "Who answers: a model or a role; without it, whoever fits."}

ANSWER: Schema = {
    "type": "object",
    "properties": {
        "response": {"type": "string", "description": "The answer."},
        "category": {"type": "string", "description": "The task that it was taken for."},
        "model": {"type": "string", "description": "Who answered."},
        "session_id": {"type": ["string", "null"]},
        "tokens": {"type": "integer", "description": "Tokens of the answer, where they were counted."},
        "generation_time": {"type": "number", "description": "Seconds."},
        "metadata": {"type": "object", "description": "What checks found out about the answer."},
    },
    "required": ["response"],
}

_KINDS: Mapping[str, Schema] = {
    "text": TEXT,
    "texts": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]},
    "word": TEXT,
    "flag": {"type": "boolean"},
    "number": {"type": "number"},
}


def taken(properties: Mapping[str, Schema], required: tuple[str, ...] = ()) -> Schema:
    """What a tool takes."""
    found: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return found | {"required": list(required)} if required else found


def of_option(option: Option) -> Schema:
    """The schema of one argument."""
    found = dict(_KINDS.get(option.kind, {}))
    if option.values:
        found["examples" if option.open or option.kind != "word" else "enum"] = list(option.values)
    if option.description:
        found["description"] = option.description
    if option.default is not None:
        found["default"] = option.default
    return found
