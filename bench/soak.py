#!/usr/bin/env python3
"""Bounded soak: an hour of mixed load on Rolecast, watching what it holds.

    soak.py                      60 minutes at 300 requests/s
    soak.py --minutes 3 --rate 100

Answers in one piece, fast and paced streams, streams abandoned half-way, and bad requests, each at its share
of the rate, in front of the fake upstream. Every five seconds the memory, file descriptors, threads and
ledger of the gateway go to bench/results/soak.csv, as they come, so that an interrupted run leaves its data.
The verdict is the growth of RSS after the first five minutes (the first fifth of a run under 25 minutes),
which may be 5 %, and that every request got the answer it deserves. Only the gateway is watched.
"""

import argparse
import asyncio
import csv
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import client
import procfs
import targets

RESULTS = targets.HERE / "results"
LIMIT_PERCENT, SETTLE_S, SAMPLE_S = 5.0, 300.0, 5.0
CONNECTIONS = 24
"""Kept-alive connections of the clients that behave."""
FIELDS = [
    "seconds",
    "rss_mb",
    "pss_mb",
    "fds",
    "threads",
    "ledger_mb",
    "cpu_s",
    "answered",
    "wrong",
    "in_flight",
]


def chat(**fields: object) -> bytes:
    content = [{"role": "user", "content": "What is the capital of France? " + "x" * random.randrange(2000)}]
    return json.dumps({"model": "fake-fast", "messages": content} | fields).encode()


BAD = [  # body, key, the status it deserves
    (b'{"model": "fake-fast", "messages": [', targets.KEY, {400}),
    (b'{"model": "no-such-model", "messages": [{"role": "user", "content": "x"}]}', targets.KEY, {404}),
    (b'{"model": "fake-fast", "messages": "x"}', targets.KEY, {400, 422}),
    (b'{"model": "fake-fast"}', targets.KEY, {400, 422}),
    (chat(), "wrong-key", {401}),
]


class Wrong(Exception):
    """An answer that is not what the request deserves."""


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Wrong(otherwise)


class Load:
    """The clients. Each kind of request says itself whether its answer was right."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.idle: list[client.Connection] = []
        self.answered, self.wrong = Counter(), Counter()
        self.samples: list[str] = []
        self.kinds: list[tuple[str, float, Callable[[], Awaitable[None]]]] = [
            ("json", 0.82, self.json),
            ("fast stream", 0.07, self.fast_stream),
            ("paced stream", 0.04, self.paced_stream),
            ("abandoned stream", 0.04, self.abandoned_stream),
            ("bad request", 0.03, self.bad_request),
        ]

    async def one(self) -> None:
        name, _, call = random.choices(self.kinds, [share for _, share, _ in self.kinds])[0]
        try:
            async with asyncio.timeout(30):
                await call()
            self.answered[name] += 1
        except (OSError, ValueError, LookupError, client.Broken, Wrong) as e:
            self.wrong[name] += 1
            if len(self.samples) < 20:
                self.samples.append(f"{name}: {e!r}"[:200])

    async def exchange(self, content: bytes, key: str = targets.KEY) -> client.Answer:
        """Ask on a kept-alive connection, and keep it again when the answer allows."""
        self.idle = [c for c in self.idle if not c[0].at_eof()]
        reader, writer = self.idle.pop() if self.idle else await client.connect(self.address)
        try:
            writer.write(client.request("POST", targets.CHAT, content, key))
            answer = await client.read_answer(reader)
        except BaseException:
            writer.close()
            raise
        if answer.reusable and len(self.idle) < CONNECTIONS:
            self.idle.append((reader, writer))
        else:
            writer.close()
        return answer

    async def json(self) -> None:
        answer = await self.exchange(chat())
        expect(answer.status == 200, f"status {answer.status}")
        expect(b'"usage"' in answer.body, "an answer without usage")

    async def fast_stream(self) -> None:
        await self.whole_stream("fake-fast", 128)

    async def paced_stream(self) -> None:
        await self.whole_stream("fake-paced", 96)

    async def whole_stream(self, model: str, events: int) -> None:
        answer = await self.exchange(chat(model=model, stream=True, max_tokens=events))
        expect(answer.status == 200 and answer.done, f"status {answer.status}, [DONE] {answer.done}")
        # A last event with the reason it ended, and [DONE], follow those that were asked for.
        expect(len(answer.events) >= events + 2, f"{len(answer.events)} events of {events + 2}")

    async def abandoned_stream(self) -> None:
        reader, writer = await client.connect(self.address)
        try:
            content = chat(model="fake-paced", stream=True, max_tokens=400)
            writer.write(client.request("POST", targets.CHAT, content))
            answer = await client.read_answer(reader, stop_after=random.randrange(1, 60))
            expect(answer.status == 200, f"status {answer.status}")
        finally:
            writer.transport.abort()

    async def bad_request(self) -> None:
        content, key, deserved = random.choice(BAD)
        answer = await self.exchange(content, key)
        expect(answer.status in deserved, f"status {answer.status} for a request that deserves {deserved}")
        expect(bool(json.loads(answer.body)["error"]["message"]), "an error without a message")

    def close(self) -> None:
        for _, writer in self.idle:
            writer.close()


async def drive(load: Load, rate: float, seconds: float, stopped: asyncio.Event, flying: set) -> None:
    """Start `rate` requests a second, in steps of 20 ms, never more than 200 at a time."""
    began, started = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds and not stopped.is_set():
        due = int(elapsed * rate) - started
        started += due
        for _ in range(min(due, 200 - len(flying))):
            task = asyncio.create_task(load.one())
            flying.add(task)
            task.add_done_callback(flying.discard)
        await asyncio.sleep(0.02)
    if flying:
        await asyncio.wait(flying, timeout=35)


class Watch:
    """Samples of one process, written as they are taken."""

    def __init__(self, pid: int, ledger: Path, path: Path) -> None:
        self.pid, self.ledger, self.path = pid, ledger, path
        self.rows: list[dict[str, float]] = []
        self.began = time.monotonic()
        with path.open("w", newline="") as f:
            csv.DictWriter(f, FIELDS).writeheader()

    def sample(self, load: Load, in_flight: int) -> dict[str, float]:
        memory = procfs.memory_mb(self.pid)
        row = {
            "seconds": round(time.monotonic() - self.began, 1),
            "rss_mb": memory["rss"],
            "pss_mb": memory["pss"],
            **procfs.handles(self.pid),
            "ledger_mb": round(ledger_bytes(self.ledger) / 1e6, 2),
            "cpu_s": round(procfs.cpu_s(self.pid), 2),
            "answered": load.answered.total(),
            "wrong": load.wrong.total(),
            "in_flight": in_flight,
        }
        with self.path.open("a", newline="") as f:
            csv.DictWriter(f, FIELDS).writerow(row)
        self.rows.append(row)
        return row

    async def go_on(self, load: Load, flying: set) -> None:
        while True:
            row = self.sample(load, len(flying))
            if len(self.rows) % 12 == 1:
                print(json.dumps(row), flush=True)
            await asyncio.sleep(SAMPLE_S)


def ledger_bytes(database: Path) -> int:
    return sum(p.stat().st_size for p in database.parent.glob(database.name + "*"))


def growth_percent(rows: list[dict[str, float]]) -> tuple[float, float]:
    """Growth of RSS from just after settling to the end, and where settling ended in seconds.

    Both ends are medians of a tenth of what follows the settling, so that one sample decides nothing.
    """
    total = rows[-1]["seconds"]
    settle = min(SETTLE_S, total / 5)
    later = [r["rss_mb"] for r in rows if r["seconds"] >= settle]
    n = max(1, len(later) // 10)
    return (statistics.median(later[-n:]) / statistics.median(later[:n]) - 1) * 100, settle


def plot(rows: list[dict[str, float]], path: Path, settle: float) -> None:
    """Memory, handles and ledger over time. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    minutes = [r["seconds"] / 60 for r in rows]
    figure, axes = plt.subplots(3, 1, figsize=(10, 8), sharex=True)
    panels = [
        ("MB", [("rss_mb", "RSS"), ("pss_mb", "PSS")]),
        ("count", [("fds", "file descriptors"), ("threads", "threads"), ("in_flight", "requests in flight")]),
        ("MB", [("ledger_mb", "ledger")]),
    ]
    for axis, (unit, lines) in zip(axes, panels, strict=True):
        for field, label in lines:
            axis.plot(minutes, [r[field] for r in rows], label=label, linewidth=1.2)
        axis.axvline(settle / 60, color="#999999", linestyle=":", linewidth=1)
        axis.set_ylabel(unit)
        axis.set_ylim(bottom=0)
        axis.legend(loc="lower right", frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("minutes")
    axes[0].set_title(f"Soak: {rows[-1]['answered']:,} answers", fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def conclude(watch: Watch, load: Load, aborted: int) -> int:
    """Print the verdict and draw the plot; 0 when nothing grew and nothing went wrong."""
    if len(watch.rows) < 5:
        print("too short for a verdict")
        return 1
    growth, settle = growth_percent(watch.rows)
    print("\nanswered:", dict(load.answered), "wrong:", dict(load.wrong))
    for sample in load.samples:
        print("  ", sample)
    abandoned = load.answered["abandoned stream"]
    print(f"abandoned streams that the upstream saw end: {aborted} of {abandoned}")
    good = growth <= LIMIT_PERCENT and not load.wrong.total() and aborted >= abandoned
    print(
        f"RSS {watch.rows[-1]['rss_mb']} MB, growth after the first {settle / 60:.1f} minutes: "
        f"{growth:+.1f} % (bar <= {LIMIT_PERCENT:.0f} %): {'pass' if good else 'FAIL'}"
    )
    try:
        plot(watch.rows, RESULTS / "soak.png", settle)
    except ImportError:
        print("no plot: matplotlib is missing; install the dependency group `bench`", file=sys.stderr)
    return 0 if good else 1


async def soak(site: targets.Site, target: targets.Target, pid: int, args: argparse.Namespace) -> int:
    load = Load(target.url.removeprefix("http://").partition("/")[0])
    watch = Watch(pid, site.folder / "rolecast.db", RESULTS / "soak.csv")
    stopped, flying = asyncio.Event(), set()
    for sig in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sig, stopped.set)
    watching = asyncio.create_task(watch.go_on(load, flying))
    await drive(load, args.rate, args.minutes * 60, stopped, flying)
    watching.cancel()
    load.close()
    await asyncio.sleep(0.5)  # the last aborts are on their way to the upstream
    watch.sample(load, len(flying))
    stats = json.loads((await client.ask(f"127.0.0.1:{site.fast}", "GET", "/stats")).body)
    return conclude(watch, load, stats["aborted"])


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=60, help="default: %(default)s")
    p.add_argument("--rate", type=float, default=300, help="requests started per second (default: %(default)s)")
    args = p.parse_args()
    random.seed(1)
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        cpus = targets.all_cpus()
        site, processes = targets.Site(Path(folder), cpus, cpus), []
        try:
            processes.append(site.start_upstream())
            target = targets.rolecast(site)
            log = site.folder / "rolecast.log"
            process = targets.spawn(target.argv, cpus, target.env, log)
            processes.append(process)
            targets.wait_for(lambda: targets.chat_answers(target), process, 30, "rolecast")
            return asyncio.run(soak(site, target, process.pid, args))
        except targets.Unavailable as e:
            print(e, file=sys.stderr)
            return 1
        finally:
            for process in processes:
                targets.stop(process)


if __name__ == "__main__":
    sys.exit(main())
