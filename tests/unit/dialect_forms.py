"""One and the same question in every dialect, and what each answer says of its tokens.

For tests that compare dialects with each other. Knows the shapes of requests and answers; asks nobody. A form that
takes a prompt as it stands gets the question in the template of SmolLM2, so that all forms mean the same tokens.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


class Counts(NamedTuple):
    """Tokens of one answer; None where the dialect has no word for them."""

    prompt: int
    completion: int
    cached: int | None = None
    reasoning: int | None = None


class Question(NamedTuple):
    """What is asked. `most` tokens at temperature 0; `schema` = the answer is JSON that fits it."""

    text: str
    most: int
    stream: bool
    schema: Any = None
    model: str = "smollm2-135m"


class Form(NamedTuple):
    """One way to ask. `port` is the name of its listener, '' = the front door."""

    name: str
    path: str
    body: Callable[[Question], dict[str, Any]]
    counts: Callable[[list[Any]], Counts]
    said: Callable[[list[Any]], str]
    port: str = ""
    raw: bool = False
    """The prompt goes to the model as it stands."""


def told(answer: bytes) -> list[Any]:
    """The objects of an answer, whole or streamed as events or lines."""
    if answer.startswith((b"data:", b"event:")):
        lines = [line[5:].strip() for line in answer.split(b"\n") if line.startswith(b"data:")]
        return [json.loads(line) for line in lines if line != b"[DONE]"]
    return [json.loads(line) for line in answer.splitlines() if line.strip()]


def _template(text: str) -> str:
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def _messages(asked: Question) -> list[Any]:
    return [{"role": "user", "content": asked.text}]


# -- OpenAI --------------------------------------------------------------------------------------------------------


def _openai(asked: Question) -> dict[str, Any]:
    body: dict[str, Any] = {"model": asked.model, "max_tokens": asked.most, "temperature": 0, "stream": asked.stream}
    if asked.stream:
        body["stream_options"] = {"include_usage": True}
    if asked.schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": asked.schema}}
    return body


def _chat(asked: Question) -> dict[str, Any]:
    return {"messages": _messages(asked), **_openai(asked)}


def _completion(asked: Question) -> dict[str, Any]:
    body = {"prompt": _template(asked.text), **_openai(asked)}
    if asked.schema is not None:
        del body["response_format"]
        body["json_schema"] = asked.schema
    return body


def _openai_counts(found: list[Any]) -> Counts:
    usage = [each["usage"] for each in found if each.get("usage")][-1]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens")
    reasoning = usage.get("completion_tokens_details", {}).get("reasoning_tokens")
    return Counts(usage["prompt_tokens"], usage["completion_tokens"], cached, reasoning)


def _chat_said(found: list[Any]) -> str:
    choices = [choice for each in found for choice in each["choices"]]
    return "".join((c.get("message") or c["delta"]).get("content") or "" for c in choices)


def _completion_said(found: list[Any]) -> str:
    return "".join(choice["text"] for each in found for choice in each["choices"])


def _responses(asked: Question) -> dict[str, Any]:
    body: dict[str, Any] = {"model": asked.model, "input": asked.text, "max_output_tokens": asked.most}
    body |= {"temperature": 0, "stream": asked.stream, "store": False}
    if asked.schema is not None:
        body["text"] = {"format": {"type": "json_schema", "name": "x", "schema": asked.schema}}
    return body


def _response(found: list[Any]) -> Any:
    return found[-1].get("response", found[-1])


def _responses_counts(found: list[Any]) -> Counts:
    usage = _response(found)["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    cached, reasoning = usage["input_tokens_details"], usage["output_tokens_details"]
    return Counts(usage["input_tokens"], usage["output_tokens"], cached["cached_tokens"], reasoning["reasoning_tokens"])


def _responses_said(found: list[Any]) -> str:
    items = [item for item in _response(found)["output"] if item["type"] == "message"]
    return "".join(part["text"] for item in items for part in item["content"])


# -- Anthropic -----------------------------------------------------------------------------------------------------


def _anthropic(asked: Question) -> dict[str, Any]:
    body: dict[str, Any] = {"model": asked.model, "max_tokens": asked.most, "temperature": 0, "stream": asked.stream}
    if asked.schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": asked.schema}}
    return {"messages": _messages(asked), **body}


def _anthropic_counts(found: list[Any]) -> Counts:
    """What was read from a cache is input too, told apart only where a cache was asked for."""
    usage: dict[str, Any] = {}
    for each in found:
        usage |= each.get("message", each).get("usage") or {}
    return Counts(usage["input_tokens"] + (usage.get("cache_read_input_tokens") or 0), usage["output_tokens"])


def _anthropic_said(found: list[Any]) -> str:
    if len(found) == 1:
        return "".join(block.get("text", "") for block in found[0]["content"])
    return "".join(each["delta"].get("text", "") for each in found if each["type"] == "content_block_delta")


# -- Ollama, and PAS ------------------------------------------------------------------------------------------------


def _ollama(asked: Question) -> dict[str, Any]:
    options = {"num_predict": asked.most, "temperature": 0}
    schema = {} if asked.schema is None else {"format": asked.schema}
    return {"model": asked.model, "stream": asked.stream, "options": options, **schema}


def _ollama_chat(asked: Question) -> dict[str, Any]:
    return {"messages": _messages(asked), **_ollama(asked)}


def _ollama_prompt(asked: Question) -> dict[str, Any]:
    return {"prompt": asked.text, **_ollama(asked)}


def _ollama_raw(asked: Question) -> dict[str, Any]:
    return {"prompt": _template(asked.text), "raw": True, **_ollama(asked)}


def _ollama_counts(found: list[Any]) -> Counts:
    return Counts(found[-1]["prompt_eval_count"], found[-1]["eval_count"])


def _ollama_said(found: list[Any]) -> str:
    return "".join(each.get("response") or each.get("message", {}).get("content") or "" for each in found)


FORMS = (
    Form("OpenAI chat", "/v1/chat/completions", _chat, _openai_counts, _chat_said),
    Form("OpenAI completion", "/v1/completions", _completion, _openai_counts, _completion_said, raw=True),
    Form("OpenAI Responses", "/v1/responses", _responses, _responses_counts, _responses_said),
    Form("Anthropic", "/v1/messages", _anthropic, _anthropic_counts, _anthropic_said),
    Form("Ollama chat", "/api/chat", _ollama_chat, _ollama_counts, _ollama_said),
    Form("Ollama prompt", "/api/generate", _ollama_prompt, _ollama_counts, _ollama_said),
    Form("Ollama raw prompt", "/api/generate", _ollama_raw, _ollama_counts, _ollama_said, raw=True),
    Form("PAS prompt", "/generate", _ollama_prompt, _ollama_counts, _ollama_said, port="pas"),
    Form("PAS chat", "/chat/completions", _chat, _openai_counts, _chat_said, port="pas"),
)
