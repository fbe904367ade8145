"""What is said of wrong servers of tools, with the place where it stands; and what of a right one is passed on."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config.check import check
from rolecast.config.mcp import Mcp, ToolServer, offered_to
from rolecast.config.schema import Config, Model, Server
from rolecast.errors import BadRequest
from rolecast.tools.allowing import MOST_SCHEMA, parameters, refusal
from rolecast.tools.naming import LONGEST, name_of
from rolecast.tools.settings import named, setup_of


def found(name: str = "box", **fields: Any) -> dict[str, str]:
    server = ToolServer(**fields)
    models = {"foo": Model(backend="fake")}
    config = Config(
        models=models, roles={"standard": ["foo"]}, server=Server(port=8000), mcp=Mcp(servers={name: server})
    )
    return {".".join(map(str, trail[3:])): text for trail, text in check(config)}


PROGRAM = {"command": ["tool"]}


def test_servers_that_use_everything_have_no_problem() -> None:
    assert found(command=["npx", "-y", "x"], env={"A": "b", "C": "env:D"}, allow=["*"], offer_to=["standard"]) == {}
    headers = {"Authorization": "Bearer env:TOKEN", "X-Key": "env:KEY", "X-Plain": "a b"}
    assert found(url="https://tools.example.com/mcp?x=1", headers=headers, start="now") == {}
    assert found(url="http://127.0.0.1:9000/mcp") == {}
    assert found(url="http://tools.example.com/mcp", insecure=True) == {}


@pytest.mark.parametrize(
    ("fields", "place", "said"),
    [
        ({}, "", "neither is set"),
        (PROGRAM | {"url": "https://a.example/mcp"}, "", "both are set"),
        ({"command": [" "]}, "command.0", "no program"),
        ({"command": ["a", "b\0"]}, "command.1", "no program"),
        (PROGRAM | {"headers": {"A": "b"}}, "headers", "only an address"),
        ({"url": "https://a.example/", "env": {"A": "b"}}, "env", "only a program"),
        ({"url": "http://a.example/mcp"}, "url", "use https://"),
        ({"url": "ftp://a.example/mcp"}, "url", "no address"),
        ({"url": "https://u:secret@a.example/mcp"}, "url", "no name and password"),
        ({"url": "https://a.example:99999/mcp"}, "url", "no address"),
        ({"url": "http://localhost:8000/mcp"}, "url", "the gateway itself"),
        (PROGRAM | {"env": {"A-B": "c"}}, "env.A-B", "no name of a variable"),
        (PROGRAM | {"env": {"A": "env:"}}, "env.A", "name of a variable"),
        ({"url": "https://a.example/", "headers": {"A B": "c"}}, "headers.A B", "no name of a header"),
        ({"url": "https://a.example/", "headers": {"Host": "c"}}, "headers.Host", "the protocol's"),
        ({"url": "https://a.example/", "headers": {"A": "b\r\nc: d"}}, "headers.A", "one line"),
        ({"url": "https://a.example/", "headers": {"A": "Bearer env:X Y"}}, "headers.A", "name of a variable"),
        (PROGRAM | {"allow": [""]}, "allow.0", "is empty"),
        (PROGRAM | {"timeout": 0}, "timeout", "more than zero"),
        (PROGRAM | {"offer_to": ["standart"]}, "offer_to.0", "did you mean 'standard'"),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(fields: dict[str, Any], place: str, said: str) -> None:
    problems = found(**fields)
    assert list(problems) == [place], problems
    assert said in problems[place]
    assert "secret" not in str(problems)


@pytest.mark.parametrize("name", ["on", "off", "a__b", "a b", "", "_a", "ü", "x" * 33, "a.b"])
def test_a_server_cannot_be_called_just_anything(name: str) -> None:
    assert "rename it" in found(name, **PROGRAM)[""]


def test_a_header_of_a_request_names_servers() -> None:
    mcp = Mcp(servers={"a": ToolServer(), "b": ToolServer(), "c": ToolServer(enabled=False)})
    assert named(mcp, "") is None
    assert named(mcp, "off") == ()
    assert named(mcp, "ON") == ("a", "b")
    assert named(mcp, "b, a,b") == ("b", "a")
    with pytest.raises(BadRequest, match="there are: a, b"):
        named(mcp, "c")
    assert offered_to(mcp, "x") == ()


def test_variables_are_put_in_and_one_that_is_missing_is_the_fault_of_its_server_alone() -> None:
    servers = {
        "a": ToolServer(url="https://a.example/", headers={"Authorization": "Bearer env:T", "X": "plain"}),
        "b": ToolServer(command=["x"], env={"K": "env:GONE"}),
        "c": ToolServer(url="https://a.example/", headers={"A": "env:BAD"}),
    }
    first = setup_of(Mcp(servers=servers), {"T": " sesame \n", "BAD": "a\nb"})
    a, b, c = first.servers
    assert a.headers == (("Authorization", "Bearer sesame"), ("X", "plain"))
    assert "GONE is not set" in b.fault
    assert "BAD holds no line" in c.fault
    again = setup_of(Mcp(servers=servers), {"T": "other"})
    assert again.digest != first.digest
    assert "sesame" not in first.digest


@pytest.mark.parametrize(
    ("allow", "name", "destroys", "may"),
    [
        ([], "echo", False, False),
        (["*"], "echo", False, True),
        (["*"], "delete", True, False),
        (["delete"], "delete", True, True),
        (["de*"], "delete", True, False),
        (["ec?o"], "echo", False, True),
        (["Echo"], "echo", False, False),
        (["a[b]"], "a[b]", False, True),
    ],
)
def test_only_what_is_allowed_may_be_called(allow: list[str], name: str, destroys: bool, may: bool) -> None:
    assert (refusal(name, allow, destroys=destroys) == "") is may


def test_schemas_are_passed_on_within_bounds_and_point_nowhere_else() -> None:
    own = {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "string"}}}
    assert msgspec.json.decode(parameters(own)[0]) == own
    outside, why = parameters({"properties": {"a": {"$ref": "https://x.example/s.json"}}})
    assert (msgspec.json.decode(outside), why) == ({"type": "object", "properties": {"a": {}}}, "")
    assert parameters({"type": "string"})[1]
    assert parameters([])[1]
    assert "too long" in parameters({"description": "x" * MOST_SCHEMA})[1]
    deep: Any = {}
    for _ in range(5000):
        deep = {"properties": {"a": deep}}
    assert "deeply" in parameters(deep)[1]


@given(st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True), st.lists(st.text(max_size=90), max_size=30, unique=True))
def test_names_are_what_every_model_takes_and_each_is_another(server: str, tools: list[str]) -> None:
    taken: list[str] = []
    for tool in tools:
        name = name_of(server, tool, taken)
        assert len(name) <= LONGEST
        assert name.isascii()
        assert name.replace("_", "").replace("-", "").isalnum() or not name.strip("_-")
        assert name not in taken
        taken.append(name)
