"""The command `doctor`: looks at everything a gateway needs, and gives the command that mends what is wrong.

Each check is one function that yields findings and changes nothing on the machine.
"""

import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec
import typer

from rolecast.cli import doctor_machine, output
from rolecast.cli.finding import Finding
from rolecast.cli.options import ConfigFile, Json
from rolecast.config.schema import Config, Model
from rolecast.values import Endpoint, Listen, authority

PACKAGES = (
    "httptools",
    "httpx2",
    "prometheus_client",
    "psutil",
    "ruamel.yaml",
    "starlette",
    "uvicorn",
    "uvloop",
)
LITTLE_DISK = 2_000_000_000
NO_DISK = 200_000_000
REMOTE_TIMEOUT_S = 3
MOST_NAMES = 8
"""So many models of a remote are told."""
MARKS = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[bold red]✗[/]"}


def doctor(config: ConfigFile = None, as_json: Json = False) -> None:
    """Check this machine and the configuration; exit code 1 when something prevents a start."""
    findings = [_runnable(each) for each in examine(config)]
    if as_json:
        output.print_json(findings)
    else:
        for finding in findings:
            _print(finding)
    if any(finding.level == "fail" for finding in findings):
        raise typer.Exit(1)


def _runnable(finding: Finding) -> Finding:
    message, fix = map(output.runnable, (finding.message, finding.fix))
    return msgspec.structs.replace(finding, message=message, fix=fix)


def _print(finding: Finding) -> None:
    output.beside(f"{MARKS[finding.level]} [bold]{finding.check:<14}[/]", output.escape(finding.message))
    if finding.fix:
        output.beside(f"  {'':<14} [dim]→[/]", output.escape(finding.fix))


def examine(file: Path | None) -> Iterator[Finding]:
    """All findings in the order a start would meet them."""
    from rolecast.cli import settings
    from rolecast.errors import ConfigError, counted

    yield from check_python()
    yield from check_packages()
    try:
        chosen = settings.here(file)
    except ConfigError as error:
        fix = f"rolecast check {file or error.source}"
        yield Finding("configuration", "fail", f"{counted(len(error.problems), 'problem')}: {error.problems[0]}", fix)
        return
    yield from check_advice(chosen.config, chosen.name)
    checks: tuple[Callable[[Config], Iterator[Finding]], ...] = (
        check_engines,
        check_remotes,
        check_weights,
        check_disk,
        check_database,
        doctor_machine.check_memory,
        check_ports,
    )
    for check in checks:
        yield from check(chosen.config)
    yield from check_sockets()
    yield from check_gateway()
    yield from doctor_machine.check_processor()
    yield from doctor_machine.check_gpus()
    yield from check_backends(chosen.config)


def check_python() -> Iterator[Finding]:
    """The version that runs this command."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", "ok", f"{version} ({sys.executable})")


def check_packages() -> Iterator[Finding]:
    """Whether what the gateway imports is installed."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        fix = f"{sys.executable} -m pip install {' '.join(missing)}"
        yield Finding("packages", "fail", f"not installed: {', '.join(missing)}", fix)
    else:
        yield Finding("packages", "ok", f"all {len(PACKAGES)} installed")


def check_advice(config: Config, name: str) -> Iterator[Finding]:
    """A valid configuration, and what in it is probably not meant."""
    from rolecast import backends
    from rolecast.config import warnings

    yield Finding("configuration", "ok", f"{name} is valid, {len(config.models)} models")
    for warning in warnings(config, backends.table()):
        yield Finding("configuration", "warn", warning)


def check_engines(config: Config) -> Iterator[Finding]:
    """Whether each model's backend can run here; one finding per backend and complaint."""
    from rolecast import backends

    complaints: dict[tuple[str, str], list[str]] = {}
    useless = {*_useless_weights(config), *_absent_weights(config)}
    for model_id, model in config.models.items():
        if model.enabled:
            backend = backends.get(model.backend)
            missing = backend.missing(model) or ""
            if missing and not backend.spawns:
                continue  # the gateway starts without that remote, of which `check_remotes` says the same
            complaints.setdefault((model.backend, missing), []).append(model_id)
    for (name, missing), ids in complaints.items():
        if missing:
            yield Finding("engine", "fail", f"{name} ({', '.join(ids)}): {missing}")
        elif usable := [model_id for model_id in ids if model_id not in useless]:  # of the others `check_weights` tells
            yield Finding("engine", "ok", f"{name} can run {', '.join(usable)}")


def check_backends(config: Config) -> Iterator[Finding]:
    """What else this machine could run: the backends that no model of the configuration uses."""
    from rolecast import backends
    from rolecast.errors import ConfigError

    used = {model.backend for model in config.models.values() if model.enabled}
    for name in backends.names():
        if name in used:
            continue  # its models were asked already
        try:
            backend = backends.get(name)
            missing, can = backend.missing(Model(backend=name)), "run models here" if backend.spawns else "ask servers"
        except ConfigError as error:  # one from elsewhere that is none
            missing, can = error.problems[0], ""
        if missing:
            fix = command[1] if (command := re.search(r"`([^`]+)`", missing)) else ""
            yield Finding("backend", "ok", f"{name} is not used, and could not be: {missing}", fix)
        else:
            yield Finding("backend", "ok", f"{name} can {can}, too")


def check_remotes(config: Config) -> Iterator[Finding]:
    """Whether the servers that run elsewhere answer now; one that does not is no reason not to start."""
    from concurrent.futures import ThreadPoolExecutor

    from rolecast import backends

    enabled = {model_id: model for model_id, model in config.models.items() if model.enabled}
    remotes = {model_id: model for model_id, model in enabled.items() if not backends.get(model.backend).spawns}
    with ThreadPoolExecutor(max_workers=8) as pool:
        yield from pool.map(lambda one: ask_remote(*one), remotes.items())


def ask_remote(model_id: str, model: Model) -> Finding:
    """What one remote says when it is asked for its models."""
    import httpx2

    from rolecast import backends
    from rolecast.backends.offered import listed, meant
    from rolecast.errors import ConfigError

    def said(level: Literal["ok", "warn"], text: str, fix: str = "") -> Finding:
        return Finding("remote", level, f"{model_id}: {model.url or model.backend} {text}", fix)

    try:
        at = backends.get(model.backend).plan(model_id, model, None, Listen())
    except ConfigError as error:
        return said("warn", f"cannot be used: {error.problems[0]}")
    assert isinstance(at, Endpoint)
    headers = dict(line.split(": ", 1) for line in at.headers.decode("latin-1").splitlines() if line)
    transport = httpx2.HTTPTransport(uds=at.uds) if at.uds else None
    try:
        with httpx2.Client(transport=transport, timeout=REMOTE_TIMEOUT_S, trust_env=False) as client:
            url = (
                f"{'https' if at.tls else 'http'}://{authority(at.host or 'localhost', at.port or 80)}{at.health_path}"
            )
            answer = client.get(url, headers=headers)
            status, there = answer.status_code, listed(answer.content)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        why = str(error) or type(error).__name__
        return said("warn", f"does not answer ({why})", f"start that server, or correct models.{model_id}.url")
    if status in (401, 403):
        return said("warn", f"refuses the key ({status})", f"correct models.{model_id}.key")
    if status >= 500:
        return said("warn", f"answers {status}", "look at that server's log")
    wanted = model.remote_model or model_id
    names = [one.name for one in there]
    has = {wanted, f"{wanted}:latest"} & set(names) or (not model.remote_model and meant(model_id, there))
    if status == 200 and names and not has:
        fix = f"set models.{model_id}.remote_model to one of {', '.join(names[:MOST_NAMES])}"
        return said("warn", f"has no model '{wanted}'", fix)
    return said("ok", "answers")


def check_weights(config: Config) -> Iterator[Finding]:
    """Which weights are on this machine."""
    from rolecast.cli import weights
    from rolecast.errors import RolecastError
    from rolecast.sources import command, parse

    try:
        absent = weights.absent(config)
    except RolecastError as error:
        yield Finding("weights", "fail", error.message)
        return
    wanted = [model_id for model_id, model in config.models.items() if model.enabled and model.source]
    useless = _useless_weights(config)
    if present := [model_id for model_id in wanted if model_id not in {*absent, *useless}]:
        yield Finding("weights", "ok", f"present: {', '.join(present)}")
    for model_id, why in useless.items():
        yield Finding("weights", "fail", f"{model_id}: {why}", f"correct models.{model_id}.source, or bring the file")
    for model_id, model in absent.items():
        by_hand = f"put the file there, or correct models.{model_id}.source"
        fix = command(parse(model.source), model_id) or by_hand
        yield Finding("weights", "warn", f"{model_id} is absent ({model.source})", fix)


def _absent_weights(config: Config) -> Iterable[str]:
    from rolecast.cli import weights
    from rolecast.errors import RolecastError

    try:
        return weights.absent(config)
    except RolecastError:  # which `check_weights` tells
        return ()


def _useless_weights(config: Config) -> dict[str, str]:
    """Why weights that are here cannot be used, in the words of `check`, which judges by their headers."""
    from rolecast import readiness
    from rolecast.sources.here import weights_finder
    from rolecast.weights import found as there

    found, find = {}, weights_finder(config)
    for model_id, model in config.models.items():
        is_here = model.enabled and there(find, model) is not None
        lines = readiness.hindrances(config, model) if is_here else []
        if said := next((line for line in lines if line.startswith("source: ")), ""):
            found[model_id] = said.removeprefix("source: ")
    return found


def check_disk(config: Config) -> Iterator[Finding]:
    """Room for weights."""
    from rolecast.cli import weights

    folder = weights.store(config)
    at = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(at).free
    text = f"{output.size(free)} free for weights in {folder}"
    fix = "free some space, or set storage.models to a folder on a larger disk"
    if not os.access(at, os.W_OK):
        yield Finding("disk", "fail", f"{at} cannot be written", "set ROLECAST_HOME to a folder of yours")
    elif free < LITTLE_DISK:
        yield Finding("disk", "fail" if free < NO_DISK else "warn", text, fix)
    else:
        yield Finding("disk", "ok", text)


def check_database(config: Config) -> Iterator[Finding]:
    """Whether the database of the ledger could be opened now."""
    import asyncio

    from rolecast import books
    from rolecast.errors import ConfigError

    async def look() -> str:
        store = books.store_of(config)
        try:
            await store.probe()
        finally:
            await store.close()
        return store.name

    try:
        yield Finding("database", "ok", asyncio.run(look()))
    except ConfigError as error:
        yield Finding("database", "fail", error.problems[0])


def check_ports(config: Config) -> Iterator[Finding]:
    """Whether every listener can be opened, and who holds the port when not."""
    from rolecast import statefile
    from rolecast.cli.gateway import ports

    ours = statefile.running()
    if ours:
        held = ", ".join(map(str, sorted(ports(ours))))
        yield Finding("ports", "ok", f"the running gateway holds {held}")
    free = []
    for one in listening(config):
        if ours and one.port in ports(ours):
            continue
        if obstacle := one.obstacle():
            # A gateway that runs is no start that could fail: it was given other ports.
            level: Literal["warn", "fail"] = "warn" if ours else "fail"
            yield Finding("ports", level, f"{authority(one.host, one.port)} {obstacle}", one.fix)
        else:
            free.append(str(one.port))
    if free:
        yield Finding("ports", "ok", f"free: {', '.join(free)}")


class Wanted(msgspec.Struct, frozen=True):
    """An address that the configuration opens, which setting says so, and how to choose another port for it."""

    setting: str
    host: str
    port: int
    fix: str

    def obstacle(self) -> str:
        """Why a server could not listen there now, in words that follow the address; '' when it could."""
        from rolecast.server import sockets

        try:
            sockets.listen(self.host, self.port).close()
        except OSError as error:
            return sockets.obstacle(self.port, error)
        return ""


def listening(config: Config) -> Iterator[Wanted]:
    """Every address that a start opens."""
    server = config.server
    other = server.port + 10 if 0 < server.port < 65000 else 8010
    yield Wanted("server.port", server.host, server.port, f"stop it, or: rolecast up --port {other}")
    for index, one in enumerate(server.listeners):
        host = server.host if one.host is None else one.host
        setting = f"server.listeners.{index}.port"
        yield Wanted(setting, host, one.port, f"stop it, or change {setting} in the configuration")


def check_sockets() -> Iterator[Finding]:
    """Whether the private folder of the workers' sockets can be made."""
    from rolecast.errors import ConfigError
    from rolecast.processes.folder import runtime_dir

    try:
        folder = runtime_dir()
    except ConfigError as error:
        yield Finding("sockets", "fail", error.problems[0])
        return
    with socket.socket(socket.AF_UNIX) as probe:
        path = folder / "doctor.sock"
        probe.bind(str(path))
        path.unlink()
    folder.rmdir()
    yield Finding("sockets", "ok", f"workers can listen in {folder.parent}")


def check_gateway() -> Iterator[Finding]:
    """Whether the gateway of this machine answers, when one runs."""
    from rolecast import statefile
    from rolecast.cli.gateway import answers

    state = statefile.running()
    if state is None:
        yield Finding("gateway", "ok", "not running; `rolecast up` starts it")
    elif answers(state.url):
        yield Finding("gateway", "ok", f"answers on {state.url} (pid {state.pid})")
    else:
        fix = "rolecast logs; rolecast down"
        yield Finding("gateway", "fail", f"runs (pid {state.pid}) but does not answer on {state.url}", fix)
