"""A client that leaves frees the engine: asserted on the slots of the real engine itself, in every dialect.

The answer is bound by a schema to go on for `LEAST` tokens at the least, so an engine that falls silent before has
been stopped. What the gateway believes is not asked here, but for the books.
"""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
from dialect_forms import FORMS, Form, Question
from live_gateway import DEADLINE_S, LiveGateway, until

pytestmark = pytest.mark.real

MODEL = "smollm2-135m"
LEAST = 400
ONES = {"type": "array", "items": {"enum": [1, 2]}, "minItems": LEAST}
"""Each item is a token or more."""
TOGETHER = [FORMS[at : at + 3] for at in range(0, len(FORMS), 3)]
"""The engine has four slots, and one of them goes on."""
SOON = 60
"""Tokens that an engine may make for a client that has left: what passes until it is told, and until we have seen that
it was. Far fewer than `LEAST`."""
SCHEMA = {"type": "object", "properties": {"n": ONES}, "required": ["n"], "additionalProperties": False}


@pytest.fixture(scope="module")
def engine(gateway: LiveGateway) -> Iterator[httpx2.Client]:
    """A client of the worker's own socket."""
    process = psutil.Process(gateway.model(MODEL)["pid"])
    (path,) = {c.laddr for c in process.net_connections("unix") if str(c.laddr).endswith(".sock")}
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=path), base_url="http://worker") as client:
        yield client


def working(engine: httpx2.Client) -> dict[int, int]:
    """How many tokens each slot that works has made."""
    slots: list[Any] = engine.get("/slots").json()
    return {slot["id"]: slot["next_token"][0]["n_decoded"] for slot in slots if slot["is_processing"]}


def busy(engine: httpx2.Client) -> list[int]:
    """The same, whichever slots they are."""
    return list(working(engine).values())


def send(gateway: LiveGateway, form: Form, stream: bool, name: str) -> http.client.HTTPConnection:
    """A question whose answer is long, on a connection of its own."""
    address = urlsplit(gateway.port(form.port) if form.port else gateway.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    body = json.dumps(form.body(Question("Write numbers.", 900, stream, SCHEMA)))
    headers = {"content-type": "application/json", "authorization": f"Bearer {gateway.key}", "x-request-id": name}
    connection.request("POST", form.path, body, headers)
    return connection


def outcomes(gateway: LiveGateway, name: str) -> list[tuple[Any, ...]]:
    """What the books have of the requests that their client called so."""
    return [row[1:] for row in gateway.rows("client_id, outcome, stream") if row[0] == name]


def most_until_idle(engine: httpx2.Client) -> int:
    """The most tokens that a slot was seen to have made before all are free."""
    most = 0
    end = time.monotonic() + DEADLINE_S
    while made := busy(engine):
        most = max(most, *made)
        assert time.monotonic() < end, f"still busy after {DEADLINE_S:g} s, with {most} tokens"
        time.sleep(0.01)
    return most


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_client_that_leaves_a_stream_stops_the_engine(
    gateway: LiveGateway, engine: httpx2.Client, form: Form
) -> None:
    until(lambda: not busy(engine), "the engine is idle")
    name = f"left-{FORMS.index(form)}"
    connection = send(gateway, form, True, name)
    try:
        response = connection.getresponse()
        assert response.status == 200
        assert response.read1(1)
        assert busy(engine)
        response.close()
    finally:
        connection.close()
    assert most_until_idle(engine) < LEAST, "the engine went on to the end of the answer"
    assert until(lambda: outcomes(gateway, name), "the books have it") == [("cancelled", True)]


@pytest.mark.parametrize("forms", TOGETHER, ids=lambda forms: ", ".join(form.name for form in forms))
def test_clients_that_leave_before_their_whole_answer_stop_the_engine_while_it_answers_others(
    gateway: LiveGateway, engine: httpx2.Client, forms: tuple[Form, ...]
) -> None:
    until(lambda: not busy(engine), "the engine is idle")
    name = f"left-whole-{FORMS.index(forms[0])}"
    other = gateway.stream(MODEL, "Tell me a story.", max_tokens=900, ignore_eos=True)
    with other, ExitStack() as stack:
        assert other.event()
        (stays,) = working(engine)
        for form in forms:
            stack.callback(send(gateway, form, False, name).close)
        until(lambda: len([made for made in busy(engine) if made]) == len(forms) + 1, "all slots make tokens")
        at_leaving = working(engine)
        stack.close()
        made = at_leaving
        # Measured in tokens of the stream that goes on, which gets one whenever the others would.
        while len(made) > 1:
            gone_on = made[stays] - at_leaving[stays]
            assert gone_on < SOON, f"{gone_on} tokens after their clients left, slots still work: {made}"
            made = working(engine)
        assert stays in made, "the stream that nobody left was not ended"
        assert made[stays] < LEAST
    until(lambda: not busy(engine), "the engine is idle")
    until(lambda: outcomes(gateway, name) == [("cancelled", False)] * len(forms), "the books have them")
