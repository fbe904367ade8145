"""Agents say how full their contexts are and what they need of the machine; on both databases, over real ports."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from databases import OpenStore, database, postgres
from gateway import Answer, Gate, config, on_uvloop, reply, request, running_gateway, short_folder
from gateway import ScriptedWorker as Worker
from hypothesis import given
from hypothesis import strategies as st

from rolecast.books.store import Store
from rolecast.config.registry import Registry
from rolecast.config.schema import Config, Listener, Model
from rolecast.errors import NotFound
from rolecast.registry import governor, resources, summaries
from rolecast.registry.governor import Context, Governor, judged
from rolecast.registry.resources import DEFAULTS, Denied, Reservation, Resources, decide, number, thousandths

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop
__all__ = ["database", "postgres"]  # fixtures
TOKENS, RESOURCES = "token_governor", "resource_manager"
LISTENERS = [
    Listener(port=0, name=TOKENS, surface="tokens"),
    Listener(port=0, name=RESOURCES, surface="resources"),
]


@pytest.fixture
async def store(database: OpenStore) -> AsyncIterator[Store]:
    opened = database()
    await opened.open()
    yield opened
    await opened.close()


def cast(models: dict[str, Model] | None = None, **registry: Any) -> Config:
    made = config(models or {"m": Model(backend="fake")}, listeners=LISTENERS)
    return made.__class__(**{f: getattr(made, f) for f in made.__struct_fields__} | {"registry": Registry(**registry)})


@asynccontextmanager
async def gateway(folder: Path, models: dict[str, Model] | None = None, **registry: Any) -> AsyncIterator[Gate]:
    async with running_gateway(cast(models, **registry), folder) as gate:
        yield gate


async def post(gate: Gate, listener: str, path: str, body: Any = None, head: str = "") -> Answer:
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    return await gate.ask(request(content, path=path, head=head), listener)


async def get(gate: Gate, listener: str, path: str) -> Answer:
    return await gate.ask(request(path=path, method="GET"), listener, "GET")


# -- the rule of contexts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "status", "action"),
    [
        (0, "ok", None),
        (4000, "ok", None),
        (7999, "ok", None),
        (8000, "warning", "monitor_closely"),
        (10000, "warning", "monitor_closely"),
        (11999, "warning", "monitor_closely"),
        (12000, "breach", "save_state_clear_resume"),
        (12500, "breach", "save_state_clear_resume"),
        (20000, "breach", "save_state_clear_resume"),
    ],
)
def test_the_thresholds_of_a_context_are_exact(used: int, status: str, action: str | None) -> None:
    found = judged(used, 16000)
    assert (found.status, found.action, found.ratio) == (status, action, used / 16000)


@given(st.integers(1, 10**6), st.integers(0, 100), st.integers(0, 100))
def test_a_threshold_belongs_to_the_worse_status(size: int, one: int, other: int) -> None:
    target, hard_max = sorted((one / 100, other / 100))
    for used in {0, size // 3, size}:
        found = judged(used, size, target, hard_max).status
        expected = "breach" if used / size >= hard_max else "warning" if used / size >= target else "ok"
        assert found == expected


async def test_what_agents_say_is_kept_one_row_each_the_newest_first(store: Store) -> None:
    keeper = Governor(store)
    await keeper.track(Context("a", "r1", 10, 100, 0.5, 0.75, 1.0))
    await keeper.track(Context("b", "r1", 60, 100, 0.5, 0.75, 2.0))
    await keeper.track(Context("a", "r2", 80, 100, 0.5, 0.75, 3.0))
    found = await Governor(store).contexts()
    assert [(each.agent, each.run, each.judgement.status) for each in found] == [
        ("a", "r2", "breach"),
        ("b", "r1", "warning"),
    ]
    assert [each.agent for each in await keeper.contexts("b")] == ["b"]
    assert (await keeper.clear("a", 4.0)).used == 80
    assert (await keeper.context("a")).used == 0
    with pytest.raises(NotFound):
        await keeper.clear("nobody", 5.0)


async def test_agents_and_summaries_are_bounded_the_oldest_leave(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(governor, "MOST_AGENTS", 3)
    monkeypatch.setattr(governor, "MOST_SUMMARIES", 2)
    keeper = Governor(store)
    for n in range(5):
        await keeper.track(Context(f"a{n}", "r", 1, 100, 0.5, 0.75, float(n)))
    assert [each.agent for each in await keeper.contexts()] == ["a4", "a3", "a2"]
    gone = [(await keeper.summed_up("a4", f"r{n}", "manual", f"/x/{n}", 10.0 + n))[1] for n in range(4)]
    assert gone == [[], [], ["/x/0"], ["/x/1"]]
    assert [each.run for each in await keeper.summaries("a4", 10)] == ["r3", "r2"]
    assert await keeper.summary_count() == 2
    with pytest.raises(NotFound):
        await keeper.summed_up("nobody", "r", "manual", "/x/9", 20.0)
    assert await keeper.summary_count() == 2


# -- the rule of resources -------------------------------------------------------------------------------

amounts = st.dictionaries(st.sampled_from(list(DEFAULTS)), st.integers(0, 5000))


@given(st.lists(amounts, max_size=12), amounts)
def test_never_is_more_granted_than_there_is(asked: list[dict[str, int]], less: dict[str, int]) -> None:
    capacity = {name: less.get(name, 4000) for name in DEFAULTS}
    allocated = dict.fromkeys(DEFAULTS, 0)
    for wanted in asked:
        denied = decide(wanted, (), capacity, allocated, {})
        fits = all(allocated[name] + amount <= capacity[name] for name, amount in wanted.items())
        assert (denied is None) == fits
        if denied is None:
            for name, amount in wanted.items():
                allocated[name] += amount
    assert all(allocated[name] <= capacity[name] for name in DEFAULTS)


def test_amounts_are_exact_and_shown_as_they_were_said() -> None:
    assert sum([thousandths(0.1)] * 3) == thousandths(0.3)
    assert [number(thousandths(each)) for each in (4.0, 0.5, 0.001, 32768)] == [4, 0.5, 0.001, 32768]
    assert isinstance(number(4000), int)


async def test_reservations_are_granted_denied_and_given_back(store: Store) -> None:
    keeper = Resources(store)
    first = await keeper.reserve("j1", "a", {"cpu": 4000, "gpu": 1000}, [8080], 100.0, 50.0)
    assert isinstance(first, Reservation)
    denied = await keeper.reserve("j2", "b", {"cpu": 7000}, [], 101.0, 50.0)
    assert denied == Denied("Insufficient cpu: requested 7, available 6", "cpu", 10_000, 4000)
    taken = await keeper.reserve("j2", "b", {"cpu": 1000}, [9090, 8080], 101.0, 50.0)
    assert taken == Denied("Port 8080 is reserved by job j1", "ports")
    quotas, active = await Resources(store).quotas(102.0)
    assert (quotas["cpu"].allocated, quotas["gpu"].allocated, quotas["mem_mb"].allocated, active) == (4000, 1000, 0, 1)
    assert (await keeper.release(first.id, "", 103.0)).state == "released"
    assert (await keeper.quotas(104.0))[1] == 0
    with pytest.raises(NotFound):
        await keeper.release(first.id, "", 105.0)
    assert isinstance(await keeper.reserve("j2", "b", {"cpu": 10_000}, [8080], 106.0, 50.0), Reservation)


async def test_reservations_end_by_themselves_also_while_nobody_looks(store: Store) -> None:
    keeper = Resources(store)
    await keeper.reserve("j1", "a", {"cpu": 10_000}, [], 100.0, 50.0)
    assert isinstance(await keeper.reserve("j2", "b", {"cpu": 1000}, [], 149.0, 50.0), Denied)
    assert (await keeper.quotas(151.0))[1] == 0
    with pytest.raises(NotFound):
        await keeper.release("", "j1", 151.0)
    assert isinstance(await keeper.reserve("j2", "b", {"cpu": 10_000}, [], 150.0, 50.0), Reservation)
    listed = await keeper.all(None, 160.0, 10)
    assert [(each.job, each.state, each.ended_at) for each in listed] == [
        ("j2", "active", None),
        ("j1", "expired", 150.0),
    ]
    assert [each.job for each in await keeper.all("expired", 160.0, 10)] == ["j1"]


async def test_a_job_is_released_one_by_one_or_as_a_whole(store: Store) -> None:
    keeper = Resources(store)
    made = [await keeper.reserve("j", "a", {"cpu": 1000}, [], float(at), 1000.0) for at in range(3)]
    assert [isinstance(each, Reservation) for each in made] == [True] * 3
    assert (await keeper.release("", "j", 10.0)).at == 0.0
    assert await keeper.kill("j", 11.0) == 2
    assert [each.state for each in await keeper.all(None, 12.0, 10)] == ["killed", "killed", "released"]
    with pytest.raises(NotFound):
        await keeper.kill("j", 13.0)


async def test_quotas_change_and_stay_and_history_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "MOST_OVER", 2)
    keeper = Resources(store)
    assert await keeper.resize("cpu", 1500) == 10_000
    assert await Resources(store).resize("cpu", 2000) == 1500
    for at in range(5):
        await keeper.reserve(f"j{at}", "a", {"cpu": 2000}, [], float(at), 0.5)
    assert len(await keeper.all(None, 10.0, 100)) <= 3


async def test_many_who_ask_at_once_never_get_more_than_there_is(store: Store) -> None:
    keeper = Resources(store)
    made = await asyncio.gather(
        *(keeper.reserve(f"j{n}", "a", {"cpu": 3000, "mem_mb": 1000}, [], 1.0, 50.0) for n in range(12))
    )
    assert sum(isinstance(each, Reservation) for each in made) == 3
    assert (await keeper.quotas(2.0))[0]["cpu"].allocated == 9000


# -- the ports -------------------------------------------------------------------------------------------


async def test_the_governor_answers_as_that_of_pas(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        assert (await get(gate, TOKENS, "/health")).body == b'{"status":"ok"}'
        track = {"agent": "Manager-Data", "run_id": "R-003", "ctx_used": 12500, "ctx_limit": 16000}
        answer = (await post(gate, TOKENS, "/track", track)).json
        assert set(answer) == {"agent", "ctx_used", "ctx_limit", "ctx_ratio", "status", "action", "ts"}
        assert (answer["ctx_ratio"], answer["status"], answer["action"]) == (0.781, "breach", "save_state_clear_resume")
        (event,) = [each for each in gate.gateway.events.recent() if each.event_type == "context_breach"]
        assert (event.data["agent"], event.data["run_id"]) == ("Manager-Data", "R-003")
        (listed,) = (await get(gate, TOKENS, "/status?agent=Manager-Data")).json["agents"]
        assert (listed["run_id"], listed["hard_max_ratio"], listed["status"]) == ("R-003", 0.75, "breach")
        assert (await get(gate, TOKENS, "/")).json["tracking"] == {
            "total_agents": 1,
            "ok": 0,
            "warning": 0,
            "breach": 1,
        }
        cleared = (await post(gate, TOKENS, "/clear?agent=Manager-Data")).json
        assert (cleared["success"], cleared["ctx_before"]) == (True, 12500)
        assert (await post(gate, TOKENS, "/clear", {"agent": "Manager-Data"})).json["ctx_before"] == 0
        gone = await post(gate, TOKENS, "/clear?agent=nobody")
        assert (gone.status, gone.error["code"]) == (404, "agent_not_found")


async def test_content_is_summed_up_by_a_model_of_this_machine_into_a_private_file(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    async with gateway(tmp_path, summaries=str(folder)) as gate:
        await post(gate, TOKENS, "/track", {"agent": "a", "ctx_used": 15000, "ctx_limit": 16000})
        said = {
            "agent": "a",
            "run_id": "../../R 1\n# x",
            "trigger_reason": "manual",
            "content_to_summarize": "we built a",
        }
        answer = (await post(gate, TOKENS, "/summarize", said)).json
        assert (answer["ctx_before"], answer["ctx_after"]) == (15000, 0)
        path = Path(answer["summary_path"])
        assert path.parent == folder
        assert path.name.startswith("R-1-x_")
        text = path.read_text()
        assert "fake: we built a" in text
        assert text.count("\n# ") == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        (row,) = await gate.rows()
        assert (row.outcome, row.worker) == ("ok", "m")
        (kept,) = (await get(gate, TOKENS, "/summaries?agent=a")).json["summaries"]
        assert (kept["summary_id"], kept["summary_path"], kept["ctx_after"]) == (answer["summary_id"], str(path), 0)
        assert (await get(gate, TOKENS, "/status")).json["agents"][0]["ctx_used"] == 0
        told = [each.data for each in gate.gateway.events.recent() if each.event_type == "context_summarized"]
        assert "we built a" not in json.dumps(told)


async def test_without_content_a_summary_says_that_there_is_none(tmp_path: Path) -> None:
    async with gateway(tmp_path, summaries=str(tmp_path / "kept")) as gate:
        await post(gate, TOKENS, "/track", {"agent": "a", "ctx_used": 5, "ctx_limit": 16})
        said = {"agent": "a", "run_id": "R-003", "trigger_reason": "hard_max_breach"}
        answer = (await post(gate, TOKENS, "/summarize", said)).json
        assert (answer["ctx_after"], answer["summary"]) == (0, None)
        assert summaries.NOTHING in Path(answer["summary_path"]).read_text()
        assert await gate.rows() == []


async def test_what_is_summed_up_never_leaves_the_machine_and_without_a_model_nothing_changes(tmp_path: Path) -> None:
    cloud = {"m": Model(backend="openai", url="https://cloud.invalid/v1", cloud=True)}
    async with gateway(tmp_path, cloud, summaries=str(tmp_path / "kept")) as gate:
        await post(gate, TOKENS, "/track", {"agent": "a", "ctx_used": 15, "ctx_limit": 16})
        said = {"agent": "a", "run_id": "r", "trigger_reason": "manual", "content_to_summarize": "secret"}
        answer = await post(gate, TOKENS, "/summarize", said)
        assert (answer.status, answer.error["code"]) == (403, "local_only")
        assert not list(tmp_path.glob("kept/*"))
        assert (await get(gate, TOKENS, "/status")).json["agents"][0]["ctx_used"] == 15


async def test_a_text_that_no_context_holds_is_read_in_halves(tmp_path: Path) -> None:
    too_long = b'{"error":{"message":"too long","code":"context_length_exceeded","type":"invalid_request_error"}}'

    async def script(peer: Any, received: Any) -> None:
        content = received.json["messages"][-1]["content"]
        await (reply(too_long, 400) if len(content) > 60 else reply())(peer, received)

    with short_folder() as short:
        async with Worker().listening(f"{short}/w.sock") as worker:
            worker.usual = script
            models = {"m": Model(backend="openai", url=worker.url)}
            async with gateway(tmp_path, models, summaries=str(tmp_path / "kept")) as gate:
                await post(gate, TOKENS, "/track", {"agent": "a", "ctx_used": 15, "ctx_limit": 16})
                said = {"agent": "a", "run_id": "r", "trigger_reason": "manual", "content_to_summarize": "line\n" * 20}
                answer = await post(gate, TOKENS, "/summarize", said)
                assert (answer.status, answer.json["summary"]) == (200, "hi")
                sent = [each.json["messages"][-1]["content"] for each in worker.requests]
                assert "".join(each for each in sent if len(each) <= 60 and "line" in each) == ("line\n" * 20).strip()


async def test_a_folder_that_cannot_be_written_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with gateway(tmp_path, summaries=str(tmp_path / "file" / "kept")) as gate:
        await post(gate, TOKENS, "/track", {"agent": "a", "ctx_used": 15, "ctx_limit": 16})
        answer = await post(gate, TOKENS, "/summarize", {"agent": "a", "run_id": "r", "trigger_reason": "manual"})
        assert (answer.status, answer.error["code"]) == (503, "store_unavailable")
        assert (await get(gate, TOKENS, "/status")).json["agents"][0]["ctx_used"] == 15


def test_only_files_of_the_folder_are_removed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "kept" / "a.md", tmp_path / "b.md"
    inside.parent.mkdir()
    for path in (inside, outside):
        path.write_text("x")
    summaries.remove(tmp_path / "kept", [str(inside), str(outside), str(tmp_path / "kept" / "gone.md")])
    assert (inside.exists(), outside.exists()) == (False, True)


@given(st.text())
def test_no_run_leads_out_of_the_folder(run: str) -> None:
    name = summaries.file_name(run)
    assert Path(name).name == name
    assert name.isascii()
    assert len(name) < 100
    assert not name.startswith(".")


async def test_the_manager_answers_as_that_of_pas(tmp_path: Path) -> None:
    wanted = {"job_id": "J-1", "agent": "t", "cpu": 4.0, "mem_mb": 8192, "gpu": 1, "gpu_mem_mb": 4096}
    async with gateway(tmp_path) as gate:
        assert (await get(gate, RESOURCES, "/health")).body == b'{"status":"ok"}'
        granted = (await post(gate, RESOURCES, "/reserve", wanted)).json
        assert granted["status"] == "granted"
        assert granted["granted"] == {name: wanted.get(name) for name in (*DEFAULTS, "ports")}
        quota = (await get(gate, RESOURCES, "/quotas")).json["quotas"]["cpu"]
        shown = {"total_capacity": 10, "allocated": 4, "reserved": 0, "available": 6, "utilization": 0.4}
        assert quota == shown
        denied = (await post(gate, RESOURCES, "/reserve", wanted | {"cpu": 100.0, "mem_mb": 999999})).json
        assert (denied["reservation_id"], denied["status"]) == (None, "denied")
        assert denied["reason"] == "Insufficient cpu: requested 100, available 6"
        (active,) = (await get(gate, RESOURCES, "/reservations?status=active")).json["reservations"]
        assert (active["job_id"], active["resources"]["mem_mb"]) == ("J-1", 8192)
        released = (await post(gate, RESOURCES, "/release", {"reservation_id": granted["reservation_id"]})).json
        assert (released["success"], released["released"]["cpu"]) == (True, 4)
        updated = (await post(gate, RESOURCES, "/quotas/update", {"resource_type": "cpu", "new_capacity": 2.5})).json
        assert (updated["old_capacity"], updated["new_capacity"]) == (10, 2.5)
        assert (await get(gate, RESOURCES, "/")).json["quotas"]["cpu"]["available"] == 2.5
        told = [each.event_type for each in gate.gateway.events.recent()]
        assert told[-4:] == ["resources_reserved", "resources_denied", "resources_released", "quota_updated"]


async def test_what_was_said_survives_the_end_of_the_gateway(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        await post(gate, TOKENS, "/track", {"agent": "a", "ctx_used": 15, "ctx_limit": 16})
        await post(gate, RESOURCES, "/reserve", {"job_id": "j", "agent": "a", "cpu": 9, "ports": [8080]})
    async with gateway(tmp_path) as gate:
        assert (await get(gate, TOKENS, "/status")).json["agents"][0]["status"] == "breach"
        denied = (await post(gate, RESOURCES, "/reserve", {"job_id": "k", "agent": "b", "cpu": 2})).json
        assert denied["status"] == "denied"
        assert (await post(gate, RESOURCES, "/kill", {"job_id": "j"})).json["killed_reservations"] == 1


TRACKS = {"agent": "a", "ctx_used": 1, "ctx_limit": 2}
RESERVES = {"job_id": "j", "agent": "a"}
BAD: list[tuple[str, str, Any, int]] = [
    (TOKENS, "/track", {}, 422),
    (TOKENS, "/track", TRACKS | {"agent": ""}, 422),
    (TOKENS, "/track", TRACKS | {"agent": "x" * 201}, 422),
    (TOKENS, "/track", TRACKS | {"agent": "a\0"}, 422),
    (TOKENS, "/track", TRACKS | {"ctx_used": -1}, 422),
    (TOKENS, "/track", TRACKS | {"ctx_used": 1.5}, 422),
    (TOKENS, "/track", TRACKS | {"ctx_used": "1"}, 422),
    (TOKENS, "/track", TRACKS | {"ctx_used": 2**70}, 422),
    (TOKENS, "/track", TRACKS | {"ctx_limit": 0}, 422),
    (TOKENS, "/track", TRACKS | {"target_ratio": 1.1}, 422),
    (TOKENS, "/track", TRACKS | {"target_ratio": 0.9}, 422),
    (TOKENS, "/track", b"{", 400),
    (TOKENS, "/track", b"[]", 422),
    (TOKENS, "/track", b'{"agent":"a","ctx_used":NaN,"ctx_limit":1}', 400),
    (TOKENS, "/summarize", {"agent": "a", "run_id": "r", "trigger_reason": "why not"}, 422),
    (TOKENS, "/summarize", {"agent": "nobody", "run_id": "r", "trigger_reason": "manual"}, 404),
    (TOKENS, "/clear", {}, 422),
    (RESOURCES, "/reserve", {}, 422),
    (RESOURCES, "/reserve", RESERVES | {"cpu": -1}, 422),
    (RESOURCES, "/reserve", RESERVES | {"cpu": "4"}, 422),
    (RESOURCES, "/reserve", RESERVES | {"mem_mb": 1e300}, 422),
    (RESOURCES, "/reserve", RESERVES | {"ports": [0]}, 422),
    (RESOURCES, "/reserve", RESERVES | {"ports": [1] * 101}, 422),
    (RESOURCES, "/reserve", RESERVES | {"ttl_s": 0}, 422),
    (RESOURCES, "/release", {}, 400),
    (RESOURCES, "/release", {"reservation_id": "nothing"}, 404),
    (RESOURCES, "/kill", {"job_id": "nothing"}, 404),
    (RESOURCES, "/quotas/update", {"resource_type": "ports", "new_capacity": 1}, 422),
    (RESOURCES, "/quotas/update", {"resource_type": "cpu", "new_capacity": -1}, 422),
]


async def test_bad_input_is_told_what_is_wrong_and_changes_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        for listener, path, body, status in BAD:
            answer = await post(gate, listener, path, body)
            assert (answer.status, bool(answer.error["message"])) == (status, True), (path, body, answer.body)
        form = request(b"a=b", path="/reserve").replace(b"application/json", b"text/plain")
        assert (await gate.ask(form, RESOURCES)).status == 415
        assert (
            await gate.ask(request(path="/clear?agent=a", head="Content-Type: text/plain\r\n"), TOKENS)
        ).status == 415
        assert (await get(gate, RESOURCES, "/reservations?status=none")).status == 422
        assert (await get(gate, RESOURCES, "/reservations?limit=-1")).status == 400
        assert (await get(gate, TOKENS, "/status")).json == {"agents": []}
        assert (await get(gate, RESOURCES, "/reservations")).json == {"reservations": []}
        assert (await get(gate, RESOURCES, "/v1/models")).status == 404
