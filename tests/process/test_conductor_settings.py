"""A gateway on a SETTINGS.md: every category of the documented tables answers, and edits of the table apply."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from foreign_files import foreign
from live_gateway import LiveGateway, ask, plain_environment, until

from rolecast import statefile
from rolecast.config.labels import CATEGORIES, EXTERNAL, TWINS, category

ROOT = Path(__file__).parents[2]
VARIANTS = ("settings-8gb.md", "settings-16gb.md", "settings-mistral.md", "settings-sample.md")
TABLE = """\
# Settings

## Conversational Persona
```
You are calm.
```

| Category/Area | Best Open Source Model | VRAM/RAM Requirements | Technical Model Name | Stay Loaded | Precision |
|---|---|---|---|---|---|
| **General Reasoning** | SmolLM2 | ~1GB | `smollm2-135m` | true | 4-bit |
| **Code Review/Debugging** | Phi-2 | ~1.5GB | `microsoft/phi-2` | false | 4-bit |
"""


@contextmanager
def on_settings(folder: Path, text: str, *args: str, **env: str) -> Iterator[tuple[LiveGateway, Path]]:
    """A gateway on a SETTINGS.md with that text, and the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "SETTINGS.md"
    file.write_text(text)
    with LiveGateway(folder, "", "--config", str(file), "--port", "0", *args, **env) as gateway:
        yield gateway, file


def generate(gateway: LiveGateway, **body: Any) -> Any:
    return gateway.post("/generate", {"prompt": "Say hello.", "max_tokens": 4, **body})


@pytest.mark.real
@pytest.mark.parametrize("name", VARIANTS)
def test_every_category_of_a_documented_table_answers_by_both_of_its_names(
    name: str, tmp_path: Path, store: Path
) -> None:
    text = foreign(name).read_text().replace("http://127.0.0.1:8000", "http://127.0.0.1:9")  # where nobody listens
    written = re.findall(r"^\| \*\*(.+?)\*\*", text, re.MULTILINE)
    spelled = [each for each in dict.fromkeys([*written, *CATEGORIES, *TWINS]) if category(each) != EXTERNAL]
    helper = "fake"
    if name == VARIANTS[0]:  # real weights for some of one of them: they take their time
        helper, spelled = "smollm2-135m", spelled[::4]
    stand_in = ("--stand-in", helper)
    with on_settings(tmp_path, text, *stand_in, ROLECAST_STORAGE__MODELS=str(store)) as (gateway, file):
        with ThreadPoolExecutor(4) as together:
            answers = list(together.map(lambda each: generate(gateway, category=each), spelled))
        for asked, answer in zip(spelled, answers, strict=True):
            assert answer.status == 200, (asked, answer.body)
            assert answer.json["category"] == category(asked)
            assert answer.json["response"], (asked, answer.json)
            assert "error" not in answer.json  # which its command-line client takes for a failure
            assert answer.headers["x-rolecast-stand-in"] == helper
        outside = generate(gateway, category="Image Generation")
        assert 400 <= outside.status < 500 or outside.status in (502, 503, 504)
        assert outside.error["message"]
        assert gateway.get("/health").json["status"] == "healthy"
        listed = {row["technical_name"]: row["stay_loaded"] for row in gateway.get("/models").json}
        stays = {model_id for model_id, stay in listed.items() if stay and model_id != "smollm2-135m"}
        assert stays == set(re.findall(r"`(\S+)` \| true", text))
        assert gateway.state["config"] == str(file)


@pytest.mark.real
def test_requests_as_its_command_line_client_writes_them_are_answered(tmp_path: Path, store: Path) -> None:
    """Options stand at the top level and in `extra_params`."""
    options = {"summary_type": "abstractive", "length": "short", "temperature": 0.3}
    with on_settings(tmp_path, TABLE, ROLECAST_STORAGE__MODELS=str(store)) as (gateway, _):
        for path, more in (("/generate", {"category": "summarization"}), ("/summarize", {})):
            body = {"prompt": "Summarize: rain fell.", "max_tokens": 4, **options, "extra_params": options, **more}
            answer = gateway.post(path, body)
            assert answer.status == 200, answer.body
            assert answer.json["category"] == "summarization"
            assert "error" not in answer.json


@pytest.mark.real
def test_an_edit_of_the_table_applies_and_keeps_the_worker_that_it_does_not_change(tmp_path: Path, store: Path) -> None:
    with on_settings(tmp_path, TABLE, ROLECAST_STORAGE__MODELS=str(store)) as (gateway, file):
        until(lambda: gateway.model("smollm2-135m")["state"] == "ready", "the model that stays is loaded")
        pid = gateway.model("smollm2-135m")["pid"]
        file.write_text(
            TABLE.replace("You are calm.", "You are brief.")
            + TABLE.splitlines()[-1]
            .replace("Code Review/Debugging", "Translation")
            .replace("microsoft/phi-2", "smollm2-135m")
            + "\n"
        )
        report = gateway.post("/admin/reload", {}).json
        assert report["problems"] == []
        assert {"personas.text", "roles.translation (added)"} <= set(report["applied"])
        assert generate(gateway, category="translation").json["model"] == "smollm2-135m"
        file.write_text(file.read_text().replace("| true | 4-bit |", "| perhaps | 4-bit |"))
        refused = gateway.post("/admin/reload", {})
        assert refused.status == 400
        assert f"{file}:10: row 'General Reasoning': Stay Loaded is 'perhaps'" in refused.error["message"]
        assert generate(gateway, category="translation").status == 200
        assert gateway.model("smollm2-135m")["pid"] == pid


@pytest.mark.real
def test_a_start_that_skips_loading_loads_a_model_that_stays_with_its_first_request(
    tmp_path: Path, store: Path
) -> None:
    skips = "--skip-model-loading"
    with on_settings(tmp_path, TABLE, skips, ROLECAST_STORAGE__MODELS=str(store)) as (gateway, _):
        health = gateway.get("/health").json
        assert (health["status"], health["loaded_models"]) == ("healthy", 0)
        assert gateway.model("smollm2-135m")["state"] == "cold"
        assert generate(gateway).status == 200
        assert gateway.model("smollm2-135m")["state"] == "ready"


def test_a_start_that_skips_loading_needs_no_weights_at_all_and_says_what_a_request_lacks(tmp_path: Path) -> None:
    shipped = (ROOT / "conductor" / "SETTINGS.md").read_text()
    with on_settings(tmp_path, shipped, "--skip-model-loading", "--log-level", "ERROR") as (gateway, _):
        assert gateway.get("/health").json["status"] == "healthy"
        assert len(gateway.get("/models").json) >= 8
        answer = generate(gateway, category="summarization")
        assert answer.status == 503
        assert "rolecast pull mistralai/Mistral-7B-Instruct-v0.1" in answer.error["message"]


@pytest.fixture
def conductor(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder to work in that has its settings where Conductor has them, and an environment with a data folder."""
    (tmp_path / "conductor").mkdir()
    (tmp_path / "conductor" / "SETTINGS.md").write_text(TABLE)
    return tmp_path, plain_environment() | {"ROLECAST_HOME": str(tmp_path / "data"), "CONDUCTOR_PORT": "0"}


@pytest.mark.parametrize("script", ["conductor.py", "conductor/conductor.py"])
def test_conductor_py_starts_on_the_settings_of_the_working_directory(
    script: str, conductor: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, env = conductor
    argv = [sys.executable, str(ROOT / script), "--skip-model-loading", "--log-level", "WARNING"]
    monkeypatch.setenv("ROLECAST_HOME", env["ROLECAST_HOME"])
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        state = until(lambda: statefile.read() or child.poll() is not None, "conductor.py started")
        assert state is not True, (folder / "log").read_text()
        assert state.config == str(folder / "conductor" / "SETTINGS.md")
        assert ask(state.url, "GET", "/health").json["status"] == "healthy"
        assert [row["technical_name"] for row in ask(state.url, "GET", "/models").json] == [
            "smollm2-135m",
            "microsoft/phi-2",
        ]
    finally:
        child.terminate()
        child.wait(30)


def run_conductor(folder: Path, env: dict[str, str], *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(ROOT / "conductor.py"), *args]
    return subprocess.run(argv, cwd=folder, env=env | more, capture_output=True, text=True, timeout=60, check=False)


def test_mistakes_on_its_command_line_are_sentences(conductor: tuple[Path, dict[str, str]]) -> None:
    folder, env = conductor
    wrong = run_conductor(folder, env, CONDUCTOR_PORT="many")
    assert (wrong.returncode, wrong.stderr) == (
        1,
        "Error: CONDUCTOR_PORT: 'many' is no port; write a number from 0 to 65535, or unset it\n",
    )
    level = run_conductor(folder, env, "--log-level", "LOUD")
    assert level.returncode == 1
    assert "Error: --log-level: expected one of debug, info, warning, error, got 'loud'" in level.stderr
    options = run_conductor(folder, env, "--help").stdout
    for option in ("--config", "--host", "--port", "--log-level", "--skip-model-loading", "--mcp-only"):
        assert option in options


@pytest.mark.real
def test_mcp_only_speaks_on_standard_output_and_opens_no_port(
    conductor: tuple[Path, dict[str, str]], store: Path
) -> None:
    folder, env = conductor
    argv = [sys.executable, str(ROOT / "conductor.py"), "--mcp-only", "--skip-model-loading"]
    env |= {"ROLECAST_STORAGE__MODELS": str(store)}
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    calls = [
        {"id": 1, "method": "initialize", "params": client},
        {"method": "notifications/initialized"},
        {
            "id": 2,
            "method": "tools/call",
            "params": {
                "name": "generate_text",
                "arguments": {"prompt": "Say hello.", "category": "general_reasoning", "max_tokens": 4},
            },
        },
    ]
    with subprocess.Popen(
        argv, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for call in calls:
            child.stdin.write(json.dumps({"jsonrpc": "2.0", **call}) + "\n")
            child.stdin.flush()
        answers = [json.loads(child.stdout.readline()) for _ in range(2)]
        opened = [each for each in psutil.Process(child.pid).net_connections("inet") if each.status == "LISTEN"]
        child.stdin.close()
        rest = child.stdout.read()
        assert child.wait(30) == 0
    assert answers[0]["result"]["serverInfo"]["name"] == "Conductor LLM Server"
    assert answers[1]["result"]["content"][0]["text"]
    assert not answers[1]["result"].get("isError")
    assert opened == []
    assert rest == ""
