"""Every other way out, and who may be asked as things are."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway import (
    Gate,
    ScriptedWorker,
    chat,
    config,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
)
from msgspec.structs import replace

from rolecast.backends import reach
from rolecast.config.edit import edit_to
from rolecast.config.egress import Egress
from rolecast.config.routing import Routing, Rule, When
from rolecast.config.schema import Model
from rolecast.dialects.request import Request
from rolecast.egress.departure import Departures
from rolecast.errors import StaysHere
from rolecast.net import probe
from rolecast.net.pool import Pool
from rolecast.turn import departure, keeping
from rolecast.turn.departure import Parcel
from rolecast.turn.gate import LOCAL
from rolecast.values import Caller, Endpoint, Rights

anyio_backend = on_uvloop
pytestmark = pytest.mark.anyio

MAIL = "ann@example.org"
CLOUD = Model(backend="openai", url="https://api.example.com/v1")


def parcel(body: bytes, **fields: Any) -> Parcel:
    return Parcel("request", "cloud", "openai", "api.example.com:443", "/v1/x", body, **fields)


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    async with ScriptedWorker().listening() as worker:
        kinds = ["chat", "completion", "images", "speech", "transcription"]
        models = {"m": remote(worker.url, cloud=True, capabilities=kinds)}
        rules = [Rule(local_only=True, when=When(matches="diagnosis"))]
        routing = Routing(rules=rules, strategies=["explicit", "rules"])
        roles = {"standard": ["m"], "image_generation": ["m"], "coding": ["m"]}
        with short_folder() as folder:
            whole = replace(config(models), routing=routing, roles=roles)
            async with running_gateway(whole, Path(folder)) as gate:
                yield gate, worker


@pytest.fixture
def departures(front: Gate) -> Departures:
    return front.gateway.departures


async def test_a_pool_that_leads_elsewhere_takes_nothing_that_was_not_seen_off() -> None:
    pool = Pool(Endpoint(host="192.0.2.77", port=9))
    with pytest.raises(StaysHere):
        await probe.fetch(pool, "POST", "/v1/x", {"a": 1})
    assert not pool.open
    assert not Pool(Endpoint(host="127.0.0.1", port=9)).leaves
    assert Pool(Endpoint(host="127.0.0.1", port=9), leaves=True).leaves


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/code/generation", {"prompt": "a function for the diagnosis"}),
        ("/generate", {"prompt": "a picture of a diagnosis", "category": "image_generation"}),
        ("/v1/chat/completions", chat("my diagnosis", n=2)),
        ("/v1/chat/completions", chat("x", session_id="s1", metadata={"local_only": "yes"})),
        ("/v1/responses", {"model": "m", "input": "my diagnosis"}),
        ("/summarize", {"prompt": "my diagnosis " * 30}),
    ],
)
async def test_parts_of_a_request_stay_where_the_whole_must(
    front: Gate, worker: ScriptedWorker, path: str, body: dict[str, Any]
) -> None:
    for head in ("", "x-rolecast-local-only: 1\r\n"):
        answer = await front.ask(request(body, path=path, head=head))
        assert answer.status in (403, 404), answer.body
    assert not worker.requests


async def test_an_image_is_asked_for_without_what_is_private(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = reply(b'{"data":[{"url":"https://x.example/i.png"}]}')
    answer = await front.ask(
        request({"prompt": f"a card for {MAIL}", "category": "image_generation"}, path="/generate")
    )
    assert answer.status == 200
    (received,) = worker.requests
    assert MAIL.encode() not in received.body
    entry = (await front.ask(request(path="/admin/egress?limit=1", method="GET"))).json["entries"][0]
    assert (entry["kind"], json.loads(entry["replaced"])) == ("images", {"emails": 1})


async def test_speech_is_asked_for_without_what_is_private(front: Gate, worker: ScriptedWorker) -> None:
    worker.usual = reply(b"RIFF", kind=b"audio/wav")
    answer = await front.ask(request({"model": "m", "input": f"write {MAIL}", "voice": "a"}, path="/v1/audio/speech"))
    assert answer.body == b"RIFF"
    assert MAIL.encode() not in worker.requests[-1].body


async def test_a_word_that_is_neither_yes_nor_no_is_refused(front: Gate, worker: ScriptedWorker) -> None:
    answer = await front.ask(request(chat(), head="x-rolecast-local-only: maybe\r\n"))
    assert (answer.status, answer.error["param"]) == (400, "x-rolecast-local-only")
    assert not worker.requests


async def test_a_key_may_be_held_here_or_asked_as_it_is(departures: Departures) -> None:
    body = json.dumps({"content": MAIL}).encode()
    see_off = departure.see_off
    for caller in (Caller(local_only=True), Caller(rights=Rights("k", local_only=True))):
        with pytest.raises(StaysHere):
            await see_off(departures, frozenset(), caller, CLOUD, parcel(body))
    with pytest.raises(StaysHere, match="Here a, b would do"):
        await see_off(departures, frozenset({LOCAL}), Caller(), CLOUD, parcel(body), ["a", "b"])
    raw = await see_off(departures, frozenset(), Caller(rights=Rights("k", raw=True)), CLOUD, parcel(body))
    assert raw.body == body
    covered = await see_off(departures, frozenset(), Caller(), CLOUD, parcel(body))
    assert list(covered.values.values()) == [MAIL]
    near = replace(CLOUD, url="http://192.168.1.9/v1")
    assert (await see_off(departures, frozenset(), Caller(), near, parcel(body))).body == body


async def test_what_cannot_be_searched_goes_as_it_is_or_not_at_all(front: Gate, departures: Departures) -> None:
    form = parcel(b"--x\r\n...", content_type=b"multipart/form-data; boundary=x", redacts=True)
    numbers = parcel(b'{"prompt":[1,2,3,4,5]}', redacts=True)
    for each in (form, numbers):
        assert (await departures.leave(each)).body == each.body
    current = front.gateway.current.config
    for media in ("refuse", "allow"):
        edited = replace(current, egress=Egress(media=media))  # type: ignore[arg-type]
        (await departures.prepare(edit_to(edited, {}))).commit()
        for each in (form, numbers) if media == "refuse" else ():
            with pytest.raises(StaysHere) as refused:
                await departures.leave(each)
            assert refused.value.code == "unreadable_media"


async def test_an_edit_brings_other_names(front: Gate, departures: Departures) -> None:
    body = b'{"content":"for Bartholomew"}'
    assert (await departures.leave(parcel(body, redacts=True))).body == body
    edited = replace(front.gateway.current.config, egress=Egress(names=["Bartholomew"]))
    (await departures.prepare(edit_to(edited, {}))).commit()
    assert b"Bartholomew" not in (await departures.leave(parcel(body, redacts=True))).body
    (await departures.prepare(edit_to(front.gateway.current.config, {}))).commit()


@pytest.mark.parametrize(
    ("body", "stays"),
    [
        (b'{"metadata":{"local_only":true}}', True),
        (b'{"metadata":{"local_only":"True"}}', True),
        (b'{"extra_body":{"metadata":{"local_only":1}}}', True),
        (b'{"metadata":{"local_only":false}}', False),
        (b'{"messages":[{"content":"local_only"}]}', False),
        (b'{"metadata":"local_only"}', False),
        (b'{"metadata":{"local_only":[{}]}}', False),
        (b"local_only", False),
    ],
)
def test_what_a_body_says_of_itself(body: bytes, stays: bool) -> None:
    assert keeping.says_so(body) is stays


def test_a_part_inherits_what_comes_from_who_asks_and_nothing_else() -> None:
    whole = Request("chat", b"", "m", False, b"", frozenset({LOCAL, "vision", "key:7"}))
    part = Request("chat", b"", "m", False, b"", frozenset({"tools"}))
    departure.inherited(part, whole)
    departure.inherited(part, None)
    assert part.needs == {LOCAL, "key:7", "tools"}


def test_a_server_on_loopback_that_is_a_cloud_counts_as_one() -> None:
    model = Model(backend="openai", url="http://127.0.0.1:4000/v1", cloud=True)
    assert reach.leaves(model)
    assert reach.is_cloud(model)
    for host, cloud in (("134744072", True), ("0x08080808", True), ("8.8.2056", True), ("10.1", False), ("3d", False)):
        assert reach.is_cloud(replace(model, url=f"http://{host}:80/v1", cloud=None)) is cloud
    started = Model(backend="command", command=["x"], url="http://192.0.2.9:1/v1")
    assert reach.leaves(started)
    assert not reach.leaves(replace(started, url="/v1"))
