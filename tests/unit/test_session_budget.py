"""What of a session fits a model: counted by the real engine, dropped whole or summed up, and told in the answer."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_gguf
from gateway import (
    Answer,
    Gate,
    Peer,
    Received,
    ScriptedWorker,
    config,
    message,
    on_uvloop,
    request,
    running_gateway,
    short_folder,
)
from hypothesis import given
from hypothesis import strategies as st
from test_sessions import CHAT, body_of, cast, get, say, told

from rolecast.books.sessions import Turn
from rolecast.config.schema import Config, Model
from rolecast.config.tasks import Sessions
from rolecast.turn import session_budget, session_summary
from rolecast.turn.session_budget import Budget
from rolecast.values import Caller, Chat, Message, Sampling

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

CONTEXT = 512


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("weights") / "tiny.gguf", context=4096)


def real(weights: Path, **more: Any) -> Config:
    models = {"m": Model(source=f"file:{weights}", context=CONTEXT, threads=1, parallel=1)}
    return msgspec.structs.replace(config(models), sessions=Sessions(**more))


def numbers(answer: Answer) -> dict[str, int]:
    line = answer.header("x-rolecast-session")
    assert line is not None
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}


async def ask(gate: Gate, text: str, session: str = "s", **more: Any) -> Answer:
    answer = await gate.ask(request({**body_of(CHAT, text, session), "temperature": 0, **more}, path=CHAT))
    assert answer.status == 200, answer.body
    return answer


async def test_the_engine_counts_every_turn_and_the_oldest_go_whole(weights: Path, tmp_path: Path) -> None:
    async with running_gateway(real(weights, budget=0.5), tmp_path) as gate:
        budget = CONTEXT // 2
        before = None
        for number in range(12):
            answer = await ask(gate, "word " * 6 + str(number), max_tokens=16)
            used = answer.json["usage"]
            assert used["prompt_tokens"] + 16 <= CONTEXT
            shown = (await get(gate, "/sessions/s")).json
            told_numbers = numbers(answer)
            assert told_numbers["kept"] == told_numbers["used"] + told_numbers["dropped"] == number
            await until_counted(gate)
            turns = (await get(gate, "/sessions/s")).json["history"]
            if before is not None:
                sent = before[len(before) - told_numbers["used"] :]
                history = sum(turn["tokens"] for turn in sent)
                assert history <= budget
                if told_numbers["dropped"]:  # one more would not have fitted
                    assert history + before[-told_numbers["used"] - 1]["tokens"] > budget
                # the count of each turn is exact: what the engine reports is the sum, and the new message
                alone = await ask(gate, "word " * 6 + str(number), "", max_tokens=1)
                assert used["prompt_tokens"] == alone.json["usage"]["prompt_tokens"] + history
            before = turns
            assert shown["turns"] == number + 1
        assert told_numbers["dropped"] > 0


async def until_counted(gate: Gate) -> None:
    async def counted() -> bool:
        rows = await gate.gateway.store.read("SELECT count(*) FROM session_turns WHERE counted = ''")
        return bool(rows == [(0,)])

    async with asyncio.timeout(10):
        while not await counted():
            await asyncio.sleep(0.01)


async def test_a_long_question_leaves_less_to_history_and_nothing_is_ever_cut(weights: Path, tmp_path: Path) -> None:
    async with running_gateway(real(weights, budget=1.0), tmp_path) as gate:
        for number in range(3):
            await ask(gate, f"short {number}", max_tokens=8)
        long = await ask(gate, "word " * 88, max_tokens=8)
        assert numbers(long)["dropped"] > 0
        assert long.json["usage"]["prompt_tokens"] + 8 <= CONTEXT
        body = {**body_of(CHAT, "word " * 200, "s"), "max_tokens": 8}
        beyond = await gate.ask(request(body, path=CHAT))
        assert (beyond.status, beyond.error["code"]) == (400, "context_length_exceeded")
        assert (await get(gate, "/sessions/s")).json["turns"] == 4


async def test_dropped_turns_are_summed_up_by_the_same_model_and_the_summary_goes_in_their_place(
    tmp_path: Path,
) -> None:
    asked: list[Any] = []

    async def answer(peer: Peer, received: Received) -> None:
        body = received.json
        text = body["messages"][-1]["content"]
        if text.startswith(session_summary.ASK):
            asked.append(body)
            text = f"summary {len(asked)}"
        else:
            text = f"re: {text}"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if body.get("stream"):
            from gateway import DONE, delta, stream

            await stream(delta(text), DONE)(peer, received)
        else:
            await peer.send(message(json.dumps({"choices": [choice]}).encode()))

    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            worker.usual = answer
            made = cast(worker, model={"context": 1200}, sessions=Sessions(overflow="summarize", budget=0.25))
            async with running_gateway(made, tmp_path) as gate:
                for number in range(10):
                    worker.usual = answer
                    given = await say(gate, CHAT, f"fact {number}: " + "so it is " * 8, "s", max_tokens=50)
                    if asked:
                        break
                    await asyncio.sleep(0.05)
                summary = await _summary(gate)
                assert summary["summary"] == "summary 1"
                talk = asked[0]["messages"][-1]["content"]
                assert "User: fact 0: so it is" in talk
                assert "Assistant: re: fact 0" in talk
                assert f"fact {number}:" not in talk
                given = await say(gate, CHAT, "what was it?", "s", max_tokens=50)
                told_numbers = numbers(given)
                assert (told_numbers["summarized"], told_numbers["dropped"]) == (summary["summarized"], 0)
                assert told_numbers["used"] == len(summary["history"]) - summary["summarized"]
                system = next(text for role, text in told(worker) if role == "system")
                assert system == session_summary.TOLD + "summary 1"
                rows = await gate.rows()
                assert len(rows) == number + 1 + len(asked) + 1
                assert "so it is" not in str(rows)
                assert (await get(gate, "/sessions/s/clear", method="POST")).status == 200
                assert (await get(gate, "/sessions/s")).json["summary"] == ""
                await say(gate, CHAT, "anew", "s", max_tokens=50)
                assert told(worker) == [("user", "anew")]


async def _summary(gate: Gate) -> Any:
    async with asyncio.timeout(10):
        while not (shown := (await get(gate, "/sessions/s")).json)["summary"]:
            await asyncio.sleep(0.01)
    return shown


class _Plan:
    """Of a plan what a budget looks at."""

    answerer_id = asked = "m"
    choice = defaults = None
    model = Model(source="x")


class _Counter:
    """Counts words, like no tokenizer."""

    def __init__(self) -> None:
        self.asked = 0

    async def count(self, request: Any, *_: Any) -> int:
        self.asked += 1
        return sum(len(str(each.content).split()) + 4 for each in request.chat.messages)


@given(
    st.lists(st.integers(1, 400), max_size=12),
    st.integers(1, 300),
    st.integers(64, 2048),
    st.floats(0, 1),
    st.integers(0, 400),
)
async def test_history_never_takes_more_than_its_share_or_than_is_left(
    sizes: list[int], words: int, room: int, share: float, summary: int
) -> None:
    plan: Any = _Plan()
    counter: Any = _Counter()
    turns = [Turn(i + 1, 0.0, "x", "y", "m", size, session_budget.counter_of(plan)) for i, size in enumerate(sizes)]
    own = Chat("m", (Message("user", "w " * words),), sampling=Sampling(max_tokens=32))
    found = await Budget(counter).fit(own, turns, "s " * summary, plan, room, share, Caller())
    assert counter.asked <= 1
    assert found.dropped + len(found.turns) == len(turns)
    assert found.turns == tuple(turns[found.dropped :])  # the newest, whole
    took = sum(turn.tokens for turn in found.turns)
    assert took <= room * share
    if found.turns:
        assert took + words + 4 + 32 <= room
    if found.dropped and not found.summary and not summary:
        allowance = min(int(room * share), room - 32 - words - 4)
        assert took + turns[found.dropped - 1].tokens > min(allowance, found.allowance)


async def test_what_surely_fits_is_not_counted() -> None:
    plan: Any = _Plan()
    counter: Any = _Counter()
    own = Chat("m", (Message("user", "hello"),))
    turns = [Turn(1, 0.0, "a", "b", "m", 10, session_budget.counter_of(plan))]
    found = await Budget(counter).fit(own, turns, "", plan, 4096, 0.5, Caller())
    assert (found.turns, counter.asked) == (tuple(turns), 0)
