"""The section `mcp` of `rolecast.yaml`: Rolecast as a server of the Model Context Protocol."""

from rolecast.config.units import Seconds, Section


class Mcp(Section, frozen=True):
    """`/mcp` on the front door."""

    enabled: bool = True
    """Whether it is served. Unused it costs nothing: the process that speaks MCP starts with the first request."""
    idle_timeout: Seconds = Seconds(1800)
    """That process ends after this long without a request and an open stream; clients then begin a new session.
    0 = it stays."""
    start_timeout: Seconds = Seconds(60)
    """It may take this long to start."""
