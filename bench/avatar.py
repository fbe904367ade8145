"""How fast a small transformer is trained from nothing, beside a plain Hugging Face Trainer in fp32.

    make bench-avatar                       three alternating rounds, each run in a process of its own
    make bench-avatar ARGS="--quick"        one round, few steps
    make bench-avatar ARGS="--compiled"     with a run of torch.compile
    make bench-avatar ARGS="--json"

Both train the same 50.8 M parameters (512 / gated 2048 / 8 heads / 6 layers / vocabulary 50,000) from the same weights
on the same batches of 4 x 512 tokens. Figures are of the same machine at the same time: the ratios count. On a GPU
that PyTorch sees, the same script prints tokens/s and the share of the card's matmul peak.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

VOCABULARY, LENGTH, BATCH, RATE = 50_000, 512, 4, 5e-4
RESPONSE = 0.4
"""Share of tokens that are replies, in the run that learns replies alone."""
BARS = {"all tokens": 2.5, "replies alone": 3.5}


def corpus(rows: int, seed: int) -> np.ndarray:
    """Text of a sort: words by Zipf's law, every second one fixed by the one before it, so that there is to learn."""
    chance = np.random.default_rng(seed)
    words = np.minimum(9 + chance.zipf(1.3, (rows, LENGTH)), VOCABULARY - 1)
    follow = 9 + (np.arange(VOCABULARY) * 7919) % (VOCABULARY - 9)
    words[:, 1::2] = follow[words[:, 0::2]]
    return words.astype(np.int64)


def masks(rows: int) -> np.ndarray:
    """Replies: the last part of each stretch of 64 tokens."""
    at = np.arange(LENGTH) % 64 >= round(64 * (1 - RESPONSE))
    return np.broadcast_to(at, (rows, LENGTH)).copy()


def start(folder: Path) -> None:
    """The weights that all runs begin with."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from rolecast.avatars.settings import TrainingSettings
    from rolecast.avatars.training import scratch

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**scratch.config(TrainingSettings(method="scratch"), VOCABULARY))).save_pretrained(
        folder
    )


def flops(tokens: int, learnt: int) -> float:
    """Of matrix products, forward and backward: 6 for each weight of a layer and token, the head where it is needed,
    causal attention."""
    layers = 6 * (4 * 512 * 512 + 3 * 512 * 2048)
    return 6.0 * (layers * tokens + 512 * VOCABULARY * learnt) + 12 * 6 * 512 * (LENGTH / 2) * tokens


def ours(folder: Path, steps: int, batch: int, way: str) -> dict:
    import torch

    from rolecast.avatars.settings import TrainingSettings
    from rolecast.avatars.training import models, precision, torch_engine
    from rolecast.avatars.training.engine import Batch, Start

    settings = TrainingSettings(method="scratch", compiled=way == "compiled", batch=batch)
    engine = torch_engine.engine(Start("scratch", folder, LENGTH, steps), settings)
    data, learnt = corpus(batch * steps, 1), np.ones((batch * steps, LENGTH), bool)
    if way == "replies alone":
        learnt = masks(batch * steps)
    learnt[:, 0] = False
    marks = [(time.perf_counter(), time.process_time())]
    for step in range(steps):
        rows = slice(step * batch, (step + 1) * batch)
        part = Batch(data[rows], learnt[rows])
        engine.gradient(part, part.count)
        engine.apply(RATE)
        marks.append((time.perf_counter(), time.process_time()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if engine.device.startswith("cuda"):
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
    valid, all_of = corpus(8, 2), np.ones((8, LENGTH), bool)
    all_of[:, 0] = False
    held = Batch(valid, all_of)
    size = 4096 if engine.device.startswith("cuda") else 2048
    best = precision.speeds(models.device(), size, size, size, 3.0)
    done = flops(batch * LENGTH, int(learnt[:batch].sum()))
    return {
        "marks": marks,
        "peak": peak,
        "loss": engine.loss(held) / held.count,
        "engine": f"{engine.device}, {engine.precision}",
        "flops": done,
        "best": best[0] if engine.precision == "bf16" else best[1],
    }


def trainer(folder: Path, steps: int, batch: int) -> dict:
    import torch
    import transformers

    model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    data = corpus(batch * steps, 1)

    class Rows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(data)

        def __getitem__(self, at: int) -> dict:
            row = torch.from_numpy(data[at])
            return {"input_ids": row, "labels": row}

    marks = []

    class Marks(transformers.TrainerCallback):
        def on_step_begin(self, *_, **__):
            if not marks:
                marks.append((time.perf_counter(), time.process_time()))

        def on_step_end(self, *_, **__):
            marks.append((time.perf_counter(), time.process_time()))

    class InOrder(transformers.Trainer):
        def get_train_dataloader(self):
            return torch.utils.data.DataLoader(Rows(), batch_size=batch, shuffle=False)

    with tempfile.TemporaryDirectory() as out:
        told = transformers.TrainingArguments(
            output_dir=out,
            per_device_train_batch_size=batch,
            max_steps=steps,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=1.0,
            report_to=[],
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
            optim="adamw_torch_fused",
        )
        InOrder(model=model, args=told, train_dataset=Rows(), callbacks=[Marks()]).train()
    cuda = next(model.parameters()).is_cuda
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    valid, total = torch.from_numpy(corpus(8, 2)).to(model.device), 0.0
    with torch.no_grad():
        for row in valid:
            total += float(model.eval()(input_ids=row[None], labels=row[None]).loss)
    return {"marks": marks, "peak": peak, "loss": total / 8, "engine": "cuda, fp32" if cuda else "cpu, fp32"}


def run(way: str, folder: Path, steps: int, batch: int) -> dict:
    """One run in a process of its own: ours with the variables that the product gives it, the other without."""
    from rolecast.avatars.order import environment

    env = os.environ | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    if way != "trainer":
        env |= dict(environment(env))
    argv = [sys.executable, __file__, "--child", way, "--folder", str(folder)]
    argv += ["--steps", str(steps), "--batch", str(batch)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    # The first two steps take memory and compile.
    skip = 2 if len(found["marks"]) > 4 else 1
    (wall, cpu), (end, cpu_end) = found["marks"][skip], found["marks"][-1]
    tokens = (len(found["marks"]) - 1 - skip) * batch * LENGTH
    return found | {
        "tokens": batch * LENGTH,
        "speed": tokens / (end - wall),
        "per_cpu": tokens / max(1e-9, cpu_end - cpu),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of few steps")
    parser.add_argument("--compiled", action="store_true", help="with torch.compile as well")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.child:
        folder = Path(told.folder)
        made = (
            trainer(folder, told.steps, told.batch)
            if told.child == "trainer"
            else ours(folder, told.steps, told.batch, told.child)
        )
        print(json.dumps(made))
        return
    rounds, steps = (1, 5) if told.quick else (told.rounds, told.steps)
    ways = ["trainer", "all tokens", "replies alone", *(["compiled"] if told.compiled else [])]
    found: dict[str, list[dict]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        start(Path(folder))
        for number in range(rounds):
            for way in ways:
                found[way].append(run(way, Path(folder), steps, told.batch))
                each = found[way][-1]
                print(f"round {number + 1}: {way:14} {each['speed']:7.0f} tokens/s, {each['peak'] / 1e9:.2f} GB, "
                      f"held out {each['loss']:.3f}", file=sys.stderr)  # fmt: skip
    report(found, told.json)


def report(found: dict[str, list[dict]], as_json: bool) -> None:
    """Ratios within each round, their median; all else as medians."""
    rows = {}
    for way, runs in found.items():
        row = {key: statistics.median(each[key] for each in runs) for key in ("speed", "per_cpu", "peak", "loss")}
        row["engine"] = runs[0]["engine"]
        for key in ("speed", "per_cpu", "peak"):
            row[f"{key}_ratio"] = statistics.median(
                each[key] / other[key] for each, other in zip(runs, found["trainer"], strict=True)
            )
        if "flops" in runs[0]:
            row["share_of_peak"] = statistics.median(
                each["flops"] * each["speed"] / (each["best"] * each["tokens"]) for each in runs
            )
            row["peak_flops"] = max(each["best"] for each in runs)
        rows[way] = row
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    head = ("tokens/s", "times", "bar", "by CPU", "GB", "of it", "held out", "of peak")
    print(f"\n{'':14} " + " ".join(f"{each:>8}" for each in head) + "  on")
    for way, row in rows.items():
        shown = (
            f"{row['speed']:.0f}",
            f"{row['speed_ratio']:.2f}",
            str(BARS.get(way, "")),
            f"{row['per_cpu_ratio']:.2f}",
            f"{row['peak'] / 1e9:.2f}",
            f"{row['peak_ratio']:.0%}",
            f"{row['loss']:.3f}",
            f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else "",
        )
        peak = f"; peak {row['peak_flops'] / 1e9:.0f} GFLOP/s" if "peak_flops" in row else ""
        print(f"{way:14} " + " ".join(f"{each:>8}" for each in shown) + f"  {row['engine']}{peak}")
    print(
        "\n`times`: tokens/s against the Trainer's, in rounds that alternate (memory's bar: 50%). `by CPU`: by\n"
        "seconds of CPU time, which others on the machine disturb less. `replies alone` learns 40%: less work."
    )


if __name__ == "__main__":
    main()
