"""No file outside the backends knows one by its name: what differs between them, they say themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rolecast
from rolecast import backends, dialects

SOURCE = Path(rolecast.__file__).parent
OTHER_WORDS: dict[str, set[str]] = {
    "avatars/documented/trainer.py": {"mlx"},  # an engine of trainings
    "avatars/training/train.py": {"mlx"},  # the same
    "config/importers/draft.py": {"command"},  # a setting
    "config/importers/litellm.py": {"ollama"},  # a provider
    "config/importers/litellm_providers.py": {"openai", "anthropic", "ollama"},  # providers
    "config/importers/llama_swap.py": {"command"},  # a setting
    "dialects/__init__.py": {
        *dialects.DIALECTS,
        *dialects.FAMILIES,
    },  # their own rows, which may be called as a backend is
    "mcp/clients.py": {"command"},  # a field of other programs
    "config/source.py": {"ollama"},  # where weights come from
    "dialects/surfaces.py": {"openai"},  # the shape of a port
    "fleet/plans.py": {"ollama"},  # where weights come from
    "pages/ollama.py": {"ollama"},  # how a client calls itself
    "sources/__init__.py": {"ollama"},  # where weights come from
    "sources/store.py": {"ollama"},  # the same
    "pages/openapi_schemas.py": {"openai"},  # a dialect
    "pages/ports.py": {"openai"},  # the shape of a port
}
"""Files in which some of the words are names of something else."""
FILES = sorted(
    name for path in SOURCE.rglob("*.py") if not (name := str(path.relative_to(SOURCE))).startswith("backends/")
)


def compared(text: str, names: set[str]) -> Iterator[str]:
    """Where one of these names decides something: in a comparison, a case, or the key of a table."""
    for node in ast.walk(ast.parse(text)):
        tested: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            tested = [node]
        elif isinstance(node, ast.match_case):
            tested = [node.pattern]
        elif isinstance(node, ast.Dict):
            tested = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.Subscript):
            tested = [node.slice]
        found = {n.value for t in tested for n in ast.walk(t) if isinstance(n, ast.Constant) and n.value in names}
        yield from (f"line {getattr(node, 'lineno', 0)}: {name!r}" for name in found if not _is_annotation(node))


def _is_annotation(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal"


def test_no_file_outside_the_backends_compares_the_name_of_one() -> None:
    names = set(backends.BUILT_IN)
    found = {name: list(compared((SOURCE / name).read_text(), names - OTHER_WORDS.get(name, set()))) for name in FILES}
    assert {name: places for name, places in found.items() if places} == {}


@pytest.mark.parametrize(
    "text",
    [
        "model.backend == 'fake'",
        "'fake' != name",
        "name in ('fake', 'other')",
        "match name:\n case 'fake': pass",
        "match name:\n case 'x' | 'fake': pass",
        "{'fake': 1}[name]",
        "table['fake']",
    ],
)
def test_every_way_to_compare_is_seen(text: str) -> None:
    assert list(compared(text, {"fake"}))


@pytest.mark.parametrize("text", ["backend = 'fake'", "add(backend='fake')", "x: Literal['fake'] = 'fake'"])
def test_to_write_a_name_is_no_comparison(text: str) -> None:
    assert list(compared(text, {"fake"})) == []
