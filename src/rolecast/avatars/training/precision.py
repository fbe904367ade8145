"""Which numbers a machine is faster with, by a short measurement, and how fast it multiplies matrices at all."""

import time

import torch

from rolecast.avatars.training.engine import Precision

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WORTH = 1.2
"""So much faster must bf16 be: it rounds."""
SECONDS = 2.0
"""For both together, at most."""


def choose(
    device: torch.device,
    wanted: str,
    rows: int = 512,
    width: int = 512,
    across: int = 2048,
    seconds: float = SECONDS,
) -> Precision:
    """`wanted`, or with `auto` bf16 where products of (rows, width) and (width, across) are clearly faster in it. Some
    processors have instructions for bf16 and others only imitate them."""
    if wanted == "fp32" or wanted == "bf16":
        return "bf16" if wanted == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    narrow, wide = speeds(device, rows, width, across, seconds)
    return "bf16" if narrow > WORTH * wide else "fp32"


def speeds(device: torch.device, rows: int, width: int, across: int, seconds: float) -> tuple[float, float]:
    """FLOP/s of a matrix product in bf16 and in fp32: the best of rounds that alternate, so that what else runs on the
    machine slows both."""
    best = {"bf16": float("inf"), "fp32": float("inf")}
    generator = torch.Generator().manual_seed(0)  # the global one belongs to the training
    pairs = {}
    for name in best:
        a, b = (torch.randn(shape, generator=generator) for shape in ((rows, width), (width, across)))
        pairs[name] = a.to(device, TYPES[name]), b.to(device, TYPES[name])
        pairs[name][0] @ pairs[name][1]
    ends = time.perf_counter() + seconds
    for _ in range(50):
        for name, (a, b) in pairs.items():
            began = time.perf_counter()
            (a @ b)[0, 0].item()  # waits for a device
            best[name] = min(best[name], time.perf_counter() - began)
        if time.perf_counter() > ends:
            break
    work = 2 * rows * width * across
    return work / best["bf16"], work / best["fp32"]
