"""Models as the Hugging Face hub keeps them: a folder with `config.json`, safetensors and a tokenizer.

Looks at names and small files only; never at tensors, and at no code that lies beside them. `config.json` stands for
the whole folder wherever a path of weights is wanted.
"""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from rolecast.config.source import is_folder
from rolecast.errors import UNREADABLE

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
TENSORS = ".safetensors"
BESIDE = (".json", ".jinja", ".txt", ".model", ".tiktoken")
"""Endings of what goes with a model: settings, chat templates, vocabularies. No code and no pickle is among them."""
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
MOST_BYTES = 16 << 20
"""A longer config or index is none."""
_CONTEXTS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")


def is_one(path: str | Path) -> bool:
    """Whether a path stands for such a folder."""
    return is_folder(str(path))


def lacks(folder: Path) -> str:
    """Which file a folder lacks to be such a model, and what to do; '' = none."""
    if not (folder / CONFIG).is_file():
        return f"the folder {folder} has no {CONFIG}; name the folder of a model as the hub has it"
    there = _names(folder)
    if gone := next((name for name in sorted(_listed(folder)) if name not in there), None):
        return f"{gone} is missing in {folder}; put it beside the others"
    if not tensors(there):
        return f"the folder {folder} has no file that ends in {TENSORS}; put the weights there"
    if not there & {*TOKENIZERS}:
        return f"{TOKENIZERS[0]} is missing in {folder}; copy it there from the repository of the model"
    return ""


def tensors(names: Iterable[str]) -> list[str]:
    """The files of weights among those of one folder. Some repositories have them twice, under two kinds of names."""
    every = sorted(name for name in names if name.lower().endswith(TENSORS))
    return [name for name in every if name.startswith("model")] or every


def belonging(names: Iterable[str]) -> list[str]:
    """The files of one folder that make the model: its weights and what goes with them."""
    there = list(names)
    return [*(name for name in sorted(there) if name.lower().endswith(BESIDE)), *tensors(there)]


def trained(path: Path) -> int:
    """Tokens that the model was trained on, by its config; 0 = not said, or no such folder."""
    config = settings(path)
    text = config.get("text_config")
    for said in (config, text if isinstance(text, dict) else {}):
        for name in _CONTEXTS:
            if isinstance(value := said.get(name), int) and 0 < value < 2**31:
                return value
    return 0


def template(path: Path) -> str:
    """The chat template of the model, in the language of such; '' = none is there, or it is built into its engine."""
    beside = path.parent / "chat_template.jinja"
    try:
        if beside.is_file() and beside.stat().st_size <= MOST_BYTES:
            return beside.read_text("utf-8", "replace")
    except OSError:
        return ""
    said = _object(path.parent / "tokenizer_config.json").get("chat_template")
    if isinstance(said, list):  # several, by name
        return "\n".join(str(each.get("template", "")) for each in said if isinstance(each, dict))
    return said if isinstance(said, str) else ""


def size_bytes(path: Path) -> int:
    """All bytes of the model's files."""
    total = 0
    for name in belonging(_names(path.parent)):
        try:
            total += (path.parent / name).stat().st_size
        except OSError:
            continue
    return total


def settings(path: Path) -> Mapping[str, Any]:
    """What its `config.json` says; nothing when it cannot be read. Read again when the file has changed."""
    try:
        now = path.stat()
        return _settings(path, now.st_mtime_ns, now.st_size) if is_one(path) else {}
    except OSError:
        return {}


@functools.lru_cache(maxsize=64)
def _settings(path: Path, _: int, size: int) -> Mapping[str, Any]:
    return _object(path) if size <= MOST_BYTES else {}


def _listed(folder: Path) -> set[str]:
    """The files that a model in parts consists of."""
    index = folder / INDEX
    parts = _object(index).get("weight_map") if index.is_file() and index.stat().st_size <= MOST_BYTES else None
    return {name for name in parts.values() if isinstance(name, str)} if isinstance(parts, dict) else set()


def _object(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, *UNREADABLE):
        return {}


def _names(folder: Path) -> set[str]:
    try:
        return {file.name for file in folder.iterdir() if file.is_file()}
    except OSError:
        return set()
