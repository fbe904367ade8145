"""The folder of a model as Avatar SLM has it: its card, which of its weights are loaded, and where its base is.

models/john_avatar/config.json             the card: framework, person_name, training_examples, max_length
models/john_avatar/dataset/                what was learnt: train.jsonl, valid.jsonl, test.jsonl, report.json
models/john_avatar/best_model/             the weights with the best held-out loss: those that are loaded
models/john_avatar/final_model/            the last ones
models/john_avatar/checkpoint_N/           to go on from
models/john_avatar/training_history.json   a row for each epoch
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from rolecast.avatars import places
from rolecast.errors import UNREADABLE, Invalid
from rolecast.jobs.job import Progress, Report

if TYPE_CHECKING:
    from rolecast.avatars.export.base import Base

CARD = "config.json"
SAMPLES = "samples.json"
OWN_BASE = "base"
"""The folder of a base that belongs to one model alone, within its own."""
WEIGHTS = ("adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json")
_MODELS = ("best_model", "final_model")
_DIGEST = re.compile(r"[0-9a-f]{16}")
_MOST = 1 << 20
_MOST_SAMPLES = 1 << 26


class Card(msgspec.Struct, frozen=True):
    """What is known of a model without loading it. Words that are not ours are passed over."""

    framework: str = ""
    """`pytorch`, `mlx`, `fallback`; '' = the file is another program's."""
    person_name: str = ""
    training_examples: int = 0
    max_length: int = 512
    """Tokens of an example, when it was trained."""
    method: str = ""
    base: str = ""


class Found(msgspec.Struct, frozen=True):
    """What is loaded for a path."""

    kind: Literal["folder", "gguf", "samples"]
    path: Path
    card: Card


def card(folder: Path) -> Card:
    """The card of a folder; blank where there is none, or it cannot be read."""
    said = _json(folder / CARD, _MOST)
    if not isinstance(said, dict) or "framework" not in said:
        return Card()
    known = {key: value for key, value in said.items() if value is not None}
    try:
        return msgspec.convert(known, Card, strict=False)
    except msgspec.ValidationError:
        return Card(framework=str(said["framework"]))


def find(path: Path) -> Found:
    """What to load for a model's folder, the folder of its weights, or a GGUF. Raises Invalid for anything else."""
    if path.is_file() and path.suffix.lower() == ".gguf":
        return Found("gguf", path, card(path.parent))
    if not path.is_dir():
        near = _near(path)
        raise Invalid(f"There is no model at {path}{near}; train one first (SLMTrainer.train).", param="model_path")
    about = card(path)
    if about.framework == "fallback":
        return Found("samples", path / SAMPLES, about)
    for folder in (path, *(path / name for name in _MODELS)):
        if any((folder / name).is_file() for name in WEIGHTS):
            return Found("folder", folder, about if about.framework else _of_weights(folder))
    if (path / SAMPLES).is_file():
        return Found("samples", path / SAMPLES, about)
    raise Invalid(
        f"{path} holds no weights (best_model/ or final_model/), and no {SAMPLES}; its training may not have ended: "
        "train again, and it goes on.",
        param="model_path",
    )


def _of_weights(folder: Path) -> Card:
    """What a folder of weights says of its training, or the card of the model that it belongs to."""
    if (above := card(folder.parent)).framework:
        return above
    said = _json(folder / "training_config.json", _MOST)
    person = said.get("person") if isinstance(said, dict) else None
    return Card(person_name=person if isinstance(person, str) else "")


def _near(path: Path) -> str:
    known = [each.name for each in scan(path.parent)]
    return f" (there: {', '.join(known[:10])})" if known else ""


def meant(path: Path) -> Path:
    """The same path, or the only model beside it whose name begins alike: `john_avatar` for `john_doe_avatar`."""
    if path.exists():
        return path
    first = path.name.removesuffix("_avatar")
    alike = [each for each in scan(path.parent) if first and each.name.startswith(f"{first}_")]
    return alike[0] if len(alike) == 1 else path


def scan(models: Path) -> list[Path]:
    """Every folder below that has a config.json, by name."""
    if not models.is_dir():
        return []
    return sorted(each for each in models.iterdir() if each.is_dir() and (each / CARD).is_file())


def samples(path: Path) -> list[str]:
    """The messages that a model without weights answers with. Raises Invalid."""
    said = _json(path, _MOST_SAMPLES)
    texts = [each.strip() for each in said if isinstance(each, str)] if isinstance(said, list) else []
    if not (found := [each for each in texts if each]):
        raise Invalid(f"{path} must be a JSON list of messages, with one at least.", param="model_path")
    return found


def _json(path: Path, most: int) -> Any:
    try:
        if path.stat().st_size > most:
            return None
        return msgspec.json.decode(path.read_bytes())
    except (OSError, *UNREADABLE):
        return None


# -- bases --------------------------------------------------------------------------------------------------------


def base(name: str, report: Report) -> "Base":
    """A base by the id of a model of the configuration or by a GGUF file, brought if it is not here.

    '' = `avatars.base` of the configuration. Raises NotFound, SourceError, Invalid.
    """
    from rolecast import sources
    from rolecast.avatars import asked
    from rolecast.avatars.export.base import prepared
    from rolecast.config import paths
    from rolecast.config.load import load

    config = load()
    label, model = asked.base_model(name, config)
    if model is None:
        return prepared(Path(label), report)
    source, store = sources.parse(model.source, model.sha256), paths.models(config.storage.models)
    weights = sources.locate(source, store)
    if weights is None:
        weights = sources.pull(source, store, lambda now: report(Progress(now.step, now.done, now.total, note=label)))
    return prepared(weights, report)


def base_of(weights: Path) -> "Base | None":
    """The base of a LoRA's folder; None for a model by itself. Only named folders are looked into, never a path that
    the model's files tell. Raises Invalid when it is not here."""
    from rolecast.avatars.export.base import Base, read

    if not (weights / WEIGHTS[0]).is_file():
        return None
    said = _json(weights / "base.json", _MOST)
    digest = said.get("digest") if isinstance(said, dict) else None
    if digest == OWN_BASE:
        folder = weights.parent / OWN_BASE
        return Base(digest=OWN_BASE, name="", license="", parameters=0, context=0, folder=folder)
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise Invalid(f"{weights} does not say over which base it was trained (base.json).", param="model_path")
    folder = places.bases() / digest
    if not folder.is_dir():
        name = str(said.get("name") or "")
        made = base(name, lambda progress: None)
        if made.digest != digest:
            raise Invalid(
                f"The base of {weights} is not here ({digest}), and {name or 'the base of the configuration'} is "
                "another one; set `avatars.base` to the model it was trained over.",
                param="model_path",
            )
        return made
    return read(folder)
