"""MCP on standard input and output: a program that a client starts, and that talks to the running gateway."""

import asyncio
from typing import Any

import anyio
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from rolecast import statefile
from rolecast.mcp.api import Gateways
from rolecast.mcp.jsonrpc import INVALID_REQUEST, PARSE_ERROR
from rolecast.mcp.server import make_server
from rolecast.telemetry.quiet import log_quietly


async def speak(server: "Server[Any]") -> None:
    """Serve on standard input and output until the client closes its end."""
    async with stdio_server() as (incoming, outgoing), anyio.create_task_group() as group:
        onward, judged = anyio.create_memory_object_stream[SessionMessage | Exception](0)

        async def judge() -> None:
            async with onward:
                async for message in incoming:
                    if isinstance(message, Exception):  # the SDK would say nothing, and the client wait
                        await outgoing.send(SessionMessage(_refusal(message)))
                    else:
                        await onward.send(message)

        group.start_soon(judge)
        await server.run(judged, outgoing, server.create_initialization_options())
        group.cancel_scope.cancel()


def run(url: str, key: str) -> None:
    """The same for a gateway, as a program. `url` empty = whichever gateway runs when something is asked."""
    asyncio.run(_serve(url.rstrip("/").removesuffix("/v1") if not url or "://" in url else f"http://{url}", key))


async def _serve(url: str, key: str) -> None:
    log_quietly()
    gateways = Gateways()
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        await speak(make_server(lambda _: gateways.api(url or _running(), headers)))
    finally:
        await gateways.aclose()


def _running() -> str:
    state = statefile.running()
    return state.url if state is not None else ""


def _refusal(error: Exception) -> types.JSONRPCError:
    """The answer to a line that is no message."""
    broken = not isinstance(error, ValidationError) or any(each["type"] == "json_invalid" for each in error.errors())
    code, said = (PARSE_ERROR, "Parse error") if broken else (INVALID_REQUEST, "A line is one message of JSON-RPC.")
    return types.JSONRPCError(jsonrpc="2.0", id=None, error=types.ErrorData(code=code, message=said))
