"""What is no chat, written as OpenAI's wire has it for a worker: completions of a text, embeddings, rankings.

Chats, and the reading of every answer, are `openai_worker`'s.
"""

from typing import Any

import msgspec

from rolecast.values import Completion, Embedding, Ranking


def answer_form(schema: msgspec.Raw) -> dict[str, Any]:
    """A schema as `response_format`."""
    if bytes(schema).strip() == b"{}":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def ask(words: Completion | Embedding | Ranking, *, usage: bool) -> tuple[bytes, bytes]:
    """Path and body; `usage` = the tokens of a stream must be asked for."""
    if isinstance(words, Embedding):
        return b"/embeddings", msgspec.json.encode({"model": words.model, "input": words.inputs})
    if isinstance(words, Ranking):
        asked = {"model": words.model, "query": words.query, "documents": words.documents}
        return b"/rerank", msgspec.json.encode(asked)
    fields: dict[str, Any] = dict(words.extra)
    fields |= {"model": words.model, "prompt": words.prompt}
    if words.suffix:
        fields["suffix"] = words.suffix
    if words.stream:
        fields["stream"] = True
        if usage:
            fields["stream_options"] = {"include_usage": True}
    if words.answer_schema is not None:
        fields["response_format"] = form = answer_form(words.answer_schema)  # vLLM reads this, llama.cpp the other
        fields["json_schema"] = words.answer_schema if form["type"] == "json_schema" else {"type": "object"}
    sampling = msgspec.structs.asdict(words.sampling)
    fields |= {name: value for name, value in sampling.items() if value not in (None, ())}
    return b"/completions", msgspec.json.encode(fields)
