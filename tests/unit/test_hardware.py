"""What a process may use of its machine."""

import os
import subprocess
import sys

import pytest

from rolecast.backends import hardware


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


@pytest.mark.parametrize(
    ("setting", "libc", "expected"),
    [
        ("always [madvise] never\n", "glibc 2.36", "asked"),
        ("always [madvise] never\n", "glibc 2.31", "never"),
        ("always [madvise] never\n", "", "never"),
        ("[always] madvise never\n", "", "always"),
        ("always madvise [never]\n", "glibc 2.41", "never"),
        ("what is this", "glibc 2.41", "never"),
        (None, "glibc 2.41", "never"),
    ],
)
def test_large_pages_are_what_the_system_and_its_c_library_give(tmp_path, setting, libc, expected):
    path = tmp_path / "enabled"
    if setting is not None:
        path.write_text(setting)
    assert hardware.large_pages(path, libc, gives_back=False) == expected
    assert hardware.large_pages(path, libc, gives_back=True) == ("never" if expected == "asked" else expected)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ({}, False),
        ({"virtio0": ("0x0005", "0110010" + "0" * 57)}, True),
        ({"virtio0": ("0x0005", "0110000" + "0" * 57)}, False),
        ({"virtio0": ("0x0001", "1" * 64), "virtio1": ("0x0005", "0" * 64)}, False),
        ({"virtio0": ("0x0005", "")}, False),
        ({"virtio0": ("0x0005", None)}, False),
    ],
)
def test_a_host_that_takes_back_what_is_free_is_known_by_its_balloon(tmp_path, devices, expected):
    for name, (kind, features) in devices.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "device").write_text(f"{kind}\n")
        if features is not None:
            (tmp_path / name / "features").write_text(f"{features}\n")
    assert hardware.gives_back(tmp_path) is expected
