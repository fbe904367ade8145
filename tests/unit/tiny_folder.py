"""A model of a few kilobytes as the hub keeps models: a folder of safetensors with random weights.

Its tokens are bytes, so that it knows every text; it writes letters, says the same every time, and hardly ever ends by
itself.
"""

import json
from pathlib import Path
from typing import Any

LAYERS, WIDTH, HEADS, KV_HEADS, INNER = 2, 32, 4, 2, 64
SPECIAL = ("<|end|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write(folder: Path, *, context: int = 4096, parts: int = 1, seed: int = 5) -> Path:
    """The model in that folder, its weights in so many files; gives its `config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = _tokenizer(folder)
    vocabulary = len(alphabet) + len(SPECIAL)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 256,
        "eos_token_id": 258,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    _weights(folder, alphabet, parts, seed)
    return folder / "config.json"


def _tokenizer(folder: Path) -> list[str]:
    """Writes it, and gives the letters that stand for its tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(alphabet)}, merges=[]))
    by_bytes: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = by_bytes
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(each, special=True, normalized=False) for each in SPECIAL])
    made.save(str(folder / "tokenizer.json"))
    told = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[2],
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return alphabet


def _weights(folder: Path, alphabet: list[str], parts: int, seed: int) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    draw, vocabulary = np.random.default_rng(seed), len(alphabet) + len(SPECIAL)

    def matrix(rows: int, columns: int) -> Any:
        return draw.normal(0, 0.3, (rows, columns)).astype(np.float32)

    head = WIDTH // HEADS
    tensors = {"model.embed_tokens.weight": matrix(vocabulary, WIDTH), "model.norm.weight": np.ones(WIDTH, np.float32)}
    tensors["lm_head.weight"] = matrix(vocabulary, WIDTH)
    # It writes letters, and next to never what ends an answer: no pull in any direction is less than the strongest.
    silent = [
        place for place, letter in enumerate([*alphabet, *SPECIAL]) if not (letter.isascii() and letter.isalnum())
    ]
    tensors["lm_head.weight"][silent] = 0
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        tensors |= {
            f"{at}.self_attn.q_proj.weight": matrix(HEADS * head, WIDTH),
            f"{at}.self_attn.k_proj.weight": matrix(KV_HEADS * head, WIDTH),
            f"{at}.self_attn.v_proj.weight": matrix(KV_HEADS * head, WIDTH),
            f"{at}.self_attn.o_proj.weight": matrix(WIDTH, HEADS * head),
            f"{at}.mlp.gate_proj.weight": matrix(INNER, WIDTH),
            f"{at}.mlp.up_proj.weight": matrix(INNER, WIDTH),
            f"{at}.mlp.down_proj.weight": matrix(WIDTH, INNER),
            f"{at}.input_layernorm.weight": np.ones(WIDTH, np.float32),
            f"{at}.post_attention_layernorm.weight": np.ones(WIDTH, np.float32),
        }
    if parts == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "mlx"})
        return
    names = sorted(tensors)
    files = {name: f"model-{place % parts + 1:05d}-of-{parts:05d}.safetensors" for place, name in enumerate(names)}
    for file in sorted(set(files.values())):
        own = {name: tensors[name] for name in names if files[name] == file}
        save_file(own, folder / file, metadata={"format": "mlx"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
