"""What is in `deploy/`: container, compose file, service units, read as their users do."""

import json
import os
import plistlib
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from live_gateway import LiveGateway
from ruamel.yaml import YAML

from rolecast import backends
from rolecast.config import load, secrets
from rolecast.errors import ConfigError
from rolecast.server.guard import Guard

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MOST_EXPOSED = 2.5
"""Of the ten points of `systemd-analyze security`, where 10 is a service that may do everything."""

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")


# -- the container -------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as a list of what it does; continued lines are joined, remarks are left out."""
    text = "\n".join(line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = filter(None, (line.strip() for line in text.replace("\\\n", " ").split("\n")))
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def values_of(name: str) -> list[str]:
    return [rest for word, rest in instructions() if word == name]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in values_of("ENV") for pair in rest.split())


def health_command() -> list[str]:
    command: list[str] = json.loads(values_of("HEALTHCHECK")[0].split("CMD", 1)[1])
    return command


def test_the_image_is_built_in_two_stages_of_one_small_pinned_python() -> None:
    stages = values_of("FROM")
    assert [stage.split()[0] for stage in stages] == ["python:${PYTHON}-slim"] * 2
    assert re.fullmatch(r"PYTHON=3\.1[1-9]", values_of("ARG")[0])
    last = [word for word, _ in instructions()[[w for w, _ in instructions()].index("FROM", 2) :]]
    assert "RUN" in last
    runs = values_of("RUN")
    assert not [run for run in runs if re.search(r"curl|wget|git clone|sudo|chmod 777", run)]
    assert not values_of("ADD")
    for run in runs:
        assert "apt-get" not in run or {"--no-install-recommends", "rm", "/var/lib/apt/lists/*"} <= set(run.split())
        assert "pip install" not in run or "--no-cache-dir" in run


def test_the_container_runs_as_nobody_in_particular_and_keeps_all_in_its_volume() -> None:
    words = [word for word, _ in instructions()]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", values_of("USER")[-1])  # numbers, so that runAsNonRoot can tell
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert "RUN" not in words[words.index("USER") :]
    assert values_of("VOLUME") == [environment()["ROLECAST_HOME"]] == ["/data"]
    assert json.loads(values_of("ENTRYPOINT")[0]) + json.loads(values_of("CMD")[0]) == ["rolecast", "up"]


def test_what_is_copied_is_there_and_not_ignored_and_nothing_else_is_sent() -> None:
    rules = [
        line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    copied = [rest.split()[:-1] for rest in values_of("COPY") if not rest.startswith("--from")]
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    assert rules[0] == "*"
    assert {name for names in copied for name in names} == kept
    for name in kept:
        assert (ROOT / name).exists()
        assert not [rule for rule in rules[1:] if not rule.startswith("!") and fnmatch(name, rule)]


def test_the_health_check_is_python_and_says_what_is(tmp_path: Path) -> None:
    program, *rest = health_command()
    assert program == "python"
    env = {"ROLECAST_HOME": str(tmp_path / "data")}

    def checked() -> int:
        return subprocess.run(
            [sys.executable, *rest], env=os.environ | env, capture_output=True, check=False
        ).returncode

    assert checked() != 0  # nothing was started
    config = "server: {port: 0, keys: [a-key-that-it-does-not-know]}\nmodels: {tiny: {backend: fake}}\n"
    with LiveGateway(tmp_path, config + "roles: {standard: [tiny]}\n") as gateway:
        assert gateway.home == tmp_path / "data"
        assert checked() == 0
        gateway.kill()
        assert checked() != 0  # what it wrote about itself is still there


def test_a_container_without_a_key_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(DEPLOY / "config" / "rolecast.yaml", env={}, backends=backends.table())
    assert (config.server.host, config.server.port) == ("0.0.0.0", 8000)
    assert str(config.server.port) in values_of("EXPOSE")
    monkeypatch.delenv("ROLECAST_KEY", raising=False)
    assert [trail for trail, _ in secrets.notes(config)] == [("server", "keys", 0)]
    with pytest.raises(ConfigError, match="ROLECAST_KEY is not set"):
        Guard(config.server)
    monkeypatch.setenv("ROLECAST_KEY", "")
    with pytest.raises(ConfigError, match="ROLECAST_KEY is empty"):
        Guard(config.server)
    monkeypatch.setenv("ROLECAST_KEY", "long-and-random")
    assert Guard(config.server).keyed
    assert (config.log.format, config.log.requests) == ("json", True)


# -- compose -------------------------------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load((DEPLOY / "compose.yaml").read_text())
    return loaded


@pytest.mark.parametrize("name", ["rolecast", "rolecast-gpu"])
def test_services_are_locked_down_and_only_this_machine_reaches_them(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert all(port.startswith("127.0.0.1:") and port.endswith(":8000") for port in service["ports"])
    assert service["init"] is True
    assert "data:/data" in service["volumes"]
    assert service["hostname"] in load(DEPLOY / "config" / "rolecast.yaml", env={}).server.allowed_hosts
    drain_s = float(load(DEPLOY / "config" / "rolecast.yaml", env={}).server.drain_timeout)
    assert int(service["stop_grace_period"].removesuffix("s")) > drain_s
    build = service["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    for source in (volume.split(":")[0] for volume in service["volumes"]):
        assert source in compose()["volumes"] or (DEPLOY / source).is_dir()
    assert "environment" not in service  # secrets are in a file that is not in the repository
    assert service["env_file"] == ["rolecast.env"]


def test_a_gpu_is_only_asked_for_by_who_wants_one() -> None:
    services = compose()["services"]
    assert services["rolecast-gpu"]["profiles"] == ["gpu"]
    assert "profiles" not in services["rolecast"]
    assert "deploy" not in services["rolecast"]
    (device,) = services["rolecast-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    args = {rest.split("=")[0] for rest in values_of("ARG")}
    assert set(services["rolecast-gpu"]["build"]["args"]) <= args


def test_the_file_of_secrets_is_an_example_without_any_and_its_copy_is_ignored() -> None:
    names = dict(
        line.split("=", 1) for line in (DEPLOY / "rolecast.env.example").read_text().splitlines() if line[:1] != "#"
    )
    assert names == {"ROLECAST_KEY": "", "ROLECAST_API_KEY": ""}
    assert "/deploy/rolecast.env" in (ROOT / ".gitignore").read_text().splitlines()


# -- services ------------------------------------------------------------------------------------------------------


def unit(path: Path) -> dict[str, list[str]]:
    """The settings of a unit by name."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def with_a_program(path: Path, folder: Path) -> Path:
    """The same unit for a program that is here: systemd looks whether it is."""
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable} -m rolecast", path.read_text(), flags=re.MULTILINE)
    made = folder / path.name
    made.write_text(text)
    return made


@needs_systemd
@pytest.mark.parametrize(("file", "who"), [("rolecast.service", []), ("systemd-user/rolecast.service", ["--user"])])
def test_systemd_has_nothing_to_say_against_a_unit(file: str, who: list[str], tmp_path: Path) -> None:
    made = with_a_program(DEPLOY / file, tmp_path)
    env = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_LOG_LEVEL": "notice"}
    done = subprocess.run(
        ["systemd-analyze", *who, "verify", "--man=no", str(made)], env=env, capture_output=True, text=True, check=False
    )
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("there is no user session for systemd here")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    made.write_text(made.read_text().replace("Restart=always", "Restart=allways"))
    wrong = subprocess.run(
        ["systemd-analyze", *who, "verify", "--man=no", str(made)], env=env, capture_output=True, text=True, check=False
    )
    assert "allways" in wrong.stderr  # so it does look


@needs_systemd
def test_the_service_is_exposed_little(tmp_path: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    done = subprocess.run(
        [*command, str(with_a_program(DEPLOY / "rolecast.service", tmp_path))],
        capture_output=True,
        text=True,
        check=False,
    )
    (level,) = re.findall(r"Overall exposure level for rolecast\.service: ([\d.]+)", done.stdout)
    assert float(level) <= MOST_EXPOSED


@pytest.mark.parametrize("file", ["rolecast.service", "systemd-user/rolecast.service"])
def test_a_unit_is_ready_when_it_says_so_and_comes_back_whatever_happens(file: str) -> None:
    settings = unit(DEPLOY / file)
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "Restart": "always",
        "OOMPolicy": "continue",  # a worker that is too big must not take the gateway with it
        "TimeoutStartSec": "infinity",
        "KillMode": "mixed",
        "NoNewPrivileges": "yes",
        "ExecReload": "/bin/kill -HUP $MAINPID",
    }
    assert {name: settings[name] for name in expected} == {name: [value] for name, value in expected.items()}
    assert float(settings["TimeoutStopSec"][0]) > 30
    assert float(settings["WatchdogSec"][0]) >= 30
    assert " up" in settings["ExecStart"][0]


def test_the_service_of_the_system_writes_in_its_own_folder_alone() -> None:
    settings = unit(DEPLOY / "rolecast.service")
    assert (settings["ProtectSystem"], settings["DynamicUser"]) == (["strict"], ["yes"])
    assert "ReadWritePaths" not in settings
    assert f"ROLECAST_HOME=/var/lib/{settings['StateDirectory'][0]}" in settings["Environment"][0].split()
    assert f"XDG_RUNTIME_DIR=/run/{settings['RuntimeDirectory'][0]}" in settings["Environment"][0].split()


def test_launchd_starts_it_again_and_gives_it_time_to_end() -> None:
    with (DEPLOY / "dev.rolecast.plist").open("rb") as file:
        agent = plistlib.load(file)
    assert (agent["KeepAlive"], agent["RunAtLoad"]) == (True, True)
    assert agent["ExitTimeOut"] > 30
    shell, flag, script = agent["ProgramArguments"]
    assert (shell, flag) == ("/bin/sh", "-c")
    assert script.startswith("exec ")  # so that signals reach the gateway
    assert subprocess.run([shell, "-n", "-c", script], check=False).returncode == 0
    assert "Library/Logs" in script
