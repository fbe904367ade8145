"""The section `providers`: servers of models in the cloud, what they offer, and what a token costs there."""

from rolecast.config.units import Amount, Count, Section


class Offer(Section, frozen=True):
    """A model of a provider. Prices in dollars per million tokens; without `input` and `output` nobody knows them."""

    context: Count | None = None
    """Tokens that it holds."""
    features: list[str] | None = None
    """What it can do: `function_calling`, `streaming`, `vision`, `embeddings`; empty = as `features` of its provider
    says."""
    input: Amount | None = None
    """Of prompts."""
    output: Amount | None = None
    """Of answers."""
    cached: Amount | None = None
    """Of prompts that the server had kept; empty = as `input`."""
    written: Amount | None = None
    """Of prompts that the server keeps from now on; empty = as `input`."""


class Provider(Section, frozen=True):
    """A server that many know by name, which a model names with `provider`."""

    title: str = ""
    """How people call it."""
    also: list[str] = []
    """More names that models may use."""
    backend: str = "openai"
    """What it speaks: `openai` or `anthropic`."""
    url: str = ""
    """Its base URL."""
    keys: list[str] = []
    """Variables that may hold its key; the first that is set is used."""
    low: str = ""
    """The model that `remote_model: low` means, if no variable such as OPENAI_MODEL_NAME_LOW names another one."""
    medium: str = ""
    """The same for `medium`."""
    high: str = ""
    """The same for `high`."""
    features: dict[str, list[str]] = {}
    """What its models can do, by the beginnings of their names; the longest that fits counts."""
    models: dict[str, Offer] = {}
    """Models that the price list lacks, or has otherwise."""
