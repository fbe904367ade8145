"""What a backend says of itself to those who only read a configuration: no name of one is known here.

Plain data and pure functions. What happens at run time is the backend's own (`rolecast.backends.Backend`).
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from rolecast.config.schema import Model
from rolecast.values import MEDIA

Remark = tuple[str, str]
"""A setting of a model, or '' for the model as a whole, and what is to be said of it."""
RUN_HERE = (
    "binary",
    "args",
    "threads",
    "gpu_layers",
    "chat_template_kwargs",
    "cache_type_k",
    "cache_type_v",
    "flash_attn",
    "pooling",
    "projector",
    "ubatch",
    "mmap",
    "fit",
    "spin_count",
    "prompt_cache",
    "checkpoints",
    "cache_reuse",
    "slot_similarity",
    "speculative",
    "adapters",
    "environment",
    "sleep",
)
"""Settings of an engine that we set up ourselves."""
WEIGHTS = ("source", "sha256")
"""Settings that say where weights are."""
RUN_ELSEWHERE = ("url", "key", "remote_model", "stream_usage")
"""Settings of a server that somebody else runs."""


COMMAND = ("command", "health", "stop")
"""Settings of a server that is run by a command of the user's."""


def nothing(model: Model) -> Iterator[Remark]:
    """No remark."""
    yield from ()


def no_media(model: Model) -> Iterator[Remark]:
    """What is wrong with sound and pictures of a model whose engine knows none."""
    if model.enabled and (lacking := [kind for kind in MEDIA if kind in model.capabilities]):
        yield (
            "capabilities",
            f"this backend does no {', '.join(lacking)}; a server that does is `backend: openai` or `command`",
        )


def no_copies(model: Model) -> Iterator[Remark]:
    """What is said of copies of a model that runs elsewhere: who runs it starts them."""
    if model.replicas > 1:
        text = "does nothing, because its server runs elsewhere; for several servers write a model for each, and list"
        yield "replicas", f"{text} them as equals in a role: [[MODEL, MODEL]]"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """One backend, for the checks, the advice and the commands."""

    slots: int = 1
    """What `parallel` is when it is 0."""
    needs: Mapping[str, str] = {}
    """Settings that an enabled model cannot do without, and how to give each: `say where ...`."""
    unused: tuple[str, ...] = ()
    """Settings that do nothing."""
    problems: Callable[[Model], Iterator[Remark]] = nothing
    """What makes the settings of a model wrong. Reads no disk and no network."""
    doubts: Callable[[Model], Iterator[Remark]] = nothing
    """What is allowed, and probably not meant."""
    folders: bool = False
    """Whether its weights are a folder of safetensors, and no file: a bare `hf:OWNER/REPO` then means all of it."""
    benched: bool = False
    """Whether `rolecast bench --engine` knows the engine, as long as no `binary` takes its place."""


Backends = Mapping[str, About]
"""All backends that may be named. Asking for one that cannot be used raises ConfigError."""
