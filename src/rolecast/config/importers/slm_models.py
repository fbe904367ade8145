"""SLM Server's `config/models.yaml`: one entry per role, each a backend process with its port."""

from typing import Any

from rolecast.config.importers.draft import Draft, Found, entries

TITLE = "SLM Server models.yaml"
_KEYS = frozenset({"backend", "port", "model_path"})
_CAPABILITIES = {"lm": None, "multimodal": None, "embeddings": ["embeddings"]}
_SAMPLING = ("temp", "top_p", "top_k", "min_p")
_PARSERS = ("enable_auto_tool_choice", "tool_call_parser", "reasoning_parser")
_ENGINE = ("chat_template_file", "fit", "kv_unified", "config_name")


def fits(found: Found) -> bool:
    """Entries that carry their id, and a backend, port or path."""
    models = entries(entries(found.value).get("models")).values()
    return any("id" in entry and not _KEYS.isdisjoint(entry) for entry in map(entries, models))


def fill(found: Found, draft: Draft) -> None:
    """Entries become models, their keys roles, their ports listeners."""
    for role, entry in found.value["models"].items():
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            draft.note(f"models.{role}", "left out: an entry needs an id")
            continue
        kind = _kind(entry)
        if kind not in _CAPABILITIES:
            draft.note(f"models.{role}", f"left out: model_type {kind} has no counterpart")
            continue
        _add(role, entry, draft)


def _add(role: str, entry: dict[str, Any], draft: Draft) -> None:
    model_id, on = entry["id"], entry.get("enabled", True) is not False
    known = draft.models.get(model_id)
    if known is None or (on and known.get("enabled") is False):
        _add_model(role, entry, draft)
    elif on:
        draft.note(f"models.{role}", f"'{model_id}' is already there; the role shares it")
    if on and draft.models.get(model_id, {}).get("enabled", True):
        draft.roles.setdefault(role, []).append(model_id)
        draft.add_listener(entry.get("port"), role, model_id)


def _add_model(role: str, entry: dict[str, Any], draft: Draft) -> None:
    place = f"models.{role}"
    draft.add_model(
        entry["id"],
        source=_source(entry, place, draft),
        context=entry.get("context_length"),
        parallel=entry.get("max_concurrency"),
        timeout=entry.get("default_timeout"),
        enabled=None if entry.get("enabled", True) is not False else False,
        quantization=None if entry.get("quantization") is None else str(entry["quantization"]),
        tools=entry.get("supports_function_calling") or None,
        capabilities=_CAPABILITIES.get(_kind(entry)),
        chat_template_kwargs=entry.get("chat_template_kwargs"),
        cache_type_k=entry.get("cache_type_k"),
        cache_type_v=entry.get("cache_type_v"),
        flash_attn={"on": True, "off": False}.get(str(entry.get("flash_attn")), entry.get("flash_attn")),
    )
    if _kind(entry) == "multimodal":
        draft.note(place, "runs on text only: images are not carried over")
    if entry.get("host") not in (None, "127.0.0.1", "localhost"):
        draft.note(place, f"host {entry['host']} left out: ports listen on this machine only; see server.host")
    draft.left_out(place, entry, _SAMPLING, "send sampling settings with the request")
    draft.left_out(place, entry, _PARSERS, "tool calls and reasoning are parsed without being told how")
    draft.left_out(place, entry, _ENGINE, "no counterpart; `binary` and `args` reach any llama-server option")


def _kind(entry: dict[str, Any]) -> str:
    return str(entry.get("model_type") or "lm")


def _source(entry: dict[str, Any], place: str, draft: Draft) -> str:
    path, backend = str(entry.get("model_path") or ""), entry.get("backend")
    if not path:
        return ""
    remote = backend != "llamacpp" and "/" in path and not path.startswith(("/", "~", "."))
    if backend != "llamacpp":
        advice = "point source at a GGUF file of the same model"
        draft.note(place, f"backend {backend} becomes llamacpp, which cannot read '{path}'; {advice}")
    return f"hf:{path}" if remote else f"file:{path}"
