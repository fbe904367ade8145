"""Turns a sentence-transformers BERT (MiniLM and its kin) from safetensors into a GGUF for llama.cpp.

Run as a child process (`python -m rolecast.sources.convert_bert FOLDER OUT.gguf`), because numpy and gguf
must not be loaded into the gateway. It prints how far it is, as bytes done and bytes in all, a line per tensor.
Reads safetensors by hand, so no torch and no pickle. Knows one architecture, lower-casing WordPiece BERT;
whatever differs is refused. The weights keep their licence.
"""

import sys
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rolecast.errors import UNREADABLE, SourceError

if TYPE_CHECKING:
    import numpy as np

Report = Callable[[int, int], None]
_HEADER_BYTES = 16 << 20
_ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_WORD_START = "\u2581"

# Names of the parts: sentence-transformers -> llama.cpp. `{}` is the layer.
_EMBEDDINGS = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_UNUSED = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")
_ALWAYS_F32 = ("position_embd.weight", "token_types.weight")  # llama.cpp adds these as f32


class _Config(msgspec.Struct):
    """The part of `config.json` that decides whether and how the model can be converted."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_hidden_layers: int
    max_position_embeddings: int
    vocab_size: int
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    position_embedding_type: str = "absolute"


class _Tensor(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class _Tokenizer(msgspec.Struct):
    do_lower_case: bool = True


class _Pooling(msgspec.Struct):
    pooling_mode_mean_tokens: bool = True
    pooling_mode_cls_token: bool = False


class _WordPiece(msgspec.Struct):
    vocab: dict[str, int]


class _TokenizerFile(msgspec.Struct):
    model: _WordPiece


def convert(folder: Path, out: Path, report: Report = lambda done, total: None) -> None:
    """Write the model in `folder` to `out`: f16 matrices, f32 norms and biases, mean pooling, its vocabulary.

    `report` hears how many bytes of how many are converted. Raises SourceError when it is not such a model or
    its files are damaged.
    """
    import gguf

    config = _read(folder / "config.json", _Config)
    if (config.model_type, config.hidden_act, config.position_embedding_type) != ("bert", "gelu", "absolute"):
        raise SourceError("config.json describes another architecture than plain BERT; use a GGUF of it.")
    tensors = read_safetensors(folder / "model.safetensors")
    writer = gguf.GGUFWriter(out, "bert")
    writer.add_name("sentence-transformers BERT")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_pooling_type(_pooling(folder))
    _add_vocabulary(writer, folder, config)
    for name, array in _renamed(tensors, config, report).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_safetensors(path: Path) -> "dict[str, np.ndarray[Any, Any]]":
    """All tensors of a safetensors file as f32 or f16 arrays; offsets are checked against the file.

    Raises SourceError for a damaged file or a type other than F32, F16, BF16.
    """
    import numpy as np

    data = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size > 8 else np.zeros(8, np.uint8)
    length = int.from_bytes(data[:8].tobytes(), "little")
    if not 2 <= length <= min(_HEADER_BYTES, data.size - 8):
        raise SourceError(f"{path.name} is not a safetensors file; pull the model again.")
    try:
        raw = msgspec.json.decode(data[8 : 8 + length].tobytes(), type=dict[str, msgspec.Raw])
        header = {k: msgspec.json.decode(v, type=_Tensor) for k, v in raw.items() if k != "__metadata__"}
    except UNREADABLE as e:
        raise SourceError(f"{path.name} has a damaged header; pull the model again.") from e
    body = data[8 + length :]
    return {name: _array(name, tensor, body) for name, tensor in header.items()}


def _array(name: str, tensor: _Tensor, body: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    import numpy as np

    start, end = tensor.data_offsets
    size = _ITEM_BYTES.get(tensor.dtype, 0) * prod(tensor.shape)
    if any(n < 0 for n in tensor.shape) or not 0 <= start <= end <= body.size:
        raise SourceError(f"tensor {name!r} lies outside the file; pull the model again.")
    if tensor.dtype not in _ITEM_BYTES:
        # position_ids, the one integer tensor, is not used; anything else fails on its name later
        return np.zeros(0, np.float32)
    if end - start != size:
        raise SourceError(f"tensor {name!r} has {end - start} bytes where {size} are needed; pull again.")
    piece = body[start:end]
    if tensor.dtype == "BF16":
        wide = piece.view("<u2").astype(np.uint32) << 16
        return wide.view(np.float32).reshape(tensor.shape)
    return piece.view("<f4" if tensor.dtype == "F32" else "<f2").reshape(tensor.shape)


def _renamed(
    tensors: "dict[str, np.ndarray[Any, Any]]", config: _Config, report: Report
) -> "dict[str, np.ndarray[Any, Any]]":
    """The tensors under llama.cpp's names, in the types it expects. Each must be there, and no other."""
    import numpy as np

    table = dict(_EMBEDDINGS)
    for layer in range(config.num_hidden_layers):
        table |= {f"encoder.layer.{layer}.{old}": f"blk.{layer}.{new}" for old, new in _LAYER.items()}
    renamed = {}
    done, total = 0, sum(array.nbytes for array in tensors.values())
    for full, array in tensors.items():
        done += array.nbytes
        name = full.removeprefix("bert.")
        part, _, kind = name.rpartition(".")
        if name in _UNUSED:
            continue
        if part not in table or kind not in ("weight", "bias"):
            raise SourceError(f"tensor {full!r} does not belong to plain BERT; use a GGUF of this model.")
        new = f"{table[part]}.{kind}"
        f32 = array.ndim == 1 or new in _ALWAYS_F32
        renamed[new] = array.astype(np.float32 if f32 else np.float16)
        report(done, total)
    tables = set(list(_EMBEDDINGS.values())[:3])  # tables have no bias
    needed = {f"{n}.weight" for n in table.values()} | {f"{n}.bias" for n in table.values() if n not in tables}
    if renamed.keys() != needed:
        raise SourceError(f"tensors are missing: {', '.join(sorted(needed ^ renamed.keys())[:5])}; pull again.")
    if renamed["token_embd.weight"].shape != (config.vocab_size, config.hidden_size):
        raise SourceError("the embedding table does not have the shape config.json states; pull again.")
    return renamed


def _add_vocabulary(writer: Any, folder: Path, config: _Config) -> None:
    """Tokens as llama.cpp's WordPiece wants them: word starts marked, `##` of continuations removed."""
    import gguf

    settings = folder / "tokenizer_config.json"
    if settings.exists() and not _read(settings, _Tokenizer).do_lower_case:
        raise SourceError("the tokenizer keeps upper case, which llama.cpp's WordPiece does not; use a GGUF.")
    words = _vocabulary(folder)
    if len(words) != config.vocab_size or len(set(words)) != len(words):
        raise SourceError(f"the vocabulary has {len(words)} words where {config.vocab_size} are needed.")
    special = {name: words.index(f"[{name}]") if f"[{name}]" in words else -1
               for name in ("CLS", "SEP", "UNK", "PAD", "MASK")}  # fmt: skip
    if min(special["CLS"], special["SEP"], special["UNK"], special["PAD"]) < 0:
        raise SourceError("the vocabulary lacks [CLS], [SEP], [UNK] or [PAD]; it is not BERT's.")
    writer.add_tokenizer_model("bert")
    writer.add_token_list([_marked(word) for word in words])
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control if i in special.values() else normal for i in range(len(words))])
    writer.add_token_type_count(config.type_vocab_size)
    writer.add_bos_token_id(special["CLS"])
    writer.add_eos_token_id(special["SEP"])
    writer.add_unk_token_id(special["UNK"])
    writer.add_sep_token_id(special["SEP"])
    writer.add_pad_token_id(special["PAD"])
    if special["MASK"] >= 0:
        writer.add_mask_token_id(special["MASK"])


def _marked(word: str) -> str:
    if word.startswith("[") and word.endswith("]"):
        return word
    return word[2:] if word.startswith("##") else _WORD_START + word


def _vocabulary(folder: Path) -> list[str]:
    plain = folder / "vocab.txt"
    if plain.exists():
        return plain.read_text("utf-8").rstrip("\n").split("\n")
    vocab = _read(folder / "tokenizer.json", _TokenizerFile).model.vocab
    if sorted(vocab.values()) != list(range(len(vocab))):
        raise SourceError("tokenizer.json numbers its words with gaps; use a GGUF of this model.")
    return sorted(vocab, key=vocab.__getitem__)


def _pooling(folder: Path) -> Any:
    import gguf

    path = folder / "1_Pooling" / "config.json"
    modes = _read(path, _Pooling) if path.exists() else _Pooling()
    if modes.pooling_mode_mean_tokens == modes.pooling_mode_cls_token:
        raise SourceError("1_Pooling/config.json asks for a pooling other than mean or first token.")
    return gguf.PoolingType.MEAN if modes.pooling_mode_mean_tokens else gguf.PoolingType.CLS


def _read(path: Path, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, *UNREADABLE) as e:
        raise SourceError(f"{path.name} cannot be read ({e}); pull the model again.") from e


def _tell(done: int, total: int) -> None:
    sys.stdout.write(f"{done} {total}\n")
    sys.stdout.flush()


def main() -> int:
    """Convert FOLDER to OUT; on failure one line on stderr and exit status 1."""
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]), _tell)
    except SourceError as e:
        sys.stderr.write(f"{e.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
