"""The folders that an engine writes, as others read them: a Llama of transformers, or an adapter of peft."""

import json
from pathlib import Path
from typing import Any

from rolecast.avatars.export.tensors import read_json
from rolecast.avatars.files import write_private
from rolecast.avatars.training.engine import ADAPTED, Start, alpha

CONFIG, MODEL = "config.json", "model.safetensors"
PEFT_CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
_PEFT = "base_model.model."


def weights(start: Start, folder: Path) -> Path:
    """Where the trained weights are, in fp32."""
    return folder / (ADAPTER if start.method == "lora" else MODEL)


def described(start: Start, rank: int, folder: Path) -> Path:
    """Make the folder and write what it is; the file that weights are to be written to."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if start.method == "lora":
        _write(folder / PEFT_CONFIG, _peft(rank))
    else:
        _write(folder / CONFIG, read_json(start.folder / CONFIG) | {"dtype": "float32"})
    return weights(start, folder)


def peft_name(module: str, matrix: str) -> str:
    """peft's name of an adapter's matrix, `A` or `B`; the module's name is that of transformers."""
    return f"{_PEFT}{module}.lora_{matrix}.weight"


def _peft(rank: int) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": alpha(rank),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "base_model_name_or_path": None,  # where it lies here is nobody's business
        "target_modules": sorted(ADAPTED),
    }


def _write(path: Path, said: dict[str, Any]) -> None:
    write_private(path, json.dumps(said, indent=1, sort_keys=True).encode())
