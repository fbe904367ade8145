"""The values that routing takes and gives: what is known of a request and of models, and who answers. Frozen."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from rolecast.values import Defaults, Kind

Source = Literal[
    "explicit",
    "alias",
    "role",
    "variant",
    "default",
    "listener",
    "rule",
    "learned",
    "llm",
    "cascade",
    "fallback",
    "warm",
]


class Ranked(msgspec.Struct, frozen=True):
    """A model that would do, what it is worth, and why: for people who ask about a choice."""

    model: str
    worth_s: float
    """In seconds of waiting; the highest is chosen."""
    reason: str = ""


class Said(msgspec.Struct, frozen=True, array_like=True):
    """What the learned model said to one question, as it is kept."""

    label: str
    """The likeliest."""
    confidence: float
    """Its probability, from 0 to 1."""
    sure: bool


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """What routing saw of a request: counts and labels, never a word of it. Enough to choose once more."""

    kind: Kind = "chat"
    needs: tuple[str, ...] = ()
    prefers: tuple[str, ...] = ()
    language: str = ""
    tokens: int = 0
    answer_tokens: int = 0
    turns: int = 0
    tools: int = 0
    images: int = 0
    code: bool = False
    schema: bool = False
    open_call: bool = False
    background: bool = False
    hints: Mapping[str, str] = {}
    """What the caller said of it, in words that are ours: category, channel, type, prefer, force_domain."""
    opinions: Mapping[str, Said] = {}
    """By question: category, role, tier, domain, and sets of labels of the user's own."""
    difficulty: float = -1.0
    """How probably only a stronger model is right; -1 = nobody looked, as in the next."""
    fails: float = -1.0
    """How probably a weak model is wrong, whoever else is."""


class Choice(msgspec.Struct, frozen=True):
    """The router's answer. `alternatives` are tried in order when the model fails before its first byte."""

    model: str
    role: str = ""
    task: str = ""
    """The category of what is asked; '' = nobody looked."""
    source: Source = "explicit"
    reason: str = ""
    """For people, and bounded: it names labels, names and models, and quotes no prompt."""
    confidence: float = 1.0
    alternatives: tuple[str, ...] = ()
    equals: tuple[tuple[str, ...], ...] = ()
    """Groups among these models that share the requests."""
    defaults: Defaults | None = None
    """What the asked name brings besides its model."""
    guarded: str = ""
    """The name by which it is judged who may have the answer, in place of the model; '' = the model."""
    tier: str = ""
    """`light` or `heavy`; '' = nobody looked, as in the next."""
    domain: str = ""
    difficulty: float = -1.0
    """How probably only a stronger model is right; -1 = nobody looked."""
    labels: Mapping[str, str] = {}
    """Labels of the user's own, by what they belong to, as far as they are sure."""
    ranking: tuple[Ranked, ...] = ()
    """How the models that would do were weighed, best first; empty where nothing had to be."""
    consult: str = ""
    """The name of a model that is to be asked who answers; '' = this choice is final."""
    seen: Seen | None = None
    """What was seen of the request, for the books; None = its name was enough."""


class Hints(msgspec.Struct, frozen=True):
    """What a caller says of a request besides its words; '' = nothing."""

    category: str = ""
    """The task, as Conductor names it."""
    channel: str = ""
    """Where it comes from: CHAT, CODE_TASK, SYSTEM_HEALTH."""
    type: str = ""
    """`metadata.type`: routing, classification, planning ..."""
    prefer: str = ""
    """`quality`, `speed`, `cost`, `balanced`."""
    metadata: Mapping[str, str] = {}
    """All texts of the body's `metadata`, these among them."""


class Bond(msgspec.Struct, frozen=True):
    """Who answered a conversation last, where that was left to us."""

    model: str
    role: str = ""
    """The role that it answered for."""
    level: int = 0
    """The most that the conversation asked for so far, as `routing.sticky` ranks it."""
    firm: bool = True
    """Whether it was chosen; false when it only stepped in for a model that failed."""


class Facts(msgspec.Struct, frozen=True):
    """What routing may look at: the asked name ('' or 'auto' = you decide) and what the request needs.

    `needs` are words of `capabilities` that the request cannot do without; `prefers` are those it can. What follows
    them is looked up only where somebody reads it: a name is obeyed without.
    """

    name: str
    kind: Kind
    needs: frozenset[str] = frozenset()
    prefers: frozenset[str] = frozenset()
    text: str = ""
    """What is asked last: the user's last words, or the text to go on with. Never logged."""
    system: str = ""
    """The system prompt."""
    language: str = ""
    """Of the text, by its two letters; '' = not known."""
    tokens: int = 0
    """Of the whole prompt, as estimated; 0 = nobody looked."""
    answer_tokens: int = 0
    """At most so many are wanted; 0 = not said."""
    turns: int = 0
    """Messages of the user."""
    tools: int = 0
    images: int = 0
    code: bool = False
    """The text holds code."""
    schema: bool = False
    """The answer must be JSON."""
    open_call: bool = False
    """A tool was called and the model has not answered its result yet."""
    background: bool = False
    """A program asks for something beside a conversation: a title, tags, what may be asked next."""
    conversation: str = ""
    """What all turns of one conversation have alike and no other has; '' = nobody looked."""
    hints: Hints = Hints()
    bond: Bond | None = None
    """Who answered this conversation so far; None = nobody, or a model that was named."""


class Verdict(msgspec.Struct, frozen=True):
    """What a strategy says of a request that names nobody: who should answer, and why."""

    name: str
    """A name that a request may ask for: a role, a model, a tier ..."""
    source: Source
    reason: str
    confidence: float = 1.0


class Consult(msgspec.Struct, frozen=True):
    """A strategy that cannot tell without asking a model."""

    name: str
    """Whom to ask: a name that a request may ask for."""


class Card(msgspec.Struct, frozen=True):
    """A model as a choice may weigh it: what it is, and how it stands just now. None = nobody knows."""

    model: str
    context: int | None = None
    """Tokens that prompt and answer may have together."""
    quality: float | None = None
    """How good it is, from 0 to 1, as configured or guessed by its size."""
    ready: bool = True
    """Loaded, or a server that we do not start."""
    elsewhere: bool = False
    """Requests leave this machine."""
    load_s: float = 0.0
    """So long it would take to load; 0 of one that is not ready = not known."""
    wait_s: float = 0.0
    """So long its queue takes."""
    tokens_per_s: float = 0.0
    """How fast it writes; 0 = not known."""
    prompt_tokens_per_s: float = 0.0
    input_cents: float | None = 0.0
    """Per million tokens of a prompt; 0 = free, None = nobody knows, as in the next."""
    output_cents: float | None = 0.0
    watts: float = 0.0
    """What the machine takes more while it answers; 0 = not known, or somebody else's."""


class Trial(msgspec.Struct, frozen=True):
    """How the first answer is judged, and who answers if it fails."""

    tokens: int
    """So many tokens are judged."""
    least: float
    """The confidence that is enough."""
    first: str
    """What who tries is called in the configuration."""
    then: Choice
    """Who answers otherwise; its reason is who that is in the configuration."""
    models: tuple[str, ...]
    """All models that may try."""
