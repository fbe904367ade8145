"""Who may talk to the gateway: host names, web pages of other origins, keys. Asked on both lanes."""

import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from gateway import CHAT, Answer, Gate, ScriptedWorker, chat, clean, on_uvloop, pair, request

from rolecast.config.schema import Server
from rolecast.errors import BadRequest, ConfigError, Forbidden, Unauthorized
from rolecast.server import guard
from rolecast.server.guard import Guard

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

KEY = "correct horse"
SHA = "sha256:" + hashlib.sha256(b"battery").hexdigest()
ROUTES = [
    ("POST", CHAT),
    ("POST", "/v1/chat/%63ompletions"),
    ("GET", "/health"),
    ("GET", "/v1/models"),
    ("GET", "/admin/status"),
    ("POST", "/admin/load"),
    ("GET", "/metrics"),
    ("GET", "/nothing"),
    ("OPTIONS", CHAT),
]


@pytest.fixture(scope="module")
async def both() -> AsyncIterator[dict[str, tuple[Gate, ScriptedWorker]]]:
    """One gateway without keys and one with keys of all three forms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUR_KEY", "staple\u00e9")
        async with AsyncExitStack() as stack:
            yield {
                "open": await stack.enter_async_context(
                    pair(allowed_hosts=["My-Name.example"], allowed_origins=["https://app.example/"])
                ),
                "keyed": await stack.enter_async_context(pair(keys=[KEY, SHA, "env:OUR_KEY"])),
            }


@pytest.fixture
def front(both: dict[str, tuple[Gate, ScriptedWorker]], caplog: pytest.LogCaptureFixture) -> Iterator[Gate]:
    with clean(both["open"][1], caplog):
        yield both["open"][0]


@pytest.fixture
def keyed(both: dict[str, tuple[Gate, ScriptedWorker]], caplog: pytest.LogCaptureFixture) -> Iterator[Gate]:
    with clean(both["keyed"][1], caplog):
        yield both["keyed"][0]


@pytest.fixture
def worker(both: dict[str, tuple[Gate, ScriptedWorker]]) -> ScriptedWorker:
    return both["open"][1]


def data(method: str, path: str, **fields: Any) -> bytes:
    body = None if method in ("GET", "OPTIONS") else {"model": "m"} if path == "/admin/load" else chat()
    return request(body, method=method, path=path, **fields)


async def ask(front: Gate, method: str, path: str, **fields: Any) -> Answer:
    return await front.ask(data(method, path, **fields), method=method)


# -- host names ----------------------------------------------------------------------------------------------

OURS = [
    "localhost",
    "LOCALHOST:8000",
    "app.localhost",
    "127.0.0.1",
    "127.0.0.1:8000",
    "[::1]",
    "[::1]:8000",
    "[2001:db8::1]:80",
    "192.168.1.7:8000",
    "my-name.example",
    "MY-NAME.EXAMPLE:8000",
    socket.gethostname(),
]
FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "EVIL.EXAMPLE",
    "evil.example.",
    "localhost.",
    "LOCALHOST.:8000",
    "app.localhost.",
    "127.0.0.1.",
    "127.0.0.1.:8000",
    "my-name.example.",
    "localhost.evil.example",
    "evil-localhost",
    "localhost..",
    "127.0.0.1.evil.example",
    "127.0.0.1.nip.io",
    "127.1",
    "0x7f000001",
    "2130706433",
    "my-name.example.evil.example",
    "",
    ".",
]
MALFORMED = [
    "localhost/?",
    "localhost/x",
    "x#",
    "a?b",
    "user@localhost",
    "localhost:",
    "localhost:80:80",
    "localhost:port",
    "localhost:123456",
    "localhost, evil.example",
    "localhost evil.example",
    "[::1",
    "::1",
    "[::1%25eth0]",
    "[evil.example]",
    "http://localhost",
    "localhost\\x",
    '"localhost"',
    "l\u00f6calhost",
    "%6cocalhost",
]


@pytest.mark.parametrize("host", OURS)
async def test_our_own_names_are_let_in(front: Gate, host: str) -> None:
    for _ in range(2):
        assert (await ask(front, "POST", CHAT, host=host)).status == 200
        assert (await ask(front, "GET", "/health", host=host)).status == 200


@pytest.mark.parametrize("host", FOREIGN)
async def test_a_foreign_name_is_refused_on_every_route(front: Gate, worker: ScriptedWorker, host: str) -> None:
    for method, path in ROUTES:
        for _ in range(2):
            answer = await ask(front, method, path, host=host)
            assert (answer.status, answer.error["code"]) == (403, "host_not_allowed"), (method, path)
    assert not worker.requests


@pytest.mark.parametrize("host", MALFORMED)
async def test_a_malformed_host_is_refused_on_every_route(front: Gate, worker: ScriptedWorker, host: str) -> None:
    for method, path in ROUTES:
        answer = await ask(front, method, path, host=host)
        assert (answer.status, answer.error["code"]) == (400, "bad_host"), (method, path)
    assert not worker.requests


@pytest.mark.parametrize("host", ["localhost/?", "x#", "a?b", "localhost/health?"])
async def test_a_host_that_rebuilds_into_another_path_opens_nothing(keyed: Gate, host: str) -> None:
    for path in ("/admin/status", "/v1/models", CHAT):
        assert (await ask(keyed, "GET", path, host=host)).status == 400


async def test_a_second_request_on_a_connection_is_judged_by_its_own_host(front: Gate, worker: ScriptedWorker) -> None:
    async with front.client() as client:
        for method, path in (("POST", CHAT), ("GET", "/admin/status")):
            await client.send(data(method, path))
            assert (await client.answer()).status == 200
    async with front.client() as client:
        await client.send(data("POST", CHAT), data("POST", CHAT, host="evil.example"))
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 403
        assert await client.is_closed()
    assert len(worker.requests) == 2


def test_good_hosts_are_remembered_within_bounds() -> None:
    keeper = Guard(Server(host=""))
    for n in range(2000):
        keeper.check_host(b"10.0.%d.%d" % (n // 256, n % 256))
    assert len(keeper._good_hosts) <= 256
    with pytest.raises(Forbidden):
        keeper.check_host(b"")
    with pytest.raises(BadRequest):
        keeper.check_host(None)


def test_an_asterisk_lets_every_host_and_origin_in() -> None:
    keeper = Guard(Server(allowed_hosts=["*"], allowed_origins=["*"]))
    keeper.check_host(b"evil.example")
    assert b"https://evil.example" in keeper.check_origin(b"https://evil.example", b"x")
    with pytest.raises(BadRequest):
        keeper.check_host(b"x/y")


# -- origins -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "http://localhost:3000",
        "https://LOCALHOST:3000",
        "http://127.0.0.1:8080",
        "http://[::1]:5173",
        "http://app.localhost",
        "https://app.example",
        "HTTPS://App.Example",
        "http://10.0.0.5:8000",
    ],
)
async def test_a_page_of_this_machine_or_an_allowed_origin_may_ask(front: Gate, origin: str) -> None:
    head = f"Origin: {origin}\r\n"
    for method, path in ROUTES:
        answer = await ask(front, method, path, head=head, host="10.0.0.5:8000")
        assert answer.status in (200, 204, 404), (method, path)
        assert answer.header("access-control-allow-origin") == origin
        assert answer.header("vary") == "origin"
        assert answer.header("access-control-allow-credentials") is None
        if method == "OPTIONS":
            assert "authorization" in (answer.header("access-control-allow-headers") or "")
    assert (await front.ask(request(b"{", head=head, host="10.0.0.5:8000"))).header("access-control-allow-origin")
    assert (await ask(front, "GET", CHAT, head=head, host="10.0.0.5:8000")).status == 405


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.example",
        "http://evil.example:8000",
        "http://localhost.evil.example",
        "http://evil.example#localhost",
        "http://evil.example/localhost",
        "https://app.example.evil.example",
        "http://app.example",
        "https://app.example:444",
        "file://",
        "file://localhost",
        "ftp://localhost",
        "javascript:localhost",
        "moz-extension://abc",
        "http://[::1",
        "http://[evil]",
        "http://]",
        "localhost",
        "//localhost",
        "http:localhost",
        "http://10.0.0.6:8000",
    ],
)
async def test_a_page_of_another_origin_may_not(front: Gate, worker: ScriptedWorker, origin: str) -> None:
    for method, path in ROUTES:
        answer = await ask(front, method, path, head=f"Origin: {origin}\r\n", host="10.0.0.5:8000")
        assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed"), (method, path)
        assert answer.header("access-control-allow-origin") is None
    assert not worker.requests


async def test_without_an_origin_no_cors_header_is_sent(front: Gate) -> None:
    for method, path in ROUTES:
        answer = await ask(front, method, path)
        assert answer.header("access-control-allow-origin") is None


PREFLIGHTS = [
    "x-stainless-os,x-stainless-lang,x-stainless-retry-count,authorization,content-type",
    "anthropic-dangerous-direct-browser-access, anthropic-version, x-api-key",
    "X-Made-Up-Tomorrow",
]


@pytest.mark.parametrize("wanted", PREFLIGHTS)
async def test_a_page_that_may_ask_may_send_the_headers_it_wants(front: Gate, wanted: str) -> None:
    head = f"Origin: https://app.example\r\nAccess-Control-Request-Headers: {wanted}\r\n"
    head += "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Private-Network: true\r\n"
    for path in (CHAT, "/v1/models/", "/nothing"):
        answer = await ask(front, "OPTIONS", path, head=head)
        assert answer.status == 204
        assert answer.header("access-control-allow-headers") == wanted
        assert answer.header("access-control-allow-private-network") == "true"
        assert {"POST", "DELETE"} <= set((answer.header("access-control-allow-methods") or "").split(", "))


@pytest.mark.parametrize("wanted", ["x-a, b c", "x\u00e9", "a,,b", "x-" + "y" * 5000, '"quoted"', "a: b", ""])
async def test_names_that_are_no_header_names_are_not_echoed(front: Gate, wanted: str) -> None:
    head = f"Origin: https://app.example\r\nAccess-Control-Request-Headers: {wanted}\r\n"
    answer = await ask(front, "OPTIONS", CHAT, head=head)
    assert answer.status == 204
    assert (answer.header("access-control-allow-headers") or "").startswith("authorization, content-type")


async def test_a_page_that_may_not_ask_learns_of_no_headers(front: Gate) -> None:
    head = "Origin: https://evil.example\r\nAccess-Control-Request-Headers: x-a\r\n"
    answer = await ask(front, "OPTIONS", CHAT, head=head + "Access-Control-Request-Private-Network: true\r\n")
    assert answer.status == 403
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


PAGE = "Origin: http://localhost:3000\r\n"
REFUSED = {
    "no key": (401, lambda: request(chat(), head=PAGE)),
    "no key elsewhere": (401, lambda: request(method="GET", path="/v1/models", head=PAGE)),
    "no such path": (404, lambda: request(method="GET", path="/nothing", head=PAGE + GOOD)),
    "another method": (405, lambda: request(method="GET", path=CHAT, head=PAGE + GOOD)),
    "another method elsewhere": (405, lambda: request(method="PUT", path="/v1/models", head=PAGE + GOOD)),
    "compressed": (415, lambda: request(chat(), head=PAGE + GOOD + "Content-Encoding: gzip\r\n")),
    "a web form": (415, lambda: request(None, path="/admin/load", head=PAGE + GOOD + "Content-Length: 0\r\n")),
    "too many headers": (431, lambda: request(chat(), head=PAGE + GOOD + "X: y\r\n" * 300)),
    "a large header": (431, lambda: request(chat(), head=PAGE + GOOD + "X: " + "y" * 70_000 + "\r\n")),
    "too large": (413, lambda: request(None, path=CHAT, head=PAGE + GOOD + "Content-Length: 99999999\r\n")),
    "too large elsewhere": (413, lambda: request(None, path="/x", head=PAGE + GOOD + "Content-Length: 99999999\r\n")),
    "two lengths": (400, lambda: request(chat(), head=PAGE + GOOD + "Content-Length: 1\r\n")),
    "no JSON": (400, lambda: request(b"{", head=PAGE + GOOD)),
    "no such model": (404, lambda: request(chat(model="absent"), head=PAGE + GOOD)),
}
GOOD = f"Authorization: Bearer {KEY}\r\n"


@pytest.mark.parametrize("name", REFUSED)
async def test_a_page_can_read_why_it_was_refused(keyed: Gate, name: str) -> None:
    status, made = REFUSED[name]
    answer = await keyed.ask(made())
    assert answer.status == status
    assert answer.error["message"]
    assert answer.header("access-control-allow-origin") == "http://localhost:3000"


async def test_a_foreign_page_cannot_read_why(keyed: Gate) -> None:
    for _, made in REFUSED.values():
        answer = await keyed.ask(made().replace(b"http://localhost:3000", b"https://evil.example"))
        assert answer.header("access-control-allow-origin") is None


async def test_patterns_hold_on_a_running_gateway() -> None:
    async with pair(allowed_hosts=["*.local"], allowed_origins=["chrome-extension://*", "https://*.example.org"]) as (
        front,
        _,
    ):
        for host, status in (("box.local:8000", 200), ("local", 403), ("box.local.", 403), ("box.locals", 403)):
            assert (await ask(front, "POST", CHAT, host=host)).status == status
        for origin, status in (
            ("chrome-extension://abcdefgh", 200),
            ("https://a.b.example.org", 200),
            ("https://example.org", 403),
            ("http://a.example.org", 403),
            ("moz-extension://abc", 403),
        ):
            assert (await ask(front, "POST", CHAT, head=f"Origin: {origin}\r\n")).status == status


# -- keys ----------------------------------------------------------------------------------------------------

NEEDS_KEY = [r for r in ROUTES if r[1] != "/health" and r[0] != "OPTIONS"]


@pytest.mark.parametrize(
    "head",
    [
        f"Authorization: Bearer {KEY}",
        f"authorization: bearer   {KEY}  ",
        f"X-Api-Key: {KEY}",
        "Authorization: Bearer battery",
        "x-api-key: battery",
        "Authorization: Bearer " + "staple\u00e9".encode().decode("latin-1"),
        f"Authorization: \r\nX-Api-Key: {KEY}",
        f"Authorization: Bearer {KEY}\r\nX-Api-Key: wrong",
    ],
)
async def test_a_key_in_any_form_opens_every_route(keyed: Gate, head: str) -> None:
    for method, path in NEEDS_KEY:
        for _ in range(2):
            answer = await ask(keyed, method, path, head=head + "\r\n")
            assert answer.status == (404 if path == "/nothing" else 200), (method, path)


WRONG = {
    "none": "",
    "wrong": "Authorization: Bearer wrong",
    "an injection": "Authorization: Bearer ' OR 1=1--",
    "one more letter": f"Authorization: Bearer {KEY}x",
    "one letter less": f"Authorization: Bearer {KEY[:-1]}",
    "other case": f"Authorization: Bearer {KEY.upper()}",
    "the digest": f"Authorization: Bearer {SHA}",
    "the bare digest": f"Authorization: Bearer {SHA[7:]}",
    "the name of the variable": "Authorization: Bearer env:OUR_KEY",
    "empty": "Authorization: Bearer ",
    "no scheme": f"Authorization: {KEY}",
    "another scheme": f"Authorization: Basic {KEY}",
    "bearer twice": f"Authorization: Bearer Bearer {KEY}",
    "empty x-api-key": "X-Api-Key: ",
    "wrong x-api-key": "X-Api-Key: wrong",
    "bearer in x-api-key": f"X-Api-Key: Bearer {KEY}",
    "wrong bearer with right x-api-key": f"Authorization: Bearer wrong\r\nX-Api-Key: {KEY}",
    "unicode": "Authorization: Bearer " + "\U0001f511\u0665".encode().decode("latin-1"),
    "a cookie": f"Cookie: key={KEY}",
    "a proxy's header": f"Proxy-Authorization: Bearer {KEY}",
    "fifty kilobytes": "Authorization: Bearer " + "k" * 50_000,
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_missing_or_wrong_key_opens_nothing(
    keyed: Gate, both: dict[str, tuple[Gate, ScriptedWorker]], name: str
) -> None:
    head = WRONG[name] + "\r\n" if WRONG[name] else ""
    for method, path in NEEDS_KEY:
        answer = await ask(keyed, method, path, head=head)
        assert (answer.status, answer.error["type"]) == (401, "authentication_error"), (method, path)
        assert KEY not in answer.body.decode()
    assert not both["keyed"][1].requests


async def test_a_key_of_a_megabyte_or_with_nul_is_refused_at_the_head(keyed: Gate) -> None:
    for value, status in (("k" * 2**20, 431), (f"{KEY}\0", 400)):
        async with keyed.client() as client:
            await client.send(data("POST", CHAT, head=f"Authorization: Bearer {value}\r\n"))
            assert (await client.answer()).status == status
            assert await client.is_closed()


async def test_open_paths_need_no_key_and_only_they_are_open(keyed: Gate) -> None:
    for path in ("/", "/health", "/health?x=1", "/ui", "/health/", "//health", "/ui/"):
        for method in ("GET", "HEAD"):
            assert (await ask(keyed, method, path)).status in (200, 307), path
    for path in (
        "/healthx",
        "/%68ealth",
        "//admin/status",
        "/ui//../admin/status",
        "/ui/..//admin/status/",
        "/ui/../admin/status",
        "/ui/%2e%2e/admin/status",
        "/.well-known/../admin/status",
        "/.well-known/%2e%2e/admin/status",
        "/.well-known//..//admin/status",
        "/health/../admin/status",
        "/admin/status?/health",
        "/admin/status#/health",
        "/admin%2Fstatus",
        "/ADMIN/status",
    ):
        answer = await ask(keyed, "GET", path)
        assert answer.status in (401, 404), path
        assert b"uptime" not in answer.body
    for method in ("POST", "PUT", "DELETE"):
        assert (await ask(keyed, method, "/health")).status == 401
    for name in ("oauth-protected-resource", "oauth-authorization-server", "oauth-protected-resource/mcp"):
        assert (await ask(keyed, "GET", f"/.well-known/{name}")).status == 404  # 401 would mean: log in to learn how


async def test_a_connection_that_had_a_good_key_needs_it_again(keyed: Gate) -> None:
    good = f"Authorization: Bearer {KEY}\r\n"
    for second in (data("POST", CHAT), data("POST", CHAT, head="Authorization: Bearer correct horsf\r\n")):
        async with keyed.client() as client:
            for _ in range(2):
                await client.send(data("POST", CHAT, head=good))
                assert (await client.answer()).status == 200
            await client.send(second)
            assert (await client.answer()).status == 401


async def test_the_books_know_which_key_was_used_but_not_the_key(keyed: Gate) -> None:
    for _ in range(2):
        await ask(keyed, "POST", CHAT, head="X-Api-Key: battery\r\n")
    assert {r.key for r in (await keyed.rows())[-2:]} == {hashlib.sha256(b"battery").hexdigest()[:8]}


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append(a)
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(guard, "hmac", type("Hmac", (), {"compare_digest": staticmethod(compare)}))
    keeper = Guard(Server(keys=["a", "b"]))
    with pytest.raises(Unauthorized):
        keeper.check_key(b"Bearer nope", None)
    assert compared == [hashlib.sha256(b"nope").digest()] * 2


def test_good_keys_are_remembered_within_bounds() -> None:
    keeper = Guard(Server(keys=["k"]))
    for n in range(3000):
        assert keeper.check_key(b"Bearer " + b" " * n + b"k", None)
        with pytest.raises(Unauthorized):
            keeper.check_key(b"Bearer %d" % n, None)
    assert len(keeper._good_keys) <= 1024


@pytest.mark.parametrize(
    "key", ["", "  ", "env:NOT_SET_ANYWHERE", "sha256:", "sha256:zz", f"sha256:{'a' * 63}", f"sha256:{'a' * 65}"]
)
def test_a_key_that_cannot_work_is_named_at_the_start(key: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.keys\.1: "):
        Guard(Server(keys=["fine", key]))


# -- cross-site requests without a preflight -----------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "text/plain;application/json"],
)
async def test_a_web_form_cannot_load_or_unload(front: Gate, kind: str) -> None:
    body = json.dumps({"model": "m"})
    for path in ("/admin/load", "/admin/unload"):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        answer = await front.ask((head + body).encode())
        assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
