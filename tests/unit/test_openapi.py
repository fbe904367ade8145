"""The OpenAPI document: of every port all that it serves, by the types that read it, made for who asks."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
import schemathesis
from gateway import CHAT, Gate, chat, pair, reply, request

from rolecast import dialects
from rolecast.config.schema import Listener
from rolecast.pages import openapi_document
from rolecast.pages.openapi_schemas import Schemas

pytestmark = pytest.mark.anyio
VECTORS = b'{"object":"list","data":[%b],"usage":{"prompt_tokens":1}}'
SCORES = b'{"results":[{"index":0,"relevance_score":0.5},{"index":1,"relevance_score":0.25}]}'
PORTS = {
    "front door": "front door",
    "one": "openai",
    "llama": "llama-server",
    "wrapper": "pas",
    "tlc_domain_classifier": "pas",
    "adapter": "adapter",
    "second": "without a model",
    "registry": "registry",
    "monitor": "heartbeat",
    "event_stream": "events",
    "agent_router": "agents",
    "token_governor": "tokens",
    "resource_manager": "resources",
}
LISTENERS = [
    Listener(port=0, name="one", model="m"),
    Listener(port=0, name="llama", model="m", surface="llama-server"),
    Listener(port=0, name="wrapper", model="m", surface="pas"),
    Listener(port=0, name="tlc_domain_classifier", model="m", surface="pas"),
    Listener(port=0, name="adapter", model="m", surface="adapter"),
    Listener(port=0, name="second"),
    Listener(port=0, name="registry", surface="registry"),
    Listener(port=0, name="monitor", surface="heartbeat"),
    Listener(port=0, name="event_stream", surface="events"),
    Listener(port=0, name="agent_router", surface="agents"),
    Listener(port=0, name="token_governor", surface="tokens"),
    Listener(port=0, name="resource_manager", surface="resources"),
]
NOT_HERE = (
    *("/admin/jobs", "/api/pull", "/api/delete", "/admin/reload", "/v1/feedback", "/personas/", "/admin/keys"),
    "/v1/avatars",
)
"""What needs weights, a file or an earlier request, and these gateways have none."""
KEY = "Authorization: Bearer sesame\r\n"


@asynccontextmanager
async def ports(**server: Any) -> AsyncIterator[Gate]:
    """A gateway with a port of every kind."""
    async with pair(listeners=LISTENERS, **server) as (gate, _):
        yield gate


async def read(gate: Gate, listener: str = "front door", head: str = "") -> dict[str, Any]:
    answer = await gate.ask(request(path="/openapi.json", method="GET", head=head), listener, "GET")
    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    return dict(answer.json)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


# -- all of it, and nothing else -----------------------------------------------------------------------------


@pytest.mark.parametrize("listener", PORTS)
async def test_whatever_a_port_serves_says_what_it_takes_and_gives(listener: str) -> None:
    """Fails for a new path that nothing is declared of: see `dialects/operation.py`."""
    async with ports() as gate:
        door = next(door for door in gate.gateway.doors if door.lane.name == listener)
        assert door.view is not None
        served = list(openapi_document.places(door.view.hot, door.view.app._app.routes))  # type: ignore[attr-defined]
        silent = [f"{place.method} {place.path}" for place in served if not place.is_declared]
        assert not silent, f"declare with `told`, or in the dialect's `reference`: {silent}"
        written = {(method, path) for method, path, _ in operations(await read(gate, listener))}
        assert written == {(place.method, openapi_document.plain(place.path)) for place in served}


@pytest.mark.parametrize("listener", PORTS)
async def test_every_path_of_the_document_is_there_and_takes_the_methods_that_it_says(listener: str) -> None:
    async with ports() as gate:
        document = await read(gate, listener)
        async with gate.client(listener) as client:
            for path, methods in document["paths"].items():
                await client.send(request(path=path.replace("{", "").replace("}", ""), method="PATCH"))
                answer = await client.answer("PATCH")
                assert answer.status == 405, (path, answer)
                allowed = set((answer.header("allow") or "").lower().split(", "))
                assert set(methods) <= allowed, path


@pytest.mark.parametrize("listener", PORTS)
async def test_it_is_openapi_and_whole(listener: str) -> None:
    async with ports() as gate:
        document = await read(gate, listener)
    schemathesis.openapi.from_dict(document).validate()
    for place in references(document):
        found: Any = document
        for step in place.removeprefix("#/").split("/"):
            found = found[step]
    used = {place.rpartition("/")[2] for place in references(document)}
    for kind in ("schemas", "responses"):
        assert set(document["components"][kind]) - used == set(), "nothing is written that nobody refers to"
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert {operation["tags"][0] for _, _, operation in operations(document)} == {t["name"] for t in document["tags"]}


async def test_ports_differ_and_each_tells_of_itself() -> None:
    async with ports() as gate:
        documents = {listener: await read(gate, listener) for listener in PORTS}
    paths = {listener: set(document["paths"]) for listener, document in documents.items()}
    assert "/admin/status" in paths["front door"] & paths["second"]
    assert "/admin/status" not in paths["one"] | paths["llama"] | paths["wrapper"]
    assert [name for name in PORTS if "/info" in paths[name]] == ["wrapper", "tlc_domain_classifier", "adapter"]
    assert [name for name in PORTS if "/extract_tmd" in paths[name]] == ["tlc_domain_classifier"]
    assert "/v1/tlc/extract_tmd" in paths["front door"] & paths["second"]
    healthy = {name: documents[name]["paths"]["/health"]["get"]["responses"] for name in PORTS}
    assert [name for name in PORTS if "503" in healthy[name]] == ["one", "llama"]
    strict = documents["wrapper"]["components"]["schemas"]["PASStrictChat"]["properties"]
    assert (strict["temperature"]["maximum"], strict["max_tokens"]["minimum"]) == (2, 1)
    assert documents["one"]["components"]["schemas"]["OpenAIChatBody"]["properties"]["temperature"]["maximum"] == 100


async def test_another_spelling_of_a_path_says_which_is_meant() -> None:
    async with ports() as gate:
        paths = (await read(gate))["paths"]
    assert paths["/completions"]["post"]["x-same-as"] == "/v1/completions"
    assert "x-same-as" not in paths["/v1/completions"]["post"]
    assert "x-same-as" not in paths["/chat/completions"]["post"], "it takes Conductor's prompts, too"
    assert "x-same-as" not in paths["/api/chat"]["post"]


# -- what is said of a path ----------------------------------------------------------------------------------


async def test_a_chat_is_told_by_the_types_that_read_it() -> None:
    async with ports() as gate:
        document = await read(gate)
    operation = document["paths"][CHAT]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/OpenAIChatBody"}
    body = document["components"]["schemas"]["OpenAIChatBody"]
    assert body["required"] == ["messages"]
    assert body["properties"]["top_p"] == {"type": ["number", "null"], "minimum": 0, "maximum": 1}
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert {"400", "404", "413", "422", "429", "502", "503", "504"} <= set(operation["responses"])
    retry = document["components"]["responses"]["OpenAIError429"]
    assert "retry-after" in retry["headers"]


@pytest.mark.parametrize(
    ("path", "method", "component"),
    [
        (CHAT, "post", "OpenAIError"),
        ("/v1/responses", "post", "OpenAIError"),
        ("/api/chat", "post", "OllamaError"),
        ("/api/tags", "get", "OllamaError"),
        ("/v1/messages", "post", "AnthropicError"),
        ("/v1/messages/count_tokens", "post", "AnthropicError"),
        ("/admin/status", "get", "OpenAIError"),
    ],
)
async def test_errors_are_told_in_the_shape_that_they_have(path: str, method: str, component: str) -> None:
    async with ports() as gate:
        document = await read(gate)
        told = document["paths"][path][method]["responses"]["400"]["$ref"].rpartition("/")[2]
        assert told == f"{component}400"
        answer = await gate.ask(request(path=path, method=method.upper(), host="bad host"), method=method.upper())
    assert answer.status == 400
    shape = document["components"]["schemas"][component]
    assert set(shape["properties"]) == set(answer.json)


async def test_the_example_of_every_request_is_one_that_works() -> None:
    able = {"capabilities": ["chat", "completion", "embeddings", "rerank"]}
    async with pair(listeners=LISTENERS, model=able) as (gate, worker):
        for listener in ("front door", "wrapper"):
            for method, path, operation in operations(await read(gate, listener)):
                example = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
                if example is None or path.startswith(NOT_HERE):
                    continue
                if example.get("model") in ("embeddings", "rerank"):
                    example["model"] = "m"
                texts = example.get("input", example.get("inputs", ""))
                count = len(texts) if isinstance(texts, list) else 1
                vectors = [b'{"object":"embedding","index":%d,"embedding":[0.5]}' % i for i in range(count)]
                usual = {"embed": reply(VECTORS % b",".join(vectors)), "rerank": reply(SCORES)}
                worker.usual = next((each for word, each in usual.items() if word in path), reply())
                answer = await gate.ask(request(example, path=path, method=method.upper()), listener)
                # No server of the scripted worker's kind counts tokens.
                wanted = 400 if path.endswith(("count_tokens", "input_tokens")) else 200
                assert answer.status == (201 if path == "/sessions" else wanted), (path, answer)


# -- keys ----------------------------------------------------------------------------------------------------


async def test_with_keys_it_says_how_to_send_one_and_what_needs_none() -> None:
    async with ports(keys=["sesame"]) as gate:
        locked = await gate.ask(request(path="/openapi.json", method="GET"), method="GET")
        page = await gate.ask(request(path="/docs", method="GET"), method="GET")
        document = await read(gate, head=KEY)
    assert (locked.status, page.status) == (401, 200)
    assert set(document["components"]["securitySchemes"]) == {"bearer", "x-api-key"}
    assert document["security"] == [{"bearer": []}, {"x-api-key": []}]
    opened = {path for method, path, operation in operations(document) if operation.get("security") == []}
    assert opened == {"/", "/health", "/ui", "/ui/{name}", "/docs"}
    for _, path, operation in operations(document):
        assert ("401" in operation["responses"]) == (path not in opened), path


async def test_without_keys_it_speaks_of_none() -> None:
    async with ports() as gate:
        document = await read(gate)
    assert "security" not in document
    assert "securitySchemes" not in document["components"]
    assert not [path for _, path, operation in operations(document) if "401" in operation["responses"]]


# -- when it is made -----------------------------------------------------------------------------------------


async def test_it_is_always_the_same_and_follows_an_edit() -> None:
    async with ports() as gate, ports() as other:
        ask = request(path="/openapi.json", method="GET")
        first, again = [(await gate.ask(ask, method="GET")).body for _ in range(2)]
        assert first == again == (await other.ask(ask, method="GET")).body
        server = gate.gateway.current.config.server
        keyed = msgspec.structs.replace(server, keys=["sesame"])
        await gate.gateway.reloader.apply(msgspec.structs.replace(gate.gateway.current.config, server=keyed))
        assert (await gate.ask(ask, method="GET")).status == 401
        assert "securitySchemes" in (await read(gate, head=KEY))["components"]


def test_nothing_of_it_is_imported_before_somebody_asks() -> None:
    late = "[name for name in sys.modules if name.endswith(('_reference', '.openapi_document', '.shapes'))]"
    code = f"import sys, rolecast.app; print({late})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


# -- dialects of other packages ------------------------------------------------------------------------------

MODULE = '''
from rolecast.dialects.openai import OpenAI


class Silent:
    """Says nothing of itself."""

    def __init__(self):
        self.other = OpenAI()

    def paths(self, limits):
        return {"/speak": self.other.paths(limits)["/chat/completions"]}

    def chat(self, request):
        return self.other.chat(request)

    def writer(self, request, model):
        return self.other.writer(request, model)

    def error(self, error, *, started=False):
        return error.body()
'''


async def test_a_dialect_of_another_package_is_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "speech-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: speech\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[rolecast.dialects]\nspeech = speech_dialect:Silent\n")
    (tmp_path / "speech_dialect.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    dialects._plugins.cache_clear()
    try:
        async with ports() as gate:
            document = await read(gate)
            assert (await gate.ask(request(chat(), path="/speak"))).status == 200
    finally:
        dialects._plugins.cache_clear()
    operation = document["paths"]["/speak"]["post"]
    assert operation["tags"] == ["Silent"]
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {"type": "object"}
    schemathesis.openapi.from_dict(document).validate()


# -- schemas -------------------------------------------------------------------------------------------------


class Leaf(msgspec.Struct, tag="leaf", forbid_unknown_fields=True):
    """A leaf."""

    size: Annotated[int, msgspec.Meta(gt=0, le=9)] = 3
    next: "Leaf | None" = None


class Tree(msgspec.Struct):
    leaves: Annotated[list[Leaf], msgspec.Meta(min_length=1)]
    kind: Literal["oak", "elm"]
    raw: msgspec.Raw = msgspec.Raw(b"null")
    names: dict[str, int] = {}
    either: str | list[str] | None = None
    known: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ("a",)})] | None = None


def test_a_type_becomes_a_schema_and_a_struct_a_component() -> None:
    schemas = Schemas()
    assert schemas.of(Tree) == schemas.of(Tree) == {"$ref": "#/components/schemas/Tree"}
    assert schemas.components == {
        "Tree": {
            "type": "object",
            "properties": {
                "leaves": {"type": "array", "items": {"$ref": "#/components/schemas/Leaf"}, "minItems": 1},
                "kind": {"enum": ["elm", "oak"]},
                "raw": {},
                "names": {"type": "object", "additionalProperties": {"type": "integer"}},
                "either": {
                    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]
                },
                "known": {"type": ["string", "null"], "enum": ["a", None]},
            },
            "required": ["leaves", "kind"],
        },
        "Leaf": {
            "type": "object",
            "description": "A leaf.",
            "properties": {
                "type": {"enum": ["leaf"]},
                "size": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9, "default": 3},
                "next": {"anyOf": [{"$ref": "#/components/schemas/Leaf"}, {"type": "null"}]},
            },
            "additionalProperties": False,
        },
    }
    json.dumps(schemas.components)


# -- what the document found ---------------------------------------------------------------------------------


async def test_nothing_to_go_on_from_is_the_clients_mistake_and_not_the_models() -> None:
    async with ports() as gate:
        for path, field in (("/v1/completions", "prompt"), ("/v1/embeddings", "input")):
            for given in (b"[]", b"[ \n ]", b"null"):
                answer = await gate.ask(request(b'{"model":"m","%b":%b}' % (field.encode(), given), path=path))
                assert (answer.status, answer.error["param"]) == (422, field), (path, given)


async def test_a_yes_or_no_of_a_query_is_true_or_false() -> None:
    kept = "/v1/responses/resp_" + "0" * 32
    async with ports() as gate:
        for path in ("/admin/logs?follow=yes", f"{kept}?stream=null", "/admin/logs?model=m&follow="):
            assert (await gate.ask(request(path=path, method="GET"), method="GET")).status == 400, path
