"""A gateway that is killed while services register: who was answered is there again, and nobody is there twice."""

import http.client
import json
import threading
from pathlib import Path

from live_gateway import LiveGateway, ask, until
from typer.testing import CliRunner

from rolecast.cli import app

CONFIG = """
server:
  port: 0
  listeners:
    - {port: 0, name: registry, surface: registry}
    - {port: 0, name: helper, model: tiny, surface: pas}
models: {tiny: {backend: fake, capabilities: [chat, reasoning]}}
roles: {standard: [tiny]}
"""


def register(url: str, name: str) -> bool:
    """Whether the registry said that it is registered; False when the gateway is gone."""
    body = {"service_id": name, "name": name, "type": "tool", "url": "internal://x", "caps": ["digging"]}
    try:
        return ask(url, "POST", "/register", body).status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_who_was_registered_is_there_after_a_kill_and_ours_only_once(tmp_path: Path) -> None:
    told: set[str] = set()
    with LiveGateway(tmp_path, CONFIG) as gateway:
        for attempt in range(3):
            url = gateway.port("registry")

            def load(number: int, attempt: int = attempt, url: str = url) -> None:
                count = 0
                while register(url, name := f"s{attempt}-{number}-{count}"):
                    told.add(name)
                    count += 1

            threads = [threading.Thread(target=load, args=(number,)) for number in range(3)]
            before = len(told)
            for thread in threads:
                thread.start()
            until(lambda before=before: len(told) > before + 15, "some were registered")  # type: ignore[misc]
            gateway.kill()
            for thread in threads:
                thread.join()
            gateway.start()
            url = gateway.port("registry")
            items = ask(url, "GET", "/services").json["items"]
            there = [item["service_id"] for item in items]
            assert told <= set(there)
            assert len(there) == len(set(there))
            (agent,) = ask(url, "POST", "/discover", {"capabilities": ["reasoning"]}).json["agents"]
            assert agent["endpoint"].rpartition(":")[2] == gateway.port("helper").rpartition(":")[2]


def test_services_are_listed_on_the_command_line(tmp_path: Path) -> None:
    with LiveGateway(tmp_path, CONFIG) as gateway:
        assert register(gateway.port("registry"), "digger")

        def run(*arguments: str) -> str:
            result = CliRunner().invoke(app, ["services", *arguments, "--url", gateway.url], env={"COLUMNS": "200"})
            assert result.exit_code == 0, result.output
            return result.output

        shown = run()
        assert "digger" in shown
        assert "agent-helper" in shown
        assert "task-" not in shown
        assert "task-" in run("--all")
        listed = json.loads(run("--json", "--cap", "digging"))["services"]
        assert [each["service_id"] for each in listed] == ["digger"]
        assert "No service" in run("--cap", "flying")
