"""The status page: the root path, and the files that the page is made of. Knows nothing of what they show."""

import functools
from importlib.resources import files
from pathlib import PurePath

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rolecast import __version__
from rolecast.dialects.operation import PAGE, told
from rolecast.errors import NotFound
from rolecast.pages.ollama import ROOT, is_for_ollama, running
from rolecast.server.asgi import json_response

SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


def routes() -> list[Route]:
    """What a browser asks for."""
    return [
        Route("/", root, methods=["GET"]),
        Route("/ui", page, methods=["GET"]),
        *assets(),
    ]


def assets() -> list[Route]:
    """The files that pages are made of."""
    return [Route("/ui/{name}", asset, methods=["GET"])]


@told(
    "Who answers here",
    "Health",
    more=f"{ROOT} A browser is sent to the status page.",
    answer="rolecast.pages.shapes:Root",
    statuses=(200, 307),
)
async def root(request: Request) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/ui", status_code=307)
    if is_for_ollama(request):
        return running()
    return json_response({"service": "rolecast", "version": __version__, "status": "running", "docs": "/docs"})


@told("The status page", "Page", answer=str, media=PAGE)
async def page(request: Request) -> Response:
    return file("index.html", "text/html")


@told("A file of the page", "Page", answer=str, media="*/*", errors=(404,))
async def asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _assets():
        raise NotFound(f"There is nothing at /ui/{name[:200]}; the status page is /ui.")
    return file(name, _assets()[name])


_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@functools.cache
def _assets() -> dict[str, str]:
    """The files that the page loads, with their types: all of the folder `web` but the page itself."""
    names = [PurePath(file.name) for file in files("rolecast").joinpath("web").iterdir()]
    return {name.name: _TYPES[name.suffix] for name in names if name.suffix in _TYPES}


def file(name: str, media_type: str) -> Response:
    content = files("rolecast").joinpath("web").joinpath(name).read_bytes()
    return Response(content, media_type=media_type, headers=SECURITY)
