"""The section `egress`: what may leave this machine, what is taken out before, and what is written down of it."""

from rolecast.config.units import Section


class Egress(Section, frozen=True):
    """What leaves this machine."""

    local_only: bool = False
    """Nothing of any request leaves this machine, whatever the models are."""
    ledger: bool = True
    """Each request that leaves is written into a chain that shows later changes, before it is sent; without the
    database it is refused."""
