"""Any server that a command starts: a container, vLLM, mlx_lm.server, somebody else's llama-server.

Fills in where it shall listen and what it shall serve, and checks that the program is there. How it is asked is as
with a remote; what it prints may quote requests, so little of that is kept once it answers them.
"""

import itertools
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from rolecast import weights as weights_of
from rolecast.backends import command_line, llamacpp_log, versions
from rolecast.backends.plain import Plain
from rolecast.backends.remote import DEFAULT_PORTS, OpenAIRemote, address, authorization, is_base
from rolecast.config import paths, secrets
from rolecast.config.about import RUN_HERE, About, Remark
from rolecast.config.schema import Model
from rolecast.errors import ConfigError
from rolecast.values import LOOPBACK, Endpoint, Failure, Launch, Listen

SLOTS = 4
PARTING_S = 5.0
"""A container's client must tell the container that it shall end, also when the gateway died."""
IDLE_S = 4.0  # common servers close a connection after 5 s without a request; we leave first
PLACEHOLDERS = ("port", "socket", "model", "weights", "context", "parallel")
PASSED = (
    "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "CONTAINER_HOST",
    "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE",
)  # fmt: skip
"""Variables that tell such programs where their daemon or their downloads are; none holds a secret."""
_DIED = r"(?:torch\.(?:cuda\.)?OutOfMemoryError|MemoryError|Killed|Segmentation fault|Aborted)\b"
"""Last words that say why, and cannot hold a request's."""
_CONTAINER = ("docker", "podman", "nerdctl")


def _problems(model: Model) -> Iterator[Remark]:
    if not model.enabled:
        return
    for setting, given, extra in (("command", model.command, ()), ("stop", model.stop, ("pid",))):
        yield from ((setting, text) for text in _faults(given, (*PLACEHOLDERS, *extra)))
    used, is_clear = _placeholders(model), not any(_faults(model.command, PLACEHOLDERS))
    if model.command and is_clear and not _own_address(model) and not used & {"port", "socket"}:
        text = "says nowhere where to listen; write {port} or {socket} into it, or the address it has into url"
        yield "command", text
    elif model.replicas > 1 and is_clear and not used & {"port", "socket"}:
        yield "replicas", "every copy needs a place of its own to listen; write {port} or {socket} into command"
    if "weights" in used and not model.source:
        yield "command", "has {weights}, but there is no source; say where the weights are"
    if not re.fullmatch(r"/[!-~]*", model.health):
        yield "health", "expected a path such as /health or /v1/models"
    if model.url and not re.fullmatch(r"/[!-~]*", model.url) and not is_base(_with_port(model.url, "1")):
        yield "url", "expected the path in front of /chat/completions, such as /v1, or the whole http://HOST:PORT/v1"


def _faults(command: str | list[str], names: tuple[str, ...]) -> Iterator[str]:
    try:
        words = command_line.words(command)
    except ValueError as fault:
        yield str(fault)
        return
    if any("\0" in word for word in words):
        yield "has a NUL character, which no program can be given; leave it out"
    for name in dict.fromkeys(name for word in words for name in command_line.placeholders(word)):
        if command_line.known(name) not in names:
            there = ", ".join(f"{{{each}}}" for each in names)
            yield f"there is no placeholder {{{name}}}; there are {there}, and {{{{name}}}} is the text {{name}}"


def _doubts(model: Model) -> Iterator[Remark]:
    words = _words(model.command)
    if model.source and "weights" not in _placeholders(model):
        yield "source", "does nothing: command has no {weights}"
    if _own_address(model) and _placeholders(model) & {"port", "socket"}:
        yield "url", "names an address of its own, though command is told where to listen; give the path alone"
    if any(word in ("0.0.0.0", "::") or word.endswith(("=0.0.0.0", "=::")) for word in words) and not _contained(words):
        yield "command", "0.0.0.0 lets other machines past the gateway; let it listen on 127.0.0.1"
    if _contained(words):
        yield from _container_doubts(words, model)


def _container_doubts(words: list[str], model: Model) -> Iterator[Remark]:
    if "run" in words:
        yield from _left_behind(words, model)
    if {"-d", "--detach"} & set(words):
        yield "command", "-d returns before the container ends, so nobody could watch it; leave it out"
    for flag, value in _flags(words):
        if flag in ("-p", "--publish") and re.match(r"(\{port\}|\$\{PORT\}|\d+):", value):
            yield "command", f"{flag} {value} lets other machines past the gateway; write {flag} 127.0.0.1:{value}"


def _left_behind(words: list[str], model: Model) -> Iterator[Remark]:
    """What of a container may stay when its client has ended."""
    program, name = Path(words[0]).name, next((value for flag, value in _flags(words) if flag == "--name"), "")
    if name and not any(word.partition("=")[0] == "--rm" for word in words):
        yield "command", f"without --rm the container stays, and the next start finds the name {name} taken"
    if not model.stop:
        write = f"write {program} stop {name}" if name else f"write {program} stop NAME and add --name NAME to command"
        yield "stop", f"is missing: a killed {program} run leaves its container behind; {write}"


def _flags(words: list[str]) -> Iterator[tuple[str, str]]:
    """Each option with its value, however they are written, and some pairs that are none."""
    for word, following in itertools.pairwise([*words, ""]):
        flag, equals, value = word.partition("=")
        yield (flag, value) if equals and flag.startswith("--") else (word, following)


def _contained(words: list[str]) -> bool:
    return bool(words) and Path(words[0]).name in _CONTAINER


class Command(Plain):
    """`backend: command`."""

    about = About(
        slots=SLOTS,
        needs={"command": "name the program and its arguments, such as vllm serve OWNER/MODEL --port {port}"},
        unused=(*(name for name in RUN_HERE if name not in ("chat_template_kwargs", "environment")), "script"),
        problems=_problems,
        doubts=_doubts,
    )
    usage: Literal["inject"] = "inject"
    renames: Mapping[str, str] = {}
    spawns = True

    def plan(self, model_id: str, model: Model, weights: Path | None, listen: Listen) -> Launch:
        """The command with all placeholders filled in. Raises ConfigError when it cannot be."""
        if faults := [f"models.{model_id}.{name}: {text}" for name, text in _problems(model)]:
            raise ConfigError(faults)
        values = {
            "port": str(listen.port),
            "socket": listen.socket,
            "model": model.remote_model or model_id,
            "weights": str(weights or ""),
            "context": str(weights_of.context(model, weights) if weights else model.context),
            "parallel": str(model.parallel),
        }
        argv = [command_line.fill(word, values) for word in _words(model.command)]
        return Launch(
            argv=(_find(argv[0]) or argv[0], *argv[1:]),
            endpoint=self._endpoint(model_id, model, listen),
            env=(
                *((name, os.environ[name]) for name in PASSED if name in os.environ),
                *secrets.variables(model.environment, f"models.{model_id}.environment"),
            ),
            kept_output=f"{llamacpp_log.kept(model_id)}|{_DIED}",
            stop=tuple(command_line.fill(word, values) for word in _words(model.stop)),
            parting_s=PARTING_S,
        )

    def _endpoint(self, model_id: str, model: Model, listen: Listen) -> Endpoint:
        headers = authorization(OpenAIRemote.credential, model_id, model.key)
        if "socket" in _placeholders(model):
            base = model.url.rstrip("/") or "/v1"
            return Endpoint(uds=listen.socket, base=base, health_path=model.health, headers=headers, idle_s=IDLE_S)
        url = model.url or "/v1"
        whole = f"http://{LOOPBACK}:{listen.port}{url}" if url.startswith("/") else _with_port(url, str(listen.port))
        parts = address(model_id, whole)
        return Endpoint(
            host=parts.hostname or "",
            port=parts.port or DEFAULT_PORTS[parts.scheme],
            tls=parts.scheme == "https",
            base=parts.path.rstrip("/"),
            health_path=model.health,
            headers=headers,
            idle_s=IDLE_S,
        )

    def tells_apart(self, model: Model) -> bool:
        """It depends on its flags, which nobody reads."""
        return False

    def missing(self, model: Model) -> str | None:
        """The program that is not here, or the variable that is not set."""
        for command, setting in ((model.command, "command"), (model.stop, "stop")):
            program = next(iter(_words(command)), "")
            if program and _find(program) is None:
                if program.startswith("$"):
                    return f"{program} is for a shell, and none reads this; write the program itself in `{setting}`"
                if "/" in program and (path := paths.expanded(program)) and paths.is_lost(path):
                    return f"there is no file {program}; correct `{setting}`"
                if "/" in program:
                    return f"{program} is not an executable file; correct `{setting}`"
                return f"{program} is not on the PATH; install it, or give its whole path in `{setting}`"
        return secrets.unset(model.environment, model.key)

    def engine(self, model: Model) -> str:
        """The program, which may be one that only starts another."""
        found = _find(next(iter(_words(model.command)), ""))
        return versions.of_program(Path(found) if found else None)

    def explain(self, status: int, said: Failure) -> None:
        """It belongs to whoever configured it, and says what it wants to."""
        return


def _words(command: str | list[str]) -> list[str]:
    try:
        return command_line.words(command)
    except ValueError:  # told by the checks
        return []


def _placeholders(model: Model) -> set[str]:
    return {command_line.known(name) for word in _words(model.command) for name in command_line.placeholders(word)}


def _own_address(model: Model) -> bool:
    """Whether it listens where it wants to, and not where it is told."""
    return "://" in model.url and not any(command_line.known(n) == "port" for n in command_line.placeholders(model.url))


def _with_port(url: str, port: str) -> str:
    return command_line.fill(url, {"port": port})


def _find(program: str) -> str | None:
    return shutil.which(os.path.expanduser(program))  # noqa: PTH111 - a Path would drop a leading ./
