"""The official Anthropic client against the real engine: messages, streams, tools, token counts, errors."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from langchain_anthropic import ChatAnthropic
from live_gateway import LiveGateway, ask, until
from llm_comply import result, runner
from llm_comply.config import ComplianceConfig
from llm_comply.schema import SpecLoader
from llm_comply.tests import get_tests

pytestmark = pytest.mark.real

KEY = "sk-first"
MODEL = "smollm2-135m"
COLOUR: Any = [{"role": "user", "content": "Name a colour."}]
STEADY: Any = {"extra_body": {"temperature": 0}}
TOOL: Any = {
    "name": "get_weather",
    "description": "The weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def claude(gateway: LiveGateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0, timeout=60) as ready:
        yield ready


def test_a_message_is_answered_with_blocks_and_usage(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(model=MODEL, max_tokens=8, messages=COLOUR, **STEADY)
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", MODEL)
    (block,) = answer.content
    assert block.type == "text"
    assert block.text
    assert (answer.stop_reason, answer.usage.output_tokens) == ("max_tokens", 8)
    assert answer._request_id
    assert answer._request_id.startswith("req_")


def test_a_stream_brings_the_same_words_and_counts(claude: anthropic.Anthropic, client: openai.OpenAI) -> None:
    for _ in range(2):  # read before, as by those that follow: a prompt that is read whole rounds otherwise
        whole = claude.messages.create(model="standard", max_tokens=8, messages=COLOUR, **STEADY)
    with claude.messages.stream(model="standard", max_tokens=8, messages=COLOUR, **STEADY) as stream:
        texts = list(stream.text_stream)
        streamed = stream.get_final_message()
    assert len(texts) > 3
    assert "".join(texts) == whole.content[0].text == streamed.content[0].text
    counts = (whole.usage.input_tokens, whole.usage.output_tokens)
    assert (streamed.usage.input_tokens, streamed.usage.output_tokens) == counts
    assert streamed.stop_reason == "max_tokens"
    other = client.chat.completions.create(model="standard", messages=COLOUR, max_tokens=8, temperature=0)
    assert (other.usage.prompt_tokens, other.usage.completion_tokens) == counts


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"system": "Be brief."},
        {"tools": [TOOL]},
        {"messages": [*COLOUR, {"role": "assistant", "content": "The colour is"}]},
    ],
)
def test_tokens_are_counted_as_they_are_charged(claude: anthropic.Anthropic, fields: Any) -> None:
    asked = {"model": "standard", "messages": COLOUR} | fields
    counted = claude.messages.count_tokens(**asked)
    answer = claude.messages.create(max_tokens=1, **asked)
    assert counted.input_tokens == answer.usage.input_tokens
    assert claude.beta.messages.count_tokens(**asked).input_tokens == counted.input_tokens


def test_the_books_have_what_the_client_saw(gateway: LiveGateway, claude: anthropic.Anthropic) -> None:
    before = len(gateway.rows("id"))
    answer = claude.messages.create(model=MODEL, max_tokens=6, messages=COLOUR, **STEADY)
    counts = (answer.usage.input_tokens, answer.usage.output_tokens)
    until(lambda: counts in gateway.rows("prompt_tokens, completion_tokens")[before:], "the books have it")


@pytest.mark.parametrize("stream", [True, False])
def test_the_sequence_that_ended_an_answer_is_named(claude: anthropic.Anthropic, stream: bool) -> None:
    said = claude.messages.create(model=MODEL, max_tokens=8, messages=COLOUR, **STEADY).content[0].text
    stop = said.split()[1]
    asked: Any = {"model": MODEL, "max_tokens": 8, "messages": COLOUR, "stop_sequences": ["@@@", stop], **STEADY}
    if stream:
        with claude.messages.stream(**asked) as answers:
            answer = answers.get_final_message()
    else:
        answer = claude.messages.create(**asked)
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", stop)
    assert answer.content[0].text == said[: said.index(stop)]


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_goes_on_where_the_client_began_it(claude: anthropic.Anthropic, stream: bool) -> None:
    asked: Any = {"model": MODEL, "max_tokens": 8, **STEADY}
    asked["messages"] = [*COLOUR, {"role": "assistant", "content": "The colour that I like is"}]
    if stream:
        with claude.messages.stream(**asked) as answers:
            answer = answers.get_final_message()
    else:
        answer = claude.messages.create(**asked)
    assert answer.content[0].text
    assert "that I like" not in answer.content[0].text


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("choice", [{"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_tools_are_called_and_their_results_are_taken(claude: anthropic.Anthropic, stream: bool, choice: Any) -> None:
    history: Any = [{"role": "user", "content": "call it"}]
    asked: Any = {"model": "scripted", "max_tokens": 64, "tools": [TOOL], "tool_choice": choice}
    if stream:
        with claude.messages.stream(messages=history, **asked) as answers:
            answer = answers.get_final_message()
    else:
        answer = claude.messages.create(messages=history, **asked)
    (call,) = answer.content
    assert (call.type, call.name, answer.stop_reason) == ("tool_use", "get_weather", "tool_use")
    assert isinstance(call.input, dict)
    history += [{"role": "assistant", "content": answer.content}]
    history += [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sun"}]}]
    after = claude.messages.create(model="scripted", max_tokens=64, messages=history, tools=[TOOL])
    assert after.content[0].text == "fake: sun"


@pytest.mark.parametrize("stream", [True, False])
def test_errors_are_the_clients_own(gateway: LiveGateway, claude: anthropic.Anthropic, stream: bool) -> None:
    def failed(error: type[anthropic.APIStatusError], *args: Any, by: Any = claude, **fields: Any) -> Any:
        with pytest.raises(error) as told:
            by.messages.create(model=args[0], messages=args[1], max_tokens=8, stream=stream, **fields)
        assert type(told.value) is error
        return told.value

    missing = failed(anthropic.NotFoundError, "nobody", COLOUR)
    assert missing.type == "not_found_error"
    assert missing.request_id
    long = failed(anthropic.BadRequestError, MODEL, [{"role": "user", "content": "word " * 3000}])
    assert "prompt is too long: 3" in long.message
    assert "> 1024 maximum" in long.message
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    failed(anthropic.BadRequestError, MODEL, [{"role": "user", "content": [picture]}])
    failed(anthropic.BadRequestError, "all-minilm-l6-v2", COLOUR)
    forced: Any = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "get_weather"}}
    failed(anthropic.BadRequestError, MODEL, COLOUR, **forced)  # its template knows no tools: no text instead of a call
    with anthropic.Anthropic(base_url=gateway.url, api_key="wrong", max_retries=0) as stranger:
        assert failed(anthropic.AuthenticationError, MODEL, COLOUR, by=stranger).type == "authentication_error"


def test_counting_has_the_same_errors(gateway: LiveGateway, claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        claude.messages.count_tokens(model="nobody", messages=COLOUR)
    assert missing.value.type == "not_found_error"
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.count_tokens(model="all-minilm-l6-v2", messages=COLOUR)
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        claude.messages.count_tokens(model=MODEL, messages=[])
    stranger = anthropic.Anthropic(base_url=gateway.url, api_key="wrong", max_retries=0)
    with stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.messages.count_tokens(model=MODEL, messages=COLOUR)


def test_who_leaves_a_stream_frees_the_slot(gateway: LiveGateway, claude: anthropic.Anthropic) -> None:
    endless: Any = [{"role": "user", "content": "endless"}]
    answer = claude.messages.create(model="scripted", max_tokens=5000, messages=endless, stream=True)
    assert next(iter(answer)).type == "message_start"
    assert gateway.model("scripted")["active"] == 1
    answer.close()
    until(lambda: gateway.model("scripted")["active"] == 0, "the slot is free")


def test_the_first_piece_is_not_held_back(claude: anthropic.Anthropic) -> None:
    endless: Any = [{"role": "user", "content": "endless"}]
    with claude.messages.stream(model="scripted", max_tokens=5000, messages=endless) as answer:
        assert next(iter(answer.text_stream))  # it would take minutes to the end


@pytest.mark.anyio
async def test_the_asynchronous_and_the_beta_client_work_as_well(gateway: LiveGateway) -> None:
    async with anthropic.AsyncAnthropic(base_url=gateway.url, auth_token=KEY, api_key=None, max_retries=0) as client:
        async with client.messages.stream(model=MODEL, max_tokens=8, messages=COLOUR) as stream:
            assert "".join([text async for text in stream.text_stream])
        answer = await client.beta.messages.create(model=MODEL, max_tokens=8, messages=COLOUR)
        assert answer.content[0].type == "text"


def test_the_plain_words_of_a_shell_are_enough(gateway: LiveGateway) -> None:
    body = {"model": "standard", "max_tokens": 4, "messages": COLOUR}
    answer = ask(gateway.url, "POST", "/v1/messages", body, key=KEY)
    assert answer.json["stop_reason"] == "max_tokens"
    assert ask(gateway.url, "POST", "/messages/count_tokens", body, key=KEY).json["input_tokens"] > 1


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"thinking": {"type": "disabled"}},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}},
        {"metadata": {"user_id": "u"}, "service_tier": "auto", "betas": ["context-1m-2025-08-07"]},
        {"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
        {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}}},
    ],
)
def test_what_agents_send_is_taken_by_the_engine(claude: anthropic.Anthropic, fields: Any) -> None:
    answer = claude.beta.messages.create(model=MODEL, max_tokens=60, messages=COLOUR, **STEADY, **fields)
    assert answer.content[0].text
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens > 5


def test_the_models_are_listed_as_it_reads_them(gateway: LiveGateway, claude: anthropic.Anthropic) -> None:
    cards = {card.id: card for card in claude.models.list()}
    assert {"standard", MODEL, "vendor/odd:name"} <= set(cards)
    assert (cards[MODEL].type, cards[MODEL].display_name, cards[MODEL].max_input_tokens) == ("model", MODEL, 1024)
    assert cards[MODEL].created_at.year > 2000
    assert claude.models.retrieve("vendor/odd:name").id == "vendor/odd:name"
    assert ask(gateway.url, "GET", "/v1/models", key=KEY).json["object"] == "list"


def test_langchain_streams_and_calls_tools(gateway: LiveGateway) -> None:
    chat = ChatAnthropic(
        model="scripted", base_url=gateway.url, api_key=KEY, max_tokens=64, temperature=0, max_retries=0
    )
    assert chat.invoke("hello there").content == "fake: hello there"
    whole: Any = None
    for piece in chat.stream("hello there"):
        whole = piece if whole is None else whole + piece
    assert whole.text == "fake: hello there"
    assert whole.usage_metadata["output_tokens"] == 3
    called = chat.bind_tools([TOOL]).invoke("call it")
    assert [call["name"] for call in called.tool_calls] == ["get_weather"]


BLIND = "anth-image-input"
"""The scripted model takes no images, so this case is refused."""


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver")
def test_the_suite_of_llm_comply_passes(gateway: LiveGateway, tmp_path: Path) -> None:
    config = ComplianceConfig(
        f"{gateway.url}/v1", KEY, model="scripted", auth_header="x-api-key", use_bearer_prefix=False
    )
    schemas = json.loads((files("llm_comply") / "specs" / "anthropic.json").read_text())
    # Vercel's AI SDK, which is strict, takes no `null` there: Anthropic's servers leave it out.
    schemas["components"]["schemas"]["ResponseTextBlock"]["required"].remove("citations")
    (tmp_path / "spec.json").write_text(json.dumps(schemas))
    spec = SpecLoader(str(tmp_path / "spec.json"))
    results = {r.id: r for r in runner.TestRunner(config, get_tests("anthropic"), spec).run_all().results}
    refused = results.pop(BLIND)
    assert refused.errors[0].startswith("HTTP 400")
    assert {name: r.errors for name, r in results.items() if r.status is result.TestStatus.FAILED} == {}
    passed = [name for name, r in results.items() if r.status is result.TestStatus.PASSED]
    assert len(passed) >= 7
