"""What the reference says of Conductor's prompts."""

from typing import Any

import msgspec

from rolecast.config.task_rows import built_in
from rolecast.dialects import ollama_reference, openai_reference
from rolecast.dialects.conductor import TASKS as PATHS
from rolecast.dialects.conductor_body import Body
from rolecast.dialects.ollama_generate import Prompt
from rolecast.dialects.openai import ChatBody
from rolecast.dialects.operation import EVENTS, MODEL_ERRORS, Operation, Reference

TAG = "Conductor"


class EitherBody(Prompt):
    """A prompt in Conductor's words, or in Ollama's."""

    category: str | None = None
    session_id: str | None = None


class ChatOrPromptBody(ChatBody):
    """OpenAI's chat, or a `prompt` in Conductor's words in place of `messages`."""

    prompt: str | None = None


class Answer(msgspec.Struct):
    """The text, and who wrote it in how many seconds."""

    response: str
    category: str
    model: str
    session_id: str | None
    generation_time: float
    tokens_generated: int
    metadata: dict[str, Any] = {}


class Piece(msgspec.Struct):
    """The data of one event: a piece of the text, a step of a task that says nothing yet, at the end `done` or an
    `error`."""

    chunk: str | None = None
    done: bool | None = None
    metadata: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    error: str | None = None
    category: str | None = None
    model: str | None = None
    session_id: str | None = None


_PROMPT = Operation(
    "Answer a prompt",
    TAG,
    more="`category` says which task it is, else the prompt does; `GET /tasks` tells the options that it takes.",
    body=Body,
    needs=("prompt",),
    example={"prompt": "Say hi.", "max_tokens": 100},
    answer=Answer,
    streams=EVENTS,
    event=Piece,
    errors=MODEL_ERRORS,
)
_EITHER = msgspec.structs.replace(
    _PROMPT,
    more="In Conductor's words or in Ollama's, whose fields the answer has then, too; its streams are lines of JSON.",
    body=EitherBody,
    # Tasks have options of the first two names, too, which are not Ollama's; the others may be null for Conductor.
    fields={
        "format": Any,
        "context": Any,
        "options": dict[str, Any] | None,
        "messages": list[Any] | None,
        "model": str | None,
    },
    needs=(),
    answer=(Answer, ollama_reference.Generated),
    lines=ollama_reference.Generated,
)
_STREAM = msgspec.structs.replace(
    _PROMPT, says="Answer a prompt in pieces", answer=None, example={"prompt": "Say hi.", "stream": True}
)
_EXAMPLES: dict[str, dict[str, Any]] = {
    "code_completion": {"prompt": "def add(a, b):\n    ", "max_completion_length": 20},
    "code_generation": {"prompt": "Reverse a list.", "language": "python"},
    "translation": {"prompt": "Good morning, {name}.", "target_lang": "fr"},
    "mathematical_reasoning": {"prompt": "Solve x^2 - 5x + 6 = 0", "math_context": "algebra"},
    "scientific_research": {"prompt": "Does sleep help memory?", "domain": "psychology"},
    "legal_analysis": {"prompt": "The tenant pays all repairs.", "document_type": "lease"},
    "summarization": {"text_to_summarize": "Bees live in colonies. In winter they live on honey.", "length": "brief"},
}


def _of_task(name: str) -> Operation:
    """The path of a task, with the options that Rolecast brings."""
    task = built_in()[name]
    options = ", ".join(f"`{option}`" for option in task.options)
    where = f"beside the prompt or in `extra_params`; `GET /tasks/{name}` tells their values and defaults."
    needs = ("prompt",) if "prompt" in _EXAMPLES[name] else ()
    more = f"{task.description} Options ({options}) stand {where}"
    return msgspec.structs.replace(
        _PROMPT, says=task.title, more=more, needs=needs, example={**_EXAMPLES[name], "max_tokens": 100}
    )


TASKS = {"/conductor/generate": _PROMPT, **{path: _of_task(name) for path, name in PATHS.items()}}
STREAMS = dict.fromkeys(("/generate/stream", "/conductor/generate/stream"), _STREAM)
REFERENCE = Reference({"/generate": _EITHER, **TASKS, **STREAMS}, openai_reference.Error)
_CHAT = msgspec.structs.replace(
    openai_reference.CHAT,
    more="OpenAI's chat, or a `prompt` without `messages`, which is answered as Conductor does.",
    body=ChatOrPromptBody,
    needs=(),
    answer=(openai_reference.ChatCompletion, Answer),
    event=(openai_reference.ChatChunk, Piece),
)
CHAT_OR_PROMPT = Reference({"/chat/completions": _CHAT}, openai_reference.Error)
