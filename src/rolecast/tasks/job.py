"""One request for a task: its options read by the task's own row, and the chat that is made of them.

Knows no task by name and asks nobody.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from rolecast.config.tasks import Option, Task
from rolecast.dialects.request import Order
from rolecast.errors import Invalid
from rolecast.values import Chat, Message, Part, Sampling

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
    rest: Mapping[str, Any]
    """The same with its values, also where they are passed on."""
    chat: Chat
    """The conversation that the prompt is the last message of, with the settings of the request and, where it is
    silent, the task's."""
    persona: str = ""
    """Who speaks, and what else stands in front of the system prompt; '' = nothing."""
    before: tuple[Message, ...] = ()
    """What was said before, where the request goes on with a session."""
    wishes: Sampling = Sampling()
    """The settings that the request itself says."""

    def option(self, name: str, otherwise: Any = None) -> Any:
        """The value of an option, or `otherwise`."""
        return self.options.get(name, otherwise)

    def having(self, **options: Any) -> "Job":
        """The same with other values of options, such as one that was found out."""
        return msgspec.structs.replace(self, options={**self.options, **options})

    def system(self) -> str:
        """The system prompt: the persona, the task, and a sentence for each option that adds one."""
        lines = [self.persona, self.task.system.strip()]
        sentences = (_sentence(option, self.options[name]) for name, option in _held(self.task, self.options))
        return "\n\n".join(filter(None, [*lines, "\n".join(filter(None, sentences))]))

    def user(self, prompt: str | None = None) -> str:
        """What the user says: texts to work on in front of the prompt, which may be another one."""
        parts = [
            option.puts.replace("{value}", shown)
            for name, option in _held(self.task, self.options)
            if option.puts and (shown := _lines(self.options[name]))
        ]
        return "\n\n".join(filter(None, [*parts, self.prompt if prompt is None else prompt]))

    def written(self, prompt: str | None = None, *, more: str = "") -> Chat:
        """The chat for the model; `more` is added to the system prompt.

        What a request says before its prompt stays there: system messages of its own stand below the task's, so that
        there is one, which is all that some templates take; so do pictures beside it.
        """
        *before, last = self.chat.messages
        own = []
        while before and before[0].role == "system" and isinstance(before[0].content, str):
            own.append(before.pop(0).content)
        system = "\n\n".join(filter(None, [self.system(), more, *map(str, own)]))
        opening = (Message("system", system),) if system else ()
        beside = () if isinstance(last.content, str) else tuple(p for p in last.content if p.kind != "text")
        said = self.user(prompt)
        asked = Message("user", (Part("text", said), *beside) if beside else said)
        return msgspec.structs.replace(self.chat, messages=(*opening, *self.before, *before, asked))


def job_of(order: Order, name: str, task: Task, chat: Chat) -> Job:
    """Read an order by the row of its task. Raises Invalid for a value that an option cannot have."""
    found: dict[str, Any] = {}
    known: set[str] = set()
    for option_name, option in task.options.items():
        spellings = (option_name, *option.also)
        known.update(spellings)
        said = next((order.options[word] for word in spellings if word in order.options), None)
        if said == "" and option.kind in ("word", "flag", "number"):
            said = None  # as forms write what nobody filled in
        value = option.default if said is None else said
        if value is not None and (said is not None or value != ""):
            found[option_name] = _read(option_name, option, value)
    return Job(
        name,
        task,
        order.prompt,
        found,
        frozenset(n for n, o in task.options.items() if {n, *o.also} & order.options.keys()),
        () if task.passes_on else tuple(word for word in order.options if word not in known),
        {word: value for word, value in order.options.items() if word not in known},
        msgspec.structs.replace(chat, sampling=_sampling(task, chat.sampling)),
        wishes=chat.sampling,
    )


def _sampling(task: Task, wished: Sampling) -> Sampling:
    """The settings of the request; where it says nothing, the task's. 0 is a wish as any other."""
    names = ("temperature", "top_p", "repetition_penalty")
    usual: dict[str, Any] = {name: getattr(task, name) for name in names if getattr(wished, name) is None}
    if wished.max_tokens is None:
        usual["max_tokens"] = task.max_tokens or None  # a task's 0 is: as long as it gets
    return msgspec.structs.replace(wished, **usual)


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
    """A value within a sentence."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)


def _lines(value: Any) -> str:
    """A value that stands by itself: each text of a list on a line of its own."""
    if isinstance(value, list) and len(value) > 1:
        return "\n".join(f"- {_shown(each)}" for each in value)
    return _shown(value)


def _read(name: str, option: Option, value: Any) -> Any:
    """The value as its kind has it. Raises Invalid."""
    try:
        return _READERS[option.kind or "text"](option, value)
    except (UnicodeError, OverflowError):  # half a character, or a number beyond all others
        raise Invalid(f"`{name}` holds what cannot be written down.", param=name) from None
    except ValueError as error:
        raise Invalid(f"`{name}` must be {error}.", param=name) from None
    except RecursionError:
        raise Invalid(f"`{name}` is nested too deeply.", param=name) from None


def _text(option: Option, value: Any) -> str:
    if isinstance(value, list | dict):
        value = msgspec.json.encode(value).decode()
    return _shown(value)


def _texts(option: Option, value: Any) -> list[str]:
    """One text or several; what clients write as an object is a list of its entries."""
    if isinstance(value, dict):
        value = [f"{name}: {_text(option, each)}" for name, each in value.items()]
    found = value if isinstance(value, list) else [value]
    if len(found) > MOST_TEXTS:
        raise ValueError(f"a text, or a list of at most {MOST_TEXTS} texts")
    return [_text(option, each) for each in found]


def _word(option: Option, value: Any) -> str:
    if isinstance(value, bool):
        value = _shown(value)
    elif option.open and isinstance(value, int | float):
        value = f"{value:g}"
    word = value.strip() if isinstance(value, str) else ""
    spelled = word.lower().replace("-", "_").replace(" ", "_")
    if spelled in option.values:
        return spelled
    if not (option.open and isinstance(value, str)):
        more = ", or another text" if option.open else ""
        raise ValueError(f"one of {', '.join(option.values)}{more}" if option.values else "a text")
    return word


def _flag(option: Option, value: Any) -> bool:
    word = _shown(value).strip().lower().removesuffix(".0") if not isinstance(value, list | dict) else ""
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
