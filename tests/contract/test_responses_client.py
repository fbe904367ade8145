"""The official OpenAI client and a suite of others' against Responses: on the real engine, and on scripted answers."""

import json
from importlib.resources import files
from typing import Any

import openai
import pytest
from live_gateway import LiveGateway
from llm_comply import result, runner
from llm_comply.config import ComplianceConfig
from llm_comply.schema import SpecLoader
from llm_comply.tests import get_tests
from openai.types.responses import Response

pytestmark = pytest.mark.real
KEY = "sk-first"
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "green", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}


def respond(client: openai.OpenAI, given: Any = "Name a colour.", **options: Any) -> Response:
    answer: Response = client.responses.create(
        model="auto", input=given, **{"max_output_tokens": 8, "temperature": 0, **options}
    )
    return answer


def test_a_stream_brings_the_same_words_and_counts_as_the_whole_answer_and_as_a_chat(client: openai.OpenAI) -> None:
    whole = respond(client)
    assert (whole.status, whole.incomplete_details and whole.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )
    with client.responses.stream(model="auto", input="Name a colour.", max_output_tokens=8, temperature=0) as stream:
        told = list(stream)
    assert [each.sequence_number for each in told if hasattr(each, "sequence_number")]
    assert "".join(each.delta for each in told if each.type == "response.output_text.delta") == whole.output_text
    chat = client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "Name a colour."}], max_tokens=8, temperature=0
    )
    last = told[-1]
    assert last.type == "response.incomplete"
    assert chat.choices[0].message.content == whole.output_text
    assert chat.usage is not None
    for usage in (whole.usage, last.response.usage):
        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens) == (chat.usage.prompt_tokens, chat.usage.completion_tokens)


def test_an_answer_obeys_a_schema(client: openai.OpenAI) -> None:
    format_: Any = {"type": "json_schema", "name": "colour", "schema": SCHEMA, "strict": True}
    answer = respond(client, text={"format": format_}, max_output_tokens=60)
    assert json.loads(answer.output_text)["colour"] in {"red", "green", "blue"}


def test_a_conversation_goes_on_is_shown_and_forgotten(client: openai.OpenAI) -> None:
    first = respond(client)
    second = respond(client, "And another?", previous_response_id=first.id)
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    assert client.responses.retrieve(first.id).output_text == first.output_text
    (item,) = client.responses.input_items.list(second.id)
    assert item.model_dump()["content"][0]["text"] == "And another?"
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(first.id)
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError):
        respond(client, previous_response_id=second.id)


def test_tokens_are_counted_before_an_answer_as_its_usage_tells_them(client: openai.OpenAI) -> None:
    first = respond(client)
    counted = client.responses.input_tokens.count(model="auto", input="And another?", previous_response_id=first.id)
    usage = respond(client, "And another?", previous_response_id=first.id).usage
    assert usage is not None
    assert counted.input_tokens == usage.input_tokens


def test_mistakes_are_the_clients_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="not run here"):
        respond(client, tools=[{"type": "web_search"}])
    with pytest.raises(openai.BadRequestError, match="background"):
        respond(client, background=True)
    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.responses.create(model="nobody", input="x")
    with pytest.raises(openai.BadRequestError):  # it does not fit, and nothing is cut
        client.responses.create(model="standard", input="word " * 3000, max_output_tokens=8, truncation="auto")


SCHEMAS = files("llm_comply") / "specs" / "openresponses.json"
NOT_HERE = {
    "image-input": "the scripted model takes no images",
    "error-handling": "a request without a model is for the default role",
}
"""Cases of the suite that do not apply, and why."""


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver")
def test_the_suite_of_open_responses_passes(gateway: LiveGateway) -> None:
    config = ComplianceConfig(f"{gateway.url}/v1", KEY, model="scripted")
    found = runner.TestRunner(config, get_tests("open-responses"), SpecLoader(str(SCHEMAS))).run_all().results
    failed = {each.id: each.errors for each in found if each.status is result.TestStatus.FAILED}
    assert len(found) - len(failed) >= 8
    assert set(failed) - set(NOT_HERE) == set()
