"""Writes a GGUF from tensors that are computed one after the other, so that memory holds one of them at a time."""

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from rolecast.avatars.export import llama, tokenizer
from rolecast.avatars.export.tensors import Source
from rolecast.errors import Invalid
from rolecast.jobs.job import Progress

if TYPE_CHECKING:
    from gguf import GGUFWriter

Report = Callable[[Progress], None]
Precision = Literal["f32", "f16", "q8_0"]
_BLOCK = 32
"""Numbers that share one scale in Q8_0: a row must be whole blocks."""


class Model(msgspec.Struct, frozen=True):
    """All that a GGUF of a whole model says. Tensors are named and ordered as transformers has them."""

    name: str
    license: str
    shape: llama.Shape
    words: tokenizer.Words
    tensors: Mapping[str, Source]


class Tensor(msgspec.Struct, frozen=True):
    """A tensor of the file: its name there, what is written, and in which precision."""

    name: str
    source: Source
    precision: Precision


def write(path: Path, model: Model, precision: Precision, report: Report = lambda progress: None) -> None:
    """Write a whole model; matrices in that precision, norms in float32. Whole or not at all."""
    write_file(path, lambda writer: _describe(writer, model, precision), list(_planned(model, precision)), report)


def write_file(
    path: Path, describe: "Callable[[GGUFWriter], None]", tensors: list[Tensor], report: Report = lambda progress: None
) -> None:
    """Write a GGUF: its keys, then its tensors one by one. A file of that name is replaced when all is written."""
    import gguf

    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))  # the writer keeps the mode
        writer = gguf.GGUFWriter(part, llama.ARCHITECTURE)
        try:
            describe(writer)
            for tensor in tensors:
                _announce(writer, tensor)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for number, tensor in enumerate(tensors, 1):
                writer.write_tensor_data(_packed(tensor))
                report(Progress("writing", number, len(tensors), "tensors", note=path.name))
        finally:
            writer.close()
        part.replace(path)
    except OSError as error:
        raise Invalid(f"{path} cannot be written ({(error.strerror or str(error)).lower()}).") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _describe(writer: "GGUFWriter", model: Model, precision: Precision) -> None:
    import gguf

    shape = model.shape
    kinds = gguf.LlamaFileType
    kind = {"f32": kinds.ALL_F32, "f16": kinds.MOSTLY_F16, "q8_0": kinds.MOSTLY_Q8_0}[precision]
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(model.name)
    if model.license:
        writer.add_license(model.license)
    writer.add_file_type(kind)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.theta)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_vocab_size(shape.vocabulary)
    tokenizer.add(writer, model.words)


def _planned(model: Model, precision: Precision) -> "Any":
    for name, source in model.tensors.items():
        if name == "lm_head.weight" and model.shape.tied:
            continue  # the engine takes the embedding for it
        ours = llama.to_gguf(name)
        heads = model.shape.heads_of(ours)
        yield Tensor(ours, reordered(source, heads), _fitting(source.shape, precision))


def reordered(source: Source, heads: int) -> Source:
    """The same with its rows as llama.cpp wants them; without heads, as it is."""
    if not heads:
        return source
    return Source(source.shape, lambda: llama.paired(source.get(), heads))


def _fitting(shape: tuple[int, ...], precision: Precision) -> Precision:
    if len(shape) < 2:
        return "f32"
    return "f16" if precision == "q8_0" and shape[-1] % _BLOCK else precision


def _announce(writer: "GGUFWriter", tensor: Tensor) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType, quants

    shape = tensor.source.shape
    count = int(np.prod(shape))
    if tensor.precision == "q8_0":
        kind = GGMLQuantizationType.Q8_0
        packed = quants.quant_shape_to_byte_shape(shape, kind)
        writer.add_tensor_info(tensor.name, packed, np.dtype(np.uint8), int(np.prod(packed)), raw_dtype=kind)
    else:
        dtype = np.dtype(np.float16 if tensor.precision == "f16" else np.float32)
        writer.add_tensor_info(tensor.name, shape, dtype, count * dtype.itemsize)


def _packed(tensor: Tensor) -> Any:
    import numpy as np
    from gguf import GGMLQuantizationType, quants

    values = np.ascontiguousarray(tensor.source.get(), dtype=np.float32)
    if values.shape != tensor.source.shape:
        raise Invalid(f"The tensor {tensor.name} is {values.shape} and not {tensor.source.shape}; the file is damaged.")
    if not np.isfinite(values).all():
        raise Invalid(f"The tensor {tensor.name} has values that are no numbers: the training went astray.")
    if tensor.precision == "q8_0":
        return quants.quantize(values, GGMLQuantizationType.Q8_0)
    if tensor.precision == "f16":
        packed = values.astype(np.float16)
        if not np.isfinite(packed).all():
            raise Invalid(f"The tensor {tensor.name} has values too large for float16; export it as f32.")
        return packed
    return values
