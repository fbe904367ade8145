"""The Makefile's sentences when a machine lacks what it needs; installing itself is tried elsewhere."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "src/rolecast/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["make", *args], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_without_a_usable_python_the_sentence_says_what_to_install(checkout: Path) -> None:
    old = script(checkout / "old-python", "exit 1")
    done = make(checkout, "up", f"PYTHON={old}")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "apt-get install python3" in done.stderr


def test_a_python_without_venv_is_named_with_the_package_that_brings_it(checkout: Path) -> None:
    bare = script(checkout / "bare-python", 'case "$2" in *ensurepip*) exit 1;; esac')
    done = make(checkout, "up", f"PYTHON={bare}")
    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_help_lists_every_target(checkout: Path) -> None:
    listed = make(checkout, "help").stdout
    for target in ("up", "test", "check", "fix", "bench", "docs", "clean"):
        assert f"make {target} " in listed


def test_clean_removes_the_environment_and_keeps_the_source(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    assert make(checkout, "clean").returncode == 0
    assert not (checkout / ".venv").exists()
    assert (checkout / "src/rolecast/__init__.py").exists()
