"""All labels that a request may get or be asked by: one table, and for each the roles that it stands for.

Six systems name kinds of work in words of their own. What asks for a kind of model (`words`), Conductor's categories
(`categories`), the checks and the learned router all read this table. Knows no configuration and judges no text.
"""

from collections.abc import Mapping, Sequence

from rolecast.config.routing import PREFERENCES

GENERAL = "general_reasoning"
CHATTING = "conversational_chat"
EXTERNAL = "image_generation"
"""Made by no model of text: only a role or a model of that name answers it."""

ROLES = ("router", "standard", "reasoning", "coding")
TIERS = ("light", "heavy")
CODE = ("code_completion", "code_generation", "code_review")
DEEP = ("mathematical_reasoning", "scientific_research", "legal_analysis", "long_context")
"""Categories that want thought, whatever they ask."""
CATEGORIES = (
    GENERAL,
    CHATTING,
    "code_completion",
    "code_generation",
    "mathematical_reasoning",
    "translation",
    "creative_writing",
    "instruction_following",
    "summarization",
    "question_answering",
    "scientific_research",
    "legal_analysis",
    "code_review",
    "long_context",
    EXTERNAL,
)
"""By the names that replies use."""
TWINS = {
    "code_review_debugging": "code_review",
    "legal_document_analysis": "legal_analysis",
    "long_context_tasks": "long_context",
}
"""As a table of models spells them, and as replies do."""
CAPABILITIES = (
    "reasoning",
    "planning",
    "code_review",
    "explanation",
    "general_completion",
    "classification",
    "tagging",
    "extraction",
    "filtering",
    "simple_completion",
    "domain_classification",
    "tmd_extraction",
    "domain_validation",
)
"""What PAS's services say that they can do."""
DOMAINS = (
    "FACTOIDWIKI",
    "ARTIFICIAL_INTELLIGENCE",
    "MEDICINE",
    "BIOLOGY",
    "PHYSICS",
    "CHEMISTRY",
    "MATHEMATICS",
    "COMPUTER_SCIENCE",
    "ENGINEERING",
    "HISTORY",
    "LITERATURE",
    "PHILOSOPHY",
    "LAW",
    "ECONOMICS",
    "BUSINESS",
    "PSYCHOLOGY",
    "SOCIOLOGY",
    "GEOGRAPHY",
    "SPORTS",
    "ENTERTAINMENT",
    "OTHER",
)
TASKS = ("RETRIEVE", "ANSWER", "VERIFY", "COMPARE", "SUMMARIZE")
METHODS = ("DENSE", "SPARSE", "HYBRID", "GRAPH")
DESTINATIONS = ("erp", "crm", "it_ops", "oa", "mold", "general")
"""BestBox's agents, as `metadata.force_domain` names them."""
BUSINESS = DESTINATIONS[:-1]
"""Those whose work is heavy."""

JUDGED: Mapping[str, Sequence[str]] = {"category": CATEGORIES, "role": ROLES, "tier": TIERS, "domain": DOMAINS}
"""What the learned model says of a prompt, and the labels that it has for it."""
RESERVED = frozenset({*JUDGED, "scope", "difficulty", "weak_right", "task", "method", "model"})
"""Names that a set of the user's own cannot have: they are the product's, and `model` is said in feedback."""
SETS: Mapping[str, Sequence[str]] = {
    **JUDGED,
    "capability": CAPABILITIES,
    "task": TASKS,
    "method": METHODS,
    "destination": DESTINATIONS,
}
"""Every set of labels there is, but for those of the user's own."""

LIGHT: Sequence[str] = ("light", "standard", "router")
HEAVY: Sequence[str] = ("heavy", "reasoning", "standard")
STANDARD: Sequence[str] = ("standard", "light")
REASONING: Sequence[str] = ("reasoning", "heavy")
CODING: Sequence[str] = ("coding", "heavy")
MEANS: Mapping[str, Sequence[str]] = {
    "light": LIGHT,
    "heavy": HEAVY,
    "router": ("router", *LIGHT),
    "standard": STANDARD,
    "reasoning": REASONING,
    "coding": CODING,
    **dict.fromkeys(CODE, CODING),
    **dict.fromkeys((*DEEP, GENERAL), REASONING),
    **dict.fromkeys(("planning", "explanation"), REASONING),
    **dict.fromkeys((CHATTING, "question_answering", "summarization", "translation", "creative_writing"), STANDARD),
    **dict.fromkeys(("instruction_following", "general_completion"), STANDARD),
    **dict.fromkeys(("classification", "tagging", "extraction", "filtering", "simple_completion"), LIGHT),
    **dict.fromkeys(("domain_classification", "tmd_extraction", "domain_validation"), LIGHT),
}
"""The roles that each stands for when somebody asks for it, the first one that is configured."""

CHANNELS: Mapping[str, Sequence[str]] = {
    "CHAT": MEANS["router"],
    "CODE_TASK": CODING,
    "SYSTEM_HEALTH": REASONING,
}
"""Where a request comes from, as SLM Server's clients say in `metadata.channel`, and who answers then."""
TYPES: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("routing", "classification", "intent_detection", "asr_cleanup"), LIGHT),
    "planning": HEAVY,
}
"""What BestBox's clients say in `metadata.type`, and who answers then."""

HINTS: Mapping[str, frozenset[str]] = {
    "category": frozenset({*CATEGORIES, *TWINS}),
    "channel": frozenset(CHANNELS),
    "type": frozenset(TYPES),
    "prefer": frozenset(PREFERENCES),
    "force_domain": frozenset({*DESTINATIONS, "itops"}),
}
"""What a caller may say of a request, besides its words, in words of ours."""


def plain(word: str) -> str:
    """A word as keys are written: of `Code Review/Debugging` that is `code_review_debugging`."""
    return word.strip().lower().replace(" ", "_").replace("/", "_")


def category(word: str) -> str:
    """The category that is meant, by the name that replies use; '' = none."""
    key = plain(word)
    name = TWINS.get(key, key)
    return name if name in CATEGORIES else ""


def task_of(word: str) -> str:
    """The task that is meant by a word, in the spelling of keys: a category, or one of the user's own."""
    return category(word) or plain(word)


def spellings(word: str) -> list[str]:
    """The word, and how else it is written."""
    return [word, *(b for pair in TWINS.items() for a, b in (pair, pair[::-1]) if a == word)]


def destination(word: str) -> str:
    """A destination as it is written here: `itops` and `it_ops_agent` are `it_ops`."""
    key = plain(word).replace("-", "_").removesuffix("_agent")
    return "it_ops" if key == "itops" else key
