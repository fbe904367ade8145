"""What there is of tasks: GET /tasks and `rolecast tasks`."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import Answer, Gate, config, remote, request, running_gateway
from typer.testing import CliRunner

from rolecast.cli import app
from rolecast.config.schema import Routing
from rolecast.config.tasks import Option, Task
from rolecast.tasks.table import built_in

pytestmark = pytest.mark.anyio
OWN = {"haiku": Task(system="Write a haiku.", model="far", options={"season": Option(says="{value}")})}
FILE = """
models:
  m: {backend: fake}
roles:
  standard: [m]
tasks:
  haiku: {title: Haiku, system: "Write a haiku [in red].", model: m, options: {season: {says: "{value}"}}}
"""


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    made = config({name: remote("http://127.0.0.1:9/v1") for name in ("m", "far")})
    made = msgspec.structs.replace(made, roles={"standard": ["m"]}, routing=Routing(default="standard"), tasks=OWN)
    async with running_gateway(made, tmp_path) as running:
        yield running


async def get(gate: Gate, path: str) -> Answer:
    return await gate.ask(request(path=path, method="GET"), method="GET")


async def test_the_list_has_every_task_with_its_options_and_who_answers(gate: Gate) -> None:
    listed = {each["name"]: each for each in (await get(gate, "/tasks")).json["tasks"]}
    assert list(listed) == [*built_in(), "haiku"]
    assert listed["haiku"]["model"] == "far"
    assert listed["question_answering"]["model"] == "m"
    depth = listed["question_answering"]["options"]["depth"]
    assert (depth["kind"], depth["default"], depth["values"]) == ("word", "medium", ["shallow", "medium", "deep"])
    assert listed["legal_analysis"]["path"] == "/legal/analyze"
    assert "not legal advice" in listed["legal_analysis"]["ends"]
    assert listed["question_answering"]["checked"] is True


@pytest.mark.parametrize("word", ["legal_analysis", "legal_document_analysis", "Legal%20Document%20Analysis"])
async def test_one_task_is_found_in_any_spelling(gate: Gate, word: str) -> None:
    assert (await get(gate, f"/tasks/{word}")).json["name"] == "legal_analysis"


async def test_an_unknown_task_is_404_with_those_that_there_are(gate: Gate) -> None:
    answer = await get(gate, "/tasks/nonsense")
    assert (answer.status, answer.error["code"]) == (404, "task_not_found")
    assert "haiku" in answer.error["message"]


async def test_an_edit_is_seen_at_once(gate: Gate) -> None:
    now = gate.gateway.current.config
    edited: Any = {"limerick": Task(system="Write a limerick."), "question_answering": Task(model="far")}
    await gate.gateway.reloader.apply(msgspec.structs.replace(now, tasks=edited))
    listed = {each["name"]: each for each in (await get(gate, "/tasks")).json["tasks"]}
    assert ("haiku" in listed, listed["limerick"]["system"]) == (False, "Write a limerick.")
    assert listed["question_answering"]["model"] == "far"


def run(*words: str) -> Any:
    return CliRunner(env={"COLUMNS": "400"}).invoke(app, list(words))


def test_the_command_lists_tasks_and_shows_one(tmp_path: Path) -> None:
    file = tmp_path / "rolecast.yaml"
    file.write_text(FILE)
    listed = run("tasks", "--config", str(file))
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.output.splitlines()[1 : len(built_in()) + 2]] == [*built_in(), "haiku"]
    one = run("tasks", "Haiku", "--config", str(file))
    assert "Write a haiku [in red]." in one.output  # nothing of the file is read as markup
    assert "season" in one.output
    values = run("tasks", "question_answering", "--config", str(file)).output
    for word in ("pros_and_cons", "detailed", "temperature 0.6", "context_text", "true, false"):
        assert word in values


def test_the_command_speaks_json_and_says_what_there_is(tmp_path: Path) -> None:
    file = tmp_path / "rolecast.yaml"
    file.write_text(FILE)
    listed = json.loads(run("tasks", "--json", "--config", str(file)).output)
    one = json.loads(run("tasks", "haiku", "--json", "--config", str(file)).output)
    assert one in listed["tasks"]
    assert (one["model"], one["options"]["season"]["kind"]) == ("m", "text")
    wrong = run("tasks", "nonsense", "--config", str(file))
    assert wrong.exit_code == 1
    assert "There is no task 'nonsense' here; there are general_reasoning" in wrong.stderr
