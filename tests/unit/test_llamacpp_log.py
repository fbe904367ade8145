"""What is kept of an engine's output, line by line."""

from pathlib import Path

import pytest

from rolecast.backends import llamacpp_log
from rolecast.processes.output import LogFile, Output

pytestmark = pytest.mark.anyio

STAMP = "0.12.345.678"
KEPT = [
    (
        f"{STAMP} E srv    send_error: task id = 3, error: request (6320 tokens) exceeds the available context size "
        "(512 tokens)"
    ),
    f"{STAMP} W slot   operator(): id  0 | task 7 | n_past was set to 28",
    "slot launch_slot_: id  0 | task 4 | processing task",
    f"{STAMP} W srv          stop: cancel task, id_task = 3",
    "terminate called without an active exception",
    "  what():  std::bad_alloc",
    "CUDA error: out of memory",
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 512.00 MiB on device 0: cudaMalloc failed: out of memory",
]
CUT = {
    f"{STAMP} W srv    operator(): got exception: SECRET": f"{STAMP} W srv [...]",
    f"{STAMP} E failed to parse grammar: SECRET": f"{STAMP} E [...]",
    "serving org/m:1 at unix:///run/SECRET.sock": "serving org/m:1 [...]",
    "/home/SECRET/ggml/src/ggml.c:42: GGML_ASSERT(SECRET) failed": "ggml.c:42: [...]",
    "/x/ggml/src/ggml-cuda/ggml-cuda.cu:90: CUDA error": "ggml-cuda.cu:90: [...]",
    "/x/tools/server/server-context.cpp:1900: GGML_ASSERT(SECRET) failed": "server-context.cpp:1900: [...]",
    "terminate called after throwing an instance of 'std::out_of_range' SECRET": (
        "terminate called after throwing an instance of 'std::out_of_range' [...]"
    ),
}
DROPPED = [
    "parse: error parsing grammar: expecting ::= at SECRET",
    "root ::= SECRET",
    "",
    "WARNING: JSON schema conversion was incomplete: pattern SECRET(",
    "serving SECRET at unix:/x",
    "/home/me/SECRET/main.cpp:42: error: expected ;",
    "SECRET.cu:1:",
    "ggml-SECRET.c:1: x",
    "terminate called after throwing an instance of 'SECRET::Broken'",
    "malloc SECRET: invalid",
    "corrupted SECRET: invalid",
    "free the SECRET: invalid",
    "ggml_SECRET: out of memory",
    "secret: failed to decode",
    "slot secret: id  0 | task 1 | processing task",
    "slot SECRET | task 1 | eval time = 1 ms / 2 tokens",
    "srv  secret: all slots are idle",
    f"{STAMP} I srv  log_server_r: request: SECRET",
    "  what():  SECRET",
    "SECRET",
]


async def written(tmp_path: Path, lines: list[str], pattern: str) -> tuple[list[str], str]:
    path = tmp_path / "w.log"
    output = Output(LogFile(path))
    output.feed(b"loading SECRETLESS\n")
    output.keep_only(pattern)
    for line in lines:  # in two pieces, as pipes do
        output.feed(line[:5].encode())
        output.feed(line[5:].encode() + b"\n")
    output.end()
    await output.written()
    assert output.tail(1000)[0] == "loading SECRETLESS"
    return output.tail(1000)[1:], path.read_text()


async def test_numbers_and_reasons_are_kept(tmp_path):
    lines, file = await written(tmp_path, KEPT, llamacpp_log.kept("org/m:1"))
    assert [line.removesuffix(" [...]") for line in lines] == KEPT
    assert file.splitlines()[1:] == lines


async def test_what_may_quote_a_request_is_cut_or_dropped_in_memory_and_on_disk(tmp_path):
    lines, file = await written(tmp_path, [*CUT, *DROPPED], llamacpp_log.kept("org/m:1"))
    assert lines == list(CUT.values())
    assert "secret" not in file.replace("SECRETLESS", "").lower()
