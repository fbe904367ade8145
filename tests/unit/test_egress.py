"""What leaves this machine: nothing that must stay, nothing private, and nothing that is not written down."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway import (
    CHAT,
    DONE,
    Gate,
    ScriptedWorker,
    chat,
    clean,
    config,
    delta,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    stream,
)
from msgspec.structs import replace

from rolecast.config.egress import Egress
from rolecast.config.routing import Routing, Rule, When
from rolecast.egress import chain
from rolecast.egress.ledger import everything

anyio_backend = on_uvloop
pytestmark = pytest.mark.anyio

NAME, MAIL = "Zoë Ångström", "zoe@example.org"


class Both:
    """A gateway with the cloud `cloud` and the local model `here`, and who plays them."""

    def __init__(self, gate: Gate, cloud: ScriptedWorker, here: ScriptedWorker) -> None:
        self.gate, self.cloud, self.here = gate, cloud, here

    async def entries(self) -> list[chain.Entry]:
        return await everything(self.gate.gateway.store)


@pytest.fixture(scope="module")
async def made() -> AsyncIterator[Both]:
    with short_folder() as folder:
        async with (
            ScriptedWorker().listening() as cloud,
            ScriptedWorker().listening(f"{folder}/h.sock") as here,
        ):
            models = {
                "cloud": remote(
                    cloud.url, cloud=True, key="sekret-key", capabilities=["chat", "completion", "embeddings"]
                ),
                "here": remote(here.url),
            }
            rules = [Rule(local_only=True, when=When(matches="(?i)diagnosis"))]
            whole = replace(
                config(models),
                egress=Egress(names=[NAME]),
                roles={"standard": ["cloud", "here"], "away": ["cloud"]},
                routing=Routing(rules=rules, strategies=["explicit", "rules"]),
            )
            async with running_gateway(whole, Path(folder)) as gate:
                yield Both(gate, cloud, here)


@pytest.fixture
def both(made: Both, caplog: pytest.LogCaptureFixture) -> Any:
    made.here.reset()
    with clean(made.cloud, caplog):
        yield made


def said(text: str) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}).encode()


async def test_private_things_are_replaced_and_restored(both: Both) -> None:
    tokens: list[str] = []

    async def echo(peer: Any, received: Any) -> None:
        text = received.json["messages"][0]["content"]
        tokens.append(text)
        await reply(said(f"You said: {text}"))(peer, received)

    both.cloud.usual = echo
    asked = f"Write to {MAIL} for {NAME}, card 4111 1111 1111 1111"
    answer = await both.gate.ask(request(chat(asked, "cloud")))
    assert answer.json["choices"][0]["message"]["content"] == f"You said: {asked}"
    assert not any(value in tokens[0] for value in (MAIL, NAME, "4111"))
    entry = (await both.entries())[-1]
    assert json.loads(entry.replaced) == {"cards": 1, "emails": 1, "names": 1}
    assert (entry.host, entry.bytes) == (both.cloud.url.split("/")[2], len(both.cloud.requests[-1].body))


async def test_a_request_with_nothing_private_passes_byte_for_byte(both: Both) -> None:
    body = json.dumps(chat("hello", "cloud"), indent=3).encode()
    await both.gate.ask(request(body))
    assert both.cloud.requests[-1].body == body


async def test_streams_are_restored_wherever_a_token_is_cut(both: Both) -> None:
    async def spell(peer: Any, received: Any) -> None:
        text = received.json["messages"][0]["content"]
        await stream(*map(delta, text), DONE)(peer, received)

    both.cloud.usual = spell
    answer = await both.gate.ask(request(chat(f"to {MAIL}!", "cloud", stream=True)))
    events = [json.loads(line[6:]) for line in answer.body.decode().split("\n\n") if line.startswith("data: {")]
    text = "".join(e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"])
    assert text == f"to {MAIL}!"
    assert MAIL.encode() not in both.cloud.requests[-1].body


@pytest.mark.parametrize(
    ("head", "fields", "text"),
    [
        ("x-rolecast-local-only: true\r\n", {}, "hello"),
        ("", {"metadata": {"local_only": True}}, "hello"),
        ("", {}, "my Diagnosis is"),
    ],
)
async def test_what_must_stay_never_leaves(both: Both, head: str, fields: dict[str, Any], text: str) -> None:
    for model in ("cloud", "away"):
        answer = await both.gate.ask(request(chat(text, model, **fields), head=head))
        assert (answer.status, answer.error["code"]) == (403, "local_only")
        assert "here" in answer.error["message"]
    for model in ("standard", "auto"):
        answer = await both.gate.ask(request(chat(text, model, **fields), head=head))
        assert answer.status == 200
        assert answer.header("x-rolecast-model") == "here"
    assert not both.cloud.requests


async def test_a_body_that_cannot_be_searched_is_answered_here(
    both: Both, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: object, text: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("rolecast.privacy.finder.Finder.find", broken)
    answer = await both.gate.ask(request(chat("hello", "standard")))
    assert (answer.status, answer.header("x-rolecast-model")) == (200, "here")
    answer = await both.gate.ask(request(chat("hello", "cloud")))
    assert (answer.status, answer.error["code"]) == (403, "cannot_redact")
    assert not both.cloud.requests
    caplog.clear()


async def test_embeddings_are_redacted(both: Both) -> None:
    both.cloud.usual = reply(b'{"data":[{"index":0,"embedding":[0.5]}],"usage":{"prompt_tokens":1,"total_tokens":1}}')
    answer = await both.gate.ask(request({"model": "cloud", "input": [f"{MAIL} says"]}, path="/v1/embeddings"))
    assert answer.json["data"][0]["embedding"] == [0.5]
    assert MAIL.encode() not in both.cloud.requests[-1].body


async def test_all_that_left_is_one_chain(both: Both) -> None:
    await both.gate.ask(request(chat("hello", "cloud")))
    entries = await both.entries()
    assert chain.check(entries)[0] == []
    assert CHAT.endswith(entries[-1].path.removeprefix("/v1"))
