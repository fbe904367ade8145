"""The OpenAPI document of a port: of all that it serves, as whoever serves it declares it.

Reads the port's own paths to models and its routes, so that nothing is in it that is not served, nor left out. What is
declared of nothing, such as the paths of a dialect of another package, is there without a word.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.routing import BaseRoute, Route

from rolecast import __version__
from rolecast.dialects import Dialect, Entry, dialect, reference
from rolecast.dialects.operation import EVENTS, JSON, LINES, MODEL_ERRORS, Operation, declared, resolved
from rolecast.pages.openapi_schemas import Schema, Schemas
from rolecast.server.asgi import dialect_at
from rolecast.server.guard import is_open

ANY_ERRORS = (400, 403, 408, 431, 500)
"""What may become of any request."""
BODY_ERRORS = (413,)
KEY_ERRORS = (401,)
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_RETRY = {"retry-after": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_SAYS = {413: "The body is too large.", 431: "The head is too large.", 508: "The request came from this gateway."}
"""Where the name of the status says less."""


class Place(msgspec.Struct, frozen=True):
    """One method of one path, with what is said of it and the dialect of its errors."""

    method: str
    path: str
    """As the route has it."""
    operation: Operation
    is_declared: bool
    """Whether who serves it says what it takes and gives; else only its name is known."""
    spoken: Dialect


def document(title: str, hot: Mapping[bytes, Entry], routes: Sequence[BaseRoute], *, keyed: bool) -> dict[str, Any]:
    """The document. `keyed` = requests need a key."""
    written = _Document(keyed)
    found = {(place.method, place.path): place for place in places(hot, routes)}
    for place in sorted(found.values(), key=lambda place: not place.path.startswith("/v1/")):
        twin = found.get((place.method, f"/v1{place.path}"))
        same = twin is not None and twin.operation is place.operation
        written.add(place, same_as=twin.path if twin is not None and same else "")
    for place in found.values():
        if place.operation.leads:
            written.link(place, [other for other in found.values() if other.path.startswith(place.operation.leads)])
    return written.whole(title)


def places(hot: Mapping[bytes, Entry], routes: Sequence[BaseRoute]) -> Iterator[Place]:
    """All that is served, paths to models first; a path that both have is a path to models."""
    for path, entry in hot.items():
        told = resolved(entry.operation) or reference(entry.dialect).operations.get(entry.path)
        yield Place("post", path.decode(), told or _unknown(entry), told is not None, entry.dialect)
    for route in routes:
        if isinstance(route, Route) and route.path.encode() not in hot:
            told, methods = declared(route.endpoint), set(route.methods or ())
            for method in sorted(methods - {"HEAD"} if "GET" in methods else methods):
                operation = told or Operation(route.name, "Others")
                spoken = dialect(dialect_at(route.path))
                yield Place(method.lower(), route.path, operation, told is not None, spoken)


def _unknown(entry: Entry) -> Operation:
    """What is said of a path that its dialect says nothing of."""
    name = type(entry.dialect).__name__
    return Operation(f"A request in the dialect {name}", name, body=dict[str, Any], errors=MODEL_ERRORS)


class _Document:
    """A document while it is written."""

    def __init__(self, keyed: bool) -> None:
        self._keyed = keyed
        self._schemas = Schemas()
        self._paths: dict[str, dict[str, Any]] = {}
        self._responses: dict[str, Schema] = {}
        self._tags: dict[str, None] = {}

    def whole(self, title: str) -> dict[str, Any]:
        """All of it."""
        schemes = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }
        components: dict[str, Any] = {
            "schemas": dict(sorted(self._schemas.components.items())),
            "responses": dict(sorted(self._responses.items())),
        }
        secured: dict[str, Any] = {}
        if self._keyed:
            components["securitySchemes"] = schemes
            secured["security"] = [{name: []} for name in schemes]
        return {
            "openapi": "3.1.0",
            "info": {"title": title, "version": __version__},
            "servers": [{"url": "/"}],
            **secured,
            "tags": [{"name": tag} for tag in self._tags],
            "paths": self._paths,
            "components": components,
        }

    def add(self, place: Place, same_as: str) -> None:
        """One method of one path; `same_as` is another spelling of it, by which it is known better."""
        operation, path = place.operation, plain(place.path)
        self._tags[operation.tag] = None
        written: dict[str, Any] = {
            "tags": [operation.tag],
            "summary": operation.says,
            "operationId": _id(place),
        }
        if same_as:
            other = plain(same_as)
            written |= {"description": f"The same as `{other}`.", "x-same-as": other}
        elif operation.more:
            written["description"] = operation.more
        if parameters := self._parameters(place):
            written["parameters"] = parameters
        if operation.body is not None:
            content = dict.fromkeys(operation.takes, self._body(operation))
            written["requestBody"] = {"required": not operation.optional, "content": content}
        written["responses"] = self._answers(place)
        if self._keyed and is_open(place.method.upper(), path.encode()):
            written["security"] = []
        self._paths.setdefault(path, {})[place.method] = written

    def link(self, place: Place, others: Sequence[Place]) -> None:
        """What one method makes, these find."""
        links = {
            _id(other): {"operationId": _id(other), "parameters": {"id": "$response.body#/id"}} for other in others
        }
        answers = self._paths[plain(place.path)][place.method]["responses"]
        for status in place.operation.statuses:
            answers[str(status)]["links"] = links

    def _parameters(self, place: Place) -> list[Schema]:
        found = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(place.path)
        ]
        for query in place.operation.query:
            says = {"description": query.says} if query.says else {}
            found.append({"name": query.name, "in": "query", **says, "schema": self._schema(query.kind)})
        return found

    def _body(self, operation: Operation) -> Schema:
        fields = {name: resolved(kind) for name, kind in operation.fields.items()}
        schema = self._schemas.of_body(resolved(operation.body), fields, operation.needs)
        return {"schema": schema, **({"example": operation.example} if operation.example is not None else {})}

    def _answers(self, place: Place) -> dict[str, Schema]:
        operation = place.operation
        found: dict[int, Schema] = {status: self._answer(operation, status) for status in operation.statuses}
        for status, shape in operation.others.items():
            found[status] = {"description": _says(status), "content": {JSON: {"schema": self._schema(shape)}}}
        errors = {*ANY_ERRORS, *operation.errors}
        if operation.body is not None:
            errors |= {*BODY_ERRORS}
        if self._keyed and not is_open(place.method.upper(), place.path.encode()):
            errors |= {*KEY_ERRORS}
        for status in errors - set(found):
            found[status] = self._error(place, status)
        return {str(status): found[status] for status in sorted(found)}

    def _answer(self, operation: Operation, status: int) -> Schema:
        if status >= 300:
            where = {"location": {"description": "Where it is.", "schema": {"type": "string"}}}
            return {"description": _says(status), "headers": where}
        content: Schema = {}
        if operation.answer is not None:
            schema = self._schema(operation.answer)
            content[operation.media] = {"schema": _events(operation, schema) if operation.media == EVENTS else schema}
        if operation.streams:
            event = self._schema(operation.event) if operation.event is not None else {}
            content[operation.streams] = {"schema": _stream(operation, event)}
        if operation.lines is not None:
            content[LINES] = {"schema": _lines(LINES, self._schema(operation.lines))}
        return {"description": _says(status), **({"content": content} if content else {})}

    def _error(self, place: Place, status: int) -> Schema:
        """A reference to the answer, which all paths of the dialect share."""
        if place.method == "head":
            return {"description": _says(status)}
        shape = reference(place.spoken).error
        schema = self._schema(shape) if shape is not None else {}
        component = schema.get("$ref", f"{type(place.spoken).__name__}Error").rpartition("/")[2]
        name = f"{component}{status}"
        if name not in self._responses:
            headers = {"headers": _RETRY} if status in (429, 503) else {}
            self._responses[name] = {
                "description": _says(status),
                **headers,
                "content": {JSON: {"schema": schema}},
            }
        return {"$ref": f"#/components/responses/{name}"}

    def _schema(self, shape: Any) -> Schema:
        """The schema of a type, wherever that is."""
        return self._schemas.of(resolved(shape))


def _stream(operation: Operation, event: Schema) -> Schema:
    """An answer in pieces: of server-sent events what one of them is, of lines the text that they are in."""
    if operation.streams == EVENTS:
        return _events(operation, event)
    return _lines(operation.streams, event)


def _lines(media: str, line: Schema) -> Schema:
    return {"type": "string", "contentMediaType": media, "contentSchema": line}


def _events(operation: Operation, event: Schema) -> Schema:
    """One of the events, which is how OpenAPI 3.1 is read where it says nothing."""
    data: Schema = {"type": "string", "contentMediaType": JSON, "contentSchema": event}
    if operation.ends:
        data = {"anyOf": [{"const": operation.ends}, data]}
    return {"type": "object", "properties": {"event": {"type": "string"}, "data": data}, "required": ["data"]}


def plain(path: str) -> str:
    """A route's path as OpenAPI writes it, without the kinds of its parameters."""
    return _PARAMETER.sub(r"{\1}", path)


def _id(place: Place) -> str:
    return re.sub(r"\W+", "_", f"{place.method}{plain(place.path)}").strip("_")


def _says(status: int) -> str:
    return _SAYS.get(status) or f"{HTTPStatus(status).phrase}."
