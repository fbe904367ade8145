"""The JSON of a port with `surface: adapter`, for the reference."""

from typing import Any, Literal

import msgspec


class AdapterHealth(msgspec.Struct):
    """`degraded`: its server failed lately and is left alone. `unhealthy`: nobody can be asked, as without a key."""

    status: Literal["healthy", "degraded", "unhealthy"]
    service: str
    port: int
    provider: str
    model: str
    api_key_present: bool
    uptime_seconds: float
    last_request_ms: int | None
    reason: str | None = None


class AdapterInfo(msgspec.Struct):
    """Prices in dollars per million tokens, as texts; null = nobody knows."""

    service_name: str
    version: str
    provider: str
    model: dict[str, Any]
    capabilities: list[str]
    performance: dict[str, float | None]
    price: dict[str, str | None] | None
    endpoints: list[str]


class AdapterRoot(msgspec.Struct):
    service: str
    version: str
    port: int
    status: str
    provider: str
    model: str
    endpoints: list[str]
    docs: str
