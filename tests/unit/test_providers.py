"""Providers in the cloud: the price list, models that are filled in from it, keys, and `rolecast providers`."""

import csv
import json
import re
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rolecast import backends
from rolecast.cli.commands import app
from rolecast.config import filled, prices, read, secrets, warnings
from rolecast.config.providers import Offer, Provider
from rolecast.config.schema import Model, Price
from rolecast.errors import ConfigError
from rolecast.money import Rates, per_token
from rolecast.turn.plan import rates_of


def config(models: str, *, more: str = "", env: dict[str, str] | None = None) -> Any:
    first = re.match(r"\s*([^:\s]+):", models)
    assert first is not None
    roles = f"roles: {{standard: ['{first[1]}']}}\nrouting: {{default: standard}}\n"
    return read(f"models:\n  {models}\n{roles}{more}", env=env or {}, backends=backends.table())


def test_each_price_is_a_whole_number_per_token_and_each_row_stands_once() -> None:
    text = (files("rolecast.data") / "prices.csv").read_text(encoding="utf-8")
    head, _, rest = text.partition("\n")
    assert re.fullmatch(r"# Dollars per million tokens on \d{4}-\d\d-\d\d, by genai-prices [\d.]+", head)
    assert prices.told() == head.removeprefix("# ")
    rows = list(csv.DictReader(rest.splitlines()))
    assert len(rows) > 500
    named = [(row["provider"], row["model"]) for row in rows]
    assert named == sorted(set(named))
    assert {row["provider"] for row in rows} == set(prices.providers())
    for row in rows:
        for kind in ("input", "cached", "written", "output"):
            if row[kind]:
                exactly = Decimal(row[kind]) * 10**6  # picodollars per token
                assert exactly == exactly.to_integral_value() == per_token(prices.cents(float(row[kind]))), row


def test_each_provider_can_be_asked_and_names_models_that_are_listed() -> None:
    for name, row in prices.providers().items():
        assert row.title, name
        assert row.url.startswith("https://"), name
        assert row.keys, name
        assert row.backend in ("openai", "anthropic"), name
        for level in prices.LEVELS:
            if model := getattr(row, level):
                assert prices.rates_of(f"{name}/{model}") is not None, (name, model)
        assert prices.offers(name), name


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("openai/gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"),
        ("anthropic/claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"),
        ("grok/grok-4", "xai/grok-4-0709"),
        ("Google/gemini-2.5-flash-lite", "gemini/gemini-2.5-flash-lite"),
        ("cerebras/gpt-oss-120b-20260101", "cerebras/gpt-oss-120b"),
        ("gemini/models/gemini-2.5-flash", "gemini/gemini-2.5-flash"),
        ("gemini/gemini-2.5-pro-preview-06-05", "gemini/gemini-2.5-pro"),
        ("gemini/gemini-1.5-flash-002", "gemini/gemini-1.5-flash"),
        ("gemini/gemini-2.5-pro-exp-03-25", "gemini/gemini-2.5-pro"),
        ("openrouter/openai/gpt-4o:nitro", "openrouter/openai/gpt-4o"),
        ("openrouter/openai/gpt-4o-2024-08-06:online", "openrouter/openai/gpt-4o"),
    ],
)
def test_a_model_has_one_price_under_all_its_names(name: str, same: str) -> None:
    assert prices.rates_of(name) == prices.rates_of(same)
    assert prices.rates_of(name) is not None


def test_a_model_that_is_free_by_its_name_costs_nothing_and_is_the_same_otherwise() -> None:
    for name in ("deepseek/deepseek-r1:free", "nobody/knows:free"):
        found = prices.offer("openrouter", name)
        assert found is not None
        assert (found.input, found.output) == (0, 0)
        rates = prices.rates_of(f"openrouter/{name}")
        assert rates is not None
        assert rates.free
    listed, free = (
        prices.offer("openrouter", "deepseek/deepseek-r1"),
        prices.offer("openrouter", "deepseek/deepseek-r1:free"),
    )
    assert listed is not None
    assert free is not None
    assert (free.context, free.features) == (listed.context, listed.features)
    made = config("r1: {provider: openrouter, remote_model: 'deepseek/deepseek-r1:free', key: k}")
    assert not [each for each in warnings(made, backends.table()) if "price" in str(each)]
    assert rates_of(made.models["r1"]) is None


def test_prices_are_told_in_picodollars_and_a_stranger_has_none() -> None:
    assert prices.rates_of("openai/gpt-4o-mini") == Rates(input=150_000, output=600_000, cached=75_000, written=150_000)
    for stranger in ("openai/nothing", "nobody/gpt-4o", "gpt-4o", "", "/", "openai/"):
        assert prices.rates_of(stranger) is None


def test_a_row_of_the_users_comes_first() -> None:
    own = {
        "openai": Provider(models={"gpt-4o-mini": Offer(input=1.0, output=2.0)}),
        "acme": Provider(url="https://a.example/v1", models={"m": Offer(input=0.25, output=0.5, context=9000)}),
    }
    assert prices.rates_of("openai/gpt-4o-mini", own) == Rates(1_000_000, 2_000_000, 1_000_000, 1_000_000)
    assert prices.rates_of("openai/gpt-4o", own) == prices.rates_of("openai/gpt-4o")
    assert prices.rates_of("acme/m", own) == Rates(250_000, 500_000, 250_000, 250_000)
    found = prices.provider("openai", own)
    assert found is not None
    assert found[1].url == "https://api.openai.com/v1"


def test_a_model_that_names_its_provider_needs_no_more() -> None:
    model = config("big: {provider: openai, remote_model: gpt-4o-mini}").models["big"]
    assert (model.backend, model.url, model.key) == ("openai", "https://api.openai.com/v1", "env:OPENAI_API_KEY")
    assert model.price == Price(input=15.0, output=60.0, cached=7.5)
    assert rates_of(model) == prices.rates_of("openai/gpt-4o-mini")
    assert model.context == 128000
    assert model.capabilities == ["chat", "vision"]
    assert model.tools
    other = config("claude-haiku-4-5: {provider: anthropic}").models["claude-haiku-4-5"]
    assert (other.backend, other.key) == ("anthropic", "env:ANTHROPIC_API_KEY")
    assert rates_of(other) == prices.rates_of("anthropic/claude-haiku-4-5")
    vectors = config("v: {provider: mistral, remote_model: mistral-embed}").models["v"]
    assert vectors.capabilities == ["embeddings"]


def test_what_the_user_says_stays() -> None:
    text = "big: {provider: openai, remote_model: gpt-4o, key: env:MINE, context: 9000, price: {input: 1, output: 2}, "
    model = config(text + "capabilities: [chat], tools: false}").models["big"]
    assert (model.key, model.context, model.tools) == ("env:MINE", 9000, False)
    assert model.price == Price(input=1, output=2)
    assert model.capabilities == ["chat"]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com.evil.example/v1",
        "http://api.openai.com/v1",
        "https://evil.example/v1",
        "https://api.openai.com@evil.example/v1",
        "http://127.0.0.1:9/v1",
        "https://[",
    ],
)
def test_a_key_is_filled_in_for_no_other_host(url: str) -> None:
    value = {"models": {"big": {"provider": "openai", "url": url, "remote_model": "gpt-4o"}}}
    filled.fill(value, {"OPENAI_API_KEY": "sk-secret"})
    assert "key" not in value["models"]["big"]
    assert value["models"]["big"]["url"] == url
    same = {"models": {"big": {"provider": "openai", "url": "https://API.openai.com/v1/other"}}}
    filled.fill(same, {})
    assert same["models"]["big"]["key"] == "env:OPENAI_API_KEY"


def test_the_variable_that_is_set_is_used_and_names_the_model_of_a_size() -> None:
    env = {"GROK_API_KEY": "x", "GROK_MODEL_NAME_LOW": "grok-3-mini"}
    models = config("l: {provider: grok, remote_model: low}\n  h: {provider: xai, remote_model: high}", env=env).models
    assert models["l"].key == "env:GROK_API_KEY"
    assert models["l"].remote_model == "grok-3-mini"
    assert rates_of(models["l"]) == prices.rates_of("xai/grok-3-mini")
    assert models["h"].remote_model == prices.providers()["xai"].high


@pytest.mark.parametrize(
    "broken", [None, [], "x", {"a": None}, {"a": []}, {"a": {"provider": 3}}, {"a": {"provider": ""}}]
)
def test_whatever_stands_there_is_left_to_the_checks(broken: Any) -> None:
    filled.fill({"models": broken, "providers": broken}, {})
    filled.fill(broken, {})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["openai", "low"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*Model.__struct_fields__, *Provider.__struct_fields__, "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(ANYTHING, st.dictionaries(st.sampled_from(["openai", "x"]), ANYTHING, max_size=2))
def test_no_value_of_a_file_makes_it_stumble(model: Any, own: dict[str, Any]) -> None:
    given_one = {**model, "provider": "openai"} if isinstance(model, dict) else model
    filled.fill({"models": {"m": given_one, "n": model}, "providers": own}, {})


def test_a_provider_that_nobody_knows_is_named_with_its_line() -> None:
    with pytest.raises(
        ConfigError, match=r"rolecast.yaml:2: models.big.provider: there is no provider 'opnai'; did you"
    ):
        config("big: {provider: opnai, backend: openai}")
    with pytest.raises(ConfigError) as told:
        config("big: {provider: opnai}")
    assert len(told.value.problems) == 1, "that a source is missing, too, is no help"
    with pytest.raises(ConfigError, match=r"known are openai, .*, moonshot\. Or give its `url` here"):
        config("big: {provider: nobody-at-all}")
    with pytest.raises(ConfigError, match=r"providers.acme: 'url' is missing"):
        config("a: {backend: fake}", more="providers: {acme: {title: Acme}}")
    with pytest.raises(ConfigError, match=r"providers.openai.models.x: 'output' is missing"):
        config("a: {backend: fake}", more="providers: {openai: {models: {x: {input: 1}}}}")


def test_a_price_that_nobody_knows_is_warned_of() -> None:
    lines = warnings(config("big: {provider: openai, remote_model: gpt-4o-minni}"), backends.table())
    assert any(line.startswith("models.big.price: the price list has no 'gpt-4o-minni'") for line in lines)
    lines = warnings(config("big: {provider: openai, remote_model: zz}"), backends.table())
    assert any("has no 'zz' of openai. Requests to it are counted without costs" in line for line in lines)
    lines = warnings(config("big: {provider: acme, backend: openai, url: 'https://a.example/v1'}"), backends.table())
    assert any("there is no provider 'acme'" in line for line in lines)
    lines = warnings(config("big: {provider: openai, remote_model: gpt-4o-mini}"), backends.table())
    assert not any("price" in line for line in lines)


# -- keys in files -------------------------------------------------------------------------------------------


def test_a_key_may_stand_in_a_file_that_nobody_else_can_read(tmp_path: Path) -> None:
    place = tmp_path / "key"
    place.write_text(" sk-in-a-file\n", encoding="utf-8")
    place.chmod(0o600)
    assert secrets.read(f"file:{place}", "k", sent=True).value == "sk-in-a-file"
    planned = backends.get("openai").plan("m", Model(url="https://a.example/v1", key=f"file:{place}"), None, None)  # type: ignore[arg-type]
    assert b"Bearer sk-in-a-file" in planned.headers  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (b"sk-secret", 0o644, "others may read the file"),
        (b"", 0o600, "holds no key"),
        (b"\xff\xfe\x00", 0o600, "holds no key"),
        (b"sk-one\nsk-two", 0o600, "holds no usable key"),
        (b"x" * 70_000, 0o600, "holds no key"),
        (None, 0, "cannot be read: No such file"),
    ],
)
def test_a_file_that_holds_no_key_is_named_and_its_content_is_not(
    tmp_path: Path, content: bytes | None, mode: int, why: str
) -> None:
    place = tmp_path / "key"
    if content is not None:
        place.write_bytes(content)
        place.chmod(mode)
    with pytest.raises(ConfigError, match=why) as caught:
        secrets.read(f"file:{place}", "models.m.key", sent=True)
    assert "sk-" not in str(caught.value)


def test_the_path_of_a_key_must_be_whole() -> None:
    assert "whole path" in secrets.fault("file:key", sent=True)
    assert secrets.fault("file:/run/secrets/key", sent=True) == ""
    assert secrets.fault("file:~/.key", sent=True) == ""


# -- commands ------------------------------------------------------------------------------------------------


def run(*args: str, env: dict[str, str] | None = None) -> Any:
    return CliRunner(env={"COLUMNS": "200", **(env or {})}).invoke(app, list(args), catch_exceptions=False)


def test_the_command_lists_providers_with_whether_a_key_is_there_and_never_the_key(tmp_path: Path) -> None:
    file = tmp_path / "rolecast.yaml"
    file.write_text(
        "models: {big: {provider: openai, remote_model: gpt-4o}}\nroles: {standard: [big]}\n"
        "routing: {default: standard}\n",
        encoding="utf-8",
    )
    env = {"OPENAI_API_KEY": "sk-not-to-be-shown"}
    told = run("providers", "--config", str(file), env=env).stdout
    assert "OPENAI_API_KEY, which is set" in told
    assert "sk-not" not in told
    rows = {
        row["name"]: row for row in json.loads(run("providers", "-c", str(file), "--json", env=env).stdout)["providers"]
    }
    assert rows["openai"]["key_present"] is True
    assert rows["openai"]["configured"] == ["big"]
    assert rows["cohere"]["key_present"] is False


def test_the_command_shows_the_prices_of_one_as_texts() -> None:
    one = json.loads(run("providers", "openai", "--json").stdout)
    row = next(each for each in one["offers"] if each["model"] == "gpt-4o-mini")
    assert (row["input"], row["cached"], row["written"], row["output"]) == ("0.15", "0.075", None, "0.6")
    assert "gpt-4o-mini" in run("providers", "openai").stdout


@pytest.mark.parametrize("name", list(prices.providers()))
def test_a_configuration_for_each_provider_is_valid(name: str) -> None:
    text = run("init", "-", "--provider", name).stdout
    models = read(text, env={}, backends=backends.table()).models
    assert models
    assert all(model.url and model.price is not None for model in models.values())
