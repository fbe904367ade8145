"""Rolecast inside another ASGI application, or under another ASGI server.

`uvicorn --factory rolecast.asgi:app` serves the front door; `Embedded` gives an app for each port of a configuration.
"""

from rolecast.asgi.bridge import Bridge
from rolecast.asgi.embedded import Embedded

__all__ = ["Bridge", "Embedded", "app"]


def app() -> Bridge:
    """The front door of the configuration that `rolecast up` would use; for servers that take a factory."""
    return Embedded().app()
