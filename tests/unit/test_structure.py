"""The house stays habitable: no file and no class grows beyond what one reading holds."""

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

import rolecast

ROOT = Path(__file__).parents[2]
FILES = sorted(Path(rolecast.__file__).parent.rglob("*.py"))
LINES_OF_A_FILE = 450
LINES_OF_A_CLASS = 300


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(Path(rolecast.__file__).parent)))
def test_a_file_and_its_classes_can_be_read_in_one_go(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= LINES_OF_A_FILE
    classes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    long = {
        node.name: size for node in classes if (size := (node.end_lineno or 0) - node.lineno + 1) > LINES_OF_A_CLASS
    }
    assert long == {}


@pytest.mark.skipif(not shutil.which("git") or not (ROOT / ".git").exists(), reason="no checkout of git")
def test_nothing_that_a_run_leaves_behind_is_in_the_repository() -> None:
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    kept = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert kept == ""
