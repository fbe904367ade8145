#!/usr/bin/env python3
"""Six models in the memory of three, 32 clients, and a worker killed every second: what gets lost, and what is left.

    fleet_storm.py                2,000 requests
    fleet_storm.py --no-budget    the same with memory for all
    fleet_storm.py --requests 500 --every 0.5

Runs a gateway of its own with tiny random weights on the built-in engine. The bars: no request is lost or refused
before its first byte and no stream ends without saying why; the workers' memory, summed from /proc ten times a second,
is never above the budget; every model answers afterwards; no process, port or folder is left. No client asks twice.
Linux only. Exit code 1 when a bar is missed.
"""

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit"))

import tiny_gguf
from kill_storm import RIGHT, Fate, ask
from live_gateway import LiveGateway, is_refused

MODELS = tuple(f"m{number}" for number in range(1, 7))
FIT = 3.5
"""The budget, in sizes of one model as the gateway tells it: three fit and four do not."""
MODEL = "  NAME: {source: 'file:FOLDER/NAME.gguf', context: 512, parallel: 4, prompt_cache: 0}\n"
CONFIG = "server: {port: 0}\nroles: {standard: [m1]}\nmemory: {budget: BUDGET}\nmodels:\n" + "".join(
    MODEL.replace("NAME", m) for m in MODELS
)
SAMPLE_S = 0.1
SEED = 18


class Watch:
    """What the system says of the gateway's processes, sampled in a thread of its own."""

    def __init__(self, gateway: LiveGateway) -> None:
        self.gateway = psutil.Process(gateway.pid)
        self.seen: dict[int, psutil.Process] = {}
        self.ports: set[int] = set()
        self.sums_mb: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def running(self) -> Iterator["Watch"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._thread.join()

    def workers(self) -> list[psutil.Process]:
        """All that the gateway started and that lives."""
        with suppress(psutil.Error):
            return [p for p in self.gateway.children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
        return []

    @staticmethod
    def memory_mb(processes: list[psutil.Process]) -> float:
        """What they hold together: a page that several processes share counts once (Pss)."""
        kib = 0
        for process in processes:
            with suppress(OSError):  # it ended just now
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
                kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return kib / 1024

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            workers = self.workers()
            self.seen.update({p.pid: p for p in workers})
            self.sums_mb.append(self.memory_mb(workers))
            with suppress(psutil.Error):
                if len(self.sums_mb) % 10 == 1:
                    for process in (self.gateway, *workers):
                        self.ports |= {c.laddr.port for c in process.net_connections("tcp") if c.status == "LISTEN"}

    def left(self) -> list[psutil.Process]:
        """Those of all that were seen that live still, after the gateway has ended."""
        _, alive = psutil.wait_procs(list(self.seen.values()), timeout=5)
        return [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


class Storm:
    """The clients, and who kills."""

    def __init__(self, gateway: LiveGateway, requests: int, clients: int, every_s: float) -> None:
        self.gateway = gateway
        self.fates: list[tuple[str, Fate]] = []
        self.kills: Counter[str] = Counter()
        self._left = iter(range(requests))
        self._lock = threading.Lock()
        self._clients = clients
        self._every_s = every_s
        self._over = threading.Event()

    def run(self) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        killer = threading.Thread(target=self._kill)
        killer.start()
        with ThreadPoolExecutor(self._clients) as threads:
            for each in [threads.submit(self._ask, number) for number in range(self._clients)]:
                each.result()
        took_s = time.monotonic() - began
        self._over.set()
        killer.join()
        return took_s

    def _ask(self, client: int) -> None:
        chance = random.Random(SEED * 1000 + client)
        while True:
            with self._lock:
                if next(self._left, None) is None:
                    return
            model, streams, tokens = chance.choice(MODELS), chance.random() < 0.5, chance.randrange(2, 12)
            fate = ask(self.gateway, model, f"Say {tokens} words.", streams=streams, tokens=tokens)
            self.fates.append((model, fate))

    def _kill(self) -> None:
        chance = random.Random(SEED)
        while not self._over.wait(self._every_s):
            models = self.gateway.get("/admin/status").json["models"]
            running = [m for m in models if m["pid"] and m["state"] in ("ready", "loading", "draining")]
            if running:
                victim = chance.choice(running)
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(victim["pid"]).send_signal(signal.SIGKILL)
                    self.kills[victim["state"]] += 1


def sizes_mb(folder: Path, config: str) -> tuple[float, float]:
    """What one model takes as the gateway forecasts it, and as it is once it has answered some requests."""
    with LiveGateway(folder / "one", config.replace("BUDGET", "auto")) as gateway:
        for number in range(4):
            answer = gateway.chat(MODELS[0], f"Say {number} words. " * 10, max_tokens=12)
            assert answer.status == 200, answer.body
        watch = Watch(gateway)
        listed = gateway.get("/v1/models").json["data"]
        told = next(each["memory"]["most_bytes"] for each in listed if each["id"] == MODELS[0])
        return told / (1 << 20), watch.memory_mb(watch.workers())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--every", type=float, default=1.0, help="seconds from one kill to the next")
    parser.add_argument("--no-budget", action="store_true", help="memory for all models")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, model in enumerate(MODELS):
            tiny_gguf.write(folder / f"{model}.gguf", seed=number)
        config = CONFIG.replace("FOLDER", name)
        one_mb, measured_mb = sizes_mb(folder, config)
        print(f"one model: {one_mb:.0f} MB told, {measured_mb:.0f} MB measured with all that was started")
        budget_mb = float("inf") if given.no_budget else FIT * one_mb
        budget = "auto" if given.no_budget else str(int(budget_mb * (1 << 20)))
        gateway = LiveGateway(folder / "six", config.replace("BUDGET", budget)).start()
        watch = Watch(gateway)
        try:
            with watch.running():
                storm = Storm(gateway, given.requests, given.clients, given.every)
                took_s = storm.run()
                after = {model: gateway.chat(model, "Say hi.", max_tokens=2).status for model in MODELS}
            loads = gateway.log().count(" loaded m")
            gateway.send(signal.SIGTERM)
            ended = gateway.wait()
            left = watch.left()
        finally:
            if gateway.runs:
                gateway.stop()
        return report(storm, watch, took_s, budget_mb, after, loads, ended, left)


def report(
    storm: Storm,
    watch: Watch,
    took_s: float,
    budget_mb: float,
    after: dict[str, int],
    loads: int,
    ended: int,
    left: list[psutil.Process],
) -> int:
    """Print what happened and each bar; 1 when one is missed."""
    fates = Counter(fate.kind for _, fate in storm.fates)
    times = sorted(fate.seconds for _, fate in storm.fates)
    over = [each for each in watch.sums_mb if each > budget_mb]
    ports = [port for port in watch.ports if not is_refused(f"http://127.0.0.1:{port}")]
    folders = [
        f for base in ("/tmp", tempfile.gettempdir()) for f in Path(base).glob(f"rolecast-{watch.gateway.pid}-*")
    ]
    wrong = [(model, fate) for model, fate in storm.fates if fate.kind not in RIGHT]
    kinds = ", ".join(f"{fates[kind]} {kind}" for kind in (*RIGHT, "refused", "lost", "cut"))
    killed = ", ".join(f"{count} {state}" for state, count in storm.kills.items())
    print(f"{len(storm.fates)} requests in {took_s:.1f} s: {kinds}")
    print(f"{storm.kills.total()} kills ({killed}), {loads} loads")
    print(f"answers after: median {pick(times, 0.5):.2f} s, p95 {pick(times, 0.95):.2f} s, longest {times[-1]:.2f} s")
    print(f"budget {budget_mb:.0f} MB, most {max(watch.sums_mb):.0f} MB")
    bars = {
        "no request lost or refused before its first byte, no stream cut": not wrong,
        f"never above the budget in {len(watch.sums_mb)} samples": not over,
        "all six models answer afterwards": set(after.values()) == {200},
        f"none of {len(watch.seen)} processes left": not left,
        f"none of {len(watch.ports)} ports left, nor the folder of sockets": not (ports or folders),
        "the gateway ends with code 0": ended == 0,
    }
    for text, kept in bars.items():
        print(f"{'yes' if kept else 'NO ':3}  {text}")
    for model, fate in wrong[:10]:
        print(f"     {model} {fate.kind} after {fate.seconds:.1f} s: {fate.detail[:300]}")
    return 0 if all(bars.values()) else 1


def pick(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(share * len(times)))]


if __name__ == "__main__":
    sys.exit(main())
