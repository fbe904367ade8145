"""What the pages read of a request: a JSON body, a number, which model is meant."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec.structs import replace
from starlette.requests import Request

from rolecast.config.current import Current
from rolecast.config.names import Name, find
from rolecast.errors import UNREADABLE, BadRequest, ModelNotFound, UnsupportedMedia
from rolecast.server.asgi import RIGHTS
from rolecast.server.lane import Lane, by_name
from rolecast.turn.ask import behind
from rolecast.values import Caller, Rights

T = TypeVar("T")
Reach = Callable[[Rights | None], Callable[[Name], Name | None]]
"""What a name means to who holds a key: with the models alone that it may reach; None = nothing."""


def whole(_: Rights | None) -> Callable[[Name], Name | None]:
    """The reach where there are no keys with lists of models."""
    return lambda name: name if name.models else None


Number = Annotated[int, msgspec.Meta(ge=0, le=999_999_999)]
"""What `number` reads."""


def require_json(request: Request, example: str) -> None:
    """A web form cannot send this content type across sites without a preflight. Raises UnsupportedMedia."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UnsupportedMedia(f"Send JSON such as {example} with content-type application/json.")


def refuse_forms(request: Request) -> None:
    """For requests that say all in their path: what a web form would send is refused. Raises UnsupportedMedia.

    A page's script could send no content type at all, but browsers then name its origin, which the guard judges.
    """
    if request.headers.get("content-type"):
        require_json(request, "{}, or no body,")


async def body(request: Request, kind: type[T], example: str) -> T:
    """The body as such a struct. Raises UnsupportedMedia or BadRequest."""
    require_json(request, example)
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except UNREADABLE as exc:
        raise BadRequest(f"The body must be JSON such as {example}: {exc}.", code="bad_json") from None


def answerer(current: Current, name: str) -> str:
    """The model that answers for that name. Raises ModelNotFound."""
    found = find(current.names, name)
    if found is None or not found.models or not current.config.models[found.models[0]].enabled:
        text = f"The model {name[:200]!r} does not exist here; `rolecast models` lists them."
        raise ModelNotFound(text, param="model")
    return current.answerer_of(found.models[0])


def key(request: Request) -> str:
    """The id of the API key that asks; '' = none is needed. Raises Unauthorized."""
    lane: Lane = request.app.state.lane
    headers = dict(request.scope["headers"])
    return lane.guard.check_key(headers.get(b"authorization"), headers.get(b"x-api-key")).key


def caller(request: Request) -> Caller:
    """Who asks, for a page that has models asked for its own work. Raises what the guard raises."""
    lane: Lane = request.app.state.lane
    return replace(behind(lane.caller(by_name(request.scope["headers"]))), port_model=lane.port_model)


def rights(request: Request) -> Rights | None:
    """What the key that asks may do; None = everything. The port has let it in."""
    return request.scope.get(RIGHTS)


def own(request: Request) -> str | None:
    """The key whose requests alone may be shown to who asks; None = those of all. Raises Unauthorized."""
    lane: Lane = request.app.state.lane
    caller = lane.caller(by_name(request.scope["headers"]))
    return None if caller.rights is None or caller.rights.admin else caller.key


def flag(text: str) -> bool:
    """A yes or no of a query. Raises BadRequest."""
    if text not in ("true", "false"):
        raise BadRequest(f"`true` or `false` is needed, not {text[:50]!r}.")
    return text == "true"


def number(text: str) -> int:
    """A whole number of a query. Raises BadRequest."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadRequest(f"A number is needed, not {text[:50]!r}.")
    return int(text)
