"""Pulls of a gateway that is stopped or killed: nothing stays behind, and the next one goes on at the byte."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hf_server import Hub, weights
from live_gateway import LiveGateway, until

Q4 = "tiny-Q4_K_M.gguf"
HALF = len(weights(3000)) // 2
CONFIG = """
server: {port: 0}
models:
  m: {backend: fake}
  tiny: {source: "hf:owner/tiny/%s"}
roles: {standard: [m]}
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub("owner/tiny", {Q4: weights(3000)})
    hub.hold = threading.Event()
    yield hub
    hub.close()


@pytest.fixture
def gateway(hub: Hub, tmp_path: Path) -> Iterator[LiveGateway]:
    env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "", "HF_HUB_OFFLINE": ""}
    with LiveGateway(tmp_path, CONFIG % Q4, **env) as running:
        yield running


def part(gateway: LiveGateway) -> Path:
    return gateway.home / "models" / "hf" / "owner" / "tiny" / "main" / f"{Q4}.part"


def half_way(gateway: LiveGateway) -> tuple[dict[str, Any], list[psutil.Process]]:
    """A pull that has come half way and waits for the hub, and its processes."""
    job = gateway.post("/admin/jobs", {"kind": "pull", "model": "tiny"}).json
    until(lambda: part(gateway).exists() and part(gateway).stat().st_size == HALF)
    return job, gateway.processes()[1:]


def until_over(gateway: LiveGateway, job_id: str) -> dict[str, Any]:
    def over() -> dict[str, Any] | None:
        job: dict[str, Any] = gateway.get(f"/admin/jobs/{job_id}").json
        return job if job["ended_at"] else None

    return until(over) or {}


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_a_pull_goes_on_at_the_byte_when_its_gateway_was_ended_in_the_middle(
    gateway: LiveGateway, hub: Hub, ending: str
) -> None:
    job, children = half_way(gateway)
    if ending == "kill":
        until(lambda: states(gateway) == ["running"])  # it is written down
    getattr(gateway, ending)()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert states(gateway) == ["running" if ending == "kill" else "interrupted"]
    gateway.start()
    until(lambda: [headers.get("range") for headers in hub.blobs()] == [None, f"bytes={HALF}-"])
    assert len(gateway.processes()) == 2  # one pull, no second one
    again = gateway.post("/admin/jobs", {"kind": "pull", "model": "tiny"})
    assert (again.status, again.json["id"]) == (200, job["id"])
    assert hub.hold is not None
    hub.hold.set()
    over = until_over(gateway, job["id"])
    assert (over["state"], over["attempts"], over["started_at"]) == ("done", 2, job["started_at"])
    assert Path(over["result"]).read_bytes() == hub.files[Q4]
    assert gateway.model("tiny")["present"] is True


def states(gateway: LiveGateway) -> list[str]:
    db = sqlite3.connect(f"file:{gateway.home / 'rolecast.db'}?mode=ro", uri=True)
    try:
        return [row[0] for row in db.execute("SELECT state FROM jobs")]
    finally:
        db.close()


def test_a_pull_is_not_taken_up_when_it_was_cancelled_or_its_model_is_gone(gateway: LiveGateway, hub: Hub) -> None:
    cancelled, _ = half_way(gateway)
    assert gateway.post(f"/admin/jobs/{cancelled['id']}/cancel", {}).json["state"] == "cancelled"
    left, _ = half_way(gateway)
    gateway.stop()
    gateway.config.write_text("server: {port: 0}\nmodels: {m: {backend: fake}}\nroles: {standard: [m]}\n")
    gateway.start()
    jobs = {job["id"]: job for job in gateway.get("/admin/jobs").json["jobs"]}
    assert jobs[cancelled["id"]]["state"] == "cancelled"
    assert jobs[left["id"]]["state"] == "interrupted"
    assert jobs[left["id"]]["error"] == "tiny is no longer in the configuration, so it was not pulled."
    assert len(gateway.processes()) == 1


def test_the_child_of_a_pull_that_is_killed_is_told_with_where_its_log_is(gateway: LiveGateway) -> None:
    job, (child,) = half_way(gateway)
    child.kill()
    over = until_over(gateway, job["id"])
    assert over["state"] == "failed"
    assert "was killed by signal 9; its log is" in over["error"]
    assert f"{job['id']}.log" in over["error"]
    assert gateway.get("/health").status == 200
