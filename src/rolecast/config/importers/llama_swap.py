"""llama-swap's `config.yaml`: a command per model. Commands are read, never run.

Knows the file as a whole: macros, ports, groups, peers and selectors. A model is read by `llama_swap_entry`, and
becomes one by `llama_swap_engine`, `llama_swap_command` or `llama_swap_remote`.
"""

import re
from typing import Any

from rolecast.config.importers import kinds, llama_swap_command, llama_swap_engine, llama_swap_entry, llama_swap_remote
from rolecast.config.importers.draft import Draft, Found
from rolecast.config.importers.macros import Expander
from rolecast.config.importers.section import Section, shown

TITLE = "llama-swap config.yaml"
_TOGETHER = "models load on demand and leave when idle; what is loaded together is not planned"
_BODY = "requests pass as they are; send these settings with the request, or see `sampling` of a model"
_LISTS = "lists show what a model is by its settings"
_OWN = "Rolecast keeps its own records"
REASONS = {
    **dict.fromkeys(("groups", "matrix", "swap", "exclusive", "members"), _TOGETHER),
    **dict.fromkeys(("filters", "setParams", "setParamsByID", "stripParams"), _BODY),
    **dict.fromkeys(("metadata", "unlisted", "includeAliasesInList"), _LISTS),
    **dict.fromkeys(("store", "metricsMaxInMemory", "captureBuffer", "performance", "ui", "logToStdout"), _OWN),
    "cmdStop": "workers are stopped by signals",
    "checkEndpoint": "the health of a worker is asked at its own address",
    "sendLoadingState": "a request waits while its model loads",
    "startPort": "servers are given ports that are free",
    "timeouts": "see timeout and load_timeout",
    "profiles": "roles take their place; an edit of the file applies at once",
}
_START_PORT = 5800
_LEVELS = {"debug": "debug", "info": "info", "warn": "warning", "warning": "warning", "error": "error"}


def fits(found: Found) -> bool:
    """Models that carry a command, or peers that have some."""
    value = found.value if isinstance(found.value, dict) else {}
    models, peers = value.get("models"), value.get("peers")
    listed = list(models.values()) if isinstance(models, dict) else []
    listed += list(peers.values()) if isinstance(peers, dict) else []
    return any(isinstance(entry, dict) and ("cmd" in entry or "proxy" in entry) for entry in listed)


def fill(found: Found, draft: Draft) -> None:
    """Each model by its id; `ttl` becomes idle_timeout, persistent groups and preloads become pinned."""
    top = found.top
    draft.reserve(re.findall(r"\$\{env\.(\w+)\}", found.text))
    _write_out(top, draft)
    load_timeout = top.number("healthCheckTimeout") or None
    idle = top.number("globalTTL") or 0
    if idle < 0:
        draft.note("globalTTL", f"{idle} left out; models without a ttl of their own stay loaded")
    ports = _Ports(top)
    for model_id, section in top.entries("models").items():
        entry = llama_swap_entry.read(model_id, section, ports.of(model_id), idle, load_timeout, draft)
        command = entry.command
        started = llama_swap_command if command.words and not command.fault else llama_swap_remote
        runner = llama_swap_engine if command.is_llama_server else started
        runner.add(entry, draft)
    _add_peers(top, draft)
    _add_selectors(top, draft)
    _pin(top, draft)
    level = top.text("logLevel")
    draft.log_level = _LEVELS.get(level.lower(), "")
    if level and not draft.log_level:
        draft.note("logLevel", f"'{shown(level)}' left out: expected one of debug, info, warn, error")
    draft.keys = [_key(key, "ROLECAST_API_KEY", "apiKeys", draft) for key in top.texts("apiKeys")]


def _write_out(top: Section, draft: Draft) -> None:
    """Macros in place of their names, everywhere; a model in which they do not end is left out."""
    expander, general = Expander(), _mapping(top.take("macros"))
    for key in list(top.names()):
        value = top.peek(key)
        if key == "models" and isinstance(value, dict):
            top.put(key, {name: _model(name, entry, general, expander, draft) for name, entry in value.items()})
        elif key != "macros":
            try:
                top.put(key, expander.value(value, general))
            except ValueError as e:
                draft.note(shown(key), f"left out: {e}")
                top.put(key, None)


def _model(name: str, entry: Any, general: dict[str, Any], expander: Expander, draft: Draft) -> Any:
    if not isinstance(entry, dict):
        return entry
    macros = {**general, **_mapping(entry.get("macros")), "MODEL_ID": name}
    try:
        return expander.value({key: value for key, value in entry.items() if key != "macros"}, macros)
    except ValueError as e:
        draft.note(f"models.{shown(name)}", f"cmd cannot be read: {e}")
        return {"cmd": ""}


class _Ports:
    """The port that llama-swap gives a model whose command has `${PORT}`: counted up in the order of the ids."""

    def __init__(self, top: Section) -> None:
        models, first = _mapping(top.peek("models")), top.peek("startPort")
        wanting = sorted(name for name, entry in models.items() if "${PORT}" in str(_mapping(entry).get("cmd")))
        start = first if isinstance(first, int) and 0 < first < 65536 else _START_PORT
        self._ports = {name: start + i for i, name in enumerate(wanting)}

    def of(self, name: str) -> int | None:
        """That port, or None when the command names its own."""
        return self._ports.get(name)


def _add_peers(top: Section, draft: Draft) -> None:
    """Each model of a peer is a remote, by its name and by `PEER/NAME`."""
    for peer, entry in top.entries("peers").items():
        url = llama_swap_remote.base(entry.text("proxy"), entry.place, draft)
        key = _key(entry.text("apiKey"), f"{peer}_API_KEY", entry.place, draft) if "apiKey" in entry else ""
        for name in entry.texts("models"):
            kind = kinds.guess(name)
            if kind != kinds.CHAT:
                draft.note(f"{entry.place}.models.{shown(name)}", f"taken for a model for {kind}, by its name")
            model_id = f"{peer}/{name}" if name in draft.models else name
            draft.add_model(
                model_id,
                disabled=kinds.unreachable(kind),
                backend="openai",
                url=url,
                key=key,
                remote_model=name if model_id != name else "",
                capabilities=kinds.capabilities(kind),
                aliases=[f"{peer}/{name}"],
            )


def _add_selectors(top: Section, draft: Draft) -> None:
    """A virtual model that chooses among others is a role; how it chooses is ours."""
    owners = {alias: name for name, model in draft.models.items() for alias in model.get("aliases", [])}
    for name, entry in top.entries("selectors").items():
        targets = entry.texts("targets")
        strategy = entry.text("strategy")
        if strategy == "pin":
            targets = targets[:1]
        elif strategy:
            draft.note(entry.place, f"strategy {shown(strategy)} left out; the first target that can answers")
        ids = [t if t in draft.models else owners.get(t, "") for t in targets]
        if missing := [shown(t) for t, i in zip(targets, ids, strict=True) if not i]:
            draft.note(entry.place, f"{', '.join(missing)} left out; there is no such model")
        draft.roles[name] = [i for i in ids if i]


def _pin(top: Section, draft: Draft) -> None:
    """Members of persistent groups, and models that are loaded at start and never left, stay in memory."""
    pinned = []
    for group in top.entries("groups").values():
        if group.flag("persistent"):
            pinned += group.texts("members")
    preload = top.section("hooks").section("on_startup")
    for name in preload.texts("preload"):
        if draft.models.get(name, {}).get("idle_timeout"):
            draft.note("hooks.on_startup.preload", f"{shown(name)} left out; pinned: true loads at start and stays")
        else:
            pinned.append(name)
    for name in pinned:
        model = draft.models.get(name)
        if model is None:
            draft.note(f"models.{shown(name)}", "is to stay loaded, but there is no such model")
        elif model.get("enabled", True) and ("command" in model or "url" not in model):  # else it is not ours
            model["pinned"] = True
            if model.pop("idle_timeout", None):
                draft.note(f"models.{shown(name)}", "ttl left out; its group is persistent, so it stays loaded")


def _key(text: str, variable: str, place: str, draft: Draft) -> str:
    """A credential in our notation."""
    if named := re.fullmatch(r"\$\{env\.(\w+)\}", text):
        return f"env:{named[1]}"
    return text if not text or text.startswith("sha256:") else draft.secret(text, variable, place)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
