"""OpenAI's sound and pictures: what is spoken is written down, texts are spoken, pictures are made.

No engine of ours does that: a request goes on as it is to a server that can. Of its body only the name of the model is
looked for, which may have to be another one there; a file is never opened.
"""

import re
from collections.abc import Mapping
from functools import partial

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects import Read
from rolecast.dialects.openai import OpenAI
from rolecast.dialects.openai_body import Text, decoded
from rolecast.dialects.operation import Reference
from rolecast.dialects.request import Request, Upload
from rolecast.errors import BadRequest, Invalid
from rolecast.values import Kind

JSON = b"application/json"
MOST_NAME = 512
MOST_PARTS = 1000
_PATHS: tuple[tuple[str, Kind], ...] = (
    ("/audio/transcriptions", "transcription"),
    ("/audio/translations", "transcription"),
    ("/audio/speech", "speech"),
    ("/images/generations", "images"),
    ("/images/edits", "images"),
    ("/images/variations", "images"),
)
_IN_JSON = frozenset({"/audio/speech", "/images/generations"})
_BOUNDARY = re.compile(rb"(?:\r\n)*--(?P<name>[0-9A-Za-z'()+_,./:=?-]{1,200})[ \t]*\r\n")
_HEADS = re.compile(rb"(?:[^\r\n]{1,4000}\r\n){0,20}\r\n")
_IS_MODEL = re.compile(rb'(?im)^content-disposition:\s*form-data\s*;\s*name\s*=\s*(?:"model"|model)[ \t;]*\r$')
_FORM = "multipart/form-data, with the fields as OpenAI's API has them"


class MediaBody(msgspec.Struct):
    model: Text | None = None
    stream: bool | None = None


_decode = msgspec.json.Decoder(MediaBody).decode


class Media(OpenAI):
    """Transcriptions, speech and images."""

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """With and without `/v1`."""
        return {f"{prefix}{path}": partial(_read, path, kind) for path, kind in _PATHS for prefix in ("", "/v1")}

    def reference(self) -> Reference:
        """What its paths take and give."""
        from rolecast.dialects import openai_more_reference

        return openai_more_reference.REFERENCE


def _read(path: str, kind: Kind, body: bytes) -> Request:
    if body.lstrip().startswith(b"{"):
        if path not in _IN_JSON and path != "/images/edits":
            raise BadRequest(f"The body must be {_FORM}; it is JSON.", code="invalid_value")
        fields = decoded(body, _decode)
        return _request(path, kind, fields.model or "", body, Upload(JSON), stream=fields.stream is True)
    if path in _IN_JSON:
        decoded(body, _decode)  # says what is wrong
        raise BadRequest("The body must be a JSON object.", code="bad_json")
    name, upload = _form(body)
    return _request(path, kind, name, body, upload)


def _request(path: str, kind: Kind, name: str, body: bytes, upload: Upload, *, stream: bool = False) -> Request:
    return Request(kind, path.encode(), name, stream, body, family="", upload=upload)


def _form(body: bytes) -> tuple[str, Upload]:
    """The name of the model in a form, and where it stands. Raises BadRequest for what is no form."""
    begin = _BOUNDARY.match(body)
    if begin is None:
        raise BadRequest(f"The body must be {_FORM}.", code="invalid_value")
    boundary = begin["name"]
    mark, place = b"\r\n--" + boundary, begin.end()
    found: tuple[int, int] | None = None
    for _ in range(MOST_PARTS):
        heads = _HEADS.match(body, place)
        end = body.find(mark, heads.end() - len(b"\r\n")) if heads else -1
        if heads is None or end < 0:
            raise BadRequest("The form in the body breaks off, or is malformed.", code="invalid_value")
        if _IS_MODEL.search(heads[0]):
            if found is not None:
                raise Invalid("`model` is there twice.", param="model")
            found = (heads.end(), end)
        behind = end + len(mark)
        if body.startswith(b"--", behind):
            return _named(body, found, b"multipart/form-data; boundary=" + _quoted(boundary), begin.start("name") - 2)
        line = body.find(b"\r\n", behind)
        if line < 0:
            raise BadRequest("The form in the body breaks off, or is malformed.", code="invalid_value")
        place = line + 2
    raise BadRequest(f"The form in the body has more than {MOST_PARTS} parts.", code="invalid_value")


def _named(body: bytes, found: tuple[int, int] | None, content_type: bytes, front: int) -> tuple[str, Upload]:
    if found is None:
        return "", Upload(content_type, front, front)
    start, end = found
    if end - start > MOST_NAME:
        raise Invalid(f"`model` has more than {MOST_NAME} characters.", param="model")
    try:
        return body[start:end].decode().strip(), Upload(content_type, start, end)
    except UnicodeDecodeError:
        raise Invalid("`model` is no text.", param="model") from None


def _quoted(boundary: bytes) -> bytes:
    return b'"%b"' % boundary
