"""The tasks on real weights: each answers whole and streamed, and what engines do for their checks is done."""

import json
from typing import Any

import pytest
from live_gateway import LiveGateway

from rolecast.config.labels import CATEGORIES, EXTERNAL
from rolecast.tasks.table import PATHS

TEXTS = {"text_to_summarize": "It rains.", "code_to_review": "x = 1", "context_text": "It rains."}
BRIEF = {"max_tokens": 8, "temperature": 0}


def ask(gateway: LiveGateway, category: str, path: str = "/conductor/generate", **fields: Any) -> Any:
    answer = gateway.post(path, {"prompt": "Is rain wet?", "category": category, **fields})
    assert answer.status == 200, answer.body
    return answer


@pytest.mark.parametrize("category", [name for name in CATEGORIES if name != EXTERNAL])
def test_each_task_answers_whole_and_streamed(gateway: LiveGateway, category: str) -> None:
    whole = ask(gateway, category, **BRIEF, extra_params=TEXTS).json
    assert whole["category"] == category
    assert "error" not in whole
    assert isinstance(whole["response"], str)
    streamed = ask(gateway, category, "/generate/stream", **BRIEF, stream=True, extra_params=TEXTS).body.decode()
    *_, last = [json.loads(line[6:]) for line in streamed.split("\n\n") if line]
    assert last["done"] is True
    if path := PATHS.get(category):
        direct = ask(gateway, category, path, **BRIEF, extra_params=TEXTS).json
        assert (direct["category"], isinstance(direct["response"], str)) == (category, True)


def test_json_that_is_asked_for_is_json_however_small_the_model_is(gateway: LiveGateway) -> None:
    options = {"format_requirements": "JSON", "context": "Ann is 7."}
    for prompt in ("Give name and age.", "Write a poem."):
        wish = {"prompt": prompt, "max_tokens": 120, "temperature": 0, "extra_params": options}
        answer = gateway.post("/generate", {"category": "instruction_following", **wish}).json
        if not answer["metadata"].get("cut"):
            json.loads(answer["response"])
            assert answer["metadata"]["format_ok"] is True
        assert answer["response"].lstrip()[0] in "{["


def test_the_disclaimer_stands_below_a_real_answer(gateway: LiveGateway) -> None:
    answer = ask(gateway, "legal_analysis", "/legal/analyze", **BRIEF).json
    assert answer["response"].count("not legal advice") == 1
    assert answer["metadata"]["finish_reason"] == "length"


def test_options_that_stand_beside_the_prompt_and_in_extra_params_count_once(gateway: LiveGateway) -> None:
    options = {"context": "Rain is wet.", "answer_format": "direct"}  # a client of Conductor's sends them twice
    answer = ask(gateway, "question_answering", **BRIEF, **options, extra_params=options).json
    assert "error" not in answer
    assert set(answer["metadata"]) >= {"question_type", "answered"}
    assert "ignored_options" not in answer["metadata"]


def test_zero_temperature_is_repeatable(gateway: LiveGateway) -> None:
    first, second = (ask(gateway, "creative_writing", **BRIEF).json["response"] for _ in range(2))
    assert first == second
