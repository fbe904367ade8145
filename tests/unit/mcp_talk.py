"""The official MCP client against a gateway of the tests, over HTTP and over standard input and output."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from gateway import DONE, USAGE, Gate, Peer, Received, Script, delta, reply, stream
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from rolecast.mcp.tools import ROWS

TASKS = tuple(row.name for row in ROWS)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "generate_text": {"prompt": "Say hi."},
    **{row.name: {row.subject: "2 + 2", **dict.fromkeys(row.needs, "german")} for row in ROWS},
    "route": {"prompt": "Say hi."},
    "list_models": {},
    "load_model": {"model": "m"},
    "unload_model": {"model": "m"},
    "embed": {"input": ["a", "b"], "model": "e"},
}
"""Arguments with which each tool can be called."""


def says(text: str, after_s: float = 0.0) -> Script:
    """A worker that says that, streamed or whole as it is asked."""

    async def script(peer: Peer, received: Received) -> None:
        await asyncio.sleep(after_s)
        if received.json.get("stream"):
            await stream(delta(text), USAGE, DONE)(peer, received)
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}}
            usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
            await reply(json.dumps({"choices": [choice], "usage": usage}).encode())(peer, received)

    return script


def address(gate: Gate) -> str:
    return f"http://127.0.0.1:{gate.port()}/mcp"


@contextlib.asynccontextmanager
async def over_http(gate: Gate, mode: str = "auto", **headers: str) -> AsyncIterator[Client]:
    """A client of `/mcp`; `mode` is `legacy` for a session with a handshake."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        httpx2.AsyncClient(headers=named, timeout=60, trust_env=False) as http,
        Client(streamable_http_client(address(gate), http_client=http), mode=mode) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def over_stdio(gate: Gate | None, mode: str = "auto", **env: str) -> AsyncIterator[Client]:
    """A client that starts `rolecast mcp` for that gateway; None = for whichever runs."""
    url = ["--url", f"http://127.0.0.1:{gate.port()}"] if gate is not None else []
    names = ("PATH", "HOME", "ROLECAST_HOME", "XDG_CONFIG_HOME")
    environment = {name: os.environ[name] for name in names if name in os.environ} | env
    program = StdioServerParameters(command=sys.executable, args=["-m", "rolecast", "mcp", *url], env=environment)
    async with Client(program, mode=mode) as client:
        yield client
