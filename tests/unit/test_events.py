"""What happens in the gateway is told to who listens: by server-sent events, and by Socket.IO to clients of PAS."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import socketio
from gateway import Client, Gate, chat, config, on_uvloop, request, running_gateway, until

from rolecast.config.schema import Listener, Model
from rolecast.pages import events as page
from rolecast.pages.events import EventPages
from rolecast.pages.pas import sockets
from rolecast.pages.pas.events import Bucket
from rolecast.telemetry.events import KEPT, MOST_WAITING, Events

pytestmark = pytest.mark.anyio
PORT = "event_stream"
LISTENERS = [Listener(port=0, name=PORT, surface="events")]


anyio_backend = on_uvloop


@asynccontextmanager
async def gateway(folder: Path, **server: Any) -> AsyncIterator[Gate]:
    made = config({"m": Model(backend="fake")}, listeners=LISTENERS, **server)
    async with running_gateway(made, folder) as gate:
        yield gate


async def get(gate: Gate, path: str, listener: str = PORT, head: str = "") -> Any:
    return await gate.ask(request(path=path, method="GET", head=head), listener, "GET")


async def broadcast(gate: Gate, head: str = "", **said: Any) -> Any:
    return await gate.ask(request(said, path="/broadcast", head=head), PORT)


@asynccontextmanager
async def listening(gate: Gate, query: str = "", head: str = "") -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The events of the front door, from the moment on when they are listened to."""
    async with gate.client() as client:
        await client.send(request(path=f"/v1/events{query}", method="GET", head=head))
        status, headers = await client.head()
        assert (status, dict(headers)["content-type"].partition(";")[0]) == (200, "text/event-stream")
        yield _events(client)


async def _events(client: Client) -> AsyncIterator[dict[str, Any]]:
    text = ""
    async for piece in client.chunks():
        text += piece.decode()
        *whole, text = text.split("\n\n")
        for block in whole:
            if block.startswith(":"):
                yield {"comment": block}
                continue
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            yield json.loads(fields["data"]) | {"id": fields["id"]}


# -- the events themselves -------------------------------------------------------------------------------


async def test_who_comes_back_gets_what_it_missed_and_a_slow_one_misses_the_oldest() -> None:
    events = Events()
    for number in range(KEPT + 5):
        events.tell("x", {"n": number})
    with events.listening(after=KEPT) as queue:
        assert [queue.get_nowait().number for _ in range(queue.qsize())] == list(range(KEPT + 1, KEPT + 6))
        for number in range(MOST_WAITING + 10):
            events.tell("y", {"n": number})
        assert (queue.qsize(), queue.get_nowait().data) == (MOST_WAITING, {"n": 10})
    assert events.listeners == 0


async def test_listeners_end_when_the_gateway_stops_also_those_that_come_too_late() -> None:
    events = Events()
    events.tell("x", {})
    heard: list[str] = []

    async def listen() -> None:
        heard.extend([each.event_type async for each in events.follow(after=0)])

    early = asyncio.create_task(listen())
    await until(lambda: events.listeners == 1)
    events.tell("last", {})
    events.close()
    await early
    await listen()
    assert heard == ["x", "last", "x", "last"]


def test_the_last_id_of_an_earlier_start_means_all_that_is_kept() -> None:
    events = Events()
    assert page.after(events, "") is None
    assert page.after(events, f"{events.epoch}-7") == 7
    for other in ("abc-7", "7", f"{events.epoch}-x", f"{events.epoch}-{'9' * 30}", "-", "\u0663"):
        assert page.after(events, other) == 0


def test_a_rate_lets_through_what_it_says() -> None:
    bucket = Bucket(10, 20)
    assert sum(bucket.wait_s(1000.0) == 0 for _ in range(50)) == 20
    assert bucket.wait_s(1000.0) == pytest.approx(0.1)
    assert sum(bucket.wait_s(1001.0) == 0 for _ in range(50)) == 10


# -- server-sent events ----------------------------------------------------------------------------------


async def test_loads_and_unloads_of_models_are_told_as_they_happen(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate, listening(gate) as events:
        assert (await anext(events))["comment"] == ": listening"
        assert (await gate.ask(request(chat()))).status == 200
        loaded = await anext(events)
        assert (loaded["event_type"], loaded["data"]["model"], loaded["source"]) == ("model_loaded", "m", "rolecast")
        assert loaded["data"]["pid"] > 0
        assert (await gate.ask(request({"model": "m"}, path="/admin/unload"))).status == 200
        unloaded = await anext(events)
        assert (unloaded["event_type"], unloaded["data"]["model"]) == ("model_unloaded", "m")


async def test_a_model_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    made = config({"m": Model(backend="command", command=["sh", "-c", "exit 1", "{port}"])})
    async with running_gateway(made, tmp_path) as gate, listening(gate, "?types=model_*") as events:
        await anext(events)
        assert (await gate.ask(request(chat()))).status == 503
        failed = await anext(events)
        assert (failed["event_type"], failed["data"]["model"]) == ("model_failed", "m")
        assert "ended with code 1" in failed["data"]["error"]


async def test_an_edit_is_told_by_its_places_and_never_by_its_values(tmp_path: Path) -> None:
    file = tmp_path / "rolecast.yaml"
    text = "server: {port: 0}\nmodels: {m: {backend: fake}}\nroles: {standard: [m]}\n"
    file.write_text(text)
    made = config({"m": Model(backend="fake")})
    async with running_gateway(made, tmp_path, file) as gate, listening(gate, "?types=config_*") as events:
        await anext(events)
        file.write_text(text + "log: {level: secret-word}\n")
        assert (await gate.ask(request({}, path="/admin/reload"))).status == 400
        refused = await anext(events)
        assert refused["event_type"] == "config_refused"
        assert refused["data"]["problems"] == 1
        assert "secret-word" not in json.dumps(refused)
        file.write_text(text + "log: {level: warning}\n")
        assert (await gate.ask(request({}, path="/admin/reload"))).status == 200
        applied = await anext(events)
        assert applied["event_type"] == "config_applied"
        assert "log.level" in applied["data"]["applied"]


async def test_a_job_is_told_with_each_of_its_states(tmp_path: Path) -> None:
    made = config({"m": Model(source="https://127.0.0.1:1/nothing.gguf", sha256="0" * 64)})
    async with running_gateway(made, tmp_path) as gate, listening(gate, "?types=job_*") as events:
        await anext(events)
        started = await gate.ask(request({"kind": "pull", "model": "m"}, path="/admin/jobs"))
        assert started.status in (200, 202), started.body
        told = [await anext(events), await anext(events)]
        assert (await gate.ask(request({}, path=f"/admin/jobs/{started.json['id']}/cancel"))).status == 200
        told.append(await anext(events))
        assert [each["event_type"] for each in told] == ["job_queued", "job_running", "job_cancelled"]
        assert {(each["data"]["id"], each["data"]["subject"]) for each in told} == {(started.json["id"], "m")}


async def test_events_are_filtered_and_those_missed_come_first(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        for kind in ("one", "two_a", "two_b", "three"):
            gate.gateway.events.tell(kind, {})
        async with listening(gate, "?types=two_*,three", "Last-Event-ID: other-1\r\n") as events:
            assert [(await anext(events)).get("event_type") for _ in range(4)] == [None, "two_a", "two_b", "three"]
        async with listening(gate) as events:
            await anext(events)
            mark = gate.gateway.events.tell("mark", {})
            last = (await anext(events))["id"]
            assert last.endswith(f"-{mark.number}")
        gate.gateway.events.tell("missed", {})
        async with listening(gate, head=f"Last-Event-ID: {last}\r\n") as events:
            assert [(await anext(events)).get("event_type") for _ in range(2)] == [None, "missed"]


async def test_silence_is_filled_with_comments_and_the_end_of_the_gateway_ends_the_stream(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        pages = EventPages(gate.gateway.events, breath_s=0.01)
        pieces = pages._written((), None)
        assert [await anext(pieces) for _ in range(3)] == [page.HELLO, page.BREATH, page.BREATH]
        gate.gateway.events.close()
        assert [piece async for piece in pieces] == []


async def test_listeners_are_bounded_and_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_LISTENERS", 1)
    async with gateway(tmp_path) as gate:
        async with listening(gate) as events:
            await anext(events)
            refused = await get(gate, "/v1/events", "front door")
            assert (refused.status, refused.error["code"]) == (503, "too_many_connections")
            assert refused.header("retry-after") == "5"
        await until(lambda: gate.gateway.events.listeners == 0)


async def test_listening_needs_a_key_where_there_are_keys(tmp_path: Path) -> None:
    async with gateway(tmp_path, keys=["sesame"]) as gate:
        for path, listener in (("/v1/events", "front door"), ("/events/recent", PORT), ("/socket.io/?EIO=4", PORT)):
            assert (await get(gate, path, listener)).status == 401
        assert (await broadcast(gate, event_type="x")).status == 401
        assert (await get(gate, "/health")).status == 200


# -- the port of PAS -------------------------------------------------------------------------------------


async def test_a_broadcast_is_told_to_all_and_kept_for_who_comes_later(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate, listening(gate, "?types=status_update") as events:
        await anext(events)
        answer = await broadcast(gate, event_type="status_update", data={"service_id": "x"})
        assert answer.body == b'{"status":"broadcasted","event_type":"status_update","clients":1}'
        heard = await anext(events)
        assert (heard["source"], heard["data"]["service_id"]) == ("client", "x")
        recent = (await get(gate, "/events/recent?limit=1")).json
        assert (recent["count"], recent["events"][0]["event_type"]) == (1, "status_update")
        assert recent["events"][0]["data"]["timestamp"] == heard["data"]["timestamp"]
        health = (await get(gate, "/health")).json
        assert (health["status"], health["service"], health["port"]) == ("ok", "event_stream", gate.port(PORT))
        assert (health["connected_clients"], health["buffered_events"] > 1) == (1, True)
        assert (await get(gate, "/")).json["service"] == "event_stream"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 200),  # as the agent router of PAS sends it
        (b'{"event_type":"x","data":null}', 200),
        (b"", 400),
        (b"[]", 422),
        (b'{"event_type":', 400),
        (b'{"event_type":""}', 422),
        (b'{"event_type":"a b"}', 422),
        (b'{"event_type":"x\\u0000"}', 422),
        (b'{"event_type":7}', 422),
        (b'{"event_type":"x","data":[1]}', 422),
        (b'{"event_type":"%b"}' % (b"x" * 200), 422),
        (b'{"event_type":"x","data":{"a":"%b"}}' % (b"x" * 20_000), 413),
        (b'{"data":{"a":' + b"[" * 5000, 400),
        (b'{"event_type":"\xff"}', 400),
    ],
)
async def test_what_is_no_broadcast_is_refused_and_told_to_nobody(body: bytes, status: int, tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        before = gate.gateway.events.recent()
        answer = await gate.ask(request(body, path="/broadcast"), PORT)
        assert answer.status == status, answer.body
        assert (gate.gateway.events.recent() == before) == (status != 200)
        if status != 200:
            assert answer.error["message"]


async def test_a_flood_of_broadcasts_is_slowed_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolecast.pages.pas.events.AT_ONCE", 3.0)
    monkeypatch.setattr("rolecast.pages.pas.events.PER_SECOND", 0.001)
    async with gateway(tmp_path) as gate:
        answers = [await broadcast(gate, event_type="x") for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert answers[3].error["code"] == "rate_limited"
        assert int(answers[3].header("retry-after") or 0) > 0


# -- Socket.IO -------------------------------------------------------------------------------------------


class Listening:
    """The official client, and what it heard."""

    def __init__(self) -> None:
        self.client = socketio.AsyncClient(reconnection=False)
        self.heard: list[tuple[str, Any]] = []
        self.client.on("*", self._hear)

    async def _hear(self, event: str, *data: Any) -> None:
        self.heard.append((event, data[0] if data else None))

    def names(self) -> list[str]:
        return [name for name, _ in self.heard]

    async def wait(self, name: str, count: int = 1) -> Any:
        """What came the last time with that name, once it has come so often."""
        await until(lambda: self.names().count(name) >= count, f"{name}; heard {self.names()}")
        return [data for each, data in self.heard if each == name][-1]


@asynccontextmanager
async def connected(gate: Gate, **options: Any) -> AsyncIterator[Listening]:
    listening = Listening()
    await listening.client.connect(f"http://127.0.0.1:{gate.port(PORT)}", **options)
    try:
        yield listening
    finally:
        await listening.client.disconnect()


async def test_the_official_client_is_welcomed_hears_events_and_is_answered(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        await broadcast(gate, event_type="before", data={"n": 1})
        async with connected(gate) as listening:
            assert listening.client.transport() == "polling"
            assert (await listening.wait("connected"))["status"] == "connected"
            assert (await listening.wait("event_history"))[-1]["event_type"] == "before"
            answer = await broadcast(gate, event_type="after", data={"n": 2})
            assert answer.json["clients"] == 1
            event = await listening.wait("event")
            assert (event["event_type"], event["data"]["n"]) == ("after", 2)
            assert set(event) == {"event_type", "data", "server_timestamp", "source"}
            await listening.client.emit("ping")
            assert "timestamp" in await listening.wait("pong")
            await listening.client.emit("request_history", {"anything": True})
            assert [each["event_type"] for each in await listening.wait("event_history", 2)][-2:] == ["before", "after"]
            await listening.client.emit("no such thing", {"x": 1})
            await listening.client.emit("ping")
            await listening.wait("pong", 2)
        health = (await get(gate, "/health")).json
        assert health["connected_clients"] == 0


async def test_several_clients_hear_the_same_and_one_that_leaves_disturbs_nobody(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate, connected(gate) as one, connected(gate) as two:
        assert (await broadcast(gate, event_type="x")).json["clients"] == 2
        assert [(await each.wait("event"))["event_type"] for each in (one, two)] == ["x", "x"]
        await two.client.disconnect()
        assert (await broadcast(gate, event_type="y")).json["clients"] == 1
        assert (await one.wait("event", 2))["event_type"] == "y"


async def test_the_end_of_the_gateway_lets_clients_go_at_once(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        listening = Listening()
        await listening.client.connect(f"http://127.0.0.1:{gate.port(PORT)}")
        await listening.wait("connected")
    await until(lambda: not listening.client.connected)  # a poll that waits would take half a minute


async def test_a_client_that_fetches_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MOST_WAITING", 5)
    async with gateway(tmp_path) as gate, connected(gate) as lively:
        await lively.wait("connected")
        opened = (await get(gate, "/socket.io/?EIO=4&transport=polling")).body
        sid = json.loads(opened[1:])["sid"]
        joined = await gate.ask(request(b"40", path=f"/socket.io/?EIO=4&transport=polling&sid={sid}"), PORT)
        assert joined.body == b"OK"
        for number in range(10):
            await broadcast(gate, event_type="x", data={"n": number})
            await lively.wait("event", number + 1)
        assert (await get(gate, "/health")).json["connected_clients"] == 1


async def test_no_page_of_another_site_can_read_events_by_a_script_and_nothing_is_upgraded(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        start = "/socket.io/?EIO=4&transport=polling"
        assert (await get(gate, f"{start}&j=0")).status == 400
        assert (await get(gate, start, head="Origin: https://evil.example\r\n")).status == 403
        socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
        assert (await get(gate, "/socket.io/?EIO=4&transport=websocket", head=socket)).status == 400
        assert (await get(gate, "/socket.io/?EIO=4&transport=websocket")).status == 400
        opened = json.loads((await get(gate, start)).body[1:])
        assert opened["upgrades"] == []
        for path in (f"{start}&sid=nobody", "/socket.io/?EIO=1&transport=polling", "/socket.io/"):
            assert (await get(gate, path)).status == 400
        big = await gate.ask(request(b"4" * 100_000, path=f"{start}&sid={opened['sid']}"), PORT)
        assert big.status == 413


async def test_what_are_no_packets_is_refused_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolecast.pages.pas.sockets.PATIENCE_S", 0.05)
    async with gateway(tmp_path) as gate:
        start = "/socket.io/?EIO=4&transport=polling"
        for packets in (b"9nonsense", b"42[", b'4{"a":', b"\xff", b"4" + b"[" * 5000, b"\x1e" * 100):
            sid = json.loads((await get(gate, start)).body[1:])["sid"]
            answer = await gate.ask(request(packets, path=f"{start}&sid={sid}"), PORT)
            assert answer.status in (200, 400), packets
        async with connected(gate) as listening:
            await listening.wait("connected")


async def test_connections_that_never_say_who_they_are_are_bounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MOST_CLIENTS", 2)
    async with gateway(tmp_path) as gate:
        answers = [await get(gate, "/socket.io/?EIO=4&transport=polling") for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 503]


def test_socket_io_is_imported_by_nobody_who_does_not_listen() -> None:
    code = "import sys, rolecast.app; assert not {'socketio', 'engineio'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_events_hold_what_json_can_say() -> None:
    assert msgspec.json.decode(page.written(Events(), Events().tell("x", {"a": None})).split(b"data: ")[1])["data"] == {
        "a": None
    }
