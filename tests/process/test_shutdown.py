"""SIGTERM and SIGINT: running answers are finished, nobody new is let in, nothing stays behind."""

import http.client
import json
import signal
import socket
from pathlib import Path

import psutil
import pytest
from live_gateway import LiveGateway, is_refused, until, words

CONFIG = """
server: {port: 0, drain_timeout: DRAIN}
models:
  tiny: {backend: fake, pinned: true, script: SCRIPT}
roles: {standard: [tiny]}
"""
SCRIPT = """
replies:
  - {match: "^long", reply: "LONG", token_delay: 0.05}
  - {match: "^endless", reply: "ENDLESS", token_delay: 0.05}
"""
LONG = " ".join(f"w{i}" for i in range(40))


def make(tmp_path: Path, drain: str = "30s") -> LiveGateway:
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT.replace("ENDLESS", "word " * 5000).replace("LONG", LONG))
    return LiveGateway(tmp_path, CONFIG.replace("DRAIN", drain).replace("SCRIPT", str(script)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_and_waiting_answers_finish_and_refuses_new_connections(
    tmp_path: Path, number: int
) -> None:
    with make(tmp_path) as gateway, gateway.stream("tiny", "long") as running:
        first = running.event()
        everyone = gateway.processes()
        idle = http.client.HTTPConnection("127.0.0.1", int(gateway.url.rsplit(":", 1)[1]), timeout=30)
        idle.request("GET", "/health")
        idle.getresponse().read()  # a kept-alive connection must not hold the end up
        with gateway.stream("tiny", "hello") as waiting:
            until(lambda: gateway.model("tiny")["waiting"] == 1, "one request waits")
            gateway.send(number)
            until(lambda: is_refused(gateway.url), "new connections are refused")
            rest = running.rest()
            assert words([str(first), *rest]) == LONG
            assert rest[-1] == "[DONE]"
            assert words(waiting.rest()) == "fake: hello"
        assert gateway.wait() == 0
        idle.close()
        assert not (gateway.home / "run" / "gateway.json").exists()
        _, alive = psutil.wait_procs(everyone, timeout=10)
        assert alive == []
    assert gateway.rows("outcome") == [("ok",), ("ok",)]
    assert "Traceback" not in gateway.log()


def test_a_second_signal_waits_for_nobody(tmp_path: Path) -> None:
    with make(tmp_path) as gateway, gateway.stream("tiny", "endless") as stream:
        assert stream.event()
        gateway.send(signal.SIGTERM)
        until(lambda: is_refused(gateway.url))
        gateway.send(signal.SIGTERM)
        *_, error, done = stream.rest()
        assert json.loads(error)["error"]["code"] == "shutting_down"
        assert done == "[DONE]"
        assert gateway.wait() == 0
    assert gateway.rows("outcome, error") == [("error", "shutting_down")]


def test_requests_that_outlast_the_drain_timeout_are_told(tmp_path: Path) -> None:
    with make(tmp_path, drain="200ms") as gateway, gateway.stream("tiny", "endless") as stream:
        assert stream.event()
        gateway.send(signal.SIGTERM)
        *_, error, done = stream.rest()
        assert (json.loads(error)["error"]["code"], done) == ("shutting_down", "[DONE]")
        assert gateway.wait() == 0


def test_somebody_who_follows_a_log_does_not_hold_the_end_up(tmp_path: Path) -> None:
    with make(tmp_path) as gateway:
        until(lambda: gateway.model("tiny")["state"] == "ready")
        address = gateway.url.removeprefix("http://").split(":")
        follower = http.client.HTTPConnection(address[0], int(address[1]), timeout=60)
        follower.request("GET", "/admin/logs?model=tiny&follow=true")
        response = follower.getresponse()
        gateway.send(signal.SIGTERM)
        response.read()
        assert gateway.wait() == 0
        follower.close()


def test_a_request_that_comes_while_answers_are_finished_is_told_to_come_back(tmp_path: Path) -> None:
    with make(tmp_path) as gateway, gateway.stream("tiny", "long") as running:
        assert running.event()
        host, port = gateway.url.removeprefix("http://").split(":")
        body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]})
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
        with socket.create_connection((host, int(port)), timeout=30) as late:
            late.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode())  # begun, so it is no idle connection
            until(lambda: gateway.get("/health").status == 200, "its head was read")
            gateway.send(signal.SIGTERM)
            until(lambda: is_refused(gateway.url), "new connections are refused")
            late.sendall(body.encode())
            answer = b"".join(iter(lambda: late.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 503 ")
        assert "\r\nretry-after: 1\r\n" in answer.lower()
        assert json.loads(answer.rsplit("\r\n\r\n", 1)[1])["error"]["code"] == "shutting_down"
        assert running.rest()[-1] == "[DONE]"
        assert gateway.wait() == 0
