"""`rolecast sessions` and `rolecast personas` on a gateway that runs."""

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


def run(gateway: LiveGateway, *arguments: str, text: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments, "--url", gateway.url], input=text)
    return result.exit_code, result.output


def test_sessions_and_personas_from_the_command_line(tmp_path: Path) -> None:
    with LiveGateway(tmp_path, CONFIG) as gateway:
        assert "There are no sessions" in run(gateway, "sessions")[1]
        for text in ("hello", "again"):
            assert gateway.chat("tiny", text, session_id="a b/c").status == 200
        assert "a b/c" in run(gateway, "sessions")[1]
        assert json.loads(run(gateway, "sessions", "list", "--json")[1])["sessions"] == ["a b/c"]
        shown = run(gateway, "sessions", "show", "a b/c")[1]
        assert "2 turns" in shown
        assert "hello" in shown
        assert json.loads(run(gateway, "sessions", "show", "a b/c", "--json")[1])["turns"] == 2
        assert run(gateway, "sessions", "export", "a b/c")[1].startswith("# Session a b/c")
        lines = run(gateway, "sessions", "export", "a b/c", "--format", "jsonl")[1].splitlines()
        assert [json.loads(line)["role"] for line in lines] == ["user", "assistant"] * 2
        assert "behind turn 1" in run(gateway, "sessions", "clear", "a b/c", "--after", "1")[1]
        assert "1 turn," in run(gateway, "sessions", "show", "a b/c")[1]
        assert "deleted" in run(gateway, "sessions", "clear", "a b/c")[1]
        assert "0 turns" in run(gateway, "sessions", "show", "a b/c")[1]
        assert run(gateway, "sessions", "delete", "a b/c")[0] == 0
        assert run(gateway, "sessions", "delete", "a b/c")[0] == 1
        assert run(gateway, "sessions", "eat", "x")[0] == run(gateway, "sessions", "show")[0] == 2

        assert "There are no personas" in run(gateway, "personas")[1]
        file = tmp_path / "poet.txt"
        file.write_text("You are a poet who never rhymes.")
        assert run(gateway, "personas", "set", "poet", str(file))[0] == 0
        assert run(gateway, "personas", "set", "other", "-", text="You are a baker of bread.")[0] == 0
        assert run(gateway, "personas", "show", "other")[1].strip() == "You are a baker of bread."
        assert {each["name"] for each in json.loads(run(gateway, "personas", "--json")[1])["personas"]} == {
            "poet",
            "other",
        }
        code, said = run(gateway, "personas", "set", "bad", "-", text="short")
        assert code == 1
        assert "5 characters" in said
        assert run(gateway, "personas", "set", "bad", str(tmp_path / "nowhere"))[0] == 1
        assert run(gateway, "personas", "set", "bad")[0] == 2
        assert run(gateway, "personas", "delete", "poet")[0] == 0
        assert run(gateway, "personas", "delete", "poet")[0] == 1
