"""A real engine: what a model took is known after its first answers, and was guessed near that before."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import chat, config, on_uvloop, request, running_gateway

from rolecast.config.schema import Model

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop


async def test_loads_and_speeds_of_a_real_engine_are_measured_and_were_guessed_before(
    store: Path, tmp_path: Path
) -> None:
    file = next(store.rglob("SmolLM2*.gguf"))
    conf = config({"smol": Model(source=f"file:{file}", context=1024)})
    conf = msgspec.structs.replace(conf, roles={"standard": ["smol"]})
    async with running_gateway(conf, tmp_path) as gate:
        gateway: Any = gate.gateway
        await gateway.cards.learn()
        before = gateway.cards("smol")
        assert not before.ready
        assert before.quality == pytest.approx(0.31, abs=0.02)
        asked = chat("Tell me a long story about the sea. " * 20, "auto", max_tokens=48, stream=True)
        for _ in range(2):
            async with gate.client() as client:
                await client.send(request(asked))
                assert (await client.answer()).status == 200
        after, pace = gateway.cards("smol"), gateway.paces.of("smol")
        assert after.ready
        assert 0 < pace.load_s < 120
        assert 0.5 < pace.tokens_per_s < 5000
        assert pace.prompt_tokens_per_s > 0
        guessed = f"load {before.load_s:.1f} s, {before.tokens_per_s:.0f} and {before.prompt_tokens_per_s:.0f} tokens/s"
        print(f"guessed: {guessed}")
        print(
            f"measured: load {pace.load_s:.1f} s, {pace.tokens_per_s:.0f} and {pace.prompt_tokens_per_s:.0f} tokens/s"
        )
        assert before.load_s > 0
        assert before.tokens_per_s > 0
