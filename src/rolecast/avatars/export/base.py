"""A base: a small model of GGUF, once as it is trained over and once as it is served.

bases/DIGEST/hf/            transformers' folder: config.json, model.safetensors, tokenizer
bases/DIGEST/base-f16.gguf  the same numbers, for llama.cpp
bases/DIGEST/base.json      what it is of

Both hold the same float16 numbers (norms float32), so that an adapter is served over exactly what it was trained over.
The digest is that of the GGUF it was made of; made once, by whichever process comes first, whole or not at all.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rolecast.avatars import places
from rolecast.avatars.export import llama, tokenizer
from rolecast.avatars.export.tensors import Source
from rolecast.avatars.export.writing import Model, write
from rolecast.avatars.files import write_private
from rolecast.errors import UNREADABLE, Invalid, RolecastError
from rolecast.jobs.job import Progress
from rolecast.weights import gguf as header

if TYPE_CHECKING:
    from gguf import GGUFReader

Report = Callable[[Progress], None]
CARD = "base.json"
_CHUNK = 1 << 20
_ENOUGH = 1.1
"""Disk space is asked for with so much to spare."""


class Base(msgspec.Struct, frozen=True):
    """A base that is ready. Its paths are those of this machine."""

    digest: str
    """sha256 of the GGUF it was made of, 16 digits of it: the name of its folder."""
    name: str
    license: str
    """Of the weights, as the GGUF says; '' = it does not."""
    parameters: int
    context: int
    folder: Path

    @property
    def hf(self) -> Path:
        """The folder that transformers, and the training, load."""
        return self.folder / "hf"

    @property
    def gguf(self) -> Path:
        """The file that llama.cpp loads, with adapters over it or without."""
        return self.folder / "base-f16.gguf"


def read(folder: Path) -> Base:
    """The base in a folder of `bases`. Raises Invalid when there is none, whole."""
    try:
        said = msgspec.json.decode((folder / CARD).read_bytes(), type=dict[str, Any])
        base = msgspec.convert(said | {"folder": str(folder)}, Base, dec_hook=lambda kind, value: kind(value))
    except (OSError, *UNREADABLE) as error:
        raise Invalid(f"{folder} holds no base; train again, which makes it.") from error
    if not base.gguf.exists() or not (base.hf / "model.safetensors").exists():
        raise Invalid(f"The base in {folder} is not whole; remove that folder, and it is made again.")
    return base


def prepared(gguf: Path, report: Report = lambda progress: None, into: Path | None = None) -> Base:
    """The base of a GGUF file, made if it is not there yet; `into` = the folder of all bases.

    Raises Invalid for a file that is no GGUF, and for a model that nothing can be trained over.
    """
    into = into or places.bases()
    digest = _digest(gguf, report)
    folder = into / digest
    if (folder / CARD).exists():
        return read(folder)
    into.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(into / f".{digest}.lock", report):
        if not (folder / CARD).exists():
            _make(gguf, folder, digest, report)
    return read(folder)


def _digest(gguf: Path, report: Report) -> str:
    found, done = hashlib.sha256(), 0
    try:
        total = gguf.stat().st_size
        with gguf.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
                done += len(chunk)
                report(Progress("reading the base", done, total))
    except OSError as error:
        raise Invalid(f"{gguf} cannot be read ({(error.strerror or str(error)).lower()}).", param="base") from error
    return found.hexdigest()[:16]


@contextmanager
def _locked(path: Path, report: Report) -> Iterator[None]:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(Progress("waiting", note="another process makes the base"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # ends with the open file, also when this process is killed


def _make(gguf: Path, folder: Path, digest: str, report: Report) -> None:
    _check(gguf)
    part = folder.with_name(f".{digest}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    try:
        card = _fill(gguf, part, digest, report)
        write_private(part / CARD, msgspec.json.encode(card))
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as error:
        raise Invalid(
            f"The base could not be written to {folder} ({(error.strerror or str(error)).lower()})."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check(gguf: Path) -> None:
    """Whether anything can be trained over it, from its header alone."""
    try:
        said = header.read(gguf)
    except RolecastError as error:
        raise Invalid(f"{gguf.name} cannot be a base: {error.message}", param="base") from error
    if said.architecture != llama.ARCHITECTURE or said.ranks or not said.causal or said.pooling is not None:
        raise Invalid(
            f"{gguf.name} is of the architecture {said.architecture!r}; avatars are trained over plain Llama models "
            "such as smollm2-135m (`avatars.base`).",
            param="base",
        )
    if said.split_count > 1:
        raise Invalid(f"{gguf.name} is one of {said.split_count} parts; a base must be one file.", param="base")


def _fill(gguf: Path, part: Path, digest: str, report: Report) -> dict[str, Any]:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(gguf)
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise Invalid(f"{gguf.name} is damaged; pull the model again.", param="base") from error
    shape = _shape(reader)
    need = int(2 * 2 * _ENOUGH * sum(int(each.n_elements) for each in reader.tensors))
    if (free := shutil.disk_usage(part).free) < need:
        raise Invalid(f"The base needs {need >> 20} MB of disk, and {free >> 20} MB are free; make room and try again.")
    words = tokenizer.of_gguf(reader)
    tensors = _tensors(reader, shape)
    name, licence = _text(reader, "general.name"), _text(reader, "general.license")
    _hf(part / "hf", shape, words, tensors, report)
    made = Model(name=name, license=licence, shape=shape, words=words, tensors=tensors)
    write(part / "base-f16.gguf", made, "f16", report)
    count = sum(int(each.n_elements) for each in reader.tensors)
    return {"digest": digest, "name": name, "license": licence, "parameters": count, "context": shape.context}


def _text(reader: "GGUFReader", key: str) -> str:
    field = reader.get_field(key)
    return str(field.contents()) if field else ""


def _shape(reader: "GGUFReader") -> llama.Shape:
    def number(name: str, default: Any = None) -> Any:
        field = reader.get_field(f"{llama.ARCHITECTURE}.{name}")
        if field is None and default is None:
            raise Invalid(f"The header of the base lacks {name}; use another file of that model.", param="base")
        return default if field is None else field.contents()

    names = {each.name: each for each in reader.tensors}
    if "token_embd.weight" not in names:
        raise Invalid("The base has no embedding; use another file of that model.", param="base")
    if odd := [name for name in names if name.endswith(".bias") or name.startswith("rope_")]:
        raise Invalid(f"The base has {odd[0]}, which a plain Llama does not; use another base.", param="base")
    heads, width = number("attention.head_count"), number("embedding_length")
    if number("rope.scaling.type", "none") != "none":
        raise Invalid("The base scales its positions, which the export does not know; use another base.", param="base")
    return llama.Shape(
        width=width,
        hidden=number("feed_forward_length"),
        layers=number("block_count"),
        heads=heads,
        kv_heads=number("attention.head_count_kv", heads),
        head_width=number("attention.key_length", width // heads),
        vocabulary=int(names["token_embd.weight"].shape[1]),
        context=number("context_length"),
        theta=float(number("rope.freq_base", 10000.0)),
        # GGUF keeps it in 32 bits; nine digits give back what was meant
        epsilon=float(f"{number('attention.layer_norm_rms_epsilon', 1e-6):.6g}"),
        tied="output.weight" not in names,
    )


def _tensors(reader: "GGUFReader", shape: llama.Shape) -> dict[str, Source]:
    """What each tensor is in transformers' order, by transformers' name; computed when it is asked for."""

    def source(each: Any) -> Source:
        def get() -> Any:
            import numpy as np
            from gguf import quants

            values = quants.dequantize(each.data, each.tensor_type).astype(np.float32, copy=False)
            if heads := shape.heads_of(each.name):
                values = llama.halved(values, heads)
            if values.ndim > 1:  # what is trained over is what is served: rounded once, here
                values = values.astype(np.float16).astype(np.float32)
            return values

        return Source(tuple(int(n) for n in reversed(each.shape)), get)

    return {llama.to_hf(each.name): source(each) for each in reader.tensors}


def _hf(folder: Path, shape: llama.Shape, words: tokenizer.Words, tensors: dict[str, Source], report: Report) -> None:
    import numpy as np
    from safetensors.numpy import save_file
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    folder.mkdir(mode=0o700)
    kept: dict[str, Any] = {}
    for number, (name, source) in enumerate(tensors.items(), 1):
        values = source.get()
        kept[name] = values.astype(np.float16) if values.ndim > 1 else values
        report(Progress("unpacking the base", number, len(tensors), "tensors"))
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    special: dict[str, Any] = {"bos_token_id": words.bos, "eos_token_id": words.eos, "pad_token_id": words.pad}
    # float32: whoever loads it without saying otherwise must not compute in the half precision of the file
    LlamaConfig(**shape.config(), **special, dtype="float32", architectures=["LlamaForCausalLM"]).save_pretrained(
        folder
    )
    named = {"bos_token": words.bos, "eos_token": words.eos, "unk_token": words.unknown, "pad_token": words.pad}
    kind: Any = PreTrainedTokenizerFast
    fast = kind(
        tokenizer_object=tokenizer.tokenizer(words),
        **{name: words.tokens[number] for name, number in named.items() if number is not None},
        model_max_length=shape.context,
        clean_up_tokenization_spaces=False,
    )
    if words.template:
        fast.chat_template = words.template
    fast.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o600)
