"""The methods of MCP in plain JSON values: tools, resources, prompts, completions.

Knows neither transports nor the SDK; the protocol's own methods (`initialize`, `ping`, notifications) are whoever's
speaks it. Conductor's methods are `conductor.py`'s.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from rolecast.errors import RolecastError
from rolecast.mcp import arguments, conductor, resources
from rolecast.mcp.api import Api
from rolecast.mcp.calls import Outcome, Tell
from rolecast.mcp.catalogue import Catalogue, Offer
from rolecast.mcp.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, RpcError
from rolecast.mcp.pictures import pictured
from rolecast.mcp.schemas import ANSWER
from rolecast.mcp.tools import ROWS, Tool, tools

MOST_VALUES = 100
"""A completion has at most so many values, by the protocol."""
SHOWN_NAMES = 40
MODEL_LIKE = ("model", "name", "technical_name")

Params = Mapping[str, Any]
Method = Callable[[Api, Params, Tell | None], Awaitable[dict[str, Any]]]


class Methods:
    """What a client may call, of whatever gateway its `Api` is."""

    def __init__(self) -> None:
        self._catalogue = Catalogue()
        self.table: dict[str, Method] = {
            "tools/list": self._list_tools,
            "tools/call": self._call_tool,
            "resources/list": self._list_resources,
            "resources/templates/list": self._list_templates,
            "resources/read": self._read_resource,
            "prompts/list": self._list_prompts,
            "prompts/get": self._get_prompt,
            "completion/complete": self._complete,
            **conductor.METHODS,
        }
        """By name; all but those that the protocol itself needs."""

    async def call(self, method: str, api: Api, params: Any, tell: Tell | None = None) -> dict[str, Any]:
        """The result of a method. Raises RpcError."""
        found = self.table.get(method)
        if found is None:
            raise RpcError(METHOD_NOT_FOUND, "Method not found", method)
        if params is not None and not isinstance(params, Mapping):
            raise RpcError(INVALID_PARAMS, "`params` must be an object.")
        try:
            return await found(api, params or {}, tell)
        except RolecastError as error:
            raise RpcError(INTERNAL_ERROR, error.message, error.message) from error

    # -- tools --------------------------------------------------------------------------------------------

    async def _list_tools(self, api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
        offered = tools(await self._catalogue.offer(api))
        return {"tools": [tool.listed() for tool in offered.values()]}

    async def _call_tool(self, api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
        name, said = params.get("name"), params.get("arguments")
        if not isinstance(name, str) or not (said is None or isinstance(said, Mapping)):
            raise RpcError(INVALID_PARAMS, "tools/call needs `name`, a text, and `arguments`, an object.")
        try:
            offered = tools(await self._catalogue.offer(api))
            if (tool := offered.get(name)) is None:
                there = ", ".join(offered)
                raise RpcError(INVALID_PARAMS, f"Unknown tool: {name[:100]}. There are {there}.")
            read, unknown = arguments.read(tool.takes, said or {})
            if fault := _fault(tool, read):
                return _failed(fault)
            return _result(_noted(tool, await tool.run(api, read, tell), unknown))
        except RolecastError as error:
            return _failed(error.message)

    # -- resources ----------------------------------------------------------------------------------------

    async def _list_resources(self, api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
        return {"resources": resources.LISTED}

    async def _list_templates(self, api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
        return {"resourceTemplates": resources.TEMPLATES}

    async def _read_resource(self, api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
        uri = params.get("uri")
        if not isinstance(uri, str):
            raise RpcError(INVALID_PARAMS, "resources/read needs `uri`, a text.")
        value = await resources.read(uri, api, await self._catalogue.offer(api))
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
        return {"contents": [{"uri": uri, "mimeType": "application/json", "text": text}]}

    # -- prompts ------------------------------------------------------------------------------------------

    async def _list_prompts(self, api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
        offered = tools(await self._catalogue.offer(api))
        return {"prompts": [_prompt(offered[row.name]) for row in ROWS if row.name in offered]}

    async def _get_prompt(self, api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
        name, said = params.get("name"), params.get("arguments") or {}
        offered = tools(await self._catalogue.offer(api))
        if name not in {row.name for row in ROWS} & offered.keys():
            raise RpcError(INVALID_PARAMS, f"Unknown prompt: {str(name)[:100]}. prompts/list says which there are.")
        tool = offered[str(name)]
        if missing := [each for each in tool.takes["required"] if each not in said]:
            raise RpcError(INVALID_PARAMS, f"The prompt {name} needs {', '.join(missing)}.")
        given = msgspec.json.encode(said).decode()
        text = f"Call the tool `{name}` of Rolecast with these arguments, and show its answer as it is: {given}"
        message = {"role": "user", "content": {"type": "text", "text": text}}
        return {"description": tool.description, "messages": [message]}

    # -- completions --------------------------------------------------------------------------------------

    async def _complete(self, api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
        asked, ref = params.get("argument"), params.get("ref")
        if not isinstance(asked, Mapping) or not isinstance(asked.get("name"), str):
            raise RpcError(INVALID_PARAMS, "completion/complete needs `argument` with `name` and `value`.")
        offer = await self._catalogue.offer(api)
        begun = str(asked.get("value") or "").lower()
        ref = ref if isinstance(ref, Mapping) else {}
        if ref.get("type") == "ref/resource" and asked["name"] == "name":
            values = [each["technical_name"] for each in await api.get("/conductor/models")]
        else:
            values = _values(asked["name"], str(ref.get("name") or ""), offer)
        found = [value for value in values if value.lower().startswith(begun)]
        shown = found[:MOST_VALUES]
        return {"completion": {"values": shown, "total": len(found), "hasMore": len(found) > len(shown)}}


def _values(argument: str, tool: str, offer: Offer) -> list[str]:
    """What an argument may be; of the tool, or, where none is named, of whichever has one of that name."""
    if argument in MODEL_LIKE:
        return list(offer.models)
    if argument == "category":
        return list(offer.categories)
    offered = tools(offer)
    found: dict[str, None] = {}
    for each in [offered[tool]] if tool in offered else [] if tool else offered.values():
        schema = each.takes["properties"].get(argument, {})
        words = ["true", "false"] if schema.get("type") == "boolean" else []
        found |= dict.fromkeys([*schema.get("enum", []), *schema.get("examples", []), *words])
    return list(found)


def _prompt(tool: Tool) -> dict[str, Any]:
    required = tool.takes["required"]
    arguments = [
        {"name": name, "description": schema.get("description", ""), "required": name in required}
        for name, schema in tool.takes["properties"].items()
    ]
    return {"name": tool.name, "title": tool.title, "description": tool.description, "arguments": arguments}


def _fault(tool: Tool, said: Params) -> str:
    """What is wrong with the arguments; '' = nothing. A model that reads it can mend its call."""
    from jsonschema import Draft202012Validator

    faults = list(Draft202012Validator(tool.takes).iter_errors(dict(said)))
    if not faults:
        return ""
    told = [
        f"`{'.'.join(map(str, each.absolute_path))}`: {each.message}" if each.path else each.message for each in faults
    ]
    return f"The arguments of {tool.name} do not fit: {'; '.join(told)[:1000]}."


def _noted(tool: Tool, outcome: Outcome, unknown: list[str]) -> Outcome:
    """An answer that also tells which arguments its tool does not have."""
    if not unknown or tool.gives is not ANSWER:
        return outcome
    found = dict(outcome.data.get("metadata") or {})
    found["ignored_options"] = [*found.get("ignored_options", ()), *(name[:100] for name in unknown[:20])]
    return Outcome(outcome.text, {**outcome.data, "metadata": found})


def _result(outcome: Outcome) -> dict[str, Any]:
    outcome, pictures = pictured(outcome)
    content = [{"type": "text", "text": outcome.text}, *pictures]
    return {"content": content, "structuredContent": outcome.data, "isError": False}


def _failed(sentence: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": sentence}], "isError": True}
