"""One request for a task: its options read by the task's own row, and the chat that is made of them.

Knows no task by name and asks nobody.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from rolecast.config.tasks import Option, Task
from rolecast.dialects.request import Order
from rolecast.errors import Invalid
from rolecast.values import Chat, Message, Sampling

TRUE = frozenset({"true", "yes", "on", "1"})
FALSE = frozenset({"false", "no", "off", "0"})
"""Words that clients write for a flag."""
MOST_TEXTS = 1000
"""A list of texts may have so many."""


class Job(msgspec.Struct, frozen=True):
    """What is asked of a task."""

    name: str
    """The task's category."""
    task: Task
    prompt: str
    options: Mapping[str, Any]
    """All options of the task that have a value: what was said, else their defaults."""
    said: frozenset[str]
    """Those that the request itself says."""
    ignored: tuple[str, ...]
    """What it says that is no option of this task."""
    chat: Chat
    """The prompt as it came, with the settings of the request and, where it is silent, the task's."""
    persona: str = ""
    """Who speaks, and what else stands in front of the system prompt; '' = nothing."""
    before: tuple[Message, ...] = ()
    """What was said before, where the request goes on with a session."""

    def option(self, name: str, otherwise: Any = None) -> Any:
        """The value of an option, or `otherwise`."""
        return self.options.get(name, otherwise)

    def system(self) -> str:
        """The system prompt: the persona, the task, and a sentence for each option that adds one."""
        lines = [self.persona, self.task.system.strip()]
        sentences = (_sentence(option, self.options[name]) for name, option in _held(self.task, self.options))
        return "\n\n".join(filter(None, [*lines, "\n".join(filter(None, sentences))]))

    def user(self, prompt: str | None = None) -> str:
        """What the user says: texts to work on in front of the prompt, which may be another one."""
        parts = [
            option.puts.replace("{value}", _shown(self.options[name]))
            for name, option in _held(self.task, self.options)
            if option.puts
        ]
        return "\n\n".join(filter(None, [*parts, self.prompt if prompt is None else prompt]))

    def written(self, prompt: str | None = None, *, more: str = "") -> Chat:
        """The chat for the model; `more` is added to the system prompt."""
        system = "\n\n".join(filter(None, [self.system(), more]))
        opening = (Message("system", system),) if system else ()
        return msgspec.structs.replace(self.chat, messages=(*opening, *self.before, Message("user", self.user(prompt))))


def job_of(order: Order, name: str, task: Task, chat: Chat) -> Job:
    """Read an order by the row of its task. Raises Invalid for a value that an option cannot have."""
    found: dict[str, Any] = {}
    known: set[str] = set()
    for option_name, option in task.options.items():
        spellings = (option_name, *option.also)
        known.update(spellings)
        said = next((order.options[word] for word in spellings if word in order.options), None)
        value = option.default if said is None else _read(option_name, option, said)
        if value is not None:
            found[option_name] = value
    return Job(
        name,
        task,
        order.prompt,
        found,
        frozenset(n for n, o in task.options.items() if {n, *o.also} & order.options.keys()),
        tuple(word for word in order.options if word not in known),
        msgspec.structs.replace(chat, sampling=_sampling(task, chat.sampling)),
    )


def _sampling(task: Task, wished: Sampling) -> Sampling:
    """The settings of the request; where it says nothing, the task's. 0 is a wish as any other."""
    names = ("temperature", "top_p", "repetition_penalty", "max_tokens")
    silent = (name for name in names if getattr(wished, name) is None)
    return msgspec.structs.replace(wished, **{name: getattr(task, name) or None for name in silent})


def _held(task: Task, options: Mapping[str, Any]) -> list[tuple[str, Option]]:
    return [(name, option) for name, option in task.options.items() if name in options]


def _sentence(option: Option, value: Any) -> str:
    """What an option adds to the system prompt."""
    if isinstance(option.says, dict):
        word = _shown(value).lower()
        return option.says.get(word, option.says.get("*", "").replace("{value}", _shown(value)))
    if option.kind == "flag":
        return option.says if value else ""
    shown = _shown(value)
    return option.says.replace("{value}", shown) if shown else ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _read(name: str, option: Option, value: Any) -> Any:
    """The value as its kind has it. Raises Invalid."""
    try:
        return _READERS[option.kind](option, value)
    except ValueError as error:
        raise Invalid(f"`{name}` must be {error}.", param=name) from None


def _text(option: Option, value: Any) -> str:
    if isinstance(value, list | dict):
        value = msgspec.json.encode(value).decode()
    return str(value)


def _texts(option: Option, value: Any) -> list[str]:
    found = value if isinstance(value, list) else [value]
    if len(found) > MOST_TEXTS or any(isinstance(each, list | dict) for each in found):
        raise ValueError(f"a text, or a list of at most {MOST_TEXTS} texts")
    return [str(each) for each in found]


def _word(option: Option, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")
    word = value.strip()
    spelled = word.lower().replace("-", "_").replace(" ", "_")
    if spelled in option.values:
        return spelled
    if not option.open:
        raise ValueError(f"one of {', '.join(option.values)}")
    return word


def _flag(option: Option, value: Any) -> bool:
    word = str(value).strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise ValueError("true or false")


def _number(option: Option, value: Any) -> float | int:
    if isinstance(value, bool):
        raise ValueError("a number")
    try:
        number = float(value)
        return int(number) if number == int(number) else number
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a number") from None


_READERS = {"text": _text, "texts": _texts, "word": _word, "flag": _flag, "number": _number}
