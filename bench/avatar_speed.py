#!/usr/bin/env python3
"""How fast the model from scratch answers through its GGUF, and what ten adapters over one base weigh.

    avatar_speed.py [--trained FOLDER] [--base BASE.gguf] [--threads N] [--tokens 200] [--rounds 5]

One and ten sessions at a time: milliseconds to the first piece, tokens a second. Random weights of the full size
(512 wide, 6 layers, 50,000 tokens) are taken without `--trained`: they are as fast. With `--base`, the memory of a
process with the base alone, and with ten adapters (rank 16, all linear layers).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from rolecast.avatars.export import gguf, parity
from rolecast.avatars.inference.engine import Engine
from rolecast.avatars.inference.sampling import Sampling

GREEDY = Sampling(temperature=0, repetition_penalty=1.1)
ADAPTERS = 10


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


def session(engine: Engine, prompt: str, tokens: int) -> tuple[float, float, int]:
    """Seconds to the first piece and to the end, and tokens."""
    started = time.perf_counter()
    first = 0.0
    for _ in engine.stream(prompt, GREEDY, tokens):
        first = first or time.perf_counter() - started
    whole = time.perf_counter() - started
    return first or whole, whole, tokens


def speed(path: Path, sessions: int, told: argparse.Namespace) -> None:
    with Engine(path, parallel=sessions, context=1024, threads=told.threads) as engine:
        session(engine, "warm up", 8)
        firsts, rates = [], []
        for turn in range(told.rounds):
            found: list[tuple[float, float, int]] = []
            prompts = [
                f"Session {number} of turn {turn}: what did we say on {number}/{turn}?" for number in range(sessions)
            ]
            lengths = [len(list(engine.tokens(each, GREEDY, told.tokens))) for each in prompts[:1]]
            threads = [
                threading.Thread(target=lambda each=each: found.append(session(engine, each, told.tokens)))
                for each in prompts
            ]
            started = time.perf_counter()
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            took = time.perf_counter() - started
            firsts += [each[0] for each in found]
            rates.append(sessions * lengths[0] / took)
        print(
            f"{path.stem:5} {sessions:2} sessions: first piece {1000 * statistics.median(firsts):.0f} ms "
            f"(worst {1000 * max(firsts):.0f}), {statistics.median(rates):.0f} tokens/s together "
            f"({min(rates):.0f} to {max(rates):.0f})",
            flush=True,
        )


def resident(weights: Path, adapters: list[Path]) -> float:
    """MB of anonymous memory of a process that has loaded them and answered with each."""
    script = (
        "import json,sys,xllamacpp,psutil,os\n"
        "from rolecast.avatars.export.llamacpp_side import parameters\n"
        "told=json.loads(sys.argv[1])\n"
        "p=parameters(told['weights'],tuple(told['adapters']),512,1)\n"
        "p.lora_init_without_apply=True\n"
        "p.hostnames=[told['socket']]\n"
        "s=xllamacpp.Server(p)\n"
        f"for i in range({ADAPTERS}):\n"
        "    which=[{'id':j,'scale':float(i==j)} for j in range(len(told['adapters']))]\n"
        "    s.handle_completions({'prompt':'hello there','n_predict':4,'lora':which})\n"
        "i=psutil.Process().memory_full_info()\n"
        "os.write(1,f'{(i.rss-i.shared)/1e6}'.encode()); os._exit(0)\n"
    )
    with tempfile.TemporaryDirectory(prefix="rolecast-") as folder:
        said = json.dumps(
            {"weights": str(weights), "adapters": [str(each) for each in adapters], "socket": f"{folder}/e.sock"}
        )
        done = subprocess.run([sys.executable, "-c", script, said], capture_output=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=Path)
    parser.add_argument("--base", type=Path)
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
        if told.base:
            import avatar_parity

            from rolecast.avatars.export import base

            over = base.prepared(told.base, into=work / "bases")
            small = gguf.export(avatar_parity.random_lora(work / "lora", over), work, "adapter", over, verify=False)
            ten = []
            for number in range(ADAPTERS):
                ten.append(work / f"adapter-{number}.gguf")
                ten[-1].write_bytes(small.read_bytes())
            alone, with_ten = resident(over.gguf, []), resident(over.gguf, ten)
            print(
                f"adapters: file {small.stat().st_size / 1e6:.1f} MB; base alone {alone:.0f} MB, "
                f"with {ADAPTERS} {with_ten:.0f} MB: {(with_ten - alone) / ADAPTERS:.1f} MB each"
            )


if __name__ == "__main__":
    main()
