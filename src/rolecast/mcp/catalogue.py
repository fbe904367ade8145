"""What a gateway offers: its tasks with their options, and the categories that somebody answers there.

Asked of the gateway, and kept for a moment: a client that lists tools and calls one asks once.
"""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from rolecast.config import labels
from rolecast.errors import UNREADABLE, RolecastError, WorkerDown
from rolecast.mcp.api import Api

KEPT_S = 2.0
NOT_FOUND = 404


class Option(msgspec.Struct, frozen=True):
    """Something that a task may be told besides its prompt."""

    kind: str = "text"
    """`text`, `texts`, `word`, `flag` or `number`."""
    default: Any = None
    values: list[str] = []
    """The words it may be."""
    open: bool = False
    """Other words may be used too."""
    description: str = ""


class Task(msgspec.Struct, frozen=True):
    """A kind of work."""

    name: str
    """Its category."""
    title: str = ""
    description: str = ""
    options: Mapping[str, Option] = {}


class Offer(msgspec.Struct, frozen=True):
    """What there is."""

    tasks: Mapping[str, Task]
    """By category, in their order."""
    categories: tuple[str, ...]
    """Those that somebody answers."""
    models: tuple[str, ...]
    """Names that requests may use: models, roles, aliases."""


class _Tasks(msgspec.Struct):
    tasks: list[Task]


class Catalogue:
    """What gateways offered last."""

    def __init__(self) -> None:
        self._kept: tuple[float, Offer] | None = None

    async def offer(self, api: Api) -> Offer:
        """What that gateway offers. Raises RolecastError; a gateway that does not run offers what ours would."""
        now = time.monotonic()
        if self._kept is not None and now - self._kept[0] < KEPT_S:
            return self._kept[1]
        try:
            categories = (await api.get("/categories"))["categories"]
            names = [each["id"] for each in (await api.get("/v1/models"))["data"]]
        except WorkerDown:
            return Offer(_ours(), tuple(name for name in labels.CATEGORIES if name not in labels.EXTERNAL), ())
        except (KeyError, TypeError):
            raise RolecastError("What answers is no Rolecast gateway.") from None
        offer = Offer(await _tasks(api), tuple(categories), tuple(names))
        self._kept = now, offer
        return offer


async def _tasks(api: Api) -> Mapping[str, Task]:
    try:
        found = msgspec.convert(_said(await api.get("/tasks")), _Tasks)
    except RolecastError as error:
        if error.status != NOT_FOUND:
            raise
        return _ours()
    except UNREADABLE:
        return _ours()
    return {task.name: task for task in found.tasks}


def _ours() -> Mapping[str, Task]:
    """The tasks that Rolecast brings."""
    from rolecast.tasks.table import built_in

    rows = built_in().items()
    return {name: msgspec.convert({"name": name, **_said(msgspec.to_builtins(task))}, Task) for name, task in rows}


def _said(value: Any) -> Any:
    """The value without what says nothing within it."""
    if isinstance(value, list):
        return [_said(each) for each in value]
    if isinstance(value, dict):
        return {name: _said(each) for name, each in value.items() if each is not None}
    return value
