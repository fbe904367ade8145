"""Fills in a model that names its provider: address, key, prices and what it can do, where the user gives none.

Works on the plain values of a file, before they are checked, so that nobody behind has to ask a list.
"""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from rolecast.config import prices
from rolecast.config.providers import Offer, Provider
from rolecast.config.secrets import PREFIX
from rolecast.config.shape import Problem, build


def fill(value: Any, env: Mapping[str, str] | None = None) -> None:
    """Complete each model of `value`, the plain values of a file, whose provider is known. Never fails.

    `env` is asked which variables are set; None = this process's.
    """
    models = value.get("models") if isinstance(value, dict) else None
    naming = [
        (model_id, model)
        for model_id, model in (models.items() if isinstance(models, dict) else ())
        if isinstance(model, dict) and isinstance(model.get("provider"), str) and model["provider"]
    ]
    if not naming:
        return
    own = _own(value.get("providers"))
    env = os.environ if env is None else env
    for model_id, model in naming:
        if (found := prices.provider(model["provider"], own)) is not None:
            _complete(str(model_id), model, found[0], found[1], own, env)


def _own(rows: Any) -> dict[str, Provider]:
    """The user's rows, as far as they can be read; what is wrong with them is told where all is checked."""
    faults: list[Problem] = []
    built = {name: build(Provider, row, (), faults) for name, row in (rows if isinstance(rows, dict) else {}).items()}
    return {str(name): row for name, row in built.items() if row is not None}


def _complete(
    model_id: str,
    model: dict[str, Any],
    name: str,
    row: Provider,
    own: Mapping[str, Provider],
    env: Mapping[str, str],
) -> None:
    ours = not model.get("url")
    if ours:
        model["url"] = row.url
    model.setdefault("backend", row.backend)
    if "key" not in model and row.keys and (ours or _same_host(model["url"], row.url)):
        model["key"] = PREFIX + next((each for each in row.keys if env.get(each)), row.keys[0])
    wanted = model.get("remote_model") or model_id
    if wanted in prices.LEVELS:
        wanted = _of_level(row, str(wanted), env)
        if wanted:
            model["remote_model"] = wanted
    offer = prices.offer(name, str(wanted), own)
    if offer is not None:
        _describe(model, offer)


def _describe(model: dict[str, Any], offer: Offer) -> None:
    if "price" not in model and offer.input is not None and offer.output is not None:
        told = {"input": offer.input, "output": offer.output, "cached": offer.cached, "written": offer.written}
        model["price"] = {kind: prices.cents(price) for kind, price in told.items() if price is not None}
    if offer.context:
        model.setdefault("context", offer.context)
    features = offer.features or []
    if features:
        able = ["vision"] if "vision" in features else []
        model.setdefault("capabilities", ["embeddings"] if "embeddings" in features else ["chat", *able])
        model.setdefault("tools", "function_calling" in features)


def _of_level(row: Provider, level: str, env: Mapping[str, str]) -> str:
    """The model of that size: what a variable such as OPENAI_MODEL_NAME_LOW says, else the list."""
    for key in row.keys:
        if named := env.get(f"{key.removesuffix('_API_KEY')}_MODEL_NAME_{level.upper()}", "").strip():
            return named
    return str(getattr(row, level))


def _same_host(url: Any, other: str) -> bool:
    """Whether both lead to the same server over TLS: a key of one is sent to no other."""
    try:
        one, two = urlsplit(str(url)), urlsplit(other)
        return one.scheme == "https" == two.scheme and one.netloc.lower() == two.netloc.lower()
    except ValueError:
        return False
