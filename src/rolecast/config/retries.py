"""The section `retries`: how often and how patiently servers elsewhere are asked again."""

from rolecast.config.units import Count, Seconds, Section


class Retries(Section, frozen=True):
    """What is done when a server elsewhere does not answer."""

    attempts: Count = 3
    """So often one request is tried, over all models of its role."""
    first_wait: Seconds = Seconds("0.5")
    """Before the same server is asked once more, drawn at random up to this; each further wait may be twice as long."""
    longest_wait: Seconds = Seconds(8)
    """No single wait is longer; a server that asks for more is left alone, and the next one is asked."""
