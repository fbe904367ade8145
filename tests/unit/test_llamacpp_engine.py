"""Settings of the built-in engine, seen in what it answers."""

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_gguf
from live_worker import running

from rolecast.backends.llamacpp import LlamaCpp
from rolecast.config.schema import Model
from rolecast.processes import folder as runtime

WORD = "word "  # five tokens of the tiny model, and one for the start
LONG = 601


@pytest.fixture
def folder() -> Iterator[Path]:
    made = runtime.runtime_dir()
    yield made
    runtime.remove_runtime_dir(made)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("weights") / "tiny.gguf", context=4096)


@pytest.mark.anyio
@pytest.mark.parametrize("capabilities", [["embeddings"], ["chat", "embeddings"]])
@pytest.mark.parametrize("pooling", ["", "mean", "cls", "last"])
async def test_embeddings_take_inputs_up_to_the_context(folder, weights, capabilities, pooling):
    model = Model(context=1024, parallel=2, threads=1, capabilities=capabilities, pooling=pooling)
    async with running(LlamaCpp(), model, folder, weights) as worker:
        for text in ("x", WORD * 120, WORD * 204):
            found = (await worker.openai.embeddings.create(model="any", input=text)).data[0].embedding
            assert len(found) == tiny_gguf.WIDTH
            assert math.isclose(sum(x * x for x in found), 1.0, rel_tol=1e-3)
        beyond = await worker.post("/v1/embeddings", input=WORD * 300)
        assert "1501 tokens" in beyond.json()["error"]["message"]
        assert "1024" in beyond.json()["error"]["message"]
        if "chat" in capabilities:
            assert (await worker.chat(WORD * 100, max_tokens=2)).usage.completion_tokens == 2


@pytest.mark.anyio
async def test_a_context_beyond_what_the_weights_were_trained_for_is_not_given(folder, weights):
    async with running(LlamaCpp(), Model(context=40_000, parallel=2, threads=1), folder, weights) as worker:
        assert [slot["n_ctx"] for slot in (await worker.http.get("/slots")).json()] == [4096, 4096]


@pytest.mark.anyio
async def test_every_setting_of_the_engine_is_taken(folder, weights):
    model = Model(
        context=512,
        threads=1,
        ubatch=32,
        mmap=False,
        fit=True,
        prompt_cache=0,
        checkpoints=0,
        cache_reuse=16,
        slot_similarity=0.9,
        speculative="ngram",
        spin_count=0,
    )
    async with running(LlamaCpp(), model, folder, weights) as worker:
        assert (await worker.chat(max_tokens=8, temperature=0)).usage.completion_tokens == 8
        assert worker.child.returncode is None


@pytest.mark.anyio
async def test_the_engine_says_the_same_whether_it_guesses_or_not(folder, weights):
    said = []
    for speculative in ("off", "ngram"):
        async with running(LlamaCpp(), Model(context=1024, speculative=speculative), folder, weights) as worker:
            said.append((await worker.chat(max_tokens=200, temperature=0)).choices[0].message.content)
    assert said[0] == said[1]


def test_a_worker_imports_only_what_it_needs():
    code = "import sys, rolecast.backends.llamacpp_worker; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    modules = set(found.stdout.split())
    assert {m for m in modules if m.startswith("rolecast.")} == {
        "rolecast.backends",
        "rolecast.backends.llamacpp_options",
        "rolecast.backends.llamacpp_worker",
        "rolecast.errors",
        "rolecast.processes",
        "rolecast.processes.lifeline",
    }
    assert not modules & {"importlib.metadata", "psutil", "ruamel.yaml", "asyncio"}
