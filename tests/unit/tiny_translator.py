"""A translation model of a few kilobytes in CTranslate2's format, with NLLB's architecture and random weights.

Written by ctranslate2's own converter, so that it is loaded and run as any converted model. What it says means nothing,
and is the same every time.
"""

import io
import json
from pathlib import Path
from typing import Any

CODES = ("eng_Latn", "spa_Latn", "fra_Latn", "deu_Latn", "zho_Hans")
WIDTH, LAYERS, HEADS, POSITIONS = 16, 1, 2, 512
_SENTENCES = (
    "the quick brown fox jumps over the lazy dog",
    "der schnelle braune fuchs springt ueber den faulen hund",
    "hello world how are you today",
    "one two three four five six seven eight nine ten",
    "la casa es grande y el perro es rapido",
)


def write(folder: Path, *, codes: tuple[str, ...] = CODES) -> Path:
    """A converted model in that folder, which must be empty; gives its `model.bin`."""
    pieces = _tokenizer(folder)
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *pieces, *codes, "<mask>"]
    _spec(vocabulary).save(str(folder))
    assert (folder / "model.bin").is_file()
    assert json.loads((folder / "config.json").read_text())["decoder_start_token"] == "</s>"
    return folder / "model.bin"


def _tokenizer(folder: Path) -> list[str]:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 20),
        model_writer=model,
        vocab_size=80,
        model_type="bpe",
        character_coverage=1.0,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sentencepiece.bpe.model").write_bytes(model.getvalue())
    found = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [found.id_to_piece(number) for number in range(3, found.get_piece_size())]


def _spec(vocabulary: list[str]) -> Any:
    import numpy as np
    from ctranslate2.specs import TransformerSpec
    from ctranslate2.specs.common_spec import Activation

    spec = TransformerSpec.from_config(
        (LAYERS, LAYERS), HEADS, pre_norm=True, activation=Activation.RELU, layernorm_embedding=False
    )
    draw = np.random.default_rng(7)

    def some(*shape: int) -> Any:
        return (draw.standard_normal(shape) * 0.3).astype(np.float32)

    def linear(layer: Any, out: int, into: int) -> None:
        layer.weight, layer.bias = some(out, into), some(out)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)

    embedding = some(len(vocabulary), WIDTH)
    positions = some(POSITIONS, WIDTH)
    for side in (spec.encoder, spec.decoder):
        side.scale_embeddings = True
        side.position_encodings.encodings = positions
        norm(side.layer_norm)
        for layer in side.layer:
            norm(layer.self_attention.layer_norm)
            linear(layer.self_attention.linear[0], 3 * WIDTH, WIDTH)
            linear(layer.self_attention.linear[1], WIDTH, WIDTH)
            if side is spec.decoder:
                norm(layer.attention.layer_norm)
                linear(layer.attention.linear[0], WIDTH, WIDTH)
                linear(layer.attention.linear[1], 2 * WIDTH, WIDTH)
                linear(layer.attention.linear[2], WIDTH, WIDTH)
            norm(layer.ffn.layer_norm)
            linear(layer.ffn.linear_0, 4 * WIDTH, WIDTH)
            linear(layer.ffn.linear_1, WIDTH, 4 * WIDTH)
    spec.encoder.embeddings[0].weight = embedding
    spec.decoder.embeddings.weight = embedding
    spec.decoder.projection.weight = embedding
    spec.config.unk_token = "<unk>"
    spec.config.bos_token = "<s>"
    spec.config.eos_token = "</s>"
    spec.config.decoder_start_token = "</s>"
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    spec.validate()
    return spec
