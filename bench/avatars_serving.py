#!/usr/bin/env python3
"""What avatars that share a base cost: memory of each adapter, the proof at the start, turns in turns, the way back.

    avatars_serving.py BASE.gguf                 ten avatars with random adapters of rank 16 over that base
    avatars_serving.py BASE.gguf --avatars 3 --requests 40 --json

Everything is real but the adapters: random ones of the size that training makes, so that each avatar speaks otherwise.
`apart` is the same conversations without a slot of their own, as an engine chooses by itself. Exact = of the answers in
turns those that are the answers of each avatar alone, greedy: one at a time all of them; eight at a time rounding in
other company may cost a few.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import httpx2
import msgspec
import numpy as np
import psutil

from rolecast import app
from rolecast.avatars.places import Place
from rolecast.avatars.serving.versions import Files, release
from rolecast.config.schema import Config, Model, Server, Storage
from rolecast.config.variants import Hidden
from rolecast.fleet.station import Station

RANK = 16
TALKS = ["avatar/a0", "avatar/a1", "avatar/a0", "avatar/a1"]
LINEAR = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
WORDS = "time people way water day man thing woman life child world school state family student group country".split()


def adapter(base: Path, path: Path, seed: int) -> Path:
    """A LoRA of random numbers over all linear layers of that base."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(2 * RANK))
    for tensor in gguf.GGUFReader(str(base)).tensors:
        if tensor.name.split(".")[-2] in LINEAR:
            wide, high = (int(n) for n in tensor.shape[:2])
            first = rng.standard_normal((RANK, wide)) / np.sqrt(wide)
            writer.add_tensor(f"{tensor.name}.lora_a", first.astype(np.float16))
            writer.add_tensor(f"{tensor.name}.lora_b", (rng.standard_normal((high, RANK)) * 0.02).astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def make(root: Path, base: Path, count: int) -> None:
    """Release that many avatars; the first has two versions."""
    for number in range(count + 1):
        name = f"a{max(0, number - 1)}"
        place = Place(name, root)
        for folder in (place.export, place.evaluation):
            folder.mkdir(parents=True, exist_ok=True)
        (place.evaluation / "report.json").write_text('{"passed": true}', "utf-8")
        made = adapter(base, place.export / "adapter.gguf", number)
        release(place, place.evaluation, Files(made, base, "bench"), title=name)
        made.unlink()


def question(seed: int, words: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


class Talk:
    """Asks avatars, and measures."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    async def ask(self, model: str, said: list[str], **fields: Any) -> dict[str, Any]:
        messages = [{"role": "user" if i % 2 == 0 else "assistant", "content": text} for i, text in enumerate(said)]
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 16, **fields}
        began = time.perf_counter()
        answer = await self.client.post("/v1/chat/completions", json=body)
        answer.raise_for_status()
        said_back = answer.json()
        usage = said_back["usage"]
        return {
            "text": said_back["choices"][0]["message"]["content"],
            "cached": usage["prompt_tokens_details"]["cached_tokens"],
            "prompt": usage["prompt_tokens"],
            "ms": (time.perf_counter() - began) * 1000,
            "version": answer.headers.get("x-rolecast-avatar"),
        }

    async def turns(self, models: list[str], count: int, start: int) -> dict[str, float]:
        """Conversations that take turns: how much of what was read before is read again."""
        talks = [[question(start + i, 3)] for i in range(len(models))]
        held, again, times = [0] * len(models), 0, []
        for turn in range(count):
            for i, (model, said) in enumerate(zip(models, talks, strict=True)):
                answer = await self.ask(model, said)
                if turn:
                    again += max(0, held[i] - answer["cached"])
                    times.append(answer["ms"])
                held[i] = answer["prompt"]
                said += [answer["text"], question(start + 100 * turn + len(said))]
        return {"read again, tokens a turn": again / max(1, len(times)), "ms a turn": statistics.median(times)}


def worker(gateway: app.Gateway) -> tuple[str, Station]:
    model_id = next(i for i, model in gateway.current.config.models.items() if isinstance(model, Hidden))
    return model_id, gateway.fleet.stations.at[model_id]


def rss_mb(station: Station) -> float:
    assert station.child is not None
    return float(psutil.Process(station.child.pid).memory_info().rss / 1e6)


async def measured(base: Path, count: int, requests: int) -> Iterator[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="rc") as folder:
        os.environ["ROLECAST_HOME"] = folder
        root = Path(folder) / "avatars"
        make(root, base, count)
        config = Config(
            server=Server(port=0),
            models={
                "alone": Model(source=f"file:{base}", context=2048, parallel=4, prompt_cache=0, projector="none"),
                "m": Model(backend="fake"),
            },
            roles={"standard": ["m"]},
            storage=Storage(url=f"sqlite:///{folder}/ledger.db"),
        )
        gateway = app.Gateway(config)
        async with app.serving(gateway):
            url = f"http://127.0.0.1:{next(door.port for door in gateway.doors)}"
            async with httpx2.AsyncClient(base_url=url, timeout=600) as client:
                talk = Talk(client)
                for model, label in (("alone", "base alone"), ("avatar/a0", f"base with {count + 1} adapters")):
                    began = time.perf_counter()
                    await talk.ask(model, ["hi"], max_tokens=1)
                    found.append((f"{label}: start to first answer, s", time.perf_counter() - began))
                station = worker(gateway)[1]
                memory = rss_mb(station), rss_mb(gateway.fleet.stations.at["alone"])
                found.append(("memory of each adapter, MB", (memory[0] - memory[1]) / (count + 1)))
                await gateway.fleet.unload("alone")
                for name, value in (await talk.turns(TALKS, 4, 1000)).items():
                    found.append((f"two avatars, two talks each, in turns: {name}", value))
                seats, station.seats = station.seats, None
                for name, value in (await talk.turns(TALKS, 4, 3000)).items():
                    found.append((f"the same apart: {name}", value))
                station.seats = seats
                for label, models, most in (
                    ("exact, one at a time", TALKS[:2], 1),
                    ("exact, eight at a time", TALKS[:2], 8),
                    ("exact, eight at a time, the base without adapters", ["alone"], 8),
                ):
                    found.append((label, await exact(talk, models, requests, most)))
                await gateway.fleet.unload("alone")
                began = time.perf_counter()
                (await client.post("/v1/avatars/a0/rollback", json={})).raise_for_status()
                found.append(("way back: applied, ms", (time.perf_counter() - began) * 1000))
                answer = await talk.ask("avatar/a0", ["hi"], max_tokens=1)
                assert answer["version"] == "avatar/a0@1", answer
                found.append(("way back: first answer of the version before, ms", (time.perf_counter() - began) * 1000))
    return iter(found)


async def exact(talk: Talk, models: list[str], requests: int, most: int) -> float:
    """The share of answers in turns, so many at a time, that are the ones given alone. Those of one avatar that are
    written together are rows of one product, which rounds otherwise than a product of one row."""
    wanted = [(models[i % len(models)], question(5000 + i // 2, 12)) for i in range(20)]
    alone = {each: (await talk.ask(each[0], [each[1]]))["text"] for each in wanted}
    gate, rng = asyncio.Semaphore(most), random.Random(3)
    asked = [rng.choice(wanted) for _ in range(requests)]

    async def one(each: tuple[str, str]) -> bool:
        async with gate:
            return (await talk.ask(each[0], [each[1]]))["text"] == alone[each]

    return sum(await asyncio.gather(*map(one, asked))) / len(asked)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="a GGUF of the architecture llama that writes text")
    parser.add_argument("--avatars", type=int, default=10)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    found = dict(asyncio.run(measured(wanted.base.resolve(), wanted.avatars, wanted.requests)))
    if wanted.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return 0
    for name, value in found.items():
        sys.stdout.write(f"{name:58} {value:10.2f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
