"""The official conformance suite of MCP (npm: @modelcontextprotocol/conformance) against `/mcp`.

The suite calls tools, resources and prompts of a reference server by name. So it runs twice: against the product as it
is, with the scenarios that need nothing of that, and, all of it, against the product with those added
(`mcp_reference.py`).
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from client_programs import conformance
from gateway import Gate, config, running_gateway

from rolecast.config.schema import Model

pytestmark = pytest.mark.anyio

ANYWHERE = (
    "server-initialize",
    "ping",
    "completion-complete",
    "tools-list",
    "server-sse-multiple-streams",
    "resources-list",
    "prompts-list",
    "dns-rebinding-protection",
)
"""Scenarios that any server can be asked."""
SCENARIOS = 32
RUN_S = 110


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    async with running_gateway(config({"m": Model(backend="fake")}), tmp_path) as found:
        yield found


async def run(gate: Gate, folder: Path, *more: str) -> dict[str, list[dict[str, Any]]]:
    """What the suite found, by scenario."""
    command, environment = await asyncio.to_thread(conformance)
    url = f"http://127.0.0.1:{gate.port()}/mcp"
    arguments = ("server", "--url", url, "-o", str(folder), *more)
    suite = await asyncio.create_subprocess_exec(*command, *arguments, env=environment, stdout=-1, stderr=-2)
    said, _ = await asyncio.wait_for(suite.communicate(), RUN_S)
    found = {
        each.parent.name.partition("-20")[0]: json.loads(each.read_bytes()) for each in folder.glob("*/checks.json")
    }
    assert found, said.decode()[-2000:]
    return {name.removeprefix("server-"): checks for name, checks in found.items()}


def faults(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    checks = [(name, check) for name, checks in found.items() for check in checks]
    return [f"{name}: {check.get('errorMessage')}" for name, check in checks if check["status"] == "FAILURE"]


@pytest.mark.parametrize("scenario", ANYWHERE)
async def test_the_server_as_it_is_passes_what_any_server_can_be_asked(
    gate: Gate, tmp_path: Path, scenario: str
) -> None:
    found = await run(gate, tmp_path / "found", "--scenario", scenario)
    assert faults(found) == []
    assert any(check["status"] == "SUCCESS" for checks in found.values() for check in checks)


async def test_with_the_tools_of_the_suite_all_of_it_passes(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    gate.gateway.mcp.helper._module = "mcp_reference"
    found = await run(gate, tmp_path / "found", "--suite", "all")
    assert len(found) == SCENARIOS
    assert faults(found) == []
