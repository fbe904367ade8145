"""Turns a trained folder into GGUF: an adapter over its base, or a whole model. The only door of the export.

    adapter   what a LoRA adds, float16: about 10 MB, served over `base-f16.gguf`, which ten avatars share
    f32, f16  a LoRA multiplied into its base, or a model from scratch
    q8_0      the same at half the size of f16; its replies differ a little

What is written is at once read by llama.cpp and compared with what was trained (`parity`): an export that answers
otherwise is not kept.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from rolecast.avatars.export import adapter, llama, parity, tokenizer, writing
from rolecast.avatars.export.base import Base
from rolecast.avatars.export.tensors import Source, read_json, sources
from rolecast.errors import Invalid
from rolecast.jobs.job import Progress

Form = Literal["adapter", "f32", "f16", "q8_0"]
FORMS: tuple[Form, ...] = ("adapter", "f32", "f16", "q8_0")
WEIGHTS = "model.safetensors"
Report = Callable[[Progress], None]


def export(
    trained: Path,
    into: Path,
    form: Form,
    base: Base | None = None,
    *,
    name: str = "",
    report: Report = lambda progress: None,
    verify: bool = True,
) -> Path:
    """Write a trained folder as GGUF; the path of the file: `into` itself, or `FORM.gguf` in that folder.

    `trained` is a LoRA of peft's format, then with its `base`, or a Hugging Face folder of a Llama. `name` is what the
    file says it is. Raises Invalid for what cannot be exported, and when the file does not answer as what was trained;
    then nothing is left of it.
    """
    if form not in FORMS:
        raise Invalid(f"{form!r} is no form of an export; use {', '.join(FORMS)}.", param="form")
    path = into if into.suffix == ".gguf" else into / f"{form}.gguf"
    lora = adapter.read(trained) if is_lora(trained) else None
    if lora is not None:
        base = _base(trained, base)
    if form == "adapter":
        if lora is None or base is None:
            raise Invalid("A model from scratch has no base to be an adapter over; export it as f16.", param="form")
        shape = llama.Shape.of_config(read_json(base.hf / "config.json"))
        adapter.write(path, lora, shape, name=name or trained.name, base=base.digest)
    else:
        writing.write(path, whole(trained, base, lora, name), form, report)
    if verify:
        report(Progress("comparing", note="the export with what was trained"))
        try:
            parity.demand(path, trained, form, base)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return path


def is_lora(trained: Path) -> bool:
    """Whether that folder is a LoRA of peft's format. Raises Invalid when it is no trained model at all."""
    if (trained / adapter.CONFIG).exists():
        return True
    if not (trained / WEIGHTS).exists():
        raise Invalid(f"{trained} is no trained model: it has neither {adapter.WEIGHTS} nor {WEIGHTS}.")
    return False


def whole(trained: Path, base: Base | None, lora: adapter.Lora | None, name: str = "") -> writing.Model:
    """A model from scratch, or a LoRA multiplied into its base, as it is to be written."""
    folder = base.hf if lora is not None and base is not None else trained
    shape = llama.Shape.of_config(read_json(folder / "config.json"))
    tensors = sources(folder / WEIGHTS)
    if missing := sorted(set(lora.pairs if lora else ()) - set(tensors)):
        raise Invalid(f"The adapter changes {missing[0]}, which its base lacks; was it trained over another one?")
    if lora is not None:
        tensors = {each: lora.merged(each, source) for each, source in tensors.items()}
    _check(tensors, shape)
    return writing.Model(
        name=name or (f"{base.name} {trained.name}".strip() if base else trained.name),
        license=base.license if lora is not None and base is not None else "",
        shape=shape,
        words=tokenizer.of_folder(folder, shape.vocabulary),
        tensors=tensors,
    )


def _base(trained: Path, base: Base | None) -> Base:
    if base is None:
        raise Invalid("A LoRA is exported with its base; name it.", param="base")
    if (said := trained / "base.json").exists():
        digest = read_json(said).get("digest")
        if isinstance(digest, str) and digest and digest[:16] != base.digest[:16]:
            raise Invalid(
                f"{trained} was trained over another base ({digest[:16]} and not {base.digest[:16]}); use that one.",
                param="base",
            )
    return base


def _check(tensors: dict[str, Source], shape: llama.Shape) -> None:
    """That what llama.cpp will look for is there, in the sizes that config.json tells."""
    rows, keys, width = shape.heads * shape.head_width, shape.kv_heads * shape.head_width, shape.width
    wanted: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape.vocabulary, width),
        "model.norm.weight": (width,),
    }
    if not shape.tied:
        wanted["lm_head.weight"] = (shape.vocabulary, width)
    for layer in range(shape.layers):
        sizes = {
            "input_layernorm": (width,),
            "post_attention_layernorm": (width,),
            "self_attn.q_proj": (rows, width),
            "self_attn.k_proj": (keys, width),
            "self_attn.v_proj": (keys, width),
            "self_attn.o_proj": (width, rows),
            "mlp.gate_proj": (shape.hidden, width),
            "mlp.up_proj": (shape.hidden, width),
            "mlp.down_proj": (width, shape.hidden),
        }
        wanted |= {f"model.layers.{layer}.{part}.weight": size for part, size in sizes.items()}
    for name, size in wanted.items():
        if name not in tensors or tensors[name].shape != size:
            said = tensors[name].shape if name in tensors else "missing"
            raise Invalid(f"{name} is {said} where config.json wants {size}; the folder is damaged, train again.")
