"""The tools: one for each task that somebody answers, and those that ask about models, load them and embed texts.

The arguments of `generate_text`, `complete_code`, `translate_text` and `solve_math` are Conductor's; those of the
others are the options of their tasks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from rolecast.errors import RolecastError
from rolecast.mcp import schemas
from rolecast.mcp.api import Api
from rolecast.mcp.calls import Outcome, Tell, generated, told_time
from rolecast.mcp.catalogue import Offer, Option, Task
from rolecast.mcp.schemas import Schema

Run = Callable[[Api, Mapping[str, Any], Tell | None], Awaitable[Outcome]]


class Tool(msgspec.Struct, frozen=True):
    """One tool."""

    name: str
    title: str
    description: str
    takes: Schema
    gives: Schema
    run: Run
    """Calls it with arguments that fit `takes`. Raises RolecastError."""
    reads: bool = True
    """It changes nothing."""

    def listed(self) -> dict[str, Any]:
        """As `tools/list` has it."""
        hints = {"readOnlyHint": self.reads, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": self.takes,
            "outputSchema": self.gives,
            "annotations": {"title": self.title, **hints},
        }


class Row(msgspec.Struct, frozen=True):
    """The tool of a task."""

    name: str
    category: str
    subject: str = "prompt"
    """The argument that holds what is worked on."""
    says: str = "What is asked."
    options: Mapping[str, Option] = {}
    """Options that it has in any case."""
    needs: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()
    """Options that say what the subject says."""
    whole: bool = False
    """Answers are checked and mended before anybody sees them."""


LANGUAGE = Option(description="The programming language; without it, it is recognised.")
ROWS = (
    Row("chat", "conversational_chat", says="What you say."),
    Row("reason", "general_reasoning", says="The question to think through."),
    Row("complete_code", "code_completion", "code", "The code to go on with.", {"language": LANGUAGE}),
    Row("generate_code", "code_generation", says="What the code shall do.", whole=True),
    Row("review_code", "code_review", "code", "The code to review.", hides=("code_to_review",), whole=True),
    Row(
        "solve_math",
        "mathematical_reasoning",
        "problem",
        "The problem to solve.",
        {
            "math_context": Option(description="The field, such as algebra."),
            "show_work": Option("flag", description="Whether the steps are shown."),
            "use_latex": Option("flag", description="Whether formulas are LaTeX."),
        },
        whole=True,
    ),
    Row(
        "translate_text",
        "translation",
        "text",
        "The text to translate.",
        {
            "source_lang": Option(description="The language it is in: a name or a code."),
            "target_lang": Option(description="The language wanted: a name or a code."),
            "formal_register": Option("flag", description="Whether it addresses people formally."),
        },
        needs=("target_lang",),
        hides=("texts",),
        whole=True,
    ),
    Row("write_creatively", "creative_writing", says="What to write."),
    Row("follow_instructions", "instruction_following", says="What to do.", whole=True),
    Row("summarize", "summarization", "text", "The text to summarize.", hides=("text_to_summarize",), whole=True),
    Row("answer_question", "question_answering", "question", "The question."),
    Row("research", "scientific_research", says="What to look into."),
    Row("analyze_legal", "legal_analysis", says="The text or question to analyse."),
    Row("read_long_text", "long_context", "text", "The text, of any length.", hides=("context_text",)),
    Row("generate_image", "image_generation", says="What the picture shows."),
)
"""The tools of the known tasks."""
BESIDE: Mapping[str, Schema] = {
    "max_tokens": schemas.TOKENS,
    "temperature": schemas.TEMPERATURE,
    "session_id": schemas.SESSION,
    "model": schemas.MODEL,
}
"""What every task may be told."""
MODELS: Schema = {
    "type": "object",
    "properties": {"models": {"type": "array", "items": {"type": "object"}}},
    "required": ["models"],
}
STATED: Schema = {
    "type": "object",
    "properties": {"model": {"type": "string"}, "state": {"type": "string"}},
    "required": ["model", "state"],
}
VECTORS: Schema = {
    "type": "object",
    "properties": {
        "embeddings": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        "model": {"type": "string"},
        "dimensions": {"type": "integer"},
    },
    "required": ["embeddings"],
}
_NAMED = schemas.taken({"model": {"type": "string", "description": "A model, or a name of one."}}, ("model",))


def tools(offer: Offer) -> dict[str, Tool]:
    """All tools of a gateway, by name."""
    known = {row.category: row for row in ROWS}
    others = (Row(name, name) for name in offer.tasks if name not in known and name in offer.categories)
    rows = [*(row for row in ROWS if row.category in offer.categories), *others]
    found = [_generate_text(offer), *(_of_task(row, offer.tasks.get(row.category)) for row in rows), *_admin()]
    named: dict[str, Tool] = {}
    for tool in found:
        named.setdefault(tool.name, tool)
    return named


def _generate_text(offer: Offer) -> Tool:
    category: Schema = {
        "type": "string",
        "description": "The kind of task; without it, it is recognised by the prompt.",
    }
    if offer.categories:
        category["enum"] = list(offer.categories)
    more: Schema = {"type": "object", "description": "Options of the task, by name."}
    takes = {"prompt": {"type": "string", "description": "What is asked."}, "category": category, **BESIDE}
    return Tool(
        "generate_text",
        "Generate text",
        "Answers a prompt with the local model that fits the kind of task.",
        schemas.taken({**takes, "extra_params": more}, ("prompt",)),
        schemas.ANSWER,
        _generate,
    )


async def _generate(api: Api, said: Mapping[str, Any], tell: Tell | None) -> Outcome:
    return await generated(api, dict(said), tell)


def _of_task(row: Row, task: Task | None) -> Tool:
    options = {**row.options, **(task.options if task is not None else {})}
    shown = {name: each for name, each in options.items() if name not in row.hides and name not in BESIDE}
    takes: dict[str, Schema] = {row.subject: {"type": "string", "description": row.says}}
    takes |= {name: schemas.of_option(option) for name, option in shown.items() if name != row.subject}
    title = (task.title if task is not None else "") or row.category.replace("_", " ").capitalize()
    return Tool(
        row.name,
        title,
        (task.description if task is not None else "") or f"{title}, by a local model.",
        schemas.taken({**takes, **BESIDE}, (row.subject, *row.needs)),
        schemas.ANSWER,
        partial(_perform, row),
    )


async def _perform(row: Row, api: Api, said: Mapping[str, Any], tell: Tell | None) -> Outcome:
    beside = {name: value for name, value in said.items() if name in BESIDE}
    options = {name: value for name, value in said.items() if name not in BESIDE and name != row.subject}
    body = {"prompt": said[row.subject], "category": row.category, **beside, "extra_params": options}
    return await generated(api, body, tell, whole=row.whole)


def _admin() -> Iterable[Tool]:
    prompt: Schema = {"type": "string", "description": "The prompt that would be asked."}
    text: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    yield Tool(
        "route",
        "Who would answer",
        "Says which model would answer a prompt, and why, without asking it.",
        schemas.taken({"prompt": prompt, "model": schemas.MODEL}, ("prompt",)),
        {"type": "object"},
        _route,
    )
    yield Tool(
        "list_models",
        "List models",
        "Lists the models: what they are for, whether they are loaded, the memory they take.",
        schemas.taken({}),
        MODELS,
        _list_models,
    )
    yield Tool("load_model", "Load a model", "Loads a model and waits.", _NAMED, STATED, _load, reads=False)
    yield Tool("unload_model", "Unload a model", "Takes a model out of memory.", _NAMED, STATED, _unload, reads=False)
    embedded = schemas.taken(
        {"input": {**text, "description": "A text, or several."}, "model": schemas.MODEL}, ("input",)
    )
    yield Tool("embed", "Embed texts", "Gives the vector of each text.", embedded, VECTORS, _embed)


async def _route(api: Api, said: Mapping[str, Any], tell: Tell | None) -> Outcome:
    found = await api.post("/v1/route", {"messages": [{"role": "user", "content": said["prompt"]}], **_model(said)})
    return _as_json(found)


async def _list_models(api: Api, said: Mapping[str, Any], tell: Tell | None) -> Outcome:
    return _as_json({"models": await api.get("/conductor/models")})


async def _load(api: Api, said: Mapping[str, Any], tell: Tell | None) -> Outcome:
    return _as_json(await _waited(api.post("/admin/load", {"model": said["model"]}), tell))


async def _unload(api: Api, said: Mapping[str, Any], tell: Tell | None) -> Outcome:
    return _as_json(await api.post("/admin/unload", {"model": said["model"]}))


async def _embed(api: Api, said: Mapping[str, Any], tell: Tell | None) -> Outcome:
    found = await api.post("/v1/embeddings", {"input": said["input"], **_model(said)})
    try:
        vectors = [list(each["embedding"]) for each in found["data"]]
    except (KeyError, TypeError):
        raise RolecastError("No vectors came back; name a model that has the capability `embeddings`.") from None
    data = {"embeddings": vectors, "model": found.get("model", ""), "dimensions": len(vectors[0]) if vectors else 0}
    return _as_json(data)


async def _waited(work: Awaitable[Any], tell: Tell | None) -> Any:
    if tell is None:
        return await work
    asked = asyncio.ensure_future(work)
    try:
        return await told_time(asked, tell)
    finally:
        asked.cancel()


def _model(said: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": said["model"]} if said.get("model") else {}


def _as_json(data: Any) -> Outcome:
    return Outcome(msgspec.json.encode(data).decode(), data)
