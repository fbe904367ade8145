"""`rolecast budget` on a gateway that runs."""

import hashlib
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
            "The run nightly may spend 2.5 dollars a day; it has spent 0.",
        )
        assert run("set", "tiny", "0.000000000001")[0] == 0
        listed = json.loads(run("list", "--json")[1])["budgets"]
        assert [(each["scope"], each["name"], each["window"]) for each in listed] == [
            ("run", "nightly", "day"),
            ("run", "tiny", "total"),
        ]
        shown = run("list")[1]
        assert "nightly" in shown
        assert "0.000000000001" in shown
        assert run("remove", "tiny", "--for-key")[0] == 1
        assert run("remove", "tiny") == (0, "The budget of tiny is removed.")
        assert "`rolecast budget` lists them" in run("remove", "tiny")[1]
        for amount in ("much", "nan", "1e", "2,50"):
            code, said = run("set", "nightly", amount)
            assert (code, f"'{amount}' is no amount of dollars; write it as 2.50." in said) == (2, True)
        assert run("set", "nightly")[0] == run("remove")[0] == run("eat", "x")[0] == 2


def test_a_budget_for_a_key_is_only_set_for_one_that_there_is(tmp_path: Path) -> None:
    secret = "of-the-configuration-0123456789"
    config = CONFIG.replace("port: 0,", f"port: 0, keys: [{secret}],")
    with LiveGateway(tmp_path, config) as gateway:

        def run(*arguments: str) -> tuple[int, str]:
            result = CliRunner().invoke(app, [*arguments, "--url", gateway.url, "--key", secret])
            return result.exit_code, " ".join(result.output.split())

        assert run("keys", "create", "friend", "--budget", "5/month")[0] == 0
        code, said = run("budget", "set", "nobody", "1", "--for-key")
        assert (code, "There is no key 'nobody'" in said) == (1, True)
        code, said = run("budget", "set", "friend", "1", "--for-key")
        assert (code, "`rolecast keys change friend --budget 5/month`" in said) == (1, True)
        known = hashlib.sha256(secret.encode()).hexdigest()[:8]
        assert run("budget", "set", known, "1", "--for-key")[0] == 0
        shown = run("budget")[1]
        assert "friend (" in shown
        assert known in shown
        assert run("budget", "remove", known, "--for-key") == (0, f"The budget of {known} is removed.")
