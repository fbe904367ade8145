"""The play of images: made by a server elsewhere, Conductor's diffusiond or one with OpenAI's API.

Which server that is says the configuration alone, never a request. What it answers is read and not opened: an address
stays an address, and bytes become a `data:` URL.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from rolecast.backends import reach
from rolecast.config.schema import IMAGES_MODEL, Model
from rolecast.errors import UNREADABLE, BadRequest, RolecastError, UpstreamError, UpstreamTimeout, WorkerDown
from rolecast.net import probe
from rolecast.net.pool import Pool
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.job import Job
from rolecast.turn.departure import addressed
from rolecast.turn.stage import Stage
from rolecast.values import Endpoint, Listen, Metadata, Text

MOST_BYTES = 64 * 1024**2
"""Longest answer that is taken."""
MOST_IMAGES = 64
OPTIONS_BYTES = 64 * 1024
"""Longest options that are passed on."""
_SERVED = b"/generate"
_OPENAI = b"/images/generations"
_LISTS = ("images", "data", "output", "artifacts")
_SINGLE = ("image", "url", "image_url", "b64_json", "base64", "path", "image_path")
_KIND = re.compile(r"image/[a-z0-9.+-]{1,60}")
_MAGIC = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
    (b"<svg", "image/svg+xml"),
)


async def images(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Have the images made and tell them. Raises RolecastError: 400 for what cannot be asked, 502 and 504 else."""
    plan = stage.plan
    if "images" not in plan.model.capabilities:  # somebody gave the role a language model
        await stage.answer(job.written(), tell=True)
        stage.tell(Metadata({"images": []}))
        return
    if not job.prompt.strip():
        raise BadRequest("`prompt` is empty: say what the image shows.", param="prompt")
    ours = backstage.current.config.images
    plain = plan.model_id == IMAGES_MODEL and bool(ours.url)
    body = _asked(job, "" if plain else plan.model.remote_model or plan.model_id)
    if len(msgspec.json.encode(body)) - len(msgspec.json.encode(job.prompt)) > OPTIONS_BYTES:
        raise BadRequest(f"The options of an image have at most {OPTIONS_BYTES} bytes.", param="extra_params")
    endpoint = plan.backend.plan(plan.model_id, plan.model, None, Listen())
    assert isinstance(endpoint, Endpoint)  # no engine of ours makes images
    # A server of Conductor's has /generate at its root, wherever the rest of its paths are.
    path = (endpoint.base.removesuffix("/v1") if plain else endpoint.base).encode() + (_SERVED if plain else _OPENAI)
    leaves = reach.leaves(plan.model)
    sent = msgspec.json.encode(body)
    if leaves:
        sent = (await stage.see_off(addressed("images", plan, endpoint, path.decode(), sent))).body
    found = await _made(endpoint, path.decode(), msgspec.Raw(sent), plan.model_id, plan.model, leaves=leaves)
    stage.tell(Text("\n".join(found)))
    stage.tell(Metadata({"images": found}))


def _asked(job: Job, model: str) -> dict[str, Any]:
    """The body: the prompt, and the options as they came."""
    body: dict[str, Any] = {**job.rest, **job.options, "prompt": job.prompt}
    sampling = job.chat.sampling
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if model:
        body["model"] = model
        if "size" not in body and "width" in body and "height" in body:
            body["size"] = f"{body.pop('width')}x{body.pop('height')}"
    else:
        width, _, height = str(body.get("size", "")).lower().partition("x")
        if width.isdigit() and height.isdigit():
            body = {"width": int(width), "height": int(height), **body}
    return body


async def _made(
    endpoint: Endpoint, path: str, body: msgspec.Raw, model_id: str, model: Model, *, leaves: bool
) -> list[str]:
    """The images of one answer."""
    pool = Pool(endpoint)
    where = f"the image server {model_id} at {endpoint.address}"
    seconds = float(model.timeout)
    try:
        answer = await probe.fetch(pool, "POST", path, body, timeout_s=seconds, limit=MOST_BYTES, seen_off=leaves)
    except UpstreamTimeout:
        raise UpstreamTimeout(f"{where.capitalize()} did not answer within {seconds:g} s.") from None
    except WorkerDown as error:
        if "larger than" in error.message:
            raise UpstreamError(f"The answer of {where} is larger than {MOST_BYTES} bytes.") from None
        raise UpstreamError(f"{where.capitalize()} cannot be reached; start it, or correct its address.") from None
    finally:
        pool.close()
    if answer.status != 200:
        raise _refused(answer.status, where)
    kind = next((v for n, v in answer.headers if n.lower() == b"content-type"), b"").decode("latin-1").lower()
    found = await asyncio.to_thread(_some, answer.body, kind.partition(";")[0].strip())
    if not found:
        raise UpstreamError(f"{where.capitalize()} answered without an image.")
    return found


def _refused(status: int, where: str) -> RolecastError:
    """What an error of the server means. Its own words may quote the prompt, and are not passed on."""
    if status in (400, 413, 422):
        return BadRequest(f"{where.capitalize()} refused the request ({status}); look at its options.")
    if status in (401, 403):
        return UpstreamError(f"{where.capitalize()} does not let this gateway in ({status}); correct its key.")
    if status in (408, 504):
        return UpstreamTimeout(f"{where.capitalize()} took too long ({status}).")
    return UpstreamError(f"{where.capitalize()} failed ({status}); its log says why.")


def _some(body: bytes, kind: str) -> list[str]:
    return list(islice(_read(body, kind), MOST_IMAGES))


def _read(body: bytes, kind: str) -> Iterator[str]:
    """The images of an answer: its bytes, or what its JSON holds under one of the usual names."""
    if _KIND.fullmatch(kind):
        yield f"data:{kind};base64,{base64.b64encode(body).decode()}"
        return
    try:
        value = msgspec.json.decode(body)
    except UNREADABLE:
        return
    yield from _within(value)


def _within(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.strip():
            yield _url(value.strip())
    elif isinstance(value, list):
        for each in value[:MOST_IMAGES]:
            yield from _within(each) if isinstance(each, str | dict) else ()
    elif isinstance(value, dict):
        for name in (*_LISTS, *_SINGLE):
            if isinstance(inner := value.get(name), str | list | dict):
                found = list(islice(_within(inner), MOST_IMAGES))
                if found:
                    yield from found
                    return


def _url(text: str) -> str:
    """An address as it is, Base64 of an image as a `data:` URL; anything else as it is, such as a path there."""
    if text.startswith(("http://", "https://", "data:", "/")) and not text.startswith("/9j/"):
        return text
    try:
        start = base64.b64decode(text[:16], validate=True)
    except (binascii.Error, ValueError):
        return text
    kind = next((kind for magic, kind in _MAGIC if start.startswith(magic)), "")
    return f"data:{kind};base64,{text}" if kind else text
