"""`providers`: who sells answers in the cloud, whether a key for it is here, and what its models cost."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolecast.cli import output
from rolecast.cli.options import ConfigFile, Json

if TYPE_CHECKING:
    from rolecast.config.providers import Offer, Provider
    from rolecast.config.schema import Config

Name = Annotated[str | None, typer.Argument(metavar="[PROVIDER]", help="Show the models and prices of this one.")]


def providers(name: Name = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """List the providers that a model may name, and whether a key is there; or the models and prices of one."""
    from rolecast.cli import settings
    from rolecast.config import prices
    from rolecast.config.shape import meant

    chosen = settings.choose(config).config
    if name:
        found = prices.provider(name, chosen.providers)
        if found is None:
            known = prices.providers(chosen.providers)
            near = meant(name, known)
            output.fail(f"There is no provider '{name}'; {f'did you mean {near}' if near else ', '.join(known)}?")
        _show_one(chosen, *found, as_json=as_json)
        return
    listed = [_described(chosen, each, row) for each, row in prices.providers(chosen.providers).items()]
    if as_json:
        output.print_json({"providers": listed, "prices": prices.told()})
        return
    rows = output.table("Provider", "Title", "Key", "Models", "Configured here", right=("Models",), wrap=("Key",))
    for one in listed:
        there = f"{one['key']}, which is set" if one["key_present"] else f"not set: {', '.join(one['keys'])}"
        rows.add_row(
            output.plain(one["name"]),
            output.plain(one["title"]),
            output.plain(there if one["keys"] else "needs none"),
            output.plain(one["models"]),
            output.plain(", ".join(one["configured"])),
        )
    output.show(rows)
    output.say(f"\n{output.escape(prices.told())}.", whole=True)
    output.say("[dim]See the models of one with[/] rolecast providers openai")


def snippet(name: str) -> str:
    """A configuration that has one model of each size of that provider. Raises NotFound for a stranger."""
    from rolecast.config import prices
    from rolecast.errors import NotFound

    found = prices.provider(name)
    if found is None:
        raise NotFound(f"There is no provider '{name}'; use one of {', '.join(prices.providers())}.", param="provider")
    who, row = found
    sized = [level for level in prices.LEVELS if getattr(row, level)]
    first = next(iter(prices.offers(who)), "MODEL")
    wanted = sized or [first]
    ids = {level: f"{who}-{level}" if sized else who for level in wanted}
    models = "\n".join(f"  {ids[level]}: {{provider: {who}, remote_model: {level}}}" for level in wanted)
    variables = " or ".join(row.keys) or "no variable"
    roles = ", ".join(ids[level] for level in ("medium", "low", "high") if level in ids) or ids[wanted[0]]
    return (
        f"# {row.title or who}: its address, prices and abilities come from the price list "
        f"(`rolecast providers {who}`).\n"
        f"# The key is read from {variables}; `key: file:PATH` reads it from a file that nobody else may read.\n"
        f"models:\n{models}\n\n"
        "# To have a model of this machine answer first: add it to `models` (docs/start.md shows how), then here,\n"
        "# as the first one. The cloud answers when that cannot.\n"
        f"roles:\n  standard: [{roles}]\n\nrouting: {{default: standard}}\n"
    )


def _described(config: "Config", name: str, row: "Provider") -> dict[str, Any]:
    from rolecast.config import prices

    held = next((key for key in row.keys if os.environ.get(key)), None)
    return {
        "name": name,
        "title": row.title or name,
        "also": row.also,
        "backend": row.backend,
        "url": row.url,
        "keys": row.keys,
        "key": held,
        "key_present": held is not None,
        "models": len(prices.offers(name, config.providers)),
        "configured": [i for i, m in config.models.items() if m.provider and m.provider.lower() in (name, *row.also)],
    }


def _show_one(config: "Config", name: str, row: "Provider", *, as_json: bool) -> None:
    from rolecast.config import prices

    offers = prices.offers(name, config.providers)
    if as_json:
        rows = [{"model": model, **_told(offer)} for model, offer in offers.items()]
        output.print_json({**_described(config, name, row), "offers": rows, "prices": prices.told()})
        return
    right = ("Context", "Input", "Cached", "Written", "Output")
    sizes: dict[str, list[str]] = {}
    for level in prices.LEVELS:
        if model := getattr(row, level):
            sizes.setdefault(model, []).append(level)
    table = output.table("Model", *right, "Features", right=right, wrap=("Features",))
    for model, offer in offers.items():
        told = _told(offer)
        cells = [told[kind] for kind in ("context", "input", "cached", "written", "output")]
        features = ", ".join(each.replace("_", " ") for each in told["features"])
        table.add_row(output.plain(model), *(output.plain(cell) for cell in cells), output.plain(features))
    output.show(table)
    output.say(f"\n{output.escape(prices.told())}.", whole=True)
    for model, levels in sizes.items():
        output.say(f"remote_model: {' or '.join(levels)} [dim]is[/] {output.escape(model)}", whole=True)
    example = next(iter(sizes), next(iter(offers), "MODEL"))
    line = f"models: {{cloud: {{provider: {name}, remote_model: {example}}}}}"
    output.say(f"[dim]Use one in rolecast.yaml:[/] {output.escape(line)}", whole=True)


def _told(offer: "Offer") -> dict[str, Any]:
    """Prices as texts, so that no program reads a binary fraction; null = not known, or as `input`."""
    from rolecast.money import exact

    said = {name: getattr(offer, name) for name in ("input", "cached", "written", "output")}
    prices = {name: None if price is None else f"{exact(price).normalize():f}" for name, price in said.items()}
    return {"context": offer.context, "features": offer.features or [], **prices}
