"""The table of surfaces: what each takes in on its ports besides what all ports take, or in another way.

Knows no page: those that belong to a surface are a row in `rolecast.ports`, and its health is `pages/ports.py`'s.
Adding one = a row here and a word in `config/schema.py`.
"""

from collections.abc import Callable, Mapping
from typing import get_args

from rolecast.config.schema import Config, Listener, Service
from rolecast.dialects import Entry, conductor, entries, pas
from rolecast.dialects.conductor import Note

Hot = Mapping[bytes, Entry]
OnPort = Callable[[Hot, Listener, Config, Note], Hot]
"""The paths of a port, made of those that every port has."""


def hot_of(listener: Listener, config: Config, note: Note) -> Hot:
    """The paths whose bodies go to models on the port of this listener, and what reads them.

    `note` is told of sessions.
    """
    return SURFACES[listener.surface](entries(config.server.limits), listener, config, note)


def _pas(hot: Hot, listener: Listener, config: Config, note: Note) -> Hot:
    model = config.models.get(listener.model or "")
    return pas.on_port(hot, config.server.limits, listener.model or "", model.context if model else 0)


def _nothing(hot: Hot, listener: Listener, config: Config, note: Note) -> Hot:
    return {}


SURFACES: Mapping[str, OnPort] = {
    "openai": conductor.on_port,
    "llama-server": conductor.on_port,
    "conductor": conductor.on_port,
    "adapter": conductor.on_port,
    "pas": _pas,
    **dict.fromkeys(get_args(Service), _nothing),
}
