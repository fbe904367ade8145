"""Ports that are taken, and gateways side by side."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from free_ports import free_port
from live_gateway import LiveGateway, ask, is_refused, until

CONFIG = "server: {port: PORT, listeners: [LISTENER]}\nmodels: {tiny: {backend: fake}}\nroles: {standard: [tiny]}\n"


def config(port: int = 0, listener: str = "") -> str:
    return CONFIG.replace("PORT", str(port)).replace("LISTENER", listener)


def start_and_fail(gateway: LiveGateway, *extra: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "rolecast", "up", "--no-pull", *gateway.args, *extra]
    return subprocess.run(argv, env=gateway.env, capture_output=True, text=True, check=False, timeout=60)


def test_a_taken_port_is_one_sentence_that_names_who_holds_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        listener = config(0, f"{{port: {port}, name: extra, model: tiny}}")
        for number, (settings, asked, mend) in enumerate(
            [
                (config(port), "server.port", "rolecast up --port "),
                (listener, "server.listeners.0.port", "change server.listeners.0.port in the configuration"),
            ]
        ):
            ended = start_and_fail(LiveGateway(tmp_path / str(number), settings))
            assert ended.returncode == 1
            said = " ".join(ended.stderr.split())
            assert f"{asked}: port {port} is taken by python" in said
            assert f"(pid {os.getpid()}); stop it, or" in said
            assert mend in said
            assert "Traceback" not in ended.stderr
            assert not (tmp_path / str(number) / "data" / "run" / "gateway.json").exists()


def test_a_port_taken_by_another_gateway_says_the_same_and_leaves_that_one_alone(tmp_path: Path) -> None:
    with LiveGateway(tmp_path / "a", config()) as first:
        port = int(first.url.rsplit(":", 1)[1])
        second = LiveGateway(tmp_path / "b", config(port))
        ended = start_and_fail(second, "--detach")
        assert ended.returncode == 1
        assert f"another Rolecast (pid {first.pid})" in " ".join((ended.stdout + ended.stderr).split())
        assert first.chat("tiny", "hello").status == 200


def test_two_gateways_with_their_own_homes_run_side_by_side(tmp_path: Path) -> None:
    with LiveGateway(tmp_path / "a", config()) as first, LiveGateway(tmp_path / "b", config()) as second:
        assert first.url != second.url
        assert first.chat("tiny", "to the first").json["choices"][0]["message"]["content"] == "fake: to the first"
        assert second.chat("tiny", "to the second").status == 200
        assert first.stop() == 0
        assert second.chat("tiny", "still here").status == 200
    assert (len(first.rows()), len(second.rows())) == (1, 2)


def test_one_listener_may_be_open_to_ipv6_too(tmp_path: Path) -> None:
    with LiveGateway(tmp_path, config(0, '{port: 0, name: six, host: "::1"}')) as gateway:
        assert gateway.port("six").startswith("http://[::1]:")
        assert ask(gateway.port("six"), "GET", "/health").json["status"] == "healthy"


def cli(gateway: LiveGateway, *args: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "rolecast", *args]
    return subprocess.run(argv, env=gateway.env, capture_output=True, text=True, check=False, timeout=60)


def test_an_edit_moves_the_front_door_and_the_commands_find_it_there(tmp_path: Path) -> None:
    port = free_port()
    with LiveGateway(tmp_path, config()) as gateway:
        before, moved = gateway.url, f"http://127.0.0.1:{port}"
        with gateway.stream("tiny", "one two three") as running:
            assert running.event()
            gateway.config.write_text(config(port, "{port: 0, name: extra, model: tiny}"))
            reloaded = cli(gateway, "reload")
            assert (reloaded.returncode, "server.port" in reloaded.stdout) == (0, True), reloaded.stderr
            assert f"The gateway listens on {moved} now." in reloaded.stdout
            assert is_refused(before)
            assert running.rest()[-1] == "[DONE]"
        status = cli(gateway, "status")
        assert f"is running on {moved}" in status.stdout
        assert "extra" in status.stdout
        state = until(lambda: gateway._announced(), "the state file")
        assert state["listeners"][0]["url"] == state["url"] == moved
        gateway.state = state
        assert gateway.chat("tiny", "hello").status == 200
        gateway.config.write_text(config(port, f"{{port: {port + 1 if port < 65535 else port - 1}, name: front door}}"))
        refused = cli(gateway, "reload")
        assert (refused.returncode, "is already used by server.port" in " ".join(refused.stderr.split())) == (1, True)
        assert gateway.chat("tiny", "hello").status == 200
