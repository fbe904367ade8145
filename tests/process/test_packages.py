"""Wheel and sdist: what is in them, and that they work where nothing else of this project is.

Builds once for all tests, in environments of its own. Needs a package index, as any installation does.
"""

import email
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from client_programs import installing
from live_gateway import ask, plain_environment, until

from rolecast import __version__

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "rolecast"
HEAVY = {"torch", "numpy", "xllamacpp", "transformers", "sympy", "ctranslate2"}
"""Packages that only an extra may bring."""
DATA = """
py.typed data/router.npz data/presets/default.yaml data/tasks/general_reasoning.yaml data/taxonomies/v2.json
web/index.html web/app.js web/style.css books/tables/001_ledger.sql
"""
NEEDED = {f"rolecast/{name}" for name in DATA.split()}
CONFIG = "server: {port: 0}\nmodels: {tiny: {backend: fake}}\nroles: {standard: [tiny]}\n"

QUICK = os.environ | {"PIP_NO_COMPILE": "1"}
"""Half of the time of an installation is bytecode that a test does not need."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Dist(NamedTuple):
    """What was built, and the tools that did it."""

    wheel: Path
    sdist: Path
    tools: Path


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """What a command prints; its failure fails the test with all that it said."""
    done = subprocess.run([*map(str, command)], env=env, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def make_venv(folder: Path) -> Path:
    """An empty environment; its folder of programs."""
    run(sys.executable, "-m", "venv", folder)
    return folder / "bin"


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Dist:
    """The tree as it would be published."""
    folder = tmp_path_factory.mktemp("dist")
    tools = make_venv(folder / "tools")
    installed = subprocess.run(
        [*installing(tools / "python"), "build", "hatchling", "uv"],
        env=QUICK,
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode != 0 and not os.environ.get("CI"):
        pytest.skip(f"the tools that build packages cannot be installed here: {installed.stderr[-300:]}")
    assert installed.returncode == 0, installed.stderr
    run(tools / "python", "-m", "build", "--no-isolation", "--outdir", folder / "dist", ROOT)
    (wheel,) = (folder / "dist").glob("*.whl")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    return Dist(wheel, sdist, tools)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first stage of deploy/Dockerfile makes, run here: a folder for each of the image's, and no engine.

    Its `rolecast` is a clean environment into which pip has put the wheel and what that needs.
    """
    folder = tmp_path_factory.mktemp("image")
    text = (ROOT / "deploy" / "Dockerfile").read_text().split("FROM ")[1]
    source, steps = folder / "src", re.findall(r"^RUN (.+)$", text, re.MULTILINE)
    source.mkdir()
    for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE):
        *names, place = line.split()
        for name in names:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, source / place)
    assert len(steps) == 3
    own = {"EXTRAS": "", "PIP_ARGS": "", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for step in steps:
        moved = step.replace("/wheels", f"{folder}/wheels").replace("/opt/rolecast", f"{folder}/rolecast")
        done = subprocess.run(
            ["sh", "-ec", moved], cwd=source, env=QUICK | own, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{step}\n{done.stdout}\n{done.stderr}"
    return folder


@pytest.fixture
def installed(image: Path) -> Path:
    """The programs of the environment that pip has filled."""
    return image / "rolecast" / "bin"


def contents(wheel: Path) -> dict[str, str]:
    """Names and digests of what is in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def test_the_wheel_has_the_whole_package_and_nothing_else(dist: Dist) -> None:
    names = set(contents(dist.wheel))
    about = f"rolecast-{__version__}.dist-info"
    assert names >= NEEDED
    assert {f"{about}/licenses/LICENSE", f"{about}/METADATA", f"{about}/entry_points.txt"} <= names
    assert {name.split("/")[0] for name in names} == {"rolecast", about}
    tracked = {f"rolecast/{p.relative_to(SOURCE).as_posix()}" for p in SOURCE.rglob("*") if p.is_file()}
    expected = {name for name in tracked if "__pycache__" not in name and not name.endswith(".pyc")}
    assert {name for name in names if name.startswith("rolecast/")} == expected


def test_nothing_of_the_machine_that_built_it_is_in_a_package(dist: Dist) -> None:
    own = {str(ROOT).encode(), str(Path.home()).encode() + b"/"} - {b"/root/"}
    with zipfile.ZipFile(dist.wheel) as archive:
        for name in archive.namelist():
            assert not [path for path in own if path in archive.read(name)], name
    with tarfile.open(dist.sdist) as archive_of_source:
        for member in archive_of_source.getmembers():
            assert member.isfile(), member.name  # no links, no devices
            assert ".." not in member.name.split("/")
            assert not member.name.startswith("/")


def test_the_metadata_can_be_read_by_an_index(dist: Dist) -> None:
    with zipfile.ZipFile(dist.wheel) as archive:
        text = archive.read(f"rolecast-{__version__}.dist-info/METADATA").decode()
        entry = archive.read(f"rolecast-{__version__}.dist-info/entry_points.txt").decode()
    about = email.message_from_string(text)
    assert (about["Name"], about["Version"]) == ("rolecast", __version__)
    assert (about["License-Expression"], about["License-File"]) == ("Apache-2.0", "LICENSE")
    assert about["Requires-Python"] == ">=3.11"
    assert about["Description-Content-Type"] == "text/markdown"
    assert about["Summary"]
    assert text.partition("\n\n")[2].strip() == (ROOT / "README.md").read_text().strip()
    assert "rolecast = rolecast.cli:main" in entry
    needs = about.get_all("Requires-Dist") or []
    plain = {re.split(r"[^\w.-]", need)[0].lower() for need in needs if "extra ==" not in need}
    assert not plain & HEAVY
    assert "@" not in "".join(needs)  # an index takes no addresses there
    read = "Metadata.from_email(sys.stdin.buffer.read(), validate=True)"
    script = f"import sys; from packaging.metadata import Metadata; {read}"
    checked = subprocess.run(
        [dist.tools / "python", "-c", script], input=text.encode(), capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr.decode()


def test_the_sdist_has_what_is_needed_to_build_and_to_deploy(dist: Dist) -> None:
    with tarfile.open(dist.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO", "deploy/Dockerfile"} <= names
    assert not [name for name in names if name.startswith((".venv", "training/router/data"))]


def answers(command: list[str | Path], folder: Path) -> None:
    """A gateway that was started by that command answers, and ends with 0."""
    config = folder / "rolecast.yaml"
    config.write_text(CONFIG)
    home = folder / "data"
    env = plain_environment() | {"ROLECAST_HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": ""}
    argv = [*map(str, command), "up", "--config", str(config)]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=folder) as child,
    ):
        try:
            url = until(lambda: _url(folder / "log", child), "the gateway started")
            body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
            answer = ask(url, "POST", "/v1/chat/completions", body)
            assert answer.status == 200, answer.body
            assert answer.json["choices"][0]["message"]["content"]
            assert ask(url, "GET", "/ui").status == 200
            assert ask(url, "POST", "/summarize", {"prompt": "A text."}).status == 200  # its row is in the package
        finally:
            child.terminate()
        assert child.wait(60) == 0


def _url(log: Path, child: "subprocess.Popen[bytes]") -> str:
    assert child.poll() is None, log.read_text()
    found = re.search(r"http://127\.0\.0\.1:\d+(?=/ui)", log.read_text())
    return found[0] if found else ""


@pytest.mark.parametrize("way", ["script", "module"])
def test_pip_installs_a_gateway_that_answers(installed: Path, tmp_path: Path, way: str) -> None:
    command: list[str | Path] = (
        [installed / "rolecast"] if way == "script" else [installed / "python", "-m", "rolecast"]
    )
    assert run(*command, "--version").strip() == f"rolecast {__version__}"
    assert "up" in run(*command, "--help")
    assert "--print-config" in run(*command, "mcp", "--help")
    answers(command, tmp_path)


def test_what_pip_installs_is_light_and_in_itself_complete(installed: Path) -> None:
    listed = run(installed / "python", "-m", "pip", "list", "--format", "freeze")
    names = {line.split("=")[0].lower() for line in listed.splitlines()}
    assert "rolecast" in names
    assert not names & HEAVY
    run(installed / "python", "-m", "pip", "check")


@pytest.fixture
def uv(dist: Dist, tmp_path: Path) -> Iterator[tuple[Path, dict[str, str], Path]]:
    """uv with all its folders in this test\'s."""
    folders = {"UV_TOOL_DIR": "tools", "UV_TOOL_BIN_DIR": "bin", "UV_CACHE_DIR": "cache", "UV_PYTHON_DOWNLOADS": ""}
    env = os.environ | {name: str(tmp_path / place) for name, place in folders.items() if place}
    yield dist.tools / "uv", env | {"UV_PYTHON_DOWNLOADS": "never", "UV_PYTHON": sys.executable}, tmp_path
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def test_uv_installs_it_as_a_tool_that_answers(dist: Dist, uv: tuple[Path, dict[str, str], Path]) -> None:
    program, env, folder = uv
    run(program, "tool", "install", "--quiet", "--no-config", dist.wheel, env=env)
    assert run(folder / "bin" / "rolecast", "--version").strip() == f"rolecast {__version__}"
    answers([folder / "bin" / "rolecast"], folder)
    listed = run(
        program, "pip", "list", "--quiet", "--python", folder / "tools" / "rolecast" / "bin" / "python", env=env
    )
    assert not {line.split()[0].lower() for line in listed.splitlines() if line} & HEAVY


def test_an_sdist_is_built_into_the_same_wheel_as_the_tree_in_the_image(dist: Dist, image: Path) -> None:
    (wheel,) = (image / "wheels").glob("*.whl")  # of the tree; the other went through the sdist
    assert contents(wheel) == contents(dist.wheel)
