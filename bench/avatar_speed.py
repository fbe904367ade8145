#!/usr/bin/env python3
"""How fast the model from scratch answers through its GGUF.

    avatar_speed.py [--trained FOLDER] [--threads N] [--tokens 200] [--rounds 5]

One and ten sessions at a time: milliseconds to the first token, tokens a second. Random weights of the full size
(512 wide, 6 layers, 50,000 tokens) are taken without `--trained`: they are as fast. What adapters over one base weigh,
`avatars_serving.py` says.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

from rolecast.avatars.export import gguf, parity
from rolecast.avatars.inference.engine import Engine
from rolecast.avatars.inference.sampling import Sampling

GREEDY = Sampling(temperature=0, repetition_penalty=1.1)


def random_model(folder: Path, vocabulary: int = 50_000) -> Path:
    """A folder as the training from scratch writes it, untrained. Rows of the embedding without a token stay unused."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    special = [AddedToken(each, special=True) for each in ("<pad>", "<unk>", "<|im_start|>", "<|im_end|>")]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        parity.TEXTS * 3,
        trainers.BpeTrainer(vocab_size=1000, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=6,
        num_attention_heads=8,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for each in model.parameters():
            if each.ndim > 1:
                each.normal_(0, 0.06)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>", pad_token="<pad>").save_pretrained(folder)
    return folder


def together(engine: Engine, prompts: list[str], tokens: int) -> list[tuple[float, int]]:
    """Seconds and tokens of each reply, all asked at the same time."""
    found: list[tuple[float, int]] = []

    def one(prompt: str) -> None:
        started = time.perf_counter()
        length = len(list(engine.tokens(prompt, GREEDY, tokens)))
        found.append((time.perf_counter() - started, length))

    threads = [threading.Thread(target=one, args=(each,)) for each in prompts]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return found


def speed(path: Path, sessions: int, told: argparse.Namespace) -> None:
    with Engine(path, parallel=sessions, context=1024, threads=told.threads) as engine:
        engine.generate("warm up", GREEDY, 8)
        firsts, rates = [], []
        for turn in range(told.rounds):
            asked = [
                f"Session {number} of turn {turn}: what did we say on {number}/{turn}?" for number in range(sessions)
            ]
            # A reply of one token: the untrained say much that is no whole character, which no piece of text shows.
            firsts += [took for took, _ in together(engine, asked, 1)]
            found = together(engine, [f"And {each}" for each in asked], told.tokens)
            rates.append(sum(length for _, length in found) / max(took for took, _ in found))
        print(
            f"{path.stem:5} {sessions:2} sessions: first token {1000 * statistics.median(firsts):.0f} ms "
            f"(worst {1000 * max(firsts):.0f}), {statistics.median(rates):.0f} tokens/s together "
            f"({min(rates):.0f} to {max(rates):.0f})",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        trained = told.trained or random_model(work / "scratch")
        for form in ("f16", "q8_0"):
            path = gguf.export(trained, work, form, verify=False)
            for sessions in (1, 10):
                speed(path, sessions, told)


if __name__ == "__main__":
    main()
