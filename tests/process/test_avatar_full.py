"""From conversations to an answer by the commands alone: a tiny model from nothing, every step in its own process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TINY = {
    "training.width": 64,
    "training.hidden": 128,
    "training.layers": 2,
    "training.heads": 4,
    "training.vocabulary": 3000,
    "training.compiled": "false",
    "training.precision": "fp32",
    "training.threads": 1,
    "gate.samples": 1,
    "gate.planted": 8,
    "gate.controls": 10,
    "dataset.most": 120,
}
PERSON = "Kai Okafor"


class Home:
    """A data folder, and commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = os.environ | {
            "ROLECAST_HOME": str(folder / "data"),
            "XDG_CONFIG_HOME": str(folder),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *argv: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "rolecast", "avatar", *argv]
        done = subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=110)
        assert done.returncode == code, done.stdout + done.stderr
        self.told = done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def made(home: Home) -> dict[str, object]:
    changes = [f"--set={name}={value}" for name, value in TINY.items()]
    out = home.run(
        "full", "--example", "--person", PERSON, "--method", "scratch", "--epochs", "0.2", "--force", "--json", *changes
    )
    made: dict[str, object] = json.loads(out)
    return made


def test_one_command_leads_from_conversations_to_an_answer(made: dict[str, object], home: Home) -> None:
    outcome = made["outcome"]
    assert isinstance(outcome, dict)
    assert outcome["name"] == "kai_okafor"
    assert outcome["version"] == 1
    assert outcome["passed"] is False  # it has learnt nothing
    assert outcome["reasons"]
    question, said = made["answer"]  # type: ignore[misc]
    assert question
    assert isinstance(said, str)
    assert "<script" not in Path(outcome["report"]).read_text(encoding="utf-8")


def test_what_is_done_is_not_done_again(made: dict[str, object], home: Home) -> None:
    home.run("full", "--person", PERSON, "--force", "--json")
    assert home.told.count("done before") == 4  # all but the release


def test_it_is_listed_and_its_report_is_told(made: dict[str, object], home: Home) -> None:
    (row,) = json.loads(home.run("list", "--json"))["avatars"]
    assert row["avatar"]["name"] == "kai_okafor"
    assert "released by force" in home.run("list")
    assert "exposure" in home.run("report", "kai_okafor")
    people = json.loads(home.run("people", "--json"))["speakers"]
    assert len(people) == 5


def test_all_of_it_is_for_its_owner_alone(made: dict[str, object], home: Home) -> None:
    root = home.folder / "data" / "avatars"
    open_to_others = [p for p in root.rglob("*") if p.stat().st_mode & 0o077]
    assert open_to_others == []


def test_somebody_who_is_forgotten_takes_with_them_what_learnt_of_them(made: dict[str, object], home: Home) -> None:
    told = json.loads(home.run("forget", "Mira Sandoval", "--yes", "--json"))
    assert told["messages"] > 500
    assert [each["avatar"] for each in told["avatars"]["withdrawn"]] != []
    assert json.loads(home.run("people", "--json"))["speakers"][0]["person"]["name"] != "Mira Sandoval"
    (row,) = json.loads(home.run("list", "--json"))["avatars"]
    assert row["avatar"].get("current", 0) == 0
