"""What the pages read of a request beside its path: a JSON body, a number."""

from typing import TypeVar

import msgspec
from starlette.requests import Request

from rolecast.errors import UNREADABLE, BadRequest, UnsupportedMedia

T = TypeVar("T")


def require_json(request: Request, example: str) -> None:
    """A web form cannot send this content type across sites without a preflight. Raises UnsupportedMedia."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UnsupportedMedia(f"Send JSON such as {example} with content-type application/json.")


async def body(request: Request, kind: type[T], example: str) -> T:
    """The body as such a struct. Raises UnsupportedMedia or BadRequest."""
    require_json(request, example)
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except UNREADABLE as exc:
        raise BadRequest(f"The body must be JSON such as {example}: {exc}.", code="bad_json") from None


def number(text: str) -> int:
    """A whole number of a query. Raises BadRequest."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadRequest(f"A number is needed, not {text[:50]!r}.")
    return int(text)
