"""The requests that the documents of the systems show for chats and prompts, sent with curl as they stand there.

Scripted models answer, on the presets' ports and by their names. With a real model behind: `test_presets.py`.
"""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from live_gateway import LiveGateway

CONFIG = """
server:
  port: 0
  listeners:
    - {port: 0, name: llm_llama31_8b, model: "llama3.1:8b", surface: pas}
    - {port: 0, name: heavy, model: heavy, surface: llama-server}
models:
  "llama3.1:8b": {backend: fake, context: 8192}
  qwen/qwen3-4b-2507: {backend: fake}
  heavy: {backend: fake}
roles:
  standard: [qwen/qwen3-4b-2507]
  general_reasoning: [qwen/qwen3-4b-2507]
  creative_writing: [qwen/qwen3-4b-2507]
"""
SLM = """{
    "model": "qwen/qwen3-4b-2507",
    "messages": [{"role": "user", "content": "Hello!"}]
  }"""
PAS_CHAT = """{
  "model": "llama3.1:8b",
  "messages": [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is AI?"}
  ],
  "temperature": 0.7,
  "max_tokens": 500,
  "stream": false
}"""
PAS_PROMPT = """{
  "model": "llama3.1:8b",
  "prompt": "What is AI?",
  "stream": false,
  "options": {
    "temperature": 0.7,
    "num_predict": 500
  }
}"""
HEAVY = """{"model": "qwen2.5", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50}"""
CONDUCTOR = """{
  "prompt": "Explain quantum computing",
  "category": "general_reasoning",
  "max_tokens": 500,
  "temperature": 0.7
}"""
CONDUCTOR_STREAM = """{
  "prompt": "Write a story about...",
  "category": "creative_writing",
  "stream": true
}"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with LiveGateway(tmp_path_factory.mktemp("documents"), CONFIG) as running:
        yield running


def curl(url: str, body: str) -> bytes:
    """The documented command; anything but success fails."""
    command = ["curl", "-sS", "--fail-with-body", "-X", "POST", url, "-H", "Content-Type: application/json", "-d", body]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("port", "path", "body", "said"),
    [
        ("", "/v1/chat/completions", SLM, "fake: Hello!"),
        ("llm_llama31_8b", "/chat/completions", PAS_CHAT, "fake: What is AI?"),
        ("heavy", "/v1/chat/completions", HEAVY, "fake: Hello"),
    ],
    ids=["SLM Server", "PAS", "BestBox"],
)
def test_a_chat(gateway: LiveGateway, port: str, path: str, body: str, said: str) -> None:
    answer = json.loads(curl((gateway.port(port) if port else gateway.url) + path, body))
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": said}
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] > 0


def test_a_prompt_of_pas(gateway: LiveGateway) -> None:
    answer: dict[str, Any] = json.loads(curl(f"{gateway.port('llm_llama31_8b')}/generate", PAS_PROMPT))
    assert (answer["model"], answer["response"], answer["done"]) == ("llama3.1:8b", "fake: What is AI?", True)
    assert {"created_at", "total_duration", "load_duration", "prompt_eval_count", "eval_count"} <= set(answer)


def test_a_prompt_of_conductor(gateway: LiveGateway) -> None:
    answer = json.loads(curl(f"{gateway.url}/generate", CONDUCTOR))
    assert (answer["response"], answer["category"]) == ("fake: Explain quantum computing", "general_reasoning")


def test_a_stream_of_conductor(gateway: LiveGateway) -> None:
    lines = curl(f"{gateway.url}/generate/stream", CONDUCTOR_STREAM).splitlines()
    *chunks, end = [json.loads(line.removeprefix(b"data: ")) for line in lines if line]
    assert "".join(chunk["chunk"] for chunk in chunks) == "fake: Write a story about..."
    assert (end["done"], end.keys() - {"metadata"}) == (True, {"done"})  # what the task found out comes with it
