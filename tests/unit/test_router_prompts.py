"""The router's hand-written prompts keep to the label policy, and none of the test set is in the training part."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROUTER = Path(__file__).parents[2] / "training" / "router"


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(folder / "check_prompts.py")], capture_output=True, text=True, check=False
    )


def write(path: Path, *rows: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def test_labels_are_valid_and_the_test_set_is_not_in_the_training_part() -> None:
    done = check(ROUTER)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_check_names_what_breaks_a_rule(tmp_path: Path) -> None:
    shutil.copy(ROUTER / "check_prompts.py", tmp_path)
    write(
        tmp_path / "prompts" / "a.jsonl",
        {"text": "which rivers meet at the old mill", "category": "question_answering"},
        {"text": "hi", "category": "small_talk"},
        {"text": "hi", "category": "conversational_chat", "colour": "red", "difficulty": 2},
    )
    write(
        tmp_path / "test" / "traps.jsonl",
        {"text": "Which rivers meet at the old mill?", "category": "question_answering", "wrong": "question_answering"},
    )
    done = check(tmp_path)
    assert done.returncode == 1
    said = done.stderr
    assert "prompts/a.jsonl:2: category 'small_talk' is not one of" in said
    assert "prompts/a.jsonl:3: unknown keys ['colour']" in said
    assert "prompts/a.jsonl:3: difficulty 2 is not between 0 and 1" in said
    assert "prompts/a.jsonl:3: the same as prompts/a.jsonl:2" in said
    assert "prompts/a.jsonl:1: 1.00 like test/traps.jsonl:1" in said
    assert "test/traps.jsonl:1: a trap needs a right and a wrong label that differ" in said
    assert "prompts: 1 prompts of category question_answering, 330 wanted" in said
