"""`GET /mcp/servers`: the servers whose tools models may call, how each is, and its tools."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.dialects.operation import told
from rolecast.server.asgi import json_response
from rolecast.tools.toolbox import Toolbox
from rolecast.tools.wire import Told

TAG = "MCP"


class ToolServers:
    """The list of them."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox

    def routes(self) -> list[Route]:
        return [Route("/mcp/servers", self.servers, methods=["GET"])]

    @told("The servers of tools, and which tools models may call", TAG, answer=Told, errors=(503, 504))
    async def servers(self, request: Request) -> Response:
        """All servers of the configuration; those that are not connected are connected first."""
        return json_response(Told(tuple(await self._toolbox.look())))
