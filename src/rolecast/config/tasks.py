"""The sections `tasks`, `personas` and `sessions` of `rolecast.yaml`. Nothing here reads files.

A task is a kind of work with its own prompt, settings, options and checks. Rolecast brings those of Conductor
(`rolecast/data/tasks`); an entry of the same name changes what it says, another name is a task of your own.
"""

from typing import Annotated, Any, Literal

import msgspec

from rolecast.config.units import Count, Real, Seconds, Section, Share, Whole

OptionKind = Literal["text", "texts", "word", "flag", "number"]


class Option(Section, frozen=True):
    """Something that a request for a task may say besides its prompt."""

    kind: OptionKind | None = None
    """`text`, `texts` (a list of them, or one), `word` (one of `values`), `flag` (true or false), `number`; empty =
    as Rolecast brings it, else `text`."""
    default: Any = None
    """What holds when a request does not say it; empty = nothing, and "" takes one away that Rolecast brings."""
    values: list[str] = []
    """The words it may be. More may be used if `open`."""
    open: bool | None = None
    """A `word` may also be another one than those of `values`."""
    says: str | dict[str, str] = ""
    """The sentence it adds to the system prompt, with `{value}` where its value stands; by value where they differ
    (`true` and `false` of a flag, `*` for every other one)."""
    puts: str = ""
    """Where its value goes into the user's message, with `{value}`: in front of the prompt. For texts to work on; a
    list has a line for each."""
    also: list[str] = []
    """Other names that requests may use."""
    description: str = ""
    """For people."""


class Task(Section, frozen=True):
    """A kind of work; what is empty is as Rolecast brings it."""

    title: str = ""
    """What people call it."""
    description: str = ""
    """What it does, in a sentence."""
    model: str = ""
    """Who answers: a model, role, alias or variant; empty = the role of its name, or the one that it stands for."""
    system: str = ""
    """The system prompt; options add their sentences."""
    ends: str = ""
    """A text that is put below every answer, such as a disclaimer."""
    options: dict[str, Option] = {}
    """What requests may say besides the prompt, by name."""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    """How freely tokens are drawn, when a request does not say it."""
    top_p: Share | None = None
    """Tokens are drawn from the likeliest that have this probability together."""
    repetition_penalty: Real | None = None
    """Penalty of repetition; 1 = none."""
    max_tokens: Whole | None = None
    """Longest answer in tokens; 0 = as long as it gets."""
    persona: bool | None = None
    """Whether the persona speaks; then it stands in front of the system prompt."""
    history: bool | None = None
    """Whether a request with a session goes on from what was said in it."""
    passes_on: bool | None = None
    """Whether a request may say options besides these, which somebody else understands."""
    play: str = ""
    """The code that sees it through, where a prompt is not enough; only of tasks that Rolecast brings."""


class Personas(Section, frozen=True):
    """Who speaks in tasks with a persona."""

    use: str = ""
    """The one that speaks when a request names none: `text`, or the name of a file in `folder`; empty = `text`."""
    text: str = ""
    """A persona that is written here."""
    folder: str = ""
    """Text files, `NAME.txt` or `NAME.md`, each a persona that requests may name; empty = personas/ in the data
    folder. An edit applies to the next request."""


class Sessions(Section, frozen=True):
    """Conversations that are kept here, for clients that only send what is new."""

    keep: Seconds = Seconds(30 * 86400)
    """A session that was not used for so long is deleted; 0 = never."""
    most: Count = 1000
    """Sessions of one key; the one that was used least lately is deleted first."""
    turns: Count = 1000
    """Turns that are kept of a session; older ones are deleted. How many of them go to a model, tokens decide."""
    budget: Share = 0.5
    """Part of the model's context that history may fill, in tokens as the model counts them."""
    overflow: Literal["drop", "summarize"] = "drop"
    """What becomes of turns that no longer fit: the oldest are left out whole, or a summary of them, which the same
    model writes after an answer, takes their place."""
