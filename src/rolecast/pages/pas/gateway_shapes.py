"""What the gateway of PAS is sent, and what it answers."""

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from rolecast.books.usage import Bucket, Spread
from rolecast.pages.pas.providers import Needed
from rolecast.pages.pas.told import Ms
from rolecast.registry.policy import Optimization

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Spending(msgspec.Struct):
    """What the answer may cost, compared with 1,000 tokens of a prompt and 500 of an answer, and how long it may take
    by what is known of who answers."""

    max_cost_usd: Decimal | None = None
    max_latency_ms: Ms | None = None


class GatewayBody(msgspec.Struct):
    """A request to whoever does it best. `payload` is a chat in OpenAI's words, without its model; without one nobody
    is asked, and the answer says who would be."""

    request_id: Id
    agent: Id
    requirements: Needed
    run_id: Id | None = None
    budget: Spending | None = None
    optimization: Optimization = "cost"
    payload: dict[str, msgspec.Raw] | None = None


class Cost(msgspec.Struct, omit_defaults=True):
    """What it took. Six decimals, halves up; `avoided_usd` is what an answer of this machine would have cost."""

    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    latency_ms: float
    avoided_usd: Decimal | None = None


class Skipped(msgspec.Struct):
    """A provider that would have been better, and was not asked."""

    provider: str
    reason: str


class GatewayAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`response` is OpenAI's object; null where nobody answered. `provider` is `local` for a model of this machine."""

    request_id: str
    run_id: str
    status: Literal["success", "error"]
    provider: str | None
    model: str | None
    response: msgspec.Raw
    cost: Cost
    alternatives: list[str]
    timestamp: str
    reason: str
    """Why it was chosen."""
    fallback_from: str | None = None
    """Who was to answer first."""
    skipped: list[Skipped] = []
    error: dict[str, Any] | None = None
    detail: str | None = None


class Metrics(msgspec.Struct, kw_only=True):
    """What was answered in the window up to now, by all ports, from the ledger. Amounts are exact."""

    window: Literal["minute", "hour", "day"]
    total_cost_usd: Decimal
    total_requests: int
    total_tokens: int
    cost_per_request: Decimal
    requests_per_provider: dict[str, int]
    cost_per_provider: dict[str, Decimal]
    local_tokens: int
    avoided_usd: Decimal | None
    latency_ms: Spread
    latency_histogram: list[Bucket]
    fallbacks_to_cloud: int
    energy_joules: Decimal | None


class BudgetSet(msgspec.Struct):
    run_id: str
    budget_usd: Decimal
    status: Literal["Budget set successfully"]


class BudgetTold(msgspec.Struct, omit_defaults=True):
    """How much of the budget of a run is left; without one a `message`. Levels: ok below 75 %, caution below 90 %,
    warning below 100 %, critical."""

    run_id: str
    budget_set: bool
    budget_usd: Decimal | None = None
    spent_usd: Decimal | None = None
    remaining_usd: Decimal | None = None
    percent_used: float | None = None
    alert_level: Literal["ok", "caution", "warning", "critical"] | None = None
    can_proceed: bool | None = None
    message: str | None = None


class GatewayHealth(msgspec.Struct):
    status: Literal["ok"]
    service: Literal["gateway"]
    port: int
    timestamp: str
    dependencies: dict[str, str]
