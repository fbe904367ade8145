"""The official OpenAI client against the real engine: everything it offers for chat, completions and embeddings."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any

import openai
import pytest
from live_gateway import LiveGateway, ask, until
from llm_comply import result, runner
from llm_comply.config import ComplianceConfig
from llm_comply.schema import SpecLoader
from llm_comply.tests import get_tests
from openai.types.chat import ChatCompletion

pytestmark = pytest.mark.real

COLOUR: list[Any] = [{"role": "user", "content": "Name a colour."}]
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "green", "blue"]}, "warm": {"type": "boolean"}},
    "required": ["colour", "warm"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
NAMES = ["smollm2-135m", "default", "smollm2:135m", "HuggingFaceTB/SmolLM2-135M-Instruct", "standard", "auto"]


def chat(client: openai.OpenAI, model: str = "auto", **options: Any) -> ChatCompletion:
    answer: ChatCompletion = client.chat.completions.create(
        model=model, messages=options.pop("messages", COLOUR), **{"max_tokens": 8, "temperature": 0, **options}
    )
    return answer


# -- chat ---------------------------------------------------------------------------------------------------------


def test_a_chat_is_answered_with_text_usage_and_a_reason_to_stop(client: openai.OpenAI) -> None:
    answer = chat(client)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8


@pytest.mark.parametrize("name", NAMES)
def test_a_model_answers_to_its_id_its_aliases_its_roles_and_auto(client: openai.OpenAI, name: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=name, messages=COLOUR, max_tokens=1)
    assert raw.headers["x-rolecast-model"] == "smollm2-135m"
    assert raw.headers["x-rolecast-role"] == "standard"
    sources = {"auto": ("default; ", "learned; "), "standard": ("role; ",), "smollm2-135m": ("explicit; ",)}
    assert raw.headers["x-rolecast-route"].startswith(sources.get(name, ("alias; ",)))


def test_a_stream_brings_the_same_words_as_the_whole_answer(client: openai.OpenAI) -> None:
    whole = chat(client, seed=7)
    chunks = list(
        client.chat.completions.create(model="auto", messages=COLOUR, max_tokens=8, temperature=0, seed=7, stream=True)
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(c.usage is None for c in chunks)


def test_a_stream_tells_its_usage_when_asked(client: openai.OpenAI) -> None:
    *chunks, last = client.chat.completions.create(
        model="auto",
        messages=COLOUR,
        max_tokens=5,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 5
    assert all(c.usage is None for c in chunks)


def test_a_stream_is_not_held_back(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "endless"}], stream=True
    ) as stream:
        assert next(iter(stream)).choices  # it would take minutes to the end


def test_temperature_zero_with_a_seed_repeats_itself(client: openai.OpenAI) -> None:
    answers = {chat(client, seed=11).choices[0].message.content for _ in range(3)}
    assert len(answers) == 1


def test_a_stop_text_ends_the_answer(client: openai.OpenAI) -> None:
    count: list[Any] = [{"role": "user", "content": "Count from 1 to 10."}]
    answer = chat(client, messages=count, max_tokens=40, stop=["5"])
    assert "5" not in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"


def test_several_choices_are_made_at_once(client: openai.OpenAI) -> None:
    answer = chat(client, n=3, temperature=1.0, max_tokens=4)
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert all(c.message.content for c in answer.choices)


def test_log_probabilities_are_probabilities(client: openai.OpenAI) -> None:
    content = chat(client, max_tokens=3, logprobs=True, top_logprobs=4).choices[0].logprobs
    assert content is not None
    assert content.content is not None
    assert len(content.content) == 3
    for token in content.content:
        assert len(token.top_logprobs) == 4
        assert sum(math.exp(t.logprob) for t in token.top_logprobs) <= 1 + 1e-6
        assert token.logprob <= 0


def test_a_json_schema_is_obeyed(client: openai.OpenAI) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "colour", "schema": SCHEMA, "strict": True}}
    value = json.loads(chat(client, max_tokens=60, response_format=wanted).choices[0].message.content or "")
    assert set(value) == {"colour", "warm"}
    assert value["colour"] in ("red", "green", "blue")
    assert isinstance(value["warm"], bool)


def test_a_json_object_is_json(client: openai.OpenAI) -> None:
    answer = chat(client, max_tokens=12, response_format={"type": "json_object"})
    assert (answer.choices[0].message.content or "").lstrip().startswith("{")


def test_tools_reach_the_model_and_its_calls_come_back(client: openai.OpenAI) -> None:
    call = chat(client, "scripted", messages=[{"role": "user", "content": "call it"}], tools=[TOOL]).choices[0]
    assert call.finish_reason == "tool_calls"
    assert call.message.tool_calls is not None
    assert call.message.tool_calls[0].function.name == "get_weather"  # type: ignore[union-attr]
    assert json.loads(call.message.tool_calls[0].function.arguments) == {"city": ""}  # type: ignore[union-attr]
    history: list[Any] = [
        {"role": "user", "content": "call it"},
        call.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.message.tool_calls[0].id, "content": "sunny"},
    ]
    assert chat(client, "scripted", messages=history, tools=[TOOL]).choices[0].message.content == "fake: sunny"
    assert chat(client, tools=[TOOL]).choices[0].message.content  # a template without tools answers in words


def test_fields_outside_the_standard_reach_the_engine(client: openai.OpenAI) -> None:
    chat(client)  # read before, as by those that follow: a prompt that is read whole rounds otherwise
    greedy = chat(client, temperature=1.5, seed=3, extra_body={"top_k": 1, "cache_prompt": True})
    assert greedy.choices[0].message.content == chat(client).choices[0].message.content
    nested = chat(client, temperature=1.5, extra_body={"extra_body": {"top_k": 1}})  # as older clients send it
    assert nested.choices[0].message.content == chat(client).choices[0].message.content


def test_a_model_without_a_role_speaks_up_for_four_clients_at_once(client: openai.OpenAI) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda i: chat(client, max_tokens=6, seed=i), range(4)))
    assert len({a.id for a in answers}) == 4
    assert len({a.choices[0].message.content for a in answers}) == 1


# -- completions and embeddings -----------------------------------------------------------------------------------


def test_a_prompt_is_continued_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="default", prompt="Once upon a", max_tokens=5, temperature=0)
    assert whole.choices[0].text.strip()
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 5
    chunks = client.completions.create(model="default", prompt="Once upon a", max_tokens=5, temperature=0, stream=True)
    assert "".join(c.choices[0].text for c in chunks) == whole.choices[0].text


def test_several_prompts_are_continued_in_their_order(client: openai.OpenAI) -> None:
    prompts = ["Once upon a", "The capital of France is"]
    both = client.completions.create(model="auto", prompt=prompts, max_tokens=4, temperature=0)
    alone = [client.completions.create(model="auto", prompt=p, max_tokens=4, temperature=0) for p in prompts]
    assert [c.text for c in sorted(both.choices, key=lambda c: c.index)] == [a.choices[0].text for a in alone]


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_related_texts_have_related_vectors(client: openai.OpenAI, options: dict[str, Any]) -> None:
    texts = ["A cat sits on the mat.", "A kitten rests on a rug.", "The stock market fell sharply today."]
    answer = client.embeddings.create(model="auto", input=texts, **options)
    assert [d.index for d in answer.data] == [0, 1, 2]
    if options.get("encoding_format") == "base64":
        assert all(isinstance(d.embedding, str) for d in answer.data)
        return
    cat, kitten, stocks = (d.embedding for d in answer.data)
    assert len(cat) == 384
    assert cosine(cat, kitten) > cosine(cat, stocks) + 0.2
    assert answer.usage.prompt_tokens > 0


def test_one_text_has_one_vector_by_every_name_of_the_model(client: openai.OpenAI) -> None:
    names = ["minilm", "sentence-transformers/all-MiniLM-L6-v2", "embeddings"]
    vectors = [client.embeddings.create(model=name, input="A cat.").data[0].embedding for name in names]
    assert all(cosine(vectors[0], v) > 0.9999 for v in vectors)


# -- the model list -----------------------------------------------------------------------------------------------


def test_every_name_that_may_be_asked_for_is_listed_and_can_be_retrieved(client: openai.OpenAI) -> None:
    listed = {m.id: m for m in client.models.list()}
    assert set(listed) >= {*NAMES, "minilm", "vendor/odd:name", "a/b/c:latest", "coding"} - {"auto"}
    assert "off" not in listed
    for name in listed:
        assert client.models.retrieve(name) == listed[name]
    assert listed["a/b/c:latest"].to_dict()["root"] == "vendor/odd:name"
    assert listed["smollm2-135m"].owned_by == "rolecast"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_ids_with_slashes_and_colons_are_names_like_any_other(client: openai.OpenAI) -> None:
    hello: list[Any] = [{"role": "user", "content": "hello"}]
    for name in ("vendor/odd:name", "a/b/c:latest"):
        raw = client.chat.completions.with_raw_response.create(model=name, messages=hello)
        assert raw.headers["x-rolecast-model"] == "vendor/odd:name"
        assert raw.parse().choices[0].message.content == "fake: hello"


# -- errors -------------------------------------------------------------------------------------------------------


def test_an_unknown_model_is_not_found_with_where_to_look(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        chat(client, "nobody/knows:me")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "GET /v1/models" in str(caught.value)
    assert caught.value.request_id


@pytest.mark.parametrize(
    ("options", "field"),
    [({"temperature": -1}, "temperature"), ({"messages": []}, "messages"), ({"top_p": 3}, "top_p"), ({"n": 0}, "n")],
)
def test_a_wrong_value_is_unprocessable_and_names_its_field(
    client: openai.OpenAI, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        chat(client, **options)
    assert caught.value.param == field


def test_a_model_that_cannot_do_it_is_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="cannot do chat: its capabilities are embeddings"):
        chat(client, "minilm")
    with pytest.raises(openai.BadRequestError, match="cannot do embeddings"):
        client.embeddings.create(model="default", input="x")


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "web_search", "q": "SECRET"}]},
        {"tools": [{"name": "SECRET"}]},
        {"messages": [*COLOUR, {"role": "assistant", "tool_calls": [{"function": {"name": "SECRET"}}]}, *COLOUR]},
        {"grammar": 'root ::= "SECRET'},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "SECRET"}}}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x;SECRET"}}]}]},
        {"reasoning_format": "SECRET"},
    ],
    ids=range(7),
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_mistake_is_the_clients_and_is_not_quoted(client: openai.OpenAI, body: Any, streamed: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, stream=streamed, extra_body=body)
    assert "SECRET" not in str(caught.value)


def test_what_the_engine_refuses_comes_back_in_its_own_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="exceeds the available context size") as caught:
        chat(client, "smollm2-135m", messages=[{"role": "user", "content": "a b c " * 2000}])
    assert (caught.value.type, caught.value.code) == ("exceed_context_size_error", "context_length_exceeded")
    for model in ("auto", "standard"):  # who names no model has none asked that is far too small
        with pytest.raises(openai.BadRequestError, match="'standard' has a context of 1024 tokens") as caught:
            chat(client, model, messages=[{"role": "user", "content": "a b c " * 2000}])
        assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="top_logprobs requires logprobs"):
        client.chat.completions.create(model="auto", messages=COLOUR, stream=True, top_logprobs=3)


def test_a_wrong_key_and_a_missing_one_are_authentication_errors(gateway: LiveGateway) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            chat(stranger)
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
    assert ask(gateway.url, "GET", "/v1/models").error["code"] == "missing_api_key"
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="sk-second", max_retries=0) as second:
        assert chat(second, max_tokens=1).choices


def test_a_full_queue_is_a_rate_limit_error_and_the_client_gets_through_by_itself(
    client: openai.OpenAI, gateway: LiveGateway
) -> None:
    hello: list[Any] = [{"role": "user", "content": "hello"}]
    with ExitStack() as stack:
        streams = [stack.enter_context(gateway.stream("scripted", "endless"))]
        assert streams[0].event()
        streams += [stack.enter_context(gateway.stream("scripted", "endless")) for _ in range(2)]
        until(lambda: gateway.model("scripted")["waiting"] == 2)
        with pytest.raises(openai.RateLimitError) as caught:
            chat(client, "scripted", messages=hello)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        patient = client.with_options(max_retries=5)
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(chat, patient, "scripted", messages=hello)
            for stream in streams:
                stream.close()
            assert answer.result().choices[0].message.content == "fake: hello"


def test_a_client_that_gives_up_frees_the_engine(client: openai.OpenAI, gateway: LiveGateway) -> None:
    hurried = client.with_options(timeout=0.2)
    with pytest.raises(openai.APITimeoutError):
        chat(hurried, max_tokens=900, extra_body={"ignore_eos": True})
    until(lambda: gateway.model("smollm2-135m")["active"] == 0)


def test_a_disabled_model_is_unavailable(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="disabled"):
        chat(client, "off")


# -- a suite of others ----------------------------------------------------------------------------------------------

NOT_HERE = {
    "chat-image-input": "the scripted model takes no images",
    "chat-reasoning-summary": "the scripted model does not think",
    "chat-error-handling": "a request without a model is for the default role",
}
"""Cases of the suite that do not apply, and why."""


def _as_engines_answer(schema: dict[str, Any]) -> dict[str, Any]:
    """Fields that are null in OpenAI's answers are left out by engines, whose bytes pass; its clients read them so."""
    if isinstance(required := schema.get("required"), list):
        schema["required"] = [field for field in required if field not in ("refusal", "logprobs")]
    return schema


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver")
def test_the_suite_of_openai_chat_passes(gateway: LiveGateway, tmp_path: Path) -> None:
    config = ComplianceConfig(f"{gateway.url}/v1", "sk-first", model="scripted")
    schemas = json.loads(
        (files("llm_comply") / "specs" / "openai_chat.json").read_text(), object_hook=_as_engines_answer
    )
    (tmp_path / "spec.json").write_text(json.dumps(schemas))
    spec = SpecLoader(str(tmp_path / "spec.json"))
    found = runner.TestRunner(config, get_tests("openai-chat"), spec).run_all().results
    failed = {each.id: each.errors for each in found if each.status is result.TestStatus.FAILED}
    assert set(failed) - set(NOT_HERE) == set(), failed
    assert len(found) - len(failed) >= 6
