"""Clients of others that run in a process of their own: how they are installed, and how one is run.

Some need versions of packages that ours are not, or no Python at all. They are installed once, beside the environment
that runs the tests, and used again as long as what is asked for is the same. Knows npm, pip and programs in
`tests/contract/programs`; knows nothing of a gateway.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "contract" / "programs"
INSTALL_S, RUN_S = 600, 110
PACKAGES = (
    "openai@6.49.0",
    "@anthropic-ai/sdk@1.14.0",
    "ollama@0.6.4",
    "ai@7.0.173",
    "@ai-sdk/openai-compatible@2.0.92",
    "@ai-sdk/anthropic@3.0.140",
    "ai-sdk-ollama@4.3.0",
    "zod@4.6.7",
)
"""Of npm."""
CONFORMANCE = ("@modelcontextprotocol/conformance@0.1.16", "node@22.23.3")
"""The official suite of MCP, and the Node it needs, which may be newer than the one that is installed."""
GROUP = "clients"
"""The dependency group of `pyproject.toml` with the clients that cannot share an environment with the newest ones."""
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false", "NODE_NO_WARNINGS": "1"}
"""Nothing but the gateway is asked."""


def node_folder() -> Path:
    """A folder with all packages of npm; skips the test where there is no Node to run them."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs node and npm (Debian: apt-get install nodejs npm)")
    return _installed("node", PACKAGES, _npm)


def conformance() -> tuple[list[str], dict[str, str]]:
    """The command of the conformance suite of MCP, and its environment; skips the test where there is no Node."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs node and npm (Debian: apt-get install nodejs npm)")
    programs = _installed("conformance", CONFORMANCE, _npm) / "node_modules"
    path = f"{programs / '.bin'}{os.pathsep}{os.environ['PATH']}"
    suite = programs / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    return [str(programs / ".bin" / "node"), str(suite)], os.environ | QUIET | {"PATH": path}


def python_folder() -> Path:
    """A folder with the packages of the group `clients`, which stands before ours on the path."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return _installed("python", (sys.version, *groups[GROUP]), _pip)


def run_node(program: str, *arguments: str) -> Any:
    """What a program for Node tells in its last line, as JSON."""
    folder = node_folder()
    shutil.copy(PROGRAMS / program, folder)  # it finds packages beside itself
    return _told(["node", str(folder / program), *arguments], {})


def run_python(program: str, *arguments: str, beside: Path | None = None) -> Any:
    """What a program for Python tells in its last line, as JSON; `beside` is a folder of packages that come first."""
    paths = {"PYTHONPATH": str(beside)} if beside else {}
    return _told([sys.executable, "-W", "ignore", str(PROGRAMS / program), *arguments], paths)


def _told(command: list[str], more: dict[str, str]) -> Any:
    environment = os.environ | QUIET | more
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def _npm(folder: Path, packages: tuple[str, ...]) -> list[str]:
    return ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *packages]


def _pip(folder: Path, packages: tuple[str, ...]) -> list[str]:
    wanted = packages[1:]  # the first is the version of Python
    return [*installing(sys.executable), "--target", str(folder), *wanted]


def installing(python: str | Path) -> list[str]:
    """The command that installs packages for that Python: uv's, ten times as fast as pip's."""
    uv = Path(sys.prefix) / "bin" / "uv"
    if uv.exists():
        return [str(uv), "pip", "install", "--quiet", "--python", str(python)]
    return [str(python), "-m", "pip", "install", "--quiet"]


def _installed(name: str, packages: tuple[str, ...], command: Callable[[Path, tuple[str, ...]], list[str]]) -> Path:
    digest = hashlib.sha256("\n".join(packages).encode()).hexdigest()[:12]
    folder = Path(sys.prefix) / "test-clients" / f"{name}-{digest}"
    if not folder.exists():
        making = folder.with_name(f"{folder.name}.{os.getpid()}")
        making.mkdir(parents=True)
        done = subprocess.run(command(making, packages), capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if done.returncode:
            shutil.rmtree(making)
            pytest.fail(f"cannot install {', '.join(packages)}:\n{(done.stderr or done.stdout)[-2000:]}")
        try:
            making.rename(folder)
        except OSError:  # another test process was faster
            shutil.rmtree(making)
    return folder
