"""The section `routing` of `rolecast.yaml`: who answers a request that names nobody. Nothing here reads files."""

from typing import Literal, get_args

import msgspec

from rolecast.config.units import Count, NotNegative, Seconds, Section, Share

Strategy = Literal["explicit", "rules", "learned", "llm"]
Shortcut = Literal[
    "domain", "category", "channel", "type", "background", "greeting", "thought", "tools", "files", "short"
]
SHORTCUTS: tuple[Shortcut, ...] = get_args(Shortcut)
Preference = Literal["balanced", "quality", "speed", "cost"]
PREFERENCES: tuple[Preference, ...] = get_args(Preference)


class When(Section, frozen=True):
    """What a rule asks of a request; all that is given must hold."""

    matches: str = ""
    """A regular expression (RE2's syntax, so it takes linear time) that occurs in what is asked last."""
    language: list[str] = []
    """Languages it is written in, by their two letters."""
    min_tokens: NotNegative = 0
    """At least so many tokens of the whole prompt, as estimated."""
    max_tokens: NotNegative = 0
    """At most so many; 0 = any number."""
    tools: bool | None = None
    """Whether it brings tools."""
    images: bool | None = None
    """Whether it holds images."""
    code: bool | None = None
    """Whether it holds code."""
    schema: bool | None = None
    """Whether its answer must be JSON."""
    metadata: dict[str, str] = {}
    """Fields of the request's `metadata` and their values; `*` = any."""
    label: dict[str, str] = {}
    """Labels it must have for sure, by what they belong to: `{category: translation}`, or one of your own `labels`."""


class Rule(Section, frozen=True):
    """A rule of your own: what a request must be, and who answers it then."""

    use: str | None = None
    """Who answers: any name that a request may ask for. A rule with `local_only` may do without."""
    local_only: bool = False
    """What it fits may not leave this machine, whoever it asks for: looked at, too, where a request names a model that
    is elsewhere."""
    name: str = ""
    """What the rule is called in reasons; empty = its number."""
    when: When = When()
    """What the request must be; all that is given must hold."""


class Labels(Section, frozen=True):
    """Labels of your own, learned from about ten examples each."""

    examples: dict[str, list[str]]
    """Prompts by label."""
    use: dict[str, str] = {}
    """Who answers a request of a label: any name that a request may ask for; without one the label is only told."""
    min_confidence: Share = 0.5
    """A label that is less sure is not used."""


class Worth(Section, frozen=True):
    """What a right answer is worth, in seconds of waiting, and what else is worth a second."""

    answer: Seconds = Seconds(60)
    """A right answer is worth so long a wait."""
    cent: Seconds = Seconds(10)
    """A cent that is saved is."""
    kilojoule: Seconds = Seconds(2)
    """A kilojoule that is saved is."""


class Consulting(Section, frozen=True):
    """How the strategy `llm` asks a model of the role `router` who answers."""

    timeout: Seconds = Seconds(5)
    """It may take so long, once its model is loaded; then the default role answers."""
    max_tokens: Count = 256
    """Its decision may be so long; with it goes the answer to what it handles itself."""


class Cascade(Section, frozen=True):
    """A small model answers first; a bigger one does when the small one was not sure."""

    enabled: bool = False
    """Off, until you switch it on."""
    first: str = "light"
    """Who tries: any name that a request may ask for."""
    then: str = ""
    """Who answers when that was not sure; empty = whoever would have answered without a cascade, or, where that is who
    tries, the heavy one."""
    tokens: Count = 48
    """The first so many tokens are judged; as long nothing is sent."""
    min_confidence: Share = 0.7
    """The geometric mean of their probabilities that is sure enough."""


class Routing(Section, frozen=True):
    """Who answers when a request names no model, or `auto`."""

    default: str = "standard"
    """Role that answers when nothing else decided."""
    embeddings: str = "embeddings"
    """The same for embeddings."""
    strategies: list[Strategy] = msgspec.field(default_factory=lambda: ["explicit", "rules", "learned"])
    """Who decides, in this order; the first that knows does. `llm` asks a model of the role `router`."""
    min_confidence: Share = 0.7
    """An opinion that is less sure decides nothing."""
    rules: list[Rule] = []
    """Rules of your own; the first that fits decides."""
    shortcuts: list[Shortcut] = msgspec.field(default_factory=lambda: list(SHORTCUTS))
    """Rules that are built in, asked after your own in the order of this list of all: what the request says of itself
    (`metadata.force_domain`, a category, `metadata.channel`, `metadata.type`), and what is plain: a title or the like
    that a program wants beside a conversation, a bare greeting, an explicit wish for thought, tools it brings, a look
    at files, an answer of less than 50 tokens. Leave out what you do not want."""
    labels: dict[str, Labels] = {}
    """Sets of labels of your own."""
    prefer: Preference = "balanced"
    """What counts more when several models would do; a request may say otherwise by `x-rolecast-prefer`."""
    worth: Worth = Worth()
    """What quality, time, money and energy are worth beside each other."""
    sticky: bool = True
    """A conversation stays with its model as long as that will do."""
    llm: Consulting = Consulting()
    """How a model is asked who answers, where `llm` is among the strategies."""
    cascade: Cascade = Cascade()
    """A small model answers first; a bigger one does when the small one was not sure."""
