"""The section `money`: budgets, and what local answers are compared with."""

from rolecast.config.units import Section


class Money(Section, frozen=True):
    """What answers cost."""

    compare: str = "openai/gpt-4o-mini"
    """The cloud model that local answers are compared with, to show what they saved: PROVIDER/MODEL of the price
    list."""
    energy: bool = True
    """Whether the energy of requests is measured, as far as this machine tells it, or else estimated by the `watts` of
    models."""
