"""How clients and servers of models talk: the protocols and the tables of those that are spoken.

A `Dialect` is a client's: it reads a body, and writes an answer and an error as that client expects them. A `Family`
is a worker's: it writes a chat for the worker and reads the answer. Where both speak alike, bytes pass as they are and
neither is asked for more than `read` and `error` (but for families besides `UNREAD`, which read for the books); else an
answer goes worker -> family -> events -> dialect -> client.
Adding one = one file here plus a row in `DIALECTS` or `FAMILIES`, or an entry point of another package in the group
`rolecast.dialects` or `rolecast.families`.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from rolecast.config.schema import Limits
from rolecast.dialects.operation import Operation, Reference
from rolecast.dialects.request import Request
from rolecast.errors import BadRequest, ConfigError, RolecastError
from rolecast.values import Caller, Chat, Defaults, Event, Kind, Phases, Usage, Words

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Read = Callable[[bytes], Request]
"""Reads a body. Raises BadRequest or Invalid."""


class Writer(Protocol):
    """One answer in a client's dialect, written from events."""

    content_type: bytes

    def write(self, event: Event) -> bytes:
        """What goes to the client for this event; nothing yet for most of a plain answer."""
        ...

    def end(self, phases: Phases) -> bytes:
        """The rest of the answer."""
        ...


WriterFor = Callable[[Request, Caller, str], Writer]
"""A writer for this request of this caller; the text is the id of the model that answers it now."""


@runtime_checkable
class Failing(Protocol):
    """A writer whose error at the end of a stream depends on what it wrote; else the dialect's `error` is that end."""

    def fail(self, error: RolecastError) -> bytes:
        """The end of a stream that tells of the error."""
        ...


@runtime_checkable
class Referenced(Protocol):
    """A dialect that says what its paths take and give; of others the reference has the paths alone."""

    def reference(self) -> Reference:
        """For people and programs that read of it."""
        ...


class Dialect(Protocol):
    """What clients speak."""

    id_header: bytes
    """The header in which its clients look for the id of a request, besides `x-request-id`; empty = in none."""
    ping: bytes
    """An event that its clients take for a sign of life in a stream, besides a comment; empty = there is none."""

    def paths(self, limits: Limits) -> Mapping[str, Read]:
        """The paths of requests to models, in all their spellings, and what reads their bodies."""
        ...

    def chat(self, request: Request) -> Chat:
        """A chat request in words of no dialect. Raises BadRequest for what cannot be said in them."""
        ...

    def writer(self, request: Request, model: str) -> Writer:
        """Writes the answer to this request; `model` is the name that the client is told."""
        ...

    @property
    def writer_for(self) -> WriterFor | None:
        """Makes the writer where answers tell who asked, or which model answers; None = `writer` does."""
        ...

    def error(self, error: RolecastError, *, started: bool = False) -> bytes:
        """The JSON of an error answer; once the answer has `started`, its end that tells of the error."""
        ...


class Reader(Protocol):
    """One answer of a worker, read into events as its bytes come."""

    def read(self, data: bytes) -> list[Event]:
        """What these bytes add; a Failure when they cannot be the answer."""
        ...

    def end(self) -> list[Event]:
        """What was left when the answer ended; nothing at all in both says that there was no answer."""
        ...


@runtime_checkable
class Telling(Protocol):
    """A reader that may know counts before the answer has ended."""

    def told(self) -> Usage | None:
        """What was reported so far; None = nothing."""
        ...


class Family(Protocol):
    """What workers speak."""

    kinds: frozenset[Kind]
    """What can be written for them."""

    def ask(self, words: Words, *, usage: bool) -> tuple[bytes, bytes]:
        """Path below the worker's base, and body; `usage` = the tokens of a stream must be asked for.

        Raises BadRequest for what cannot be said to it.
        """
        ...

    def reader(self, *, streaming: bool) -> Reader:
        """Reads one answer."""
        ...

    def fill(self, fields: dict[str, Any], kind: Kind, defaults: Defaults) -> None:
        """Put what a variant of a model brings into the fields of a body that passes; what they say themselves stays.

        A field that is there is `msgspec.Raw`. Raises BadRequest where that cannot be said to the worker.
        """
        ...


class Entry(msgspec.Struct, frozen=True):
    """A path that takes requests to models."""

    path: str
    read: Read
    dialect: Dialect
    operation: Operation | str | None = None
    """What it takes and gives, where that is not what its dialect says; a text is where that is, as `module:NAME`."""


DIALECTS = {
    "openai": "rolecast.dialects.openai:OpenAI",
    "openai-completions": "rolecast.dialects.openai_completions:Completions",
    "openai-embeddings": "rolecast.dialects.openai_embeddings:Embeddings",
    "ollama": "rolecast.dialects.ollama:Ollama",
    "anthropic": "rolecast.dialects.anthropic:Anthropic",
    "ollama-generate": "rolecast.dialects.ollama_generate:OllamaGenerate",
    "ollama-embed": "rolecast.dialects.ollama_embed:OllamaEmbed",
    "ollama-embeddings": "rolecast.dialects.ollama_embed:OllamaEmbeddings",
    "responses": "rolecast.dialects.responses:Responses",
    "openai-media": "rolecast.dialects.openai_media:Media",
    "embed": "rolecast.dialects.vectors:Embed",
    "rerank": "rolecast.dialects.rerank:Rerank",
}
"""Of two that claim one path the first has it."""
FAMILIES = {
    "openai": "rolecast.dialects.openai_worker:OpenAIWorker",
    "anthropic": "rolecast.dialects.anthropic_worker:AnthropicWorker",
    "ollama": "rolecast.dialects.ollama_worker:OllamaWorker",
}
UNREAD = "openai"
"""The family whose answers pass unread: the lane knows where in their bytes the counts are. All others are read."""
LEFT_OUT: Mapping[str, Any] = {"id_header": b"", "ping": b"", "writer_for": None}
"""What a dialect may leave out: it gets this."""
GROUP_OF_DIALECTS, GROUP_OF_FAMILIES = "rolecast.dialects", "rolecast.families"
PARTS = {GROUP_OF_DIALECTS: ("paths", "chat", "writer", "error"), GROUP_OF_FAMILIES: ("ask", "reader")}
"""What each of them has; one from elsewhere is checked."""


def entries(limits: Limits) -> dict[bytes, Entry]:
    """All paths of all dialects."""
    found: dict[bytes, Entry] = {}
    for name in (*DIALECTS, *_plugins(GROUP_OF_DIALECTS)):
        spoken = dialect(name)
        for path, read in spoken.paths(limits).items():
            found.setdefault(path.encode(), Entry(path, read, spoken))
    return found


@cache
def dialect(name: str) -> Dialect:
    """The dialect of that name."""
    spoken: Dialect = _made(name, DIALECTS, GROUP_OF_DIALECTS)
    for part, value in LEFT_OUT.items():
        if not hasattr(spoken, part):
            setattr(spoken, part, value)
    return spoken


@cache
def family(name: str) -> Family:
    """The family of that name, which a backend says that its workers speak. Raises ConfigError for none."""
    spoken: Family = _made(name, FAMILIES, GROUP_OF_FAMILIES)
    if not hasattr(spoken, "kinds"):  # made before there was more than chats
        spoken.kinds = frozenset({"chat"})
    if not hasattr(spoken, "fill"):  # made before there were variants
        spoken.fill = _no_fill  # type: ignore[method-assign]
    return spoken


def _no_fill(fields: dict[str, Any], kind: Kind, defaults: Defaults) -> None:
    raise BadRequest("A variant of this model cannot be asked so: use another dialect, or ask the model itself.")


def reference(spoken: Dialect) -> Reference:
    """What a dialect says of itself; nothing when it does not."""
    return spoken.reference() if isinstance(spoken, Referenced) else Reference()


def _made(name: str, rows: Mapping[str, str], group: str) -> Any:
    if name in rows:
        module, _, attribute = rows[name].partition(":")
        return getattr(import_module(module), attribute)()
    plugins = _plugins(group)
    if name not in plugins:
        raise ConfigError([f"{name!r} is spoken by nobody here; known are {', '.join([*rows, *plugins])}"])
    return _brought(plugins[name])


def _brought(entry: "EntryPoint") -> Any:
    """What another package brings. Raises ConfigError when it cannot be used."""
    what = f"{entry.group}: {entry.name!r} ({entry.value})"
    try:
        spoken = entry.load()()
    except Exception as error:  # whatever that package does when it is imported
        raise ConfigError([f"{what} cannot be loaded: {type(error).__name__}: {error}"]) from error
    if lacking := [part for part in PARTS[entry.group] if not hasattr(spoken, part)]:
        raise ConfigError([f"{what} lacks {', '.join(lacking)}"])
    return spoken


@cache
def _plugins(group: str) -> "Mapping[str, EntryPoint]":
    """What other packages bring."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=group)}
