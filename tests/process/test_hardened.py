"""The engine under the hardest rule of deploy/rolecast.service: no memory is ever both written and executed."""

import subprocess
import sys
from pathlib import Path

import pytest
from live_gateway import LiveGateway

ROOT = Path(__file__).parents[2]
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
"""The kernel's own form of MemoryDenyWriteExecute, since Linux 6.3; children have it too."""
REFUSED = f"""
import ctypes, mmap
assert ctypes.CDLL(None).prctl({PR_SET_MDWE}, {REFUSE_EXEC_GAIN}, 0, 0, 0) == 0, "no such rule"
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    print("refused")
"""
GATEWAY = f"""
import ctypes, runpy
assert ctypes.CDLL(None).prctl({PR_SET_MDWE}, {REFUSE_EXEC_GAIN}, 0, 0, 0) == 0
runpy.run_module("rolecast", run_name="__main__", alter_sys=True)
"""


def can_refuse() -> bool:
    """Whether this kernel knows the rule and keeps it."""
    return b"refused" in subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, check=False).stdout


@pytest.mark.real
@pytest.mark.skipif(not can_refuse(), reason="this kernel has no PR_SET_MDWE")
def test_the_engine_needs_no_memory_that_is_written_and_executed(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "MemoryDenyWriteExecute=yes" in (ROOT / "deploy" / "rolecast.service").read_text()
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nshift 2\nexec {sys.executable} -c '{GATEWAY}' \"$@\"\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with LiveGateway(
        tmp_path, "", "--preset", "default", "--port", "0", ROLECAST_STORAGE__MODELS=str(store)
    ) as gateway:
        answer = gateway.chat("smollm2-135m", "Hello", max_tokens=8)
        assert answer.status == 200, answer.body
        assert answer.json["usage"]["completion_tokens"] > 0
        (worker,) = (each for each in gateway.processes() if each.pid == gateway.model("smollm2-135m")["pid"])
        assert worker.pid != gateway.pid
