#!/usr/bin/env python3
"""How soon a burst is answered by one copy of a model, by several, and by one with as many slots.

    fleet_replicas.py                     sixteen requests at once, three rounds of everything
    fleet_replicas.py --rounds 1 --only server

**server**: a worker with one slot that waits half a second for each answer and computes nothing, as one on a machine or
a GPU of its own does. **engine**: SmolLM2-135M by llama.cpp on this machine's processor, 32 tokens each.

The first burst finds one copy loaded and waits for the others; the next ones find all. All values are printed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit"))

from live_gateway import LiveGateway
from real_weights import fetch

BURST = 16
SCRIPT = "replies:\n  - {match: '.', reply: hi, delay: 0.5}\n"
WAYS = {
    "server": {"one copy": "", "three copies": "replicas: 3"},
    "engine": {"one copy": "", "two copies": "replicas: 2", "one copy, four slots": "parallel: 4"},
}
BODY = {"max_tokens": 32, "ignore_eos": True, "temperature": 0}


def config(kind: str, way: str, source: str) -> str:
    of = f"backend: fake, script: '{source}'" if kind == "server" else f"source: 'file:{source}', context: 512"
    parallel = "" if "parallel" in way else "parallel: 1, "
    model = f"{{{of}, {parallel}{way}}}".replace(", }", "}")
    return f"server: {{port: 0}}\nmodels:\n  m: {model}\nroles: {{standard: [m]}}\n"


def burst(gateway: LiveGateway) -> float:
    """Seconds until all of them have their answers."""
    began = time.perf_counter()
    with ThreadPoolExecutor(BURST) as pool:
        answers = list(pool.map(lambda n: gateway.chat("m", f"Count from {n}.", **BODY), range(BURST)))
    assert all(answer.status == 200 for answer in answers)
    return time.perf_counter() - began


def measure(kind: str, source: str, folder: Path, rounds: int) -> None:
    print(f"{BURST} requests at once, {kind}:")
    usual = 0.0
    for name, way in WAYS[kind].items():
        with LiveGateway(folder / kind / name.replace(" ", "-"), config(kind, way, source)) as gateway:
            gateway.chat("m", "hello", **BODY)
            first, *later = [burst(gateway) for _ in range(rounds + 1)]
        took = statistics.median(later)
        usual = usual or took
        values = " ".join(f"{value:.2f}" for value in later)
        print(f"  {name:22} first {first:6.2f} s, then {took:6.2f} s, ratio {took / usual:.2f}   {values}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=list(WAYS))
    parser.add_argument("--weights", type=Path, help="a GGUF in place of the one that is downloaded")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="replicas") as name:
        folder = Path(name)
        if asked.only != "engine":
            (script := folder / "script.yaml").write_text(SCRIPT)
            measure("server", str(script), folder, asked.rounds)
        if asked.only != "server":
            path = asked.weights or next(fetch(folder / "store").rglob("SmolLM2-135M*.gguf"))
            measure("engine", str(path), folder, asked.rounds)


if __name__ == "__main__":
    main()
