"""The section `egress`: what may leave this machine, what is taken out before, and what is written down of it."""

from typing import Literal

import msgspec

from rolecast.config.units import Section

Private = Literal["emails", "phones", "cards", "ibans", "keys", "ips", "names"]


class Egress(Section, frozen=True):
    """What leaves this machine."""

    local_only: bool = False
    """Nothing of any request leaves this machine, whatever the models are."""
    redact: list[Private] = msgspec.field(
        default_factory=lambda: ["emails", "phones", "cards", "ibans", "keys", "names"]
    )
    """What is taken out of requests to clouds and put back into their answers: addresses of mail, telephone numbers,
    numbers of cards and bank accounts, credentials, `ips` (not unless you name them), and `names` of your list. Empty =
    nothing."""
    names: list[str] = []
    """Names of people and things that no cloud is to see, as they are written: `Zoë Ångström`. Their parts are found by
    themselves, too, in any case, and with a slip of the keyboard."""
    names_file: str = ""
    """More of them: a text file, one a line, read at the start and at each edit of the configuration."""
    media: Literal["allow", "refuse"] = "allow"
    """Whether what cannot be searched may go to a cloud: pictures, sound, files, texts as numbers of tokens."""
    ledger: bool = True
    """Each request that leaves is written into a chain that shows later changes, before it is sent; without the
    database it is refused."""
