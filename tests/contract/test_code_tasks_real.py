"""Tasks of code on the real engine: a tiny model completes, writes and reviews, and the form is as promised."""

import ast
from typing import Any

import pytest
from live_gateway import LiveGateway

from rolecast.tasks.code.findings import SEVERITIES

pytestmark = pytest.mark.real

MODEL = "smollm2-135m"


def asked(gateway: LiveGateway, path: str, **fields: Any) -> Any:
    answer = gateway.post(path, {"model": MODEL, "temperature": 0, **fields})
    assert answer.status == 200, answer.body
    return answer.json


def test_a_completion_goes_on_at_the_cursor_and_ends_with_its_function(gateway: LiveGateway) -> None:
    prompt = "def add(a, b):\n    "
    answer = asked(gateway, "/code/completion", prompt=prompt, max_completion_length=60)
    assert ast.parse(prompt + answer["response"]).body
    assert answer["response"].strip()
    assert "def " not in answer["response"]
    assert "```" not in answer["response"]
    assert (answer["metadata"]["way"], answer["metadata"]["language"]) == ("continue", "python")
    again = asked(gateway, "/code/completion", prompt=prompt, max_completion_length=60)
    assert (again["response"], again["metadata"]["cached"], again["tokens_generated"]) == (answer["response"], True, 0)


def test_generated_code_is_told_from_what_is_said_around_it(gateway: LiveGateway) -> None:
    answer = asked(gateway, "/code/generation", prompt="a Python function that adds two numbers", max_tokens=150)
    metadata = answer["metadata"]
    assert metadata["language"] == "python"
    assert metadata["syntax"] in ("ok", "error")
    if metadata["syntax"] == "ok":
        ast.parse(metadata["code"])
    else:
        assert metadata["syntax_error"]["line"] >= 1
    assert "```" not in metadata["code"]


def test_a_review_is_findings_with_severity_and_line_even_from_a_tiny_model(gateway: LiveGateway) -> None:
    code = "def f(x):\n    return eval(x)\n"
    answer = asked(gateway, "/generate", category="code_review", prompt=code, severity_filter="info", max_tokens=200)
    metadata = answer["metadata"]
    assert metadata["structured"]
    assert not metadata["repaired"]
    for each in metadata["findings"]:
        assert each["severity"] in SEVERITIES
        assert each["line"] in (None, 1, 2)
        assert each["title"]
    order = [SEVERITIES.index(each["severity"]) for each in metadata["findings"]]
    assert order == sorted(order)
