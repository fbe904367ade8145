"""One model in Ollama's words: its details and what its weights say of themselves. Reads the disk, asks nobody."""

import hashlib
from typing import Any

import msgspec

from rolecast import weights
from rolecast.config import variants
from rolecast.config.names import Name
from rolecast.config.schema import Config, Model, Variant
from rolecast.config.variants import Made
from rolecast.weights import Finder, gguf
from rolecast.weights.gguf import Header


class Description(msgspec.Struct, frozen=True):
    """What Ollama's lists say of a model. Sizes in bytes, times in seconds since 1970."""

    model_id: str
    digest: str
    size: int
    modified_at: float
    family: str
    format: str
    parameter_size: str
    quantization: str
    context: int | None
    info: dict[str, Any]
    license: str = ""
    template: str = ""

    def details(self, name: Name | None) -> dict[str, Any]:
        """The details under this name; one that is no model's own names the model that it means."""
        stands_for = name is not None and name.name != self.model_id
        return {
            "parent_model": self.model_id if stands_for else "",
            "format": self.format,
            "family": self.family,
            "families": [self.family] if self.family else None,
            "parameter_size": self.parameter_size,
            "quantization_level": self.quantization,
        }


def describe(model_id: str, model: Model, find: Finder, began: float, *, template: bool) -> Description:
    """All that is known; what has no file here came with the gateway."""
    path = weights.found(find, model)
    context = weights.context(model, path) or None
    header = gguf.known(path) if path is not None else None
    files = [file for file in weights.parts(path) if weights.is_there(file)] if path is not None else []
    return Description(
        model_id=model_id,
        digest=digest(model_id, model),
        size=sum(file.stat().st_size for file in files),
        modified_at=max((file.stat().st_mtime for file in files), default=began),
        family=header.architecture if header else "",
        format="gguf" if header else "",
        parameter_size=_count(header.parameters) if header else model.parameters,
        quantization=(header.quantization if header else "") or model.quantization,
        context=context,
        info=_info(header, context) if header else _unknown(context),
        license=model.license,
        template=gguf.chat_template(path) if template and path is not None else "",
    )


def digest(model_id: str, model: Model) -> str:
    """What the weights are known by: their hash where the configuration has it, else one of where they come from."""
    return model.sha256 or hashlib.sha256((model.source or model_id).encode()).hexdigest()


def known_by(config: Config, name: Name | None, about: Description) -> tuple[str, float]:
    """The digest of a name and when it last changed: a variant's by what makes it, all else by its weights."""
    if name is None or name.kind != "variant":
        return about.digest, about.modified_at
    variant = config.variants[name.name]
    own = hashlib.sha256(about.digest.encode() + msgspec.json.encode(variant)).hexdigest()
    return own, variant.made_at if isinstance(variant, Made) else about.modified_at


def shown(config: Config, name: Name, about: Description) -> dict[str, Any]:
    """What a Modelfile of it would say, whole and in parts."""
    variant = variants.flat(config, name.name) if name.kind == "variant" else Variant(model=name.models[0])
    model = config.models.get(about.model_id)
    settings = variants.over_settings(variant.parameters, model.sampling) if model else variant.parameters
    parameters = dict.fromkeys(variants.parameters(settings))
    if about.context:  # what holds, whatever a variant says
        parameters = {("num_ctx", str(about.context)): None} | {p: None for p in parameters if p[0] != "num_ctx"}
    lines = ["# Rolecast's configuration says what this is.", f"FROM {variant.model}"]
    lines += [f"SYSTEM {_quoted(variant.system)}"] * bool(variant.system)
    is_variant = name.kind == "variant"
    lines += [f"PARAMETER {key} {value}" for key, value in parameters if is_variant or key != "num_ctx"]
    lines += [f"MESSAGE {each.role} {_quoted(each.content)}" for each in variant.messages]
    told: dict[str, Any] = {
        "license": variant.license or about.license,
        "modelfile": "\n".join(lines) + "\n",
        "parameters": "\n".join(f"{key} {value}" for key, value in parameters),
    }
    if variant.system:
        told["system"] = variant.system
    if variant.messages:
        told["messages"] = variant.messages
    return told


def _quoted(text: str) -> str:
    """A text as a Modelfile has it."""
    return f'"""{text}"""'


def _count(parameters: int) -> str:
    """As Ollama writes it: 134.52M."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if parameters >= size:
            return f"{parameters / size:.4g}{unit}"
    return str(parameters) if parameters else ""


def _info(header: Header, context: int | None) -> dict[str, Any]:
    """By the keys of GGUF; the context is what a request really has."""
    kind = header.architecture
    said = {
        "general.architecture": kind,
        "general.basename": header.name,
        "general.parameter_count": header.parameters,
        f"{kind}.context_length": context,
        f"{kind}.embedding_length": header.embedding_length,
        f"{kind}.block_count": header.block_count,
        f"{kind}.feed_forward_length": header.feed_forward_length,
        f"{kind}.attention.head_count": header.head_count,
        f"{kind}.attention.head_count_kv": max(header.kv_heads, default=0),
        "tokenizer.ggml.model": header.tokenizer,
        f"{kind}.vocab_size": header.vocabulary,
    }
    return {key: value for key, value in said.items() if value}


def _unknown(context: int | None) -> dict[str, Any]:
    return {"general.architecture": "unknown"} | ({"unknown.context_length": context} if context else {})
