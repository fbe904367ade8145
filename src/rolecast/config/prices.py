"""The price list: providers of `data/providers.yaml` and models of `data/prices.csv`, under the user's own rows.

Read when somebody asks, and of the models only those of the provider that is asked for. Knows no model of the
configuration; `config/filled.py` fills those in.
"""

import csv
import re
from collections.abc import Mapping
from functools import cache

import msgspec

from rolecast.config.providers import Offer, Provider
from rolecast.money import Rates, exact, per_token

LEVELS = ("low", "medium", "high")
"""Words for a model of a provider by its size."""
_DATE = re.compile(
    r"(?:[-@](?:\d{8}|\d{4}-\d\d-\d\d|\d\d-\d\d(?:\d\d|-\d{4})?|\d{3,4}|latest|preview|exp|experimental))+\Z"
)
_WAY = re.compile(r":(?:nitro|floor|exacto|online|beta|extended|thinking)\Z")
"""How OpenRouter chooses who serves a model, which changes no price that is listed."""
_FREE = ":free"
_NONE: Mapping[str, Provider] = {}
Listed = Mapping[str, tuple[Offer, tuple[str, ...]]]
"""The models of a provider, each with its other names."""


def providers(own: Mapping[str, Provider] = _NONE) -> dict[str, Provider]:
    """All providers by name; a row of the user's replaces ours, what it leaves out stays."""
    known = dict(_listed())
    for name, row in own.items():
        known[name] = _over(known[name], row) if name in known else row
    return known


def provider(name: str, own: Mapping[str, Provider] = _NONE) -> tuple[str, Provider] | None:
    """The provider of that name, or of one that it has besides, and the name in the list; None = not known."""
    known = providers(own)
    wanted = name.lower()
    if wanted in known:
        return wanted, known[wanted]
    if name in known:
        return name, known[name]
    return next(((i, row) for i, row in known.items() if wanted in row.also), None)


def offers(name: str, own: Mapping[str, Provider] = _NONE) -> dict[str, Offer]:
    """All models of that provider with a price, by the name that it knows them by; empty for nobody."""
    found = provider(name, own)
    if found is None:
        return {}
    listed = {model: _described(model, offer, found[1]) for model, (offer, _) in _models(found[0]).items()}
    mine = {model: _described(model, offer, found[1]) for model, offer in found[1].models.items()}
    return {**listed, **mine}


def offer(name: str, model: str, own: Mapping[str, Provider] = _NONE) -> Offer | None:
    """What is known of a model of that provider, also by a dated name; None for a provider that nobody knows."""
    found = provider(name, own)
    if found is None:
        return None
    listed, row = _models(found[0]), found[1]
    for wanted in _spellings(model):
        if wanted in row.models:
            return _described(model, row.models[wanted], row)
        if wanted in listed:
            return _described(wanted, listed[wanted][0], row)
    if model.endswith(_FREE):
        priced = offer(name, model.removesuffix(_FREE), own) or Offer()
        return msgspec.structs.replace(priced, input=0.0, output=0.0, cached=None, written=None)
    named, priced = _find(listed, model) or (model, Offer())
    return _described(named, priced, row)


def _spellings(model: str) -> list[str]:
    """The name, and what it is without what a list does not have: Gemini's `models/`, a date, a way to be served."""
    plain = model.removeprefix("models/")
    served = _WAY.sub("", plain)
    return list(dict.fromkeys((model, plain, served, _DATE.sub("", served))))


def _find(listed: Listed, model: str) -> tuple[str, Offer] | None:
    """The listed model of that name, of one that it has besides, or without its date."""
    for wanted in _spellings(model):
        if wanted in listed:
            return wanted, listed[wanted][0]
        for named, (priced, also) in listed.items():
            if wanted in also:
                return named, priced
    model = model.removeprefix("models/")
    begins = [(n, i, o) for i, (o, also) in listed.items() for n in also if n[-1] == "*" and model.startswith(n[:-1])]
    if not begins:
        return None
    _, named, priced = max(begins, key=lambda each: len(each[0]))
    return named, priced


def rates_of(name: str, own: Mapping[str, Provider] = _NONE) -> Rates | None:
    """What a token of a model costs, by `PROVIDER/MODEL`, such as `openai/gpt-4o-mini`; None = nobody knows."""
    who, _, model = name.partition("/")
    if not model:
        return None
    if (
        who not in own and not model.endswith(_FREE) and (listed := _models(who))
    ):  # nothing but the list is needed, which is read in no time
        found = _find(listed, model)
        return None if found is None else rates(found[1])
    described = offer(who, model, own)
    return None if described is None else rates(described)


def rates(found: Offer) -> Rates | None:
    """The prices of an offer in picodollars per token; None where there are none."""
    if found.input is None or found.output is None:
        return None
    plain = _per_token(found.input)
    cached = plain if found.cached is None else _per_token(found.cached)
    written = plain if found.written is None else _per_token(found.written)
    return Rates(plain, _per_token(found.output), cached, written)


def cents(dollars: float) -> float:
    """Dollars as cents, without a binary fraction on the way."""
    return float(exact(dollars) * 100)


@cache
def told() -> str:
    """Of when the price list is, and who made it: its first line."""
    return _text("prices.csv").partition("\n")[0].removeprefix("# ")


def _per_token(dollars: float) -> int:
    return per_token(cents(dollars))


def _described(model: str, found: Offer, row: Provider) -> Offer:
    """The offer with its features, from the longest beginning that fits."""
    if found.features is not None:
        return found
    fits = [start for start in row.features if model.startswith(start)]
    features = row.features[max(fits, key=len)] if fits else []
    return msgspec.structs.replace(found, features=features)


def _over(ours: Provider, own: Provider) -> Provider:
    """The user's row over ours."""
    default = Provider()
    said = {
        name: value for name in Provider.__struct_fields__ if (value := getattr(own, name)) != getattr(default, name)
    }
    if "models" in said:
        said["models"] = {**ours.models, **own.models}
    return msgspec.structs.replace(ours, **said)


@cache
def _listed() -> Mapping[str, Provider]:
    from rolecast.config.document import parse

    rows = parse(_text("providers.yaml"), name="providers.yaml").value
    return msgspec.convert(rows, dict[str, Provider])


@cache
def _models(name: str) -> Listed:
    """The listed models of a provider, each with its other names."""
    lines = [line for line in _text("prices.csv").splitlines() if line.startswith(f"{name},")]
    found = {}
    for _, model, also, context, given, cached, written, output in csv.reader(lines):
        found[model] = (
            Offer(
                context=int(context) if context else None,
                input=_number(given),
                output=_number(output),
                cached=_number(cached),
                written=_number(written),
            ),
            tuple(also.split()),
        )
    return found


def _number(text: str) -> float | None:
    return float(text) if text else None


def _text(name: str) -> str:
    from importlib.resources import files

    return (files("rolecast.data") / name).read_text(encoding="utf-8")
