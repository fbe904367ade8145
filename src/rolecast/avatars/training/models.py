"""The folder of a model and the model that PyTorch trains: opened, adapted, written."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rolecast.avatars.export.llama import Shape
from rolecast.avatars.export.tensors import read_json
from rolecast.avatars.training import folders, precision
from rolecast.avatars.training.engine import Precision, Start, alpha
from rolecast.avatars.training.folders import CONFIG, MODEL
from rolecast.avatars.training.llama import Llama
from rolecast.avatars.training.precision import TYPES
from rolecast.avatars.training.steps import Steps
from rolecast.errors import Invalid

WIDE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INDEX = f"{MODEL}.index.json"


def made(start: Start, where: torch.device, exact: Precision, steps: Steps, *, rank: int, seed: int) -> Llama:
    """The model on its device, ready to be trained. Raises Invalid for a folder that holds none."""
    from safetensors import SafetensorError

    torch.manual_seed(seed)
    config = read_json(start.folder / CONFIG)
    shape = Shape.of_config(config)
    try:
        _check(shape, config)
        with torch.device("meta"):
            model = Llama(shape, steps).to(TYPES[exact])
        model.to_empty(device=where)
        files = _files(start.folder)
        if files:
            _fill(model, files)
        elif start.method == "lora":
            raise Invalid(f"{start.folder} has no {MODEL} to train an adapter over.", param="base")
        else:
            model.begin()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise Invalid(f"{start.folder} holds no model to train: {str(error)[:300]}") from error
    if start.method == "lora":
        model.adapt(rank, alpha(rank))
    return model.train()


def _check(shape: Shape, config: Mapping[str, Any]) -> None:
    """Raises ValueError for what cannot be computed."""
    sizes = (shape.width, shape.hidden, shape.layers, shape.heads, shape.kv_heads, shape.head_width, shape.vocabulary)
    if min(sizes) < 1 or shape.heads % shape.kv_heads or shape.head_width % 2:
        raise ValueError(f"{shape.heads} heads of width {shape.head_width} over {shape.kv_heads} are no Llama's")
    if "quantization_config" in config:
        raise ValueError("its weights are quantized; take those of full width")


def _files(folder: Path) -> list[Path]:
    """Those with its weights; none for a model that begins at nothing."""
    if (folder / MODEL).exists():
        return [folder / MODEL]
    if not (folder / INDEX).exists():
        return []
    named = {str(each) for each in dict(read_json(folder / INDEX)["weight_map"]).values()}
    if odd := [each for each in named if Path(each).name != each]:
        raise ValueError(f"its index names the file {odd[0][:100]!r}")
    return [folder / each for each in sorted(named)]


@torch.no_grad()
def _fill(model: Llama, files: list[Path]) -> None:
    """A tensor at a time: twice the model would be a large part of the memory that training takes."""
    from safetensors import safe_open

    lacking = dict(model.named_parameters())
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no mapping
                if name not in lacking:
                    continue  # such as the head of a model whose head is its embedding
                parameter, found = lacking.pop(name), opened.get_tensor(name)
                if parameter.shape != found.shape:
                    raise ValueError(f"{name} is {tuple(found.shape)} and should be {tuple(parameter.shape)}")
                if found.dtype not in WIDE:
                    raise ValueError(f"{name} is of {found.dtype}: quantized; take weights of full width")
                parameter.copy_(found)
    if lacking:
        raise ValueError(f"it lacks {min(lacking)}")


def asked(folder: Path, threads: int, seconds: float) -> Any:
    """The base of a folder, to be asked rather than trained: transformers' model, which can keep what it has read. So
    many seconds are for choosing its numbers. Raises OSError, ValueError or RuntimeError for a folder that holds
    none."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if threads:
        torch.set_num_threads(threads)
    where = device()
    exact = precision.choose(where, "auto", rows=64, seconds=seconds)
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=TYPES[exact],
        attn_implementation="sdpa",
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = _norm(module)
    return model.to(where).eval()


def _norm(module: Any) -> Any:
    """transformers' own makes six passes over memory."""
    epsilon = module.variance_epsilon

    def forward(hidden: Tensor) -> Tensor:
        return torch.nn.functional.rms_norm(hidden, (hidden.shape[-1],), module.weight, epsilon)

    return forward


def device() -> torch.device:
    """The best of this machine."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def save(start: Start, rank: int, folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Write trained weights, by the names of `named_parameters`."""
    from safetensors.torch import save_file

    file = folders.described(start, rank, folder)
    save_file({_said(name): each for name, each in weights.items()}, file, metadata={"format": "pt"})


def load(start: Start, names: Iterable[str], folder: Path) -> dict[str, Tensor]:
    """The weights that `save` wrote. Raises KeyError when one is missing."""
    from safetensors.torch import load_file

    found = load_file(folders.weights(start, folder))
    return {name: found[_said(name)] for name in names}


def _said(name: str) -> str:
    module, _, matrix = name.rpartition(".lora_")
    return folders.peft_name(module, matrix) if module else name
