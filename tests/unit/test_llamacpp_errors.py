"""What the engine refuses is the client's to mend: a 400 that names the field and holds nothing of the request."""

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_gguf

from rolecast.backends.llamacpp import LlamaCpp
from rolecast.backends.llamacpp_errors import CONSTANT, RULES, explain
from rolecast.config.schema import Model
from rolecast.dialects.complaint import Failure, read
from rolecast.values import Listen

S = "SECRET"
USER = {"role": "user", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{S}"}}
SOUND = {"type": "input_audio", "input_audio": {"data": S, "format": "wav"}}
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate: ' + m.content) }}{% endif %}"
    "{{ m.role + m.content }}{% endfor %}"
)

Ask = Callable[..., tuple[int, bytes]]


def said(message: str, **fields: Any) -> Failure:
    return read(json.dumps({"error": {"code": 500, "message": message, "type": "server_error"} | fields}).encode())


# -- the engine itself -----------------------------------------------------------------------------------------


class _Local(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self.path))


def _running(folder: Path, template: str) -> Iterator[Ask]:
    weights, where = tiny_gguf.write(folder / "tiny.gguf", template=template), folder / "w.sock"
    launch = LlamaCpp().plan(
        "tiny", Model(source="file:tiny.gguf", context=512, parallel=1), weights, Listen(str(where))
    )
    worker = subprocess.Popen(launch.argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(body: Any, path: str = "/v1/chat/completions") -> tuple[int, bytes]:
        connection = _Local(where)
        try:
            content = body if isinstance(body, bytes) else json.dumps(body)
            connection.request("POST", path, content, {"content-type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    try:
        for _ in range(600):  # until it is loaded; bounded
            assert worker.poll() is None, "the engine ended"
            try:
                if ask({"prompt": "a", "max_tokens": 1}, "/v1/completions")[0] == 200:
                    break
            except OSError:
                pass
            time.sleep(0.05)
        yield ask
    finally:
        worker.kill()
        worker.communicate()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    yield from _running(tmp_path_factory.mktemp("e"), tiny_gguf.CHAT_TEMPLATE)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    yield from _running(tmp_path_factory.mktemp("s"), ALTERNATING)


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [USER, *messages], "max_tokens": 2} | fields


def calling(call: Any) -> dict[str, Any]:
    return chat({"role": "assistant", "tool_calls": call}, USER)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (calling([{"id": "1", "function": {"name": S, "arguments": "{}"}}]), "messages", '"type": "function"'),
        (calling([{"type": "function", S: S}]), "messages", "tool call is incomplete"),
        (calling(S), "messages", "tool call"),
        (calling([S]), "messages", "tool call"),
        (chat({"content": S}), "messages", "no `role`"),
        (chat({"role": "user", "content": {"a": S}}), "messages", "'content'"),
        (chat({"role": "user", S: S}), "messages", "'content'"),
        (chat({"role": "user", "content": [{"type": S, "text": S}]}), "messages", "content[].type"),
        (chat({"role": "user", "content": [{"text": S}]}), "messages", "content[].type"),
        (chat({"role": "user", "content": [S]}), "messages", "content[].type"),
        (chat({"role": "user", "content": [{"type": "text", "text": 5}]}), "messages", "must be string and is number"),
        (chat({"role": "user", "content": [PICTURE]}), "messages", "no image input"),
        (chat({"role": "user", "content": [SOUND]}), "messages", "no audio input"),
        (chat(messages=S), "messages", "array"),
        (chat({"role": "assistant", "content": S}, {"role": "assistant", "content": S}), "messages", "assistant"),
        (chat(tools=[{"type": "web_search", "q": S}]), "tools", "only tools of the type `function`"),
        (chat(tools=[{"name": S}]), "tools", '"type": "function"'),
        (chat(tools=[{"type": "function", "function": {S: S}}]), "tools", '"name"'),
        (chat(tools=S), "tools", '"name"'),
        (chat(tools=[S]), "tools", '"name"'),
        (chat(tools=[TOOL], tool_choice=S), "tool_choice", "`auto`"),
        (chat(tools=[TOOL], grammar='root ::= "a"'), "grammar", "tools"),
        (chat(grammar=f'root ::= "{S}'), "grammar", "GBNF"),
        (chat(grammar=f'{S} ::= "{S}"'), "grammar", "`root`"),
        (chat(grammar=f"root ::= {S}"), "grammar", "or of a tool: write its `pattern`"),
        (chat(json_schema={"type": S}), None, "`type` that does not exist"),
        (chat(json_schema={"$ref": f"#/$defs/{S}"}), None, "`$ref`"),
        (chat(json_schema={"type": "object"}, grammar='root ::= "a"'), "grammar", "json_schema"),
        (chat(response_format={"type": S}), "response_format", "json_schema"),
        (chat(response_format={"type": "json_schema", "json_schema": {"schema": {"type": S}}}), None, "`type`"),
        (chat(response_format={"type": "json_object", "schema": {"type": S}}), None, "`type`"),
        (chat(reasoning_format=S), "reasoning_format", "`auto`"),
        (chat(chat_template_kwargs={"enable_thinking": S}), "chat_template_kwargs", "boolean"),
        (chat(temperature=S), "temperature", "expected number, got string"),
        (chat(stop=[5]), "stop", "expected string, got number"),
        (chat(stream=True, n_predict=-7), "n_predict", "from -1 to"),
        (chat(n=2), "n", "from 1 to 1"),
        (chat(lora=S), "lora", "`scale`"),
        (chat(dry_sequence_breakers=S), "dry_sequence_breakers", "does not understand"),
        (chat(top_logprobs=5), "top_logprobs", "logprobs"),
        (b'{"messages":"' + S.encode(), None, "not valid JSON"),
        (b'{"messages":[{"role":"user","content":"\xff' + S.encode() + b'"}]}', None, "not valid JSON"),
    ],
)
def test_a_request_the_engine_refuses_is_a_400_that_names_the_field(
    engine: Ask, body: Any, param: str | None, words: str
) -> None:
    status, answer = engine(body)
    assert status >= 400, answer
    error = explain(status, read(answer))
    assert (error.status, error.param) == (400, param), answer
    assert words in error.message
    assert S not in error.body().decode()


@pytest.mark.parametrize("prompt", [{"a": S}, 5, [{"a": S}], [999_999], [-5], []])
def test_a_prompt_that_is_none_is_named(engine: Ask, prompt: Any) -> None:
    status, answer = engine({"prompt": prompt, "max_tokens": 1}, "/v1/completions")
    error = explain(status, read(answer))
    assert (error.status, error.param) == (400, "prompt")
    assert S not in error.message


def test_too_many_tokens_are_told_with_their_limit(engine: Ask) -> None:
    error = explain(*_read(engine(chat({"role": "user", "content": f"{S} hello " * 300}))))
    assert (error.status, error.code, error.type) == (400, "context_length_exceeded", "exceed_context_size_error")
    assert "exceeds the available context size (512 tokens)" in error.message
    assert S not in error.message


def test_a_template_that_refuses_is_explained_without_its_words(strict: Ask) -> None:
    error = explain(*_read(strict(chat({"role": "user", "content": S}))))
    assert (error.status, error.param) == (400, "messages")
    assert "roles must alternate" in error.message
    assert S not in error.message


@pytest.mark.parametrize(
    ("complaint", "words"),
    [
        ("Conversation roles must alternate user/assistant/user/assistant/...", "roles must alternate"),
        ("System role not supported", "no system message"),
        ("System message must be at the beginning.", "no system message"),
        ("No user query found in messages.", "no message of the user"),
        (S, "order of roles"),
    ],
)
def test_what_templates_usually_refuse_is_told_by_kind(complaint: str, words: str) -> None:
    where = "Unable to generate parser for this template. Automatic parser generation failed: \n-----\nWhile executing "
    for start in (f"{where}CallExpression at line 1 in source:\n...{S}\nError: ", ""):
        error = explain(400, said(f"{start}Jinja Exception: {complaint}"))
        assert (error.status, error.param) == (400, "messages")
        assert words in error.message
        assert S not in error.message


def _read(answer: tuple[int, bytes]) -> tuple[int, Failure]:
    return answer[0], read(answer[1])


# -- words that this engine or another version of it may use -----------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        f"something new about {S}",
        f"[json.exception.out_of_range.403] key '{S}' not found",
        f"Failed to parse messages: {S}",
        f"Failed to parse tools: {S}",
        f"Invalid uri format: {S}",
        f"Value is not callable: {S}",
        f"Field '{S} x': y",
        f"{S}: Compute error.",
        f"request ({S} tokens) exceeds the available context size (1 tokens)",
        f"Field 'a': Value must be between 0 <= value <= 1, but got {S}",
        f"Field 'a': [json.exception.type_error.302] type must be number, but is string {S}",
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_words_that_are_not_known_are_not_passed_on(message: str, status: int) -> None:
    error = explain(status, said(message))
    assert error.status == 400
    assert S not in error.body().decode()


@pytest.mark.parametrize(
    "message",
    [
        "Compute error.",
        "Invalid input batch.",
        "failed to process speculative batch",
        "Context size has been exceeded.",
        "std::bad_alloc",
        f"The model produced output that does not match the expected peg-native format {S}",
        f"Failed to parse input at pos 5: {S}",
        "",
    ],
)
def test_what_the_engine_itself_gets_wrong_is_no_mistake_of_the_client(message: str) -> None:
    error = explain(500, said(message))
    assert (error.status, error.code, error.retryable) == (502, "upstream_error", True)
    assert S not in error.message


@pytest.mark.parametrize(("status", "message"), [(401, "Invalid API Key"), (404, "File Not Found"), (501, S)])
def test_an_engine_that_does_not_serve_us_is_no_mistake_of_the_client(status: int, message: str) -> None:
    error = explain(status, said(message))
    assert (error.status, error.code) == (502, "upstream_error")
    assert "`binary`" in error.message
    assert S not in error.message


def test_an_engine_that_loads_says_so() -> None:
    error = explain(503, said("Loading model"))
    assert (error.status, error.retry_after) == (503, 1.0)


def test_constant_messages_come_through_and_every_rule_names_what_to_do() -> None:
    for message, param in CONSTANT.items():
        error = explain(500, said(message))
        assert (error.status, error.param) == (400, param or None)
        assert error.message == f"{message.rstrip('.!')}."
    assert all(len(rule.text) > 20 and rule.text.endswith(".") for rule in RULES)
