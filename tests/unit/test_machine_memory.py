"""What memory there is: of made-up machines, control groups and GPUs, and of this one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rolecast.footprint import Footprint
from rolecast.telemetry import cgroups, gpus, memory, processor
from rolecast.telemetry.gpus import Gpu
from rolecast.telemetry.nvidia import FIRST_NAMESPACE, Nvidia

MIB, GIB = 1 << 20, 1 << 30
MACHINE = {
    "proc/meminfo": "MemTotal: 16777216 kB\nMemFree: 100 kB\nMemAvailable:    8388608 kB\nHugePages_Total:   0\n"
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def read(root: Path, *cards: Gpu) -> memory.Reading:
    return memory.read(root, lambda: cards)


# -- limits of control groups ---------------------------------------------------------------------------------


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
def test_a_limit_on_processors_is_read_in_both_formats(
    tmp_path: Path, files: dict[str, str], cores: float | None
) -> None:
    assert cgroups.cpu_quota(tree(tmp_path, files)) == cores


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ({"memory.max": "1048576\n"}, 1048576),
        ({"memory.max": "max\n"}, None),
        ({"memory.max": "1048576\n", "memory.high": "1000\n"}, 1000),
        ({"memory.max": "max\n", "memory.high": "max\n"}, None),
        ({"memory.limit_in_bytes": "4096\n"}, 4096),
        ({"memory.limit_in_bytes": "-1\n"}, None),
        ({}, None),
    ],
)
def test_a_limit_on_memory_is_read_in_both_formats(tmp_path: Path, files: dict[str, str], size: int | None) -> None:
    assert cgroups.memory_limit(tree(tmp_path, files)) == size


# -- the machine's memory -------------------------------------------------------------------------------------


def test_without_limits_the_machine_is_what_there_is(tmp_path: Path) -> None:
    found = read(tree(tmp_path, MACHINE))
    assert found == memory.Reading(Footprint(16 * GIB), Footprint(8 * GIB))
    assert found.used == Footprint(8 * GIB)


def test_an_old_kernel_is_guessed_from_what_is_free_and_cached(tmp_path: Path) -> None:
    tree(tmp_path, {"proc/meminfo": "MemTotal: 1000 kB\nMemFree: 100 kB\nCached: 200 kB\n"})
    assert memory.ram(tmp_path) == (1000 << 10, 300 << 10)


def test_the_narrowest_limit_of_a_group_or_one_above_it_counts_and_pages_of_files_do_not(tmp_path: Path) -> None:
    groups = {
        "proc/self/cgroup": "0::/user/app\n",
        "sys/fs/cgroup/user/memory.max": str(4 * GIB),
        "sys/fs/cgroup/user/memory.current": str(3 * GIB),
        "sys/fs/cgroup/user/memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file {GIB // 2}\nslab_reclaimable 0\n",
        "sys/fs/cgroup/user/app/memory.max": "max",
        "sys/fs/cgroup/user/app/memory.current": str(GIB),
    }
    assert memory.ram(tree(tmp_path, MACHINE | groups)) == (4 * GIB, int(2.5 * GIB))


def test_version_one_counts_groups_below_with_it(tmp_path: Path) -> None:
    groups = {
        "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",  # a path of the host's
        "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2 * GIB),
        "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB),
        "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 2}\ntotal_active_file 0\n",
    }
    assert memory.ram(tree(tmp_path, MACHINE | groups)) == (2 * GIB, int(1.5 * GIB))


def test_no_limit_of_version_one_is_a_huge_number_and_more_than_the_machine_is_not_there(tmp_path: Path) -> None:
    groups = {
        "proc/self/cgroup": "4:memory:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB),
    }
    assert memory.ram(tree(tmp_path, MACHINE | groups)) == (16 * GIB, 8 * GIB)


def test_a_group_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    groups = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": str(GIB),
        "sys/fs/cgroup/memory.current": str(2 * GIB),
    }
    assert memory.ram(tree(tmp_path, MACHINE | groups)) == (GIB, 0)


@pytest.mark.parametrize("text", ["", "nonsense", "max max max", "-5", "\0\0"])
def test_nonsense_in_a_file_is_no_limit(tmp_path: Path, text: str) -> None:
    names = ("memory.max", "memory.current", "memory.stat", "memory.events", "cpu.max")
    files = {f"sys/fs/cgroup/{name}": text for name in names} | {"proc/self/cgroup": f"{text}\n0::/\n"}
    tree(tmp_path, MACHINE | files)
    assert memory.ram(tmp_path) == (16 * GIB, 8 * GIB)
    assert cgroups.kills(tmp_path) == 0
    assert processor.features(tmp_path) == ()


def test_files_that_zfs_keeps_are_to_be_had_but_for_the_least_it_keeps(tmp_path: Path) -> None:
    kept = f"13 1 0x01 147 39984\nname type data\nsize 4 {6 * GIB}\nc_min 4 {GIB}\nc_max 4 {8 * GIB}\n"
    found = memory.ram(tree(tmp_path, MACHINE | {"proc/spl/kstat/zfs/arcstats": kept}))
    assert found == (16 * GIB, 13 * GIB)
    small = kept.replace(f"size 4 {6 * GIB}", f"size 4 {GIB // 2}")
    assert memory.ram(tree(tmp_path, {"proc/spl/kstat/zfs/arcstats": small})) == (16 * GIB, 8 * GIB)
    assert memory.ram(tree(tmp_path, {"proc/spl/kstat/zfs/arcstats": "nonsense"})) == (16 * GIB, 8 * GIB)


def test_this_machine_has_memory_and_some_of_it_is_to_be_had() -> None:
    found = memory.read()
    assert 0 < found.available.ram <= found.total.ram


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.events": "low 0\noom 9\noom_kill 2\n"},
        {"proc/self/cgroup": "2:memory:/a\n", "sys/fs/cgroup/memory/a/memory.oom_control": "under_oom 0\noom_kill 2\n"},
        {"proc/vmstat": "nr_free_pages 5\noom_kill 2\n"},
    ],
)
def test_kills_for_want_of_memory_are_counted_wherever_they_are_told(tmp_path: Path, files: dict[str, str]) -> None:
    assert cgroups.kills(tree(tmp_path, files)) == 2


# -- GPUs -----------------------------------------------------------------------------------------------------


def test_amds_cards_are_read_from_sysfs_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    files = {}
    for number, name, vendor in ((10, "Radeon PRO W7900", "0x1002"), (2, "", "0x1002"), (0, "", "0x8086")):
        device = f"sys/class/drm/card{number}/device"
        files |= {f"{device}/vendor": f"{vendor}\n", f"{device}/device": "0x744c\n"}
        files |= {f"{device}/mem_info_vram_total": str(8 * GIB), f"{device}/mem_info_vram_used": str(GIB)}
        files |= {f"{device}/product_name": name, f"sys/class/drm/card{number}-HDMI-A-1/status": "connected"}
    root = tree(tmp_path, files)
    assert list(gpus.amd(root)) == [
        Gpu("AMD GPU 0x744c", 8 * GIB, 7 * GIB),
        Gpu("Radeon PRO W7900", 8 * GIB, 7 * GIB),
    ]
    found = memory.read(tree(root, MACHINE), lambda: gpus.cards(root, {"HIP_VISIBLE_DEVICES": "1"}))
    assert found.total == Footprint(16 * GIB, (8 * GIB,))
    assert found.cards[0].name == "Radeon PRO W7900"


@pytest.mark.parametrize(("limit", "size"), [("0", 12 * GIB), ("14336", 14 * GIB), ("", 12 * GIB)])
def test_apples_gpu_has_the_machines_memory_up_to_a_limit(tmp_path: Path, limit: str, size: int) -> None:
    told = {"hw.memsize": str(16 * GIB), "iogpu.wired_limit_mb": limit, "machdep.cpu.brand_string": "Apple M4"}
    (gpu,) = gpus.apple(lambda name: told.get(name, ""))
    assert gpu == Gpu("Apple M4", size, size, shares_ram=True)
    assert read(tree(tmp_path, MACHINE), gpu).total == Footprint(16 * GIB, (0,))


A, B, C = (Gpu(name, 1, 1, uuid=f"GPU-{name}1") for name in "abc")


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        (None, [A, B, C]),
        ("", []),
        ("-1", []),
        ("2,0", [C, A]),
        ("1, GPU-c", [B, C]),
        ("1,7,0", [B]),
        ("GPU", []),
        ("0,0", [A]),
        ("NoDevFiles", []),
    ],
)
def test_cards_that_engines_may_not_see_are_left_out(setting: str | None, found: list[Gpu]) -> None:
    assert gpus.visible([A, B, C], setting) == found


DRIVER = r"""
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu, compute; } process;
static int cards[] = {0, 1, 2, 3};
static const char *names[] = {"H100", "GB10", "Jetson Orin", ""};
int nvmlInit_v2(void) { return INIT; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 4; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device) { *device = &cards[i]; return i == 3 ? 15 : 0; }
int nvmlDeviceGetName(int *card, char *to, unsigned n) { strncpy(to, names[*card], n); return 0; }
int nvmlDeviceGetUUID(int *card, char *to, unsigned n) { strncpy(to, "GPU-0", n); to[4] += *card; return 0; }
int nvmlDeviceGetMemoryInfo(int *card, memory *to) {
  if (*card == 1) return 3;
  to->total = 80ULL << 30; to->free = 50ULL << 30; to->used = 30ULL << 30;
  return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(int *card, unsigned *n, process *to) {
  if (*n < 2) { *n = 2; return 7; }
  to[0] = (process){11, 5ULL << 30, -1, -1};
  to[1] = (process){12, *card == 2 ? -1ULL : 1ULL << 30, -1, -1};
  *n = 2;
  return 0;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(int *card, unsigned *n, process *to) { *n = 0; return 0; }
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library with the functions and the layouts of NVIDIA's, made by this machine's compiler."""
    return _compiled(tmp_path_factory.mktemp("driver"), init=0)


def _compiled(folder: Path, init: int) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler is here")
    (folder / "nvml.c").write_text(DRIVER)
    library = folder / "libnvidia-ml.so.1"
    command = [compiler, "-shared", "-fPIC", f"-DINIT={init}", "-o", library, folder / "nvml.c"]
    subprocess.run(command, check=True, timeout=60)
    return str(library)


def namespace(root: Path, name: str) -> Path:
    (root / "proc/self/ns").mkdir(parents=True)
    (root / "proc/self/ns/pid").symlink_to(name)
    return root


def test_nvidias_driver_tells_memory_and_who_holds_it(driver: str, tmp_path: Path) -> None:
    one, two, three = Nvidia(driver, namespace(tmp_path, FIRST_NAMESPACE)).cards()
    processes = ((11, 5 * GIB), (12, GIB))
    assert one == Gpu("H100", 80 * GIB, 50 * GIB, uuid="GPU-0", processes=processes)
    assert two == Gpu("GB10", 0, 0, uuid="GPU-1", processes=processes, shares_ram=True)
    # The driver tells the machine's memory as if it were this one's, and of one process not how much it holds.
    assert three == Gpu("Jetson Orin", 0, 0, uuid="GPU-2", shares_ram=True)


def test_in_a_namespace_of_its_own_the_numbers_of_processes_mean_nothing(driver: str, tmp_path: Path) -> None:
    cards = Nvidia(driver, namespace(tmp_path, "pid:[4026532999]")).cards()
    assert [card.processes for card in cards] == [None, None, None]


def test_a_driver_that_cannot_be_used_is_no_driver(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="code 9"):
        Nvidia(_compiled(tmp_path, init=9))
    with pytest.raises(OSError, match="nowhere"):
        Nvidia(str(tmp_path / "nowhere.so"))


def test_without_a_driver_there_is_no_card_and_nothing_is_loaded(tmp_path: Path) -> None:
    if sys.platform == "linux":
        assert gpus.cards(tmp_path, {}) == []


# -- the processor --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("processor: 0\nflags\t\t: fpu sse2 avx2 avx512f amx_tile amx_bf16\n", ("AVX2", "AVX-512", "AMX", "bf16")),
        ("flags : sse2\n\nflags : avx2\n", ()),
        ("Features : fp asimd asimddp sve i8mm bf16\n", ("bf16", "dot products", "i8mm", "SVE")),
        ("model name : x\n", ()),
    ],
)
def test_the_units_of_a_processor_are_told_by_names_that_people_know(
    tmp_path: Path, text: str, found: tuple[str, ...]
) -> None:
    assert processor.features(tree(tmp_path, {"proc/cpuinfo": text})) == found


def test_this_process_is_found_in_its_groups() -> None:
    if sys.platform == "linux" and os.path.exists("/proc/self/cgroup"):  # noqa: PTH110
        assert all(group.is_dir() for group in cgroups.groups())
