"""LiteLLM's proxy `config.yaml`: public names in front of remote models."""

from collections.abc import Iterator
from typing import Any

from rolecast.config.importers.draft import Draft, Found, entries, items

TITLE = "LiteLLM config.yaml"
_PROVIDERS = {
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "text-completion-openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": ("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    "gemini": ("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "groq": ("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": ("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "deepseek": ("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "together_ai": ("https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "fireworks_ai": ("https://api.fireworks.ai/inference/v1", "FIREWORKS_AI_API_KEY"),
    "xai": ("https://api.x.ai/v1", "XAI_API_KEY"),
    "cerebras": ("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "ollama": ("http://127.0.0.1:11434/v1", ""),
    "ollama_chat": ("http://127.0.0.1:11434/v1", ""),
    "lm_studio": ("http://127.0.0.1:1234/v1", ""),
    "hosted_vllm": ("", ""),
    "llamafile": ("http://127.0.0.1:8080/v1", ""),
    "litellm_proxy": ("", ""),
}
"""Providers that speak the OpenAI dialect: base URL and the variable that LiteLLM reads the key from."""
_PARAMS = {"model", "api_base", "base_url", "api_key", "timeout", "max_parallel_requests"}
_ROUTER = {"fallbacks", "model_group_alias", "default_fallbacks"}
_MANY = 64
"""Requests at once to a remote: it has its own queue, so ours must not be the narrow place."""


def fits(found: Found) -> bool:
    """A list of models with `litellm_params`."""
    return isinstance(found.value, dict) and isinstance(found.value.get("model_list"), list)


def fill(found: Found, draft: Draft) -> None:
    """A public name with one deployment is a model; with several, or with fallbacks, a role over them."""
    top = found.value
    groups: dict[str, list[dict[str, Any]]] = {}
    for i, entry in enumerate(top["model_list"]):
        name = entry.get("model_name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not isinstance(entry.get("litellm_params"), dict) or "*" in name:
            draft.note(f"model_list.{i}", "left out: needs a model_name without * and litellm_params")
        else:
            groups.setdefault(name, []).append(entry)
    fallbacks = {name: [b for b in behind if b in groups] for name, behind in _fallbacks(top) if name in groups}
    members: dict[str, list[str]] = {}
    for name, deployments in groups.items():
        alone = len(deployments) == 1 and not fallbacks.get(name)
        members[name] = []
        for entry in deployments:
            model_id = name if alone else _free_id(entry, groups, draft)
            _add_model(model_id, entry, top, draft)
            members[name].append(model_id)
    for name, ids in members.items():
        if ids != [name]:
            draft.roles[name] = ids + [m for behind in fallbacks.get(name, []) for m in members[behind]]
    _settle_aliases(top, members, draft)
    _settle_server(top, draft)


def _free_id(entry: dict[str, Any], groups: dict[str, Any], draft: Draft) -> str:
    """An id for one of several deployments: what LiteLLM calls its model, unless that is a public name."""
    wanted = str(entry["litellm_params"].get("model") or entry["model_name"])
    if wanted not in groups and wanted not in draft.models:
        return wanted
    return next(i for n in range(1, 10_000) if (i := f"{wanted}-{n}") not in groups and i not in draft.models)


def _add_model(model_id: str, entry: dict[str, Any], top: dict[str, Any], draft: Draft) -> None:
    params, info = entry["litellm_params"], entries(entry.get("model_info"))
    place = f"models.{model_id}"
    provider, _, remote = str(params.get("model") or "").partition("/")
    if not remote:
        provider, remote = "openai", provider
    known = provider in _PROVIDERS
    base, variable = _PROVIDERS.get(provider, ("", ""))
    given = str(params.get("api_base") or params.get("base_url") or "").rstrip("/")
    if provider.startswith("ollama") and given and not given.endswith("/v1"):
        given += "/v1"
    if not known:
        draft.note(place, f"provider {provider} does not speak the OpenAI dialect")
    if given.startswith("os.environ/"):
        draft.note(place, f"url: write out {given.removeprefix('os.environ/')}")
    draft.add_model(
        model_id,
        backend="openai",
        url=(given or base) if known else "",
        key=_secret(params.get("api_key")) or (f"env:{variable}" if variable and not given else ""),
        remote_model=remote if remote != model_id else None,
        parallel=params.get("max_parallel_requests") or _MANY,
        timeout=params.get("timeout") or _section(top, "litellm_settings").get("request_timeout"),
        context=info.get("max_input_tokens"),
        capabilities=["embeddings"] if info.get("mode") == "embedding" else None,
        tools=info.get("supports_function_calling") or None,
    )
    draft.left_out(place, params, tuple(sorted(set(params) - _PARAMS)), "no counterpart")


def _fallbacks(top: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Which names stand behind a name; both places that LiteLLM reads them from."""
    for section in ("router_settings", "litellm_settings"):
        for row in items(_section(top, section).get("fallbacks")):
            for name, behind in entries(row).items():
                yield str(name), [str(b) for b in items(behind)]


def _settle_aliases(top: dict[str, Any], members: dict[str, list[str]], draft: Draft) -> None:
    """`model_group_alias` gives a model one more name; a role gets a second role with the same models."""
    aliases = entries(_section(top, "router_settings").get("model_group_alias"))
    for alias, target in aliases.items():
        target = str(target.get("model") if isinstance(target, dict) else target)
        if target in draft.roles:
            draft.roles[alias] = list(draft.roles[target])
        elif target in draft.models and target in members:
            draft.models[target].setdefault("aliases", []).append(alias)
        else:
            draft.note("router_settings.model_group_alias", f"'{alias}' left out: no model '{target}'")


def _settle_server(top: dict[str, Any], draft: Draft) -> None:
    general = _section(top, "general_settings")
    if key := _secret(general.get("master_key")):
        draft.keys = [key]
    draft.note("port", "LiteLLM listens on 4000, this file on 8000; set server.port, or the address in clients")
    handled = {"router_settings": _ROUTER, "litellm_settings": {"fallbacks", "request_timeout"}}
    for section, ours in {**handled, "general_settings": {"master_key"}}.items():
        settings = _section(top, section)
        draft.left_out(section, settings, tuple(sorted(set(settings) - ours)), "no counterpart")
    if _section(top, "litellm_settings").get("default_fallbacks"):
        draft.note("default_fallbacks", "left out; add the models at the end of the roles they should back")
    draft.left_out("file", top, ("environment_variables", "guardrails", "mcp_servers"), "no counterpart")


def _secret(value: Any) -> str:
    """A credential in our notation."""
    text = "" if value is None else str(value)
    return f"env:{text.removeprefix('os.environ/')}" if text.startswith("os.environ/") else text


def _section(top: dict[str, Any], name: str) -> dict[str, Any]:
    return entries(top.get(name))
