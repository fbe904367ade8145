"""The process behind `/mcp`: streamable HTTP on a unix socket, for the gateway alone (`processes/helper.py`).

The gateway has judged Host, Origin and key by then. It says in a header where it is to be asked, and passes on what
tells who the caller is, so that what a tool does here is the caller's.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import anyio
import uvicorn
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rolecast.mcp.api import Api, Gateways
from rolecast.mcp.identity import identity
from rolecast.mcp.server import GONE, Context, make_server
from rolecast.processes.lifeline import end_with_gateway
from rolecast.telemetry.quiet import log_quietly

GATEWAY = "x-rolecast-gateway"
"""Header in which the gateway says where it listens."""
CALLER = ("authorization", "x-api-key", "x-session-id", "x-trace-id", "x-span-id")
"""Headers of the caller that go on to the gateway with each call."""
SURFACE = "ROLECAST_MCP_SURFACE"
MOST_BYTES = 2**40
"""The gateway has bounded the body."""
MOST_SESSIONS = 1000
"""One more gets 503."""
PATH = "/mcp"
HEALTH = "/health"


class Front:
    """In front of the SDK's app: health, who the caller is, and whether it is still there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == HEALTH:
            await Response(b"{}", media_type="application/json")(scope, receive, send)
            return
        gone = anyio.Event()

        async def receive_or_note() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                gone.set()
            return message

        await self._app({**scope, GONE: gone, "user": _user(scope)}, receive_or_note, send)


def _user(scope: Scope) -> AuthenticatedUser:
    """Who the caller is, by its key: a session belongs to the key that began it."""
    headers = dict(scope["headers"])
    key = headers.get(b"authorization") or headers.get(b"x-api-key") or b""
    digest = hashlib.sha256(key).hexdigest()
    return AuthenticatedUser(AccessToken(token=digest, client_id=digest, scopes=[]))


def api_of(gateways: Gateways) -> Any:
    """Gives the gateway for whoever sent a request."""

    def of(ctx: Context) -> Api:
        assert ctx.request is not None
        headers: Mapping[str, str] = ctx.request.headers
        caller = {name: headers[name] for name in CALLER if name in headers}
        return gateways.api(headers.get(GATEWAY, ""), caller)

    return of


def make_app(server: "Server[Any]") -> ASGIApp:
    """The app of such a process."""
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        transport_security=security,
        max_request_body_size=MOST_BYTES,
        max_sessions=MOST_SESSIONS,
    )
    return Front(app)


def serve(server: "Server[Any]", socket: str) -> None:
    """Serve on that unix socket until the process is ended."""
    end_with_gateway()
    log_quietly()
    uvicorn.run(
        make_app(server),
        uds=socket,
        log_config=None,
        access_log=False,
        http="httptools",
        ws="none",
        timeout_keep_alive=3600,
        timeout_graceful_shutdown=1,
    )


def main() -> None:
    """Run as a program: the path of the socket is its argument."""
    serve(make_server(api_of(Gateways()), identity(os.environ.get(SURFACE, ""))), sys.argv[1])


if __name__ == "__main__":
    main()
