"""What is on this machine for a configuration: where a model's weights lie, and who stands in for absent ones."""

from pathlib import Path

from rolecast import sources, weights
from rolecast.config import names, paths
from rolecast.config.made import MadeVariants
from rolecast.config.schema import Config, Model
from rolecast.sources.uploads import Uploads
from rolecast.values import KINDS
from rolecast.weights import Finder, gguf


def weights_finder(config: Config) -> Finder:
    """Finds a model's weights on disk, remembering where they are as long as they stay there."""
    store = paths.models(config.storage.models)
    known: dict[tuple[str, str], Path] = {}

    def find(model: Model) -> Path | None:
        wanted = (model.source, model.sha256)
        path = known.get(wanted)
        if path is None or weights.missing_part(path):
            path = sources.locate(sources.parse(*wanted), store)
            if path is not None:
                known[wanted] = path
                gguf.known(path)  # read now, so that nobody waits for it later
        return path

    return find


def uploads(config: Config) -> Uploads:
    """The weights that clients brought, in the folder of weights."""
    return Uploads(paths.models(config.storage.models) / "uploads")


def made_variants(config: Config) -> MadeVariants:
    """The variants that clients made."""
    return MadeVariants(paths.variants(), uploads(config).model)


def stand_ins(config: Config, find: Finder | None = None) -> dict[str, str]:
    """Which configured models are answered by a stand-in: those whose weights are absent."""
    if not config.stand_in:
        return {}
    find = find or weights_finder(config)
    helper = names.table(config)[config.stand_in].models[0]
    replaced = {}
    for model_id, model in config.models.items():
        kinds = set(model.capabilities) & set(KINDS)
        # Vectors and scores of another model mean something else: nobody stands in for one that embeds or ranks.
        capable = not kinds & {"embeddings", "rerank"} and kinds <= set(config.models[helper].capabilities)
        if model_id != helper and model.enabled and capable and model.source and weights.found(find, model) is None:
            replaced[model_id] = helper
    return replaced
