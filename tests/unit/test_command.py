"""Servers that a command of the user's starts: how it is read, filled in, checked, started, watched and ended."""

import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiny_gguf
from free_ports import free_port
from gateway import Gate, chat, config, request, running_gateway, short_folder, until

from rolecast import backends, readiness
from rolecast import config as configuration
from rolecast.backends import command_line
from rolecast.backends.command import Command
from rolecast.config.schema import Config, Model, Seconds
from rolecast.errors import ConfigError
from rolecast.processes import folder as runtime
from rolecast.values import Endpoint, Listen

SERVER = [sys.executable, str(Path(__file__).with_name("foreign_server.py"))]
LISTEN = Listen("/run/x/m.sock", 4321)


# -- how a command is read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vllm serve org/m --port {port}", ["vllm", "serve", "org/m", "--port", "{port}"]),
        ("a 'b c' \"d e\" f\\ g", ["a", "b c", "d e", "f g"]),
        ("a \\\n  --b c \\\n  --d", ["a", "--b", "c", "--d"]),
        ("a\n  --b\n", ["a", "--b"]),
        ("a --tag x#y '#z'", ["a", "--tag", "x#y", "#z"]),
        ("sh -c 'a | b && c'", ["sh", "-c", "a | b && c"]),
        ("a '{\"b\": 1}'", ["a", '{"b": 1}']),
        (["a b", "", "c|d"], ["a b", "", "c|d"]),
        ("", []),
    ],
)
def test_a_text_is_split_as_a_shell_would_and_a_list_is_taken_as_it_is(text: str | list[str], words: list[str]) -> None:
    assert command_line.words(text) == words


@pytest.mark.parametrize(
    ("word", "filled"),
    [
        ("--port={port}", "--port=4321"),
        ("${PORT}", "4321"),
        ("127.0.0.1:{port}:8000", "127.0.0.1:4321:8000"),
        ("${MODEL_ID}-{model}", "m-m"),
        ("{{port}} {{ port }} {{json .}}", "{port} {{ port }} {{json .}}"),
        ('{"a": {}, "b": "{port}"}', '{"a": {}, "b": "4321"}'),
        ("{nobody} ${NOBODY} {} {0} $PORT", "{nobody} ${NOBODY} {} {0} $PORT"),
        ("{weights}", "/w/{port}.gguf"),
    ],
)
def test_placeholders_are_filled_in_once_and_other_braces_are_left_alone(word: str, filled: str) -> None:
    assert command_line.fill(word, {"port": "4321", "model": "m", "weights": "/w/{port}.gguf"}) == filled


# -- what is checked


def read(settings: dict[str, Any]) -> Config:
    given = {"models": {"m": {"backend": "command", **settings}}, "roles": {"standard": ["m"]}}
    return configuration.read(json.dumps(given), backends=backends.table())


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "models.m: 'command' is missing; name the program"),
        ({"command": "a 'b --port {port}"}, "models.m.command: cannot be split into words: a quote is not closed"),
        ({"command": "a --port {port} \\"}, "models.m.command: cannot be split into words: it ends in a backslash"),
        ({"command": "a --port {port} && b"}, "models.m.command: '&&' is for a shell, and none reads this"),
        ({"command": "a --port {port} > log"}, "models.m.command: '>' is for a shell"),
        (
            {"command": "a --port {prot}"},
            "models.m.command: there is no placeholder {prot}; there are {port}, {socket}",
        ),
        ({"command": "a --port ${PORT} ${HOME}"}, "models.m.command: there is no placeholder {HOME}"),
        ({"command": "a ${env.X} {port}"}, "models.m.command: there is no placeholder {env.X}"),
        ({"command": "a serve"}, "models.m.command: says nowhere where to listen; write {port} or {socket}"),
        ({"command": "a serve", "url": "/v1"}, "models.m.command: says nowhere where to listen"),
        ({"command": "a {port} -m {weights}"}, "models.m.command: has {weights}, but there is no source"),
        ({"command": "a {port}", "stop": "b {who}"}, "models.m.stop: there is no placeholder {who}; there are"),
        ({"command": "a {port} {pid}"}, "models.m.command: there is no placeholder {pid}"),
        ({"command": "a {port}", "health": "health"}, "models.m.health: expected a path such as /health"),
        ({"command": "a {port}", "health": "/a b"}, "models.m.health: expected a path such as /health"),
        ({"command": "a {port}", "url": "v1"}, "models.m.url: expected the path in front of /chat/completions"),
        ({"command": "a {port}", "url": "ftp://h/v1"}, "models.m.url: expected the path"),
        ({"command": ["a", 8000]}, "models.m.command.1: expected text, got a whole number: 8000; put it in quotes"),
        ({"command": {"a": 1}}, "models.m.command: expected"),
        ({"command": ["a", "{port}", "b\0c"]}, "models.m.command: has a NUL character"),
        ({"command": "a {port}", "environment": {"A-B": "x"}}, "models.m.environment.A-B: this is no name"),
        ({"command": "a {port}", "environment": {"A": 1}}, "models.m.environment.A: expected text, got a whole number"),
        ({"command": "a {port}", "environment": {"A": "env:"}}, "models.m.environment.A: env: needs the name"),
    ],
)
def test_a_command_that_cannot_work_is_refused_with_what_to_write(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(settings)
    assert problem in "\n".join(refused.value.problems)
    assert len(refused.value.problems) == 1  # one mistake is told once


@pytest.mark.parametrize(
    ("settings", "doubt"),
    [
        ({"command": "a {port}", "source": "file:x"}, "models.m.source: does nothing: command has no {weights}"),
        ({"command": "a --host 0.0.0.0 --port {port}"}, "models.m.command: 0.0.0.0 lets other machines past"),
        ({"command": "a --host=0.0.0.0 --port {port}"}, "models.m.command: 0.0.0.0 lets other machines past"),
        ({"command": "docker run -d -p 127.0.0.1:{port}:80 i"}, "models.m.command: -d returns before the container"),
        ({"command": "docker run -p {port}:80 i"}, "write -p 127.0.0.1:{port}:80"),
        ({"command": "podman run --publish ${PORT}:80 i"}, "write --publish 127.0.0.1:${PORT}:80"),
        ({"command": "docker run --rm --name=x i {port}"}, "models.m.stop: is missing: a killed docker run leaves"),
        ({"command": "docker run --rm --name=x i {port}"}, "write docker stop x"),
        ({"command": "/usr/bin/podman run --rm i {port}"}, "write podman stop NAME and add --name NAME"),
        ({"command": "docker run --name x i {port}", "stop": "docker stop x"}, "finds the name x taken"),
        ({"command": "a {port}", "url": "http://127.0.0.1:9/v1"}, "models.m.url: names an address of its own"),
        ({"command": "a {port}", "threads": 3}, "models.m.threads: does nothing with backend command"),
        ({"command": "a {port}", "url": "/v1/chat/completions"}, "which is added to it"),
        ({"command": "a {port}", "environment": {"HF_TOKEN": "hush"}}, "models.m.environment.HF_TOKEN: stands in the"),
    ],
)
def test_what_is_probably_not_meant_is_told(settings: dict[str, Any], doubt: str) -> None:
    lines = configuration.warnings(read(settings), backends.table())
    assert doubt in "\n".join(lines)
    assert "hush" not in "\n".join(lines)


@pytest.mark.parametrize(
    "settings",
    [
        {
            "command": "docker run --rm --init --name x -p 127.0.0.1:{port}:80 image --host 0.0.0.0",
            "stop": "docker stop -t 5 x",
        },
        {"command": "docker compose up", "url": "http://127.0.0.1:8001/v1"},
        {"command": "vllm serve o/m --host 127.0.0.1 --port {port}"},
        {"command": ["mlx_lm.server", "--port", "${PORT}"]},
    ],
)
def test_what_the_guide_recommends_is_not_doubted(settings: dict[str, Any]) -> None:
    assert configuration.warnings(read(settings), backends.table()) == []


def test_settings_of_a_command_do_nothing_elsewhere() -> None:
    given = {"backend": "fake", "command": "a {port}", "health": "/x", "stop": "b"}
    loaded = configuration.read(json.dumps({"models": {"m": given}, "roles": {"standard": ["m"]}}))
    told = [line for line in configuration.warnings(loaded, backends.table()) if "does nothing" in line]
    assert [line.split(":")[0] for line in told] == [f"models.m.{name}" for name in ("command", "health", "stop")]


# -- what is planned


def planned(**settings: Any) -> Any:
    return Command().plan("m", Model(backend="command", **settings), None, LISTEN)


@pytest.mark.parametrize(
    ("settings", "endpoint"),
    [
        ({"command": "a {port}"}, Endpoint(host="127.0.0.1", port=4321)),
        ({"command": "a {port}", "url": "/api/v1/"}, Endpoint(host="127.0.0.1", port=4321, base="/api/v1")),
        ({"command": "a {port}", "url": "/"}, Endpoint(host="127.0.0.1", port=4321, base="")),
        ({"command": "a --uds {socket}"}, Endpoint(uds="/run/x/m.sock")),
        ({"command": "a --uds {socket}", "url": "/x"}, Endpoint(uds="/run/x/m.sock", base="/x")),
        ({"command": "a", "url": "http://localhost:99/v2"}, Endpoint(host="localhost", port=99, base="/v2")),
        ({"command": "a {port}", "url": "http://[::1]:{port}/v1"}, Endpoint(host="::1", port=4321)),
        (
            {"command": "a {port}", "health": "/v1/models"},
            Endpoint(host="127.0.0.1", port=4321, health_path="/v1/models"),
        ),
        (
            {"command": "a {port}", "key": "k"},
            Endpoint(host="127.0.0.1", port=4321, headers=b"Authorization: Bearer k\r\n"),
        ),
    ],
)
def test_where_it_listens_is_where_it_is_told_to_or_says_it_does(settings: dict[str, Any], endpoint: Endpoint) -> None:
    found = planned(**settings).endpoint
    assert endpoint == Endpoint(
        uds=found.uds,
        host=found.host,
        port=found.port,
        base=found.base,
        health_path=found.health_path,
        headers=found.headers,
    )


def test_settings_reach_the_command_and_the_variables_its_process(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("MINE", "from here")
    weights = tiny_gguf.write(tmp_path / "with space.gguf")
    text = "sh -m {weights} -c {context} -np {parallel} --name {model} --port {port}"
    model = Model(
        backend="command",
        command=text,
        source=f"file:{weights}",
        context=128,
        parallel=3,
        remote_model="theirs",
        environment={"A": "1", "B": "env:MINE"},
        stop="kill {pid} {model}",
    )
    launch = Command().plan("m", model, weights, LISTEN)
    assert Path(launch.argv[0]).name == "sh"
    assert launch.argv[1:] == (
        "-m", str(weights), "-c", "128", "-np", "3", "--name", "theirs", "--port", "4321",
    )  # fmt: skip
    assert dict(launch.env).items() >= {"A": "1", "B": "from here"}.items()
    assert launch.stop == ("kill", "{pid}", "theirs")


@pytest.mark.parametrize(
    ("settings", "lacks"),
    [
        (
            {"command": "no-such-program {port}"},
            "no-such-program is not on the PATH; install it, or give its whole path",
        ),
        ({"command": "$HOME/serve {port}"}, "$HOME/serve is for a shell, and none reads this"),
        ({"command": "/no/such {port}"}, "there is no file /no/such; correct `command`"),
        ({"command": "/etc/passwd {port}"}, "/etc/passwd is not an executable file; correct `command`"),
        ({"command": "sh {port}", "stop": "no-such-stop"}, "no-such-stop is not on the PATH; install it, or give"),
        ({"command": "sh {port}", "environment": {"A": "env:NO_SUCH"}}, "the environment variable NO_SUCH is not set"),
        ({"command": "sh {port}", "key": "env:NO_SUCH"}, "the environment variable NO_SUCH is not set"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_started(settings: dict[str, Any], lacks: str) -> None:
    model = Model(backend="command", **settings)
    assert lacks in (Command().missing(model) or "")
    assert any(lacks in line for line in readiness.hindrances(Config(models={"m": model}), model))


@pytest.mark.parametrize(
    ("settings", "blamed"),
    [
        ({"command": "no-such-program {port}", "key": "k"}, "command"),
        ({"command": "sh {port}", "stop": "no-such-stop"}, "stop"),
        ({"command": "sh {port}", "environment": {"A": "env:NO_SUCH"}, "key": "k"}, "environment"),
        ({"command": "sh {port}", "key": "env:NO_SUCH"}, "key"),
    ],
)
def test_what_is_missing_is_told_of_the_setting_that_asks_for_it(settings: dict[str, Any], blamed: str) -> None:
    model = Model(backend="command", **settings)
    assert [line.partition(":")[0] for line in readiness.hindrances(Config(models={"m": model}), model)] == [blamed]


def test_nothing_is_missing_when_all_is_there() -> None:
    assert Command().missing(Model(backend="command", command="sh {port}", stop="sh")) is None


# -- what runs


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def model(*args: str, **settings: Any) -> Model:
    given = {"command": [*SERVER, "--port", "{port}", *args], "parallel": 2, "load_timeout": Seconds(60)}
    return Model(**{"backend": "command", **given, **settings})


@asynccontextmanager
async def gateway(models: dict[str, Model]) -> AsyncIterator[Gate]:
    with short_folder() as folder:
        async with running_gateway(config(models), Path(folder)) as gate:
            yield gate


async def refusal(gate: Gate, name: str = "m") -> str:
    answer = await gate.ask(request(chat(model=name)))
    assert answer.status in (503, 504), answer
    return str(answer.error["message"])


@pytest.mark.anyio
async def test_a_foreign_server_answers_whole_and_streamed_on_a_port_and_on_a_socket() -> None:
    models = {"m": model(), "s": model(command=[*SERVER, "--uds", "{socket}"])}
    async with gateway(models) as gate:
        for name in models:
            answer = (await gate.ask(request(chat("hi there", model=name)))).json
            assert answer["choices"][0]["message"]["content"] == "fake: hi there"
            streamed = await gate.ask(request(chat("hi there", model=name, stream=True)))
            assert b"[DONE]" in streamed.body
            assert b'"usage":{' not in streamed.body
        rows = await gate.rows()
        assert [(row.completion_tokens, row.counted) for row in rows] == [(3, False)] * 4
        assert {str(gate.gateway.fleet.worker(m).state) for m in models} == {"ready"}


@pytest.mark.anyio
@pytest.mark.parametrize("args", [("--loading", "3"), ("--health", "/ready", "--loading", "2")])
async def test_a_server_that_is_still_loading_is_waited_for(args: tuple[str, ...]) -> None:
    health = "/ready" if "--health" in args else "/health"
    async with gateway({"m": model(*args, health=health)}) as gate:
        assert (await gate.ask(request(chat()))).status == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("args", "settings", "said"),
    [
        (("--health", "/ready"), {}, r"GET http://127.0.0.1:\d+/health was answered with 404"),
        (("--loading", "100000"), {}, r"GET http://127.0.0.1:\d+/health was answered with 503"),
        (("--elsewhere",), {}, r"GET http://127.0.0.1:\d+/health got no answer"),
    ],
)
async def test_a_server_that_never_gets_ready_is_ended_and_the_error_says_what_was_asked(
    args: tuple[str, ...], settings: dict[str, Any], said: str
) -> None:
    async with gateway({"m": model(*args, load_timeout=Seconds(3), **settings)}) as gate:
        message = await refusal(gate)
        assert "it was not ready within its load_timeout of 3 s" in message
        assert re.search(said, message)


@pytest.mark.anyio
async def test_the_last_words_of_a_server_that_dies_at_once_are_told() -> None:
    async with gateway({"m": model("--die", "no such model: x")}) as gate:
        message = await refusal(gate)
        assert "its worker ended with code 1; its last words: no such model: x" in message


@pytest.mark.anyio
async def test_a_server_that_goes_to_the_background_is_told_to_stay() -> None:
    command = ["sh", "-c", "sleep 1000 & exit 0", "{port}"]
    async with gateway({"m": model(command=command)}) as gate:
        assert "must stay in the foreground" in await refusal(gate)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("settings", "ending"),
    [
        ({"environment": {"A": "env:NO_SUCH"}}, "run `export NO_SUCH=...` first, then start the gateway again."),
        ({"key": "env:NO_SUCH"}, "run `export NO_SUCH=...` first, then start the gateway again."),
        ({"stop": "no-such-stop"}, "give its whole path in `stop`."),
    ],
)
async def test_a_variable_that_is_missing_needs_a_new_start_of_the_gateway(
    settings: dict[str, Any], ending: str
) -> None:
    async with gateway({"m": model(**settings)}) as gate:
        assert ending in await refusal(gate)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "pointer", ["Run 'docker run --help' for more information", "Try 'serve --help' for help.", "Usage: serve [-h]"]
)
async def test_a_pointer_to_the_help_is_nobodys_last_word(pointer: str) -> None:
    async with gateway({"m": model("--die", f"no such model: x\n\n{pointer}")}) as gate:
        assert "its last words: no such model: x" in await refusal(gate)


@pytest.mark.anyio
async def test_a_port_that_somebody_takes_before_the_server_does_is_changed_for_another(monkeypatch: Any) -> None:
    with socket.socket() as quicker:
        quicker.bind(("127.0.0.1", 0))
        quicker.listen()
        ports = [quicker.getsockname()[1]]
        free = runtime.free_port
        monkeypatch.setattr(runtime, "free_port", lambda: ports.pop() if ports else free())
        async with gateway({"m": model()}) as gate:
            assert (await gate.ask(request(chat()))).status == 200
            assert gate.gateway.fleet.worker("m").failures == 0


@pytest.mark.anyio
async def test_when_every_port_is_taken_the_error_says_so(monkeypatch: Any) -> None:
    with socket.socket() as quicker:
        quicker.bind(("127.0.0.1", 0))
        quicker.listen()
        port = quicker.getsockname()[1]
        monkeypatch.setattr(runtime, "free_port", lambda: port)
        async with gateway({"m": model()}) as gate:
            assert f"another program took port {port} before it did" in await refusal(gate)


@pytest.mark.anyio
async def test_an_address_of_its_own_that_is_taken_is_not_mistaken_for_the_server() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        url = f"http://127.0.0.1:{other.getsockname()[1]}/v1"
        async with gateway({"m": model(command=SERVER, url=url)}) as gate:
            assert "another program listens at http://127.0.0.1:" in await refusal(gate)


@pytest.mark.anyio
async def test_a_server_on_a_port_of_its_own_is_supervised_all_the_same() -> None:
    port = str(free_port())
    own = model(command=[*SERVER, "--port", port], url=f"http://127.0.0.1:{port}/v1")
    async with gateway({"m": own}) as gate:
        assert (await gate.ask(request(chat()))).status == 200
        await gate.gateway.fleet.unload("m")
        assert (await gate.ask(request(chat()))).status == 200


@pytest.mark.anyio
async def test_a_server_that_is_killed_is_started_again() -> None:
    async with gateway({"m": model()}) as gate:
        assert (await gate.ask(request(chat()))).status == 200
        child = gate.gateway.fleet.stations.child("m")
        assert child is not None
        os.kill(child.pid, 9)
        await until(lambda: gate.gateway.fleet.worker("m").generation > 1)
        assert (await gate.ask(request(chat()))).status == 200


@pytest.mark.anyio
async def test_the_same_command_keeps_its_process_through_a_reload_and_another_replaces_it() -> None:
    async with gateway({"m": model()}) as gate:
        fleet, now = gate.gateway.fleet, gate.gateway.current.config
        assert (await gate.ask(request(chat()))).status == 200
        assert not fleet.would_replace("m", model())
        assert fleet.would_replace("m", model("--says", "other"))
        await gate.gateway.reloader.apply(config({"m": model(description="x")}))
        assert str(fleet.worker("m").state) == "ready"
        await gate.gateway.reloader.apply(config({"m": model("--says", "other")}))
        assert (await gate.ask(request(chat()))).json["model"] == "other"
        assert now.models["m"].command == model().command


@pytest.mark.anyio
async def test_its_own_command_ends_a_server_that_hears_no_signal(tmp_path: Path) -> None:
    file = tmp_path / "told"
    stop = ["sh", "-c", f"echo $0 > {file}", "{pid}"]
    async with gateway({"m": model("--deaf", str(file), stop=stop)}) as gate:
        assert (await gate.ask(request(chat()))).status == 200
        child = gate.gateway.fleet.stations.child("m")
        assert child is not None
        served = psutil.Process(child.pid).children()[0].pid
        await gate.gateway.fleet.unload("m")
        assert child.returncode == 0
        assert int(file.read_text()) == served


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("gone", "said"), [(True, "could not be stopped by its command: No such file"), (False, "ended with code 3")]
)
async def test_a_stop_that_does_not_work_leaves_it_to_the_signals(
    gone: bool, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = tmp_path / "stop"
    script.write_text("#!/bin/sh\nexit 3\n")
    script.chmod(0o755)
    async with gateway({"m": model(stop=[str(script)])}) as gate:
        await gate.gateway.fleet.load("m")
        child = gate.gateway.fleet.stations.child("m")
        if gone:
            script.unlink()
        await gate.gateway.fleet.unload("m")
        assert child is not None
        assert child.returncode is not None
        assert any(said in r.getMessage() for r in caplog.records)


@pytest.mark.anyio
async def test_its_process_sees_its_variables_and_none_of_the_gateways_secrets(monkeypatch: Any) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("MINE", "x")
    async with gateway({"m": model(environment={"GIVEN": "env:MINE"})}) as gate:
        await gate.gateway.fleet.load("m")
        child = gate.gateway.fleet.stations.child("m")
        assert child is not None
        names = next(line for line in child.tail(100) if line.startswith("variables:")).split()
        assert "GIVEN" in names
        assert not {"OPENAI_API_KEY", "MINE", "HF_HUB_OFFLINE"} & set(names)


@pytest.mark.anyio
async def test_what_it_prints_of_requests_is_kept_nowhere() -> None:
    async with gateway({"m": model("--chatty")}) as gate:
        assert (await gate.ask(request(chat("a private matter")))).status == 200
        child = gate.gateway.fleet.stations.child("m")
        assert child is not None
        await gate.gateway.fleet.unload("m")
        assert any(line.startswith("variables:") for line in child.tail(1000))
        assert not any("asked:" in line or "private" in line for line in child.tail(1000))
        assert "private" not in gate.gateway.fleet.log_path("m").read_text()


ENGINE = """
import sys, threading, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.hostnames, p.port, p.n_ctx, p.n_parallel = sys.argv[1], ["127.0.0.1"], int(sys.argv[2]), 512, 1
server = xllamacpp.Server(p)
threading.Event().wait()
"""


@pytest.mark.anyio
async def test_a_real_engine_on_a_port_answers_with_the_weights_it_was_given(tmp_path: Path) -> None:
    weights = tiny_gguf.write(tmp_path / "a model.gguf")
    settings = {"command": [sys.executable, "-c", ENGINE, "{weights}", "{port}"], "source": f"file:{weights}"}
    async with gateway({"m": model(**settings)}) as gate:
        answer = await gate.ask(request(chat(max_tokens=4)))
        assert (answer.status, answer.json["usage"]["completion_tokens"]) == (200, 4)
        streamed = await gate.ask(request(chat(max_tokens=4, stream=True)))
        assert streamed.body.endswith(b"data: [DONE]\n\n")
