"""The page of the tasks against their rows: every task with all its options, and examples that can be read."""

import json
import re
from pathlib import Path

import pytest

from rolecast.config.document import parse
from rolecast.config.labels import CATEGORIES
from rolecast.config.shape import build
from rolecast.config.task_rows import built_in
from rolecast.config.tasks import Task
from rolecast.dialects.request import Order
from rolecast.tasks.job import job_of
from rolecast.tasks.table import PATHS
from rolecast.values import Chat, Message

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "tasks.md").read_text(encoding="utf-8")
ROWS = {found[1]: line for line in PAGE.splitlines() if (found := re.match(r"\| \[`(\w+)`\]", line))}


def test_every_task_has_a_row_with_its_path_and_all_its_options() -> None:
    assert list(ROWS) == list(CATEGORIES)
    for name, task in built_in().items():
        assert [word for word in task.options if f"`{word}`" not in ROWS[name]] == [], name
        assert (f"`{PATHS[name]}`" in ROWS[name]) if name in PATHS else True


def test_every_option_is_on_the_page_with_its_default_and_its_values() -> None:
    page = (DOCS / "reference" / "tasks.md").read_text(encoding="utf-8")
    for name, task in built_in().items():
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for option_name, option in task.options.items():
            (row,) = (line for line in section.splitlines() if line.startswith(f"| `{option_name}`"))
            assert all(f"`{value}`" in row for value in (*option.values, *option.also))
            if option.default not in (None, ""):
                assert f"`{str(option.default).lower()}`" in row


EXAMPLES = [json.loads(text) for text in re.findall(r'```json\n(\{"category".*?)```', PAGE, re.DOTALL)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["category"])
def test_the_examples_use_options_that_there_are(example: dict[str, str]) -> None:
    name = example["category"]
    task = built_in()[name]
    options = {word: value for word, value in example.items() if word not in ("category", "prompt", "session_id")}
    options = {**options, **options.pop("extra_params", {})}  # type: ignore[dict-item]
    found = job_of(Order(name, "", options), name, task, Chat("", (Message("user", ""),)))
    assert found.ignored == ()


def test_the_examples_are_there() -> None:
    assert len(EXAMPLES) >= 7


def test_the_example_of_own_tasks_is_a_section_that_works() -> None:
    text = PAGE.split("```yaml\n")[1].split("```")[0]
    faults: list[object] = []
    for name, value in parse(text, name="tasks.md").value["tasks"].items():
        build(Task, value, (name,), faults)  # type: ignore[arg-type]
    assert faults == []
