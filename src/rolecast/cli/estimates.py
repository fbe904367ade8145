"""What each configured model takes in memory before it is loaded, as a table or JSON: `rolecast models --estimate`.

Knows how to group and show the parts. What they are is the backends' to say.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rolecast.cli import output

if TYPE_CHECKING:
    from rolecast.config.schema import Config
    from rolecast.footprint import Estimate, Footprint

GROUPS = {
    "Weights": ("weights", "second copy", "projector", "adapters", "draft"),
    "Cache": ("cache", "states"),
    "Buffers": ("buffers", "output", "projector's buffers"),
    "Kept prompts": ("prompts", "checkpoints", "guesses"),
}
"""The columns of the table and the parts that each adds up; the engine itself is in the sums alone."""


def show(config: "Config", resident: Mapping[str, int | None], *, as_json: bool) -> None:
    """The estimate of every model that is in use; `resident` is what those that run hold now, in bytes."""
    found = {model_id: _estimate(config, model_id) for model_id, model in config.models.items() if model.enabled}
    if as_json:
        output.print_json([_described(model_id, one, resident) for model_id, one in found.items()])
        return
    sums = ("Loaded", "At most", "Now")
    rows = output.table("Model", *GROUPS, *sums, right=(*GROUPS, *sums))
    for model_id, one in found.items():
        rows.add_row(
            output.plain(model_id), *map(output.plain, _cells(one)), output.plain(_size(resident.get(model_id)))
        )
    output.show(rows)
    if unknown := [model_id for model_id, one in found.items() if one is None and config.models[model_id].source]:
        output.say(
            f"[dim]Not known for {output.escape(', '.join(unknown))}: the weights are not here, or tell nothing. "
            "`memory:` of a model says it in their place.[/]"
        )


def _estimate(config: "Config", model_id: str) -> "Estimate | None":
    from rolecast import backends
    from rolecast.cli import weights
    from rolecast.fleet.sizes import Sizes

    model = config.models[model_id]
    return Sizes(lambda each: weights.find(config, each)).of(model_id, model, backends.get(model.backend))


def _cells(one: "Estimate | None") -> list[str]:
    if one is None:
        return [""] * (len(GROUPS) + 2)
    parts = dict(one.parts)
    grouped = [sum(parts.get(name, 0) for name in names) for names in GROUPS.values()]
    return [*(_size(count or None) for count in grouped), _places(one.loaded), _places(one.most)]


def _places(place: "Footprint") -> str:
    """RAM, and what is on GPUs: `1.2 GB + 4.6 GB GPU`."""
    on_gpus = sum(place.gpus)
    return f"{_size(place.ram)} + {_size(on_gpus)} GPU" if on_gpus else _size(place.ram)


def _size(count: int | None) -> str:
    return output.size(count)


def _described(model_id: str, one: "Estimate | None", resident: Mapping[str, int | None]) -> dict[str, Any]:
    """The same keys in all rows: scripts rely on it."""
    return {
        "id": model_id,
        "loaded_bytes": one and one.loaded.ram + sum(one.loaded.gpus),
        "most_bytes": one and one.most.ram + sum(one.most.gpus),
        "gpu_bytes": list(one.most.gpus) if one else None,
        "parts": dict(one.parts) if one else None,
        "rss_bytes": resident.get(model_id),
    }
