"""The documentation against the code: links lead somewhere, and what can be listed is listed whole."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rolecast import __version__, errors
from rolecast.books.receipt import Receipt
from rolecast.cli import COMMANDS
from rolecast.config import presets
from rolecast.config.memory import Memory
from rolecast.fleet import State
from rolecast.telemetry.metrics import Telemetry

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "rolecast"
NEVER_SENT = {"bad_config", "source_error", "busy", "conflict", "forbidden", "stopped"}
"""Codes of exceptions that commands print, or that always carry a narrower one."""
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def codes(kind: type[errors.RolecastError]) -> Iterator[str]:
    if kind.code:
        yield kind.code
    for lower in kind.__subclasses__():
        yield from codes(lower)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles]
            assert heading in slugs, link


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if ROOT / "docs" in page.parents}
    assert set(re.findall(r": (\S+\.md)$", text_of("mkdocs.yml"), re.MULTILINE)) == pages


def test_every_page_can_be_found_from_the_first_one() -> None:
    linked = set(re.findall(r"\]\(([^)#]+\.md)", text_of("docs/index.md")))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if ROOT / "docs" in page.parents}
    assert pages - linked == {"index.md"}


def test_the_commands_named_in_the_documentation_exist() -> None:
    known = {name for rows in COMMANDS.values() for name, _ in rows}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"(?:^|`|bin/|&& )rolecast ([a-z]+)", text, re.MULTILINE)
        assert set(named) <= known, page.name


def test_the_tree_in_the_readme_has_everything_that_is_there_and_nothing_else() -> None:
    block = text_of("README.md").split("```text\nsrc/rolecast/\n")[1].split("```")[0]
    named = set(re.findall(r"^  (\S+) ", block, re.MULTILINE))
    there = {f"{p.name}/" if p.is_dir() else p.name for p in SOURCE.iterdir() if not p.name.startswith("_")}
    assert named == there - {"py.typed"}
    assert all((ROOT / folder).is_dir() for folder in re.findall(r"^(\S+)/ ", block, re.MULTILINE))


def test_the_changelog_knows_this_version() -> None:
    assert f"## [{__version__}]" in text_of("CHANGELOG.md")


def test_every_preset_is_described() -> None:
    for page in ("README.md", "docs/guides/presets.md"):
        assert set(re.findall(r"^\| `([\w-]+)` \|", text_of(page), re.MULTILINE)) >= set(presets.names())


def test_every_error_code_is_in_the_table_of_errors() -> None:
    used = {code for path in SOURCE.rglob("*.py") for code in re.findall(r'\bcode="(\w+)"', path.read_text("utf-8"))}
    own = set(codes(errors.RolecastError)) - NEVER_SENT
    table = text_of("docs/reference/errors.md")
    assert not [code for code in sorted(used | own) if f"`{code}`" not in table]


def test_every_column_of_the_ledger_is_explained() -> None:
    explained = set(re.findall(r"`(\w+)`", text_of("docs/reference/ledger.md")))
    assert set(Receipt.__struct_fields__) <= explained


def test_every_metric_is_explained() -> None:
    telemetry = Telemetry(["m"])
    names = set(re.findall(r"^# TYPE (\w+)", telemetry.exposition().decode(), re.MULTILINE))
    gauges = set(re.findall(r'yield "(\w+)", (?:w\.)?model_id', (SOURCE / "pages" / "health.py").read_text("utf-8")))
    explained = set(re.findall(r"`(rolecast_\w+)`", text_of("docs/guides/monitoring.md")))
    assert explained == names | {f"rolecast_{gauge}" for gauge in gauges}


@pytest.mark.parametrize("page", ["docs/reference/http-api.md", "docs/guides/control.md"])
def test_every_state_of_a_model_is_explained(page: str) -> None:
    told = {
        word for line in text_of(page).splitlines() if line.startswith("| `") for word in line.split("|")[1].split()
    }
    assert {f"`{state}`" for state in (*State, "absent")} <= {word.rstrip(",") for word in told}


def test_every_setting_of_memory_is_explained_where_a_user_looks_for_it() -> None:
    guide = text_of("docs/guides/memory.md")
    assert not [
        name for name in Memory.__struct_fields__ if not re.search(rf"memory\.{name}\b|^  {name}:", guide, re.MULTILINE)
    ]
    assert not [name for name in ("pinned", "idle_timeout", "warm", "replicas", "sleep") if f"`{name}" not in guide]


def test_every_guide_is_linked_from_the_readme() -> None:
    assert not [page.name for page in (ROOT / "docs" / "guides").glob("*.md") if page.name not in text_of("README.md")]


def test_every_path_of_the_api_is_explained() -> None:
    page = text_of("docs/reference/http-api.md")
    routes = [
        route
        for path in (SOURCE / "pages").rglob("*.py")
        for route in re.findall(r'Route\(\s*"([^"{]+)', path.read_text("utf-8"))
    ]
    assert len(routes) > 8
    assert not [route for route in routes if route.rstrip("/") not in page]


def test_figures_of_the_router_are_the_same_on_both_pages() -> None:
    measured = [line for line in text_of("docs/routing.md").split("## How good it is")[1].splitlines() if "|" in line]
    assert len(measured) > 5
    assert set(measured) <= set(text_of("docs/routing-model.md").splitlines())
