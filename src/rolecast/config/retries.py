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
    failures: Count = 5
    """After so many failures in a row (or half of at least ten requests within 30 s) a server is left alone."""
    rest: Seconds = Seconds(5)
    """For so long at first; then one request tries it, and each time that this fails the rest is twice as long."""
    longest_rest: Seconds = Seconds(300)
    """And never longer."""
