"""The tasks of a configuration: what Rolecast brings (`rolecast/data/tasks`), with the changes of the section `tasks`.

The rows are YAML, which takes long to read: they are read at their first use, in a thread.
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources

import msgspec

from rolecast.config import labels
from rolecast.config.document import parse
from rolecast.config.shape import Problem, build
from rolecast.config.tasks import Task


@cache
def built_in() -> Mapping[str, Task]:
    """The tasks that Rolecast brings, by category, in the order of the categories."""
    folder = resources.files("rolecast").joinpath("data", "tasks")
    found: dict[str, Task] = {}
    for name in labels.CATEGORIES:
        place = folder.joinpath(f"{name}.yaml")
        if not place.is_file():
            continue
        faults: list[Problem] = []
        task = build(Task, parse(place.read_text(encoding="utf-8"), name=place.name).value, (), faults)
        assert task is not None and not faults, (name, faults)  # noqa: PT018  # ours: a test reads them all
        found[name] = task
    return found


def merged(own: Mapping[str, Task]) -> dict[str, Task]:
    """All tasks: those that Rolecast brings, changed by the user's own, then the user's others."""
    found = dict(built_in())
    for word, changes in own.items():
        name = labels.category(word) or word
        found[name] = _changed(found[name], changes) if name in found else changes
    return found


def _changed(task: Task, changes: Task) -> Task:
    """What the user wrote wins, field by field and option by option; what is empty was not written."""
    fields = {
        name: value
        for name in Task.__struct_fields__
        if name != "options" and (value := getattr(changes, name)) not in ("", None)
    }
    return msgspec.structs.replace(task, **fields, options={**task.options, **changes.options})
