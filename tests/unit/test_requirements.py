"""The manifest of requirements is true: every row names tests that exist, or says what is missing."""

import ast
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
MANIFESTS = sorted((ROOT / "tests" / "requirements").glob("*.yaml"))


def rows(path: Path) -> list[dict[str, object]]:
    return YAML(typ="safe").load(path.read_text("utf-8")) or []


@cache
def defined_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text("utf-8"))
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for group in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        found |= {f"{group.name}::{node.name}" for node in group.body if isinstance(node, ast.FunctionDef)}
    return frozenset(found)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_row_says_what_holds_and_names_tests_that_exist(path: Path) -> None:
    for row in rows(path):
        assert set(row) in ({"id", "needs", "tests"}, {"id", "needs", "open"}), row
        assert str(row["id"]).startswith(f"{path.stem}-"), f"{row['id']}: ids begin with the name of their file"
        assert str(row["needs"]).endswith("."), row["id"]
        named = row.get("tests", ["open"])
        assert isinstance(named, list), row["id"]
        assert named, f"{row['id']} names no test"
        for test in named if "tests" in row else ():
            place, _, name = str(test).partition("::")
            assert (ROOT / place).is_file(), f"{row['id']}: there is no {place}"
            assert name in defined_in(ROOT / place), f"{row['id']}: {place} has no {name}"


def test_no_id_is_used_twice() -> None:
    ids = [row["id"] for path in MANIFESTS for row in rows(path)]
    assert ids
    assert len(ids) == len(set(ids))
