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
TOGETHER = [FORMS[at : at + 4] for at in range(0, len(FORMS), 4)]
"""The engine has four slots."""
ENGINE_LOOKS_S = 1.2
"""While a whole answer is made, the engine looks for its client only when nothing else is finished for a second, and a
look at its slots is something. So who looks more often than that is shown an engine that never stops."""
SCHEMA = {"type": "object", "properties": {"n": ONES}, "required": ["n"], "additionalProperties": False}


@pytest.fixture(scope="module")
def engine(gateway: LiveGateway) -> Iterator[httpx2.Client]:
    """A client of the worker's own socket."""
    process = psutil.Process(gateway.model(MODEL)["pid"])
    (path,) = {c.laddr for c in process.net_connections("unix") if str(c.laddr).endswith(".sock")}
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=path), base_url="http://worker") as client:
        yield client


def busy(engine: httpx2.Client) -> list[int]:
    """How many tokens each slot that works has made."""
    slots: list[Any] = engine.get("/slots").json()
    return [slot["next_token"][0]["n_decoded"] for slot in slots if slot["is_processing"]]


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


def most_until_idle(engine: httpx2.Client, pause_s: float) -> int:
    """The most tokens that a slot was seen to have made before all are free."""
    most = 0
    end = time.monotonic() + DEADLINE_S
    while True:
        time.sleep(pause_s)
        if not (made := busy(engine)):
            return most
        most = max(most, *made)
        assert time.monotonic() < end, f"still busy after {DEADLINE_S:g} s, with {most} tokens"


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
    assert most_until_idle(engine, 0.01) < LEAST, "the engine went on to the end of the answer"
    assert until(lambda: outcomes(gateway, name), "the books have it") == [("cancelled", True)]


@pytest.mark.parametrize("forms", TOGETHER, ids=lambda forms: ", ".join(form.name for form in forms))
def test_clients_that_leave_before_their_whole_answer_stop_the_engine(
    gateway: LiveGateway, engine: httpx2.Client, forms: tuple[Form, ...]
) -> None:
    until(lambda: not busy(engine), "the engine is idle")
    name = f"left-whole-{FORMS.index(forms[0])}"
    with ExitStack() as stack:
        for form in forms:
            stack.callback(send(gateway, form, False, name).close)
        until(lambda: len([made for made in busy(engine) if made]) == len(forms), "all slots make tokens")
    assert most_until_idle(engine, ENGINE_LOOKS_S) < LEAST, "the engine went on to the end of an answer"
    until(lambda: outcomes(gateway, name) == [("cancelled", False)] * len(forms), "the books have them")
