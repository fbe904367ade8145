"""What the status page is told of what goes on: running requests, refusals, loads, arriving weights, logs."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import tiny_gguf
from gateway import CHAT, DONE, Gate, ScriptedWorker, config, delta, on_uvloop, pair, remote, running_gateway, until
from gateway import SSE_HEAD as STREAM

from rolecast import sources
from rolecast.config.schema import Limits, Listener, Model
from rolecast.errors import NotFound
from rolecast.sources import store
from rolecast.telemetry.metrics import KEPT_REFUSALS, SHOWN_CHARS, Place, Refusals

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    listeners = [Listener(port=0, name="narrow", model="m")]
    async with pair(limits=Limits(body=2000), listeners=listeners, keys=["sk-key"]) as both:
        yield both


def post(body: Any, path: str = CHAT, *, key: str = "sk-key", head: str = "", host: str = "localhost") -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n{head}Content-Length: {len(content)}"
    )
    return f"{lines}\r\n\r\n".encode() + content


def get(path: str, *, key: str = "sk-key") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


async def refusals(front: Gate) -> list[dict[str, Any]]:
    answer = await front.ask(get("/admin/refusals"), method="GET")
    found: list[dict[str, Any]] = json.loads(answer.body)["refusals"]
    return found


SHORT = "/chat/completions"
GOOD = {"model": "m", "messages": [{"role": "user", "content": "SECRET"}]}


@pytest.mark.parametrize(
    ("data", "status", "code", "method", "path", "asked"),
    [
        (post(GOOD, key="wrong"), 401, "invalid_api_key", "POST", CHAT, ""),
        (get("/v1/models", key="wrong"), 401, "invalid_api_key", "GET", "/v1/models", ""),
        (post(GOOD, host="evil.example"), 403, "host_not_allowed", "POST", CHAT, ""),
        (post(GOOD, head="Origin: https://evil.example\r\n"), 403, "origin_not_allowed", "POST", CHAT, ""),
        (post(GOOD | {"model": "nope"}), 404, "model_not_found", "POST", CHAT, "nope"),
        (get("/nothing?q=SECRET"), 404, "not_found", "GET", "/nothing", ""),
        (get(CHAT), 405, "method_not_allowed", "GET", CHAT, ""),
        (post(b"SECRET"), 400, "bad_json", "POST", CHAT, ""),
        (post({"model": "m", "messages": "SECRET"}), 422, "invalid_value", "POST", CHAT, ""),
        (post(GOOD, path="/chat/completions?x=SECRET", key="wrong"), 401, "invalid_api_key", "POST", SHORT, ""),
        (post(GOOD | {"filler": "x" * 2000}), 413, "request_too_large", "POST", CHAT, ""),
        (post(GOOD, head="Content-Encoding: gzip\r\n"), 415, "bad_encoding", "POST", CHAT, ""),
        (b"GET /x\x01SECRET HTTP/1.1\r\n\r\n", 400, "bad_http", "", "", ""),
        (
            post(b"SECRET", path="/admin/load", head="Content-Type: application/json\r\n"),
            400,
            "bad_json",
            "POST",
            "/admin/load",
            "",
        ),
    ],
)
async def test_a_refused_request_is_noted_with_where_and_why_and_nothing_of_its_content(
    front: Gate, data: bytes, status: int, code: str, method: str, path: str, asked: str
) -> None:
    answer = await front.ask(data)
    newest, *_ = await refusals(front)
    assert answer.status == status
    found = [newest[name] for name in ("status", "code", "method", "path", "asked", "listener")]
    assert found == [status, code, method, path, asked, "front door"]
    assert "SECRET" not in json.dumps(await refusals(front))


async def test_a_refusal_names_its_listener_and_equal_ones_are_counted(front: Gate) -> None:
    for _ in range(3):
        await front.ask(post(b"{", key="sk-key"), "narrow")
    await front.ask(post(b"{", key="sk-key"))
    here, there = (await refusals(front))[:2]
    assert (here["listener"], there["listener"], there["count"]) == ("front door", "narrow", 3)
    assert there["first_at"] < there["at"] < here["at"]


async def test_what_reached_a_model_is_no_refusal(front: Gate, worker: ScriptedWorker) -> None:
    before = await refusals(front)
    assert (await front.ask(post(GOOD))).status == 200
    assert await refusals(front) == before


def test_refusals_are_bounded_whatever_clients_send() -> None:
    kept = Refusals()
    for number in range(2 * KEPT_REFUSALS):
        kept.add(NotFound("nothing"), Place("front door", "GET", f"/{number}" + "\x00" * 1000, "m" * 1000))
        kept.add(NotFound("nothing"), Place("front door", "GET", "/again"))
    newest = kept.newest(1000)
    assert len(newest) == KEPT_REFUSALS
    assert (newest[0].path, newest[0].count) == ("/again", 2 * KEPT_REFUSALS)
    assert newest[1].path.startswith(f"/{2 * KEPT_REFUSALS - 1}")
    assert all(len(x.path) <= SHOWN_CHARS and len(x.asked) <= SHOWN_CHARS and x.path.isprintable() for x in newest)


async def activity(front: Gate) -> dict[str, Any]:
    answer = await front.ask(get("/admin/activity"), method="GET")
    found: dict[str, Any] = json.loads(answer.body)
    return found


async def test_a_running_request_is_told_from_its_start_to_its_end(front: Gate, worker: ScriptedWorker) -> None:
    steps: list[Any] = []

    async def script(peer: Any, _: Any) -> None:
        steps.append("asked")
        await until(lambda: "go on" in steps)
        pieces = b"".join(b"%x\r\n%b\r\n" % (len(d), d) for d in (delta("a"), delta("b"), delta("c")))
        await peer.send(STREAM + pieces)
        await until(lambda: "end" in steps)
        await peer.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(DONE), DONE))

    worker.script.append(script)
    async with front.client() as client:
        await client.send(post(GOOD | {"stream": True}))
        await until(lambda: steps)
        (running,) = (await activity(front))["running"]
        assert (running["state"], running["model"], running["asked"], running["tokens"]) == ("reading", "m", "m", 0)
        steps.append("go on")
        while (running := (await activity(front))["running"][0])["state"] != "writing":
            pass
        assert running["tokens"] == 2  # the first event of a stream usually carries no text
        assert 0 < running["writing_ms"] < running["total_ms"]
        assert "SECRET" not in json.dumps(running)
        steps.append("end")
        assert (await client.answer()).status == 200
    await front.rows()
    after = await activity(front)
    assert after["running"] == []
    assert after["ledger_rows"] > 0


async def test_the_parts_are_told_with_their_versions(front: Gate) -> None:
    assert {"python", "uvicorn"} <= set((await activity(front))["versions"])


async def test_weights_that_arrive_are_told_until_they_are_complete(tmp_path: Path, on_uvloop: Any) -> None:
    models = {"m": remote("http://127.0.0.1:9/v1"), "a": Model(source="hf:o/r/a.gguf")}
    async with running_gateway(config(models), tmp_path) as gate:
        assert (await activity(gate))["downloads"] == []
        part = tmp_path / "models" / "hf" / "o" / "r" / "main" / "a.gguf.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"x" * 700)
        (told,) = (await activity(gate))["downloads"]
        assert (told["model"], told["bytes"]) == ("a", 700)
        tiny_gguf.write(part)
        part.rename(part.with_name("a.gguf"))
        assert (await activity(gate))["downloads"] == []


async def test_the_log_of_a_model_that_does_not_run_is_the_end_of_its_file(tmp_path: Path) -> None:
    async with running_gateway(config({"f": Model(backend="fake")}), tmp_path) as gate:
        file = gate.gateway.fleet.log_path("f")
        file.parent.mkdir(parents=True)
        file.write_text("one\ntwo\nthree\n")
        for query, text in (("lines=2", b"two\nthree\n"), ("lines=0", b""), ("lines=1&follow=true", b"three\n")):
            assert (await gate.ask(get(f"/admin/logs?model=f&{query}"), method="GET")).body == text


@pytest.mark.parametrize("text", ["hf:o/r/a.gguf", "pypi:package/a.gguf", "pypi:package==1.0", "https://e.org/a.gguf"])
def test_a_pull_in_another_process_can_be_seen_in_the_folder(tmp_path: Path, text: str) -> None:
    source = sources.parse(text, "")
    assert sources.arriving(source, tmp_path) is None
    with store.workshop(tmp_path, source) as work:
        (work / "wheels").mkdir()
        (work / "wheels" / "x.whl").write_bytes(b"x" * 1000)
        arrival = sources.arriving(source, tmp_path)
        assert arrival is not None
        assert arrival.bytes == 1000
    assert sources.arriving(source, tmp_path) is None
