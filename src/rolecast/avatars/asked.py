"""What is asked for an avatar: settings from files and options, its base, and one question to see it answer.

For the command line, the pages and the documented Python alike. Avatar SLM's `config.json` is read as it is.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rolecast.avatars import example, prompt
from rolecast.avatars.files import write_private
from rolecast.avatars.places import Place
from rolecast.avatars.settings import AvatarSettings
from rolecast.config import paths
from rolecast.config.schema import Config, Model
from rolecast.errors import Invalid, NotFound

SETTINGS = "settings.json"
ITS_WORDS: Mapping[str, tuple[str, str] | None] = {
    "neo4j.uri": ("extraction", "neo4j"),
    "neo4j.username": None,  # the variables NEO4J_USERNAME and NEO4J_PASSWORD: nothing of a login is kept
    "neo4j.password": None,
    "neo4j.database": ("extraction", "database"),
    "extraction.output_dir": None,
    "extraction.include_metadata": ("extraction", "metadata"),
    "extraction.max_messages": ("extraction", "most"),
    "extraction.date_range.start": ("extraction", "since"),
    "extraction.date_range.end": ("extraction", "until"),
    "training.model_name": None,
    "training.output_dir": None,
    "training.use_mlx": None,
    "training.epochs": ("training", "epochs"),
    "training.num_epochs": ("training", "epochs"),
    "training.batch_size": ("training", "batch"),
    "training.learning_rate": ("training", "learning_rate"),
    "training.warmup_steps": ("training", "warmup_steps"),
    "training.gradient_accumulation": ("training", "accumulation"),
    "training.gradient_accumulation_steps": ("training", "accumulation"),
    "training.gradient_checkpointing": ("training", "checkpointing"),
    "training.max_sequence_length": ("training", "sequence"),
}
"""Avatar SLM's settings in ours; None = it is taken from elsewhere, or means nothing here."""


def of_config_json(said: Any) -> dict[str, dict[str, Any]]:
    """The settings of an Avatar SLM `config.json`, by section. Raises Invalid for what is none."""
    if not isinstance(said, dict):
        raise Invalid("This is no config.json of Avatar SLM: an object with sections is expected.")
    found: dict[str, dict[str, Any]] = {}
    for place, value in _leaves(said, ""):
        meant = ITS_WORDS.get(place)
        if meant is not None and value is not None:
            found.setdefault(meant[0], {})[meant[1]] = value
    mixed = said.get("training", {}).get("use_mixed_precision") if isinstance(said.get("training"), dict) else None
    if mixed is not None:
        found.setdefault("training", {})["precision"] = "auto" if mixed else "fp32"
    return found


def _leaves(said: dict[str, Any], place: str) -> Any:
    for key, value in said.items():
        name = f"{place}.{key}" if place else str(key)
        if isinstance(value, dict):
            yield from _leaves(value, name)
        else:
            yield name, value


def settings(
    place: Place, file: Path | None = None, over: Mapping[str, Mapping[str, Any]] | None = None
) -> AvatarSettings:
    """What earlier steps of this avatar were told, under a file, under single settings; kept for later steps.

    Raises Invalid with the setting that is wrong.
    """
    kept = place.work / SETTINGS
    try:
        merged: dict[str, Any] = json.loads(kept.read_bytes())
    except (OSError, ValueError):
        merged = {}
    if file is not None:
        _merge(merged, of_config_json(_read(file)))
    _merge(merged, over or {})
    try:
        found = msgspec.convert(merged, AvatarSettings, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"A setting is wrong: {error}.") from error
    if file is None and not over:
        return found
    write_private(kept, msgspec.json.encode(merged))
    return found


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise Invalid(f"{file} cannot be read ({(error.strerror or str(error)).lower()}).") from error
    except ValueError as error:
        raise Invalid(f"{file} is no JSON: {error}.") from error


def _merge(into: dict[str, Any], said: Mapping[str, Any]) -> None:
    for key, value in said.items():
        if isinstance(value, Mapping):
            below = into.get(key)
            if not isinstance(below, dict):
                below = into[key] = {}
            _merge(below, value)
        else:
            into[key] = value


def base_model(asked: str, config: Config) -> tuple[str, Model | None]:
    """The base as a path (and None), or as a model whose weights are looked for. Raises NotFound."""
    name = asked or config.avatars.base
    path = paths.expanded(name)
    if path is not None and path.suffix.lower() == ".gguf" and path.is_file():
        return str(path.absolute()), None
    if (model := config.models.get(name)) is not None and model.source:
        return name, model
    if (model := _preset(name)) is not None:
        return name, model
    raise NotFound(
        f"{name[:200]!r} is neither a GGUF file nor a model with weights; name one of {', '.join(_named(config))}.",
        param="base",
    )


def _named(config: Config) -> list[str]:
    return [model_id for model_id, model in config.models.items() if model.source][:10]


def _preset(name: str) -> Model | None:
    """The model of that id in the preset `default`."""
    from rolecast import backends
    from rolecast.config import presets, read

    return read(presets.text("default"), name="default.yaml", env={}, backends=backends.table()).models.get(name)


def held_out(place: Place) -> list[dict[str, str]]:
    """The chat of one example that was not learnt from, a question where there is one; without the system message,
    which the avatar has itself."""
    found: list[list[dict[str, str]]] = []
    for name in ("test.jsonl", "valid.jsonl", "train.jsonl"):
        if (path := place.dataset / name).is_file():
            for each in example.read(path):
                turns = [{"role": turn.role, "content": turn.content} for turn in prompt.turns(each)[1:]]
                if turns and turns[-1]["role"] == "user":
                    found.append(turns)
        if found:
            break
    asked = (turns for turns in found if turns[-1]["content"].rstrip().endswith("?"))
    return next(asked, found[0] if found else [{"role": "user", "content": "How are you?"}])
