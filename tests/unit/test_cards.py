"""How a model stands just now, as choices weigh it: by its configuration, its weights, its worker and its past."""

import time
from collections import deque
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import tiny_gguf
from gateway import config, on_uvloop, running_gateway

from rolecast.books.pace import Past
from rolecast.config.schema import Model, Price
from rolecast.decision import Bond, Card, Choice
from rolecast.fleet.queue import Waiter
from rolecast.fleet.worker import State
from rolecast.routing.sticky import HEAVY
from rolecast.turn import cards as cards_module
from rolecast.turn.bonds import KEPT_S, MOST, Bonds
from rolecast.turn.cards import ABSENT_S, START_S, Cards
from rolecast.turn.paces import Paces
from rolecast.values import Usage
from rolecast.weights.quality import guess, size_in

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop


# -- sizes -------------------------------------------------------------------------------------------------------

PUBLISHED = [
    (0.135, 0.315), (0.362, 0.358), (0.494, 0.475), (1.24, 0.493), (1.54, 0.609), (1.71, 0.50), (3.09, 0.656),
    (3.21, 0.634), (4.3, 0.596), (7.62, 0.742), (8.03, 0.694), (12.2, 0.745), (14.8, 0.797), (27.4, 0.786),
    (32.8, 0.833), (70.6, 0.836), (72.7, 0.861),
]  # fmt: skip
"""Billions of parameters and MMLU scores of SmolLM2, Qwen2.5, Llama 3 and Gemma 3."""


@pytest.mark.parametrize(("billions", "score"), PUBLISHED)
def test_quality_is_guessed_near_published_scores(billions: float, score: float) -> None:
    assert guess(billions * 1e9) == pytest.approx(score, abs=0.07)


def test_quality_grows_with_size_and_stays_a_share() -> None:
    found = [guess(10**e) for e in range(14)]
    assert found == sorted(found)
    assert 0 < found[0] < found[-1] < 1


@pytest.mark.parametrize(
    ("text", "billions"),
    [
        ("7B", 7), ("135M", 0.135), ("qwen2.5-0.5b-instruct", 0.5), ("llama3.1:8b", 8), ("mixtral-8x7b", 56),
        ("hf:Qwen/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf", 4), ("gemma-3-270m-it", 0.27), ("gpt-4-32k", 0), ("claude", 0),
        ("model-8bit", 0), ("v2b1", 0), ("Q4_K_M", 0), ("phi-3.5-mini", 0), ("", 0), ("b", 0), ("abc7bde", 0),
    ],
)  # fmt: skip
def test_a_size_is_read_from_names_that_tell_one(text: str, billions: float) -> None:
    assert size_in(text) == pytest.approx(billions * 1e9)


# -- speeds ------------------------------------------------------------------------------------------------------


def test_a_stream_tells_both_speeds_and_a_whole_answer_that_of_writing() -> None:
    paces = Paces()
    paces.answered("m", Usage(100, 50), 0.5, 1.5, True)
    assert (paces.of("m").prompt_tokens_per_s, paces.of("m").tokens_per_s) == (200, 50)
    paces.answered("n", Usage(100, 50), 2.0, 2.0, False)
    assert (paces.of("n").prompt_tokens_per_s, paces.of("n").tokens_per_s) == (0, 25)
    assert paces.of("n").request_s == 2.0


def test_tokens_that_were_cached_are_not_counted_as_read() -> None:
    paces = Paces()
    paces.answered("m", Usage(1000, 50, cached_tokens=900), 0.5, 1.5, True)
    assert paces.of("m").prompt_tokens_per_s == 200
    paces.answered("n", Usage(1000, 50, cached_tokens=999), 0.001, 1.5, True)
    assert paces.of("n").prompt_tokens_per_s == 0


def test_an_average_follows_a_change_and_forgets_an_outlier() -> None:
    paces = Paces()
    for _ in range(20):
        paces.answered("m", Usage(0, 100), 0.0, 1.0, False)
    paces.answered("m", Usage(0, 100), 0.0, 100.0, False)
    assert paces.of("m").tokens_per_s > 75
    for _ in range(20):
        paces.answered("m", Usage(0, 100), 0.0, 10.0, False)
    assert paces.of("m").tokens_per_s == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize(("usage", "first_s", "total_s"), [(Usage(), 0, 0), (Usage(9, 9), 5, 1), (Usage(9, 9), -1, -1)])
def test_odd_times_give_no_odd_speeds(usage: Usage, first_s: float, total_s: float) -> None:
    paces = Paces()
    for stream in (True, False):
        paces.answered("m", usage, first_s, total_s, stream)
    pace = paces.of("m")
    assert pace.tokens_per_s >= 0
    assert pace.prompt_tokens_per_s >= 0
    assert pace.request_s >= 0


def test_lengths_of_answers_are_learnt_by_category() -> None:
    paces = Paces()
    before = dict(paces.lengths)
    for _ in range(200):
        paces.answered("m", Usage(10, 900), 0.1, 1.0, True, "translation")
    assert paces.lengths["translation"] == pytest.approx(900, rel=0.01)
    assert {k: v for k, v in paces.lengths.items() if k != "translation"} == {
        k: v for k, v in before.items() if k != "translation"
    }


def test_the_past_is_recalled_without_the_time_that_requests_waited() -> None:
    paces = Paces()
    paces.recall([Past("m", True, 100, 50, 0, first_s=4.5, total_s=5.5, queue_s=1.0, load_s=3.0)])
    pace = paces.of("m")
    assert (pace.prompt_tokens_per_s, pace.tokens_per_s, pace.load_s) == (200, 50, 3.0)


# -- conversations -----------------------------------------------------------------------------------------------

CHOICE = Choice("m", role="standard", source="default")


def test_the_quietest_conversation_is_forgotten_first_and_all_after_an_hour() -> None:
    now = 0.0
    kept = Bonds(lambda: now)
    for i in range(MOST):
        kept.note(f"c{i}", "m", CHOICE)
    kept.note("c0", "m", CHOICE)
    kept.note("new", "m", CHOICE)
    assert len(kept) == MOST
    assert kept.of("c1") is None
    assert kept.of("c0") is not None
    now = KEPT_S + 1
    assert kept.of("c0") is None
    assert len(kept) == MOST - 1


def test_models_that_leave_take_their_conversations_along() -> None:
    kept = Bonds()
    kept.note("a", "m", CHOICE)
    kept.note("b", "n", CHOICE)
    kept.keep({"n"})
    assert kept.of("a") is None
    assert kept.of("b") is not None


def test_a_bond_is_loose_after_a_fall_back_and_knows_the_most_that_was_asked() -> None:
    kept = Bonds()
    kept.note("c", "m", msgspec.structs.replace(CHOICE, tier="heavy"))
    assert kept.of("c") == Bond("m", "standard", HEAVY)
    kept.note("c", "n", msgspec.structs.replace(CHOICE, source="fallback", tier="light"))
    kept.note("c", "n", msgspec.structs.replace(CHOICE, source="fallback", task="code_review"))
    bond = kept.of("c")
    assert bond is not None
    assert (bond.model, bond.firm, bond.level) == ("n", False, 2)


# -- cards -------------------------------------------------------------------------------------------------------


def models(folder: Path) -> dict[str, Model]:
    weights = tiny_gguf.write(folder / "tiny.gguf")
    return {
        "here": Model(source=f"file:{weights}", watts=40, context=64),
        "absent": Model(source=f"file:{folder}/none.gguf", parameters="7B"),
        "far": Model(backend="openai", url="https://example.com/v1", remote_model="x-70b", watts=40, parallel=2),
        "priced": Model(backend="openai", url="https://example.com/v1", price=Price(input=15, output=60), quality=0.9),
        "beside": Model(backend="openai", url="http://127.0.0.1:1/v1"),
        "script": Model(backend="fake"),
    }


async def test_a_card_says_what_a_model_is(tmp_path: Path) -> None:
    async with running_gateway(config(models(tmp_path)), tmp_path) as gate:
        cards: Cards = gate.gateway.cards
        assert cards("here") is not None
        await cards.learn()
        here, absent = cards("here"), cards("absent")
        assert not here.ready
        assert START_S < here.load_s < START_S + 1
        assert here.tokens_per_s > 0
        assert here.prompt_tokens_per_s > here.tokens_per_s
        assert here.quality is not None
        assert (here.watts, here.input_cents, here.elsewhere, here.context) == (40, 0.0, False, 64)
        assert absent.load_s == ABSENT_S
        assert absent.quality == pytest.approx(guess(7e9))
        far, priced, beside = cards("far"), cards("priced"), cards("beside")
        assert (far.ready, far.load_s, far.elsewhere, far.watts) == (True, 0.0, True, 0.0)
        assert (far.input_cents, far.tokens_per_s) == (None, 0.0)
        assert far.quality == pytest.approx(guess(70e9))
        assert (priced.input_cents, priced.output_cents, priced.quality) == (15, 60, 0.9)
        assert (beside.elsewhere, beside.input_cents, beside.quality) == (False, 0.0, None)
        assert not cards("script").ready
        assert cards("script").load_s == 0.0


async def test_a_card_says_how_a_model_stands(tmp_path: Path) -> None:
    async with running_gateway(config(models(tmp_path)), tmp_path) as gate:
        cards = gate.gateway.cards
        await cards.learn()
        worker = gate.gateway.fleet.worker("far")
        worker.active = 1
        assert cards("far").wait_s == 0
        worker.active = 2
        gate.gateway.paces.answered("far", Usage(10, 100), 1.0, 4.0, True)
        assert cards("far").wait_s == pytest.approx(2.0)
        worker.waiting = cast("Any", deque([Waiter(None, 0.0)] * 3))
        assert cards("far").wait_s == pytest.approx(8.0)
        worker.waiting.clear()
        worker.active = 0
        here = gate.gateway.fleet.worker("here")
        cards.loaded("here", 12.0)
        assert cards("here").load_s == 12.0
        now = cards_module.asyncio.get_running_loop().time()
        here.state, here.started_at = State.LOADING, now - 5
        assert cards("here").load_s == pytest.approx(7, abs=0.5)
        here.state, here.retry_at = State.FAILED, now + 30
        assert cards("here").load_s == pytest.approx(42, abs=0.5)
        here.state = State.READY
        assert cards("here").ready
        assert cards("here").load_s == 0
        here.state = State.COLD


async def test_a_load_that_was_measured_tells_what_others_take(tmp_path: Path) -> None:
    async with running_gateway(config(models(tmp_path)), tmp_path) as gate:
        cards = gate.gateway.cards
        await cards.learn()
        big = {i: msgspec.structs.replace(k, size=5_000_000_000) for i, k in cards._known.items()}
        cards._known = big
        before = cards("here").load_s
        cards.loaded("script", 100.5)
        after = cards("here").load_s
        assert before == pytest.approx(START_S + 10)
        assert 15 < after < 25


async def test_a_card_costs_a_few_microseconds(tmp_path: Path) -> None:
    async with running_gateway(config(models(tmp_path)), tmp_path) as gate:
        await gate.gateway.cards.learn()
        cards, times = gate.gateway.cards, []
        for _ in range(50):
            began = time.perf_counter()
            for _ in range(100):
                cards("here")
            times.append((time.perf_counter() - began) / 100)
        print(f"a card: {min(times) * 1e6:.2f} us")
        assert min(times) < 5e-6


async def test_a_model_that_nothing_is_known_of_has_a_plain_card(tmp_path: Path) -> None:
    async with running_gateway(config(models(tmp_path)), tmp_path) as gate:
        gate.gateway.cards._known = {}
        assert gate.gateway.cards("here") == Card("here")
