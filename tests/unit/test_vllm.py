"""Models on vLLM: the command line that is planned. It runs for real where a `vllm` is on the PATH."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import tiny_folder
from live_gateway import LiveGateway

from rolecast import backends
from rolecast.backends.vllm import Vllm
from rolecast.config.advice import warnings
from rolecast.config.check import check
from rolecast.config.schema import Config, Model
from rolecast.errors import ConfigError
from rolecast.values import Launch, Listen

DOCUMENTED = {
    "--uds",
    "--served-model-name",
    "--max-num-seqs",
    "--max-model-len",
    "--runner",
    "--gpu-memory-utilization",
}
"""Of `vllm serve`, as its documentation lists them."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder.write(tmp_path_factory.mktemp("tiny"), context=512)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """An environment with a `vllm` in it."""
    found = tmp_path / "venv" / "bin" / "vllm"
    found.parent.mkdir(parents=True)
    found.write_text("#!/bin/sh\n")
    found.chmod(0o755)
    return found


def planned(weights: Path, **settings: object) -> Launch:
    launch = Vllm().plan("o/m:1", Model(backend="vllm", source="file:x", **settings), weights, Listen("/run/w.sock"))  # type: ignore[arg-type]
    assert isinstance(launch, Launch)
    return launch


def test_the_command_serves_the_folder_on_a_socket_by_the_name_that_is_asked(weights: Path, program: Path) -> None:
    launch = planned(weights, parallel=8, context=256, binary=str(program), args=["--gpu-memory-utilization", "0.5"])
    assert launch.argv[:3] == (str(program), "serve", str(weights.parent))
    said = dict(zip(launch.argv[3::2], launch.argv[4::2], strict=True))
    assert said == {
        "--uds": "/run/w.sock",
        "--served-model-name": "o/m:1",
        "--max-num-seqs": "8",
        "--max-model-len": "256",
        "--gpu-memory-utilization": "0.5",
    }
    assert set(said) <= DOCUMENTED
    assert launch.endpoint is not None
    assert (launch.endpoint.uds, launch.endpoint.health_path) == ("/run/w.sock", "/health")
    assert not launch.own_watch
    assert ("HF_HUB_OFFLINE", "1") in launch.env


def test_an_environment_may_be_named_in_place_of_its_program(weights: Path, program: Path) -> None:
    assert planned(weights, binary=str(program.parents[1])).argv[0] == str(program)


def test_a_model_that_embeds_is_served_so(weights: Path) -> None:
    launch = planned(weights, capabilities=["embeddings"])
    assert launch.argv[-2:] == ("--runner", "pooling")
    assert "--runner" not in planned(weights).argv


def test_gpus_are_passed_on_and_secrets_are_not(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert ("CUDA_VISIBLE_DEVICES", "1") in planned(weights).env
    assert "hf_secret" not in str(planned(weights).env)


def test_without_the_program_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    said = Vllm().missing(Model(backend="vllm"))
    assert said is not None
    assert "uv pip install --python ~/vllm vllm" in said
    assert "set `binary` to ~/vllm/bin/vllm" in said
    assert "/no/vllm is not an executable file" in (Vllm().missing(Model(binary="/no/vllm")) or "")


def test_arguments_that_are_the_fleets_or_run_foreign_programs_are_doubted() -> None:
    args = ["--port", "8000", "--trust-remote-code"]
    model = Model(backend="vllm", source="hf:o/r", args=args, tools=True)
    said = warnings(Config(models={"m": model}, roles={"standard": ["m"]}), backends.table())
    for words in ("take --host, --port and --uds out", "only for weights of yours", "--tool-call-parser NAME"):
        assert any(words in line for line in said)
    assert check(Config(models={"m": model}, roles={"standard": ["m"]}), backends.table()) == []


def test_it_cannot_be_planned_without_weights() -> None:
    with pytest.raises(ConfigError, match="folder of safetensors"):
        Vllm().plan("m", Model(), None, Listen())


@pytest.mark.skipif(shutil.which("vllm") is None, reason="vLLM is not here")
def test_the_installed_program_has_these_flags_and_answers(weights: Path, tmp_path: Path) -> None:
    told = subprocess.run(["vllm", "serve", "--help=all"], capture_output=True, text=True, check=True, timeout=100)
    assert [flag for flag in DOCUMENTED if flag not in told.stdout] == []
    model = {"backend": "vllm", "source": f"file:{weights.parent}", "context": 0, "parallel": 2}
    with LiveGateway(tmp_path, json.dumps({"server": {"port": 0}, "models": {"m": model}})) as gateway:
        assert gateway.chat("m", "Hello", max_tokens=5).status == 200
