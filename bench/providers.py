"""How long the provider router takes to choose, over a real port, among many registered providers.

    python bench/providers.py [--providers 1000] [--asks 400]

Two crowds are measured: providers of a hundred models, and all of one model, which is the worst that can be asked. Each
question is another one, on one kept-alive connection; the time is the client's, from the first byte sent to the last
received. Bar: a p50 of 1 ms for /select and /route.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop

from rolecast import app
from rolecast.config.schema import Config, Listener, Log, Model, Server, Storage
from rolecast.registry.directory import Directory
from rolecast.registry.providers import Provider, Slo

BAR_MS = 1.0
OPTIMIZATIONS = ("cost", "latency", "balanced")


def crowd(count: int, models: int) -> list[Provider]:
    """Providers of so many models, no two alike."""
    return [
        Provider(
            name=f"provider-{at}",
            model=f"model-{at % models}",
            context_window=4096 + at,
            input_cost=1000 + (at * 7919) % 100_000,
            output_cost=2000 + (at * 104_729) % 100_000,
            endpoint=f"http://10.{at // 65536}.{at // 256 % 256}.{at % 256}:8100",
            features=("streaming", "vision") if at % 2 else ("streaming",),
            slo=Slo(latency_p95_ms=float(100 + (at * 31) % 5000)) if at % 3 else None,
            metadata={"capabilities": [f"capability-{at % models}"]},
        )
        for at in range(count)
    ]


def question(path: str, at: int, models: int, optimization: str) -> bytes:
    """A request that differs from the one before."""
    if path == "/route":
        body: dict[str, object] = {"capability": f"capability-{at % models}", "prefer_local": bool(at % 2)}
    else:
        needed = {"model": f"model-{at % models}", "context_window": 1000 + at, "features": ["vision"][: at % 2]}
        body = {"requirements": needed, "optimization": optimization, "max_cost_usd": 1000 + at}
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def timed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> float:
    """Milliseconds of one question."""
    began = time.perf_counter()
    writer.write(data)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    body = await reader.readexactly(length)
    took = (time.perf_counter() - began) * 1000
    if not head.startswith(b"HTTP/1.1 200"):
        sys.exit(f"refused: {body.decode()[:300]}")
    return took


async def measure(count: int, asks: int, models: int) -> list[tuple[str, float, float]]:
    """What was asked, its p50 and its p95."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(port=0, listeners=[Listener(port=0, name="router", surface="providers")])
        config = Config(
            server=server,
            models={"m": Model(backend="openai", url="http://127.0.0.1:9/v1")},
            roles={"standard": ["m"]},
            storage=Storage(url=f"sqlite:///{Path(folder) / 'store.db'}", models=folder),
            log=Log(level="error"),
        )
        gateway = app.Gateway(config)
        async with app.serving(gateway):
            directory: Directory = gateway.directory
            directory.known.restore(msgspec.structs.replace(each, created_at=1.0) for each in crowd(count, models))
            directory.version += 1
            port = next(door.port for door in gateway.doors if door.lane.name == "router")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            found = []
            ways = [("/select", each) for each in OPTIMIZATIONS] + [("/route", "")]
            for path, optimization in ways:
                times = [
                    await timed(reader, writer, question(path, at, models, optimization)) for at in range(asks + 20)
                ][20:]
                name = f"{path} {optimization}".strip()
                found.append((name, statistics.median(times), statistics.quantiles(times, n=20)[-1]))
            writer.close()
            return found


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--providers", type=int, default=1000)
    parser.add_argument("--asks", type=int, default=400)
    chosen = parser.parse_args()
    slow = 0
    for models in (100, 1):
        print(f"{chosen.providers} providers of {models} model{'s' * (models > 1)}")
        for name, p50, p95 in uvloop.run(measure(chosen.providers, chosen.asks, models)):
            print(f"  {name:18} p50 {p50:6.3f} ms   p95 {p95:6.3f} ms   {'ok' if p50 <= BAR_MS else 'TOO SLOW'}")
            slow += p50 > BAR_MS
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    print(f"bar: p50 <= {BAR_MS:g} ms: {'missed' if slow else 'held'}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
