"""The cross-checks, the name table and the advice."""

import pytest

from rolecast import config
from rolecast.backends import table
from rolecast.config import names
from rolecast.config.advice import warnings
from rolecast.config.check import check, exposed, is_loopback
from rolecast.config.schema import Config, Limits, Listener, Memory, Model, Routing, Server, Storage

KNOWN = table()


def cast(**sections: object) -> Config:
    base: dict[str, object] = {"models": {"foo": Model(source="hf:o/r")}, "roles": {"standard": ["foo"]}}
    return Config(**{**base, **sections})  # type: ignore[arg-type]


def found(loaded: Config) -> dict[str, str]:
    return {".".join(map(str, trail)): text for trail, text in check(loaded, KNOWN)}


def with_model(**settings: object) -> Config:
    return cast(models={"foo": Model(**settings)})  # type: ignore[arg-type]


def test_a_good_configuration_has_no_problem_and_no_warning() -> None:
    assert check(cast(), KNOWN) == []
    assert config.warnings(cast(), table()) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_loopback_addresses_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.example.org"])
def test_everything_else_counts_as_public(host: str) -> None:
    assert not is_loopback(host)


def test_what_lets_other_machines_in_is_found_and_with_keys_only_warned_about() -> None:
    assert exposed(Server(host="0.0.0.0")) == [("server.host", "0.0.0.0")]
    assert exposed(Server(listeners=[Listener(port=1, host="10.0.0.1")])) == [("server.listeners.0.host", "10.0.0.1")]
    assert exposed(Server(listeners=[Listener(port=1, host="::1")])) == []
    guarded = cast(server=Server(host="0.0.0.0", keys=["env:K"]))
    assert found(guarded) == {}
    assert config.warnings(guarded, table())[0].startswith("server.host: 0.0.0.0 lets other machines in")


def test_a_key_that_can_never_match_or_always_does_is_refused() -> None:
    keys = ["plain", "env:NAME", "sha256:" + "0a" * 32, "sha256:zz", ""]
    assert set(found(cast(server=Server(keys=keys)))) == {"server.keys.3", "server.keys.4"}


def test_one_name_means_one_thing() -> None:
    models = {
        "foo": Model(source="hf:o/r", aliases=["bar", "x", "auto", "", "naïve", "foo"]),
        "bar": Model(source="hf:o/r", aliases=["x", "standard"]),
        "off": Model(source="hf:o/r", aliases=["x", "free"], enabled=False),
    }
    problems = found(cast(models=models, roles={"standard": ["foo"], "bar": ["bar"], "auto": ["foo"], "off": ["foo"]}))
    assert set(problems) == {
        "roles.bar",
        "roles.auto",
        "models.foo.aliases.0",
        "models.foo.aliases.2",
        "models.foo.aliases.3",
        "models.foo.aliases.4",
        "models.foo.aliases.5",
        "models.bar.aliases.0",
        "models.bar.aliases.1",
    }
    assert problems["models.bar.aliases.0"] == (
        "the name 'x' is already taken by the alias of 'foo'; rename one of them"
    )


def test_the_table_says_what_each_name_stands_for() -> None:
    models = {
        "org/foo:1b": Model(source="hf:o/r", aliases=["nick"]),
        "gone": Model(source="hf:o/r", aliases=["nobody"], enabled=False),
    }
    table = names.table(cast(models=models, roles={"standard": ["org/foo:1b", "gone"]}))
    assert table["org/foo:1b"] == names.Name("org/foo:1b", "model", ("org/foo:1b",))
    assert table["nick"] == names.Name("nick", "alias", ("org/foo:1b",))
    assert table["standard"] == names.Name("standard", "role", ("org/foo:1b",))
    assert table["gone"].models == ("gone",)
    assert "nobody" not in table


def test_roles_name_enabled_models() -> None:
    models = {"foo": Model(source="hf:o/r", aliases=["nick"]), "off": Model(enabled=False)}
    roles = {"standard": ["foo", "foo"], "a": ["nick"], "b": ["off"], "c": [], "d": ["fo"]}
    problems = found(cast(models=models, roles=roles))
    assert problems["roles.standard.1"] == "model 'foo' is already in this role; list it once"
    assert problems["roles.a.0"] == "there is no model 'nick'; did you mean 'foo'?"
    assert problems["roles.b.0"].startswith("model 'off' is disabled")
    assert problems["roles.c"].startswith("the role lists no model")
    assert problems["roles.d.0"].endswith("did you mean 'foo'?")


def test_equals_of_a_role_are_named_and_judged_where_they_stand() -> None:
    models = {name: Model(source="hf:o/r") for name in "abcd"} | {"off": Model(enabled=False)}
    good = cast(models=models, roles={"standard": [["a", "off", "b"], "c"], "one": [["d"]], "gone": [["a", "off"]]})
    table = names.table(good)
    assert table["standard"] == names.Name("standard", "role", ("a", "b", "c"), (("a", "b"),))
    assert (table["one"].models, table["one"].equals) == (("d",), ())
    assert (table["gone"].models, table["gone"].equals) == (("a",), ())
    bad = {"standard": [["a", "x"], "b", ["b"]], "none": [[]], "some": [[], "a"], "twice": [["a", "a"]]}
    assert set(found(cast(models=models, roles=bad))) == {
        "roles.standard.0.1",
        "roles.standard.2.0",
        "roles.none",
        "roles.some.0",
        "roles.twice.0.1",
    }


def test_a_role_of_different_embedding_models_is_pointed_out() -> None:
    vectors = {name: Model(source=f"hf:o/{name[0]}", capabilities=["embeddings"]) for name in ("a", "a2", "b", "c")}
    conf = cast(
        models=vectors, roles={"standard": ["a"], "same": ["a", "a2"], "equals": [["b", "c"]], "e": ["b", "a", "c"]}
    )
    (line,) = warnings(conf)
    assert line.startswith("roles.e: only b answers embeddings: vectors of a, c could not be compared with its own")


def test_the_default_roles_must_exist() -> None:
    problems = found(cast(routing=Routing(default="other", embeddings="vectors", strategies=[], min_confidence=2)))
    assert set(problems) == {
        "routing.default",
        "routing.embeddings",
        "routing.strategies",
        "routing.min_confidence",
    }


def test_listeners_need_a_model_that_exists_and_a_port_of_their_own() -> None:
    listeners = [
        Listener(port=8000),
        Listener(port=9000, model="nope"),
        Listener(port=9000, host="localhost"),
        Listener(port=9000, host="127.0.0.2", model="foo"),
        Listener(port=0),
        Listener(port=0),
    ]
    assert found(cast(server=Server(listeners=listeners))) == {
        "server.listeners.0.port": "port 8000 is already used by server.port; give it another one",
        "server.listeners.1.model": "there is no model 'nope'; models are: foo",
        "server.listeners.2.port": "port 9000 is already used by server.listeners.1; give it another one",
    }


def test_an_address_for_all_interfaces_clashes_with_each_of_them() -> None:
    listeners = [Listener(port=8000, host="127.0.0.1")]
    problems = found(cast(server=Server(host="0.0.0.0", keys=["env:K"], listeners=listeners)))
    assert list(problems) == ["server.listeners.0.port"]


def test_an_unknown_backend_is_named_with_the_likely_one() -> None:
    assert found(with_model(backend="lamacpp", source="hf:o/r")) == {
        "models.foo.backend": "there is no backend 'lamacpp'; did you mean 'llamacpp'?"
    }
    assert check(with_model(backend="plugin")) == []


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({}, "models.foo"),
        ({"source": "/models/x.gguf"}, "models.foo.source"),
        ({"source": "https://example.org/x.gguf"}, "models.foo.source"),
        ({"source": "hf:o/r", "sha256": "abc"}, "models.foo.sha256"),
        ({"source": "hf:o/r", "timeout": 0.0}, "models.foo.timeout"),
        ({"source": "hf:o/r", "load_timeout": 0.0}, "models.foo.load_timeout"),
        ({"source": "hf:o/r", "capabilities": ["reasoning"]}, "models.foo.capabilities"),
        ({"source": "hf:o/r", "capabilities": ["chat", ""]}, "models.foo.capabilities"),
        ({"source": "hf:o/r", "context": 2**30, "parallel": 2}, "models.foo.context"),
        ({"backend": "openai"}, "models.foo"),
        ({"backend": "openai", "url": "ftp://x"}, "models.foo.url"),
        ({"backend": "openai", "url": "http://"}, "models.foo.url"),
        ({"backend": "openai", "url": "http://h:99999"}, "models.foo.url"),
        ({"backend": "openai", "url": "http://user:pw@h/v1"}, "models.foo.url"),
        ({"backend": "openai", "url": "http://h/v1?x=1"}, "models.foo.url"),
    ],
)
def test_a_model_that_cannot_work_is_refused(settings: dict[str, object], place: str) -> None:
    assert list(found(with_model(**settings))) == [place]


@pytest.mark.parametrize(
    "settings",
    [
        {"source": "https://example.org/x.gguf", "sha256": "a" * 64},
        {"source": "ollama:qwen3:4b"},
        {"backend": "openai", "url": "https://api.example.org/v1"},
        {"backend": "openai", "url": "unix:/run/llm.sock"},
        {"backend": "fake"},
        {"source": "hf:o/r", "capabilities": ["embeddings", "my-own-word"]},
    ],
)
def test_a_model_that_can_work_is_accepted(settings: dict[str, object]) -> None:
    assert found(with_model(**settings)) == {}


def test_a_disabled_model_needs_no_source() -> None:
    models = {"foo": Model(source="hf:o/r"), "later": Model(enabled=False)}
    assert found(cast(models=models)) == {}


def test_limits_that_refuse_everybody_are_refused() -> None:
    loaded = cast(
        models={"foo": Model(source="hf:o/r", parallel=8)},
        server=Server(limits=Limits(connections=4, body=0)),  # type: ignore[arg-type]
        stand_in="nobody",
    )
    assert set(found(loaded)) == {"server.limits.body", "models.foo.parallel", "stand_in"}


@pytest.mark.parametrize("budget", ["auto", "80%", "12GB", 1_000_000])
def test_memory_budgets_that_make_sense_are_accepted(budget: str | int) -> None:
    assert found(cast(memory=Memory(budget=budget))) == {}


@pytest.mark.parametrize("budget", ["half", "0%", "101%", "0", ""])
def test_memory_budgets_that_make_none_are_refused(budget: str) -> None:
    assert list(found(cast(memory=Memory(budget=budget)))) == ["memory.budget"]


@pytest.mark.parametrize("size", ["half", "0", 0, "-1GiB"])
def test_a_size_of_a_model_that_is_none_is_one_problem(size: str | int) -> None:
    config = Config(models={"m": Model(source="hf:o/r", memory=size)}, roles={"standard": ["m"]})
    assert [trail for trail, _ in check(config)] == [("models", "m", "memory")]


def test_a_set_of_models_that_names_a_stranger_says_who_may_be_meant() -> None:
    (text,) = found(cast(memory=Memory(together=[["foo", "fooo"]]))).values()
    assert text == "there is no model 'fooo'; did you mean 'foo'?"


@pytest.mark.parametrize(
    ("size", "refused"), [("auto", False), ("8GiB", False), (0, False), ("half", True), (-1, True)]
)
def test_disk_for_conversations_is_a_size_or_none(size: str | int, refused: bool) -> None:
    assert list(found(cast(memory=Memory(conversations=size)))) == ["memory.conversations"] * refused


def test_storage_is_a_file_a_server_or_a_variable_by_url() -> None:
    assert found(cast(storage=Storage(url="sqlite:///~/x.db"))) == {}
    assert found(cast(storage=Storage(url="env:BOOKS_URL"))) == {}
    for url in (
        "postgresql://db/books",
        "postgres://me:p%40ss@[::1]:5433/books?sslmode=require",
        "postgresql:///books",
    ):
        assert found(cast(storage=Storage(url=url))) == {}
    for url in ("mysql://x", "postgresql:/x", "postgresql://a b/c", "sqlite://x", "x.db", "env:", "env:A B"):
        assert list(found(cast(storage=Storage(url=url)))) == ["storage.url"]
    (problem,) = found(cast(storage=Storage(url="postgresql:/me:sesame@x"))).values()
    assert "sesame" not in problem


def test_settings_without_effect_are_pointed_out() -> None:
    models = {
        "foo": Model(source="hf:o/r", url="http://x", args=["-v"], pinned=True, idle_timeout=5.0),  # type: ignore[arg-type]
        "far": Model(backend="openai", url="http://h/v1", key="sk-1", threads=4, capabilities=["chat", "embedding"]),
        "own": Model(backend="plugin", url="http://h", threads=4),
    }
    loaded = cast(models=models, server=Server(keys=["plain"], allowed_hosts=["*"]))
    lines = config.warnings(loaded, table())
    assert [line.split(": ")[0] for line in lines] == [
        "server.keys",
        "server.allowed_hosts",
        "models.foo.url",
        "models.foo.args",
        "models.foo.idle_timeout",
        "models.far.threads",
        "models.far.key",
        "models.far.capabilities",
    ]
    assert not any("sk-1" in line for line in lines)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://h:1/v1/v1", "ends in /v1/v1; write the version once"),
        ("http://h:1/api/v1/v1/", "ends in /v1/v1"),
        ("http://h:1/v1/chat/completions", "ends in /chat/completions, which is added to it"),
        ("http://h:1/v1/models", "ends in /models"),
        ("http://h:1/v1", ""),
        ("https://h/compatible-mode/v1", ""),
        ("https://h/v1/v2x", ""),
        ("https://h", ""),
    ],
)
def test_a_remote_address_with_a_path_too_many_is_pointed_out(url: str, said: str) -> None:
    warnings = "\n".join(config.warnings(with_model(backend="openai", url=url), table()))
    assert (said in warnings) if said else warnings == ""


def test_a_disabled_model_may_be_for_something_that_no_request_reaches() -> None:
    assert found(with_model(source="hf:o/r", enabled=False, capabilities=["seeing"])).keys() <= {"roles.standard.0"}
    assert "models.foo.capabilities" in found(with_model(source="hf:o/r", capabilities=["seeing"]))
    assert not found(with_model(source="hf:o/r", capabilities=["rerank"])).keys() - {"roles.standard.0"}


@pytest.mark.parametrize(
    ("settings", "place", "says"),
    [
        ({"pooling": "none"}, "pooling", "mean, cls, last"),
        ({"pooling": "rank"}, "pooling", "capabilities: [rerank]"),
        ({"pooling": "meen"}, "pooling", "did you mean 'mean'?"),
        ({"pooling": "x"}, "pooling", "mean, cls, last"),
        ({"prompt_cache": "much"}, "prompt_cache", "512MiB"),
        ({"prompt_cache": -1}, "prompt_cache", "0 for none"),
        ({"prompt_cache": ""}, "prompt_cache", "auto"),
    ],
)
def test_settings_of_the_engine_that_cannot_be_are_refused_with_what_can(
    settings: dict[str, object], place: str, says: str
) -> None:
    problems = found(with_model(source="hf:o/r", capabilities=["embeddings"], **settings))
    assert set(problems) == {f"models.foo.{place}"}
    assert says in problems[f"models.foo.{place}"]


@pytest.mark.parametrize("size", ["auto", 0, "0", "512MiB", 1 << 30])
def test_sizes_of_the_prompt_cache_that_make_sense_are_accepted(size: str | int) -> None:
    assert found(with_model(source="hf:o/r", prompt_cache=size)) == {}


def test_settings_of_the_engine_are_pointed_out_where_it_does_not_run() -> None:
    engine = {"pooling": "last", "ubatch": 64, "mmap": False, "fit": True, "spin_count": 0, "prompt_cache": 0}
    engine |= {"checkpoints": 2, "cache_reuse": 32, "slot_similarity": 0.1, "speculative": "off"}
    remote = with_model(backend="openai", url="http://h/v1", capabilities=["embeddings"], **engine)
    told = [line for line in config.warnings(remote, table()) if "does nothing" in line]
    assert {line.split(":")[0].rpartition(".")[2] for line in told} == set(engine)
    assert any(
        "without the capability" in line
        for line in config.warnings(with_model(source="hf:o/r", pooling="cls"), table())
    )
