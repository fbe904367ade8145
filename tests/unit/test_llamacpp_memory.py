"""What a worker of llama.cpp takes, part by part, for headers that are fixed; and the real engine beside it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiny_gguf
import tiny_lora
from live_worker import Running, running
from test_llamacpp_defaults import MACHINE, header

from rolecast.backends import llamacpp_defaults, llamacpp_devices, llamacpp_memory
from rolecast.backends.llamacpp import LlamaCpp
from rolecast.backends.llamacpp_memory import ENGINE, GPU_CONTEXT, MIB, Beside, Devices
from rolecast.backends.llamacpp_options import settle
from rolecast.cli import random_weights
from rolecast.config.schema import Model
from rolecast.footprint import Estimate, Footprint
from rolecast.processes import folder as runtime
from rolecast.weights.gguf import Header
from rolecast.weights.layout import Layout

NUMBERS = 32 * 3 * 64
"""Keys of one token in all layers; as many values."""
PLAIN: dict[str, Any] = {
    "layout": Layout(keys=NUMBERS, values=NUMBERS),
    "feed_forward_length": 1024,
    "head_count": 8,
    "vocabulary": 1000,
    "tokenizer": "gpt2",
    "layer_bytes": 8 * 10**7,
}


def estimated(
    *more: Header,
    facts: dict[str, Any] | None = None,
    devices: Devices = Devices(),  # noqa: B008 - a frozen value
    beside: Beside = Beside(),  # noqa: B008
    large_pages: bool = False,
    **fields: Any,
) -> Estimate:
    head = header(**PLAIN | (facts or {}))
    settings: dict[str, Any] = {"context": 1024, "prompt_cache": 0, "checkpoints": 0}
    model = Model(source="file:x", **settings | fields)
    options = llamacpp_defaults.options(
        "m", model, Path("/w"), Path("/s"), header=head, hardware=MACHINE, context=model.context
    )
    settled = settle(options, gpu=devices.any)
    return llamacpp_memory.estimate([head, *more], options, settled, devices, beside, large_pages=large_pages)


def part(found: Estimate, name: str) -> int:
    return dict(found.parts).get(name, 0)


# Parts


def test_what_is_there_at_once_and_what_comes_later_add_up() -> None:
    found = estimated()
    names = [name for name, _ in found.parts]
    assert names == ["engine", "tokenizer", "weights", "cache", "output", "buffers", "guesses"]
    assert found.most.ram == sum(count for _, count in found.parts)
    assert found.loaded.ram == found.most.ram - part(found, "buffers") - part(found, "guesses")
    assert (part(found, "tokenizer"), part(found, "weights")) == (490 * 1000, 10**8)


def test_a_short_text_reaches_the_first_large_pages_of_a_large_buffer() -> None:
    small, found = (estimated(ubatch=count, large_pages=True) for count in (64, 4096))
    assert small.loaded.ram == small.most.ram - part(small, "guesses")
    later = found.most.ram - found.loaded.ram - part(found, "guesses")
    assert later == part(found, "buffers") - (6 << 20) - part(found, "buffers") // 5


def test_all_files_of_a_split_model_count() -> None:
    assert part(estimated(header(tensor_bytes=5)), "weights") == 10**8 + 5


@pytest.mark.parametrize(
    ("keys", "values", "bytes_"), [("", "", 4), ("f32", "f32", 8), ("q8_0", "q8_0", 2.125), ("q8_0", "q4_0", 1.625)]
)
def test_the_cache_is_by_tokens_slots_and_types(keys: str, values: str, bytes_: float) -> None:
    found = estimated(parallel=3, cache_type_k=keys, cache_type_v=values)
    assert part(found, "cache") == int(NUMBERS * bytes_ * 1024) * 3


def test_cells_of_a_cache_come_in_blocks() -> None:
    assert part(estimated(context=1000), "cache") == part(estimated(), "cache")
    assert part(estimated(context=1025), "cache") == NUMBERS * 4 * 1280


def test_layers_with_a_window_keep_that_and_a_batch() -> None:
    facts = {"layout": Layout(keys=100, values=100, window_keys=500, window_values=500, window=512)}
    assert part(estimated(facts=facts, context=8192), "cache") == 400 * 8192 + 2000 * (512 + 256)
    assert part(estimated(facts=facts, context=256), "cache") == 2400 * 256
    assert part(estimated(facts=facts, context=8192, ubatch=512), "cache") == 400 * 8192 + 2000 * 1024


def test_states_count_once_per_slot_whatever_the_context() -> None:
    facts = {"layout": Layout(states=1000)}
    assert part(estimated(facts=facts, parallel=3), "states") == 4 * 1000 * 3
    assert part(estimated(facts=facts, parallel=3), "cache") == 0


def test_a_model_that_embeds_shares_one_cache_and_computes_whole_inputs() -> None:
    found = estimated(capabilities=["chat", "embeddings"], parallel=2)
    assert part(found, "cache") == NUMBERS * 4 * 1024 * 2
    assert part(found, "buffers") == 1024 * (20 * 512 + 12 * 1024 + 4 * 1000 + 2 * 2048)


def test_an_encoder_has_no_scores_of_words() -> None:
    facts = {"layout": Layout(), "causal": False}
    assert part(estimated(facts=facts, capabilities=["embeddings"]), "buffers") == 1024 * (20 * 512 + 12 * 1024 + 2048)


# Weights


REPACKED = {"repacked_bytes": 9 * 10**7, "tied_bytes": 10**7}


def test_what_the_processor_rearranges_is_there_twice_only_when_the_file_is_mapped() -> None:
    assert part(estimated(facts=REPACKED, mmap=True), "second copy") == 9 * 10**7
    assert part(estimated(facts=REPACKED), "second copy") == 10**7, "an embedding that is the output, too"
    assert part(estimated(facts=REPACKED | {"tied_bytes": 0}), "second copy") == 0


def test_an_output_in_another_file_means_that_the_embedding_is_none() -> None:
    found = estimated(header(tensor_bytes=0, output_bytes=1), facts=REPACKED, mmap=True)
    assert part(found, "second copy") == 8 * 10**7


def test_files_beside_the_weights_are_loaded_with_them() -> None:
    found = estimated(beside=Beside(adapters=77, projector=400))
    assert (part(found, "adapters"), part(found, "projector")) == (77, 400)
    assert found.loaded.ram == estimated().loaded.ram + 477
    assert part(found, "projector's buffers") == 100


# Buffers


def test_buffers_grow_with_the_batch_and_without_flash_with_scores() -> None:
    assert part(estimated(), "buffers") == 128 * (20 * 512 + 12 * 1024 + 2 * 1024)
    assert part(estimated(ubatch=512), "buffers") == 4 * part(estimated(), "buffers")
    plain = estimated(flash_attn=False, context=8192)
    assert part(plain, "buffers") == 128 * (4 * 8 * 8192 + 26 * 512 + 4 * 8192)


def test_each_expert_that_works_has_rows_of_its_own() -> None:
    facts = {"layout": Layout(experts_used=8, expert_length=768)}
    assert part(estimated(facts=facts), "buffers") == 128 * (20 * 512 + 8 * (12 * 768 + 8 * 512) + 2 * 1024)


# What grows


def test_the_cache_for_prompts_may_hold_one_more_than_its_size() -> None:
    found = estimated(prompt_cache="64MiB")
    assert part(found, "prompts") == 64 * MIB + NUMBERS * 4 * 1024
    assert found.loaded == estimated().loaded


def test_checkpoints_are_those_of_windows_and_states() -> None:
    assert part(estimated(checkpoints=4), "checkpoints") == 0
    window = {"layout": Layout(keys=100, values=100, window_keys=500, window_values=500, window=512)}
    assert part(estimated(facts=window, checkpoints=4, parallel=2), "checkpoints") == 8 * 2000 * 768
    state = {"layout": Layout(states=1000)}
    assert part(estimated(facts=state, checkpoints=4), "checkpoints") == 4 * 4000


def test_a_kept_prompt_has_its_checkpoints() -> None:
    state = {"layout": Layout(states=1000)}
    assert part(estimated(facts=state, checkpoints=4, prompt_cache="64MiB"), "prompts") == 64 * MIB + 5 * 4000


# Places


def test_on_a_gpu_are_layers_and_their_cache_and_in_ram_the_embedding() -> None:
    found = estimated(devices=Devices(gpus=1), facts={"output_bytes": 10**6})
    outside = 10**8 - 8 * 10**7 - 10**6
    assert found.loaded.ram == ENGINE + 490 * 1000 + outside + 4 * 1000
    on_it = 8 * 10**7 + 10**6 + NUMBERS * 4 * 1024 + GPU_CONTEXT
    assert found.loaded.gpus == (on_it + part(found, "buffers"),)
    assert part(found, "buffers") >= 512 * 4 * (1000 + 512)


def test_gpu_layers_share_the_weights_between_both_places() -> None:
    half = estimated(devices=Devices(gpus=1), gpu_layers=16)
    assert half.loaded.gpus[0] > 4 * 10**7 + NUMBERS * 2 * 1024
    whole = estimated(devices=Devices(gpus=1))
    assert half.loaded.gpus[0] < whole.loaded.gpus[0]
    assert half.loaded.ram > whole.loaded.ram
    assert estimated(devices=Devices(gpus=1), gpu_layers=0) == estimated(gpu_layers=0)


def test_several_gpus_share_the_layers() -> None:
    found = estimated(devices=Devices(gpus=3))
    assert len(found.loaded.gpus) == 3
    assert max(found.loaded.gpus) - min(found.loaded.gpus) < 2.1 * 10**7  # the output is on the last
    assert sum(found.loaded.gpus) > 8 * 10**7


def test_a_gpu_that_shares_the_memory_is_counted_as_ram_and_rearranges_nothing() -> None:
    found = estimated(devices=Devices(shared=True), facts=REPACKED)
    assert found.loaded.gpus == ()
    assert part(found, "second copy") == 0
    assert found.loaded.ram > 10**8


def test_a_processor_alone_has_no_gpus() -> None:
    assert estimated().loaded.gpus == estimated().most.gpus == ()
    assert Footprint(1) + Footprint(2) == Footprint(3)


@pytest.mark.parametrize(("visible", "count"), [(None, 2), ("0", 1), ("", 0), ("-1", 0), ("1,0,5", 2), ("GPU-1234", 1)])
def test_gpus_that_are_hidden_do_not_count(tmp_path: Path, visible: str | None, count: int) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    assert llamacpp_devices._count(tmp_path, visible) == count
    assert llamacpp_devices._count(tmp_path / "none", visible) == 0


def test_a_driver_alone_is_no_gpu_for_an_engine_that_is_built_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    monkeypatch.setattr(llamacpp_devices, "NVIDIA", tmp_path)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(llamacpp_devices, "_built_for_gpus", lambda: False)
    assert llamacpp_devices.devices(Model()) == Devices()
    assert llamacpp_devices.devices(Model(binary="llama-server")) == Devices(gpus=1)
    assert llamacpp_devices.devices(Model(binary="b", environment={"CUDA_VISIBLE_DEVICES": ""})) == Devices()
    monkeypatch.setattr(llamacpp_devices, "_built_for_gpus", lambda: True)
    assert llamacpp_devices.devices(Model()) == Devices(gpus=1)


# Files


def test_a_backend_estimates_from_the_files_that_are_there(tmp_path: Path) -> None:
    weights, backend = tiny_gguf.write(tmp_path / "tiny.gguf"), LlamaCpp()
    found = backend.estimate(Model(source="file:x", context=1024), weights)
    assert found is not None
    width = tiny_gguf.LAYERS * tiny_gguf.WIDTH
    assert part(found, "cache") == 2 * width * 2 * 1024
    assert part(found, "weights") < weights.stat().st_size
    adapter = tiny_lora.write(tmp_path / "lora.gguf", seed=1)
    more = backend.estimate(Model(source="file:x", context=1024, adapters=[str(adapter)]), weights)
    assert more is not None
    assert 0 < part(more, "adapters") < adapter.stat().st_size
    assert backend.estimate(Model(source="file:x"), adapter) is None, "an adapter is no model"
    assert backend.estimate(Model(source="file:x"), None) is None
    assert backend.estimate(Model(source="file:x"), tmp_path / "absent.gguf") is None


def test_a_split_model_with_a_broken_part_is_not_estimated(tmp_path: Path) -> None:
    weights = tiny_gguf.write(tmp_path / "t-00001-of-00002.gguf")
    assert LlamaCpp().estimate(Model(source="file:x"), weights) is None
    (tmp_path / "t-00002-of-00002.gguf").write_bytes(b"<html>")
    assert LlamaCpp().estimate(Model(source="file:x"), weights) is None


def test_a_users_engine_is_estimated_by_what_it_does_when_it_is_not_told(tmp_path: Path) -> None:
    weights = tiny_gguf.write(tmp_path / "tiny.gguf")
    ours = LlamaCpp().estimate(Model(source="file:x"), weights)
    theirs = LlamaCpp().estimate(Model(source="file:x", binary="llama-server"), weights)
    assert ours is not None
    assert theirs is not None
    assert part(theirs, "buffers") == 4 * part(ours, "buffers"), "it computes 512 tokens at once"
    assert part(theirs, "prompts") > 8192 * MIB, "its cache for prompts, which nobody told it to keep small"
    ways: tuple[dict[str, Any], ...] = ({"args": ["--cache-ram", "64"]}, {"prompt_cache": "64MiB"})
    for told in ways:
        small = LlamaCpp().estimate(Model(source="file:x", binary="llama-server", **told), weights)
        assert small is not None
        assert part(small, "prompts") < 128 * MIB


# The engine itself


@pytest.fixture
def folder() -> Iterator[Path]:
    made = runtime.runtime_dir()
    yield made
    runtime.remove_runtime_dir(made)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_weights.write(tmp_path_factory.mktemp("large") / "large.gguf")


@pytest.mark.anyio
@pytest.mark.parametrize("fields", [{"context": 2048, "parallel": 2}, {"context": 1024, "mmap": True}])
async def test_the_engine_takes_what_was_estimated(folder: Path, large: Path, fields: dict[str, Any]) -> None:
    """The model is 240 MB: what is missed by a few MiB is a small part of it. The bar is that of bench/."""
    model = Model(source="file:x", prompt_cache=0, speculative="off", threads=1, **fields)
    found = LlamaCpp().estimate(model, large)
    assert found is not None
    async with running(LlamaCpp(), model, folder, large) as worker:
        ready = await resident(worker)
        assert -0.03 < found.loaded.ram / ready - 1 < 0.05
        await worker.post("/completion", prompt=[20 + step % 50 for step in range(140)], n_predict=1)
        assert -0.03 < found.most.ram / await resident(worker) - 1 < 0.05


async def resident(worker: Running) -> int:
    """Bytes of the worker, once the small process has ended that watches it load."""
    async with asyncio.timeout(10):
        while psutil.Process(worker.child.pid).children():
            await asyncio.sleep(0.01)
    return await asyncio.to_thread(worker.child.rss_bytes)
