"""`GET /admin/services`: who registered, our own services among them, for the command line and for people."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rolecast.dialects.operation import told
from rolecast.pages.pas import registry_shapes as shapes
from rolecast.registry.registry import Registry
from rolecast.server.asgi import json_response


class ServiceList(msgspec.Struct, frozen=True):
    """All services, by name and role."""

    services: list[shapes.Whole]


class ServicePage:
    """The list of services."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> list[Route]:
        return [Route("/admin/services", self.services, methods=["GET"])]

    @told("The services that are registered here", "Administration", answer=ServiceList)
    async def services(self, request: Request) -> Response:
        """Those of this gateway itself, and of others that registered with it."""
        await self._registry.settled()
        return json_response(ServiceList([shapes.whole(service) for service in self._registry.look()]))
