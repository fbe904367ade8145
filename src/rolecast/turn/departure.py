"""What happens to a request before it leaves this machine: the seam, and the last look that nothing gets around.

Nothing of a request is sent to a server elsewhere but through `see_off`: a pool that leads off this machine takes no
body that was not seen off.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from rolecast.backends.reach import is_cloud
from rolecast.config.loopback import is_loopback
from rolecast.config.schema import Model
from rolecast.dialects.request import Request
from rolecast.errors import StaysHere
from rolecast.turn.gate import LOCAL
from rolecast.turn.plan import Plan
from rolecast.values import Caller, Endpoint, authority

MOST_NAMED = 8
NOTHING: Mapping[str, str] = {}
OF_WHOEVER_ASKS = (LOCAL, "free", "key:")
"""How needs begin that come from who asks: they hold for all that is asked on the way to an answer."""


class Parcel(msgspec.Struct, frozen=True):
    """Something that is about to leave this machine."""

    kind: Literal["request", "count", "images", "tool", "agent"]
    model: str
    """Id of the model that is asked, or the name of the server of a tool."""
    provider: str
    host: str
    """Where it goes: `host:port`, or the path of a socket."""
    path: str
    body: bytes
    content_type: bytes = b"application/json"
    lines: bytes = b""
    """Header lines of the caller that go along."""
    number: int = 0
    """Of the request; 0 = it has none."""
    key: str = ""
    """Id of the API key of who asks."""
    redacts: bool = False
    """What is private is taken out of it."""


class Cleared(msgspec.Struct, frozen=True):
    """What may be sent in its place."""

    body: bytes
    lines: bytes = b""
    values: Mapping[str, str] = NOTHING
    """What was taken out, by the tokens that stand for it."""


class Departure(Protocol):
    """Who sees things off."""

    @property
    def local_only(self) -> bool:
        """Whether nothing leaves at all."""
        ...

    async def leave(self, parcel: Parcel) -> Cleared:
        """Make it ready for a server elsewhere, and write down that it goes. Raises StaysHere, or what ends it.

        Whoever asked may go meanwhile, which cancels it.
        """
        ...


def stays(needs: frozenset[str], departure: Departure | None) -> bool:
    """Whether nothing of a request with these needs may leave."""
    return LOCAL in needs or (departure is not None and departure.local_only)


def refusal(who: str, here: Sequence[str] = ()) -> StaysHere:
    """Why something is not sent, and who `here` would do."""
    able = f"Here {', '.join(here[:MOST_NAMED])} would do." if here else "No model here would do."
    return StaysHere(f"This request may not leave this machine, and {who} is elsewhere. {able}", param="model")


def addressed(
    kind: Literal["request", "count", "images"], plan: Plan, endpoint: Endpoint, path: str, body: bytes
) -> Parcel:
    """A body for the server of a model."""
    host = endpoint.address if endpoint.uds else authority(endpoint.host, endpoint.port)
    return Parcel(kind, plan.answerer_id, plan.provider, host, path, body)


def for_tool(server: str, url: str, arguments: bytes) -> Parcel | None:
    """Arguments for a server of tools at this address; None = nothing leaves for it."""
    parts = urlsplit(url)
    if not url or is_loopback(parts.hostname or ""):
        return None
    host = authority(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    return Parcel("tool", server, "mcp", host, parts.path or "/", arguments)


def inherited(request: Request, whole: Request | None) -> None:
    """Hold a part to what the whole request is held to."""
    if whole is not None and whole.needs:
        request.needs |= {need for need in whole.needs if need.startswith(OF_WHOEVER_ASKS)}


async def see_off(
    departure: Departure | None,
    needs: frozenset[str],
    caller: Caller,
    model: Model | None,
    parcel: Parcel,
    here: Sequence[str] = (),
) -> Cleared:
    """The one way out. Raises StaysHere for what must stay, or cannot be made ready."""
    if stays(needs, departure) or caller.local_only or (caller.rights is not None and caller.rights.local_only):
        raise refusal(parcel.model, here)
    if departure is None:
        return Cleared(parcel.body, parcel.lines)
    raw = caller.rights is not None and caller.rights.raw
    redacts = model is not None and model.redact and not raw and is_cloud(model)
    return await departure.leave(msgspec.structs.replace(parcel, redacts=redacts))
