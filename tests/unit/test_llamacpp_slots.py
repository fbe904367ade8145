"""llama.cpp's slots as files: what the engine really writes and takes, and what a file depends on."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import msgspec
import pytest
import tiny_gguf
from live_worker import running

from rolecast.backends.llamacpp import LlamaCpp
from rolecast.backends.llamacpp_slots import LlamaCppSlots
from rolecast.config import paths
from rolecast.config.schema import Model
from rolecast.net.pool import Pool
from rolecast.processes import folder as runtime
from rolecast.values import Endpoint

pytestmark = pytest.mark.anyio
CHAT = b"/chat/completions"
TEXT = "word time people day " * 60
BODY = msgspec.json.encode({"messages": [{"role": "user", "content": TEXT}], "max_tokens": 4, "stream": True})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("weights") / "tiny.gguf")


def found(weights: Path, model: Model | None = None) -> LlamaCppSlots:
    files = LlamaCpp().slot_files(model or Model(), weights)
    assert files is not None
    return files


@asynccontextmanager
async def engine(weights: Path, model: Model) -> AsyncIterator[tuple[Pool, httpx2.AsyncClient]]:
    """A worker of the model whose files lie where the gateway's would."""
    folder = runtime.runtime_dir()
    paths.make_private(paths.conversations())
    try:
        async with running(LlamaCpp(), model, folder, weights) as worker:
            pool = Pool(Endpoint(uds=str(worker.socket)))
            yield pool, worker.http
            pool.close()
    finally:
        runtime.remove_runtime_dir(folder)


async def asked(http: httpx2.AsyncClient, text: str = TEXT) -> int:
    """Ask; how many tokens the engine did not have to read."""
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 4}
    answer = (await http.post("/v1/chat/completions", json=body)).json()
    return int(answer["timings"]["cache_n"])


async def test_what_the_engine_writes_is_understood_and_what_it_reads_is_known(weights):
    model = Model(threads=1, parallel=2)
    files = found(weights, model)
    name = "a.part"
    async with engine(weights, model) as (pool, http):
        assert [slot.used for slot in await files.slots(pool)] == [-1, -1]
        await asked(http)
        prompt = await files.tokens(pool, CHAT, BODY)
        assert prompt is not None
        (slot,) = [slot for slot in await files.slots(pool) if slot.used >= 0]
        assert slot.tokens > len(prompt) > 256
        assert await files.save(pool, slot.number, name)
        file = paths.conversations() / name
        said = files.read(file)
        assert said is not None
        assert list(said[: len(prompt)]) == list(prompt)
        assert len(said) == slot.tokens
        assert file.stat().st_size <= files.token_bytes * (len(said) + 16)
        assert file.stat().st_mode & 0o077 == 0
    async with engine(weights, model) as (pool, http):
        assert await files.restore(pool, 1, name)
        assert await asked(http) == len(prompt) - 1


async def test_a_prompt_that_left_its_slot_is_put_into_one_again(weights):
    files = found(weights)
    async with engine(weights, Model(threads=1)) as (pool, http):
        await asked(http)
        prompt = await files.tokens(pool, CHAT, BODY)
        await asked(http, "down long day on " * 60)
        assert prompt is not None
        number = await files.recall(pool, prompt)
        assert number == 0
        assert await files.save(pool, number, "a.part")
        said = files.read(paths.conversations() / "a.part")
        assert said is not None
        assert list(said) == list(prompt)


async def test_what_is_no_file_of_this_engine_is_refused_and_not_understood(weights):
    files = found(weights)
    async with engine(weights, Model(threads=1)) as (pool, http):
        junk = paths.conversations() / "junk.part"
        for data in (b"", b"x" * 11, b"x" * 1000, b"qsgg" + bytes(8), b"qsgg" + b"\xff" * 100):
            junk.write_bytes(data)
            assert files.read(junk) is None
            assert not await files.restore(pool, 0, "junk.part")
        assert not await files.restore(pool, 0, "missing.part")
        assert await asked(http) == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, b"{"), (CHAT, b"{}"), (b"/completions", b'{"prompt":[1,2]}'), (b"/embeddings", b'{"input":"x"}')],
)
async def test_what_cannot_be_looked_up_has_no_tokens(weights, path, body, tmp_path):
    answers = tmp_path / "w.sock"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_unix_server(refuse, answers):
        pool = Pool(Endpoint(uds=str(answers)))
        assert await found(weights).tokens(pool, path, body) is None
        pool.close()


def test_what_a_file_depends_on_is_in_its_name(weights, tmp_path):
    base = found(weights).identity
    assert found(weights).identity == base
    for changed in (
        Model(context=2048),
        Model(parallel=2),
        Model(cache_type_k="q8_0"),
        Model(cache_type_v="q8_0"),
        Model(flash_attn=True),
        Model(gpu_layers=0),
    ):
        assert found(weights, changed).identity != base
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(weights.read_bytes())
    os.utime(copy, ns=(weights.stat().st_atime_ns, weights.stat().st_mtime_ns))
    assert found(copy).identity == base  # wherever it lies
    os.utime(copy)
    assert found(copy).identity != base
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    other = tmp_path / "other.gguf"
    other.write_bytes(data)
    os.utime(other, ns=(weights.stat().st_atime_ns, weights.stat().st_mtime_ns))
    assert found(other).identity != base


def test_models_whose_slots_hold_more_than_text_are_not_kept(weights, tmp_path):
    projector = tmp_path / "mmproj.gguf"
    projector.write_bytes(b"")
    for model in (
        Model(adapters=["a.gguf"]),
        Model(capabilities=["embeddings"]),
        Model(projector=str(projector)),
        Model(binary="/bin/true", args=["--lora", "x"]),
        Model(binary="/bin/true", args=["--control-vector=x"]),
    ):
        assert LlamaCpp().slot_files(model, weights) is None
    assert LlamaCpp().slot_files(Model(), None) is None
