"""The app of a port: its pages, guarded, with one shape of error.

Requests to models never come here: the wire lane takes them, however their path is spelled. Who asks their paths with
another method is told so in what is spoken there.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rolecast.dialects import Dialect, dialect
from rolecast.errors import BadRequest, Internal, MethodNotAllowed, NotFound, RolecastError
from rolecast.server import pathname, preflight, scopes
from rolecast.server.guard import is_open
from rolecast.server.lane import Lane
from rolecast.server.lasting import Lasting
from rolecast.telemetry.metrics import Place
from rolecast.values import Rights

log = logging.getLogger("rolecast.api")


RIGHTS = "rolecast.rights"
"""Where the scope of a request has what its key may do."""


class _Front:
    """Guards every ASGI request and answers preflights."""

    def __init__(self, app: ASGIApp, lane: Lane, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._lane = lane
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        cors = self._lane.guard.origin_line(headers)
        answer = _with_headers(send, cors) if cors else send
        path = pathname.plain(scope["path"].encode())
        entry = self._lane.hot.get(path)
        try:
            rights = self._check(scope, headers)
            if scope["method"] == "OPTIONS":
                await send({"type": "http.response.start", "status": 204, "headers": preflight.answer(headers, cors)})
                await send({"type": "http.response.body", "body": b""})
                return
            scope = {**scope, "path": path.decode(), RIGHTS: rights}
            if entry is not None:
                raise _not_allowed(scope["method"], scope["path"], ["POST"])
            scopes.check(rights, scope, self._routes)
            if scope["method"] == "GET":
                lasting = self._lasting(scope, headers, receive, answer)
                receive, answer = lasting.receive, lasting.send
            await self._app(scope, receive, answer)
        except RolecastError as error:
            _note(self._lane, error, scope)
            spoken = entry.dialect if entry is not None else dialect(_hint(path.decode()).dialect)
            await error_response(error, spoken)(scope, receive, answer)

    def _lasting(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, answer: Send) -> Lasting:
        """An answer that may go on for ever, which it does as long as this request would be let in."""

        async def refuse(error: RolecastError) -> None:
            await error_response(error, dialect(_hint(scope["path"]).dialect))(scope, receive, answer)

        return Lasting(receive, answer, lambda: scopes.check(self._check(scope, headers), scope, self._routes), refuse)

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> Rights | None:
        """What who asks may do; None = everything. Raises what the guard raises."""
        guard, host = self._lane.guard, headers.get(b"host")
        guard.check_host(host)
        guard.check_origin(headers.get(b"origin"), host)
        # The raw path decides, never a URL rebuilt from Host (CVE-2026-48710), nor one with its percent signs
        # resolved: what is open is written plainly.
        path = pathname.plain(scope.get("raw_path", scope["path"].encode()))
        if is_open(scope["method"], path) or scope["method"] == "OPTIONS":
            return None
        return guard.check_key(headers.get(b"authorization"), headers.get(b"x-api-key")).rights


def _with_headers(send: Send, lines: bytes) -> Send:
    extra = [tuple(line.split(b": ", 1)) for line in lines.split(b"\r\n") if line]

    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return send_more


def error_response(error: RolecastError, spoken: Dialect | None = None) -> Response:
    """The error as a Starlette response: in the one shape of all pages, or in that of a dialect."""
    headers = {}
    for line in error.head.decode().splitlines():
        name, _, value = line.partition(": ")
        headers[name] = value
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = error.allow
    body = spoken.error(error) if spoken is not None else error.body()
    return Response(body, error.status, headers, "application/json")


JSON = msgspec.json.Encoder(decimal_format="number")
"""Money is a number to clients, with all its digits."""


def json_response(value: Any, status: int = 200) -> Response:
    """Compact JSON: scripts of the five systems grep raw bytes such as `"status":"healthy"`."""
    return Response(JSON.encode(value), status_code=status, media_type="application/json")


def _note(lane: Lane, error: RolecastError, scope: Scope) -> None:
    lane.dispatch.refused(error, Place(lane.name, scope["method"], scope["path"]))


async def _on_error(request: HTTPRequest, exc: Exception) -> Response:
    assert isinstance(exc, RolecastError)
    _note(request.app.state.lane, exc, request.scope)
    return error_response(exc, dialect(_hint(request.scope["path"]).dialect))


class Hint(NamedTuple):
    """What to say of a path that clients ask which expect another server, and in which dialect."""

    said: str = ""
    dialect: str = "openai"


_LM_STUDIO = Hint("LM Studio's API is not spoken here, OpenAI's is, with a base URL that ends in /v1")
HINTS = {
    "/v1/v1/": Hint("/v1 is in the base URL twice"),
    "/v1/api/": Hint("Ollama's clients want the address without /v1", "ollama"),
    "/v1/messages/batches": Hint("Anthropic's batches are not spoken here, single messages are", "anthropic"),
    "/v1/messages": Hint(dialect="anthropic"),
    "/messages": Hint(dialect="anthropic"),
    "/api/v0/": _LM_STUDIO,
    "/api/v1/": _LM_STUDIO,
    "/api/": Hint(dialect="ollama"),
}
"""By how the path begins; the first that fits."""


def dialect_at(path: str) -> str:
    """The name of the dialect in which errors at this path are told, when no path to models is there."""
    return _hint(path).dialect


def _hint(path: str) -> Hint:
    return next((hint for start, hint in HINTS.items() if path.startswith(start)), Hint())


async def _on_http(request: HTTPRequest, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    path = request.scope["path"][:200]
    error: RolecastError
    if exc.status_code == 404:
        said = _hint(path).said
        error = NotFound(f"There is nothing at {path}{': ' * bool(said)}{said}; GET /docs lists what there is.")
    elif exc.status_code == 405:
        error = _not_allowed(request.method, path, _methods(request))
    else:
        error = BadRequest(str(exc.detail), status=exc.status_code)
    _note(request.app.state.lane, error, request.scope)
    return error_response(error, dialect(_hint(path).dialect))


def _methods(request: HTTPRequest) -> set[str]:
    """What this path takes: each method may have a route of its own."""
    routes = (route for route in request.app.routes if isinstance(route, Route))
    return {
        method for route in routes if route.path_regex.match(request.scope["path"]) for method in route.methods or ()
    }


def _not_allowed(method: str, path: str, allow: Iterable[str]) -> MethodNotAllowed:
    taken = ", ".join(sorted(allow))
    return MethodNotAllowed(
        f"{method} is not possible at {path[:200]}; use {taken.replace(', ', ' or ')}.", allow=taken
    )


async def _on_gone(_: HTTPRequest, exc: Exception) -> Response:
    return Response(status_code=499)  # nobody is there to read it


async def _on_crash(request: HTTPRequest, exc: Exception) -> Response:
    log.error("%s %s failed", request.method, request.scope["path"], exc_info=exc)
    return error_response(Internal(), dialect(_hint(request.scope["path"]).dialect))


def make_app(lane: Lane, routes: Sequence[BaseRoute]) -> ASGIApp:
    """The ASGI app of one listener."""
    app = Starlette(
        routes=list(routes),
        exception_handlers={
            RolecastError: _on_error,
            HTTPException: _on_http,
            ClientDisconnect: _on_gone,
            Exception: _on_crash,
        },
    )
    app.router.redirect_slashes = False
    app.state.lane = lane
    return _Front(app, lane, app.routes)
