"""The benchmark of instructions asks every dialect as it says, and gets every piece of each stream."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_stream_that_is_measured_comes_whole() -> None:
    bench = str(ROOT / "bench")
    sys.path.insert(0, bench)
    try:
        import asking
    finally:
        sys.path.remove(bench)
    works = ["direct:request", "request", "direct:stream:anthropic:1", "request:openai-heard"]
    works += [f"stream:{name}:{size}" for name in asking.WAYS for size in (1, 16)]
    argv = [sys.executable, f"{bench}/inprocess.py", str(ROOT / "src"), *works, "--count", "20"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert list(said) == works
    assert not [line for line in said.values() if line.startswith("failed")], said
