"""What a router model is asked, and how whatever it writes becomes a decision."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.config import names
from rolecast.config.schema import Config, Model, Routing
from rolecast.decision import Facts
from rolecast.routing import build, llm
from rolecast.routing.llm import Decision, answer_tokens, parse
from rolecast.values import Chat, Message, Part

DELEGATE = {
    "routing_decision": "DELEGATE",
    "target_model": "CODING",
    "confidence": 0.9,
    "reasoning_depth": 4,
    "reason": "asks for a function",
}
HANDLE = {
    "routing_decision": "HANDLE",
    "confidence": 0.95,
    "reasoning_depth": 1,
    "reason": "a greeting",
    "response": "Hello! How can I help?",
}


def read(decision: dict[str, Any], **changes: Any) -> Decision:
    return parse(json.dumps({**decision, **changes}))


def is_failed(found: Decision) -> bool:
    told = (found.routing_decision, found.target_model, found.confidence, found.reasoning_depth)
    return told == ("DELEGATE", "STANDARD", 0.5, 5) and "parsing failed" in found.reason


def test_a_decision_is_read_as_it_is_written() -> None:
    found = read(DELEGATE)
    assert (found.routing_decision, found.target_model, found.confidence, found.reasoning_depth, found.why) == (
        "DELEGATE",
        "CODING",
        0.9,
        4,
        "",
    )
    found = read(HANDLE)
    assert (found.routing_decision, found.response, found.target_model) == ("HANDLE", "Hello! How can I help?", "")


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```", "  ```JSON\r\n{}```\n", "\n{}\n"])
def test_one_code_fence_around_it_is_taken_away(fence: str) -> None:
    assert parse(fence.replace("{}", json.dumps(DELEGATE))).target_model == "CODING"


def test_a_second_fence_is_none_of_it() -> None:
    assert is_failed(parse(f"```json\n```json\n{json.dumps(DELEGATE)}\n```\n```"))


NAN = '{"routing_decision":"HANDLE","confidence":NaN,"reasoning_depth":1,"reason":"","response":"hi"}'
UNREAD = [
    *("", "  \n", "null", "[]", "CODING", "{", "\ud800", "{" * 9999, NAN),
    *(json.dumps(DELEGATE)[:-1], json.dumps(DELEGATE) + "}"),
    *(json.dumps({"decision": DELEGATE}), json.dumps([DELEGATE]), json.dumps(json.dumps(DELEGATE))),
    *('{"reason":"' + "x" * 1_000_000 + '"}', json.dumps({**DELEGATE, "reason": "y" * 1_000_000})),
]


@pytest.mark.parametrize("text", UNREAD, ids=range(len(UNREAD)))
def test_what_cannot_be_read_is_standards(text: str) -> None:
    assert is_failed(parse(text))


@pytest.mark.parametrize("name", list(DELEGATE))
def test_a_key_that_is_missing_or_of_another_kind_is_no_decision(name: str) -> None:
    assert is_failed(parse(json.dumps({k: v for k, v in DELEGATE.items() if k != name})))
    for wrong in (None, {"value": 1}, [DELEGATE[name]], True):
        assert is_failed(read(DELEGATE, **{name: wrong})), wrong


@pytest.mark.parametrize(("given", "value"), [("0.9", 0.9), (" 0.75 ", 0.75), (1, 1.0), ("1", 1.0)])
def test_numbers_may_stand_in_quotes(given: Any, value: float) -> None:
    assert read(DELEGATE, confidence=given, reasoning_depth="7").confidence == value
    assert read(DELEGATE, confidence=given, reasoning_depth="7").reasoning_depth == 7


@pytest.mark.parametrize("given", [1.01, 95, -0.1, "NaN", "inf", "-Infinity", "90%", "high", "9" * 5000, 10**400])
def test_a_confidence_that_is_none_is_no_decision(given: Any) -> None:
    assert is_failed(read(DELEGATE, confidence=given))


@pytest.mark.parametrize(("given", "depth"), [(0, 1), (11, 10), (1e300, 10), (-5, 1), (6.6, 7)])
def test_a_depth_out_of_range_is_brought_into_it(given: Any, depth: int) -> None:
    assert read(DELEGATE, reasoning_depth=given).reasoning_depth == depth


def test_who_is_not_sure_is_not_believed() -> None:
    for decision in (DELEGATE, HANDLE):
        found = read(decision, confidence=0.69)
        assert (found.routing_decision, found.target_model, found.response) == ("DELEGATE", "STANDARD", "")
        assert (found.confidence, found.why) == (0.69, "router was not sure, so standard")
        assert read(decision, confidence=0.7).why == ""


@pytest.mark.parametrize("response", [None, "", " \n", 7, ["hi"], {"text": "hi"}])
def test_an_answer_that_is_none_is_left_to_standard(response: Any) -> None:
    found = read(HANDLE, response=response)
    assert (found.routing_decision, found.target_model) == ("DELEGATE", "STANDARD")
    without = {k: v for k, v in HANDLE.items() if k != "response"}
    assert parse(json.dumps(without)).target_model == "STANDARD"


def test_who_may_not_handle_delegates() -> None:
    assert parse(json.dumps(HANDLE), may_handle=False).target_model == "STANDARD"


@pytest.mark.parametrize("given", ["coding", " Coding ", "CODING"])
def test_words_are_read_however_they_are_spelled(given: str) -> None:
    assert read(DELEGATE, target_model=given, routing_decision="delegate").target_model == "CODING"
    assert is_failed(read(DELEGATE, target_model="ROUTER"))
    assert is_failed(read(DELEGATE, routing_decision="MAYBE"))


def test_what_is_said_of_the_format_is_taken_as_far_as_it_makes_sense() -> None:
    params = {"max_tokens": "800", "temperature": -1, "timeout_multiplier": 2, "shell": "rm"}
    found = read(
        DELEGATE,
        detected_format="step-by-step",
        format_confidence="0.8",
        format_keywords_matched=["step by step", 3, None],
        recommended_params=params,
    )
    assert (found.detected_format, found.format_confidence) == ("STEP_BY_STEP", 0.8)
    assert found.format_keywords_matched == ("step by step",)
    assert found.recommended_params == {"max_tokens": 800.0, "timeout_multiplier": 2.0}
    assert found.answer_tokens == 800
    odd = read(DELEGATE, detected_format=7, format_confidence={}, format_keywords_matched="x", recommended_params=[1])
    assert (odd.target_model, odd.detected_format, odd.recommended_params) == ("CODING", "UNSPECIFIED", {})


LENGTHS = [
    *(("summary", 10, False, 390), ("table", 5, False, 920), ("brief", 1, False, 309), ("detailed", 10, True, 4875)),
    *(("nonsense", 0, False, 1500), ("unspecified", 0, True, 2250), ("bullet points", 0, False, 500)),
]


@pytest.mark.parametrize(("form", "depth", "examples", "tokens"), LENGTHS)
def test_the_length_of_an_answer_follows_its_format_and_depth(
    form: str, depth: int, examples: bool, tokens: int
) -> None:
    assert answer_tokens(form, depth, examples=examples) == tokens


def test_the_reason_is_one_printable_line_and_short() -> None:
    reason = read(DELEGATE, reason="a\r\nx-evil: 1\x00" + "é" * 5000).reason
    assert len(reason) <= llm.MOST_REASON
    assert reason.isprintable()


@given(
    st.text(), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x), max_leaves=4)
)
def test_nothing_that_a_model_writes_raises(text: str, value: Any) -> None:
    assert is_failed(parse(text))
    for name in (*HANDLE, "target_model", "recommended_params", "format_keywords_matched", "detected_format"):
        found = parse(json.dumps({**HANDLE, name: value}))
        assert found.routing_decision == "DELEGATE" or found.response


# -- the question ----------------------------------------------------------------------------------------


def question(*messages: Message, may_handle: bool = True) -> Chat:
    return llm.question(Chat("", messages), may_handle=may_handle, max_tokens=100)


def test_only_the_last_messages_are_shown_and_the_newest_first_of_all() -> None:
    said = [Message("user" if i % 2 == 0 else "assistant", f"m{i}") for i in range(9)]
    assert question(*said).messages[1].content == "Request:\nuser: m6\nassistant: m7\nuser: m8"
    text = (
        question(Message("user", "old " * 2000), Message("assistant", "ok"), Message("user", "new")).messages[1].content
    )
    assert text == "Request:\nassistant: ok\nuser: new"


def test_a_long_message_is_shown_with_its_beginning_and_its_end() -> None:
    text = question(Message("user", "BEGIN " + "x" * 100_000 + " END")).messages[1].content
    assert isinstance(text, str)
    assert len(text) < 1500 * 4 + 50
    assert "BEGIN" in text
    assert text.endswith("END")


def test_pictures_calls_and_results_are_not_shown() -> None:
    parts = (Part("text", text="what is this"), Part("image", data="data:image/png;base64,AAAA"))
    text = question(Message("tool", "SECRET", tool_call_id="1"), Message("user", parts)).messages[1].content
    assert text == "Request:\nuser: what is this"


def test_an_answer_heeds_the_system_prompt_and_a_mere_decision_does_not_see_it() -> None:
    said = (Message("system", "Answer in French."), Message("user", "hi"))
    assert "Answer in French." in str(question(*said).messages[0].content)
    assert "Answer in French." not in str(question(*said, may_handle=False).messages[0].content)
    assert llm.heeds(Chat("", (Message("developer", "x" * 2000),)))
    assert not llm.heeds(Chat("", (Message("developer", "x" * 2001),)))


def test_the_schema_offers_to_handle_only_what_may_be() -> None:
    both = msgspec.json.decode(llm.schema(may_handle=True))
    assert [each["properties"]["routing_decision"]["const"] for each in both["anyOf"]] == ["HANDLE", "DELEGATE"]
    one = msgspec.json.decode(llm.schema(may_handle=False))
    assert one["properties"]["routing_decision"] == {"const": "DELEGATE"}
    assert one["required"] == list(DELEGATE)
    asked = question(Message("user", "hi"), may_handle=False)
    assert "HANDLE" not in str(asked.messages[0].content)
    assert (asked.sampling.temperature, asked.sampling.max_tokens) == (0.1, 100)


# -- the strategy ----------------------------------------------------------------------------------------

ROLES = {"standard": ["s"], "router": ["r"], "coding": ["c"]}


def config(roles: dict[str, list[str]] = ROLES, **models: Model) -> Config:
    found = {"s": Model(), "r": Model(), "c": Model(), **models}
    return Config(models=found, roles=roles, routing=Routing(strategies=["explicit", "llm"]))


def consult(facts: Facts, conf: Config) -> str:
    return build(names.table(conf), conf).choose(facts).consult


def test_it_is_asked_about_words_that_name_nobody() -> None:
    assert consult(Facts("auto", "chat", text="hi"), config()) == "router"
    for facts in (Facts("s", "chat", text="hi"), Facts("auto", "chat"), Facts("auto", "chat", text=" \n")):
        assert consult(facts, config()) == ""
    assert consult(Facts("auto", "completion", text="hi"), config()) == ""
    assert consult(Facts("auto", "chat", text="hi", open_call=True), config()) == ""


def test_it_abstains_where_nobody_can_be_asked() -> None:
    assert consult(Facts("auto", "chat", text="hi"), config({"standard": ["s"]})) == ""
    assert consult(Facts("auto", "chat", text="hi"), config(r=Model(enabled=False))) == ""


def test_a_decision_names_a_role_that_is_there() -> None:
    assert llm.verdict(read(DELEGATE), config()).name == "coding"
    assert llm.verdict(read(DELEGATE, target_model="REASONING"), config()).name == "standard"
    other = Config(models={"a": Model()}, roles={"main": ["a"]}, routing=Routing(default="main"))
    said = llm.verdict(parse("?"), other)
    assert (said.name, said.source, said.confidence) == ("main", "llm", 0.5)


def test_no_word_of_the_model_gets_into_the_reason() -> None:
    for decision in (read(DELEGATE, reason="SECRET"), read(DELEGATE, reason="SECRET", confidence=0.1)):
        assert "SECRET" not in llm.verdict(decision, config()).reason
