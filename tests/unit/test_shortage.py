"""Whether a worker ended for want of memory: by the kernel's count, by what was left, by the engine's last words."""

import signal
import sys
from pathlib import Path

import msgspec
import pytest
import tiny_gguf

from rolecast import backends
from rolecast.config.model import Model
from rolecast.fleet.shortage import Place, lacked, short_of, was_memory
from rolecast.footprint import Footprint
from rolecast.processes import process
from rolecast.telemetry.gpus import Gpu
from rolecast.values import Launch, Listen

SAME, MORE = (3, 3), (3, 4)
ADDRESSES_KIB = 2_000_000
"""Enough for the engine, too little for a cache of 2 GB beside it."""


@pytest.mark.parametrize(
    ("code", "kills", "left", "place"),
    [
        (-signal.SIGKILL, SAME, 0.5, ""),
        (-signal.SIGKILL, MORE, 0.5, "ram"),
        (137, MORE, 0.5, "ram"),
        (-signal.SIGKILL, SAME, 0.01, "ram"),
        (-signal.SIGTERM, MORE, 0.01, ""),
        (-signal.SIGSEGV, MORE, 0.01, ""),
        (0, MORE, 0.01, ""),
        (None, MORE, 0.01, ""),
        (1, MORE, 0.01, ""),
    ],
)
def test_a_kill_is_for_memory_where_the_kernel_says_so_or_hardly_any_was_left(
    code: int | None, kills: tuple[int, int], left: float, place: Place
) -> None:
    assert short_of(code, ["loading"], kills, left) == place
    assert was_memory(code, ["loading"], kills, left) is bool(place)


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 8589934592", "ram"),
        ("ggml_aligned_malloc: insufficient memory (attempted to allocate 8192.00 MB)", "ram"),
        ("llama_kv_cache: failed to allocate buffer for kv cache", "ram"),
        ("  what():  std::bad_alloc", "ram"),
        ("MemoryError", "ram"),
        ("OSError: [Errno 12] Cannot allocate memory", "ram"),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 5 bytes", "ram"),
        ("CUDA error: out of memory", "gpu"),
        (
            "ggml_backend_cuda_host_buffer_type_alloc: allocating 9 MiB on device 0: cudaMalloc failed: out of memory",
            "gpu",
        ),
        ("alloc_tensor_range: failed to allocate CUDA0 buffer of size 5", "gpu"),
        ("alloc_tensor_range: failed to allocate CPU buffer of size 5", "ram"),
        ("ROCm error: out of memory", "gpu"),
        ("terminate called: vk::Device::allocateMemory: ErrorOutOfDeviceMemory", "gpu"),
        ("ggml_metal_buffer_init: error: failed to allocate buffer, size = 5 MiB", "gpu"),
        ("error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)", "gpu"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 4.50 GiB", "gpu"),
        ("RuntimeError: CUDA failed with error out of memory", "gpu"),
        ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", "gpu"),
        ("[metal::malloc] Attempting to allocate 5 bytes which is greater than the maximum allowed", "gpu"),
        ("error loading model: invalid magic characters", ""),
        ("warning: failed to mlock 5-byte buffer (after previously locking 0 bytes): Cannot allocate memory", ""),
        ("failed to allocate compute buffers, retrying without pipeline parallelism", ""),
        ("the memory of this model is fine", ""),
        ("\0" * 4096, ""),
    ],
)
def test_engines_say_in_their_own_words_that_memory_was_short(line: str, place: Place) -> None:
    assert short_of(1, ["loading", line, "exiting"], SAME) == place
    assert short_of(-signal.SIGABRT, [line], SAME) == place
    assert short_of(-signal.SIGKILL, [line], SAME) == ""  # killed by somebody who had a reason of his own
    assert short_of(1, [line, *["."] * 100], SAME) == ""  # long ago
    assert short_of(0, [line], SAME) == ""


def test_where_it_was_short_is_where_the_worker_was() -> None:
    cards, shared = [Gpu("x", 9, 9)], [Gpu("x", 9, 9, shares_ram=True)]
    assert lacked("ram", Footprint(5, (5,)), cards) == Footprint(1)
    assert lacked("gpu", Footprint(5, (0, 5)), cards) == Footprint(0, (0, 1))
    assert lacked("gpu", Footprint(5), cards) == Footprint(0, (1,))
    assert lacked("gpu", Footprint(5), shared) == Footprint(1)
    assert lacked("", Footprint(5), cards) == Footprint()


GREEDY = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28)); bytearray(1 << 30)"


@pytest.mark.anyio
async def test_a_real_process_that_gets_no_memory_is_recognised(tmp_path: Path) -> None:
    argv = (sys.executable, "-c", GREEDY)
    child = await process.spawn(Launch(argv=argv, own_watch=True), name="greedy", log=tmp_path / "log")
    assert short_of(await child.wait(), child.tail(40), SAME) == "ram"


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no limit on addresses")
async def test_the_real_engine_that_gets_no_memory_for_its_cache_is_recognised(tmp_path: Path) -> None:
    weights = tiny_gguf.write(tmp_path / "tiny.gguf", context=4_000_000)
    model = Model(source="file:tiny.gguf", context=4_000_000, parallel=1, prompt_cache=0)
    launch = backends.get("llamacpp").plan("m", model, weights, Listen(socket=str(tmp_path / "s.sock")))
    assert isinstance(launch, Launch)
    limited = ("sh", "-c", f'ulimit -v {ADDRESSES_KIB}; exec "$@"', "sh", *launch.argv)
    child = await process.spawn(msgspec.structs.replace(launch, argv=limited), name="m", log=tmp_path / "log")
    assert short_of(await child.wait(), child.tail(40), SAME) == "ram"
