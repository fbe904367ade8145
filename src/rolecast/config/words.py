"""Words by which systems name a kind of model rather than a model: tiers, roles, categories, capabilities.

They stand for what this configuration has of the kind. Whatever it calls by such a word itself comes first: `names` is
asked before. Chooses nothing; destructive commands do not look here.
"""

from collections.abc import Mapping, Sequence

from rolecast.config.categories import TWINS
from rolecast.config.names import Name, untagged
from rolecast.config.schema import Config

LIGHT, STANDARD = ("light", "standard", "router"), ("standard", "light")
HEAVY, REASONING, CODING = ("heavy", "reasoning", "standard"), ("reasoning", "heavy"), ("coding", "heavy")
ROLES: Mapping[str, Sequence[str]] = {
    "light": LIGHT,
    "heavy": HEAVY,
    "router": ("router", *LIGHT),
    "standard": STANDARD,
    "reasoning": REASONING,
    "coding": CODING,
    **dict.fromkeys(("code_generation", "code_completion", "code_review"), CODING),
    **dict.fromkeys(
        ("mathematical_reasoning", "scientific_research", "legal_analysis", "long_context", "general_reasoning"),
        REASONING,
    ),
    **dict.fromkeys(("planning", "explanation"), REASONING),
    **dict.fromkeys(
        ("conversational_chat", "question_answering", "summarization", "translation", "creative_writing"), STANDARD
    ),
    **dict.fromkeys(("instruction_following", "general_completion"), STANDARD),
    **dict.fromkeys(("classification", "tagging", "extraction", "filtering", "simple_completion"), LIGHT),
    **dict.fromkeys(("domain_classification", "tmd_extraction", "domain_validation"), LIGHT),
}
"""The roles that each stands for, the first one that is configured."""


def find(config: Config, names: Mapping[str, Name], asked: str) -> Name | None:
    """What is meant by such a word: the models that list it, else a role, else the default role; None for no word.

    Two spellings of a category are one. A role is there with the models it has.
    """
    word = untagged(asked)
    spellings = [word, *(b for pair in TWINS.items() for a, b in (pair, pair[::-1]) if a == word)]
    for spelling in spellings:
        if spelling in names and _answers(config, names[spelling]):
            return names[spelling]
    able = [i for i, m in config.models.items() if m.enabled and not {*spellings}.isdisjoint(m.capabilities)]
    if able:
        return Name(word, "role", tuple(able))
    roles = next((ROLES[spelling] for spelling in spellings if spelling in ROLES), None)
    if roles is None:
        return None
    meant = (names[role] for role in (*roles, config.routing.default) if role in names)
    return next((name for name in meant if _answers(config, name)), None)


def _answers(config: Config, name: Name) -> bool:
    return any(config.models[model_id].enabled for model_id in name.models)
