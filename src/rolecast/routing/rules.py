"""Rules of the user's own: each is a strategy, so the next one is asked when whoever it names cannot do it."""

from rolecast.config import labels
from rolecast.config.patterns import compiled
from rolecast.config.routing import Rule, When
from rolecast.decision import Facts, Verdict
from rolecast.routing.view import View

ANY = "*"
"""The value of a field of metadata that only has to be there."""


class Own:
    """One rule of the configuration."""

    def __init__(self, rule: Rule, number: int) -> None:
        """Raises ValueError when its pattern cannot be compiled, which the checks of the configuration found before."""
        self._use = rule.use or ""
        self._name = rule.name or str(number)
        self._when = rule.when
        self._matches = compiled(rule.when.matches) if rule.when.matches else None

    def decide(self, view: View) -> Verdict | None:
        """Whom it names, if the request is what it asks for."""
        return Verdict(self._use, "rule", f"rule {self._name}") if self._use and self.fits(view) else None

    def fits(self, view: View) -> bool:
        """Whether the request is what it asks for."""
        facts, when = view.facts, self._when
        if not (_looks(when, facts) and _is_said(when, facts)):
            return False
        if self._matches is not None and not self._matches(facts.text):
            return False
        # Last, because it may ask the learned model.
        return all(view.sure(of) == _meant(of, label) for of, label in when.label.items())


def _looks(when: When, facts: Facts) -> bool:
    """Whether it has the shape that is asked for."""
    if when.language and facts.language not in (language.lower() for language in when.language):
        return False
    if when.min_tokens and facts.tokens < when.min_tokens:
        return False
    if when.max_tokens and not 0 < facts.tokens <= when.max_tokens:
        return False
    wanted = (
        (when.tools, facts.tools > 0),
        (when.images, facts.images > 0 or "vision" in facts.needs),
        (when.code, facts.code),
        (when.schema, facts.schema),
    )
    return all(wish is None or wish == has for wish, has in wanted)


def _is_said(when: When, facts: Facts) -> bool:
    """Whether its metadata is what is asked for."""
    said = facts.hints.metadata
    return all(said.get(field) == value or (value == ANY and field in said) for field, value in when.metadata.items())


def _meant(of: str, label: str) -> str:
    return (of == "category" and labels.category(label)) or label
