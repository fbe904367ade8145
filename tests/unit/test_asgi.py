"""A gateway inside another application: its ports as ASGI apps, under a real server and under a test client."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from gateway import (
    CHAT,
    SSE_HEAD,
    Client,
    Held,
    ScriptedWorker,
    chat,
    chunk,
    config,
    delta,
    message,
    remote,
    request,
    until,
)
from live_gateway import plain_environment
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from rolecast.asgi import Bridge, Embedded, app
from rolecast.config.schema import Config, Listener, Storage
from rolecast.errors import ConfigError

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
PORT = 8050
"""Named in the configuration and never opened."""


def cast(folder: Path, url: str, **server: Any) -> Config:
    """One model, which the scripted worker plays, and a port of its own."""
    listeners = [Listener(port=PORT, name="agent", model="m", surface="pas")]
    made = config({"m": remote(url)}, listeners=listeners, **server)
    return msgspec.structs.replace(made, storage=Storage(url=f"sqlite:///{folder / 'ledger.db'}", models=str(folder)))


@pytest.fixture
async def worker() -> AsyncIterator[ScriptedWorker]:
    async with ScriptedWorker().listening() as scripted:
        yield scripted
        assert not scripted.bad


@contextlib.asynccontextmanager
async def served(asgi: Any) -> AsyncIterator[int]:
    """The port of a uvicorn that serves this app."""
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(asgi, log_config=None, lifespan="on"))
    serving = asyncio.create_task(server.serve([sock]))
    try:
        await until(lambda: server.started or serving.done(), "uvicorn serves")
        yield sock.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        sock.close()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield client
    finally:
        await client.close()


async def test_a_port_answers_under_a_foreign_server_and_its_number_is_not_opened(
    worker: ScriptedWorker, tmp_path: Path
) -> None:
    async with served(Embedded(cast(tmp_path, worker.url)).app(PORT)) as port, connected(port) as client:
        await client.send(request(method="GET", path="/health"))
        health = await client.answer("GET")
        assert (health.json["status"], health.json["port"], health.json["service"]) == ("healthy", PORT, "agent")
        await client.send(request(chat("hello", model="anything"), path="/chat/completions"))
        answer = await client.answer()
        assert (answer.status, answer.json["choices"][0]["message"]["content"]) == (200, "hi")
        assert answer.header("date"), "once, from the server"
        assert answer.header("x-request-id")
        await client.send(request(method="HEAD", path="/health"))
        assert (await client.answer("HEAD")).status == 200
        await client.send(request(method="GET", path="/nothing?a=b%20c"))
        assert (await client.answer("GET")).status == 404
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", PORT)) != 0 or port == PORT
    assert worker.requests[0].json["messages"] == [{"role": "user", "content": "hello"}]


async def test_the_first_event_arrives_before_the_last_is_made(worker: ScriptedWorker, tmp_path: Path) -> None:
    held = Held(delta("one"))
    worker.usual = held
    async with served(Embedded(cast(tmp_path, worker.url)).app()) as port, connected(port) as client:
        await client.send(request(chat(stream=True)))
        assert (await client.head())[0] == 200
        pieces = client.chunks()
        assert b"one" in await anext(pieces)
        held.let_go.set()  # only now does the worker go on
        assert b"[DONE]" in b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("stream", [True, False], ids=["in a stream", "before the answer"])
async def test_who_leaves_stops_the_worker(worker: ScriptedWorker, tmp_path: Path, stream: bool) -> None:
    held = worker.usual = Held(*([delta("one")] if stream else []))
    async with served(Embedded(cast(tmp_path, worker.url)).app()) as port, connected(port) as client:
        await client.send(request(chat(stream=stream)))
        if stream:
            await client.head()
        await held.began.wait()
        client.abort()
        assert held.peer is not None
        await until(held.peer.gone.is_set, "the worker is left alone")
        held.let_go.set()


async def test_a_long_body_comes_in_pieces_and_arrives_whole(worker: ScriptedWorker, tmp_path: Path) -> None:
    text = "word " * 200_000
    content = json.dumps(chat(text)).encode()
    half = len(content) // 2
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    async with served(Embedded(cast(tmp_path, worker.url)).app()) as port, connected(port) as client:
        await client.send(head, chunk(content[:half]), chunk(content[half:]), b"0\r\n\r\n")
        assert (await client.answer()).status == 200
        await client.send(request(content, head="Expect: 100-continue\r\n"))
        answer = await client.answer()
        if answer.status == 100:
            answer = await client.answer()
        assert answer.status == 200
    assert [got.json["messages"][0]["content"] == text for got in worker.requests] == [True, True]


async def test_a_body_that_is_too_long_is_refused_while_it_still_comes(worker: ScriptedWorker, tmp_path: Path) -> None:
    from rolecast.config.schema import Bytes, Limits

    made = cast(tmp_path, worker.url, limits=Limits(body=Bytes(1000)))
    async with served(Embedded(made).app()) as port, connected(port) as client:
        await client.send(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n".encode())
        assert (await client.answer()).status == 413


async def test_the_gateway_judges_hosts_origins_and_keys(worker: ScriptedWorker, tmp_path: Path) -> None:
    asgi = Embedded(cast(tmp_path, worker.url, keys=["sk-secret"]), allowed_hosts=["app.example"]).app()
    async with served(asgi) as port:
        for host, key, origin, status in (
            ("app.example", "sk-secret", "", 200),
            ("evil.example", "sk-secret", "", 403),
            ("localhost", "", "", 401),
            ("localhost", "sk-secret", "Origin: https://evil.example\r\n", 403),
        ):
            async with connected(port) as client:
                head = f"Authorization: Bearer {key}\r\n" * bool(key) + origin
                await client.send(request(chat(), host=host, head=head))
                assert (await client.answer()).status == status


async def test_many_at_once_get_their_own_answers(worker: ScriptedWorker, tmp_path: Path) -> None:
    async def echo(peer: Any, received: Any) -> None:
        said = received.json["messages"][0]["content"]
        await peer.send(message(json.dumps({"choices": [{"message": {"content": said}}]}).encode()))

    worker.usual = echo

    async def one(port: int, text: str) -> bool:
        async with connected(port) as client:
            await client.send(request(chat(text)))
            return bool((await client.answer()).json["choices"][0]["message"]["content"] == text)

    async with served(Embedded(cast(tmp_path, worker.url)).app()) as port:
        assert all(await asyncio.gather(*(one(port, f"text {i}") for i in range(50))))


async def test_a_worker_that_dies_in_a_stream_is_an_error_event_not_a_clean_end(
    worker: ScriptedWorker, tmp_path: Path
) -> None:
    async def dies(peer: Any, _: Any) -> None:
        await peer.send(SSE_HEAD + chunk(delta("one")))
        peer.close()

    worker.usual = dies
    async with served(Embedded(cast(tmp_path, worker.url)).app()) as port, connected(port) as client:
        await client.send(request(chat(stream=True)))
        await client.head()
        body = b"".join([piece async for piece in client.chunks()])
        assert b'"code":"worker_lost"' in body


async def test_mounted_apps_share_a_gateway_that_lives_with_the_application(
    worker: ScriptedWorker, tmp_path: Path
) -> None:
    gateway = Embedded(cast(tmp_path, worker.url))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with gateway:
            yield

    own = Starlette(routes=[Mount("/llm", gateway.app()), Mount("/a gent", gateway.app(PORT))], lifespan=lifespan)
    async with served(own) as port, connected(port) as client:
        await client.send(request(chat(), path=f"/llm{CHAT}"))
        assert (await client.answer()).status == 200
        await client.send(request(method="GET", path="/a%20gent/info"))
        assert (await client.answer("GET")).json["service_name"] == "agent"
        paths = [Path(await gateway.socket(port)) for port in (None, PORT)]
        assert paths[0].parent == paths[1].parent
        assert paths[0].parent.stat().st_mode & 0o077 == 0
    assert not paths[0].exists(), "the last one has ended it"


async def test_who_stops_waiting_for_the_start_stops_nobody_else(worker: ScriptedWorker, tmp_path: Path) -> None:
    gateway = Embedded(cast(tmp_path, worker.url))
    async with gateway:
        hasty = [asyncio.create_task(gateway.socket(None)) for _ in range(3)]
        for task in hasty:
            task.cancel()
        await asyncio.gather(*hasty, return_exceptions=True)
        assert Path(await gateway.socket(PORT)).exists()
    hasty = [asyncio.create_task(gateway.enter()) for _ in range(2)]
    await asyncio.sleep(0)
    hasty[0].cancel()
    await asyncio.gather(*hasty, return_exceptions=True)
    assert Path(await gateway.socket(PORT)).exists()
    await gateway.leave()


async def test_what_cannot_start_says_why(worker: ScriptedWorker, tmp_path: Path) -> None:
    def stopped(embedded: Embedded) -> str:
        with (
            pytest.raises(ConfigError) as caught,
            TestClient(embedded.app(PORT), base_url="http://localhost") as client,
        ):
            client.get("/health")
        return caught.value.message

    assert f"no port {PORT}" in stopped(Embedded(config({"m": remote(worker.url)})))
    twice = config({"m": remote(worker.url)}, listeners=[Listener(port=0, model="m")])
    assert "a number of its own" in stopped_at_start(Embedded(twice).app())
    (tmp_path / "broken.yaml").write_text("models: {m: {backend: nonsense}}")
    assert "broken.yaml:1" in stopped_at_start(Embedded(tmp_path / "broken.yaml").app())
    assert "there is no preset" in stopped_at_start(Embedded(preset="nonsense").app()).lower()
    with pytest.raises(ValueError, match="not both"):
        Embedded(tmp_path, preset="pas")


def stopped_at_start(asgi: Bridge) -> str:
    """What the server is told when the lifespan fails."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def live() -> None:
        await asgi({"type": "lifespan"}, receive, send)

    thread = threading.Thread(target=asyncio.run, args=(live(),))  # this one has a loop already
    thread.start()
    thread.join()
    assert sent[0]["type"] == "lifespan.startup.failed"
    return str(sent[0]["message"])


SERVICES = """
import json, sys
from starlette.testclient import TestClient
from services.llm.llama31_8b_service import app as llama
from services.llm.tinyllama_service import app as tiny
from services.llm.tlc_classifier_service import app as tlc

def test_health(client, port):
    response = client.get("/health")
    assert response.status_code == 200
    data = response.json()
    assert data["status"] == "healthy"
    assert data["port"] == port
    assert b'"status":"healthy"' in response.content

def test_chat_completions(client):
    request = {
        "model": "llama3.1:8b",
        "messages": [{"role": "user", "content": "What is 2+2?"}],
        "stream": False,
    }
    response = client.post("/chat/completions", json=request)
    assert response.status_code == 200, response.text
    data = response.json()
    assert "choices" in data
    assert len(data["choices"]) > 0

for app, port in ((llama, 8050), (tiny, 8051), (tlc, 8052)):
    client = TestClient(app)
    test_health(client, port)
    test_chat_completions(client)
    answer = client.post("/generate", json={"model": "m", "prompt": "What is AI?", "options": {"num_predict": 5}})
    assert answer.json()["response"] and answer.json()["done"] is True
    assert "service_name" in client.get("/info").json()
client = TestClient(tlc)
query = "What is the role of glucose in diabetes?"
assert client.post("/classify_domain", json={"query": query, "top_k": 3}).json()["primary_domain"] == "MEDICINE"
assert client.post("/extract_tmd", json={"query": query}).json()["tmd"]["domain"] == "MEDICINE"
assert client.post("/classify_domain", json={"query": ""}).status_code == 422
assert TestClient(llama).post("/classify_domain", json={"query": query}).status_code == 404
with TestClient(llama) as client:
    with client.stream("POST", "/generate", json={"model": "m", "prompt": "hi", "stream": True}) as response:
        assert [json.loads(line) for line in response.iter_lines()][-1]["done"] is True
print("passed")
"""


def test_the_services_import_and_answer_in_process_without_ollama(tmp_path: Path) -> None:
    env = plain_environment() | {
        "ROLECAST_HOME": str(tmp_path),
        "ROLECAST_STAND_IN": "fake",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SERVICES],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "passed\n", "")


async def test_a_service_of_an_ollama_that_runs_elsewhere(
    worker: ScriptedWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from services.llm.common.base_llm_service import BaseLLMService

    service = BaseLLMService("llama3.1:8b", worker.url.removesuffix("/v1"), PORT, ["reasoning", "planning"])
    async with served(service.app) as port, connected(port) as client:
        await client.send(request(method="GET", path="/health"))
        health = (await client.answer("GET")).json
        assert (health["model"], health["ollama_backend"]) == ("llama3.1:8b", worker.url)
        await client.send(request(chat(model="x"), path="/chat/completions"))
        assert (await client.answer()).status == 200
        await client.send(request(method="GET", path="/info"))
        assert {"reasoning", "planning"} <= set((await client.answer("GET")).json["capabilities"])
    assert worker.requests[0].json["model"] == "llama3.1:8b"


DIES = """
import os, signal
from starlette.testclient import TestClient
from rolecast.asgi import app
client = TestClient(app(), base_url="http://localhost")
body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
assert client.post("/v1/chat/completions", json=body).is_success
workers = [m["pid"] for m in client.get("/admin/status").json()["models"] if m["pid"]]
print(*workers, flush=True)
if HARD:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("hard", [False, True], ids=["at its end", "killed"])
def test_workers_end_with_the_process(tmp_path: Path, hard: bool) -> None:
    import psutil

    (tmp_path / "rolecast.yaml").write_text("models: {m: {backend: fake}}\nroles: {standard: [m]}\n")
    env = plain_environment() | {"ROLECAST_HOME": str(tmp_path / "data"), "PYTHONPATH": os.fspath(ROOT)}
    code = f"HARD = {hard}\n" + textwrap.dedent(DIES)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    (pid,) = map(int, done.stdout.split())
    assert (done.returncode, done.stderr) == (-9 if hard else 0, "")
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(20)


def test_a_factory_serves_what_up_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rolecast.yaml").write_text("models: {mine: {backend: fake}}\nroles: {standard: [mine]}\n")
    with TestClient(app(), base_url="http://localhost") as client:
        assert "mine" in [model["id"] for model in client.get("/v1/models").json()["data"]]


def test_a_head_is_one_head(tmp_path: Path) -> None:
    """Whatever a server or a middleware lets through."""
    (tmp_path / "c.yaml").write_text("models: {m: {backend: fake}}\nroles: {standard: [m]}\n")

    async def smuggle(scope: Any) -> list[Any]:
        sent: list[Any] = []
        gateway = Embedded(tmp_path / "c.yaml")

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await gateway.app()(scope, receive, send)
        await gateway.leave()
        return sent

    good = {
        "type": "http",
        "method": "GET",
        "path": "/health",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    for wrong in (
        {"headers": [(b"host", b"localhost\r\nx-api-key: k")]},
        {"raw_path": b"/health HTTP/1.1\r\nhost: localhost\r\n\r\n"},
        {"query_string": b"a b"},
    ):
        assert asyncio.run(smuggle({**good, **wrong}))[0]["status"] == 400
    assert asyncio.run(smuggle(good))[0]["status"] == 200
