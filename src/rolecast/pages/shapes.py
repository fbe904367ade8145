"""The JSON that pages answer with, for the reference. Tests hold real answers to it; nothing else reads it."""

from typing import Any, Literal

import msgspec

from rolecast.books.receipt import Receipt
from rolecast.jobs.job import Job
from rolecast.pages import residency
from rolecast.pages.replicas import Replica
from rolecast.reload import Report
from rolecast.statefile import Address
from rolecast.telemetry.metrics import Refusal
from rolecast.turn.rehearsal import Routed

ANYTHING = dict[str, Any]


# -- models --------------------------------------------------------------------------------------------------


class ModelEntry(msgspec.Struct):
    """A name that a request may use, and the model behind it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    kind: str
    root: str
    backend: str
    port: int
    model_type: str
    context_length: int | None
    quantization: str | None
    supports_function_calling: bool
    capabilities: list[str]
    state: str
    memory: residency.Memory | None = None
    load: residency.Loading | None = None
    stand_in: str | None = None


class ModelList(msgspec.Struct):
    object: Literal["list"]
    data: list[ModelEntry]


class AnthropicModel(msgspec.Struct):
    """A model for clients that send `anthropic-version`."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    lifecycle: str
    max_input_tokens: int | None
    max_tokens: int | None


class AnthropicModels(msgspec.Struct):
    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


class BackendHealth(msgspec.Struct):
    status: str
    port: int | None
    model_id: str
    backend: str | None = None
    state: str | None = None
    http_status: int | None = None
    stand_in: str | None = None


BACKENDS = dict[str, BackendHealth]
"""By role; models that are not in use by their id."""


MODELS = (ModelList, AnthropicModels)
MODEL = (ModelEntry, AnthropicModel)


# -- health --------------------------------------------------------------------------------------------------


class FrontHealth(msgspec.Struct):
    """Times in seconds since 1970."""

    status: Literal["healthy", "degraded"]
    loaded_models: int
    total_memory_gb: float
    uptime_seconds: float
    last_updated: float
    failing: list[str] = []
    problems: list[str] = []


class ModelHealth(msgspec.Struct):
    status: Literal["healthy", "unhealthy"]
    model: str
    state: str
    stand_in: str | None = None


class LlamaHealth(msgspec.Struct):
    status: Literal["ok"]


class LlamaTrouble(msgspec.Struct):
    error: ANYTHING


class PASHealth(msgspec.Struct):
    status: Literal["healthy", "unhealthy"]
    service: str
    agent_id: str | None
    port: int
    ollama_backend: str
    model: str
    model_loaded: bool
    uptime_seconds: float
    last_request_ms: int | None
    stand_in: str | None = None


class PASInfo(msgspec.Struct):
    """What the port's model is, what it is for, and how fast it was."""

    service_name: str
    version: str
    model: ANYTHING
    capabilities: list[str]
    performance: dict[str, float | None]
    endpoints: list[str]
    domain_taxonomy_version: str | None = None
    """Of the port of the domain classifier."""
    stand_in: str | None = None


class Root(msgspec.Struct):
    """Who answers here."""

    service: Literal["rolecast"]
    status: Literal["running"]


# -- administration ------------------------------------------------------------------------------------------


class Status(msgspec.Struct):
    """Everything about the gateway and its models. Times in seconds since 1970."""

    version: str
    pid: int
    started_at: float
    uptime_seconds: float
    rss_bytes: int
    config: str | None
    ledger: str
    weights: str
    listeners: list[Address]
    reload: Report | None
    roles: dict[str, list[str]]
    problems: list[str]
    memory: residency.Room | None
    models: list["ModelStatus"]
    variants: list["VariantStatus"]


class ModelStatus(msgspec.Struct):
    id: str
    state: str
    backend: str
    source: str
    present: bool
    stand_in: str | None
    aliases: list[str]
    capabilities: list[str]
    context: int | None
    parallel: int
    pinned: bool
    idle_timeout_s: float
    active: int
    waiting: int
    wants_memory: bool
    pid: int | None
    endpoint: str | None
    rss_bytes: int | None
    restarts: int
    loaded_at: float | None
    leaves_at: float | None
    last_used_at: float | None
    error: str | None
    requests: int
    prompt_tokens: int
    completion_tokens: int
    load_seconds: float | None
    load_percent: int | None
    replicas: list[Replica]


class VariantStatus(msgspec.Struct):
    """A variant, of which `models` are those that may answer, and `error` is why none can."""

    id: str
    variant_of: str
    made: bool
    description: str
    models: list[str]
    error: str | None


class Stated(msgspec.Struct):
    """A model and its state now."""

    model: str
    state: str


class Receipts(msgspec.Struct):
    requests: list[Receipt]


class Activity(msgspec.Struct):
    """What changes from one second to the next."""

    at: float
    running: list[ANYTHING]
    loads: list[residency.Loading]
    downloads: list[ANYTHING]
    jobs: list[Job]
    ledger_rows: int
    refused: int
    versions: dict[str, str]


class Refusals(msgspec.Struct):
    refusals: list[Refusal]


class Jobs(msgspec.Struct):
    jobs: list[Job]


# -- routing -------------------------------------------------------------------------------------------------


class RoutedPrompts(msgspec.Struct):
    """One answer for each prompt, in their order; an `error` in place of one that could not be routed."""

    routes: list[ANYTHING]


ROUTED = (Routed, RoutedPrompts)


# -- Ollama --------------------------------------------------------------------------------------------------


class OllamaVersion(msgspec.Struct):
    version: str


class OllamaModel(msgspec.Struct):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: ANYTHING


class OllamaLoaded(OllamaModel):
    size_vram: int
    context_length: int
    expires_at: str


class OllamaModels(msgspec.Struct):
    models: list[OllamaModel]


class OllamaRunning(msgspec.Struct):
    models: list[OllamaLoaded]


class OllamaShown(msgspec.Struct):
    license: str
    modelfile: str
    parameters: str
    template: str
    details: ANYTHING
    model_info: ANYTHING
    capabilities: list[str]
    modified_at: str


class OllamaStep(msgspec.Struct):
    """A line of a pull: how far it is, or an `error`."""

    status: str | None = None
    digest: str | None = None
    total: int | None = None
    completed: int | None = None
    error: str | None = None
