"""The values that cross module borders. Frozen; no I/O, no behaviour beyond small derivations."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

Kind = Literal["chat", "completion", "embeddings", "rerank", "transcription", "speech", "images"]
"""What a request wants from a model; equals the capability the model must have."""
KINDS: tuple[Kind, ...] = get_args(Kind)
MEDIA: tuple[Kind, ...] = ("transcription", "speech", "images")
"""Kinds that no engine of ours does: they are forwarded to a server that can."""

Outcome = Literal["ok", "error", "cancelled"]


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one request. `counted` is true when the engine did not report and we counted events."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    counted: bool = False
    reasoning_tokens: int = 0
    """Those of the completion that were thought, where the engine says so."""
    written_tokens: int = 0
    """Those of the prompt that its server keeps from now on, where it says so and asks money for it."""
    hour_tokens: int = 0
    """Those of the written ones that it keeps for an hour."""
    paid: int = 0
    """Picodollars that its server says it cost; 0 = it says nothing."""


class Phases(msgspec.Struct, frozen=True):
    """How long each phase of a request took until now, in microseconds."""

    queue_us: int = 0
    load_us: int = 0
    first_us: int = 0
    """From its body to the first byte of the answer; waiting and loading are within."""
    total_us: int = 0


class Rights(msgspec.Struct, frozen=True):
    """What the holder of a key may do. What it may spend, and how fast, is looked up by its id."""

    key: str
    """Its id, as in `Caller.key`."""
    name: str = ""
    admin: bool = False
    """It may change things: load and unload, pull, edit, make keys."""
    use: bool = True
    """It may ask models."""
    local_only: bool = False
    """Nothing that it asks leaves this machine."""
    raw: bool = False
    """What it asks goes to clouds as it is: nothing is taken out."""
    models: tuple[str, ...] = ()
    """The names it may ask for, with `*` for any part; empty = all."""
    priority: int = 0
    """The class of its requests that do not say theirs."""


class Caller(msgspec.Struct, frozen=True):
    """Who asks, and through which door. Made once per head of a request; requests with an equal head share it."""

    listener: str = ""
    key: str = ""
    """Id of the API key; '' when none is needed."""
    port_model: str = ""
    """The model that all requests of this door are for; '' = the request names one."""
    client_id: str = ""
    """The caller's own id of the request, for the books."""
    session: str = ""
    """What belongs together in the caller's eyes: a conversation, an agent's run."""
    priority: int = 0
    """Higher goes first where there is a queue: 1 = high, -1 = low; `rights.OWN_WORK` = the gateway's own."""
    prefer: str = ""
    """What counts more when several models would do; '' = not said."""
    task: str = ""
    """What the requests are for, in the caller's words: a category."""
    tools: str = ""
    """Which servers' tools the gateway is to offer and run, in the caller's words; '' = not said."""
    trace_lines: bytes = b""
    """Header lines that go on to the worker."""
    answer_lines: bytes = b""
    """Header lines that go back with every answer."""
    run: str = ""
    """The run that it is counted for, in the caller's words: what a budget may be for."""
    local_only: bool = False
    """Nothing of it may leave this machine."""
    rights: Rights | None = None
    """Of a key that may not do everything; None = it may."""
    deadline_s: float = 0.0
    """The caller wants the answer within so many seconds of its body, or an error; 0 = not said."""
    warm: bool | None = None
    """Whether another may answer while its model loads; None = as the model is set."""
    agent: str = ""
    """Who in that run asks, in the caller's words: for the books."""

    gated: bool = False
    """Whether there is anything that this caller may not do, or that is counted for it besides. This and the next are
    found out, never given: a caller is made once, and asked for them with each request."""
    held: bool = False
    """The same, or it has a deadline."""

    def __post_init__(self) -> None:
        gated = self.rights is not None or self.local_only or self.run != ""
        msgspec.structs.force_setattr(self, "gated", gated)
        msgspec.structs.force_setattr(self, "held", gated or self.deadline_s > 0)


# -- a conversation, in words of no dialect -----------------------------------------------------------------


class Part(msgspec.Struct, frozen=True):
    """A piece of a message that is no plain text. `data` is a `data:` or other URL, never opened here."""

    kind: Literal["text", "image", "audio", "video", "file"]
    text: str = ""
    data: str = ""
    name: str = ""


class ToolCall(msgspec.Struct, frozen=True):
    """A call that a model made. `arguments` is the text of a JSON object."""

    id: str
    name: str
    arguments: str = "{}"


class Message(msgspec.Struct, frozen=True):
    """One message. A result of a tool has role `tool` and names its call by `tool_call_id`."""

    role: str
    content: str | tuple[Part, ...] = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""


class Tool(msgspec.Struct, frozen=True):
    """A function that a model may call; `parameters` is its JSON schema."""

    name: str
    description: str = ""
    parameters: msgspec.Raw = msgspec.Raw(b"{}")


class Sampling(msgspec.Struct, frozen=True):
    """How tokens are drawn; None = as the model is set. `repetition_penalty` 1.0 = none."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None


class Canary(msgspec.Struct, frozen=True):
    """Another version that answers some conversations, to see how it does."""

    name: str
    """What it is called: `avatar/john@3`."""
    share: float
    """Of all conversations, from 0 to 1."""
    model: str
    """The id of the model that it is."""
    adapter: str = ""
    """As of `Defaults`."""


class Defaults(msgspec.Struct, frozen=True):
    """What stands in a request where it says nothing itself: what makes a variant of a model."""

    system: str = ""
    """Of a chat that does not begin with a system message."""
    messages: tuple[Message, ...] = ()
    """Before those of the chat, behind the system messages that it begins with. Texts only."""
    sampling: Sampling = Sampling()
    extra: Mapping[str, Any] = {}
    """As a chat's."""
    adapter: str = ""
    """The file of the adapter that answers; '' = none in particular. Holds whatever the request says."""
    version: str = ""
    """Which version of an avatar it is: `avatar/john@2`."""
    canary: Canary | None = None
    controls: tuple[str, ...] = ()
    """Texts that its model takes for marks between turns: in no message of an avatar's chats they are left."""


class Chat(msgspec.Struct, frozen=True):
    """A chat request in words of no dialect: what each dialect is read into, and written from for a worker."""

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: str = ""
    """`auto`, `none`, `required`; '' = not said."""
    tool_named: str = ""
    """The one tool that must be called."""
    answer_schema: msgspec.Raw | None = None
    """JSON schema of the answer; `{}` = any JSON object."""
    think: bool | str | None = None
    """Whether to think before the answer, or how hard; None = as the model is set."""
    sampling: Sampling = Sampling()
    extra: Mapping[str, Any] = {}
    """Fields that only engines know, by llama.cpp's names for them."""


class Completion(msgspec.Struct, frozen=True):
    """A text to go on with, as it stands, in words of no dialect. It may be given as the numbers of its tokens."""

    model: str
    prompt: str | tuple[int, ...]
    stream: bool = False
    suffix: str = ""
    """What follows the text that is wanted, which then fills the middle."""
    answer_schema: msgspec.Raw | None = None
    """As a chat's."""
    sampling: Sampling = Sampling()
    extra: Mapping[str, Any] = {}
    """As a chat's."""


class Embedding(msgspec.Struct, frozen=True):
    """Texts of which vectors are wanted, in words of no dialect."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int = 0
    """So many numbers of each vector are wanted, which who writes the answer sees to; 0 = all."""


class Ranking(msgspec.Struct, frozen=True):
    """Texts that are to be ranked by how well they answer a query, in words of no dialect."""

    model: str
    query: str
    documents: tuple[str, ...]
    logits: bool = False
    """The model that answers scores in logits, of any size, as its backend knows; else from 0 to 1, or nobody knows."""


Words = Chat | Completion | Embedding | Ranking
"""What a request asks of a model, in words of no dialect."""


class Text(msgspec.Struct, frozen=True, gc=False):
    """Some more of the answer. `choice` numbers the answers of a request for several."""

    text: str
    choice: int = 0


class Reasoning(msgspec.Struct, frozen=True, gc=False):
    """Some more of what the model thinks."""

    text: str
    choice: int = 0


class Token(msgspec.Struct, frozen=True, gc=False):
    """A token and how likely it was, as a natural logarithm, where the worker says so."""

    text: str
    logprob: float | None
    data: bytes | None = None
    """Its bytes, where they are not those of the text: a piece of a character."""
    top: tuple["Token", ...] = ()
    """The likeliest at that place."""


class Chances(msgspec.Struct, frozen=True, gc=False):
    """How likely the tokens of the next text were."""

    tokens: tuple[Token, ...]
    choice: int = 0


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False):
    """Some more of a call: id and name come with its first delta, arguments in pieces."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    choice: int = 0


class Vector(msgspec.Struct, frozen=True, gc=False):
    """The vector of one input, counted from 0: a JSON list of numbers, as the worker wrote it."""

    numbers: msgspec.Raw
    index: int = 0


class Score(msgspec.Struct, frozen=True, gc=False):
    """How well one document answers the query, counted from 0, as the worker scored it."""

    score: float
    index: int


class Report(msgspec.Struct, frozen=True, gc=False):
    """What the answer took: tokens, and the engine's own times in milliseconds where it tells them."""

    usage: Usage
    prompt_ms: float = 0.0
    completion_ms: float = 0.0


class Done(msgspec.Struct, frozen=True, gc=False):
    """The answer is complete: `stop`, `length`, `tool_calls` or `content_filter`; a report may still follow.

    Where no answer was wanted: `load` or `unload`.
    """

    reason: str = "stop"
    choice: int = 0
    stop: str = ""
    """Which stop sequence ended it, where the worker says so."""


class Failure(msgspec.Struct, frozen=True):
    """The parts of an error as its server named them; `message` is one printable line, '' when nothing was said."""

    message: str = ""
    code: str = ""
    type: str = ""
    param: str | None = None
    status: int = 0
    """A status that the body names, for errors that come under another one."""
    wait_s: float = 0.0
    """After so many seconds it may be asked again; 0 = the body does not say so."""


class Progress(msgspec.Struct, frozen=True, gc=False):
    """How far a long answer is that says nothing yet: `done` of `total` steps of the same kind."""

    done: int
    total: int
    step: str = ""
    """What is done at each, in a word or two: `reading`."""


class Metadata(msgspec.Struct, frozen=True):
    """What was found out about the answer, by name: a language, a check and its result. Later fields win."""

    fields: Mapping[str, Any]


Event = Text | Reasoning | Chances | ToolCallDelta | Vector | Score | Report | Done | Failure | Progress | Metadata
"""One step of an answer."""


# -- workers -------------------------------------------------------------------------------------------------


def size_text(count: float) -> str:
    """Bytes for people, in decimal units: 92.9 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def authority(host: str, port: int | None = None) -> str:
    """`host:port` as URLs and the Host header have it: an IPv6 address stands in brackets, its zone left out."""
    if ":" in host:
        host = f"[{host.strip('[]').partition('%')[0]}]"
    return host if port is None else f"{host}:{port}"


class Endpoint(msgspec.Struct, frozen=True):
    """Where a worker listens and how to talk to it.

    `uds` wins over host and port. `base` is the path in front of `/chat/completions` (usually `/v1`).
    `headers` are raw lines, each ending in CRLF, added to each request (credentials of a remote).
    `via` is the raw line that names us to a remote, so that it or another gateway can tell a loop.
    `max_requests` and `idle_s` retire a pooled connection before the worker would close it itself.
    """

    uds: str = ""
    host: str = ""
    port: int = 0
    tls: bool = False
    base: str = "/v1"
    health_path: str = "/health"
    headers: bytes = b""
    via: bytes = b""
    max_requests: int = 1_000_000_000
    idle_s: float = 30.0

    @property
    def address(self) -> str:
        """For people and logs: `unix:/path` or `http://host:port`."""
        if self.uds:
            return f"unix:{self.uds}"
        return f"{'https' if self.tls else 'http'}://{authority(self.host, self.port)}"

    @property
    def authority(self) -> str:
        """For a Host header: without the port that its scheme implies."""
        if self.uds:
            return "localhost"
        implied = 443 if self.tls else 80
        return authority(self.host, None if self.port == implied else self.port)


LOOPBACK = "127.0.0.1"


class Listen(msgspec.Struct, frozen=True):
    """Where one start of a worker may listen: the path of a unix socket, or a port of the loopback address.

    Both are its own; a worker takes the one that its engine can. Plans that differ only here are the same plan.
    """

    socket: str = "worker.sock"
    port: int = 1


class Launch(msgspec.Struct, frozen=True):
    """How to start a process: argv (never a shell), its own environment, and where it will listen if it is a server."""

    argv: tuple[str, ...]
    endpoint: Endpoint | None = None
    """Where it will listen; None for a job that is no server."""
    env: tuple[tuple[str, str], ...] = ()
    own_watch: bool = False
    """True when the child itself ends with its parent; otherwise it runs under the watchdog."""
    forkable: bool = False
    """Whether argv, `PYTHON ... -m MODULE WORDS`, may be had sooner as a copy of a process that has MODULE imported."""
    stop: tuple[str, ...] = ()
    """A command that asks it to end, before signals do; `{pid}` in it is its process."""
    parting_s: float = 0.0
    """So long a foreign command may take to end by itself when the gateway is gone; 0 = it is killed at once."""
    kept_output: str = ""
    """A regular expression: once the worker takes requests, only what matches at the start of a line of its output
    is kept, since engines quote requests. Empty = all is kept."""
