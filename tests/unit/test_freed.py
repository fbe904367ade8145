"""Memory of a worker that has ended is given to the next one, also where nobody can see that it is free."""

from pathlib import Path

import msgspec
import pytest
from gateway import chat, config, request, running_gateway

from rolecast.config.memory import Memory
from rolecast.config.schema import Model
from rolecast.footprint import Footprint


@pytest.mark.anyio
async def test_a_look_that_fails_after_the_end_of_a_worker_keeps_nobody_from_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(held: Footprint) -> None:
        raise RuntimeError("the driver went away")

    models = {name: Model(backend="fake", memory="1GiB") for name in "ab"}
    small = msgspec.structs.replace(config(models), memory=Memory(budget="1500MiB"))
    async with running_gateway(small, tmp_path) as gate:
        housing = gate.gateway.fleet._housing
        monkeypatch.setattr(housing, "ended", lambda *_: False)
        monkeypatch.setattr(housing, "freed", fails)
        for name in "aba":
            assert (await gate.ask(request(chat(model=name)))).status == 200
