"""Frameworks for Python as clients, against the real engine: answers, streams, tools, schemas, vectors, errors.

Each runs in a process of its own: they are slow to import, and leave their connections to the end of theirs.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest
from client_programs import python_folder, run_python
from live_gateway import LiveGateway

pytestmark = pytest.mark.real

KEY = "sk-first"
COLOURS = ("red", "green", "blue")
CALLED = ["get_weather", {"city": ""}, "fake: sunny"]
STATUSES = {"unknown": 404, "long": 400, "crowded": 429, "off": 503, "stranger": 401}
OF_OPENAI = {
    "unknown": "NotFoundError",
    "long": "BadRequestError",
    "crowded": "RateLimitError",
    "off": "InternalServerError",
    "stranger": "AuthenticationError",
}
"""The classes of OpenAI's client, which several raise as they are."""


@pytest.fixture(scope="module")
def usual(gateway: LiveGateway) -> list[Any]:
    """Words and counts as the official client has them."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        colour: Any = [{"role": "user", "content": "Name a colour."}]
        answer = client.chat.completions.create(model="smollm2-135m", messages=colour, max_tokens=8, temperature=0)
    assert answer.usage is not None
    return [answer.choices[0].message.content, answer.usage.prompt_tokens, answer.usage.completion_tokens]


def failures(classes: dict[str, str]) -> dict[str, list[Any]]:
    return {name: [kind, STATUSES[name]] for name, kind in classes.items()}


# -- LangChain -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_langchain(crowded: LiveGateway) -> Any:
    return run_python("langchain_chat.py", crowded.url, KEY)


@pytest.mark.parametrize("way", ["openai", "responses", "anthropic"])
def test_langchain_gets_the_same_from_each_of_its_classes(of_langchain: Any, usual: list[Any], way: str) -> None:
    told = of_langchain[way]
    assert told["whole"] == told["streamed"] == usual
    assert told["tools"] == CALLED
    assert told["schema"]["colour"] in COLOURS
    assert told["by_call"] == "City"


@pytest.mark.parametrize("way", ["openai", "responses", "anthropic"])
def test_langchain_raises_the_errors_of_the_clients_it_uses(of_langchain: Any, way: str) -> None:
    assert of_langchain[way]["errors"] == failures(OF_OPENAI)


def test_langchain_embeds_texts_by_openais_class(of_langchain: Any) -> None:
    assert of_langchain["openai"]["vectors"] == [384, 384]


# -- LiteLLM -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_litellm(crowded: LiveGateway) -> Any:
    return run_python("litellm_client.py", crowded.url, KEY)


@pytest.mark.parametrize("way", ["openai", "ollama_chat", "anthropic"])
def test_litellm_gets_the_same_from_each_of_its_providers(of_litellm: Any, usual: list[Any], way: str) -> None:
    told = of_litellm[way]
    assert told["whole"] == told["streamed"] == usual
    assert told["tools"] == CALLED
    assert told["schema"]["colour"] in COLOURS
    if way == "openai":
        assert told["vectors"] == [384, 384]


@pytest.mark.parametrize("way", ["openai", "ollama_chat", "anthropic"])
def test_litellm_knows_a_prompt_that_is_too_long_and_what_to_try_again(of_litellm: Any, way: str) -> None:
    classes = OF_OPENAI | {"off": "ServiceUnavailableError", "long": "ContextWindowExceededError"}
    if way == "ollama_chat":  # whose provider has no class for it
        classes["long"] = "BadRequestError"
    expected = failures(classes)
    if way == "anthropic":  # which makes one class of all 5xx
        expected["off"] = ["InternalServerError", 500]
    assert of_litellm[way]["errors"] == expected


# -- what needs an older client of OpenAI's --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def older() -> Path:
    return python_folder()


def test_instructor_fills_models_by_schema_by_call_and_piece_by_piece(crowded: LiveGateway, older: Path) -> None:
    told = run_python("instructor_client.py", crowded.url, KEY, beside=older)
    assert told["schema"]["colour"] in COLOURS
    assert told["streamed"]["colour"] in COLOURS
    assert told["usage"][:2] == [True, True]
    assert told["tools"] == "City"
    assert told["errors"] == failures(OF_OPENAI)


def test_llama_index_gets_answers_streams_calls_schemas_and_vectors(
    crowded: LiveGateway, older: Path, usual: list[Any]
) -> None:
    told = run_python("llama_index_client.py", crowded.url, KEY, beside=older)
    assert (told["whole"], told["streamed"]) == (usual, usual[0])
    assert told["completion"]
    assert told["tools"] == CALLED[:2]
    assert told["by_call"] == "City"
    assert told["schema"]["colour"] in COLOURS
    assert told["vectors"] == [384, 384]
    assert told["errors"] == failures(OF_OPENAI)


MODELS = """
- {model_id: small, model_name: smollm2-135m, api_base: "URL/v1", api_key_name: rolecast, supports_schema: true}
- {model_id: calls, model_name: scripted, api_base: "URL/v1", api_key_name: rolecast, supports_tools: true}
- {model_id: nobody, model_name: nobody, api_base: "URL/v1", api_key_name: rolecast}
"""
TOOL = 'def get_weather(city: str) -> str:\n    "The weather."\n    return "sun" + city\n'


@pytest.fixture(scope="module")
def llm(gateway: LiveGateway, older: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The command `llm` of a user who told it where the gateway is."""
    folder = tmp_path_factory.mktemp("llm")
    (folder / "extra-openai-models.yaml").write_text(MODELS.replace("URL", gateway.url))
    (folder / "keys.json").write_text(json.dumps({"rolecast": KEY}))
    environment = os.environ | {"PYTHONPATH": str(older), "LLM_USER_PATH": str(folder), "HOME": str(folder)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "ignore", "-m", "llm", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)

    return run


def test_the_command_llm_answers_streamed_and_whole(llm: Any, usual: list[Any]) -> None:
    options = ("-m", "small", "-o", "max_tokens", "8", "-o", "temperature", "0", "Name a colour.")
    for way in (("--usage",), ("--no-stream", "--usage")):
        done = llm(*way, *options)
        assert done.stdout.rstrip("\n") == usual[0], done.stderr
        assert f"{usual[1]} input, {usual[2]} output" in done.stderr


def test_the_command_llm_binds_answers_runs_tools_and_tells_errors(llm: Any) -> None:
    bound = llm("-m", "small", "-o", "max_tokens", "60", "--schema", json.dumps(COLOUR), "Name a colour.")
    assert json.loads(bound.stdout)["colour"] in COLOURS, bound.stderr
    called = llm("-m", "calls", "--functions", TOOL, "call it")
    assert called.stdout.strip() == "fake: sun", called.stderr
    missing = llm("-m", "nobody", "hello")
    assert missing.returncode != 0
    assert "does not exist here" in missing.stderr


COLOUR = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": list(COLOURS)}},
    "required": ["colour"],
    "additionalProperties": False,
}
