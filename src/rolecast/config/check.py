"""What makes a well-formed configuration wrong: clashes, names that lead nowhere, unsafe openings.

Pure: values in, (trail, problem) out. Knows no file and no line; reads nothing from disk or network.
"""

import re
from collections.abc import Iterator

from rolecast.config import (
    allowed,
    check_mcp,
    check_providers,
    check_routing,
    check_tasks,
    names,
    personas,
    replicas,
    secrets,
    variants,
)
from rolecast.config.about import Backends
from rolecast.config.loopback import is_loopback as is_loopback
from rolecast.config.memory import is_budget
from rolecast.config.schema import IMAGES_MODEL, IMAGES_NOTE, Bytes, Config, Listener, Model, Server
from rolecast.config.shape import Problem, meant
from rolecast.config.source import parse
from rolecast.errors import ConfigError, SourceError
from rolecast.values import KINDS

POOLINGS = ("mean", "cls", "last")
"""How an engine makes one vector of a text."""
_NO_VECTOR = {
    "none": "gives one vector per token, which the API cannot carry",
    "rank": "scores pairs of texts and gives no vectors, which capabilities: [rerank] says",
}
MAX_TOKENS = 2**31 - 1
"""Engines count the tokens of all slots together in a 32-bit integer."""
ANYWHERE = frozenset({"0.0.0.0", "::", ""})
"""Hosts that mean every address of this machine."""


def check(config: Config, backends: Backends | None = None) -> list[Problem]:
    """Every problem, in the order of the file. `backends` are those that exist; None = any goes, and none is asked."""
    return [
        *_names(config),
        *_roles(config),
        *_variants(config),
        *_listeners(config),
        *_keys(config),
        *_allowed(config),
        *(_placed(config, p) for model_id, m in config.models.items() for p in _model(model_id, m, backends)),
        *_limits(config),
        *check_routing.problems(config),
        *check_tasks.problems(config),
        *check_mcp.problems(config),
        *check_providers.problems(config),
        *_storage(config),
        *_memory(config),
        *_personas(config),
    ]


def _placed(config: Config, problem: Problem) -> Problem:
    """The problem where a person wrote what is wrong: the section `images` makes a model."""
    trail, text = problem
    made = trail[:2] == ("models", IMAGES_MODEL) and config.models[IMAGES_MODEL].description == IMAGES_NOTE
    return (("images", *trail[2:]), text) if made else problem


def _personas(config: Config) -> Iterator[Problem]:
    """What a persona may not be; a file is only looked at when it is used."""
    own = config.personas
    if own.text and (why := personas.problem(own.text)):
        yield ("personas", "text"), f"this persona {why}; change it, or leave it empty"
    if own.use and not personas.NAME.match(own.use):
        text = "a persona is called by letters, digits, _ and -: the name of its file, without .txt"
        yield ("personas", "use"), text
    if own.use == personas.TEXT and not own.text.strip():
        yield ("personas", "use"), "there is no persona in personas.text; write one, or leave this empty"


def _names(config: Config) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for trail, claim in names.claims(config):
        what = f"{claim.kind} '{claim.name}'" if claim.kind != "alias" else f"alias of '{claim.models[0]}'"
        if fault := names.fault(claim.name):
            yield trail, fault
        elif owner := owners.get(claim.name):
            yield trail, f"the name '{claim.name}' is already taken by the {owner}; rename one of them"
        owners.setdefault(claim.name, what)


def _roles(config: Config) -> Iterator[Problem]:
    for role, models in config.roles.items():
        if not names.members(models):
            yield ("roles", role), "the role lists no model; name at least one, or remove the role"
        elif [] in models:
            yield ("roles", role, models.index([])), "the inner list is empty; name its models, or remove it"
        seen: set[str] = set()
        for place, model_id in names.places(models):
            if problem := _missing_model(config, model_id):
                yield ("roles", role, *place), problem
            elif model_id in seen:
                yield ("roles", role, *place), f"model '{model_id}' is already in this role; list it once"
            seen.add(model_id)
    default, embeddings = config.routing.default, config.routing.embeddings
    if default not in config.roles:
        there = ", ".join(config.roles) or "none"
        example = next((i for i, m in config.models.items() if m.enabled), "MODEL")
        near = meant(default, list(config.roles))
        hint = f"roles are: {there}; name one of them, or add `roles: {{{default}: [{example}]}}`"
        hint = f"did you mean '{near}'?" if near else hint
        yield ("routing", "default"), f"there is no role '{default}'; {hint}"
    if embeddings != "embeddings" and embeddings not in config.roles:
        yield ("routing", "embeddings"), f"there is no role '{embeddings}'; add it under roles"


def _variants(config: Config) -> Iterator[Problem]:
    own = names.own_names(config)
    for name, variant in config.variants.items():
        trail = ("variants", name)
        line, base = names.lineage(own, config.variants, name)
        if base is not None and not base.models:
            yield (*trail, "model"), f"'{base.name}' has no enabled model; enable one or name another"
        elif base is None and (again := names.spelled(config.variants, config.variants[line[-1]].model)):
            yield (*trail, "model"), f"{' -> '.join([*line, again])} goes round in a circle; name a model"
        elif base is None and len(line) == 1:  # else it is told of the variant that it is made of
            yield (*trail, "model"), _no_base(config, variant.model)
        if variants.size(variant) > variants.MOST_BYTES:
            yield trail, f"is longer than {variants.MOST_BYTES} bytes; shorten its texts"


def _no_base(config: Config, base: str) -> str:
    """Why nothing can be made of this."""
    if base in config.models:
        return _missing_model(config, base)
    hint = meant(base, [*config.models, *config.roles, *config.variants])
    there = f"did you mean '{hint}'?" if hint else f"models are: {', '.join(config.models) or 'none'}"
    return f"there is no model '{base}'; {there}"


def _missing_model(config: Config, model_id: str) -> str:
    """Why this model cannot be used, or ''."""
    model = config.models.get(model_id)
    if model is None:
        hint = meant(model_id, config.models)
        owner = next((i for i, m in config.models.items() if model_id in m.aliases), hint)
        there = f"did you mean '{owner}'?" if owner else f"models are: {', '.join(config.models) or 'none'}"
        if model_id in config.variants:
            base = variants.base(config, model_id)
            there = f"it is a variant, which cannot stand here; name what it is made of, '{base}'"
        return f"there is no model '{model_id}'; {there}"
    return "" if model.enabled else f"model '{model_id}' is disabled; enable it or take it out here"


def _listeners(config: Config) -> Iterator[Problem]:
    server = config.server
    taken: list[tuple[str, int, str]] = [(server.host, server.port, "server.port")]
    labels = {"front door": "server.port"}
    for i, listener in enumerate(server.listeners):
        trail = ("server", "listeners", i)
        if listener.model is not None and (problem := _missing_model(config, listener.model)):
            yield (*trail, "model"), problem
        host = _host(config, listener)
        clash = next((w for h, p, w in taken if p == listener.port != 0 and _overlap(h, host)), "")
        if clash:
            yield (*trail, "port"), f"port {listener.port} is already used by {clash}; give it another one"
        taken.append((host, listener.port, f"server.listeners.{i}"))
        if (owner := labels.get(listener.label)) and (listener.name or listener.port):
            yield (*trail, "name"), f"the name '{listener.label}' is already used by {owner}; give it another one"
        labels.setdefault(listener.label, f"server.listeners.{i}")


def _host(config: Config, listener: Listener) -> str:
    return config.server.host if listener.host is None else listener.host


def _overlap(a: str, b: str) -> bool:
    local = {"localhost": "127.0.0.1"}
    return local.get(a, a) == local.get(b, b) or a in ANYWHERE or b in ANYWHERE


def exposed(server: Server) -> list[tuple[str, str]]:
    """The settings that let other machines in, each with its address. Whoever does needs a key, here or in the table:
    who opens the ports looks after that, since no file tells what the table holds."""
    hosts: list[tuple[str, str | None]] = [("server.host", server.host)]
    hosts += [(f"server.listeners.{i}.host", listener.host) for i, listener in enumerate(server.listeners)]
    return [(setting, host) for setting, host in hosts if host is not None and not is_loopback(host)]


def is_key(text: str) -> bool:
    """Whether `server.keys` may hold it, as far as can be known without asking a variable."""
    if re.match(r"(?i)\s*sha-?256\s*[:=]", text):
        return re.fullmatch(r"sha256:[0-9a-fA-F]{64}", text) is not None
    return not secrets.fault(text, sent=False)


def _keys(config: Config) -> Iterator[Problem]:
    for i, key in enumerate(config.server.keys):
        if not is_key(key):
            text = "expected a key, env:NAME, or sha256: with 64 hexadecimal digits, as `sha256sum` prints them"
            why = "" if "sha" in key[:4].lower() else secrets.fault(key, sent=False)
            yield ("server", "keys", i), why or text


def _allowed(config: Config) -> Iterator[Problem]:
    """Entries that could never match: a person would only learn of them by a 403."""
    for setting, read in (("allowed_hosts", allowed.host), ("allowed_origins", allowed.origin)):
        for i, entry in enumerate(getattr(config.server, setting)):
            try:
                if entry != "*":
                    read(entry)
            except ValueError as fault:
                yield ("server", setting, i), f"'{entry}' lets nothing in: {fault}"


def _model(model_id: str, model: Model, backends: Backends | None) -> Iterator[Problem]:
    trail = ("models", model_id)
    if fault := replicas.fault(model_id):
        yield trail, fault
    if model.key and (problem := secrets.fault(model.key, sent=True)):
        yield (*trail, "key"), problem
    if model.sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", model.sha256):
        yield (*trail, "sha256"), "expected 64 hexadecimal digits, as `sha256sum FILE` prints them"
    for name in ("load_timeout", "timeout"):
        if getattr(model, name) <= 0:
            yield (*trail, name), "must be more than zero; say for example 60s"
    yield from (((*trail, *place), text) for place, text in _size(model))
    if model.enabled and not set(KINDS) & set(model.capabilities):
        there = ", ".join(KINDS)
        yield (*trail, "capabilities"), f"no request can reach this model; add at least one of {there}"
    yield from (((*trail, name), text) for name, text in _engine(model))
    yield from (((*trail, "environment", name), text) for name, text in _variables(model))
    if "" in model.capabilities:
        yield (*trail, "capabilities"), "a capability is a word; remove the empty one"
    if model.enabled:
        yield from (((*trail, *place), text) for place, text in _source(model))
    if backends is not None:
        yield from (((*trail, *place), text) for place, text in _backend(model, backends))


def _size(model: Model) -> Iterator[Problem]:
    """How much at a time. What fits into this machine is not asked here."""
    if model.context * model.parallel > MAX_TOKENS:
        yield ("context",), f"context times parallel is over {MAX_TOKENS} tokens; lower one of them"


def _engine(model: Model) -> Iterator[tuple[str, str]]:
    """Settings of the engine whose values depend on words or on each other."""
    allowed = ("rank",) if "rerank" in model.capabilities else POOLINGS
    if model.pooling in _NO_VECTOR and model.pooling not in allowed:
        if model.enabled:
            yield "pooling", f"{model.pooling} {_NO_VECTOR[model.pooling]}; use {', '.join(POOLINGS)}"
    elif model.pooling and model.pooling not in (*POOLINGS, *_NO_VECTOR):
        hint = meant(model.pooling, POOLINGS)
        there = f"did you mean '{hint}'?" if hint else f"use one of {', '.join(POOLINGS)}"
        yield "pooling", f"there is no pooling '{model.pooling}'; {there}"
    if not _is_size(model.prompt_cache):
        yield "prompt_cache", "expected auto, a size such as 512MiB, or 0 for none"
    if not _is_size(model.memory) or model.memory in (0, "0"):
        yield "memory", "expected auto, or a size such as 4GiB"


def _variables(model: Model) -> Iterator[tuple[str, str]]:
    for name, text in model.environment.items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            yield name, "this is no name of a variable; use letters, digits and _"
        elif "\0" in text:
            yield name, "holds a null character, which no variable can; take it out"
        elif text.startswith(secrets.PREFIX) and (problem := secrets.fault(text, sent=False)):
            yield name, problem


def _is_size(size: str | int) -> bool:
    try:
        return size == "auto" or Bytes.parse(size) >= 0
    except ValueError:
        return False


def _source(model: Model) -> Iterator[Problem]:
    """Where the weights come from. Not asked of a disabled model."""
    if model.source:
        try:
            parse(model.source)
        except SourceError as error:
            yield ("source",), error.message[0].lower() + error.message[1:].removesuffix(".")
    if model.source.startswith(("https://", "http://")) and not model.sha256:
        yield ("source",), "a plain URL needs sha256, so that the file can be verified; add sha256"


def _backend(model: Model, backends: Backends) -> Iterator[Problem]:
    """What the backend of a model has to say to its settings."""
    if model.backend not in backends:
        hint = meant(model.backend, backends)
        there = f"did you mean '{hint}'?" if hint else f"use one of {', '.join(sorted(backends))}"
        yield ("backend",), f"there is no backend '{model.backend}'; {there}"
        return
    try:
        about = backends[model.backend]
    except ConfigError as error:
        yield ("backend",), error.problems[0].removeprefix("backend: ")
        return
    is_unknown = model.provider and not model.url  # a provider that nobody knows, which is said, fills nothing in
    for setting, hint in about.needs.items() if model.enabled and not is_unknown else ():
        if not getattr(model, setting):
            yield (), f"'{setting}' is missing; {hint}"
    if model.adapters and "adapters" in about.unused:
        yield ("adapters",), f"{model.backend} loads no adapters; use `backend: llamacpp`, or take them out"
    yield from (((setting,) if setting else (), text) for setting, text in about.problems(model))


def _limits(config: Config) -> Iterator[Problem]:
    limits = config.server.limits
    for name in ("body", "head", "head_timeout", "body_timeout", "stall_timeout"):
        if getattr(limits, name) <= 0:
            yield ("server", "limits", name), "must be more than zero, else every request is refused"
    for model_id, model in config.models.items():
        if model.enabled and model.parallel > limits.connections:
            text = f"{model.parallel} slots, but server.limits.connections lets in {limits.connections}"
            yield ("models", model_id, "parallel"), f"{text}; lower one or raise the other"
    if not 0 <= config.routing.min_confidence <= 1:
        yield ("routing", "min_confidence"), "expected a number from 0 to 1"
    if not config.routing.strategies:
        yield ("routing", "strategies"), "at least one strategy is needed, such as [explicit]"
    if config.stand_in and (problem := _missing_model(config, config.stand_in)):
        yield ("stand_in",), problem


def _storage(config: Config) -> Iterator[Problem]:
    if problem := _url(config.storage.url):
        yield ("storage", "url"), problem


def _memory(config: Config) -> Iterator[Problem]:
    for name in ("budget", "gpu_budget"):
        if not is_budget(getattr(config.memory, name)):
            yield ("memory", name), "expected auto, a size such as 12GB, or a share such as 80%"
    for number, together in enumerate(config.memory.together):
        for each in together:
            if each not in config.models:
                yield ("memory", "together", number), _missing_model(config, each)
    if not _is_size(config.memory.conversations):
        yield ("memory", "conversations"), "expected auto, a size such as 8GiB, or 0 for none"


def _url(url: str) -> str:
    """Why it names no database, or ''. It may hold a password, so it is not repeated."""
    if url.startswith(secrets.PREFIX):
        return secrets.fault(url, sent=False)
    if not url or re.fullmatch(r"sqlite:///.+|postgres(ql)?://[^\s/@]*[^\s]*", url):
        return ""
    return "expected sqlite:///PATH (three slashes), postgresql://USER@HOST/DATABASE, or nothing for the data folder"
