"""Who the server says it is."""

import msgspec

from rolecast import __version__


class Identity(msgspec.Struct, frozen=True):
    """Its name and version, as `initialize` tells them."""

    name: str = "Rolecast"
    title: str = "Rolecast"
    version: str = __version__


ROLECAST = Identity()
CONDUCTOR = Identity("Conductor LLM Server", "Conductor LLM Server (Rolecast)", "1.0.0")
"""For clients of Conductor, who may look for its name."""
INSTRUCTIONS = (
    "Small language models on the user's own machine. There is one tool for each kind of task; generate_text finds the "
    "kind by the prompt. Nothing leaves the machine unless the user has configured a model elsewhere."
)


def identity(surface: str) -> Identity:
    """Whom a front door with that surface is."""
    return CONDUCTOR if surface == "conductor" else ROLECAST
