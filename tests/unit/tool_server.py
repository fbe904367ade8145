"""A server of MCP with tools of every kind, good and bad: a program, or an address with `--http PORT`.

tool_server.py [KIND]        KIND says how it behaves; see `main`
"""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server

KIND = sys.argv[1] if len(sys.argv) > 1 else "good"
NOTES = Path(os.environ["TOOL_NOTES"]) if "TOOL_NOTES" in os.environ else None
"""A file in which it notes what happens to it."""
ANY = {"type": "object", "properties": {"text": {"type": "string"}}}
NAMES = ["echo", "fails", "slow", "huge", "value", "picture", "dies", "add_one", "secret", "plain"]
more: list[str] = []


def note(text: str) -> None:
    if NOTES is not None:
        with NOTES.open("a") as file:
            file.write(text + "\n")


def tool(name: str, **fields: Any) -> types.Tool:
    return types.Tool(name=name, description=f"Does {name}.", input_schema=ANY, **fields)


def text(said: str, **fields: Any) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=said)], **fields)


async def listed(ctx: Any, params: Any) -> types.ListToolsResult:
    if KIND == "many":
        start = int(params.cursor or 0) if params is not None else 0
        tools = [tool(f"tool_{n}") for n in range(start, start + 500)]
        return types.ListToolsResult(tools=tools, next_cursor=str(start + 500) if start < 9500 else None)
    if KIND == "endless":
        return types.ListToolsResult(tools=[tool("echo")], next_cursor=str(time.monotonic_ns()))
    if KIND == "odd":
        deep: dict[str, Any] = {"type": "object"}
        for _ in range(60):
            deep = {"type": "object", "properties": {"a": deep}}
        outside = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/x"}}}
        wide = {"type": "object", "properties": {f"field_{n}": {"type": "string"} for n in range(2000)}}
        schemas = {"outside": outside, "deep": deep, "wide": wide}
        odd = [types.Tool(name=name, input_schema=schema) for name, schema in schemas.items()]
        names = ["ein Gerät/öffnen", "ein Gerät öffnen", "x" * 100, "y" * 500, "a\nb", "__echo"]
        return types.ListToolsResult(tools=[*odd, *(tool(name) for name in names)])
    destroys = types.ToolAnnotations(destructive_hint=True)
    tools = [tool(name) for name in [*NAMES, *more]]
    return types.ListToolsResult(tools=[*tools, tool("delete_all", annotations=destroys)])


async def called(ctx: Any, params: Any) -> types.CallToolResult:  # one line for each tool
    name, said = params.name, (params.arguments or {}).get("text", "")
    note(f"call {name}")
    if name == "slow":
        try:
            await asyncio.sleep(float(said or 60))
        except asyncio.CancelledError:
            note("cancelled")
            raise
        return text("slept")
    if name == "fails":
        return text("the tool says no", is_error=True)
    if name == "huge":
        return text("x" * int(said or 1_000_000))
    if name == "value":
        return types.CallToolResult(content=[], structured_content={"degrees": 21.5})
    if name == "picture":
        return types.CallToolResult(
            content=[
                types.ImageContent(type="image", data="AAAA" * 1000, mime_type="image/png"),
                types.ResourceLink(type="resource_link", uri="file:///x.txt", name="x"),
            ]
        )
    if name == "dies":
        os._exit(3)
    if name == "add_one":
        more.append(f"new_{len(more)}")
        await ctx.session.send_tool_list_changed()
        return text("added")
    if name == "secret":
        return text(f"{os.environ.get('TOOL_SECRET', '')} {sorted(os.environ)}")
    return text(f"{name} says {said}")


server: Server[Any] = Server("tools of the tests", version="1", on_list_tools=listed, on_call_tool=called)


async def speak() -> None:
    async with stdio_server() as (incoming, outgoing):
        options = server.create_initialization_options(NotificationOptions(tools_changed=True))
        await server.run(incoming, outgoing, options)


def main() -> None:
    note(f"start {os.getpid()}")
    if KIND == "silent":
        time.sleep(600)
    if KIND == "broken":
        print("cannot open", os.environ.get("TOOL_SECRET", ""), file=sys.stderr)
        sys.exit(3)
    if KIND == "noise":
        while True:
            print("this is no message")
    if KIND == "line":
        while True:
            sys.stdout.write("x" * 65536)
    if "--http" in sys.argv:
        import uvicorn

        app = server.streamable_http_app()
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[-1]), log_config=None)
        return
    asyncio.run(speak())


if __name__ == "__main__":
    main()
