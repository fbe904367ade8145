"""`rolecast mcp`: the settings it prints, and that importing and starting stay as cheap as they were without MCP."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from live_gateway import plain_environment

from rolecast.mcp.clients import CLIENTS, PLACEHOLDER


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "rolecast", "mcp", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=plain_environment() | env)


def server(printed: dict[str, Any]) -> dict[str, Any]:
    (table,) = printed.values()
    return dict(table["rolecast"])


@pytest.mark.parametrize("client", CLIENTS)
def test_the_settings_of_each_client_are_json_and_nothing_else_on_standard_output(client: str) -> None:
    done = run("--print-config", client)
    assert done.returncode == 0, done.stderr
    found = server(json.loads(done.stdout))
    assert found["args"] == ["mcp"]
    assert Path(found["command"]).name == "rolecast"
    assert "belongs into" in done.stderr


@pytest.mark.parametrize("client", CLIENTS)
def test_the_settings_by_address_have_the_path_and_a_place_for_the_key(client: str) -> None:
    done = run("--print-config", client, "--http", "--url", "10.0.0.7:8000/v1", "--key", "sk-secret")
    text = done.stdout
    found = server(json.loads(text))
    assert "http://10.0.0.7:8000/mcp" in found.values()
    assert found["headers"] == {"Authorization": f"Bearer {PLACEHOLDER}"}
    assert "sk-secret" not in text + done.stderr


def test_each_client_gets_its_own_table() -> None:
    tables = {client: next(iter(json.loads(run("--print-config", client).stdout))) for client in ("claude", "vscode")}
    assert tables == {"claude": "mcpServers", "vscode": "servers"}
    vscode = server(json.loads(run("--print-config", "vscode", "--key", "k").stdout))
    assert vscode["type"] == "stdio"
    assert vscode["env"] == {"ROLECAST_API_KEY": PLACEHOLDER}


def test_a_data_folder_of_ones_own_goes_with_the_command_since_clients_have_no_variables_of_the_shell(
    tmp_path: Path,
) -> None:
    def env(*more: str, home: str = str(tmp_path)) -> Any:
        done = run("--print-config", "claude", *more, **({"ROLECAST_HOME": home} if home else {}))
        return server(json.loads(done.stdout)).get("env")

    assert env() == {"ROLECAST_HOME": str(tmp_path)}
    assert env("--key", "k") == {"ROLECAST_HOME": str(tmp_path), "ROLECAST_API_KEY": PLACEHOLDER}
    for more in (["--url", "http://10.0.0.7"], ["--http"]):
        assert env(*more) is None
    assert env(home="") is None


def test_the_printed_command_runs() -> None:
    found = server(json.loads(run("--print-config", "claude").stdout))
    done = subprocess.run([found["command"], *found["args"], "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "standard input" in done.stdout


def test_an_unknown_client_is_refused_with_those_that_are_known() -> None:
    done = run("--print-config", "emacs")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "cursor" in done.stderr


def test_standard_output_carries_the_protocol_alone_and_the_end_of_input_ends_it() -> None:
    argv = [sys.executable, "-m", "rolecast", "mcp", "--url", "http://127.0.0.1:9"]
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize"}
    info = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    lines = [{**hello, "params": info}, {"jsonrpc": "2.0", "method": "notifications/initialized"}]
    lines.append({"jsonrpc": "2.0", "id": 2, "method": "models/list"})
    said = "no json\n[]\n" + "".join(json.dumps(line) + "\n" for line in lines)
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=plain_environment()
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(said)
        program.stdin.flush()
        answers: dict[Any, Any] = {}
        refused: list[int] = []
        while 2 not in answers:
            line = json.loads(program.stdout.readline())
            if line["id"] is None:
                refused.append(line["error"]["code"])
            answers[line["id"]] = line
        program.stdin.close()
        assert program.stdout.read() == ""
        assert program.wait(20) == 0
    assert refused == [-32700, -32600]
    assert answers[1]["result"]["protocolVersion"] == "2024-11-05"
    assert answers[2]["error"]["code"] == -32603
    assert "rolecast up" in answers[2]["error"]["message"]


def test_neither_the_gateway_nor_a_command_imports_the_sdk() -> None:
    code = (
        "import sys, rolecast.app, rolecast.cli\n"
        "from rolecast.config.schema import Config\n"
        "rolecast.app.Gateway.__init__\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('mcp', 'mcp_types', 'pydantic', 'jsonschema')"
        " or m.startswith('rolecast.mcp')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
