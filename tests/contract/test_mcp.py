"""MCP on real weights: the official client over both transports gets what the model says, and who asked is booked."""

import os
import sys
from typing import Any

import httpx2
import pytest
from live_gateway import LiveGateway
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_talk import ARGUMENTS, TASKS

pytestmark = [pytest.mark.real, pytest.mark.anyio]

KEY = "sk-first"
ASKED: dict[str, Any] = {"prompt": "Name a colour.", "model": "smollm2-135m", "max_tokens": 8, "temperature": 0}


async def answers(client: Client) -> tuple[str, list[list[float]], str]:
    said = await client.call_tool("generate_text", ASKED)
    embedded = await client.call_tool("embed", {"input": ["a", "b"], "model": "minilm"})
    routed = await client.call_tool("route", {"prompt": "Translate this into French."})
    for result in (said, embedded, routed):
        assert not result.is_error, result.content
        assert result.structured_content is not None
    return (
        said.structured_content["response"],  # type: ignore[index]
        embedded.structured_content["embeddings"],  # type: ignore[index]
        routed.structured_content["model"],  # type: ignore[index]
    )


async def test_both_transports_give_what_the_model_says(gateway: LiveGateway) -> None:
    usual = gateway.post("/generate", ASKED).json
    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http,
        Client(streamable_http_client(f"{gateway.url}/mcp", http_client=http)) as client,
    ):
        by_http = await answers(client)
    environment = {name: os.environ[name] for name in ("PATH", "ROLECAST_HOME") if name in os.environ}
    program = StdioServerParameters(
        command=sys.executable,
        args=["-m", "rolecast", "mcp", "--url", gateway.url],
        env=environment | {"ROLECAST_API_KEY": KEY},
    )
    async with Client(program) as client:
        by_stdio = await answers(client)
    assert by_http == by_stdio
    text, vectors, model = by_http
    assert text == usual["response"]
    assert text.strip()
    assert [len(vector) for vector in vectors] == [384, 384]
    assert model


async def test_a_long_answer_tells_its_progress(gateway: LiveGateway) -> None:
    seen: list[float] = []

    async def note(progress: float, total: float | None, words: str | None) -> None:
        seen.append(progress)

    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http,
        Client(streamable_http_client(f"{gateway.url}/mcp", http_client=http), mode="legacy") as client,
    ):
        asked = {**ASKED, "prompt": "Tell me a story.", "max_tokens": 120}
        result = await client.call_tool("generate_text", asked, progress_callback=note)
    assert result.structured_content is not None
    assert len(seen) > 1
    assert seen == sorted(set(seen))
    assert seen[-1] <= len(result.structured_content["response"])


async def test_every_task_answers_as_a_tool(gateway: LiveGateway) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http,
        Client(streamable_http_client(f"{gateway.url}/mcp", http_client=http)) as client,
    ):
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert tools >= {*TASKS} - {"generate_image"}  # nobody makes images here
        for name in sorted({*TASKS} & tools):
            result = await client.call_tool(name, {**ARGUMENTS[name], "max_tokens": 8, "temperature": 0})
            assert not result.is_error, (name, result.content)
            assert result.structured_content is not None
            assert isinstance(result.structured_content["response"], str)
            assert result.structured_content["model"]
