"""Reads what the router learns from: public data sets in `data/` and prompts written for it in `prompts/`.

A row is a plain dictionary. Fits nothing.
"""

import json
import lzma
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Row = dict[str, Any]


def public(name: str) -> list[Row]:
    """The rows of mmlu, gsm8k, clinc150 or prompts_by_kind."""
    with lzma.open(HERE / "data" / f"{name}.jsonl.xz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def written(folder: str = "prompts") -> list[Row]:
    """The rows of every file of `prompts` or `test`, each with the stem of its file as `file`."""
    found = []
    for path in sorted((HERE / folder).glob("*.jsonl")):
        lines = path.read_text(encoding="utf-8").split("\n")
        found += [{"file": path.stem, **json.loads(line)} for line in lines if line.strip()]
    return found
