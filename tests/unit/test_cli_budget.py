"""`rolecast budget` on a gateway that runs."""

import json
from pathlib import Path

from live_gateway import LiveGateway
from typer.testing import CliRunner

from rolecast.cli import app

CONFIG = """\
server: {port: 0, listeners: []}
models: {tiny: {backend: fake}}
roles: {standard: [tiny]}
"""


def test_a_budget_is_set_shown_and_removed(tmp_path: Path) -> None:
    with LiveGateway(tmp_path, CONFIG) as gateway:

        def run(*arguments: str) -> tuple[int, str]:
            result = CliRunner().invoke(app, ["budget", *arguments, "--url", gateway.url])
            return result.exit_code, " ".join(result.output.split())

        assert "There are no budgets" in run()[1]
        assert run("set", "nightly", "2.50", "--per", "day") == (
            0,
            "The run nightly may spend 2.5 dollars a day; 0 are spent.",
        )
        assert run("set", "ab12", "0.000000000001", "--for-key")[0] == 0
        listed = json.loads(run("list", "--json")[1])["budgets"]
        assert [(each["scope"], each["name"], each["window"]) for each in listed] == [
            ("key", "ab12", "total"),
            ("run", "nightly", "day"),
        ]
        shown = run("list")[1]
        assert "nightly" in shown
        assert "0.000000000001" in shown
        assert run("remove", "ab12")[0] == 1
        assert run("remove", "ab12", "--for-key") == (0, "The budget of ab12 is removed.")
        assert run("set", "nightly", "much")[0] == 1
        assert run("set", "nightly")[0] == run("remove")[0] == run("eat", "x")[0] == 2
