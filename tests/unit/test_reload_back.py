"""Edits of the configuration that are only tried, and those that are taken back."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway import Answer, Gate, request, running_gateway

from rolecast.config import load

pytestmark = pytest.mark.anyio
FIRST = "server: {port: 0, drain_timeout: 0}\nmodels: {m: {backend: fake}}\nroles: {standard: [m]}\n"
SECOND = FIRST.replace("models: {m: {backend: fake}}", "models: {m: {backend: fake}, n: {backend: fake, context: 99}}")
THIRD = SECOND.replace("[m]", "[n, m]")


@pytest.fixture
async def edited(tmp_path: Path) -> AsyncIterator[tuple[Gate, Path]]:
    file = tmp_path / "rolecast.yaml"
    file.write_text(FIRST)
    async with running_gateway(load(file), tmp_path) as gate:
        gate.gateway.reloader._path = file  # without the watch, so that the test alone says when
        yield gate, file


async def reload(gate: Gate, body: dict[str, Any]) -> Answer:
    return await gate.ask(request(body, path="/admin/reload"))


def names(gate: Gate) -> set[str]:
    return set(gate.gateway.current.config.models)


async def test_a_rehearsal_tells_what_would_change_and_changes_nothing(edited: tuple[Gate, Path]) -> None:
    gate, file = edited
    file.write_text(SECOND.replace("port: 0", "port: 0, limits: {queue: 7}"))
    told = (await reload(gate, {"dry_run": True})).json
    assert told["applied"] == ["server.limits.queue", "models.n (added)"]
    assert names(gate) == {"m"}
    assert gate.gateway.reloader.last is None
    assert (await reload(gate, {})).json["applied"] == told["applied"]
    assert names(gate) == {"m", "n"}


async def test_a_rehearsal_says_why_an_edit_would_be_refused(edited: tuple[Gate, Path]) -> None:
    gate, file = edited
    file.write_text(FIRST.replace("[m]", "[nobody]"))
    answer = await reload(gate, {"dry_run": True})
    assert (answer.status, answer.error["code"]) == (400, "bad_config")
    assert "nobody" in answer.error["message"]
    assert gate.gateway.reloader.last is None


async def test_edits_are_taken_back_one_by_one_and_the_file_applies_again_when_it_is_asked_for(
    edited: tuple[Gate, Path],
) -> None:
    gate, file = edited
    nothing = await reload(gate, {"rollback": True})
    assert (nothing.status, nothing.error["code"]) == (409, "conflict")
    assert "no edit was applied" in nothing.error["message"]
    for text in (SECOND, THIRD):
        file.write_text(text)
        await reload(gate, {})
    back = (await reload(gate, {"rollback": True})).json
    assert back["applied"] == ["roles.standard"]
    assert "the file says otherwise" in back["warnings"][0]
    assert gate.gateway.current.config.roles["standard"] == ["m"]
    assert (await reload(gate, {"rollback": True})).json["applied"] == ["models.n (removed)"]
    assert names(gate) == {"m"}
    assert "what the gateway started with" in (await reload(gate, {"rollback": True})).error["message"]
    assert file.read_text() == THIRD
    await reload(gate, {})
    assert gate.gateway.current.config.roles["standard"] == ["n", "m"]


async def test_both_at_once_mean_nothing(edited: tuple[Gate, Path]) -> None:
    answer = await reload(edited[0], {"dry_run": True, "rollback": True})
    assert answer.status == 400
    assert (await reload(edited[0], {"dry_run": "yes"})).status == 400
