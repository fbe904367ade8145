"""The models that PyTorch trains, by transformers and peft: a base with an adapter, or a small Llama from nothing."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rolecast.avatars.training import adapted, attention, precision
from rolecast.avatars.training.engine import ADAPTED, Precision, Start, alpha
from rolecast.avatars.training.precision import TYPES
from rolecast.errors import Invalid

ADAPTER = "adapter_model.safetensors"
MODEL = "model.safetensors"


def made(start: Start, where: torch.device, exact: Precision, *, rank: int, seed: int) -> Any:
    """The model on its device, ready to be trained. Raises Invalid for a folder that holds none."""
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.manual_seed(seed)
    how = attention.register() if where.type == "cpu" else "sdpa"
    weights = (start.folder / MODEL).exists() or (start.folder / f"{MODEL}.index.json").exists()
    model: Any
    try:
        if weights:
            model = AutoModelForCausalLM.from_pretrained(
                start.folder,
                dtype=TYPES[exact],
                attn_implementation=how,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        else:
            config = AutoConfig.from_pretrained(start.folder, local_files_only=True, trust_remote_code=False)
            model = AutoModelForCausalLM.from_config(config, attn_implementation=how)  # type: ignore[no-untyped-call]
            model = model.to(dtype=TYPES[exact])
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise Invalid(f"{start.folder} holds no model to train: {str(error)[:300]}") from error
    if start.method == "lora":
        model = _adapted(model, rank)
    _one_pass(model)
    model = model.to(where).train()
    if start.method == "lora":
        adapted.replace(model)
    return model


def asked(folder: Path, threads: int, seconds: float) -> Any:
    """The base of a folder, to be asked rather than trained; so many seconds are for choosing its numbers. Raises
    OSError, ValueError or RuntimeError for a folder that holds none."""
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
    _one_pass(model)
    return model.to(where).eval()


def device() -> torch.device:
    """The best of this machine."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _one_pass(model: Any) -> None:
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = _norm(module)


def _adapted(model: Any, rank: int) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank,
        lora_alpha=alpha(rank),
        lora_dropout=0.0,
        bias="none",
        target_modules=list(ADAPTED),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():  # peft asks transformers by a name that it has given up
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, config, autocast_adapter_dtype=False)


def _norm(module: Any) -> Any:
    """transformers' own makes six passes over memory."""
    epsilon = module.variance_epsilon

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        return nn.functional.rms_norm(hidden, (hidden.shape[-1],), module.weight, epsilon)

    return forward


def recompute(model: Any) -> None:
    """Let it compute activations of a layer again in the backward pass instead of keeping them."""
    how = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
    else:  # an older transformers
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)


def inner(model: Any) -> Any:
    """The Llama within: what it is adapted of, or itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def is_llama(model: Any) -> bool:
    """Whether its layers are those of a Llama."""
    return type(inner(model)).__name__ == "LlamaForCausalLM"


def save(model: Any, folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write trained weights (by the names of `named_parameters`) as others read them: peft's folder, or a Llama's."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if hasattr(model, "peft_config"):
        config = json.loads(json.dumps(model.peft_config["default"].to_dict(), default=_plain))
        config |= {"inference_mode": True, "base_model_name_or_path": None}  # where it lies here is nobody's business
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True))
        named = {name.replace(".default.", "."): each for name, each in weights.items()}
        save_file(named, folder / ADAPTER, metadata={"format": "pt"})
        return
    config = model.config.to_dict() | {"dtype": "float32", "architectures": [type(model).__name__]}
    config.pop("_name_or_path", None)
    # mlx-lm reads the base of rotary positions at the top and takes another one when it is missing.
    config["rope_theta"] = (config.get("rope_parameters") or {}).get("rope_theta", 10000.0)
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True, default=_plain))
    save_file(weights, folder / MODEL, metadata={"format": "pt"})


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(getattr(value, "value", value))


def load(model: Any, folder: Path) -> dict[str, torch.Tensor]:
    """The weights that `save` wrote, by the names of `named_parameters`."""
    from safetensors.torch import load_file

    if not hasattr(model, "peft_config"):
        return dict(load_file(folder / MODEL))
    found = load_file(folder / ADAPTER)
    return {
        name: found[name.replace(".default.", ".")] for name, each in model.named_parameters() if each.requires_grad
    }
