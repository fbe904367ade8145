"""A small Llama from nothing: its own byte-level BPE, its own chat template, its shape. Weights are the engine's."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rolecast.avatars import prompt
from rolecast.avatars.example import Example
from rolecast.avatars.settings import TrainingSettings
from rolecast.errors import Invalid

SPECIAL = (
    "<pad>",
    "<unk>",
    "<bos>",
    "<eos>",
    "<speaker1>",
    "<speaker2>",
    "<personality>",
    "<emotion>",
    "<relationship>",
)
"""Tokens 0 to 8, Avatar SLM's. speaker1 = the others, speaker2 = the person."""
TEMPLATE = (
    "<bos>{% for message in messages %}"
    "{% if message['role'] == 'system' %}<personality>{{ message['content'] }}"
    "{% elif message['role'] == 'assistant' %}<speaker2>{{ message['content'] }}<eos>"
    "{% else %}<speaker1>{{ message['content'] }}<eos>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<speaker2>{% endif %}"
)
"""How such a model is spoken to; written into its tokenizer and its GGUF, so that all use one text."""
ROPE_THETA = 10_000.0
LONGEST = 2048
"""Positions that the model may be asked for; rotary ones need no weights."""


def prepare(folder: Path, examples: Sequence[Example], settings: TrainingSettings) -> None:
    """Write a folder that an engine can start from: tokenizer and config.json. Raises Invalid for a shape that no
    Llama has."""
    check(settings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    size = tokenizer(folder, texts(examples), settings.vocabulary)
    (folder / "config.json").write_text(json.dumps(config(settings, size), indent=1, sort_keys=True))


def check(settings: TrainingSettings) -> None:
    """Raises Invalid for a shape that no Llama has."""
    if settings.width % (2 * settings.heads):
        raise Invalid(
            f"A width of {settings.width} cannot be shared by {settings.heads} heads of even size; "
            f"take {2 * settings.heads * max(1, round(settings.width / (2 * settings.heads)))}.",
            param="width",
        )
    if settings.vocabulary < len(SPECIAL) + 256:
        raise Invalid(f"A vocabulary needs {len(SPECIAL) + 256} tokens at least: all bytes.", param="vocabulary")


def config(settings: TrainingSettings, vocabulary: int) -> dict[str, object]:
    """transformers' words for that shape."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": 2,
        "dtype": "float32",
        "eos_token_id": 3,
        "head_dim": settings.width // settings.heads,
        "hidden_act": "silu",
        "hidden_size": settings.width,
        "initializer_range": 0.02,
        "intermediate_size": settings.hidden,
        "max_position_embeddings": max(LONGEST, settings.sequence),
        "mlp_bias": False,
        "num_attention_heads": settings.heads,
        "num_hidden_layers": settings.layers,
        "num_key_value_heads": settings.heads,
        "pad_token_id": 0,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": ROPE_THETA, "rope_type": "default"},
        "rope_theta": ROPE_THETA,  # mlx-lm reads it here
        "tie_word_embeddings": True,
        "vocab_size": vocabulary,
    }


def texts(examples: Iterable[Example]) -> Iterator[str]:
    """What a vocabulary is learnt from: each turn that a model will read or say."""
    for each in examples:
        yield each.target_text
        for turn in prompt.turns(each):
            yield turn.content


def tokenizer(folder: Path, said: Iterable[str], vocabulary: int) -> int:
    """Learn a byte-level BPE, write it as transformers' folder; its size, at most `vocabulary`. Any text comes back
    from its tokens as it was."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,  # a word that was said once is learnt from its parts
        special_tokens=[AddedToken(each, special=True, normalized=False) for each in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(said, trainer)
    whole = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=made,
        **{f"{each}_token": f"<{each}>" for each in ("pad", "unk", "bos", "eos")},
        additional_special_tokens=list(SPECIAL[4:]),
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )
    whole.save_pretrained(folder, save_jinja_files=False)
    return int(made.get_vocab_size())
