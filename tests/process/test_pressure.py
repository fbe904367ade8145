"""Queues that fill, clients that leave, models and remotes that are down."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from free_ports import free_port
from live_gateway import LiveGateway, ask, until, words

CONFIG = """
server: {port: 0, limits: {queue: 2}}
models:
  one: {backend: fake, pinned: true, script: SCRIPT}
  dead: {backend: fake, script: BROKEN}
  spare: {backend: fake}
  sick: {backend: fake, script: SICK}
  gone: {backend: openai, url: "http://127.0.0.1:GONE/v1"}
  mute: {backend: openai, url: "http://127.0.0.1:MUTE/v1", timeout: 500ms}
  dripping: {backend: fake, timeout: 700ms, script: DRIP}
roles:
  standard: [one]
  careful: [dead, spare]
  healing: [sick, spare]
  far: [gone, spare]
  doomed: [dead, gone]
"""
ENDLESS = 'replies: [{match: "^endless", reply: "%s", token_delay: 0.05}]' % ("word " * 5000)
DRIP = 'replies: [{match: "^stop", reply: "one two", token_delay: 600}]'


@pytest.fixture(scope="module")
def mute() -> Iterator[int]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    taken.append(server.accept()[0])
            except OSError:
                pass

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in taken:
            one.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, mute: int) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("pressure")
    scripts = {
        "SCRIPT": ENDLESS,
        "BROKEN": "replies: [{match: '('}]",
        "SICK": "replies: [{status: 503, error: {message: unwell}}]",
        "DRIP": DRIP,
    }
    config = CONFIG
    for name, text in scripts.items():
        (folder / name).write_text(text)
        config = config.replace(f": {name}", f": {folder / name}")
    config = config.replace("GONE", str(free_port())).replace("MUTE", str(mute))
    with LiveGateway(folder, config) as running:
        until(lambda: running.model("one")["state"] == "ready")
        yield running


def test_a_full_queue_refuses_the_next_request_with_when_to_come_back(gateway: LiveGateway) -> None:
    with ExitStack() as stack:
        running = stack.enter_context(gateway.stream("one", "endless"))
        assert running.event()
        waiting = [stack.enter_context(gateway.stream("one", f"hello {i}")) for i in range(2)]
        until(lambda: gateway.model("one")["waiting"] == 2)
        refused = gateway.chat("one", "hello")
        assert (refused.status, refused.error["code"]) == (429, "queue_full")
        assert refused.error["message"] == "one is busy: 1 running and 2 waiting. Try again shortly."
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-rolecast-model"] == "one"
        running.close()
        assert [words(w.rest()) for w in waiting] == ["fake: hello 0", "fake: hello 1"]
        assert "queue;dur=" in str(waiting[0].response.headers["server-timing"])
    rows = until(lambda: (r := gateway.rows("outcome, error, attempts"))[3:] and r)
    assert sorted(rows) == [("cancelled", "cancelled", 1), ("error", "queue_full", 0), ("ok", "", 1), ("ok", "", 1)]


def test_a_client_that_leaves_frees_its_slot_or_its_place_in_line(gateway: LiveGateway) -> None:
    with ExitStack() as stack:
        running = stack.enter_context(gateway.stream("one", "endless"))
        assert running.event()
        leaving = stack.enter_context(gateway.stream("one", "endless"))
        staying = stack.enter_context(gateway.stream("one", "hello"))
        until(lambda: gateway.model("one")["waiting"] == 2)
        leaving.close()
        until(lambda: gateway.model("one")["waiting"] == 1)
        also = stack.enter_context(gateway.stream("one", "hello too"))
        until(lambda: gateway.model("one")["waiting"] == 2)
        running.close()
        assert words(staying.rest()) == "fake: hello"
        assert words(also.rest()) == "fake: hello too"
    until(lambda: gateway.model("one")["active"] == 0)


def test_the_next_model_of_a_role_answers_when_the_first_cannot_start(gateway: LiveGateway) -> None:
    answer = gateway.chat("careful", "hello")
    assert answer.json["choices"][0]["message"]["content"] == "fake: hello"
    assert answer.headers["x-rolecast-model"] == "spare"
    assert answer.headers["x-rolecast-role"] == "careful"
    assert answer.headers["x-rolecast-route"] == "fallback; dead failed"
    with gateway.stream("careful", "hello") as stream:
        assert words(stream.rest()) == "fake: hello"
    last = ("spare", "fallback; dead failed", "ok", 1)
    until(lambda: gateway.rows("model, route, outcome, attempts")[-2:] == [last, last], "both are in the books")


def test_the_next_model_of_a_role_answers_when_the_first_is_unwell(gateway: LiveGateway) -> None:
    answer = gateway.chat("healing", "hello")
    assert (answer.status, answer.headers["x-rolecast-route"]) == (200, "fallback; sick failed")
    alone = gateway.chat("sick", "hello")
    assert (alone.status, alone.error["message"]) == (503, "sick answered with status 503: unwell")


def test_a_fallback_keeps_what_the_client_sent_and_is_owed(gateway: LiveGateway) -> None:
    body = {"model": "healing", "messages": [{"role": "user", "content": "hello"}]}
    headers = {"origin": "http://localhost:3000", "x-trace-id": "trace-7"}
    answer = ask(gateway.url, "POST", "/v1/chat/completions", body, headers=headers)
    assert answer.headers["x-rolecast-route"] == "fallback; sick failed"
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert answer.headers["x-trace-id"] == "trace-7"


def test_a_role_whose_models_all_fail_says_so_of_the_last(gateway: LiveGateway) -> None:
    answer = gateway.chat("doomed", "hello")
    assert (answer.status, answer.error["code"]) == (503, "unreachable")
    assert answer.headers["x-rolecast-route"] == "fallback; dead failed"


def test_a_remote_that_is_not_there_is_named_at_once(gateway: LiveGateway) -> None:
    answer = gateway.chat("gone", "hello")
    assert (answer.status, answer.error["code"]) == (503, "unreachable")
    assert "http://127.0.0.1:" in answer.error["message"]
    assert gateway.chat("far", "hello").headers["x-rolecast-model"] == "spare"


def test_a_remote_that_is_silent_is_given_up_after_the_timeout_of_its_model(gateway: LiveGateway) -> None:
    answer = gateway.chat("mute", "hello")
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert answer.error["message"] == "mute sent nothing for 0.5 s."
    assert gateway.model("mute")["active"] == 0


def test_silence_in_the_middle_of_a_stream_ends_it_with_an_error(gateway: LiveGateway) -> None:
    with gateway.stream("dripping", "stop") as stream:
        *_, error, done = stream.rest()
    assert json.loads(error)["error"]["code"] == "upstream_timeout"
    assert done == "[DONE]"
    assert gateway.chat("dripping", "hello").status == 200


def test_many_clients_at_once_each_get_their_own_answer(gateway: LiveGateway) -> None:
    def one(i: int) -> tuple[str, str]:
        while (answer := gateway.chat("spare", f"hello {i}")).status == 429:
            pass
        return answer.json["choices"][0]["message"]["content"], answer.headers["x-request-id"]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(one, range(40)))
    assert [text for text, _ in answers] == [f"fake: hello {i}" for i in range(40)]
    assert len({request_id for _, request_id in answers}) == 40
