"""Avatar SLM's `config.json`: its sections and defaults, under a file, under the documented variables. Pure but for it.

A variable (NEO4J_URI, NEO4J_USERNAME, NEO4J_PASSWORD) goes before the file, so that no password need be in one.
"""

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from rolecast.avatars.documented.engine import InferenceConfig
from rolecast.avatars.documented.extractor import ExtractionConfig
from rolecast.avatars.documented.trainer import TrainingConfig
from rolecast.errors import Invalid

T = TypeVar("T")
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "neo4j": {"uri": "bolt://localhost:7687", "username": "neo4j", "password": "", "database": "neo4j"},
    "extraction": {
        "output_dir": "data/extracted",
        "include_metadata": True,
        "max_messages": 10_000,
        "date_range": None,
    },
    "training": {
        "model_name": "avatar_slm",
        "output_dir": "models",
        "epochs": 10,
        "batch_size": 16,
        "learning_rate": 5e-5,
        "warmup_steps": 100,
        "gradient_accumulation": 4,
        "max_sequence_length": 512,
    },
    "inference": {"temperature": 0.8, "top_k": 50, "top_p": 0.95, "max_length": 512, "repetition_penalty": 1.1},
}
BRIDGED = {"epochs": "num_epochs", "gradient_accumulation": "gradient_accumulation_steps"}
"""Words of the file and of the classes."""
VARIABLES = {"NEO4J_URI": "uri", "NEO4J_USERNAME": "username", "NEO4J_PASSWORD": "password"}
_MOST = 1 << 20


def read(path: str | Path | None, env: Mapping[str, str] = os.environ) -> dict[str, dict[str, Any]]:
    """All sections. Raises Invalid for a file that is none, with the setting that nobody knows."""
    merged: dict[str, dict[str, Any]] = {name: dict(section) for name, section in copy.deepcopy(DEFAULTS).items()}
    for name, section in (_file(Path(path)) if path is not None else {}).items():
        if name not in merged or not isinstance(section, dict):
            raise Invalid(f"{path}: `{name}` is no section; there are {', '.join(merged)}.")
        _merge(merged[name], section)
    for variable, key in VARIABLES.items():
        if value := env.get(variable):
            merged["neo4j"][key] = value
    return merged


def names_model(path: str | Path | None) -> bool:
    """Whether the file says what the model is called."""
    training = _file(Path(path)).get("training") if path is not None else None
    return isinstance(training, dict) and "model_name" in training


def _file(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST:
            raise Invalid(f"{path} is too large for a configuration.")
        said = json.loads(path.read_bytes())
    except OSError as error:
        raise Invalid(f"{path} cannot be read ({(error.strerror or str(error)).lower()}).") from error
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{path} is no JSON: {str(error)[:200]}.") from error
    if not isinstance(said, dict):
        raise Invalid(f"{path} must be an object with the sections {', '.join(DEFAULTS)}.")
    return said


def _merge(into: dict[str, Any], said: Mapping[str, Any]) -> None:
    for key, value in said.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def extraction(config: Mapping[str, Mapping[str, Any]]) -> ExtractionConfig:
    """The extractor's part."""
    neo4j, section = config["neo4j"], dict(config["extraction"])
    said = {
        "neo4j_uri": neo4j.get("uri"),
        "neo4j_user": neo4j.get("username"),
        "neo4j_password": neo4j.get("password"),
        "neo4j_database": neo4j.get("database"),
    }
    return _made(ExtractionConfig, {**said, **section}, "extraction")


def training(config: Mapping[str, Mapping[str, Any]], data: str | Path, name: str) -> TrainingConfig:
    """The trainer's part."""
    section = {BRIDGED.get(key, key): value for key, value in config["training"].items()}
    return _made(TrainingConfig, {**section, "model_name": name, "data_path": data}, "training")


def inference(config: Mapping[str, Mapping[str, Any]], model: str | Path) -> InferenceConfig:
    """The engine's part."""
    return _made(InferenceConfig, {**config["inference"], "model_path": model}, "inference")


def _made(kind: type[T], said: Mapping[str, Any], section: str) -> T:
    known = {each.name: each for each in fields(cast(Any, kind))}
    if unknown := sorted(set(said) - set(known)):
        raise Invalid(f"`{section}.{unknown[0]}` is no setting; there are {', '.join(known)}.")
    for key, value in said.items():
        _check(f"{section}.{key}", known[key].type, value)
    return kind(**said)


def _check(name: str, wanted: Any, value: Any) -> None:
    try:
        msgspec.convert(str(value) if isinstance(value, Path) else value, str if wanted == str | Path else wanted)
    except msgspec.ValidationError as error:
        raise Invalid(f"`{name}` is {str(value)[:80]!r}: {str(error)[:120]}.") from error
