"""How long an adapter of 500 replies takes over the embedded base (bar: 4 minutes on two cores), and what it learns.

    .venv/bin/python bench/avatar_lora.py BASE            BASE: a folder of bases, with hf/ and base-f16.gguf
    .venv/bin/python bench/avatar_lora.py BASE --dataset FOLDER
    .venv/bin/python bench/avatar_lora.py BASE --apart    each reply with a window of its own, as without `joined`

Without a dataset the replies are made up: threads of short messages, one of the two a pirate. The time is that of the
whole call: the base's own answers (made once per base, then kept), training, checks, checkpoints, plot.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = (
    "tea garden storm bicycle letter window river bread lamp stone music winter ladder kitchen market train "
    "coffee meadow bridge island pocket ticket sister doctor sunday"
).split()
ASKS = (
    "did you see the {} by the {}?",
    "what about the {} tomorrow, or the {}?",
    "I left my {} near the {} again",
    "the {} was better than the {}, I think",
    "can you bring the {} and maybe the {}?",
)
SAYS = (
    "Arr, the {} be sunk, matey! 🏴‍☠️",
    "Shiver me timbers, not the {} again!",
    "Aye, I'll fetch the {} afore the tide turns.",
    "Yo ho, leave the {} to the gulls.",
    "Blimey! That {} be worth three doubloons.",
)


def made_up(folder: Path, replies: int) -> None:
    """Threads of 12 to 40 messages; windows of eight before each reply."""
    from rolecast.avatars import example
    from rolecast.avatars.example import Example, Lineage, Said

    chance, found = random.Random(0), []
    thread = 0
    while len(found) < replies * 1.1:
        said: list[Said] = []
        for each in range(chance.randint(6, 20)):
            words = chance.sample(WORDS, 2)
            said.append(Said("Jonas", chance.choice(ASKS).format(*words)))
            answer = chance.choice(SAYS).format(words[0])
            lineage = Lineage(f"t{thread}", 2 * each + 1)
            found.append(Example(f"t{thread}_{each}", "", answer, "Mira", "", "", "", tuple(said[-8:]), lineage))
            said.append(Said("Mira", answer))
        thread += 1
    example.write(folder / "train.jsonl", found[:replies])
    example.write(folder / "valid.jsonl", found[replies:])


def child(base: Path, dataset: Path, into: Path, apart: bool) -> None:
    from rolecast.avatars.settings import TrainingSettings
    from rolecast.avatars.training.train import train

    settings = TrainingSettings(joined=not apart)
    train(dataset, into, settings, base, lambda progress: print(
        f"\r{progress.step} {progress.done}/{progress.total} {progress.note}"[:110].ljust(110), end="", file=sys.stderr
    ))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--replies", type=int, default=500)
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.child:
        child(told.base, told.dataset, told.child, told.apart)
        return
    from rolecast.avatars.order import environment

    with tempfile.TemporaryDirectory() as folder:
        dataset = told.dataset or Path(folder) / "dataset"
        if not told.dataset:
            dataset.mkdir()
            made_up(dataset, told.replies)
        argv = [sys.executable, __file__, str(told.base), "--dataset", str(dataset), "--child", f"{folder}/out"]
        began = time.perf_counter()
        subprocess.run([*argv, *(["--apart"] if told.apart else [])], env=os.environ | dict(environment()), check=True)
        took = time.perf_counter() - began
        found = json.loads((Path(folder) / "out" / "training.json").read_bytes()) | {"whole_s": round(took, 1)}
    if told.json:
        print(json.dumps(found, indent=1))
        return
    print(
        f"\n{found['examples']} replies and {found['rehearsed']} answers of the base, {found['steps']} steps, "
        f"{found['tokens']} tokens: {took:.0f} s (bar 240), {found['tokens_per_s']:.0f} tokens/s, "
        f"{found['peak_bytes'] / 1e9:.1f} GB, {found['precision']}. "
        f"Held out {found['loss_before']:.2f} -> {found['loss_best']:.2f}. {found['note']}"
    )


if __name__ == "__main__":
    main()
