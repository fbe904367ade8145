"""The context that lists promise is the one that requests will have."""

from pathlib import Path

import pytest
import tiny_gguf
from gateway import config, request, running_gateway

from rolecast.config.schema import Model


@pytest.mark.anyio
async def test_lists_promise_no_more_context_than_the_weights_were_trained_on(tmp_path: Path) -> None:
    source = f"file:{tiny_gguf.write(tmp_path / 'tiny.gguf', context=8192)}"
    models = {
        "too-much": Model(backend="fake", source=source, context=40000),
        "less": Model(backend="fake", source=source, context=2048),
        "all": Model(backend="fake", source=source, context=0),
        "absent": Model(backend="fake", source="file:/none.gguf", context=9000),
        "unknown": Model(backend="fake", context=0),
    }
    async with running_gateway(config(models), tmp_path) as gate:
        listed = (await gate.ask(request(path="/v1/models", method="GET"), method="GET")).json["data"]
        promised = {one["id"]: one["context_length"] for one in listed}
        status = (await gate.ask(request(path="/admin/status", method="GET"), method="GET")).json
    expected = {"too-much": 8192, "less": 2048, "all": 8192, "absent": 9000, "unknown": None}
    assert {model_id: promised[model_id] for model_id in models} == expected
    assert {one["id"]: one["context"] for one in status["models"]} == expected
