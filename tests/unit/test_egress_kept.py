"""What was said under `local-only` stays here in later turns, too: of sessions, their summaries, and kept answers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway import (
    Answer,
    ScriptedWorker,
    chat,
    config,
    on_uvloop,
    remote,
    request,
    running_gateway,
    short_folder,
    until,
)
from msgspec.structs import replace
from test_egress import Both
from test_sessions import echo

from rolecast.books import sessions as books
from rolecast.config.routing import Routing, Rule, When
from rolecast.config.tasks import Sessions

anyio_backend = on_uvloop
pytestmark = pytest.mark.anyio

MARK = "x-rolecast-local-only: true\r\n"
SAID = "the wedding is a secret"


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    with short_folder() as folder:
        async with ScriptedWorker().listening() as cloud, ScriptedWorker().listening(f"{folder}/h.sock") as here:
            cloud.usual = here.usual = echo
            models = {"cloud": remote(cloud.url, cloud=True, context=600), "here": remote(here.url)}
            rules = [Rule(local_only=True, when=When(matches="(?i)wedding"))]
            whole = replace(
                config(models),
                roles={"standard": ["cloud", "here"], "general_reasoning": ["cloud", "here"]},
                routing=Routing(rules=rules, strategies=["explicit", "rules"], default="standard"),
                sessions=Sessions(overflow="summarize", budget=0.5),
            )
            async with running_gateway(whole, Path(folder)) as gate:
                yield Both(gate, cloud, here)


async def ask(both: Both, text: str, model: str = "standard", head: str = "", **fields: Any) -> Answer:
    return await both.gate.ask(request(chat(text, model, session_id="s", **fields), head=head))


@pytest.mark.parametrize(
    ("head", "fields", "text"),
    [
        (MARK, {}, "our secret"),
        ("", {"metadata": {"local_only": True}}, "our secret"),
        ("", {}, "the wedding is our secret"),
    ],
)
async def test_a_later_turn_is_told_only_here_what_was_said_here(
    both: Both, head: str, fields: dict[str, Any], text: str
) -> None:
    assert (await ask(both, "hello")).header("x-rolecast-model") == "cloud"
    assert (await ask(both, text, head=head, **fields)).header("x-rolecast-model") == "here"
    for _ in range(2):
        assert (await ask(both, "and now?")).header("x-rolecast-model") == "here"
    refused = await ask(both, "and now?", "cloud")
    assert (refused.status, refused.error["code"]) == (403, "local_only")
    other = await both.gate.ask(request({"prompt": "x", "session_id": "s"}, path="/reasoning/general"))
    assert other.status in (200, 404)
    assert not any(b"secret" in each.body for each in both.cloud.requests)
    await both.gate.ask(b"DELETE /sessions/s HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
    assert (await ask(both, "a new start")).header("x-rolecast-model") == "cloud"


async def test_a_task_in_the_same_session_stays_too(both: Both) -> None:
    await ask(both, SAID, head=MARK)
    body = {"prompt": "Say it again", "session_id": "s", "category": "general_reasoning"}
    answer = await both.gate.ask(request(body, path="/generate"))
    assert answer.status == 200
    assert not both.cloud.requests


async def test_a_summary_of_it_is_made_here_and_stays(both: Both) -> None:
    store = both.gate.gateway.store
    await ask(both, f"{SAID} " * 20, head=MARK)
    assert await books.head(store, "", "s") is not None
    await books.summarize(store, "", "s", "a secret wedding", 1, stays=True)
    head = await books.head(store, "", "s")
    assert head is not None
    assert (head.stays, head.summarized) == (True, 1)
    assert (await ask(both, "so?")).header("x-rolecast-model") == "here"
    await until(lambda: not both.gate.gateway.sessions._running)
    assert not both.cloud.requests
    await books.clear(store, "", "s")
    head = await books.head(store, "", "s")
    assert head is not None
    assert not head.stays


async def test_who_goes_on_from_a_kept_answer_is_held_to_what_it_was(both: Both) -> None:
    async def respond(text: str, head: str = "", **fields: Any) -> Answer:
        body = {"model": "standard", "input": text, **fields}
        return await both.gate.ask(request(body, path="/v1/responses", head=head))

    first = await respond("hello")
    second = await respond("our secret", MARK, previous_response_id=first.json["id"])
    third = await respond("and now?", previous_response_id=second.json["id"])
    fourth = await respond("and now?", previous_response_id=third.json["id"])
    taken = await respond("", input=[{"type": "item_reference", "id": second.json["output"][0]["id"]}])
    assert [each.header("x-rolecast-model") for each in (first, second, third, fourth)] == ["cloud", *["here"] * 3]
    refused = await respond("and now?", model="cloud", previous_response_id=third.json["id"])
    assert (refused.status, refused.error["code"]) == (403, "local_only")
    assert (taken.status, taken.header("x-rolecast-model")) == (200, "here")
    assert (await respond("x", previous_response_id=first.json["id"])).header("x-rolecast-model") == "cloud"
    assert not any(b"secret" in each.body for each in both.cloud.requests)
