"""A gateway that asks another one by Anthropic's Messages: the official clients of other dialects are answered."""

from collections.abc import Iterator
from typing import Any

import anthropic
import ollama
import openai
import pytest
from live_gateway import LiveGateway

pytestmark = pytest.mark.real

KEY = "sk-first"
COLOUR: Any = [{"role": "user", "content": "Name a colour."}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CONFIG = """
server: {port: 0}
models:
  far: {backend: anthropic, url: "URL/v1", key: sk-first, remote_model: smollm2-135m}
  calls: {backend: anthropic, url: "URL/v1", key: sk-first, remote_model: scripted}
roles: {standard: [far]}
"""


@pytest.fixture(scope="module")
def near(gateway: LiveGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with LiveGateway(tmp_path_factory.mktemp("near"), CONFIG.replace("URL", gateway.url)) as running:
        yield running


@pytest.fixture
def words(near: LiveGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{near.url}/v1", api_key="none", max_retries=0, timeout=60) as ready:
        yield ready


def test_words_and_counts_are_those_of_the_engine_behind(words: openai.OpenAI, client: openai.OpenAI) -> None:
    asked: Any = {"messages": COLOUR, "max_tokens": 8, "temperature": 0}
    for _ in range(2):  # read before, as by those that follow: a prompt that is read whole rounds otherwise
        there = client.chat.completions.create(model="smollm2-135m", **asked)
    here = words.chat.completions.create(model="far", **asked)
    *pieces, last = words.chat.completions.create(
        model="far", stream=True, stream_options={"include_usage": True}, **asked
    )
    assert here.choices[0].message.content == there.choices[0].message.content
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == there.choices[0].message.content
    for told in (here, last):
        assert told.usage.prompt_tokens == there.usage.prompt_tokens
        assert told.usage.completion_tokens == there.usage.completion_tokens


@pytest.mark.parametrize("stream", [True, False])
def test_tools_are_called_and_their_results_are_taken(words: openai.OpenAI, stream: bool) -> None:
    history: Any = [{"role": "user", "content": "call it"}]
    if stream:
        with words.chat.completions.stream(model="calls", messages=history, tools=[TOOL]) as answers:
            answer: Any = answers.get_final_completion()
    else:
        answer = words.chat.completions.create(model="calls", messages=history, tools=[TOOL])
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, answer.choices[0].finish_reason) == ("get_weather", "tool_calls")
    history += [
        {"role": "assistant", "tool_calls": [call.model_dump(include={"id", "type", "function"})]},
        {"role": "tool", "tool_call_id": call.id, "content": "sun"},
    ]
    after = words.chat.completions.create(model="calls", messages=history, tools=[TOOL])
    assert after.choices[0].message.content == "fake: sun"


def test_other_dialects_and_its_own_are_answered_too(near: LiveGateway) -> None:
    local = ollama.Client(host=near.url, timeout=60)
    answer = local.chat("far", COLOUR, options={"num_predict": 8, "temperature": 0})
    local._client.close()
    with anthropic.Anthropic(base_url=near.url, api_key="none", max_retries=0) as claude:
        asked: Any = {"model": "far", "messages": COLOUR}
        own = claude.messages.create(max_tokens=8, extra_body={"temperature": 0}, **asked)
        assert own.content[0].text == answer.message.content
        assert (own.usage.input_tokens, own.usage.output_tokens) == (answer.prompt_eval_count, answer.eval_count)
        assert claude.messages.count_tokens(**asked).input_tokens == own.usage.input_tokens
        with claude.messages.stream(max_tokens=8, extra_body={"temperature": 0}, **asked) as stream:
            assert stream.get_final_text() == own.content[0].text
        with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
            claude.messages.create(model="far", max_tokens=8, messages=[{"role": "user", "content": "word " * 3000}])


def test_errors_come_through_with_their_meaning(words: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as long:
        words.chat.completions.create(model="far", messages=[{"role": "user", "content": "word " * 3000}])
    assert long.value.code == "context_length_exceeded"
