"""Jobs over HTTP, of a real gateway, with a hub on loopback."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway import Answer, Gate, config, on_uvloop, remote, request, running_gateway, until
from hf_server import Hub, weights

from rolecast.config.schema import Model
from rolecast.pages import jobs as pages

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
Q4 = "tiny-Q4_K_M.gguf"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub("owner/tiny", {Q4: weights(300)})
    hub.hold = threading.Event()
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    yield hub
    hub.close()


def cast() -> dict[str, Model]:
    return {"m": remote("http://127.0.0.1:9/v1"), "tiny": Model(source=f"hf:owner/tiny/{Q4}", aliases=["t"])}


async def get(gate: Gate, path: str) -> Answer:
    return await gate.ask(request(None, path=path, method="GET"), method="GET")


async def post(gate: Gate, path: str, body: Any) -> Answer:
    return await gate.ask(request(body, path=path))


def events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.decode().split("\n") if line.startswith("data: ")]


async def test_a_pull_is_started_followed_and_looked_at(hub: Hub, tmp_path: Path) -> None:
    async with running_gateway(config(cast()), tmp_path) as gate:
        assert (await get(gate, "/admin/jobs")).json == {"jobs": []}
        started = await post(gate, "/admin/jobs", {"kind": "pull", "model": "t"})
        job = started.json
        assert (started.status, job["kind"], job["subject"], job["state"]) == (202, "pull", "tiny", "running")
        again = await post(gate, "/admin/jobs", {"kind": "pull", "model": "tiny"})
        assert (again.status, again.json["id"]) == (200, job["id"])
        following = asyncio.ensure_future(get(gate, f"/admin/jobs/{job['id']}/events"))
        await until(hub.holding.is_set)
        (told,) = (await get(gate, "/admin/activity")).json["jobs"]
        assert (told["id"], told["state"]) == (job["id"], "running")
        assert hub.hold is not None
        hub.hold.set()
        answer = await following
        assert dict(answer.headers)["content-type"].startswith("text/event-stream")
        told = events(answer.body)
        assert (told[0]["state"], told[-1]["state"]) == ("running", "done")
        assert told[-1]["progress"]["done"] == told[-1]["progress"]["total"] == len(hub.files[Q4])
        assert (await get(gate, f"/admin/jobs/{job['id']}")).json == told[-1]
        assert (await get(gate, "/admin/jobs")).json == {"jobs": [told[-1]]}
        assert events((await get(gate, f"/admin/jobs/{job['id']}/events")).body) == [told[-1]]
        log = await get(gate, f"/admin/jobs/{job['id']}/log?lines=1")
        assert (log.status, log.body.count(b"\n")) == (200, 1)
        assert b"verifying" in log.body
        assert (await post(gate, f"/admin/jobs/{job['id']}/cancel", {})).json == told[-1]


async def test_a_pull_is_cancelled_and_its_followers_are_told(hub: Hub, tmp_path: Path) -> None:
    async with running_gateway(config(cast()), tmp_path) as gate:
        job = (await post(gate, "/admin/jobs", {"kind": "pull", "model": "tiny"})).json
        following = asyncio.ensure_future(get(gate, f"/admin/jobs/{job['id']}/events"))
        await until(hub.holding.is_set)
        over = await post(gate, f"/admin/jobs/{job['id']}/cancel", {})
        assert (over.status, over.json["state"]) == (200, "cancelled")
        assert events((await following).body)[-1] == over.json


async def test_who_follows_hears_something_though_nothing_happens(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "BREATH_S", 0.001)
    async with running_gateway(config(cast()), tmp_path) as gate:
        job = (await post(gate, "/admin/jobs", {"kind": "pull", "model": "tiny"})).json
        async with gate.client() as client:
            await client.send(request(None, path=f"/admin/jobs/{job['id']}/events", method="GET"))
            await client.head()
            async for piece in client.chunks():
                if piece == b": still here\n\n":
                    break
        assert gate.gateway.jobs.get(job["id"]).state == "running"  # whoever stops following stops nothing


async def test_a_gateway_that_stops_ends_what_follows_it(hub: Hub, tmp_path: Path) -> None:
    async with running_gateway(config(cast()), tmp_path) as gate:
        job = (await post(gate, "/admin/jobs", {"kind": "pull", "model": "tiny"})).json
        following = asyncio.ensure_future(get(gate, f"/admin/jobs/{job['id']}/events"))
        await until(hub.holding.is_set)
    assert events((await following).body)[-1]["state"] == "interrupted"


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "said"),
    [
        ("/admin/jobs", {"kind": "pull", "model": "nobody"}, 404, "model_not_found", "'nobody' does not exist here"),
        ("/admin/jobs", {"kind": "pull", "model": "hf:owner/tiny"}, 404, "model_not_found", "does not exist here"),
        ("/admin/jobs", {"kind": "pull", "model": "m"}, 422, "invalid_value", "has no weights to pull"),
        ("/admin/jobs", {"kind": "dance", "model": "tiny"}, 422, "invalid_value", "There is no kind of job 'dance'"),
        ("/admin/jobs", {"model": "tiny"}, 400, "bad_json", '{"kind":"pull","model":"NAME"}'),
        ("/admin/jobs", {"kind": 5, "model": []}, 400, "bad_json", "The body must be JSON such as"),
        ("/admin/jobs", b"\xff", 400, "bad_json", "The body must be JSON such as"),
        ("/admin/jobs/job_0/cancel", {}, 404, "job_not_found", "There is no job 'job_0'"),
        ("/admin/jobs/..%2f..%2fx/cancel", {}, 404, "", ""),
        ("/admin/jobs/job_0", {}, 405, "method_not_allowed", "use GET"),
    ],
)
async def test_what_cannot_be_is_refused_with_what_can(
    tmp_path: Path, path: str, body: Any, status: int, code: str, said: str
) -> None:
    async with running_gateway(config(cast()), tmp_path) as gate:
        answer = await post(gate, path, body)
        assert answer.status == status
        assert answer.error["code"] == code or not code
        assert said in answer.error["message"]
        assert (await get(gate, "/admin/jobs")).json == {"jobs": []}


@pytest.mark.parametrize("path", ["", "/events", "/log", "/log?lines=x"])
async def test_a_job_that_is_not_there_is_said_to_be_not_there(tmp_path: Path, path: str) -> None:
    async with running_gateway(config(cast()), tmp_path) as gate:
        assert (await get(gate, f"/admin/jobs/job_0{path}")).status == (400 if "x" in path else 404)


async def test_jobs_need_a_key_and_a_form_of_another_site_cannot_start_one(tmp_path: Path) -> None:
    async with running_gateway(config(cast(), keys=["sk-key"]), tmp_path) as gate:
        assert (await get(gate, "/admin/jobs")).status == 401
        assert (await post(gate, "/admin/jobs", {"kind": "pull", "model": "tiny"})).status == 401
    form = b"POST /admin/jobs%b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    async with running_gateway(config(cast()), tmp_path) as gate:
        for path in (b"", b"/job_0/cancel"):
            assert (await gate.ask(form % path)).status == 415
