"""The examples of docs/routing.md: each command, in the page's own configuration, chooses what the page says."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rolecast.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "routing.md").read_text(encoding="utf-8")
TOLD = ("Model ", "Role ", "Why ", "Then ", "Requests ", "Right: role", "Role: ", "Model: ", "Decided by: ")
"""Lines that do not change with the learned model's figures."""
TABLE = re.compile(r"Prompt +Model ")
ALONE = [
    block
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    if block.startswith("$ rolecast route") and block.count("$ ") == 1
]
LABELS = """  labels:
    destination:
      examples:
        erp: [Book the supplier's invoice, Which purchase orders are open?, Create a purchase order for 200 screws,
          Post the goods receipt for order 4711, Which invoices are overdue?, Show the stock of item 88,
          Approve the vendor payment, What did supplier ACME charge us?, Close the accounting period, Plan production]
        it_ops: [The VPN is down again, Restart the print server, My laptop does not boot, I cannot log in any more,
          The disk of server db2 is full, Why is the network so slow?, Give me access to the share,
          Update the mail server tonight, Monitor the CPU of the web servers, Install the antivirus on all clients]
        other: [Write a Python function that sorts a list, Who wrote Hamlet?, Translate good morning into Polish,
          Prove that 2 is prime, Write a poem about autumn, Summarize this article, What is the capital of France?,
          Plan a trip to Rome, How tall is Mount Everest?, Refactor this class]
      use: {it_ops: reasoning}
      min_confidence: 0.7
"""


def block(language: str, beginning: str) -> str:
    """The first example of the page that begins so."""
    return next(text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if text.startswith(beginning))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the files of the page, and nothing of a gateway."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLECAST_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ROLECAST_URL", raising=False)
    config = block("yaml", "models:")
    rules = block("yaml", "routing:\n  rules:").removeprefix("routing:\n")
    Path("rolecast.yaml").write_text(config)
    Path("other.yaml").write_text(re.sub(r"strategies: .*", "strategies: [explicit]", config))
    Path("labels.yaml").write_text(config + rules + LABELS)
    Path("past.jsonl").write_text(block("json", '{"prompt": "Make this'))


def lines(text: str) -> list[str]:
    """What of an output must be the same, without the widths of columns."""
    found, table = [], False
    for line in text.splitlines():
        table = table or TABLE.match(line) is not None
        if table:
            found.append(re.sub(r" +\d+ %|  +", " ", line).strip())
        elif line.startswith(TOLD):
            found.append(" ".join(line.split()))
    return found


@pytest.mark.parametrize("example", ALONE, ids=lambda block: block.splitlines()[0][17:60])
def test_an_example_of_the_page_chooses_what_the_page_says(example: str) -> None:
    command, _, told = example.partition("\n")
    runner = CliRunner(env={"COLUMNS": "200"})
    result = runner.invoke(app, shlex.split(command.removeprefix("$ rolecast ")), catch_exceptions=False)
    assert result.exit_code == 0
    there = lines(result.stdout)
    wanted = lines(told)
    assert wanted
    assert [line for line in wanted if line not in there] == []


def test_the_page_has_an_example_of_each_strategy_that_needs_no_gateway() -> None:
    sources = set(re.findall(r"^Why +(\w+);", "".join(ALONE), re.MULTILINE))
    assert sources >= {"role", "rule", "learned", "default"}
    assert any("--backtest" in example for example in ALONE)
