"""The commands about models and their weights: `models`, `rm`, `load`, `unload`, `pin`, `unpin`."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rolecast.cli import complete, output
from rolecast.cli.options import ConfigFile, Json, Key, Url

if TYPE_CHECKING:
    from rolecast.cli.gateway import ModelState, ModelStatus
    from rolecast.config.schema import Config

Name = Annotated[str, typer.Argument(metavar="MODEL", help="Model id or alias.", autocompletion=complete.models)]


def models(
    config: ConfigFile = None,
    as_json: Json = False,
    key: Key = "",
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Show what each takes in memory, before it is loaded.")
    ] = False,
) -> None:
    """List the configured models, their roles and whether their weights are here; and the variants of them."""
    from rolecast.cli import estimates, settings

    chosen = settings.here(config)
    running = _running(key)
    if estimate:
        estimates.show(chosen.config, {one.id: one.rss_bytes for one in running}, as_json=as_json)
        return
    states = {one.id: one.state for one in running}
    listed = [_describe(chosen.config, model_id, states) for model_id in chosen.config.models]
    varied = _variants(chosen.config)
    if as_json:
        keys = dict.fromkeys(
            each for one in (*listed, *varied) for each in one
        )  # the same in all rows: scripts rely on it
        output.print_json([{each: one.get(each) for each in keys} for one in (*listed, *varied)])
        return
    flexible = ("Roles", "Aliases", "Source")
    rows = output.table("Model", "Roles", "Aliases", "Weights", "State", "Source", right=("Weights",), wrap=flexible)
    for one in listed:
        rows.add_row(
            output.plain(one["id"]),
            output.plain(", ".join(one["roles"])),
            output.plain(", ".join(one["aliases"])),
            output.state("absent") if one["present"] is False else output.plain(output.size(one["bytes"])),
            output.state(one["state"]),
            output.plain(one["source"]),
        )
    output.show(rows)
    _show_variants(varied)
    missing = {one["id"]: one["absence"] for one in listed if one["present"] is False}
    for model_id, why in missing.items():
        if "not downloaded yet" not in why:
            output.say(f"[dim]{output.escape(model_id)} is absent:[/] {output.escape(why)}")
    if plain := [model_id for model_id, why in missing.items() if "rolecast pull" in why]:
        where = f" --config {shlex.quote(str(config))}" if config else ""
        output.say(f"\n[dim]Bring weights with[/] rolecast pull {output.escape(plain[0] + where)}")


def _states(key: str) -> dict[str, str]:
    """State by model id of the gateway on this machine."""
    return {one.id: one.state for one in _running(key)}


def _running(key: str) -> list["ModelStatus"]:
    """The models of the gateway on this machine; none when none runs or it wants another key."""
    from rolecast import statefile
    from rolecast.cli.gateway import Gateway
    from rolecast.errors import RolecastError

    state = statefile.running()
    if state is None:
        return []
    try:
        with Gateway(state.url, key) as gateway:
            return gateway.status().models
    except RolecastError:
        return []


def _describe(config: "Config", model_id: str, states: dict[str, str]) -> dict[str, Any]:
    from rolecast.cli import weights
    from rolecast.config.names import members

    model = config.models[model_id]
    path = weights.find(config, model)
    return {
        "id": model_id,
        "roles": [role for role, ids in config.roles.items() if model_id in members(ids)],
        "aliases": model.aliases,
        "backend": model.backend,
        "source": model.source or model.url,
        "present": path is not None if model.source else None,
        "absence": weights.why_absent(config, model) if model.source and path is None else None,
        "path": str(path) if path else None,
        "bytes": weights.size_of(path) if path else None,
        "enabled": model.enabled,
        "state": states.get(model_id, "" if model.enabled else "disabled"),
    }


def _variants(config: "Config") -> list[dict[str, Any]]:
    """The variants, those of the configuration and those that clients made."""
    from rolecast.config import variants
    from rolecast.sources import here

    joined = here.made_variants(config).joined(config)
    unusable = variants.unusable(joined)
    return [
        {
            "id": name,
            "roles": [],
            "aliases": [],
            "variant_of": variant.model,
            "made": isinstance(variant, variants.Made),
            "description": variant.description,
            "unusable": unusable.get(name),
        }
        for name, variant in joined.variants.items()
    ]


def _show_variants(varied: list[dict[str, Any]]) -> None:
    if not varied:
        return
    rows = output.table("Variant", "Of", "From", "About", wrap=("About",))
    for one in varied:
        about = f"cannot be used: {one['unusable']}" if one["unusable"] else one["description"]
        origin = "a client" if one["made"] else "the configuration"
        rows.add_row(*map(output.plain, (one["id"], one["variant_of"], origin, about)))
    output.say("")
    output.show(rows)


def rm(name: Name, config: ConfigFile = None, key: Key = "") -> None:
    """Delete the downloaded weights of a model; its configuration stays."""
    from rolecast.cli import settings, weights
    from rolecast.sources import remove

    chosen = settings.here(config)
    if varied := next((one for one in _variants(chosen.config) if one["id"] == name), None):
        how = (
            "`DELETE /api/delete` (`ollama rm`)" if varied["made"] else "taking it out of `variants:` in rolecast.yaml"
        )
        output.fail(f"{name} is a variant of {varied['variant_of']} and has no weights of its own; it goes by {how}.")
    source = weights.source_of(chosen.config, name)
    states = _states(key)
    there = settings.of_gateway().config.models if states else {}  # what runs here may be of another file
    shared = [other for other, model in (chosen.config.models | there).items() if model.source == source.text]
    if busy := next((model for model in shared if states.get(model) in ("ready", "loading", "asleep")), None):
        output.fail(f"{busy} is loaded from these weights; run `rolecast unload {busy}` first.")
    freed = remove(weights.store(chosen.config), source)
    output.say(f"Removed the weights of [bold]{output.escape(name)}[/]: {output.size(freed)} are free again.")
    if others := [model for model in shared if model not in _ids(chosen.config, name)]:
        output.warn(f"{', '.join(others)} used the same weights.")


def load(
    name: Name,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="A new process for one that runs, once it has ended its requests.")
    ] = False,
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Load a model into memory now, and wait until it is ready."""
    from rolecast.cli import loads
    from rolecast.cli.gateway import connect

    with connect(url, key) as gateway, output.waiting(f"Loading {name}") as tell, loads.watched(gateway, name, tell):
        now = gateway.does(name, "reload") if fresh else gateway.load(name)
    _report(name, now, as_json=as_json)


def unload(
    name: Name,
    now: Annotated[bool, typer.Option("--now", help="Cut off the requests that run on it.")] = False,
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Take a model out of memory once the requests that run on it have ended; it takes no other."""
    from rolecast.cli.gateway import connect

    what = f"Unloading {name}" + ("" if now else ", once its requests have ended")
    with connect(url, key) as gateway, output.waiting(what):
        left = gateway.does(name, "unload", force=str(now).lower())
    _report(name, left, as_json=as_json)


def pin(name: Name, as_json: Json = False, url: Url = "", key: Key = "") -> None:
    """Load a model and keep it in memory, until `unpin`, an edit of its `pinned`, or the end of the gateway."""
    from rolecast.cli import loads
    from rolecast.cli.gateway import connect

    with connect(url, key) as gateway, output.waiting(f"Loading {name}") as tell, loads.watched(gateway, name, tell):
        now = gateway.does(name, "pin")
    _report(name, now, as_json=as_json, more=" and stays")


def unpin(name: Name, as_json: Json = False, url: Url = "", key: Key = "") -> None:
    """Let a pinned model leave memory when it is idle."""
    from rolecast.cli.gateway import connect

    with connect(url, key) as gateway:
        now = gateway.does(name, "unpin")
    _report(name, now, as_json=as_json, more=" and leaves when it is idle" if now.state == "ready" else "")


def _report(name: str, now: "ModelState", *, as_json: bool, more: str = "") -> None:
    """How it fares: for people the model, of which `name` may be a role; for programs the name that they gave."""
    if as_json:
        output.print_json({"model": name, "state": now.state})
    else:
        word = {"cold": "unloaded"}.get(now.state, now.state)
        output.say(f"[bold]{output.escape(now.id)}[/] is {output.escape(word)}{more}.")


def _ids(config: "Config", name: str) -> tuple[str, ...]:
    """The models that an id, an alias or a role stands for."""
    from rolecast.config import names

    known = names.table(config).get(name)
    return known.models if known else ()
