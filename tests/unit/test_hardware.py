"""What a process may use of its machine."""

import os
import subprocess
import sys

import pytest

from rolecast.backends import hardware


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "1 0"}, None),
        ({"cpu.max": ""}, None),
        ({}, None),
    ],
)
def test_a_limit_on_processors_is_read_in_both_formats(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert hardware.cpu_quota(tmp_path) == cores


@pytest.mark.parametrize(
    ("files", "memory"),
    [
        ({"memory.max": "1048576\n"}, 1048576),
        ({"memory.max": "max\n"}, None),
        ({"memory.limit_in_bytes": "4096\n"}, 4096),
        ({}, None),
    ],
)
def test_a_limit_on_memory_is_read_in_both_formats(tmp_path, files, memory):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert hardware.memory_limit(tmp_path) == memory


def test_this_machine_has_something():
    found = hardware.hardware()
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert found.memory_bytes > 1 << 28


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
def test_cores_that_this_process_may_not_use_do_not_count():
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{one}}})\n"
        "from rolecast.backends.hardware import hardware; print(hardware().cores)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "1"
