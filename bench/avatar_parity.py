#!/usr/bin/env python3
"""Whether exports answer as PyTorch does, on a real base: the table behind the bounds of `avatars.export.parity`.

    avatar_parity.py BASE.gguf [--adapter FOLDER] [--scratch FOLDER] [--prompts 24] [--count 24] [--work FOLDER]

Greedy replies of llama.cpp to prompts with digits, emoji and other scripts are judged by PyTorch in float32. Without
`--adapter` a LoRA with random matrices is taken, without `--scratch` a small model with random weights. The last row is
a control: the same file with rows in the wrong order must not pass. One thread is used; six minutes on a quiet machine.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
import warnings
from pathlib import Path

import avatar_speed
import torch

from rolecast.avatars.export import adapter, base, gguf, llama, parity, tensors, writing


def row(
    what: str,
    form: str,
    weights: Path,
    trained: Path,
    over: base.Base | None,
    told: argparse.Namespace,
    *,
    adapters: tuple[Path, ...] = (),
) -> bool:
    started = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):
        model, words = parity.load(trained, over)
    found = parity.compare(weights, model, words, adapters=adapters, prompts=told.prompts, count=told.count)
    fault = parity.fault(found, form)
    ties = ", ".join(f"{each:.4f}" for each in sorted(found.ties, reverse=True)[:4]) or "-"
    size = (adapters[0] if adapters else weights).stat().st_size / 1e6
    cells = (what, f"{size:.1f}", f"{found.exact} of {found.prompts}", found.tokens, ties, f"{found.drift:.1e}")
    same = f"{found.texts - len(found.cut_otherwise)} of {found.texts}"
    print("", *cells, same, fault or "same", f"{time.perf_counter() - started:.0f}", "", sep=" | ", flush=True)
    return not fault


def random_lora(folder: Path, over: base.Base) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    with contextlib.redirect_stderr(io.StringIO()):
        model = LlamaForCausalLM.from_pretrained(over.hf)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    for name, each in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(each, std=0.01)
    model.save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--work", type=Path)
    told = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        work = told.work or Path(temporary)
        over = base.prepared(told.base, into=work / "bases")
        lora = told.adapter or random_lora(work / "lora", over)
        scratch = told.scratch or avatar_speed.random_model(work / "scratch")
        heads = (
            "Export",
            "MB",
            "same replies",
            "tokens",
            "margins of others",
            "log p differs",
            "texts",
            "verdict",
            "s",
        )
        print("", *heads, "", sep=" | ")
        print("|" + "---|" * len(heads))
        good = True
        for form in ("f32", "f16", "q8_0"):
            good &= row(f"merged {form}", form, gguf.export(lora, work, form, over, verify=False), lora, over, told)
            (work / f"{form}.gguf").unlink()
        small = gguf.export(lora, work, "adapter", over, verify=False)
        good &= row("adapter f16 over base f16", "adapter", over.gguf, lora, over, told, adapters=(small,))
        exact, shape = work / "exact.gguf", llama.Shape.of_config(tensors.read_json(over.hf / "config.json"))
        adapter.write(exact, adapter.read(lora), shape, name="exact", base=over.digest, precise=True)
        writing.write(work / "base-f32.gguf", gguf.whole(over.hf, None, None), "f32")
        good &= row("adapter f32 over base f32", "f32", work / "base-f32.gguf", lora, over, told, adapters=(exact,))
        (work / "base-f32.gguf").unlink()
        for form in ("f32", "f16", "q8_0"):
            path = gguf.export(scratch, work, form, verify=False)
            good &= row(f"from scratch {form}", form, path, scratch, None, told)
        right, llama.paired = llama.paired, lambda rows, heads: rows
        path = gguf.export(scratch, work, "f16", verify=False)
        llama.paired = right
        good &= not row("control: rows in the wrong order", "f16", path, scratch, None, told)
    sys.exit(not good)


if __name__ == "__main__":
    main()
