"""What is wrong, or probably not meant, with providers and the models that name one."""

from collections.abc import Iterator

from rolecast.config import prices
from rolecast.config.schema import Config, Model
from rolecast.config.shape import Problem, meant


def problems(config: Config) -> Iterator[Problem]:
    """Providers that nobody knows, where nothing else says where their server is."""
    for name, row in config.providers.items():
        trail = ("providers", name)
        if not (row.url or prices.provider(name)):
            yield trail, "'url' is missing; give its base URL, such as https://api.example.com/v1"
        for priced, offer in row.models.items():
            if (offer.input is None) != (offer.output is None):
                lacks = "output" if offer.output is None else "input"
                yield (
                    (*trail, "models", priced),
                    f"'{lacks}' is missing; a price has both, in dollars per million tokens",
                )
    for i, listener in enumerate(config.server.listeners):
        if listener.surface == "adapter" and listener.model is None:
            yield ("server", "listeners", i), "'model' is missing; an adapter is the door of one model"
    for model_id, model in config.models.items():
        if model.provider and not model.url and prices.provider(model.provider, config.providers) is None:
            yield ("models", model_id, "provider"), _unknown(config, model.provider)


def warnings(config: Config) -> Iterator[str]:
    """Models that are billed by somebody, as it seems, at a price that nobody knows."""
    for model_id, model in config.models.items():
        place = f"models.{model_id}"
        if not (model.provider and model.enabled):
            continue
        if prices.provider(model.provider, config.providers) is None:
            yield f"{place}.provider: {_unknown(config, model.provider)}"
        elif model.price is None:
            yield f"{place}.price: {_unpriced(config, model_id, model)}"


def _unknown(config: Config, name: str) -> str:
    known = prices.providers(config.providers)
    near = meant(name, [*known, *(other for row in known.values() for other in row.also)])
    hint = f"did you mean '{near}'?" if near else f"known are {', '.join(known)}."
    return f"there is no provider '{name}'; {hint} Or give its `url` here, or a row under `providers`"


def _unpriced(config: Config, model_id: str, model: Model) -> str:
    wanted = model.remote_model or model_id
    near = meant(wanted, prices.offers(model.provider, config.providers), 0.7)
    hint = f"; did you mean '{near}'?" if near else "."
    return (
        f"the price list has no '{wanted}' of {model.provider}{hint} "
        "Requests to it are counted without costs until you give its price"
    )
