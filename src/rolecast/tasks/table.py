"""The tasks of a configuration as programs and people are told of them."""

from typing import Any

import msgspec

from rolecast.config import labels
from rolecast.config.categories import Categories
from rolecast.config.schema import Config
from rolecast.config.task_rows import built_in as built_in
from rolecast.config.task_rows import merged as merged
from rolecast.config.tasks import Option, Task
from rolecast.errors import NotFound

PATHS = {
    "code_completion": "/code/completion",
    "code_generation": "/code/generation",
    "translation": "/translate",
    "mathematical_reasoning": "/math/solve",
    "scientific_research": "/research/analyze",
    "legal_analysis": "/legal/analyze",
    "summarization": "/summarize",
    "conversational_chat": "/chat/completions",
}
"""Paths of a task alone, besides `/generate`."""


class ToldOption(msgspec.Struct, frozen=True):
    """An option, as it is told."""

    kind: str
    """`text`, `texts`, `word`, `flag` or `number`."""
    default: Any
    """What holds when it is not said; null = nothing."""
    values: list[str]
    """The words that it may be; empty = no list."""
    open: bool
    """Whether it may be another word, too."""
    also: list[str]
    """Other names."""
    description: str


class ToldTask(msgspec.Struct, frozen=True):
    """A task, as it is told."""

    name: str
    """What requests call it: their `category`."""
    title: str
    description: str
    model: str
    """The model that is asked first; '' = nobody answers it here."""
    path: str
    """Its own path, besides /generate; '' = none."""
    checked: bool
    """Whether code of its own sees it through, and tells in `metadata` what it found."""
    persona: bool
    history: bool
    settings: dict[str, float]
    """How tokens are drawn, where a request says nothing."""
    system: str
    """Its prompt, to which options add their sentences."""
    ends: str
    """What is put below every answer."""
    options: dict[str, ToldOption]


def told(name: str, task: Task, categories: Categories) -> ToldTask:
    """A task as it is told."""
    found = categories.find(name)
    numbers = ("temperature", "top_p", "max_tokens", "repetition_penalty")
    return ToldTask(
        name=name,
        title=task.title or name,
        description=task.description,
        model=found.models[0] if found is not None and found.models else "",
        path=PATHS.get(name, ""),
        checked=bool(task.play),
        persona=task.persona is True,
        history=task.history is True,
        settings={each: value for each in numbers if (value := getattr(task, each)) is not None},
        system=task.system.strip(),
        ends=task.ends.strip(),
        options={each: _option(option) for each, option in task.options.items()},
    )


def listed(config: Config) -> list[ToldTask]:
    """All tasks of a configuration: those that Rolecast brings, then the user's own."""
    categories = Categories.of(config)
    return [told(name, task, categories) for name, task in merged(config.tasks).items()]


def find(config: Config, word: str) -> ToldTask:
    """The task of that name, however it is spelled. Raises NotFound."""
    tasks = merged(config.tasks)
    name = labels.task_of(word)
    if name not in tasks:
        raise NotFound(f"There is no task {word[:100]!r} here; there are {', '.join(tasks)}.", code="task_not_found")
    return told(name, tasks[name], Categories.of(config))


def _option(option: Option) -> ToldOption:
    return ToldOption(
        option.kind or "text",
        option.default,
        option.values,
        option.open is True,
        option.also,
        " ".join(option.description.split()),
    )
