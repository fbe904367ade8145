"""`/v1/avatars`: making by jobs, looking, releasing, forgetting; and who may."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway import Answer, Gate, config, on_uvloop, request, running_gateway, short_folder, until
from released import released, verdict

from rolecast.avatars import order as orders
from rolecast.avatars.conversation import Message, Person, Wanted
from rolecast.avatars.kept import Kept
from rolecast.avatars.places import Place
from rolecast.config.schema import Model
from rolecast.server import scopes

pytestmark = [pytest.mark.anyio]
anyio_backend = on_uvloop


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[tuple[Gate, Path]]:
    with short_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROLECAST_HOME", folder)
        patch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{Path(orders.__file__).parents[2]}")
        patch.setattr(orders, "MODULE", "avatar_steps")
        released(Path(folder) / "avatars", "mira", seed=1, people=("p1", "p2"))
        async with running_gateway(config({"m": Model(backend="fake")}), Path(folder)) as gate:
            yield gate, Path(folder) / "avatars"


@pytest.fixture
async def both() -> AsyncIterator[tuple[Gate, Path]]:
    async with running() as found:
        yield found


SCRATCH = {"training": {"method": "scratch"}}
"""A model that needs no base."""


async def get(front: Gate, path: str) -> Answer:
    return await front.ask(request(path=path, method="GET"), method="GET")


async def post(front: Gate, path: str, **body: Any) -> Answer:
    return await front.ask(request(body, path=path))


def told(front: Gate) -> list[str]:
    return [each.event_type for each in front.gateway.events.recent() if each.event_type.startswith("avatar_")]


async def over(front: Gate, job_id: str) -> Any:
    async with asyncio.timeout(60):
        async for job in front.gateway.jobs.follow(job_id):
            found = job
    return found


async def test_without_its_base_an_avatar_is_not_begun_and_the_next_step_is_told(both):
    front, _ = both
    made = await post(front, "/v1/avatars", person="Vera Quist")
    job = await over(front, made.json["id"])
    assert job.state == "failed"
    assert "rolecast pull smollm2-135m" in job.error


async def test_an_order_does_not_say_to_whom_a_password_is_sent(both, monkeypatch):
    front, _ = both
    monkeypatch.setenv("NEO4J_URI", "bolt://127.0.0.1:1")
    monkeypatch.setenv("NEO4J_PASSWORD", "a secret")
    for address, state in (("bolt://elsewhere.example", "failed"), ("bolt://127.0.0.1:1", "done")):
        settings = {**SCRATCH, "extraction": {"neo4j": address}}
        made = await post(front, "/v1/avatars", person="Vera Quist", settings=settings)
        job = await over(front, made.json["id"])
        assert (job.state, "NEO4J_URI alone" in job.error) == (state, state == "failed")


async def test_avatars_are_made_by_a_job_and_answer_as_soon_as_they_are_released(both):
    front, _ = both
    made = await post(front, "/v1/avatars", person="Jonas Reed", settings=SCRATCH)
    assert made.status == 202, made.body
    assert (made.json["kind"], made.json["subject"]) == ("avatar", "jonas_reed")
    job = await over(front, made.json["id"])
    assert (job.state, job.result) == ("done", "version 1"), job.error
    assert "avatar/jonas_reed" in front.gateway.current.names
    shown = (await get(front, "/v1/avatars/jonas_reed")).json
    assert (shown["model"], shown["current"], shown["job"]["state"]) == ("avatar/jonas_reed", 1, "done")
    assert told(front) == ["avatar_ordered"]


async def test_an_order_that_fails_says_why_and_nothing_is_released(both):
    front, root = both
    made = await post(front, "/v1/avatars", person="Nobody", steps=["extract"])
    job = await over(front, made.json["id"])
    assert (job.state, job.error) == ("failed", "There is nobody of that name.")
    assert not (root / "nobody" / "avatar.json").exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"person": ""}, 422),
        ({"person": "x", "steps": []}, 422),
        ({"person": "x", "steps": ["steal"]}, 400),
        ({"person": "x", "name": "../x"}, 422),
        ({"person": "x", "settings": {"training": {"epochs": 0}}}, 400),
        *(({"person": "x", "settings": {"training": {name: 10**30}}}, 400) for name in ("epochs", "width", "seed")),
        ({"person": "x", "settings": {"extraction": {"neo4j": "bolt://" + "h" * 2000}}}, 400),
        ({"person": "x" * 2000}, 400),
        ({"person": "x", "unknown": 1}, 400),
        ({}, 400),
    ],
)
async def test_an_order_that_cannot_be_is_refused_with_a_reason(both, body, status):
    front, _ = both
    answer = await post(front, "/v1/avatars", **body)
    assert (answer.status, bool(answer.error["message"])) == (status, True)
    assert not [job for job in front.gateway.jobs.all() if job.kind == "avatar"]


async def test_the_list_shows_who_answers_and_the_report_does_nothing_but_show(both):
    front, root = both
    released(root, "mira", seed=2, share=0.5)
    (mira,) = (await get(front, "/v1/avatars")).json["avatars"]
    assert (mira["current"], mira["canary"], mira["share"]) == (1, 2, 0.5)
    assert [each["number"] for each in mira["versions"]] == [1, 2]
    assert (await get(front, "/v1/avatars/mira/report")).json["passed"] is True
    page = await get(front, "/v1/avatars/mira/report.html?version=2")
    assert page.body == b"<h1>Report</h1>"
    assert "sandbox" in (page.header("content-security-policy") or "")
    assert (await get(front, "/v1/avatars/mira/report?version=9")).status == 404
    assert (await get(front, "/v1/avatars/nobody")).status == 404
    assert (await get(front, "/v1/avatars/nobody/report")).status == 404


async def test_what_the_gate_refused_is_listed_and_its_report_is_shown(both):
    front, root = both
    place = Place("vera", root)
    verdict(place, passed=False)
    (place.work / "people.json").write_text("{}")
    _, vera = (await get(front, "/v1/avatars")).json["avatars"]
    assert (vera["name"], vera["current"], vera["judged"]) == ("vera", 0, False)
    assert (await get(front, "/v1/avatars/vera")).json == vera
    assert (await get(front, "/v1/avatars/vera/report")).json["passed"] is False
    assert (await get(front, "/v1/avatars/vera/report.html?version=0")).status == 200
    assert (await get(front, "/v1/avatars/vera/report?version=1")).status == 404
    assert (await get(front, "/v1/avatars/..%2f..")).status in (404, 422)


async def test_release_way_back_share_and_end_are_told(both):
    front, root = both
    released(root, "mira", seed=2, share=0.5)
    assert (await post(front, "/v1/avatars/mira/release")).json["current"] == 2
    assert (await post(front, "/v1/avatars/mira/rollback")).json["current"] == 1
    assert (await post(front, "/v1/avatars/mira/share", share=0.2)).json["canary"] == 2
    assert (await post(front, "/v1/avatars/mira/share", share=2)).status == 422
    assert (await post(front, "/v1/avatars/mira/release", version=7)).status == 422
    gone = await front.ask(request(path="/v1/avatars/mira", method="DELETE"))
    assert gone.json == {"name": "mira", "status": "withdrawn"}
    assert "avatar/mira" not in front.gateway.current.names
    assert (await post(front, "/v1/avatars/mira/rollback")).status == 409
    assert told(front) == ["avatar_released", "avatar_rolled_back", "avatar_shared", "avatar_withdrawn"]


async def test_a_person_is_forgotten_at_once(both):
    front, root = both
    released(root, "ada", seed=3, people=("p7",))
    await until(lambda: "avatar/ada" in front.gateway.current.names, "the release was noticed")
    kept = Kept(front.gateway.store)
    said = [Message(f"m{n}", "c", person, "hi") for n, person in enumerate(("p2", "p2", "p9"))]
    await kept.add([Person("p2", "Jo"), Person("p9", "Kim"), *said])
    found = (await post(front, "/v1/avatars/forget", person="p2")).json
    assert found["messages"] == 2
    assert {each.person async for each in kept.messages(Wanted())} == {"p9"}
    stays = (await post(front, "/v1/avatars/forget", person="Kim", keep_messages=True)).json
    assert (stays["messages"], stays["withdrawn"]) == (0, [])
    assert [each["avatar"] for each in found["withdrawn"]] == ["mira"]
    assert found["retrain"] == ["mira"]
    assert [each["avatar"] for each in found["never_saw"]] == ["ada"]
    assert "avatar/mira" not in front.gateway.current.names
    assert "avatar/ada" in front.gateway.current.names
    assert (await post(front, "/v1/avatars/forget", person="nobody")).status == 404
    assert (await post(front, "/v1/avatars/forget", person=" ")).status == 422


async def test_an_avatar_is_registered_as_a_service_by_its_plain_name(both):
    front, _ = both
    registry = front.gateway.registry
    await registry.settled()
    found = {each.name: each for each in registry}
    assert found["avatar/mira"].labels["version"] == "avatar/mira@1"
    assert "avatar" in found["avatar/mira"].caps
    assert not [name for name in found if name.startswith("avatar-base/") or "@" in name]


def test_all_of_it_is_an_admins():
    for method, path in (("GET", "/v1/avatars"), ("POST", "/v1/avatars"), ("GET", "/v1/avatars/{name}/report")):
        assert scopes.needed(method, path) == "admin"
