"""The ready configurations that come with the package: the embedded default and one per known system."""

from typing import TYPE_CHECKING, Any

from rolecast.errors import NotFound

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


FAKE = "fake"


def names() -> list[str]:
    """The presets there are, sorted; `default` is the one used when there is no file."""
    return sorted(_files())


def text(name: str) -> str:
    """The YAML of a preset, comments included. Raises NotFound naming the ones that exist."""
    files = _files()
    if name not in files:
        raise NotFound(f"There is no preset '{name}'; use one of {', '.join(sorted(files))}.", param="preset")
    return files[name].read_text(encoding="utf-8")


def model(model_id: str) -> dict[str, Any] | None:
    """The settings of a model of the embedded default, by its id and without its other names; None = not there.

    `fake` is one too: it needs no weights and no engine, and says the same every time.
    """
    from rolecast.config.document import parse

    if model_id == FAKE:
        return {"backend": "fake", "parallel": 64}
    models = parse(text("default"), name="default.yaml").value["models"]
    settings = models.get(model_id)
    return None if settings is None else {name: value for name, value in settings.items() if name != "aliases"}


def _files() -> "dict[str, Traversable]":
    from importlib.resources import files

    folder = files("rolecast.data") / "presets"
    return {item.name.removesuffix(".yaml"): item for item in folder.iterdir() if item.name.endswith(".yaml")}
