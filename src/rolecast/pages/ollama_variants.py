"""Ollama's create and copy: both make a variant, a name for a configured model with a prompt and settings of its own.

Of weights that a client brought (`ollama_blobs`) there is a model as long as a variant is made of it. No engine and no
weights are changed: what would need that is refused with words. What is made is kept by `config.made` and applies like
an edit of the configuration.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rolecast import weights
from rolecast.config import names, variants
from rolecast.config.current import Current
from rolecast.config.made import MadeVariants
from rolecast.config.names import find, untagged
from rolecast.config.schema import Opening, Parameters, Variant
from rolecast.config.variants import Made
from rolecast.dialects.operation import LINES, told
from rolecast.errors import UNREADABLE, BadRequest, Conflict
from rolecast.pages.ollama import Named, body_of, lines, named
from rolecast.pages.ollama_blobs import sha256_of
from rolecast.server.asgi import json_response
from rolecast.sources.uploads import Uploads
from rolecast.weights import Finder, gguf

_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_NAME = re.compile(rf"(?:{_WORD}/)*{_WORD}(?::{_WORD})?")
MOST_LETTERS = 200
FORMER = frozenset(
    ["embedding_only", "f16_kv", "logits_all", "low_vram", "numa", "num_gqa", "penalize_newline", "tfs_z", "use_mlock"]
) | {"vocab_only", "rope_frequency_base", "rope_frequency_scale"}
"""Parameters that Ollama had once: clients still send them, and they do nothing anywhere."""


class _Create(Named):
    from_: str = msgspec.field(name="from", default="")
    system: str | None = None
    template: str | None = None
    license: str | list[str] | None = None
    messages: list[Opening] | None = None
    parameters: dict[str, Any] | None = None
    files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    quantize: str | None = None
    quantization: str | None = None
    modelfile: str | None = None
    path: str | None = None
    stream: bool | None = None


class _Copy(msgspec.Struct):
    source: str = ""
    destination: str = ""


REFUSED = {
    "adapters": "adapters would change the weights; name weights that hold them already",
    "quantize": "weights stay as they are; name some that are quantized already",
    "quantization": "weights stay as they are; name some that are quantized already",
    "modelfile": "a Modelfile is read by the client; send `from`, `system`, `parameters`, `messages` and `license`",
    "path": "a Modelfile is read by the client; send `from`, `system`, `parameters`, `messages` and `license`",
}
"""What cannot be done, and what to do instead."""


class OllamaVariants:
    """`/api/create`, `/api/copy`, and the deletion of what they made."""

    def __init__(
        self,
        current: Current,
        made: MadeVariants,
        uploads: Uploads,
        finder: Finder,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._current = current
        self._made = made
        self._uploads = uploads
        self._lock = asyncio.Lock()
        """One change after the other, so that no weights go that are just being used."""
        self._find = finder
        self._changed = changed
        """Lets the gateway read what is kept."""

    def routes(self) -> list[Route]:
        return [
            Route("/api/create", self.create, methods=["POST"]),
            Route("/api/copy", self.copy, methods=["POST"]),
        ]

    @told(
        "Make a variant of a model",
        "Ollama",
        more="A name for a configured model, or for a file that was brought, with a prompt and settings of its own.",
        body=_Create,
        needs=("model",),
        example={"model": "pirate", "from": "auto", "system": "You are a pirate.", "stream": False},
        answer="rolecast.pages.shapes:OllamaStep",
        streams=LINES,
        event="rolecast.pages.shapes:OllamaStep",
        errors=(404, 409, 503),
    )
    async def create(self, request: Request) -> Response:
        """Make a variant, in place of one of that name that was made before. Raises BadRequest, Conflict, TooLarge."""
        fields = await body_of(request, _Create)
        name = self._free(fields.model)
        for field, why in REFUSED.items():
            if getattr(fields, field):
                raise BadRequest(f"`{field}` is not possible here: {why}.", param=field, code="not_supported")
        said = Variant(**_said(fields), model="")
        async with self._lock:
            variant = await self._of_files(fields, said) if fields.files else self._made_of(fields.from_, said)
            if fields.template:
                await self._check_template(fields.template, variant)
            await self._keep(name, variant)
        if fields.stream is False:
            return json_response({"status": "success"})
        return StreamingResponse(lines(_steps(fields)), media_type="application/x-ndjson")

    @told(
        "Give a model another name",
        "Ollama",
        body=_Copy,
        needs=("source", "destination"),
        example={"source": "auto", "destination": "mine"},
        errors=(404, 409, 503),
    )
    async def copy(self, request: Request) -> Response:
        """Another name for the same. Raises ModelNotFound, BadRequest, Conflict."""
        try:
            fields = msgspec.json.decode(await request.body() or b"{}", type=_Copy)
        except UNREADABLE as exc:
            text = f'The body must be JSON such as {{"source":"NAME","destination":"NEW"}}: {exc}.'
            raise BadRequest(text, code="bad_json") from None
        if not fields.source or not fields.destination:
            raise BadRequest("`source` and `destination` are needed: the name there is, and the new one.")
        name = self._free(fields.destination)
        async with self._lock:
            await self._keep(name, self._made_of(fields.source, Variant(model="")))
        return Response(status_code=200)

    async def forget(self, asked: str) -> bool:
        """Delete a variant that was made; whether there was one. Raises Conflict for one of the configuration."""
        known = names.spelled(self._current.config.variants, asked)
        if known and not isinstance(self._current.config.variants[known], Made):
            raise Conflict(f"{known} is a variant of the configuration; take it out of `variants:` in rolecast.yaml.")
        taken = find(self._current.names, asked)
        if taken is not None and taken.kind != "variant":
            return False
        async with self._lock:
            was = self._current.config.variants.get(known)
            if not await asyncio.to_thread(self._made.forget, asked):
                return False
            await self._changed()
            await asyncio.to_thread(self._drop, was)
        return True

    def _drop(self, was: Variant | None) -> None:
        """Delete weights that were brought for a variant that is gone, unless another is made of them."""
        if was is None or not (start := variants.brought(was.model)):
            return
        if all(other.model != was.model for other in self._made.read().values()):
            self._uploads.drop(start)

    # -- inside -------------------------------------------------------------------------------------------

    def _free(self, asked: str) -> str:
        """The name that is to be given. Raises BadRequest for one that nothing can have, Conflict for a taken one."""
        name = untagged(asked)
        if not _NAME.fullmatch(name) or len(name) > MOST_LETTERS or names.fault(name):
            allowed = "letters, digits and _ . - with a / between words and one : before a tag"
            raise BadRequest(
                f"{asked[:MOST_LETTERS]!r} is an invalid model name: use {allowed}, {MOST_LETTERS} at most, and not "
                f"'auto'.",
                param="model",
                code="invalid_value",
            )
        config = self._current.config
        kept = names.spelled(config.variants, name)
        taken = find(self._current.names, name)
        if taken is not None and taken.kind != "variant":
            raise Conflict(f"the name {name!r} is taken by the {taken.kind} {taken.name!r} of the configuration.")
        if kept and not isinstance(config.variants[kept], Made):
            raise Conflict(f"{kept!r} is a variant of the configuration; change it in rolecast.yaml.")
        return kept or name

    async def _of_files(self, fields: _Create, said: Variant) -> Made:
        """The variant of weights that were brought. Raises BadRequest, ModelNotFound."""
        files = fields.files or {}
        if len(files) > 1 or fields.from_:
            raise BadRequest(
                "`files` must be one GGUF file, without `from`; put a model of several files under `models:` in "
                "rolecast.yaml with `source: file:PATH`.",
                param="files",
                code="not_supported",
            )
        sha256 = sha256_of(next(iter(files.values())))
        await asyncio.to_thread(self._uploads.check, sha256)
        return _made(said, variants.brought_id(sha256))

    def _made_of(self, asked: str, upper: Variant) -> Made:
        """The variant of that base, which is no variant itself. Raises BadRequest, ModelNotFound."""
        if not asked:
            raise BadRequest("`from` is missing: the name of the model that the new one is made of.", param="from")
        config = self._current.config
        base = named(self._current, asked)
        # What is guarded is asked through its name, also by what is made of it: its model alone is somebody else.
        flat = base.kind == "variant" and not base.guarded
        lower = variants.flat(config, base.name) if flat else Variant(model=base.name)
        return _made(variants.over(upper, lower), lower.model)

    async def _check_template(self, template: str, variant: Variant) -> None:
        """Raises BadRequest for a template that the base does not have already."""
        start = variants.brought(variant.model)
        known = None if start else self._current.answerer_of(named(self._current, variant.model).models[0])
        config = self._current.config

        def shown() -> str:
            model = config.models[known] if known is not None else self._uploads.model(start)
            path = weights.found(self._find, model) if model is not None else None
            return gguf.chat_template(path) if path is not None else ""

        if template.strip() != (await asyncio.to_thread(shown)).strip():
            raise BadRequest(
                "`template` is not possible here: the engine takes the template of the weights, which /api/show tells; "
                "leave it out.",
                param="template",
                code="not_supported",
            )

    async def _keep(self, name: str, variant: Made) -> None:
        """Keep it and let it apply. Raises Conflict when it cannot apply now."""
        was = self._current.config.variants.get(name)
        await asyncio.to_thread(self._made.keep, name, variant)
        await self._changed()
        await asyncio.to_thread(self._drop, was)
        if find(self._current.names, name) is None:
            raise Conflict(f"{name} is kept, but cannot be used before the next reload; the gateway's log says why.")


def _made(variant: Variant, model: str) -> Made:
    """The same as one that a client made, of that model."""
    said = {field: getattr(variant, field) for field in Variant.__struct_fields__}
    return Made(**said | {"model": model}, made_at=time.time())


def _said(fields: _Create) -> dict[str, Any]:
    """What the body says of the new variant. Raises BadRequest for parameters that are none."""
    licence = fields.license or ""
    given = {key: value for key, value in (fields.parameters or {}).items() if key not in FORMER and value is not None}
    for name in given:
        if name not in Parameters.__struct_fields__:
            known = ", ".join(Parameters.__struct_fields__)
            raise BadRequest(
                f"`parameters.{name[:100]}` is unknown; there are {known}.", param="parameters", code="invalid_value"
            )
    try:
        parameters = msgspec.convert(given, Parameters)
    except msgspec.ValidationError as exc:
        text = str(exc).replace("$", "parameters", 1)
        raise BadRequest(f"`parameters`: {text}.", param="parameters", code="invalid_value") from None
    return {
        "system": fields.system or "",
        "messages": fields.messages or [],
        "parameters": parameters,
        "license": licence if isinstance(licence, str) else "\n\n".join(licence),
    }


async def _steps(fields: _Create) -> AsyncIterator[dict[str, Any]]:
    """What Ollama tells of it; it is done already."""
    yield {"status": "parsing GGUF" if fields.files else "reading model metadata"}
    for field in ("template", "system", "license", "parameters", "messages"):
        if getattr(fields, field):
            yield {"status": f"creating {field} layer"}
    for status in ("writing manifest", "success"):
        yield {"status": status}
