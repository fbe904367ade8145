"""Keys with rights, at a running gateway: who is let in, where, for which models, how fast, and what changes hold at
once."""

import asyncio
import json
import typing
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway import (
    CHAT,
    Answer,
    Client,
    Gate,
    Held,
    ScriptedWorker,
    chat,
    config,
    on_uvloop,
    remote,
    reply,
    request,
    running_gateway,
    short_folder,
    until,
)
from msgspec.structs import replace

from rolecast.access.keys import Budget, Key, Limits
from rolecast.access.wanted import NEW
from rolecast.config.schema import Config, Listener, Model, Service
from rolecast.dialects.request import Request
from rolecast.errors import BudgetSpent, ConfigError
from rolecast.server import scopes
from rolecast.turn.ask import behind
from rolecast.turn.exchange import Exchange
from rolecast.values import Caller, Rights, Usage

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

FAR = "http://192.0.2.1/v1"
"""An address of nobody, on another machine."""
LISTENERS = [
    Listener(port=0, name="wrapper", model="m", surface="pas"),
    Listener(port=0, name="tlc_domain_classifier", model="m", surface="pas"),
    Listener(port=0, name="llama", model="m", surface="llama-server"),
    Listener(port=0, name="conductor", surface="conductor"),
    *(Listener(port=0, name=service, surface=service) for service in typing.get_args(Service)),
]


class Keyed(Gate):
    """A gateway with keys. `admin` is the secret of one that may do everything."""

    admin = ""

    async def key(self, **fields: Any) -> tuple[str, Key]:
        """A new key: its secret, and what it is."""
        made = await self.gateway.keyring.create(replace(NEW, **fields))
        return made.secret, made.key

    async def send(
        self, key: str, body: dict[str, Any] | None = None, path: str = CHAT, method: str = "", **fields: Any
    ) -> Answer:
        head = fields.pop("head", "") + (f"Authorization: Bearer {key}\r\n" if key else "")
        method = method or ("GET" if body is None else "POST")
        data = request(body, path=path, method=method, head=head, **fields.pop("raw", {}))
        return await self.ask(data, method=method, **fields)


@asynccontextmanager
async def keyed(**fields: Any) -> AsyncIterator[tuple[Keyed, ScriptedWorker]]:
    """A gateway with the models `m`, `small-1` and `small-2`, which one scripted worker plays, and `far`."""
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            models = {name: remote(worker.url) for name in ("m", "small-1", "small-2")}
            models["m"] = replace(models["m"], aliases=["gpt-4o"])
            models["far"] = Model(backend="openai", url=FAR)
            setting = config(models, listeners=LISTENERS, **fields)
            setting = replace(setting, roles={"standard": ["m", "small-1"], "fast": ["small-2", "far"]})
            async with running_gateway(setting, Path(folder)) as gate:
                front = Keyed(gate.gateway)
                front.admin, _ = await front.key(name="admin", scopes=("admin",))
                yield front, worker


@pytest.fixture(scope="module")
async def shared_pair() -> AsyncIterator[tuple[Keyed, ScriptedWorker]]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(keyed())


@pytest.fixture
def gate(shared_pair: tuple[Keyed, ScriptedWorker]) -> Keyed:
    shared_pair[1].reset()
    return shared_pair[0]


@pytest.fixture
def worker(shared_pair: tuple[Keyed, ScriptedWorker]) -> ScriptedWorker:
    return shared_pair[1]


# -- who is let in -------------------------------------------------------------------------------------------


async def test_without_any_key_nobody_needs_one_and_with_the_first_everybody_does(tmp_path: Path) -> None:
    with short_folder() as folder:
        async with (
            ScriptedWorker().listening(f"{folder}/w.sock") as worker,
            running_gateway(config({"m": remote(worker.url)}), Path(folder)) as plain,
        ):
            gate = Keyed(plain.gateway)
            async with gate.client() as before:
                same = request(chat())
                for _ in range(2):  # the second time the head is known
                    assert (await (await before.send(same)).answer()).status == 200
                refused = await gate.send("", {"name": "app"}, "/admin/keys")
                assert (refused.status, refused.error["code"]) == (409, "first_key")
                made = await gate.send("", {"name": "me", "scopes": ["admin"]}, "/admin/keys")
                assert made.status == 201
                answer = await (await before.send(same)).answer()
                assert (answer.status, answer.error["code"]) == (401, "missing_api_key")
            for path in ("/v1/models", "/admin/status", "/nothing"):
                assert (await gate.send("", None, path)).status == 401
            assert (await gate.send("", None, "/health")).status == 200
            secret, key_id = made.json["secret"], made.json["key"]["id"]
            assert (await gate.send(secret, chat())).status == 200
            # A key that is revoked is no way back to a gateway that is open to all; one that is forgotten is.
            await gate.send(secret, None, f"/admin/keys/{key_id}", "DELETE")
            assert (await gate.send("", chat())).status == 401
            await gate.gateway.keyring.forget(key_id)
            assert (await gate.send("", chat())).status == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/api/chat", "/v1/messages"])
async def test_who_is_not_let_in_is_told_how_to_show_a_key(gate: Keyed, path: str) -> None:
    body = None if path == "/v1/models" else chat()
    for head in ("", "Authorization: Bearer rk-nobody\r\n", "Authorization: Basic eDp5\r\n", "x-api-key: rk-no\r\n"):
        answer = await gate.send("", body, path, head=head)
        assert (answer.status, answer.header("www-authenticate")) == (401, "Bearer")
    assert (await gate.send(gate.admin, None, "/v1/models")).header("www-authenticate") is None


async def test_a_key_is_taken_in_either_header_and_the_books_have_its_id(gate: Keyed) -> None:
    secret, key = await gate.key(name="a")
    assert (await gate.ask(request(chat(), head=f"x-api-key: {secret}\r\n"))).status == 200
    assert (await gate.send(secret, chat())).status == 200
    rows = await gate.rows()
    assert [row.key for row in rows[-2:]] == [key.id] * 2
    assert secret not in str(rows)


async def test_keys_of_the_configuration_stay_and_may_do_everything() -> None:
    async with keyed(keys=["sesame"]) as (gate, _):
        other, _ = await gate.key()
        for secret in ("sesame", other):
            assert (await gate.send(secret, chat())).status == 200
        assert (await gate.send("sesame", None, "/admin/status")).status == 200
        made = await gate.send("sesame", {"name": "first"}, "/admin/keys")
        assert (made.status, made.json["key"]["scopes"]) == (201, ["use"])


WRONG = [
    "x",
    "rk-",
    "rk-" + "A" * 43,
    "rk-" + "A" * 60_000,
    "rk-' OR 1=1 --",
    "rk-é",
    "rk-\x80\xff",
    "sha256:" + "0" * 64,
    "null",
    "undefined",
    "Bearer x",
    "*",
]


@pytest.mark.parametrize("secret", WRONG)
async def test_what_is_no_key_opens_nothing(gate: Keyed, secret: str) -> None:
    for path, body in ((CHAT, chat()), ("/admin/keys", None), ("/admin/keys", {"scopes": ["admin"]})):
        answer = await gate.send(secret, body, path)
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert secret not in answer.body.decode() or len(secret) < 5


async def test_a_key_of_a_megabyte_or_with_a_nul_is_refused_by_its_head(gate: Keyed) -> None:
    long = await gate.send("rk-" + "A" * 2**20, chat())
    assert (long.status, long.error["code"]) == (431, "headers_too_large")
    nul = await gate.send("rk-\0", chat())
    assert nul.status == 400


async def test_the_digest_that_is_kept_is_no_key_itself(gate: Keyed) -> None:
    _, key = await gate.key()
    for secret in (key.digest.hex(), f"sha256:{key.digest.hex()}", key.id, key.digest.decode("latin-1")):
        if not set(secret) & set("\0\r\n"):
            assert (await gate.send(secret, chat())).status in (400, 401)


async def test_a_thousand_wrong_keys_leave_no_line_in_the_log(gate: Keyed, caplog: pytest.LogCaptureFixture) -> None:
    async with gate.client() as client:
        for i in range(1000):
            data = request(None, path="/v1/models", method="GET", head=f"Authorization: Bearer rk-{i}\r\n")
            assert (await (await client.send(data)).answer("GET")).status == 401
    ours = [r for r in caplog.records if r.name.startswith("rolecast")]
    assert len(ours) < 5
    assert not any("rk-" in r.getMessage() for r in caplog.records)
    assert len(gate.gateway.telemetry.refusals.newest(1000)) < 300


# -- what changes ----------------------------------------------------------------------------------------------


async def twice(client: Client, secret: str, body: dict[str, Any] | None = None) -> bytes:
    """A head that its connection knows from now on."""
    data = request(body or chat(), head=f"Authorization: Bearer {secret}\r\n")
    for _ in range(2):
        assert (await (await client.send(data)).answer()).status == 200
    return data


async def test_a_revoked_key_is_refused_at_once_also_on_a_connection_that_knows_its_head(gate: Keyed) -> None:
    secret, key = await gate.key()
    async with gate.client() as client:
        data = await twice(client, secret)
        answer = await gate.send(gate.admin, None, f"/admin/keys/{key.id}", "DELETE")
        assert (answer.status, answer.json["state"]) == (200, "revoked")
        answer = await (await client.send(data)).answer()
        assert (answer.status, answer.error["message"]) == (401, "The API key was revoked.")


async def test_a_key_that_another_gateway_revoked_is_refused_once_that_is_known(gate: Keyed) -> None:
    secret, key = await gate.key()
    async with gate.client() as client:
        data = await twice(client, secret)
        await gate.gateway.keyring.table.revoke(key.id)  # as another process does
        await gate.gateway.keyring.read()  # as happens once a second
        assert (await (await client.send(data)).answer()).status == 401


async def test_a_key_expires_also_on_a_connection_that_knows_its_head(
    gate: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = gate.gateway.keyring
    began = ring.now()
    secret, _ = await gate.key(expires=began + 3600)
    async with gate.client() as client:
        data = await twice(client, secret)
        monkeypatch.setattr(ring, "now", lambda: began + 3600)
        answer = await (await client.send(data)).answer()
        assert (answer.status, answer.error["message"]) == (401, "The API key has expired.")
        monkeypatch.setattr(ring, "now", lambda: began)  # the clock is set back
        assert (await gate.send(secret, chat())).status == 200


async def test_what_a_key_may_do_changes_from_the_next_request_on(gate: Keyed) -> None:
    secret, key = await gate.key()
    path = f"/admin/keys/{key.id}"
    async with gate.client() as client:
        data = await twice(client, secret)
        for change, status, code in (
            ({"models": ["small-*"]}, 403, "model_not_allowed"),
            ({"models": ["gpt-4o"]}, 200, ""),
            ({"models": None, "parallel": 1}, 200, ""),
            ({"requests_per_minute": 1}, 200, ""),
            ({}, 429, "rate_limited"),
            ({"requests_per_minute": 0}, 200, ""),
        ):
            assert (await gate.send(gate.admin, change, path)).status == 200
            answer = await (await client.send(data)).answer()
            assert answer.status == status, change
            assert status == 200 or answer.error["code"] == code


async def test_a_request_under_way_ends_well_when_its_key_is_revoked(gate: Keyed, worker: ScriptedWorker) -> None:
    secret, key = await gate.key(limits=Limits(parallel=1))
    held = Held(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
    worker.script.append(held)
    async with gate.client() as client:
        await client.send(request(chat(stream=True), head=f"Authorization: Bearer {secret}\r\n"))
        await held.began.wait()
        await gate.gateway.keyring.revoke(key.id)
        held.let_go.set()
        answer = await client.answer()
        assert answer.status == 200
        assert answer.body.endswith(b"data: [DONE]\n\n")


# -- where -----------------------------------------------------------------------------------------------------


def routes(gate: Gate) -> set[tuple[str, str, str]]:
    """Every route of every port: the port, the method, the path."""
    found = set()
    for door in gate.gateway.doors:
        assert door.view is not None
        for route in door.view.app._routes:  # type: ignore[union-attr]  # no other way to all of them
            found |= {(door.lane.name, method, route.path) for method in route.methods - {"HEAD"}}
            found |= {(door.lane.name, "HEAD", route.path)} if route.methods == {"HEAD"} else set()
    return found


def filled(path: str) -> str:
    """The path of a route with something in its gaps."""
    return "/".join("nothing" if "{" in part else part for part in path.split("/"))


async def test_every_route_of_every_port_asks_for_the_scope_of_the_table(gate: Keyed) -> None:
    use, _ = await gate.key(scopes=("use",))
    looks, _ = await gate.key(scopes=())
    seen = set()
    for port, method, path in sorted(routes(gate)):
        need = scopes.needed(method, path)
        seen.add(("GET" if method == "HEAD" else method, path))
        if path in ("/", "/health", "/ui", "/ui/{name}", "/docs"):
            continue
        for secret, may in ((use, need != "admin"), (looks, need == "any")):
            data = request(
                None if method in ("GET", "HEAD", "DELETE") else b"{}",
                path=filled(path),
                method=method,
                head=f"Authorization: Bearer {secret}\r\n",
            )
            answer = await gate.ask(data, port, method)
            refused = answer.status == 403 and (method == "HEAD" or b"scope_missing" in answer.body)
            refused = refused or (answer.status == 403 and b"needs a key that" in answer.body)
            assert refused != may, (port, method, path, answer)
    assert set(scopes.RULES) - seen <= {(m, p) for m, p in scopes.RULES if scopes.RULES[m, p] == "use"}
    assert {path for _, path in scopes.RULES} <= {path for _, path in seen}  # no row is of a path that is gone


ADMINS = [
    ("GET", "/admin/status"),
    ("POST", "/admin/load"),
    ("POST", "/admin/reload"),
    ("GET", "/admin/logs"),
    ("GET", "/admin/requests"),
    ("GET", "/admin/activity"),
    ("GET", "/admin/jobs"),
    ("POST", "/admin/jobs"),
    ("GET", "/admin/keys"),
    ("POST", "/admin/keys"),
    ("GET", "/v1/feedback"),
    ("POST", "/api/pull"),
    ("DELETE", "/api/delete"),
    ("POST", "/api/create"),
    ("POST", "/api/copy"),
    ("PUT", "/personas/x"),
    ("DELETE", "/personas/x"),
    ("POST", "/reload-config"),
    ("POST", "/models/m/load"),
    ("POST", "/models/m/unload"),
]


@pytest.mark.parametrize(("method", "path"), ADMINS)
@pytest.mark.parametrize("spelling", ["{}", "/{}", "{}/", "{}?x=1", "{}%20", "/%2e{}"])
async def test_what_changes_things_is_an_admins_however_its_path_is_spelled(
    gate: Keyed, method: str, path: str, spelling: str
) -> None:
    secret, _ = await gate.key()
    asked = spelling.format(path if "{}" in spelling else "")
    answer = await gate.send(secret, {} if method in ("POST", "PUT") else None, asked, method)
    assert answer.status in (403, 404)
    assert answer.status == 403 or spelling in ("{}%20", "/%2e{}")


async def test_where_nothing_is_there_is_nothing_to_be_allowed(gate: Keyed) -> None:
    secret, _ = await gate.key()
    assert (await gate.send(secret, None, "/nothing")).status == 404
    assert (await gate.send(secret, {}, "/v1/models")).status == 405
    assert (await gate.send(secret, None, CHAT)).status == 405


async def test_a_key_that_may_only_look_asks_no_model(gate: Keyed, worker: ScriptedWorker) -> None:
    secret, _ = await gate.key(scopes=())
    assert (await gate.send(secret, None, "/v1/models")).status == 200
    for path in (CHAT, "/v1/completions", "/v1/embeddings", "/api/chat", "/v1/messages", "/v1/responses"):
        body = chat(prompt="x", input="x", max_tokens=5)
        answer = await gate.send(secret, body, path)
        assert answer.status == 403, path
        assert b"it has no scope `use`" in answer.body
    assert worker.requests == []


async def test_how_long_models_stay_is_an_admins_to_say(gate: Keyed) -> None:
    secret, _ = await gate.key()
    refused = await gate.send(secret, {"model": "m", "keep_alive": 0}, "/api/generate")
    assert (refused.status, "scope `admin`" in refused.json["error"]) == (403, True)
    assert (await gate.send(gate.admin, {"model": "m", "keep_alive": 0}, "/api/generate")).status == 200
    assert (await gate.send(secret, {"model": "m"}, "/api/generate")).status == 200


# -- which models ----------------------------------------------------------------------------------------------


async def test_a_key_with_a_list_reaches_what_is_behind_its_names_and_nothing_else(
    gate: Keyed, worker: ScriptedWorker
) -> None:
    secret, _ = await gate.key(models=("small-*",))
    for asked, model in (("small-1", "small-1"), ("auto", "small-1"), ("standard", "small-1"), ("fast", "small-2")):
        answer = await gate.send(secret, chat(model=asked))
        assert (answer.status, answer.header("x-rolecast-model")) == (200, model), asked
        assert "key:" not in str(answer.headers)
    worker.requests.clear()
    for asked in ("m", "gpt-4o", "far", "m:latest"):
        for path in (CHAT, "/v1/responses", "/v1/completions"):
            answer = await gate.send(secret, chat(model=asked, input="x", prompt="x"), path)
            assert (answer.status, answer.error["code"]) == (403, "model_not_allowed"), (asked, path)
            assert "small-1, small-2" in answer.error["message"]
    assert worker.requests == []


async def test_a_port_of_a_model_that_is_not_in_the_list_stays_shut(gate: Keyed, worker: ScriptedWorker) -> None:
    secret, _ = await gate.key(models=("small-1",))
    answer = await gate.send(secret, chat(model="small-1"), listener="llama")
    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
    assert worker.requests == []


async def test_lists_show_the_models_of_the_key_alone(gate: Keyed) -> None:
    secret, _ = await gate.key(models=("small-2",))
    listed = (await gate.send(secret, None, "/v1/models")).json["data"]
    assert {entry["id"]: entry.get("models") for entry in listed} == {"small-2": None, "fast": ["small-2"]}
    tags = (await gate.send(secret, None, "/api/tags")).json["models"]
    assert {entry["name"] for entry in tags} == {"small-2:latest", "fast:latest"}
    assert [each["technical_name"] for each in (await gate.send(secret, None, "/conductor/models")).json] == ["small-2"]
    assert set((await gate.send(secret, None, "/v1/backends/health")).json) == {"fast"}
    stats = (await gate.send(secret, None, "/stats")).json["activity"]["most_used"]
    assert {each["technical_name"] for each in stats} <= {"small-2"}
    categories = (await gate.send(secret, None, "/categories")).json["category_info"]
    assert {each["model"] for each in categories.values()} <= {"small-2"}
    assert (await gate.send(secret, None, "/v1/models/m")).status == 404
    assert (await gate.send(secret, None, "/v1/models/auto")).status == 404
    assert (await gate.send(secret, {"model": "m"}, "/api/show")).status == 404
    assert (await gate.send(secret, {"model": "small-2"}, "/api/show")).status == 200
    everything = (await gate.send(gate.admin, None, "/v1/models")).json["data"]
    assert {entry["id"] for entry in everything} >= {"m", "gpt-4o", "far", "standard", "fast", "auto"}


async def test_a_dry_run_and_a_count_of_tokens_keep_to_the_list_too(gate: Keyed, worker: ScriptedWorker) -> None:
    secret, _ = await gate.key(models=("small-1",))
    dry = await gate.send(secret, {"prompt": "Hello"}, "/v1/route")
    assert (dry.json["model"], dry.json["alternatives"]) == ("small-1", [])
    assert (await gate.send(secret, {"model": "m", "prompt": "Hello"}, "/v1/route")).status == 403
    body = chat(model="m", max_tokens=5)
    assert (await gate.send(secret, body, "/v1/messages/count_tokens")).status == 403
    assert worker.requests == []


async def test_keys_with_the_same_list_share_their_plans(gate: Keyed) -> None:
    first, _ = await gate.key(models=("small-1",))
    second, _ = await gate.key(models=("small-1",))
    await gate.send(first, chat(model="small-1"))
    plans = len(gate.gateway.plans.made)
    await gate.send(second, chat(model="small-1"))
    assert len(gate.gateway.plans.made) == plans


async def test_plans_for_ever_more_lists_do_not_fill_the_memory(gate: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolecast.turn.plans.MOST_MADE", 8)
    for i in range(20):
        secret, _ = await gate.key(models=("small-1", f"x{i}"))
        assert (await gate.send(secret, chat(model="small-1"))).status == 200
    assert len(gate.gateway.plans.made) <= 8


async def test_what_a_local_only_key_asks_goes_to_no_other_machine(gate: Keyed) -> None:
    secret, _ = await gate.key(scopes=("use", "local-only"))
    answer = await gate.send(secret, chat(model="far"))
    assert (answer.status, answer.error["code"]) == (403, "local_only")
    assert (await gate.send(secret, chat(model="fast"))).header("x-rolecast-model") == "small-2"


def test_what_the_gateway_asks_on_the_way_has_the_rights_of_who_asked_first() -> None:
    rights = Rights("k", local_only=True, models=("a",))
    caller = Caller(
        "l", "k", session="s", tools="on", run="r", local_only=True, rights=rights, answer_lines=b"x: y\r\n"
    )
    assert behind(caller) == Caller("l", "k", run="r", local_only=True, rights=rights)


# -- how fast --------------------------------------------------------------------------------------------------


def rates(answer: Answer) -> dict[str, str]:
    return {name.removeprefix("x-ratelimit-"): value for name, value in answer.headers if name.startswith("x-rate")}


async def test_a_key_with_limits_is_told_how_much_is_left_and_refused_beyond_it(gate: Keyed) -> None:
    secret, _ = await gate.key(limits=Limits(requests_per_minute=2, tokens_per_minute=1000))
    first, second, third = [await gate.send(secret, chat()) for _ in range(3)]
    assert rates(first)["limit-requests"] == "2"
    assert rates(first)["remaining-requests"] == "1"
    assert rates(first)["limit-tokens"] == "1000"
    assert rates(second)["remaining-requests"] == "0"
    assert (third.status, third.error["code"], third.error["type"]) == (429, "rate_limited", "rate_limit_error")
    assert 28 <= int(third.header("retry-after") or 0) <= 30
    assert rates(third)["remaining-requests"] == "0"
    assert rates(await gate.send(gate.admin, chat())) == {}


async def test_tokens_are_counted_by_what_the_worker_reported(gate: Keyed) -> None:
    secret, _ = await gate.key(limits=Limits(tokens_per_minute=1000))
    assert rates(await gate.send(secret, chat()))["remaining-tokens"] == str(1000 - len(json.dumps(chat())) // 4)
    now = rates(await gate.send(secret, chat("x" * 400)))
    assert int(now["remaining-tokens"]) <= 1000 - 7 - 100  # 7 as reported of the first, and what is set aside now


async def test_a_place_is_free_again_however_a_request_ends(gate: Keyed, worker: ScriptedWorker) -> None:
    secret, _ = await gate.key(limits=Limits(parallel=1))
    for body in (chat(), chat(model="nobody"), chat(stream=True), {"model": "m"}):
        assert (await gate.send(secret, body)).status != 429
    worker.script.append(reply(b'{"error":{"message":"no"}}', 400))
    assert (await gate.send(secret, chat())).status == 400
    held = Held(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
    worker.script.append(held)
    async with gate.client() as client:
        await client.send(request(chat(stream=True), head=f"Authorization: Bearer {secret}\r\n"))
        await held.began.wait()
        busy = await gate.send(secret, chat())
        assert (busy.status, busy.header("retry-after")) == (429, "1")
        client.abort()
        await until(lambda: not gate.gateway.dispatch.active)
    held.let_go.set()
    assert (await gate.send(secret, chat())).status == 200


async def test_a_request_for_several_answers_counts_once(gate: Keyed) -> None:
    secret, _ = await gate.key(limits=Limits(requests_per_minute=10, parallel=1))
    answer = await gate.send(secret, chat(n=3))
    assert (answer.status, rates(answer)["remaining-requests"]) == (200, "9")
    assert rates(await gate.send(secret, chat(n=1)))["remaining-requests"] == "8"


async def test_what_a_remote_says_of_its_own_limits_is_not_mixed_with_ours(gate: Keyed, worker: ScriptedWorker) -> None:
    secret, _ = await gate.key(limits=Limits(requests_per_minute=10))
    theirs = b"x-ratelimit-limit-requests: 99\r\nx-ratelimit-remaining-tokens: 5\r\n"
    worker.script += [reply(head=theirs)] * 2
    assert set(rates(await gate.send(secret, chat()))) == {"limit-requests", "remaining-requests", "reset-requests"}
    assert rates(await gate.send(gate.admin, chat())) == {"limit-requests": "99", "remaining-tokens": "5"}


async def test_a_hundred_at_once_get_no_more_than_the_limit(gate: Keyed) -> None:
    secret, _ = await gate.key(limits=Limits(requests_per_day=20))
    answers = await asyncio.gather(*(gate.send(secret, chat()) for _ in range(100)))
    assert sorted(answer.status for answer in answers) == [200] * 20 + [429] * 80


class Broke:
    """A check that lets nobody in any more, behind that of rights."""

    def __init__(self) -> None:
        self.left = 0

    def enter(self, exchange: Exchange, request: Request) -> frozenset[str]:
        raise BudgetSpent("There is no money left.")

    def leave(self, exchange: Exchange, usage: Usage, cost: int) -> None:
        self.left += 1


async def test_what_another_check_refuses_takes_no_place(gate: Keyed) -> None:
    secret, _ = await gate.key(limits=Limits(parallel=1))
    gates, broke = gate.gateway.dispatch.gate, Broke()
    before = gates.checks
    gates.checks = (*before, broke)
    try:
        for _ in range(3):
            answer = await gate.send(secret, chat())
            assert (answer.status, answer.error["code"]) == (429, "budget_spent")
    finally:
        gates.checks = before
    assert broke.left == 0
    assert (await gate.send(secret, chat())).status == 200


# -- runs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["nightly", "a b/c:d", "x" * 128])
async def test_the_name_of_a_run_may_be_any_short_line(gate: Keyed, run: str) -> None:
    assert (await gate.send(gate.admin, chat(), head=f"x-rolecast-run: {run}\r\n")).status == 200


@pytest.mark.parametrize("run", ["x" * 129, "caf\xe9", "a\tb"])
async def test_another_name_of_a_run_is_refused(gate: Keyed, run: str) -> None:
    answer = await gate.send(gate.admin, chat(), head=f"x-rolecast-run: {run}\r\n")
    assert (answer.status, answer.error["param"]) == (400, "x-rolecast-run")


# -- the pages -------------------------------------------------------------------------------------------------


async def test_what_happens_to_keys_is_told_without_their_secrets(gate: Keyed) -> None:
    made = (await gate.send(gate.admin, {"name": "told"}, "/admin/keys")).json
    await gate.send(gate.admin, {"parallel": 1}, "/admin/keys/told")
    await gate.send(gate.admin, None, "/admin/keys/told", "DELETE")
    told = gate.gateway.events.recent(3)
    assert [each.event_type for each in told] == ["key_created", "key_changed", "key_revoked"]
    assert all(each.data == {"key": made["key"]["id"], "name": "told"} for each in told)


async def test_a_key_is_made_shown_changed_and_revoked_over_http(gate: Keyed) -> None:
    wanted = {"name": "shop", "models": ["m"], "tokens_per_minute": 9, "budget": "5/month", "expires": "30d"}
    made = (await gate.send(gate.admin, wanted, "/admin/keys")).json
    key, path = made["key"], f"/admin/keys/{made['key']['id']}"
    assert (key["state"], key["scopes"], key["models"], key["budget"]) == ("live", ["use"], ["m"], "5/month")
    assert abs(key["expires_at"] - key["created_at"] - 30 * 86_400) < 60
    assert gate.gateway.keyring.of(key["id"]).budget == Budget(5 * 10**12, "month")  # type: ignore[union-attr]
    assert (await gate.send(gate.admin, None, path)).json == key
    assert (await gate.send(gate.admin, None, "/admin/keys/shop")).json == key
    changed = (await gate.send(gate.admin, {"budget": None, "parallel": 2}, path)).json
    assert changed == key | {"budget": None, "parallel": 2}
    listed = (await gate.send(gate.admin, None, "/admin/keys")).json["keys"]
    assert changed in listed
    assert made["secret"] not in json.dumps(listed)
    assert "digest" not in listed[0]
    gone = await gate.send(gate.admin, None, f"{path}?forget=true", "DELETE")
    assert gone.status == 200
    missing = await gate.send(gate.admin, None, path)
    assert (missing.status, missing.error["code"]) == (404, "key_not_found")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b'{"scopes":["root"]}', 422),
        (b'{"id":"x"}', 422),
        (b'{"budget":"5/week"}', 422),
        (b'{"expires":"yesterday"}', 422),
        (b'{"name":"\\u0000"}', 422),
        (b'{"requests_per_minute":-5}', 422),
        (b'{"requests_per_minute":99999999999999999999}', 422),
    ],
)
async def test_what_is_no_key_is_refused_and_nothing_is_made(gate: Keyed, body: bytes, status: int) -> None:
    before = len(gate.gateway.keyring)
    head = f"Authorization: Bearer {gate.admin}\r\n"
    answer = await gate.ask(request(body, path="/admin/keys", head=head))
    assert (answer.status, len(gate.gateway.keyring)) == (status, before)


async def test_a_form_of_a_web_page_makes_no_key(gate: Keyed) -> None:
    data = request(b"{}", path="/admin/keys", head=f"Authorization: Bearer {gate.admin}\r\n")
    answer = await gate.ask(data.replace(b"application/json", b"text/plain"))
    assert answer.status == 415


async def test_no_key_lifts_itself_or_makes_one_that_may_do_more(gate: Keyed) -> None:
    """The way of other gateways' holes: a key changes its own role, makes a stronger one, or outlives itself."""
    use, its = await gate.key()
    for path in ("/admin/keys", f"/admin/keys/{its.id}"):
        answer = await gate.send(use, {"scopes": ["admin"]}, path)
        assert (answer.status, answer.error["code"]) == (403, "scope_missing")
    admin, own = await gate.key(scopes=("admin",), expires=gate.gateway.keyring.now() + 3600)
    for change in ({"expires": None}, {"expires": "365d"}, {"scopes": ["admin", "raw"]}, {}):
        answer = await gate.send(admin, change, f"/admin/keys/{own.id}")
        assert (answer.status, answer.error["code"]) == (403, "own_key")
    later = await gate.send(admin, {"scopes": ["admin"], "expires": "2h"}, "/admin/keys")
    assert (later.status, later.error["code"]) == (403, "own_key")
    child = await gate.send(admin, {"scopes": ["admin"]}, "/admin/keys")
    assert child.json["key"]["expires_at"] == own.expires
    for bound in (
        {"models": ("m",)},
        {"limits": Limits(parallel=1)},
        {"budget": Budget(1)},
        {"scopes": ("admin", "local-only")},
    ):
        bounded, _ = await gate.key(**{"scopes": ("admin",), **bound})
        for path in ("/admin/keys", f"/admin/keys/{its.id}"):
            answer = await gate.send(bounded, {"name": "x"}, path)
            assert (answer.status, answer.error["code"]) == (403, "own_key"), bound
    assert (await gate.send(admin, None, f"/admin/keys/{own.id}", "DELETE")).status == 200
    assert (await gate.send(admin, None, "/admin/keys")).status == 401


# -- other machines --------------------------------------------------------------------------------------------


def exposed(folder: str, url: str) -> Config:
    return config({"m": remote(url)}, host="0.0.0.0")


async def test_other_machines_are_let_in_only_where_a_key_opens_the_gateway(tmp_path: Path) -> None:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            setting = exposed(folder, worker.url)
            with pytest.raises(ConfigError) as caught:
                async with running_gateway(setting, Path(folder)):
                    pass
            (problem,) = caught.value.problems
            assert problem.startswith("server.host: '0.0.0.0' lets other machines in, and no key is set")
            assert "rolecast keys create" in problem
            async with running_gateway(config({"m": remote(worker.url)}), Path(folder)) as closed:
                made = await closed.gateway.keyring.create(replace(NEW, name="a"))
            async with running_gateway(setting, Path(folder)) as plain:
                gate = Keyed(plain.gateway)
                assert (await gate.send(made.secret, chat())).status == 200
                assert (await gate.send("", chat())).status == 401
                # Not even without any key it is open to all.
                await gate.gateway.keyring.forget(made.key.id)
                assert (await gate.send("", chat())).status == 401
            with pytest.raises(ConfigError):
                async with running_gateway(setting, Path(folder)):
                    pass


async def test_with_keys_the_page_that_all_may_see_tells_no_reasons(gate: Keyed) -> None:
    gate.gateway.ledger._trouble = "the disk /secret/place is full"
    try:
        open_to_all = await gate.send("", None, "/health")
        assert b"/secret/place" not in open_to_all.body
    finally:
        gate.gateway.ledger._trouble = ""
