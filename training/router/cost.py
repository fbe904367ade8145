"""What a decision costs: time on one core as the gateway runs it, memory, cold start, and the same for two rivals."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from corpus import HERE, written
from figures import Figure
from measure import interval
from rivals import RIVALS, weights

from rolecast.config import names
from rolecast.config.schema import Config, Limits, Model
from rolecast.decision import Card, Choice
from rolecast.dialects.openai import OpenAI
from rolecast.routing import build
from rolecast.routing.learned import Learned
from rolecast.turn.look import look, look_closely
from rolecast.values import Caller

PROMPT_BYTES = 2048
ROUNDS = 3000
COLD_STARTS = 10
ROLES = ("router", "standard", "reasoning", "coding")
MODELS = 12

_COLD = """
import json, time, psutil, rolecast.app, rolecast.routing  # the gateway has them already
me = psutil.Process()
rss = me.memory_info().rss; cpu = time.process_time(); steps = [time.perf_counter()]
import numpy; steps.append(time.perf_counter())
from rolecast.routing.learned import Learned
model = Learned.load(); steps.append(time.perf_counter())
sight = model.look("which came first, the chicken or the egg?")
sight.opinion("category"); sight.probability("difficulty"); steps.append(time.perf_counter())
numpy_ms, load_ms, first_ms = ((b - a) * 1e3 for a, b in zip(steps, steps[1:]))
print(json.dumps({
    "all_ms": numpy_ms + load_ms + first_ms, "numpy_ms": numpy_ms, "load_ms": load_ms, "first_ms": first_ms,
    "cpu_ms": (time.process_time() - cpu) * 1e3, "mb": (me.memory_info().rss - rss) / 2**20,
}))
"""


def cost(model: Learned) -> list[Figure]:
    """All figures of cost, taken on the core that is least busy; says on standard error how busy the machine was."""
    free = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if free:
        busy = psutil.cpu_percent(1.0, percpu=True)
        core = min(free, key=lambda c: busy[c])
        os.sched_setaffinity(0, [core])
        print(
            f"measured on core {core}, which others kept {busy[core]:.0f} % busy; load of the machine "
            f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
            file=sys.stderr,
        )
    try:
        return [*_decisions(model), *_cold(), *_rivals()]
    finally:
        if free:
            os.sched_setaffinity(0, free)


def long_prompts() -> list[str]:
    """Prompts of 2 kB, cut at random places from the hand-written tests."""
    pool = " ".join(r["text"] for r in written("test")).encode()
    rng = random.Random(1)
    starts = [rng.randrange(len(pool) - PROMPT_BYTES) for _ in range(300)]
    return [pool[s : s + PROMPT_BYTES].decode("utf-8", "ignore") for s in starts]


def chooser(model: Learned) -> Callable[[bytes], Callable[[], Choice]]:
    """Takes a body and gives what the gateway does with it once it is read: look, look closely, choose."""
    config = Config(
        models={f"model-{i}": Model(capabilities=["chat", "tools"]) for i in range(MODELS)},
        roles={role: [f"model-{(i * 3 + k) % MODELS}" for k in range(6)] for i, role in enumerate(ROLES)},
    )
    router = build(names.table(config), config, mind=lambda: model)
    cards = {
        m: Card(m, context=8192, quality=0.3 + i / 20, load_s=float(i), wait_s=i / 10, tokens_per_s=20.0 + i)
        for i, m in enumerate(config.models)
    }
    dialect, caller = OpenAI(), Caller()
    read = dialect.paths(Limits())["/v1/chat/completions"]

    def prepared(body: bytes) -> Callable[[], Choice]:
        request = read(body)

        def decide() -> Choice:
            facts = look(request, request.asked)
            assert router.reads(facts)
            return router.choose(look_closely(facts, request, caller, dialect), cards.__getitem__)

        return decide

    return prepared


def _decisions(model: Learned) -> list[Figure]:
    prepared = chooser(model)
    found = []
    for title, texts in (("2 kB", long_prompts()), ("as typed", [r["text"] for r in written("test")][:300])):
        bodies = [json.dumps({"messages": [{"role": "user", "content": t}]}).encode() for t in texts]
        wall, used = [], []
        for i in range(ROUNDS):
            decide = prepared(bodies[i % len(bodies)])
            cpu, began = time.thread_time(), time.perf_counter()
            decide()
            wall.append((time.perf_counter() - began) * 1e3)
            used.append((time.thread_time() - cpu) * 1e3)
        bars = (0.5, 2.0) if title == "2 kB" else (None, None)
        found += _times(f"look + choose, {title}", wall[ROUNDS // 10 :], bars)
        found += _times(f"look + choose, {title}, CPU", used[ROUNDS // 10 :], (None, None))
    return found


def _times(title: str, took: list[float], bars: tuple[float | None, float | None]) -> list[Figure]:
    """The middle and the slow end."""
    found = []
    for q, bar in zip((50, 99), bars, strict=True):
        low, high = interval(lambda t, q=q: float(np.percentile(t, q)), took, rounds=200)
        value = float(np.percentile(took, q))
        found.append(Figure("cost", f"{title}, p{q}", value, low, high, len(took), bar, at_most=True, unit="ms"))
    return found


def _cold() -> list[Figure]:
    """Fresh processes that have what the gateway has, then read the model and decide once."""
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", _COLD], capture_output=True, text=True, check=True).stdout)
        for _ in range(COLD_STARTS)
    ]

    def middle(key: str, name: str, unit: str, bar: float | None = None) -> Figure:
        values = [r[key] for r in runs]
        low, high = interval(lambda v: float(np.median(v)), values)
        return Figure("cost", name, float(np.median(values)), low, high, len(runs), bar, at_most=True, unit=unit)

    return [
        middle("all_ms", "cold start", "ms", 100.0),
        middle("numpy_ms", "- to import numpy", "ms"),
        middle("load_ms", "- to read the model", "ms"),
        middle("first_ms", "- the first decision", "ms"),
        middle("cpu_ms", "cold start, CPU", "ms"),
        middle("mb", "memory above the gateway's", "MB", 60.0),
    ]


def _rivals() -> list[Figure]:
    """A MiniLM classifier and an LLM router over the same prompts, each in a process of its own on the same core."""
    found = []
    for title, count in RIVALS.items():
        path = weights(title)
        if path is None:
            print(f"{title}: not measured, set ROUTER_{title.upper()} to a GGUF file", file=sys.stderr)
            continue
        asked = subprocess.run(
            [sys.executable, str(HERE / "rivals.py"), title, str(Path(path).resolve())],
            input=json.dumps(long_prompts()[:count]),
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode:
            reason = (asked.stderr.strip().splitlines() or ["no reason"])[-1]
            print(f"{title}: not measured: {reason}", file=sys.stderr)
            continue
        said = json.loads(asked.stdout.splitlines()[-1])
        found += _times(f"{title}, 2 kB", said["ms"], (None, None))
        found.append(Figure("cost", f"{title}, memory above this engine's", said["mb"], unit="MB"))
    return found
