"""How models are run: the Backend protocol and the table of implementations.

A backend only plans: it says how to start a worker (`Launch`) or where one already runs (`Endpoint`).
Starting, watching and stopping is the fleet's work; talking to it is `turn`'s and `net`'s.
Adding one = one file here plus a row in `BUILT_IN`, or an entry point in the group `rolecast.backends`.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rolecast.errors import ConfigError

if TYPE_CHECKING:  # each start of a worker imports this package
    from importlib.metadata import EntryPoint, EntryPoints

    from rolecast.backends.sleepers import Sleeper
    from rolecast.backends.slots import SlotFiles
    from rolecast.config.about import About, Backends
    from rolecast.config.schema import Model
    from rolecast.errors import RolecastError
    from rolecast.footprint import Estimate
    from rolecast.values import Endpoint, Failure, Launch, Listen


class Backend(Protocol):
    """One way to run a model."""

    about: "About"
    """What a configuration is judged by, and what the commands must know."""
    speaks: str
    """The family of its servers, one of `rolecast.dialects.FAMILIES`: how they are asked and how they answer."""
    usage: Literal["timings", "inject", "always"]
    """How token counts of a stream are learnt: from llama.cpp's `timings`, by asking for
    `stream_options.include_usage` and hiding the answer, or because they always come."""
    renames: Mapping[str, str]
    """Request fields this engine knows by another name."""
    asks_stop: Mapping[str, Any]
    """Fields that make this engine tell which of the stop sequences ended an answer."""
    spawns: bool
    """Whether its models run in workers that we start (`plan` gives a Launch), or elsewhere (an Endpoint)."""

    several: bool
    """Whether its servers take several prompts, and give several answers to one, with all fields that OpenAI's API has
    for it; otherwise each answer is asked for by itself."""
    translates: bool
    """Whether its models do nothing but translate, from and into the languages that `translation` of a chat names by
    NLLB's codes, whatever messages stand before the last one."""
    named_tools: bool
    """Whether `tool_choice` may name a function; otherwise it is told in words."""
    stops_streams_only: bool
    """Whether its servers heed a client that leaves in streams alone. Such a one is asked for a stream also where the
    client wants a whole answer, which is then gathered here. Only for servers that speak OpenAI's wire as llama.cpp."""

    def plan(self, model_id: str, model: "Model", weights: Path | None, listen: "Listen") -> "Launch | Endpoint":
        """How to start a worker that listens on one of `listen`, or where a remote one is."""
        ...

    def can(self, model: "Model", weights: Path | None, need: str) -> bool | None:
        """Whether the model can do this besides its kind: `vision`, `audio`, `video`, `files`, `tools`, `insert` ...

        None when that is not known here: then the words of the configuration are believed.
        """
        ...

    def marks(self, model: "Model", weights: Path | None) -> tuple[str, ...]:
        """The tokens before, between and behind what surrounds a gap, if it is us who must write them; else none."""
        ...

    def tells_apart(self, model: "Model") -> bool:
        """Whether its servers give thoughts and calls in fields of their own, as far as is known, and no marks."""
        ...

    def logits(self, model: "Model", weights: Path | None) -> bool:
        """Whether its scores of a ranking are logits, of any size; otherwise they are passed on as they come."""
        ...

    def refuse(self, body: bytes) -> None:
        """Raises BadRequest for a chat or a completion that would harm its engine."""
        ...

    def form(self, model: "Model", fields: "dict[str, Any]") -> None:
        """Write the form that the answer to a completion must have, if the body says one, as its engine reads it.

        `fields` = the body's, on OpenAI's wire.
        """
        ...

    def missing(self, model: "Model") -> str | None:
        """What this machine lacks to run it, with the command that mends it; None when nothing."""
        ...

    def counting(self, body: bytes) -> tuple[bytes, bytes] | None:
        """Path below its base and body that ask how many tokens this chat has; None = its servers cannot be asked."""
        ...

    def brings(self, model: "Model", stay_s: float | None) -> "Mapping[str, Any]":
        """Fields that go along with each request that is written for its servers, unless it says them itself.

        Those of an object are put into the one that is there. `stay_s` = how long the client wants the model to stay.
        """
        ...

    def estimate(self, model: "Model", weights: Path | None) -> "Estimate | None":
        """What a worker of this model will take; None when that is not known here. Reads no more than headers."""
        ...

    def engine(self, model: "Model") -> str:
        """What runs it here, with its version: what was learnt of one holds for that one alone. '' = not known."""
        ...

    def slot_files(self, model: "Model", weights: Path | None) -> "SlotFiles | None":
        """How what the slots of its workers have read is kept while the model is not loaded; None = it cannot be.

        May read pieces of the weights: blocks for a moment. Raises OSError when they are gone.
        """
        ...

    def sleeper(self, model: "Model") -> "Sleeper | None":
        """How its workers are put to sleep when they are idle for `sleep`, which is set; None = they cannot be."""
        ...

    def explain(self, status: int, said: "Failure") -> "RolecastError | None":
        """What an error answer means, for engines whose words may quote the request; None = they may be passed on."""
        ...


PARTS = ("usage", "renames", "spawns", "plan", "missing")
"""What every backend has; one from elsewhere is checked. The rest it may leave out (`plain`)."""
SLOTS_ELSEWHERE = 64
"""Requests at once to a server that has a queue of its own."""
BUILT_IN = {
    "llamacpp": "rolecast.backends.llamacpp:LlamaCpp",
    "mlx": "rolecast.backends.mlx:Mlx",
    "vllm": "rolecast.backends.vllm:Vllm",
    "ctranslate2": "rolecast.backends.ctranslate2:CTranslate2",
    "command": "rolecast.backends.command:Command",
    "openai": "rolecast.backends.remote:OpenAIRemote",
    "ollama": "rolecast.backends.ollama:Ollama",
    "anthropic": "rolecast.backends.anthropic:AnthropicRemote",
    "fake": "rolecast.backends.fake:Fake",
}


def names() -> list[str]:
    """All backends that can be named in a configuration, sorted."""
    return sorted({*BUILT_IN, *(e.name for e in _plugins())})


def get(name: str) -> Backend:
    """The backend of that name. Raises ConfigError naming the ones that exist."""
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        backend: Backend = getattr(import_module(module), attribute)()
        return backend
    for entry in _plugins():
        if entry.name == name:
            return _completed(entry)
    raise ConfigError([f"backend: {name!r} is unknown; use one of {', '.join(names())}"])


def table() -> "Backends":
    """What each backend says of itself, by its name; one is only imported when it is asked for."""
    return _Table(names())


class _Table(Mapping[str, "About"]):
    def __init__(self, known: list[str]) -> None:
        self._known = known

    def __getitem__(self, name: str) -> "About":
        if name not in self._known:
            raise KeyError(name)
        return get(name).about

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _require_family(what: str, name: str) -> None:
    from rolecast.dialects import family

    try:
        family(name)
    except ConfigError as error:
        raise ConfigError([f"{what} cannot be asked: {error.problems[0]}"]) from error


def _completed(entry: "EntryPoint") -> Backend:
    """A backend from elsewhere with what it left out. Raises ConfigError when it is none."""
    from rolecast.backends import plain

    what, usual = f"backend: {entry.name!r} ({entry.value})", plain.Plain()
    try:
        plugin: Backend = entry.load()()
    except Exception as error:  # whatever that package does when it is imported
        raise ConfigError([f"{what} cannot be loaded: {type(error).__name__}: {error}"]) from error
    if lacking := [part for part in PARTS if not hasattr(plugin, part)]:
        raise ConfigError([f"{what} is no backend: it lacks {', '.join(lacking)}"])
    for part in plain.PARTS:
        if not hasattr(plugin, part):
            setattr(plugin, part, getattr(usual, part))
    _require_family(what, plugin.speaks)
    if not hasattr(plugin, "about"):
        from rolecast.config.about import About

        plugin.about = About(slots=1 if plugin.spawns else SLOTS_ELSEWHERE)
    return plugin


def _plugins() -> "EntryPoints":
    from importlib.metadata import entry_points

    return entry_points(group="rolecast.backends")
