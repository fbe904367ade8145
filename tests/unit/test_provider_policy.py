"""Who is chosen, on plain values: the rules of PAS's router, what is left out, what comes last, and the chain."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.errors import Conflict, NotFound
from rolecast.registry import providers
from rolecast.registry.chain import chain_of
from rolecast.registry.policy import NO_SLO, OBSERVED, REASONS, Candidate, Optimization, Selection, Wish, choose, ranked
from rolecast.registry.providers import Provider, Providers, Slo


def candidate(name: str, cost: int | None = 10, **more: Any) -> Candidate:
    fields: dict[str, Any] = {"model": "m", "endpoint": f"http://{name}", "provider": name, "names": frozenset({"m"})}
    return ranked(Candidate(name, **{**fields, "input_cost": cost, "output_cost": cost, **more}))


def names(selection: Selection) -> list[str]:
    return [each.name for each in (selection.first, *selection.others)]


WISH = Wish(model="m")


def test_the_cheapest_by_the_mean_of_both_prices_wins() -> None:
    found = choose([candidate("a", 0, output_cost=30), candidate("b", 10), candidate("c", 14)], WISH)
    assert names(found) == ["b", "c", "a"]
    assert found.reason == "Lowest cost provider"


def test_a_price_that_nobody_knows_comes_last() -> None:
    assert names(choose([candidate("a", None), candidate("b", 10**9)], WISH)) == ["b", "a"]


def test_latency_goes_by_what_was_observed_and_then_by_what_is_promised() -> None:
    wish = Wish(model="m", optimization="latency")
    promised = [candidate("a", 1, latency_ms=900.0), candidate("b", 9, latency_ms=300.0), candidate("c", 0)]
    found = choose(promised, wish)
    assert (names(found), found.reason) == (["b", "a", "c"], REASONS["latency"])
    seen = candidate("d", 99, latency_ms=200.0, observed=True)
    found = choose([*promised, seen], wish)
    assert (found.first, found.reason) == (seen, OBSERVED)
    waits = candidate("d", 99, latency_ms=200.0, wait_ms=200.0)
    assert choose([*promised, waits], wish).first.name == "b"


def test_without_any_promise_the_cheapest_is_taken_and_that_is_said() -> None:
    found = choose([candidate("a", 2), candidate("b", 1)], Wish(model="m", optimization="latency"))
    assert (names(found), found.reason) == (["b", "a"], NO_SLO)


def test_balanced_weighs_cost_before_latency() -> None:
    wish = Wish(model="m", optimization="balanced")
    cheap_and_slow, dear_and_fast = candidate("a", 10, latency_ms=1000.0), candidate("b", 100, latency_ms=100.0)
    # 0.7 * 0.1 + 0.3 * 1 = 0.37 and 0.7 * 1 + 0.3 * 0.1 = 0.73
    assert choose([cheap_and_slow, dear_and_fast], wish).first.name == "a"
    # at 90 the cheap one has 0.7 * 0.9 + 0.3 = 0.93
    assert choose([candidate("a", 90, latency_ms=1000.0), dear_and_fast], wish).first.name == "b"


@pytest.mark.parametrize(
    ("wish", "able"),
    [
        (Wish(model="other"), False),
        (Wish(model="m", context=8192), True),
        (Wish(model="m", context=8193), False),
        (Wish(model="m", features=frozenset({"vision"})), True),
        (Wish(model="m", features=frozenset({"vision", "embeddings"})), False),
        (Wish(capability="reasoning"), True),
        (Wish(capability="tagging"), False),
        (Wish(model="m", only_local=True), False),
        (Wish(model="m", max_latency_ms=500.0), True),
        (Wish(model="m", max_latency_ms=499.0), False),
    ],
)
def test_who_cannot_is_left_out(wish: Wish, able: bool) -> None:
    one = candidate(
        "a",
        context=8192,
        features=frozenset({"vision", "streaming"}),
        capabilities=frozenset({"reasoning"}),
        latency_ms=500.0,
    )
    if able:
        assert choose([one], wish).first is one
    else:
        with pytest.raises(NotFound):
            choose([one], wish)


def test_a_budget_is_compared_with_a_thousand_tokens_in_and_five_hundred_out() -> None:
    one = candidate("a", 2, output_cost=4)
    assert choose([one], Wish(model="m", max_cost=4000)).first is one
    with pytest.raises(NotFound) as error:
        choose([one, candidate("b", None)], Wish(model="m", max_cost=3999))
    assert error.value.code == "no_provider_in_budget"


def test_local_first_holds_against_any_price_and_only_if_wanted() -> None:
    here, there = candidate("here", 50, local=True), candidate("there", 1)
    assert choose([here, there], Wish(model="m", prefer_local=True)).first is here
    assert choose([here, there], WISH).first is there


def test_who_is_not_well_comes_last_whatever_it_costs() -> None:
    assert names(choose([candidate("ill", 0, well=False), candidate("well", 99)], WISH)) == ["well", "ill"]


CANDIDATES = st.builds(
    lambda name, cost, latency, well, local: candidate(name, cost, latency_ms=latency, well=well, local=local),
    st.text("abcdef", min_size=1, max_size=3),
    st.none() | st.integers(0, 10**15),
    st.none() | st.floats(0, 1e6),
    st.booleans(),
    st.booleans(),
)
KINDS = st.sampled_from(["cost", "latency", "balanced"])


@given(st.lists(CANDIDATES, min_size=1, max_size=30, unique_by=lambda each: each.name), KINDS, st.randoms())
def test_the_order_in_which_they_registered_means_nothing(
    all_of_them: list[Candidate], optimization: Optimization, dice: Any
) -> None:
    wish = Wish(model="m", optimization=optimization)
    before = names(choose(all_of_them, wish))
    dice.shuffle(all_of_them)
    assert names(choose(all_of_them, wish)) == before
    assert sorted(before) == sorted(each.name for each in all_of_them)


@given(st.lists(CANDIDATES, min_size=1, max_size=30, unique_by=lambda each: each.name), KINDS)
def test_nobody_who_is_as_well_is_better_in_all(all_of_them: list[Candidate], optimization: Optimization) -> None:
    first = choose(all_of_them, Wish(model="m", optimization=optimization)).first
    for other in all_of_them:
        if other.well == first.well:
            assert not (other.by_cost[0] < first.by_cost[0] and other.by_latency[0] < first.by_latency[0])


# -- the chain -----------------------------------------------------------------------------------------------


def own(name: str, **more: Any) -> Candidate:
    capabilities = frozenset({"chat"})
    fields: dict[str, Any] = {"local": True, "model_id": name, "provider": "local", "capabilities": capabilities}
    return candidate(name, 0, **{**fields, **more})


def test_who_may_not_be_asked_is_passed_over_and_one_of_ours_is_the_last() -> None:
    found = choose([candidate("a", 1, why_not="not listed"), candidate("b", 2, model_id="provider/b")], WISH)
    chain = chain_of(found, [own("small"), own("big")], WISH, usual=["big"])
    assert chain.models == ("provider/b", "big", "small")
    assert [each.name for each in chain.skipped] == ["a"]


def test_a_chain_is_as_long_as_there_are_attempts_and_ends_with_one_of_ours() -> None:
    found = choose([candidate(name, 1, model_id=f"provider/{name}") for name in "abcd"], WISH)
    assert chain_of(found, [own("ours")], WISH).models == ("provider/a", "provider/b", "ours")
    assert chain_of(found, [], WISH).models == ("provider/a", "provider/b", "provider/c")
    assert chain_of(found, [own("ours")], WISH, attempts=1).models == ("provider/a",)
    assert chain_of(found, [own("ours")], WISH, attempts=2).models == ("provider/a", "ours")
    assert len(chain_of(found, [own("ours")], WISH, attempts=9).models) == 5


def test_ours_must_be_able_to_do_it_too() -> None:
    wish = Wish(model="m", features=frozenset({"vision"}))
    found = choose([candidate("a", 1, features=frozenset({"vision"}))], wish)
    blind, seeing = own("blind"), own("seeing", features=frozenset({"vision"}))
    embeds = own("embeds", features=frozenset({"vision"}), capabilities=frozenset({"embeddings"}))
    assert chain_of(found, [blind, embeds, seeing], wish).models == ("seeing",)
    assert chain_of(found, [blind], wish).models == ()


# -- who registered ------------------------------------------------------------------------------------------


def provider(name: str, cost: int = 1, model: str = "m") -> Provider:
    return Provider(name, model, 8192, cost, cost, "http://x")


def test_one_that_was_switched_off_comes_back_when_it_registers_again() -> None:
    known = Providers()
    fresh, action = known.registered(provider("a"), 1.0)
    known.put(fresh)
    assert (action, known.of("a").created_at) == ("registered", 1.0)
    known.put(known.deactivated("a", 2.0))
    with pytest.raises(NotFound):
        known.of("a")
    assert (known.of_model("m"), known.listed()) == ([], [])
    assert (known.stats().active_providers, known.stats().inactive_providers) == (0, 1)
    fresh, action = known.registered(provider("a", 5), 3.0)
    known.put(fresh)
    assert action == "updated"
    assert (known.of("a").created_at, known.of("a").updated_at, known.of_model("m")) == (1.0, 3.0, [fresh])


def test_one_that_changes_its_model_is_found_by_the_new_one_alone() -> None:
    known = Providers()
    known.put(provider("a"))
    known.put(provider("a", model="other"))
    assert known.of_model("m") == []
    assert [each.name for each in known.of_model("other")] == ["a"]
    assert known.stats().unique_models == ["other"]


def test_there_is_a_bound_and_those_who_are_known_can_still_be_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "MOST", 2)
    known = Providers()
    for name in "ab":
        known.put(known.registered(provider(name), 1.0)[0])
    with pytest.raises(Conflict):
        known.registered(provider("c"), 1.0)
    assert known.registered(provider("a"), 1.0)[1] == "updated"


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5), st.booleans())))
def test_the_index_by_model_always_has_those_that_are_active_cheapest_first(steps: list[tuple[str, int, bool]]) -> None:
    known, expected = Providers(), dict[str, int]()
    for name, cost, on in steps:
        if on:
            known.put(known.registered(provider(name, cost), 1.0)[0])
            expected[name] = cost
        elif known.get(name) is not None:
            known.put(known.deactivated(name, 1.0))
            expected.pop(name, None)
    assert [each.name for each in known.of_model("m")] == sorted(expected, key=lambda name: (expected[name], name))


def test_a_promise_may_be_absent_in_whole_or_in_part() -> None:
    assert provider("a").latency_ms is None
    assert Provider("a", "m", 1, 0, 0, "x", slo=Slo(throughput_rps=5.0)).latency_ms is None
    assert Provider("a", "m", 1, 0, 0, "x", slo=Slo(latency_p95_ms=5.0)).latency_ms == 5.0
