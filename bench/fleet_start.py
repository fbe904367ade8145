#!/usr/bin/env python3
"""How soon a model answers that is not loaded: from the request to its first token, in turns with other ways.

    fleet_start.py                        ten rounds of everything
    fleet_start.py --rounds 3 --only swap

**swap**: A is loaded and B is asked, both 100 to 250 MB. A is unloaded; then from the request to B's first token with
this checkout, with the same without a zygote, and with the revision `--against`. Beside it what a policy of "stop,
start, load" takes in all: with our settings and new processes, and with the engine as it comes.

**cold**: one unloaded model of 100 MB behind the gateway, and the engine alone: Python with `xllamacpp` and nothing of
ours, the same settings, the same model, from the start of the process to the first token.

All values are printed. Ratios are medians of the rounds' ratios, so that a busy machine disturbs both sides of each.
"""

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import procfs
from versions import source_of

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit"))

from live_gateway import LiveGateway, Stream
from real_weights import fetch

from rolecast.backends.hardware import hardware
from rolecast.cli import random_weights

ROOT = Path(__file__).parent.parent
CONTEXT = 2048
ZYGOTE = "rolecast-zygote"
SWAP_BAR, COLD_BAR = 0.35, 1.15
CONFIG = """
server: {port: 0}
models:
  a: {source: "file:A", context: CONTEXT}
  b: {source: "file:B", context: CONTEXT}
roles: {standard: [a]}
"""
BODY = {"messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 2, "ignore_eos": True, "stream": True}
ALONE = """
import sys, threading
import xllamacpp
weights, address, context, ours = sys.argv[1:]
p = xllamacpp.CommonParams()
p.model.path, p.hostnames, p.n_ctx, p.n_parallel, p.ui = weights, [address], int(context), 1, False
if ours == "ours":
    p.fit_params, p.n_ubatch, p.cpuparams.n_threads, p.cpuparams_batch.n_threads = False, 128, THREADS, THREADS
    p.load_mode = xllamacpp.llama_load_mode["LLAMA_LOAD_MODE_MMAP"]
server = xllamacpp.Server(p)
threading.Event().wait()
"""


class Took(NamedTuple):
    """Seconds: of the stop before, and from the request to the first token."""

    stop: float
    first: float


def first_token_s(stream: Stream) -> float:
    """Seconds until the second event of a stream: the first may only say whose turn it is."""
    began = time.perf_counter()
    for _ in range(2):
        assert stream.event(), stream.response.status
    seconds = time.perf_counter() - began
    stream.rest()
    return seconds


def ask(gateway: LiveGateway, model: str) -> float:
    """Seconds from the request to the first token."""
    began = time.perf_counter()
    with Stream(gateway.url, "/v1/chat/completions", BODY | {"model": model}) as stream:
        first_token_s(stream)
        return time.perf_counter() - began


def unload(gateway: LiveGateway, model: str) -> float:
    began = time.perf_counter()
    assert gateway.post("/admin/unload", {"model": model}).status == 200
    return time.perf_counter() - began


def swap(gateway: LiveGateway, old: str, new: str) -> Took:
    ask(gateway, old)
    stop = unload(gateway, old)
    first = ask(gateway, new)
    unload(gateway, new)
    return Took(stop, first)


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("worker", timeout=120)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class Alone:
    """The engine by itself, in a process that imports nothing of ours."""

    def __init__(self, weights: Path, folder: Path, how: str) -> None:
        self._address = folder / "alone.sock"
        code = ALONE.replace("THREADS", str(hardware().cores))
        argv = [sys.executable, "-c", code, str(weights), str(self._address), str(CONTEXT), how]
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self.began = time.perf_counter()
        env |= {"GOMP_SPINCOUNT": "300"} if how == "ours" else {}
        nice = 5 if how == "ours" else 0
        self._child = subprocess.Popen(
            argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=lambda: os.nice(nice)
        )

    def first_token_s(self) -> float:
        """Seconds from its start to its first token."""
        while not self._healthy():
            assert self._child.poll() is None, "the engine ended"
            time.sleep(0.002)
        connection = _Unix(self._address)
        connection.request("POST", "/v1/chat/completions", json.dumps(BODY), {"content-type": "application/json"})
        answer, events = connection.getresponse(), 0
        while events < 2:
            line = answer.readline()
            assert line, answer.status
            events += line.startswith(b"data:")
        seconds = time.perf_counter() - self.began
        answer.read()
        connection.close()
        return seconds

    def _healthy(self) -> bool:
        connection = _Unix(self._address)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self) -> float:
        began = time.perf_counter()
        self._child.send_signal(signal.SIGKILL)  # the quickest end that anybody could give it
        self._child.wait()
        self._address.unlink(missing_ok=True)
        return time.perf_counter() - began


def alone(weights: Path, folder: Path, how: str) -> Took:
    engine = Alone(weights, folder, how)
    try:
        first = engine.first_token_s()
    finally:
        stop = engine.stop()
    return Took(stop, first)


def ready(gateway: LiveGateway) -> None:
    """Wait for the zygote, as a gateway that was just started has none."""
    end = time.monotonic() + 60
    while not any(_comm(pid) == ZYGOTE for pid in procfs.tree(gateway.pid)):
        assert time.monotonic() < end, "no zygote came"
        time.sleep(0.05)


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def row(name: str, values: list[float], against: list[float] | None = None) -> str:
    text = f"  {name:38} {statistics.median(values):6.2f} s, best {min(values):5.2f} s"
    if against:
        text += f", ratio {ratio(values, against):.2f}"
    return text + "   " + " ".join(f"{value:.2f}" for value in values)


def ratio(values: list[float], against: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(values, against, strict=True))


def gateways(stack: ExitStack, folder: Path, weights: dict[str, Path], revision: str) -> dict[str, LiveGateway]:
    """Those that are compared, by name; without a revision only the one that is to be quick."""
    config = CONFIG.replace("CONTEXT", str(CONTEXT)).replace("A", str(weights["a"]), 1)
    config = config.replace('"file:B"', f'"file:{weights["b"]}"')
    sources = {"zygote": ROOT / "src"}
    if revision:
        sources |= {"plain": ROOT / "src", "old": source_of(revision, folder / "revision")}
    texts = {"zygote": config, "plain": config + "memory: {zygote: 'off'}\n", "old": config}
    for source in {*sources.values()}:  # a user's package is compiled when it is installed
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(source)], check=False)
    found = {}
    for name, source in sources.items():  # each by its command, which is all that both know
        where = folder / name
        running = LiveGateway(where, texts[name], "--config", f"{where}/rolecast.yaml", PYTHONPATH=str(source))
        found[name] = stack.enter_context(running)
    return found


def measure_swap(running: dict[str, LiveGateway], weights: dict[str, Path], folder: Path, rounds: int) -> bool:
    took: dict[str, list[Took]] = {name: [] for name in (*running, "engine")}
    for turn in range(rounds):
        old, new = ("a", "b") if turn % 2 == 0 else ("b", "a")
        for name in took if turn % 2 == 0 else reversed(took):
            if name == "engine":
                stopped, started = alone(weights[old], folder, "its own"), alone(weights[new], folder, "its own")
                took[name].append(Took(stopped.stop, started.first))
            else:
                took[name].append(swap(running[name], old, new))
    first = {name: [each.first for each in values] for name, values in took.items()}
    whole = {name: [each.stop + each.first for each in values] for name, values in took.items()}
    print("Swap, in turns A -> B and B -> A; from the request, that is the start of B, to its first token:")
    print(row("the revision", first["old"]))
    print(row("this checkout", first["zygote"], first["old"]))
    print(row("this checkout, no zygote", first["plain"], first["old"]))
    print("The whole swap, with the stop of the other:")
    print(row("this checkout", whole["zygote"], whole["old"]))
    print(row("stop, start, load; our settings", whole["plain"], whole["old"]))
    print(row("stop, start, load; engine as it comes", whole["engine"], whole["old"]))
    found = ratio(first["zygote"], first["old"])
    print(f"Bar: {found:.2f} of at most {SWAP_BAR:.2f}\n")
    return found <= SWAP_BAR


def measure_cold(running: dict[str, LiveGateway], weights: dict[str, Path], folder: Path, rounds: int) -> bool:
    took: dict[str, list[float]] = {"gateway": [], "engine": []}
    for turn in range(rounds):
        for name in took if turn % 2 == 0 else reversed(took):
            if name == "engine":
                took[name].append(alone(weights["a"], folder, "ours").first)
            else:
                took[name].append(ask(running["zygote"], "a"))
                unload(running["zygote"], "a")
    print("An unloaded model of 100 MB, from the request to its first token:")
    print(row("the engine alone, our settings", took["engine"]))
    print(row("through the gateway", took["gateway"], took["engine"]))
    found = ratio(took["gateway"], took["engine"])
    print(f"Bar: {found:.2f} of at most {COLD_BAR:.2f}")
    return found <= COLD_BAR


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", choices=("swap", "cold"))
    parser.add_argument("--against", default="ac4e993", help="revision to compare with (default: %(default)s)")
    parser.add_argument("--store", help="folder with the weights; else they are fetched")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rc") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        store = Path(given.store) if given.store else fetch(folder / "weights")
        smol = next(store.rglob("SmolLM2-135M*.gguf"))
        weights = {"a": Path(shutil.copy(smol, folder / "a.gguf")), "b": random_weights.write(folder / "b.gguf")}
        sizes = ", ".join(f"{name} {path.stat().st_size / 1e6:.0f} MB" for name, path in weights.items())
        print(f"{sizes}; {procfs.machine()}; load {os.getloadavg()[0]:.1f}\n")
        running = gateways(stack, folder, weights, given.against if given.only != "cold" else "")
        ready(running["zygote"])
        good = True
        if given.only != "cold":
            good &= measure_swap(running, weights, folder, given.rounds)
        if given.only != "swap":
            good &= measure_cold(running, weights, folder, given.rounds)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
