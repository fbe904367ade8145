"""The official clients for Node, and the AI SDK, against the real engine: answers, streams, tools, schemas, errors."""

from typing import Any

import openai
import pytest
from client_programs import run_node
from live_gateway import LiveGateway, until

pytestmark = pytest.mark.real

KEY = "sk-first"
PROVIDERS = ("openai", "anthropic", "ollama")


@pytest.fixture(scope="module")
def of_openai(crowded: LiveGateway) -> Any:
    return run_node("openai.mjs", crowded.url, KEY)


@pytest.fixture(scope="module")
def of_anthropic(crowded: LiveGateway) -> Any:
    return run_node("anthropic.mjs", crowded.url, KEY)


@pytest.fixture(scope="module")
def of_ai_sdk(crowded: LiveGateway) -> Any:
    return run_node("ai_sdk.mjs", crowded.url, KEY)


@pytest.fixture
def usual(client: openai.OpenAI) -> list[Any]:
    """Words and counts as the official client for Python has them."""
    colour: Any = [{"role": "user", "content": "Name a colour."}]
    answer = client.chat.completions.create(model="smollm2-135m", messages=colour, max_tokens=8, temperature=0)
    assert answer.usage is not None
    return [answer.choices[0].message.content, answer.usage.prompt_tokens, answer.usage.completion_tokens]


def test_openais_gets_words_and_counts_whole_streamed_and_by_responses(of_openai: Any, usual: list[Any]) -> None:
    assert of_openai["whole"] == of_openai["streamed"] == of_openai["response"] == usual
    assert of_openai["response_streamed"] == usual[0]
    assert of_openai["completion"]
    assert of_openai["vectors"] == [384, 384]
    assert {"smollm2-135m", "standard", "a/b/c:latest"} <= set(of_openai["listed"])


def test_openais_calls_tools_and_binds_answers_to_a_schema(of_openai: Any) -> None:
    assert of_openai["tools"] == ["get_weather", {"city": ""}, "fake: sunny"]
    assert of_openai["schema"]["colour"] in ("red", "green", "blue")


def test_openais_errors_are_its_own(of_openai: Any, gateway: LiveGateway) -> None:
    assert of_openai["errors"] == {
        "unknown": ["NotFoundError", 404, True],
        "unknown streamed": ["NotFoundError", 404, True],
        "long": ["BadRequestError", 400, True],
        "crowded": ["RateLimitError", 429, True],
        "off": ["InternalServerError", 503, True],
        "stranger": ["AuthenticationError", 401, False],
    }
    until(lambda: gateway.model("scripted")["active"] == 0, "the stream that it left is ended")


def test_anthropics_gets_words_and_counts_whole_and_streamed(of_anthropic: Any, usual: list[Any]) -> None:
    assert of_anthropic["whole"] == of_anthropic["streamed"] == [*usual, "max_tokens"]
    assert of_anthropic["counted"] == usual[1]
    assert {"smollm2-135m", "standard"} <= set(of_anthropic["listed"])


def test_anthropics_calls_tools_and_binds_answers_to_a_schema(of_anthropic: Any) -> None:
    assert of_anthropic["tools"] == ["get_weather", {"city": ""}, "fake: sunny"]
    assert of_anthropic["schema"]["colour"] in ("red", "green", "blue")


def test_anthropics_errors_are_its_own(of_anthropic: Any, gateway: LiveGateway) -> None:
    assert of_anthropic["errors"] == {
        "unknown": ["NotFoundError", 404, True],
        "unknown streamed": ["NotFoundError", 404, True],
        "long": ["BadRequestError", 400, True],
        "crowded": ["RateLimitError", 429, True],
        "off": ["ServiceUnavailableError", 503, True],
        "stranger": ["AuthenticationError", 401, False],
    }
    until(lambda: gateway.model("scripted")["active"] == 0, "the stream that it left is ended")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_ai_sdk_gets_words_and_counts_whole_and_streamed(of_ai_sdk: Any, usual: list[Any], provider: str) -> None:
    told = of_ai_sdk[provider]
    assert told["whole"] == told["streamed"] == [*usual, "length"]
    if provider != "anthropic":
        assert told["vectors"] == [384, 384]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_ai_sdk_runs_its_loop_of_tools_and_binds_answers_to_a_schema(of_ai_sdk: Any, provider: str) -> None:
    told = of_ai_sdk[provider]
    assert (told["tools"], told["tools_streamed"]) == (["weather", "sun", "fake: sun"], "fake: sun")
    assert told["schema"]["colour"] in ("red", "green", "blue")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_ai_sdk_knows_what_to_try_again(of_ai_sdk: Any, provider: str) -> None:
    statuses = {"unknown": 404, "long": 400, "crowded": 429, "off": 503, "stranger": 401}
    again = ("crowded", "off")
    if provider == "ollama":  # which does not say
        expected: Any = {name: ["OllamaError", status, None] for name, status in statuses.items()}
    else:
        expected = {name: ["AI_APICallError", status, name in again] for name, status in statuses.items()}
    assert of_ai_sdk[provider]["errors"] == expected
