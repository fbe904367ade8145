"""The official Ollama client against the real engine: chat, streamed and not, tools, schemas, errors."""

import json
from collections.abc import Iterator
from typing import Any

import ollama
import openai
import pytest
from live_gateway import LiveGateway, ask, until

pytestmark = pytest.mark.real

KEY = "sk-first"
COLOUR = [{"role": "user", "content": "Name a colour."}]
OPTIONS = {"num_predict": 8, "temperature": 0, "seed": 7}
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "green", "blue"]}},
    "required": ["colour"],
}


@pytest.fixture
def local(gateway: LiveGateway) -> Iterator[ollama.Client]:
    with_key = ollama.Client(host=gateway.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60)
    yield with_key
    with_key._client.close()  # the client has no close of its own


def test_a_chat_is_answered_with_text_counts_and_durations(local: ollama.Client) -> None:
    answer = local.chat("standard", COLOUR, options=OPTIONS)
    assert answer.model == "standard"
    assert answer.message.role == "assistant"
    assert answer.message.content
    assert (answer.done, answer.done_reason, answer.eval_count) == (True, "length", 8)
    durations = (answer.load_duration, answer.prompt_eval_duration, answer.eval_duration)
    assert answer.total_duration >= sum(durations)
    assert answer.eval_duration > 0
    assert answer.created_at


def test_a_stream_brings_the_same_words_and_counts(local: ollama.Client, client: openai.OpenAI) -> None:
    for _ in range(2):  # read before, as by those that follow: a prompt that is read whole rounds otherwise
        whole = local.chat("standard", COLOUR, options=OPTIONS)
    *pieces, last = local.chat("standard", COLOUR, options=OPTIONS, stream=True)
    assert len(pieces) > 3
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    counts = (last.prompt_eval_count, last.eval_count)
    assert counts == (whole.prompt_eval_count, whole.eval_count)
    other = client.chat.completions.create(model="standard", messages=COLOUR, max_tokens=8, temperature=0, seed=7)
    assert other.choices[0].message.content == whole.message.content
    assert (other.usage.prompt_tokens, other.usage.completion_tokens) == counts


def test_the_books_have_what_the_client_saw(gateway: LiveGateway, local: ollama.Client) -> None:
    before = len(gateway.rows("id"))
    answer = local.chat("standard", COLOUR, options=OPTIONS)

    counts = (answer.prompt_eval_count, answer.eval_count)
    until(lambda: counts in gateway.rows("prompt_tokens, completion_tokens")[before:], "the books have it")


def test_a_schema_is_obeyed(local: ollama.Client) -> None:
    answer = local.chat("standard", COLOUR, format=SCHEMA, options={"num_predict": 40, "temperature": 0})
    assert json.loads(answer.message.content)["colour"] in ("red", "green", "blue")
    anything = local.chat("standard", COLOUR, format="json", options={"num_predict": 12})
    assert (anything.message.content or "").lstrip().startswith("{")


def test_a_call_has_its_arguments_as_an_object(local: ollama.Client) -> None:
    def get_weather(city: str) -> str:
        """The weather.

        Args:
            city: where
        """
        return city

    for stream in (False, True):
        answer: Any = local.chat(
            "scripted", [{"role": "user", "content": "call it"}], tools=[get_weather], stream=stream
        )
        pieces = list(answer) if stream else [answer]
        calls = [call for piece in pieces for call in piece.message.tool_calls or ()]
        assert [call.function.name for call in calls] == ["get_weather"]
        assert isinstance(calls[0].function.arguments, dict)
        history = [{"role": "user", "content": "call it"}, *(p.message for p in pieces if p.message.tool_calls)]
        history.append({"role": "tool", "tool_name": "get_weather", "content": "sun"})
        assert local.chat("scripted", history).message.content


@pytest.mark.parametrize("stream", [True, False])
def test_errors_are_the_clients_own(gateway: LiveGateway, local: ollama.Client, stream: bool) -> None:
    def status(told: ollama.Client, *args: Any, **options: Any) -> tuple[int, str]:
        with pytest.raises(ollama.ResponseError) as failed:
            list(told.chat(*args, stream=stream, **options))
        return failed.value.status_code, failed.value.error

    code, text = status(local, "nobody", COLOUR)
    assert (code, "not found" in text) == (404, True)
    code, text = status(local, "standard", [{"role": "user", "content": "word " * 3000}])
    assert code == 400
    assert "1024" in text
    picture = [{"role": "user", "content": "what?", "images": ["iVBORw0KGgo="]}]
    assert status(local, "smollm2-135m", picture)[0] == 400
    assert status(local, "all-minilm-l6-v2", COLOUR)[0] == 400
    stranger = ollama.Client(host=gateway.url, headers={"authorization": "Bearer wrong"})
    assert status(stranger, "standard", COLOUR)[0] == 401
    stranger._client.close()


def test_who_leaves_a_stream_frees_the_slot_of_the_engine(gateway: LiveGateway, local: ollama.Client) -> None:
    answer = local.chat("standard", COLOUR, options={"num_predict": 900, "seed": 1}, stream=True)
    assert next(answer).message.content is not None
    assert gateway.model("smollm2-135m")["active"] == 1
    answer.close()
    until(lambda: gateway.model("smollm2-135m")["active"] == 0, "the slot is free")


def test_the_first_piece_is_not_held_back(local: ollama.Client) -> None:
    answer = local.chat("scripted", [{"role": "user", "content": "endless"}], stream=True)
    assert next(answer).message.content  # it would take minutes to the end
    answer.close()


@pytest.mark.anyio
async def test_the_asynchronous_client_works_as_well(gateway: LiveGateway) -> None:
    client = ollama.AsyncClient(host=gateway.url, headers={"authorization": f"Bearer {KEY}"})
    texts = [
        piece.message.content async for piece in await client.chat("standard", COLOUR, options=OPTIONS, stream=True)
    ]
    assert "".join(texts)
    await client._client.aclose()


def test_the_plain_words_of_a_shell_are_enough(gateway: LiveGateway) -> None:
    body = {"model": "standard", "messages": COLOUR, "options": OPTIONS}
    answer = ask(gateway.url, "POST", "/api/chat", body, key=KEY)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert json.loads(answer.body.splitlines()[-1])["done"] is True
