"""The process behind `/mcp` with the tools, resources and prompts that the official conformance suite asks for.

The suite calls things that only a reference server has (`test_simple_text`, `test://static-text`). Here they are added
to the server as it is, so that the suite goes through our door, our proxy and our process; what the suite does not name
is answered by the product's own handlers. Run by `test_mcp_conformance.py` in the place of `rolecast.mcp.child`.
"""

import asyncio
import base64
import sys
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.message import ServerMessageMetadata

from rolecast.mcp.api import Gateways
from rolecast.mcp.child import api_of, serve
from rolecast.mcp.server import SPEC, Context, make_server

PNG = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==")
).decode()
WAV = base64.b64encode(
    b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\0\0\0\0"
).decode()
PAUSE_S = 0.05
IMAGE = {"type": "image", "data": PNG, "mimeType": "image/png"}
NAMES = {
    "username": {"type": "string", "description": "User's response"},
    "email": {"type": "string", "description": "User's email address"},
}
OPTIONS = ["option1", "option2", "option3"]
CHOICES = [{"const": f"value{n}", "title": f"Choice {n}"} for n in (1, 2, 3)]
DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
ENUMS = {
    "untitledSingle": {"type": "string", "enum": OPTIONS},
    "titledSingle": {"type": "string", "oneOf": CHOICES},
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": OPTIONS}},
    "titledMulti": {"type": "array", "items": {"anyOf": CHOICES}},
}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def embedded(uri: str, said: str, kind: str = "text/plain") -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": said}}


CONTENT: dict[str, list[dict[str, Any]]] = {
    "test_simple_text": [text("This is a simple text response for testing.")],
    "test_image_content": [IMAGE],
    "test_audio_content": [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}],
    "test_embedded_resource": [embedded("test://embedded-resource", "This is an embedded resource content.")],
    "test_multiple_content_types": [
        text("Multiple content types test:"),
        IMAGE,
        embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
    ],
}


async def logs(ctx: Context, said: Any) -> str:
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        params = types.LoggingMessageNotificationParams(level="info", data=words)
        note = types.LoggingMessageNotification(params=params)
        await ctx.session.send_notification(note, ctx.request_id)
        await asyncio.sleep(PAUSE_S)
    return "done"


async def progresses(ctx: Context, said: Any) -> str:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100)
        await asyncio.sleep(PAUSE_S)
    return "done"


async def fails(ctx: Context, said: Any) -> str:
    raise ValueError("This tool intentionally returns an error for testing")


async def samples(ctx: Context, said: Any) -> str:
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=said["prompt"]))
    params = types.CreateMessageRequestParams(messages=[message], max_tokens=100)
    asked = types.CreateMessageRequest(params=params)
    beside = ServerMessageMetadata(related_request_id=ctx.request_id)  # else it needs a stream that may not be open yet
    answer = await ctx.session.send_request(asked, types.CreateMessageResult, metadata=beside)
    return f"LLM response: {answer.content.text}"  # type: ignore[union-attr]


async def elicits(ctx: Context, said: Any) -> str:
    schema = {"type": "object", "properties": NAMES, "required": list(NAMES)}
    answer = await ctx.session.elicit_form(said["message"], schema, ctx.request_id)
    return f"User response: action={answer.action}, content={answer.content}"


async def elicits_defaults(ctx: Context, said: Any) -> str:
    answer = await ctx.session.elicit_form("?", {"type": "object", "properties": DEFAULTS}, ctx.request_id)
    return f"Elicitation completed: action={answer.action}, content={answer.content}"


async def elicits_enums(ctx: Context, said: Any) -> str:
    answer = await ctx.session.elicit_form("?", {"type": "object", "properties": ENUMS}, ctx.request_id)
    return f"Elicitation completed: action={answer.action}, content={answer.content}"


ACTIONS: dict[str, Any] = {
    "test_tool_with_logging": logs,
    "test_tool_with_progress": progresses,
    "test_error_handling": fails,
    "test_sampling": samples,
    "test_elicitation": elicits,
    "test_elicitation_sep1034_defaults": elicits_defaults,
    "test_elicitation_sep1330_enums": elicits_enums,
}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
    "additionalProperties": False,
}
RESOURCES: dict[str, dict[str, Any]] = {
    "test://static-text": {"mimeType": "text/plain", "text": "This is the content of the static text resource."},
    "test://static-binary": {"mimeType": "image/png", "blob": PNG},
    "test://template/123/data": {
        "mimeType": "application/json",
        "text": '{"id":"123","templateTest":true,"data":"Data for ID: 123"}',
    },
    "test://watched-resource": {"mimeType": "text/plain", "text": "watched"},
}
ARGUMENTS = {
    "test_simple_prompt": [],
    "test_prompt_with_arguments": ["arg1", "arg2"],
    "test_prompt_with_embedded_resource": ["resourceUri"],
    "test_prompt_with_image": [],
}


def messages(name: str, said: dict[str, Any]) -> list[dict[str, Any]]:
    contents = {
        "test_simple_prompt": [text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments": [
            text(f"Prompt with arguments: arg1='{said.get('arg1')}', arg2='{said.get('arg2')}'")
        ],
        "test_prompt_with_embedded_resource": [
            embedded(said.get("resourceUri", "test://x"), "Embedded resource content for testing."),
            text("Please process the embedded resource above."),
        ],
        "test_prompt_with_image": [IMAGE, text("Please analyze the image above.")],
    }
    return [{"role": "user", "content": content} for content in contents[name]]


class Equipped:
    """The server with what the suite names."""

    def __init__(self, server: "Server[Any]") -> None:
        self.server = server
        self._usual = {name: server.get_request_handler(name) for name in SPEC}
        ours = {
            "tools/list": self.list_tools,
            "tools/call": self.call_tool,
            "resources/list": self.list_resources,
            "resources/read": self.read_resource,
            "prompts/list": self.list_prompts,
            "prompts/get": self.get_prompt,
        }
        for name, handler in ours.items():
            server.add_request_handler(name, SPEC[name][0], handler)
        server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, self.nothing)
        server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, self.nothing)
        server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, self.nothing)

    async def usual(self, ctx: Context, params: Any) -> Any:
        """What the product answers."""
        entry = self._usual[ctx.method]
        assert entry is not None
        return await entry.handler(ctx, params)

    async def list_tools(self, ctx: Context, params: Any) -> Any:
        found = await self.usual(ctx, params)
        plain = {"type": "object", "properties": {}}
        more = [types.Tool(name=name, description="Of the suite.", input_schema=plain) for name in (*CONTENT, *ACTIONS)]
        more.append(types.Tool(name="json_schema_2020_12_tool", description="Of the suite.", input_schema=SCHEMA))
        return found.model_copy(update={"tools": [*found.tools, *more]})

    async def call_tool(self, ctx: Context, params: Any) -> Any:
        if params.name in CONTENT:
            return types.CallToolResult.model_validate({"content": CONTENT[params.name]}, by_name=False)
        if params.name not in ACTIONS:
            return await self.usual(ctx, params)
        try:
            said, failed = await ACTIONS[params.name](ctx, params.arguments or {}), False
        except ValueError as error:
            said, failed = str(error), True
        return types.CallToolResult(content=[types.TextContent(type="text", text=said)], is_error=failed)

    async def list_resources(self, ctx: Context, params: Any) -> Any:
        found = await self.usual(ctx, params)
        more = [types.Resource(uri=uri, name=uri, description="Of the suite.") for uri in RESOURCES]
        return found.model_copy(update={"resources": [*found.resources, *more]})

    async def read_resource(self, ctx: Context, params: Any) -> Any:
        uri = str(params.uri)
        if uri not in RESOURCES:
            return await self.usual(ctx, params)
        return types.ReadResourceResult.model_validate({"contents": [{"uri": uri, **RESOURCES[uri]}]}, by_name=False)

    async def list_prompts(self, ctx: Context, params: Any) -> Any:
        found = await self.usual(ctx, params)
        more = []
        for name, names in ARGUMENTS.items():
            arguments = [types.PromptArgument(name=each) for each in names]
            more.append(types.Prompt(name=name, description="Of the suite.", arguments=arguments))
        return found.model_copy(update={"prompts": [*found.prompts, *more]})

    async def get_prompt(self, ctx: Context, params: Any) -> Any:
        if params.name not in ARGUMENTS:
            return await self.usual(ctx, params)
        told = {"messages": messages(params.name, params.arguments or {})}
        return types.GetPromptResult.model_validate(told, by_name=False)

    async def nothing(self, ctx: Context, params: Any) -> types.EmptyResult:
        return types.EmptyResult()


if __name__ == "__main__":
    serve(Equipped(make_server(api_of(Gateways()))).server, sys.argv[1])
