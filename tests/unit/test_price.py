"""What a model is worth for a request: what counts for it and against it, and who wins."""

import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolecast.config import names
from rolecast.config.load import load
from rolecast.config.routing import Routing, Worth
from rolecast.config.schema import Config, Model, Seconds, Variant
from rolecast.decision import Bond, Card, Choice, Facts, Hints, Ranked, Verdict
from rolecast.errors import ConfigError
from rolecast.routing import build
from rolecast.routing.price import ANSWER_TOKENS, Field, Price, chance, stakes
from rolecast.routing.view import View
from rolecast.turn.bonds import Bonds


class Seen(View):
    """A request of which this much is known."""

    def __init__(self, facts: Facts, difficulty: float = -1.0, **sure: str) -> None:
        super().__init__(facts, lambda: None, {})
        self._difficulty, self._sure = difficulty, sure

    def sure(self, of: str) -> str:
        return self._sure.get(of, "")

    @property
    def fails(self) -> float:
        return self._difficulty


def asked(tokens: int = 200, **fields: Any) -> Facts:
    return Facts("auto", "chat", text="x" * 400, tokens=tokens, **fields)


def rank(
    cards: list[Card], view: View | None = None, price: Price | None = None, others: int = 0, **field: Any
) -> tuple[Ranked, ...]:
    """The ranking of these; the last `others` of them belong to another role."""
    by_id = {card.model: card for card in cards}
    ids = [card.model for card in cards]
    own = len(ids) - others
    found, _ = (price or Price()).rank(Field(ids[:own], ids[own:], **field), view or Seen(asked()), by_id.__getitem__)
    return found


def order(*args: Any, **more: Any) -> list[str]:
    return [ranked.model for ranked in rank(*args, **more)]


def why(cards: list[Card], view: View | None = None, **field: Any) -> str:
    by_id = {card.model: card for card in cards}
    return Price().rank(Field([card.model for card in cards], **field), view or Seen(asked()), by_id.__getitem__)[1]


# -- the trade ---------------------------------------------------------------------------------------------------

BETTER = Card("better", quality=0.78, ready=False, load_s=30, tokens_per_s=60, prompt_tokens_per_s=600)
RESIDENT = Card("resident", quality=0.65, tokens_per_s=60, prompt_tokens_per_s=600)


def test_a_slightly_better_model_that_would_have_to_load_loses_to_a_resident_one() -> None:
    assert order([BETTER, RESIDENT]) == ["resident", "better"]
    assert why([BETTER, RESIDENT]) == "resident before better"


def test_it_wins_where_the_request_is_hard_or_quality_is_preferred() -> None:
    assert order([BETTER, RESIDENT], Seen(asked(), 0.4, tier="heavy"))[0] == "better"
    assert order([BETTER, RESIDENT], price=Price(prefer="quality"))[0] == "better"
    assert order([BETTER, RESIDENT], Seen(asked(hints=Hints(prefer="quality"))))[0] == "better"


def test_the_word_of_a_request_counts_before_the_configured_one() -> None:
    hurried = Seen(asked(hints=Hints(prefer="speed")))
    assert order([BETTER, RESIDENT], hurried, Price(prefer="quality"))[0] == "resident"
    assert (
        order([BETTER, RESIDENT], Seen(asked(hints=Hints(prefer="nonsense"))), Price(prefer="quality"))[0] == "better"
    )


def test_a_load_of_a_second_or_two_changes_nothing() -> None:
    quick = msgspec.structs.replace(BETTER, load_s=2.0)
    assert order([quick, RESIDENT]) == ["better", "resident"]
    assert why([quick, RESIDENT]) == ""


def test_money_counts_against_a_remote_and_ten_times_as_much_where_cost_is_preferred() -> None:
    remote = Card("remote", quality=0.8, elsewhere=True, input_cents=300, output_cents=1500)
    local = Card("local", quality=0.7)
    assert order([remote, local])[0] == "remote"
    assert order([remote, local], price=Price(prefer="cost"))[0] == "local"
    assert why([remote, local], Seen(asked(hints=Hints(prefer="cost")))) == "cheaper"


def test_a_long_queue_is_left_for_an_idle_model() -> None:
    busy = Card("busy", quality=0.7, wait_s=40)
    assert order([busy, Card("idle", quality=0.65)]) == ["idle", "busy"]
    assert why([busy, Card("idle", quality=0.65)]) == "less busy"


def test_energy_counts_where_it_is_known() -> None:
    hungry = Card("hungry", quality=0.7, watts=300, tokens_per_s=10, prompt_tokens_per_s=90)
    frugal = Card("frugal", quality=0.7, watts=30, tokens_per_s=10, prompt_tokens_per_s=90)
    assert order([hungry, frugal], price=Price(prefer="cost"))[0] == "frugal"


def test_a_long_answer_makes_speed_count_more_than_a_short_one() -> None:
    fast, slow = Card("fast", quality=0.6, tokens_per_s=100), Card("slow", quality=0.72, tokens_per_s=10)
    assert order([slow, fast], Seen(asked(), category="creative_writing"))[0] == "fast"
    assert order([slow, fast], Seen(asked(), category="classification"))[0] == "slow"
    assert order([slow, fast], Seen(asked(answer_tokens=5), category="creative_writing"))[0] == "slow"


# -- other models than the role's --------------------------------------------------------------------------------

CODER = Card("coder", quality=0.66, ready=False, load_s=30, tokens_per_s=30)
GENERAL = Card("general", quality=0.55, tokens_per_s=30)


def test_a_model_of_another_role_only_saves_a_long_load_for_an_easy_request() -> None:
    assert order([CODER, GENERAL], Seen(asked(), 0.2, tier="light"), others=1)[0] == "general"
    assert order([CODER, GENERAL], others=1)[0] == "coder"
    assert order([CODER, GENERAL], Seen(asked(), 0.6, tier="heavy"), others=1)[0] == "coder"


@pytest.mark.parametrize("tier", ["light", "", "heavy"])
@pytest.mark.parametrize("prefer", ["balanced", "quality", "speed", "cost"])
def test_it_never_overrules_a_role_that_is_ready_however_good_and_fast_it_is(tier: str, prefer: Any) -> None:
    weak = Card("weak", quality=0.3, tokens_per_s=3, watts=100)
    giant = Card("giant", quality=0.95, tokens_per_s=500)
    assert order([weak, giant], Seen(asked(), 0.5, tier=tier), Price(prefer=prefer), others=1)[0] == "weak"


@pytest.mark.parametrize(
    "other",
    [
        Card("other", quality=0.9, elsewhere=True, input_cents=None, output_cents=None),
        Card("other", quality=0.9, elsewhere=True),
        Card("other", quality=0.9, output_cents=1),
        Card("other", quality=0.9, ready=False, load_s=1),
    ],
)
def test_no_other_is_asked_that_is_elsewhere_or_costs_money_or_has_to_load_itself(other: Card) -> None:
    slow = msgspec.structs.replace(CODER, load_s=3000)
    assert order([slow, other], Seen(asked(), 0.1, tier="light"), others=1) == ["coder"]


# -- what nobody knows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "blank", [{"quality": None}, {"tokens_per_s": 0.0}, {"prompt_tokens_per_s": 0.0}, {"watts": 0.0}]
)
def test_what_is_not_known_of_a_model_does_not_make_it_win(blank: dict[str, Any]) -> None:
    known = Card("known", quality=0.6, tokens_per_s=20, prompt_tokens_per_s=100, watts=50)
    blind = msgspec.structs.replace(known, model="blind", **blank)
    assert order([known, blind]) == ["known", "blind"]
    assert order([blind, known]) == ["blind", "known"]


def test_a_remote_of_no_known_price_does_not_win_by_that() -> None:
    priced = Card("priced", elsewhere=True, input_cents=300, output_cents=1500)
    unknown = Card("unknown", elsewhere=True, input_cents=None, output_cents=None)
    assert order([priced, unknown]) == ["priced", "unknown"]
    free = Card("free", elsewhere=True)
    assert order([priced, free], price=Price(prefer="cost"))[0] == "free"


def test_who_wants_to_save_gets_no_bill_from_one_that_only_looks_free() -> None:
    unknown = Card("unknown", elsewhere=True, input_cents=None, output_cents=None)
    saving = Price(prefer="cost")
    here = Card("here", quality=0.3)
    assert order([unknown, here]) == ["unknown", "here"]
    assert order([unknown, here], price=saving)[0] == "here"
    dear = Card("dear", elsewhere=True, input_cents=3000, output_cents=9000)
    cheap = Card("cheap", elsewhere=True, input_cents=1, output_cents=1)
    assert order([unknown, dear, cheap], price=saving)[0] == "cheap"
    assert rank([unknown, dear], price=saving)[1].worth_s == pytest.approx(
        rank([dear, unknown], price=saving)[1].worth_s
    )
    said_free = Card("unknown", elsewhere=True, input_cents=0, output_cents=0)
    assert order([said_free, here], price=saving)[0] == "unknown"
    half = Card("half", elsewhere=True, input_cents=1, output_cents=None)  # half a price is none
    assert order([half, here], price=saving)[0] == "here"


def test_a_load_of_no_known_length_is_no_short_one() -> None:
    cold = Card("cold", quality=0.6, ready=False)
    assert order([cold, Card("warm", quality=0.6)])[0] == "warm"


def test_equals_keep_the_configured_order() -> None:
    cards = [Card(name) for name in ("c", "a", "b")]
    assert order(cards) == ["c", "a", "b"]
    assert order(cards, equals=[("c", "a")]) == ["c", "a", "b"]


# -- properties --------------------------------------------------------------------------------------------------

number = partial(st.floats, 0.0, allow_nan=False)
CARDS = st.builds(
    Card,
    model=st.just(""),
    quality=st.none() | st.floats(0, 1),
    ready=st.booleans(),
    elsewhere=st.booleans(),
    load_s=number(1000),
    wait_s=number(1000),
    tokens_per_s=st.just(0.0) | st.floats(0.1, 1000),
    prompt_tokens_per_s=st.just(0.0) | st.floats(0.1, 10_000),
    input_cents=st.none() | number(10_000),
    output_cents=st.none() | number(10_000),
    watts=st.just(0.0) | st.floats(1, 1000),
)
FIELDS = st.lists(CARDS, min_size=2, max_size=6).map(
    lambda cards: [msgspec.structs.replace(card, model=f"m{i}") for i, card in enumerate(cards)]
)
VIEWS = st.builds(
    lambda difficulty, tier, category, tokens, prefer: Seen(
        asked(tokens, hints=Hints(prefer=prefer)), difficulty, tier=tier, category=category
    ),
    st.just(-1.0) | st.floats(0, 1),
    st.sampled_from(["", "light", "heavy"]),
    st.sampled_from(sorted(ANSWER_TOKENS)),
    st.integers(0, 100_000),
    st.sampled_from(["", "quality", "speed", "cost", "balanced"]),
)
IMPROVED: Mapping[str, Callable[[Card], Card]] = {
    "quality": lambda c: msgspec.structs.replace(c, quality=min(1.0, (c.quality or 0) + 0.1)),
    "load": lambda c: msgspec.structs.replace(c, load_s=c.load_s / 2),
    "ready": lambda c: msgspec.structs.replace(c, ready=True),
    "wait": lambda c: msgspec.structs.replace(c, wait_s=c.wait_s / 2),
    "writes": lambda c: msgspec.structs.replace(c, tokens_per_s=c.tokens_per_s * 2),
    "reads": lambda c: msgspec.structs.replace(c, prompt_tokens_per_s=c.prompt_tokens_per_s * 2),
    "price": lambda c: msgspec.structs.replace(
        c,
        input_cents=None if c.input_cents is None else c.input_cents / 2,
        output_cents=None if c.output_cents is None else c.output_cents / 2,
    ),
    "watts": lambda c: msgspec.structs.replace(c, watts=c.watts and max(1e-9, c.watts / 2)),
}


def known_only(name: str, card: Card) -> bool:
    """Whether what is improved was known: a number that is found out is no improvement."""
    needed = {
        "quality": card.quality is not None,
        "load": card.load_s > 1e-3,  # half of the least number is 0, which means unknown
        "writes": card.tokens_per_s > 0,
        "reads": card.prompt_tokens_per_s > 0,
    }
    return needed.get(name, True)


@settings(max_examples=400, deadline=None)
@given(FIELDS, VIEWS, st.sampled_from(sorted(IMPROVED)), st.integers(0, 5), st.booleans())
def test_a_model_that_gets_better_in_one_thing_never_falls_behind(
    cards: list[Card], view: Seen, what: str, at: int, sticks: bool
) -> None:
    at %= len(cards)
    used = cards[0].model if sticks else ""
    if not known_only(what, cards[at]):
        return
    before = order(cards, view, used=used)
    better = [*cards[:at], IMPROVED[what](cards[at]), *cards[at + 1 :]]
    after = rank(better, view, used=used)
    model = cards[at].model
    (own,) = (ranked.worth_s for ranked in after if ranked.model == model)
    ahead = [r.model for r in after if r.worth_s > own + 1e-9 * abs(own)]  # sums of the same numbers may differ by that
    assert set(ahead) <= set(before[: before.index(model)])


@settings(max_examples=200, deadline=None)
@given(FIELDS, VIEWS, st.integers(0, 5))
def test_every_model_is_ranked_once_with_a_finite_worth_the_best_first(
    cards: list[Card], view: Seen, others: int
) -> None:
    others = min(others, len(cards) - 1)
    ranking = rank(cards, view, others=others)
    models = [ranked.model for ranked in ranking]
    assert len(models) == len(set(models))
    assert {card.model for card in cards[: len(cards) - others]} <= set(models)
    worths = [ranked.worth_s for ranked in ranking]
    assert worths == sorted(worths, reverse=True)
    assert all(abs(worth) < 1e12 for worth in worths)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_better_model_and_the_easier_request_are_likelier_answered_right(a: float, b: float, d: float) -> None:
    low, high = sorted((a, b))
    assert 0 < chance(low, d) <= chance(high, d) < 1
    assert chance(d, high) <= chance(d, low)


@pytest.mark.parametrize(
    ("difficulty", "right"),
    [(0.12, 0.97), (0.22, 0.94), (0.29, 0.83), (0.39, 0.66), (0.52, 0.68), (0.67, 0.47)],
)
def test_the_formula_tells_how_often_a_stronger_model_is_right(difficulty: float, right: float) -> None:
    """GPT-4 on MMLU's questions by how hard the learned model takes them; it gets 80 % of all."""
    assert chance(0.80, difficulty) == pytest.approx(right, abs=0.1)


def test_stakes_grow_with_difficulty_and_a_sure_tier_counts_first() -> None:
    assert stakes("", -1) == pytest.approx(1)
    assert stakes("light", 0.9) == stakes("", 0.0) == 0.5
    assert stakes("heavy", 0.1) == stakes("", 1.0) == 4
    found = [stakes("", d / 10) for d in range(11)]
    assert found == sorted(found)


@pytest.mark.parametrize("value", [".nan", ".inf", "-1", "-.inf"])
@pytest.mark.parametrize("setting", ["watts: {}", "quality: {}", "price: {{input: {}}}", "price: {{output: {}}}"])
def test_no_configuration_holds_a_number_that_is_none(setting: str, value: str, tmp_path: Path) -> None:
    text = f"models: {{m: {{backend: fake, {setting.format(value)}}}}}\nroles: {{standard: [m]}}\n"
    file = tmp_path / "rolecast.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=setting.split(":")[0]):
        load(file)


# -- the router --------------------------------------------------------------------------------------------------

CONFIG = Config(
    models={name: Model(capabilities=["chat"]) for name in ("big", "small", "coder", "tiny", "loner")}
    | {"off": Model(enabled=False), "vectors": Model(capabilities=["embeddings"])},
    roles={"standard": ["small", "big"], "coding": ["coder", "off"], "light": ["tiny"], "embeddings": ["vectors"]},
)


class Says:
    """A strategy that says the same every time."""

    def __init__(self, verdict: Verdict | None) -> None:
        self.verdict = verdict

    def decide(self, view: View) -> Verdict | None:
        return self.verdict


def choose(verdict: Verdict | None, cards: Mapping[str, Card], config: Config = CONFIG, **fields: Any) -> Choice:
    router = build(names.table(config), config)
    router._strategies = [Says(verdict)]
    facts = Facts("auto", fields.pop("kind", "chat"), text="hello", **fields)
    return router.choose(facts, lambda model_id: cards.get(model_id, Card(model_id)))


def learned(role: str) -> Verdict:
    return Verdict(role, "learned", f"looks like {role}", 0.9)


COLD = {"coder": Card("coder", ready=False, load_s=60)}


def test_a_role_that_is_decided_is_helped_by_the_default_role_while_it_would_have_to_load() -> None:
    choice = choose(learned("coding"), COLD)
    assert (choice.model, choice.role) == ("small", "coding")
    assert choice.reason == "looks like coding, already loaded"
    assert choice.alternatives == ("big", "coder")
    assert {ranked.model for ranked in choice.ranking} == {"coder", "small", "big"}
    assert choose(learned("coding"), {}).model == "coder"


def test_a_disabled_model_and_one_of_another_kind_are_never_ranked() -> None:
    choice = choose(learned("coding"), COLD)
    assert {"off", "vectors", "loner", "tiny"}.isdisjoint(ranked.model for ranked in choice.ranking)


def test_a_rule_and_a_model_are_obeyed_whatever_that_costs() -> None:
    assert choose(Verdict("coding", "rule", "rule 1"), COLD).model == "coder"
    assert choose(Verdict("coder", "learned", "looks like it"), COLD).model == "coder"


def test_a_role_that_a_client_names_keeps_the_users_order() -> None:
    cards = {"small": Card("small", ready=False, load_s=500)}
    router = build(names.table(CONFIG), CONFIG)
    choice = router.choose(Facts("standard", "chat"), lambda m: cards.get(m, Card(m)))
    assert (choice.model, choice.alternatives, choice.ranking) == ("small", ("big",), ())
    assert choose(None, cards).model == "big"


def test_a_model_that_lacks_what_is_wished_comes_last_however_good_it_is() -> None:
    def can(model_id: str, need: str) -> bool:
        return model_id != "small"

    router = build(names.table(CONFIG), CONFIG, can)
    router._strategies = [Says(None)]
    facts = Facts("auto", "chat", prefers=frozenset({"tools"}), text="hi")
    cards = {"big": Card("big", quality=0.1, ready=False, load_s=300)}
    choice = router.choose(facts, lambda m: cards.get(m, Card(m, quality=0.9)))
    assert choice.model == "big"


def test_vectors_are_not_weighed() -> None:
    assert choose(None, {}, kind="embeddings").ranking == ()


def test_equals_share_only_while_they_are_worth_about_the_same() -> None:
    config = msgspec.structs.replace(CONFIG, roles={**CONFIG.roles, "standard": [["small", "big"]]})
    assert choose(None, {}, config).equals == (("small", "big"),)
    cold = {"small": Card("small", ready=False, load_s=20)}
    choice = choose(None, cold, config)
    assert (choice.model, choice.equals) == ("big", ())


def test_reasons_hold_no_number_and_come_from_a_fixed_list() -> None:
    drawn = random.Random(1)
    found = set()
    for _ in range(300):
        cards = [
            Card(
                f"m{i}",
                quality=drawn.choice([None, drawn.random()]),
                ready=drawn.random() < 0.5,
                load_s=drawn.random() * 90,
                wait_s=drawn.choice([0, drawn.random() * 90]),
                tokens_per_s=drawn.random() * 100,
                watts=drawn.random() * 500,
                output_cents=drawn.random() * 5000,
            )
            for i in range(3)
        ]
        found.add(why(cards, used=drawn.choice(["", "m2"])))
        for ranked in rank(cards):
            assert not any(c.isdigit() for c in ranked.reason)
    assert found <= {
        "", "already loaded", "resident before better", "less busy", "faster", "cheaper", "saves energy", "better",
        "as before", "it can do what is wished",
    }  # fmt: skip
    assert len(found) > 4


def test_twenty_models_are_weighed_in_a_fraction_of_a_millisecond() -> None:
    config = Config(
        models={f"m{i}": Model(capabilities=["chat"]) for i in range(20)},
        roles={"standard": [f"m{i}" for i in range(20)]},
    )
    cards = {
        f"m{i}": Card(f"m{i}", quality=i / 20, wait_s=i, tokens_per_s=10, prompt_tokens_per_s=90) for i in range(20)
    }
    router = build(names.table(config), config)
    router._strategies = [Says(None)]
    facts = Facts("auto", "chat", text="hello", conversation="c", bond=Bond("m7"))
    times = []
    for _ in range(300):
        began = time.perf_counter()
        router.choose(facts, cards.__getitem__)
        times.append(time.perf_counter() - began)
    best = sorted(times)[len(times) // 10]
    print(f"choose with 20 models: {best * 1e6:.0f} us, median {sorted(times)[150] * 1e6:.0f} us")
    assert best < 300e-6


# -- conversations -----------------------------------------------------------------------------------------------


def turn(bond: Bond | None, verdict: Verdict | None, cards: Mapping[str, Card] = {}, **fields: Any) -> Choice:
    return choose(verdict, cards, bond=bond, turns=fields.pop("turns", 2), conversation="c", **fields)


def test_a_later_turn_stays_with_its_model_though_its_words_are_for_another_role() -> None:
    choice = turn(Bond("coder", "coding", level=3), learned("standard"))
    assert (choice.model, choice.role) == ("coder", "coding")
    assert choice.reason == "looks like standard, as before"
    assert turn(Bond("big", "standard", level=1), None).model == "big"


def test_a_first_turn_is_bound_to_nobody() -> None:
    assert turn(Bond("coder", "coding", level=3), learned("standard"), turns=1).model == "small"


def test_a_conversation_rises_to_code_and_to_what_is_heavy_and_not_back() -> None:
    assert turn(Bond("small", "standard", level=1), learned("coding")).model == "coder"
    assert turn(Bond("tiny", "light", level=0), learned("standard")).model == "small"
    assert turn(Bond("coder", "coding", level=3), learned("light")).model == "coder"


def test_no_model_is_switched_inside_an_open_tool_call() -> None:
    bond = Bond("tiny", "light", level=0)
    choice = turn(bond, learned("coding"), open_call=True, turns=1)
    assert choice.model == "tiny"
    assert choice.reason.endswith(", its tool call is open")
    assert choice.alternatives == ("coder",)
    assert turn(Bond("off"), learned("coding"), open_call=True).model == "coder"
    loose = msgspec.structs.replace(bond, firm=False)
    assert turn(loose, learned("coding"), open_call=True).model == "tiny"


def test_a_model_that_is_gone_disabled_or_unable_holds_no_conversation() -> None:
    for model in ("off", "gone", "vectors"):
        assert turn(Bond(model, "standard", level=3), None).model == "small"


def test_a_model_that_only_stepped_in_does_not_keep_the_conversation() -> None:
    assert turn(Bond("big", "standard", level=1, firm=False), None).model == "small"


def test_a_rule_ends_a_conversation_with_another_model() -> None:
    assert turn(Bond("coder", "coding", level=3), Verdict("light", "rule", "rule 1")).model == "tiny"
    assert turn(Bond("big", "standard", level=1), Verdict("standard", "rule", "rule 1")).model == "big"


def test_a_model_that_was_decided_is_obeyed_whatever_the_conversation_is_used_to() -> None:
    assert turn(Bond("coder", "coding", level=3), learned("tiny")).model == "tiny"
    config = msgspec.structs.replace(CONFIG, variants={"polite": Variant(model="standard", system="Be polite.")})
    choice = choose(learned("polite"), {}, config, bond=Bond("coder", "coding", level=3), turns=2)
    assert choice.model == "small"
    assert choice.defaults is not None
    choice = choose(learned("polite"), {}, config, bond=Bond("big", "standard", level=3), turns=2)
    assert (choice.model, choice.defaults is not None) == ("big", True)


def test_the_order_of_a_cascade_is_left_as_it_is() -> None:
    cards = {"small": Card("small", ready=False, load_s=500)}
    assert choose(Verdict("standard", "cascade", "standard"), cards).ranking == ()  # type: ignore[arg-type]
    assert turn(Bond("coder", "coding", level=3), Verdict("standard", "cascade", "x")).model == "small"  # type: ignore[arg-type]


def test_another_role_of_the_users_own_is_obeyed() -> None:
    config = msgspec.structs.replace(CONFIG, roles={**CONFIG.roles, "erp": ["tiny"], "crm": ["loner"]})
    bond = Bond("tiny", "erp", level=1)
    assert choose(learned("crm"), {}, config, bond=bond, turns=2).model == "loner"
    assert choose(learned("standard"), {}, config, bond=bond, turns=2).model == "tiny"


def test_a_prompt_that_the_model_still_holds_need_not_be_read_again() -> None:
    slow = {m: Card(m, quality=0.6, tokens_per_s=50, prompt_tokens_per_s=100) for m in ("small", "big")}
    waits = {**slow, "big": msgspec.structs.replace(slow["big"], wait_s=50)}
    bond = Bond("big", "standard", level=1)
    assert turn(bond, None, waits, tokens=500).model == "small"
    assert turn(bond, None, waits, tokens=8000).model == "big"
    unloaded = {**waits, "big": msgspec.structs.replace(slow["big"], ready=False, load_s=50)}
    assert turn(bond, None, unloaded, tokens=8000).model == "small"


def test_a_conversation_does_not_flap_while_queues_go_up_and_down() -> None:
    drawn = random.Random(3)
    waits = {"small": 5.0, "big": 5.0}
    bond: Bond | None = None
    held = free = 0
    last = alone = ""
    for _ in range(2000):
        for model in waits:
            waits[model] = min(10.0, max(0.0, waits[model] + drawn.uniform(-2, 2)))
        cards = {m: Card(m, quality=0.6, wait_s=w) for m, w in waits.items()}
        model = turn(bond, None, cards).model
        held += last != "" and model != last
        bond, last = Bond(model, "standard", level=1), model
        unbound = turn(None, None, cards).model
        free += alone != "" and unbound != alone
        alone = unbound
    assert free > 100
    assert held <= free / 10


def test_sure_words_of_every_kind_change_the_model_three_times_at_most() -> None:
    for seed in range(30):
        drawn = random.Random(seed)
        kept = Bonds()
        models: list[str] = []
        for _ in range(60):
            said = drawn.choice([None, *map(learned, ("light", "standard", "coding"))])
            choice = turn(kept.of("c"), said)
            kept.note("c", choice.model, choice)
            models.append(choice.model)
        switches = sum(a != b for a, b in pairwise(models))
        assert switches <= 3


def test_no_worth_is_so_big_that_sums_are_no_numbers_any_more() -> None:
    price = Price(Worth(answer=Seconds(1e308), cent=Seconds(1e308), kilojoule=Seconds(1e308)), "quality")
    cards = [Card("a", quality=1.0, output_cents=1e9, watts=1e9, tokens_per_s=0.1), Card("b", quality=0.0)]
    assert all(abs(ranked.worth_s) < float("inf") for ranked in rank(cards, price=price))


def test_worth_of_the_configuration_is_heeded() -> None:
    worth = Worth(answer=Seconds(6000))
    assert order([BETTER, RESIDENT], price=Price(worth))[0] == "better"
    cards = {
        "small": msgspec.structs.replace(BETTER, model="small"),
        "big": msgspec.structs.replace(RESIDENT, model="big"),
    }
    assert choose(None, cards).model == "big"
    for routing in (Routing(worth=worth), Routing(prefer="quality")):
        assert choose(None, cards, msgspec.structs.replace(CONFIG, routing=routing)).model == "small"


def test_a_conversation_that_began_with_a_greeting_rises_to_what_is_surely_more_only() -> None:
    greeted = Bond("tiny", "light", level=0)
    assert turn(greeted, None).model == "tiny"
    assert turn(greeted, learned("light")).model == "tiny"
    assert turn(greeted, learned("standard")).model == "small"


def test_neither_the_order_of_the_models_in_the_file_nor_that_of_their_cards_counts() -> None:
    turned = msgspec.structs.replace(CONFIG, models=dict(reversed(CONFIG.models.items())))
    drawn = random.Random(5)
    for _ in range(50):
        cards = {m: Card(m, quality=drawn.choice([None, 0.5, 0.7]), ready=drawn.random() < 0.5) for m in CONFIG.models}
        for said in (None, learned("coding")):
            one = choose(said, cards)
            other = choose(said, dict(reversed(cards.items())), turned)
            assert (one.model, one.alternatives) == (other.model, other.alternatives)


def test_a_conversation_stays_with_one_of_equals() -> None:
    config = msgspec.structs.replace(CONFIG, roles={**CONFIG.roles, "standard": [["small", "big"]]})
    choice = choose(None, {}, config, bond=Bond("big", "standard", level=1), turns=2)
    assert (choice.model, choice.equals) == ("big", ())
