"""The shape of `rolecast.yaml`: every setting, its default and its unit. Nothing here reads files."""

from typing import ClassVar, Literal

import msgspec

from rolecast.config.avatars import Avatars
from rolecast.config.egress import Egress
from rolecast.config.mcp import Mcp
from rolecast.config.memory import Memory as Memory
from rolecast.config.model import REMOTE_PARALLEL as REMOTE_PARALLEL
from rolecast.config.model import Model as Model
from rolecast.config.model import Price as Price
from rolecast.config.providers import Provider
from rolecast.config.registry import Registry
from rolecast.config.retries import Retries
from rolecast.config.routing import Routing
from rolecast.config.sampling import Parameters as Parameters
from rolecast.config.spending import Money
from rolecast.config.tasks import Personas, Sessions, Task
from rolecast.config.units import Amount as Amount
from rolecast.config.units import Bytes as Bytes
from rolecast.config.units import Count as Count
from rolecast.config.units import NotNegative as NotNegative
from rolecast.config.units import Port as Port
from rolecast.config.units import Real as Real
from rolecast.config.units import Seconds as Seconds
from rolecast.config.units import Section as Section
from rolecast.config.units import Share as Share
from rolecast.config.units import Whole as Whole

Service = Literal["registry", "heartbeat", "providers", "gateway", "events", "agents", "tokens", "resources"]
"""Surfaces that are a service of PAS: ports without models."""
IMAGES_MODEL, IMAGES_ROLE = "diffusiond", "image_generation"
"""The model that stands for the server of the section `images`, and what it is for."""
IMAGES_NOTE = "The server of the section images."


class Limits(Section, frozen=True):
    """What a client may cost us before it is refused."""

    body: Bytes = Bytes(32 * 1024**2)
    """Longest request body; more gets 413."""
    upload: Bytes = Bytes(64 * 1000**3)
    """Longest file of weights that a client may bring (`/api/blobs`); 0 = none."""
    head: Bytes = Bytes(64 * 1024)
    """Longest request line with headers; more gets 431."""
    headers: Count = 200
    """Most header lines; more get 431."""
    connections: Count = 4096
    """Open connections per listener; one more gets 503."""
    head_timeout: Seconds = Seconds(15)
    """A request's headers must arrive within this time."""
    body_timeout: Seconds = Seconds(60)
    """A request's body must arrive within this time, plus a second for each 16 KiB received."""
    keep_alive: Seconds = Seconds(75)
    """An idle connection is closed after this long."""
    stall_timeout: Seconds = Seconds(120)
    """A client that takes no byte of a waiting answer for this long is dropped."""
    queue: Count = 1024
    """Requests that may wait for one model; the next one gets 429."""
    queue_timeout: Seconds = Seconds(300)
    """A request waits this long for a slot or for the model to load."""
    messages: Count = 4096
    """Most messages in one chat request."""


class Listener(Section, frozen=True):
    """One more port. With `model` it looks like a server of just that model."""

    port: Port
    """0 = any free port."""
    host: str | None = None
    """Address to listen on; empty = that of `server`."""
    name: str | None = None
    """What it is called in lists, logs and the ledger."""
    model: str | None = None
    """Every request to this port goes to this model, whatever name it asks for."""
    surface: Literal["openai", "llama-server", "pas", "conductor", "adapter", Service] = "openai"
    """Shape of /health: ours, llama.cpp's `{"status":"ok"}`, or the PAS service's, whose paths and limits it gets.
    `conductor`: /models is Conductor's list. `adapter`: what PAS's adapters of cloud models tell. The others are
    services of PAS, each with pages of its own and no models: `registry` (its 6121), `heartbeat` (6109), `providers`
    (6103), `gateway` (6120), `events` (6102), `agents` (6119), `tokens` (6105), `resources` (6104)."""

    @property
    def label(self) -> str:
        """How it is called in the ledger and in lists."""
        return self.name or f"{self.model or 'port'}:{self.port}"


class Server(Section, frozen=True):
    """Where the gateway listens and who may use it."""

    host: str = "127.0.0.1"
    """Address to listen on; one that other machines can reach needs a key, here or by `rolecast keys`."""
    port: Port = 8000
    """The front door; 0 = any free port."""
    surface: Literal["openai", "conductor"] = "openai"
    """Shape of /models on the front door: OpenAI's object, or Conductor's list."""
    listeners: list[Listener] = []
    """More ports."""
    keys: list[str] = []
    """API keys that open everything: plain, `env:NAME`, or `sha256:<hex>`. Empty, and none made by `rolecast keys`: no
    key is needed."""
    allowed_hosts: list[str] = []
    """Names by which clients call this machine besides its own, as `gw.example.com` or `*.example.com` for all below
    it, without scheme and port; `*` accepts all."""
    allowed_origins: list[str] = []
    """Web pages besides those of this machine that may use the API, as `https://app.example.com`,
    `https://*.example.com` for all below it, or `chrome-extension://*` for what is no web page; `*` accepts all."""
    limits: Limits = Limits()
    tell_waiting: Seconds = Seconds(5)
    """A client of a stream that has waited so long for a model to load, or for a slot, is sent a comment, and another
    one each time so long has passed again; 0 = never. Status 200 is sent with the first one, so an error after it comes
    as an event of the stream."""
    drain_timeout: Seconds = Seconds(30)
    """At shutdown, and on a port that an edit closes, requests in flight get this long to finish."""


class Opening(Section, frozen=True):
    """A message that every conversation begins with."""

    role: Literal["user", "assistant", "system"]
    """Who says it."""
    content: str
    """What is said."""


class Variant(Section, frozen=True):
    """A name for a model with a system prompt, first messages and settings; it shares the model's worker."""

    guarded: ClassVar[bool] = False
    """Whether who may ask for it is judged by its own name: its model is shared with others who are somebody else."""

    model: str
    """What it is made of: a model, an alias, a role or another variant."""
    system: str = ""
    """System prompt of a request that does not begin with one."""
    messages: list[Opening] = []
    """Messages before those of the request."""
    parameters: Parameters = Parameters()
    """Settings where the request has none of its own."""
    description: str = ""
    """For people; shown by `/v1/models`."""
    license: str = ""
    """For people; shown by `/api/show`."""


class Images(Section, frozen=True):
    """Who makes images: a server elsewhere, such as Conductor's diffusiond."""

    url: str = ""
    """Its address, such as http://127.0.0.1:8002; POST /generate makes the image. It answers the task
    `image_generation` as the model `diffusiond`, unless a role or a model of yours has that name."""
    timeout: Seconds = Seconds(60)
    """An image may take this long."""


class Storage(Section, frozen=True):
    """Where things are kept."""

    url: str = ""
    """`sqlite:///PATH`, `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, or `env:NAME` for a URL in a variable; empty =
    rolecast.db in the data folder."""
    models: str = ""
    """Folder of weights; empty = models/ in the data folder."""


class Log(Section, frozen=True):
    """What is logged, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important messages that are logged."""
    format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object per line."""
    access: bool = False
    """One line for each request that is not a chat, completion or embedding; those are in the ledger."""
    requests: bool = False
    """One line for each of those, too, when it has ended, and for each that was refused: model, task, times, tokens
    and the code of an error; no word of prompts and answers."""


class Config(Section, frozen=True):
    """`rolecast.yaml`: every section may be left out."""

    server: Server = Server()
    """Ports, keys and limits."""
    mcp: Mcp = Mcp()
    """Rolecast as a server of the Model Context Protocol."""
    models: dict[str, Model] = {}
    """Models by id; ids may contain `/` and `:`."""
    roles: dict[str, list[str | list[str]]] = {}
    """Models by role, best first: when one fails before it said anything, the next answers. Models in an inner list
    are equals and share the requests: `[[a, b], c]`."""
    variants: dict[str, Variant] = {}
    """Names for models with a system prompt, first messages and settings of their own."""
    routing: Routing = Routing()
    """Who answers when a request names nobody."""
    tasks: dict[str, Task] = {}
    """Changes to the tasks that Rolecast brings, and tasks of your own; `rolecast tasks` lists them all."""
    personas: Personas = Personas()
    """Who speaks in conversations."""
    sessions: Sessions = Sessions()
    """Conversations that are kept here."""
    images: Images = Images()
    """Who makes images."""
    avatars: Avatars = Avatars()
    """Personal models that were trained here."""
    memory: Memory = Memory()
    """How much memory models may take."""
    registry: Registry = Registry()
    """Services and providers that register themselves."""
    egress: Egress = Egress()
    """What leaves this machine."""
    money: Money = Money()
    """What answers cost."""
    providers: dict[str, Provider] = {}
    """Providers besides those of the price list, or other facts of those in it; `rolecast providers` lists all."""
    retries: Retries = Retries()
    """What is done when a server elsewhere does not answer."""
    storage: Storage = Storage()
    """Where things are kept."""
    log: Log = Log()
    """What is logged."""
    stand_in: str = ""
    """Model that answers for every configured model whose weights are absent, marked as such: one of these, one of the
    preset `default`, or `fake`, which says the same every time and needs no weights."""

    def __post_init__(self) -> None:
        if not self.images.url or self.images.url.isspace():
            return
        if IMAGES_MODEL not in self.models:
            server = Model(
                backend="openai",
                url=self.images.url,
                timeout=self.images.timeout,
                capabilities=["images"],
                description=IMAGES_NOTE,
            )
            msgspec.structs.force_setattr(self, "models", {**self.models, IMAGES_MODEL: server})
        if IMAGES_ROLE not in self.roles and IMAGES_ROLE not in self.models:
            msgspec.structs.force_setattr(self, "roles", {**self.roles, IMAGES_ROLE: [IMAGES_MODEL]})
