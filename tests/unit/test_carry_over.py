"""Conversations that come back to a model that was unloaded, through a whole gateway and the real engine."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_gguf
from gateway import Gate, config, on_uvloop, request, running_gateway

from rolecast.config import paths
from rolecast.config.edit import edit_to
from rolecast.config.memory import Memory
from rolecast.config.schema import Model

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

WORDS = ("the", "of", "and", "to", "in", "is", "you", "that", "it", "was", "for", "on", "long", "down", "day", "word")
PROMPT = 150
"""Words of a prompt, each a token or more."""
FEW = 80
"""Tokens that are read of a turn that goes on: its own, and what the engine reads again for safety."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("weights") / "tiny.gguf")


def told(number: int) -> str:
    chosen = random.Random(number)
    return " ".join(chosen.choice(WORDS) for _ in range(PROMPT))


class Talk:
    """One conversation with the model of a gateway."""

    def __init__(self, number: int) -> None:
        self.said = [told(number)]

    async def turn(self, gate: Gate, **fields: Any) -> tuple[int, int]:
        """Ask; how many tokens of the prompt were read, and how many there were."""
        roles = ("user", "assistant")
        messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(self.said)]
        answer = await gate.ask(request({"model": "m", "messages": messages, "max_tokens": 4, **fields}))
        assert answer.status == 200, answer.body
        self.said += [answer.json["choices"][0]["message"]["content"] or "yes", "go on"]
        timings = answer.json["timings"]
        return timings["prompt_n"], timings["prompt_n"] + timings["cache_n"]


@asynccontextmanager
async def gateway(weights: Path, folder: Path, memory: Memory | None = None, **fields: Any) -> AsyncIterator[Gate]:
    model = Model(source=f"file:{weights}", threads=1, **fields)
    made = msgspec.structs.replace(config({"m": model}), memory=memory or Memory())
    async with running_gateway(made, folder) as gate:
        yield gate


async def reload(gate: Gate) -> None:
    await gate.gateway.fleet.unload("m")


@pytest.mark.parametrize("size", ["auto", 0])
async def test_a_conversation_that_comes_back_is_not_read_again_unless_nothing_is_kept(weights, tmp_path, size):
    async with gateway(weights, tmp_path, Memory(conversations=size)) as gate:
        talk = Talk(1)
        await talk.turn(gate)
        await reload(gate)
        read, whole = await talk.turn(gate)
        assert whole > 4 * FEW
        assert (read < FEW) is (size == "auto")


async def test_it_comes_back_to_the_next_gateway(weights, tmp_path):
    talk = Talk(1)
    async with gateway(weights, tmp_path) as gate:
        await talk.turn(gate)
    async with gateway(weights, tmp_path) as gate:
        assert (await talk.turn(gate))[0] < FEW


async def test_a_title_that_was_asked_for_in_between_does_not_cost_the_conversation(weights, tmp_path):
    async with gateway(weights, tmp_path, parallel=1) as gate:
        talk, title = Talk(1), Talk(2)
        await talk.turn(gate)
        await title.turn(gate)
        await reload(gate)
        assert (await talk.turn(gate))[0] < FEW
        assert (await title.turn(gate))[0] < FEW  # and the one gives way to the other
        assert (await talk.turn(gate))[0] < FEW


async def test_eight_conversations_on_four_slots_keep_their_prefixes_and_come_back_with_them(weights, tmp_path):
    async with gateway(weights, tmp_path, parallel=4) as gate:
        talks = [Talk(number) for number in range(8)]
        await turns(gate, talks)
        assert max(read for read, _ in await turns(gate, talks)) < FEW
        await reload(gate)
        assert max(read for read, _ in await turns(gate, talks)) < FEW


async def turns(gate: Gate, talks: Sequence[Talk]) -> list[tuple[int, int]]:
    return [await talk.turn(gate) for talk in talks]


async def test_other_weights_are_given_nothing(weights, tmp_path):
    talk = Talk(1)
    async with gateway(weights, tmp_path) as gate:
        await talk.turn(gate)
    other = tiny_gguf.write(tmp_path / "other.gguf", seed=8)
    async with gateway(other, tmp_path) as gate:
        read, whole = await talk.turn(gate)
        assert read > whole - FEW


async def test_whoever_asks_in_whatever_dialect_is_gone_on_with(weights, tmp_path):
    def chat(number: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": told(number)}]

    bodies = {
        "/v1/completions": {"prompt": told(1)},
        "/v1/messages": {"messages": chat(2)},
        "/api/chat": {"messages": chat(3), "options": {"num_predict": 4}},
        "/v1/chat/completions": {"messages": chat(4), "stream": True},
    }
    asked = [request({"model": "m", "max_tokens": 4, **body}, path=path) for path, body in bodies.items()]
    async with gateway(weights, tmp_path) as gate:
        for each in asked:
            assert (await gate.ask(each)).status == 200
        await reload(gate)
        for each in asked:
            assert (await gate.ask(each)).status == 200
        keeps = gate.gateway.fleet.stations.at["m"].keeps
        assert keeps is not None
        assert keeps.brought == len(asked)


async def test_an_edit_that_keeps_nothing_any_more_erases_what_was_kept(weights, tmp_path):
    async with gateway(weights, tmp_path) as gate:
        await Talk(1).turn(gate)
        await reload(gate)
        carry = gate.gateway.carry
        await carry.close()
        assert list(paths.conversations().glob("*.kv"))
        assert carry in gate.gateway.parts
        edited = msgspec.structs.replace(gate.gateway.current.config, memory=Memory(conversations=0))
        (await carry.prepare(edit_to(edited, {}))).commit()
        await carry.close()
        assert not paths.conversations().exists()
