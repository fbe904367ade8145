"""What the provider router and the gateway of PAS share: times, exact numbers, bodies, the shape of a provider."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rolecast.errors import UNREADABLE, BadRequest, Invalid
from rolecast.money import dollars
from rolecast.pages import asked
from rolecast.registry.policy import Candidate
from rolecast.registry.providers import Provider, Slo

T = TypeVar("T")
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Words = Annotated[list[Word], msgspec.Meta(max_length=50)]
Window = Annotated[int, msgspec.Meta(ge=1, le=2_000_000)]
Ms = Annotated[float, msgspec.Meta(gt=0)]
MOST_USD = Decimal(1_000_000_000)
"""No budget is higher."""

_encode = msgspec.json.Encoder(decimal_format="number").encode


class ProviderShape(msgspec.Struct, kw_only=True):
    """A provider as it is told. Costs are dollars per token."""

    name: str
    model: str
    context_window: int | None
    cost_per_input_token: Decimal | None
    cost_per_output_token: Decimal | None
    endpoint: str
    features: list[str]
    slo: Slo | None
    metadata: dict[str, Any]
    status: str
    created_at: str | None
    updated_at: str | None


def exact_response(value: Any, status: int = 200) -> Response:
    """Compact JSON in which money is a number, with the digits that it has."""
    return Response(_encode(value), status_code=status, media_type="application/json")


def exact_line(value: Any) -> bytes:
    """The same as a line of JSON."""
    return _encode(value) + b"\n"


async def read(request: Request, decoder: msgspec.json.Decoder[T], example: str) -> T:
    """The body as such a struct. Raises UnsupportedMedia, Invalid (422), or BadRequest for what is no JSON."""
    asked.require_json(request, example)
    try:
        return decoder.decode(await request.body())
    except msgspec.ValidationError as exc:
        raise Invalid(f"{exc}. Send such as {example}.") from None
    except UNREADABLE as exc:
        raise BadRequest(f"The body must be JSON such as {example}: {exc}.", code="bad_json") from None


def amount(value: Decimal, name: str, most: Decimal = MOST_USD) -> Decimal:
    """A sum of money from zero. Raises Invalid."""
    if not value.is_finite() or not 0 <= value <= most:
        raise Invalid(f"`{name}` must be an amount of dollars from 0 to {most}.", param=name)
    return value


def plain(value: Decimal) -> Decimal:
    """The same number in as few digits as it needs, without an exponent where it has a whole part."""
    value = value.normalize()
    return value.quantize(Decimal(1)) if value == value.to_integral_value() else value


def now_text() -> str:
    return time_text(time.time())


def time_text(at: float) -> str:
    """A time as in ISO 8601, of UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shape_of(provider: Provider) -> ProviderShape:
    """One that registered."""
    return ProviderShape(
        name=provider.name,
        model=provider.model,
        context_window=provider.context_window,
        cost_per_input_token=plain(dollars(provider.input_cost)),
        cost_per_output_token=plain(dollars(provider.output_cost)),
        endpoint=provider.endpoint,
        features=list(provider.features),
        slo=provider.slo,
        metadata=dict(provider.metadata),
        status="active" if provider.active else "inactive",
        created_at=time_text(provider.created_at),
        updated_at=time_text(provider.updated_at),
    )


def shape_of_ours(candidate: Candidate) -> ProviderShape:
    """One of the models of this gateway, in the same shape."""
    reading, writing = candidate.input_cost, candidate.output_cost
    return ProviderShape(
        name=candidate.name,
        model=candidate.model,
        context_window=candidate.context,
        cost_per_input_token=None if reading is None else plain(dollars(reading)),
        cost_per_output_token=None if writing is None else plain(dollars(writing)),
        endpoint=candidate.endpoint,
        features=sorted(candidate.features),
        slo=None,
        metadata={"managed_by": "rolecast", "provider": candidate.provider},
        status="active",
        created_at=None,
        updated_at=None,
    )
