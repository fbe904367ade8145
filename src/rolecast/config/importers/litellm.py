"""LiteLLM's proxy `config.yaml`: public names in front of remote models."""

import re
from collections import Counter
from typing import Any

import msgspec

from rolecast.config.importers import kinds, litellm_providers
from rolecast.config.importers.draft import Draft, Found, Members, flat
from rolecast.config.importers.litellm_fallbacks import Fallbacks
from rolecast.config.importers.section import Section, shown

TITLE = "LiteLLM config.yaml"
_RATE = "there are no rate limits; parallel says how many run at once"
_PRICE = "there are no prices; tokens and times are in the ledger"
_TRIES = "a failure before the first byte goes to the next model, three attempts in all"
_BODY = "requests pass as they are; send these settings with the request"
_SHARE = "equals share the load: the one with the fewest requests answers"
_CLOUD = "the provider does not speak the OpenAI dialect"
REASONS = {
    **dict.fromkeys(("rpm", "tpm", "max_budget", "budget_duration"), _RATE),
    **dict.fromkeys(("num_retries", "max_retries", "allowed_fails", "cooldown_time", "retry_policy"), _TRIES),
    **dict.fromkeys(("retry_after", "allowed_fails_policy", "disable_cooldowns", "max_fallbacks"), _TRIES),
    **dict.fromkeys(("drop_params", "temperature", "top_p", "max_tokens", "extra_body", "modify_params"), _BODY),
    **dict.fromkeys(("routing_strategy", "weight", "routing_strategy_args"), _SHARE),
    **dict.fromkeys(("aws_region_name", "vertex_project", "vertex_location", "api_version"), _CLOUD),
    **dict.fromkeys(("extra_headers", "headers", "organization"), "only the key is sent as a header"),
    **dict.fromkeys(
        ("context_window_fallbacks", "content_policy_fallbacks"),
        "the next model of the role is asked when one fails or refuses what it cannot do",
    ),
    **dict.fromkeys((f"{way}_cost_per_{unit}" for way in ("input", "output") for unit in ("token", "second")), _PRICE),
    "stream_timeout": "timeout is the longest silence, with and without a stream",
    "database_url": "Rolecast keeps its own records",
    "include": "import each of these files, too, or put them into one before",
    "environment_variables": "set them in the environment before the start",
    "callbacks": "metrics are at /metrics, records in the ledger",
    "cache": "answers are not cached",
    "cache_params": "answers are not cached",
    "guardrails": "requests and answers pass as they are",
    "base_model": _PRICE,
    "hidden": "every name is listed",
}
_MANY = 64
"""Requests at once to a remote: it has its own queue, so ours must not be the narrow place."""
_MODES = {
    "chat": kinds.CHAT,
    "completion": "completion",
    "embedding": kinds.EMBEDDINGS,
    "batch": kinds.CHAT,
    "rerank": "rerank",
    "audio_transcription": "transcription",
    "audio_speech": "speech",
    "image_generation": "images",
    "image_edit": "images",
    "moderation": "moderation",
    "video_generation": "video",
    "realtime": "realtime",
    "responses": "responses",
    "ocr": "ocr",
    "search": "search",
    "vector_store": "vector_store",
}
_TAIL = re.compile(r"/(chat/completions|completions|embeddings|messages)$")


class Deployment(msgspec.Struct, frozen=True):
    """One entry of `model_list` that became a model: its id, what it runs, and its place in the order."""

    model_id: str
    what: str
    order: int


def fits(found: Found) -> bool:
    """A list of models with `litellm_params`."""
    return isinstance(found.value, dict) and isinstance(found.value.get("model_list"), list)


def fill(found: Found, draft: Draft) -> None:
    """A public name with one deployment is a model; with several, or with fallbacks, a role over them."""
    top = found.top
    groups: dict[str, list[Section]] = {}
    for entry in top.sections("model_list", "model_name"):
        name = entry.peek("model_name")
        if not isinstance(name, str) or not isinstance(entry.peek("litellm_params"), dict):
            entry.pass_over("needs a model_name and litellm_params")
        elif "*" in name or "*" in str(entry.peek("litellm_params").get("model")):
            entry.pass_over("a name with * is needed once per model here; add the models that are used")
        else:
            groups.setdefault(name, []).append(entry)
    draft.reserve(re.findall(r"os\.environ/(\w+)", found.text))
    draft.reserve(_unsaid(entry.section("litellm_params")) for entries in groups.values() for entry in entries)
    fallbacks = Fallbacks(top, set(groups), draft)
    _Importer(top, draft).add(groups, fallbacks)
    _settle_server(top, draft)


class _Importer:
    """Turns deployments into models and their names into models or roles."""

    def __init__(self, top: Section, draft: Draft) -> None:
        self._draft = draft
        self._taken: Counter[str] = Counter()
        self._credentials = {c.text("credential_name"): c for c in top.sections("credential_list", "credential_name")}
        self._timeout = top.section("router_settings").number("timeout")
        self._timeout = self._timeout or top.section("litellm_settings").number("request_timeout")
        self._aliases = top.section("router_settings").section("model_group_alias")

    def add(self, groups: dict[str, list[Section]], fallbacks: Fallbacks) -> None:
        """All names: a model where one deployment stands alone, else a role over models."""
        members: dict[str, Members] = {}
        for name, entries in groups.items():
            alone = len(entries) == 1 and not fallbacks.behind(name)
            found = [self._add_model(name, entry, groups if not alone else None) for entry in entries]
            members[name] = self._equals(name, found)
        for name, own in members.items():
            if own != [name]:
                # A model for chat is no way out for sound or pictures.
                behind = fallbacks.behind(name) if any(map(self._draft.is_text, flat(own))) else []
                self._draft.roles[name] = own + [m for other in behind for m in members[other]]
        self._settle_aliases(members)

    def _equals(self, name: str, found: list[Deployment]) -> Members:
        """Deployments of one `order` are equals; vectors only when they are of the same model."""
        orders = sorted({d.order for d in found})
        rows = [[d for d in found if d.order == order] for order in orders]
        if self._draft.embeds(found[0].model_id):
            rows = [[d for d in found if d.what == found[0].what], *[[d] for d in found if d.what != found[0].what]]
        return [[d.model_id for d in row] if len(row) > 1 else row[0].model_id for row in rows]

    def _add_model(self, name: str, entry: Section, groups: dict[str, Any] | None) -> Deployment:
        params, info = entry.section("litellm_params"), entry.section("model_info")
        entry.take("model_name")
        self._lend(params)
        wanted = params.text("model")
        provider, remote = litellm_providers.split(wanted, params.text("custom_llm_provider"))
        model_id = name if groups is None else self._free_id(wanted or name, groups)
        place = f"models.{shown(model_id)}"
        kind = self._kind(place, info, provider, remote, name)
        url, why_not = self._address(place, provider, params)
        if variable := _variable(remote):
            why_not = why_not or f"write the value of {variable} into remote_model, and enable it"
        elif not wanted:
            why_not = "litellm_params.model is missing"
        self._draft.add_model(
            model_id,
            disabled=why_not or kinds.unreachable(kind),
            backend=litellm_providers.backend(provider),
            url=url,
            key=self._key(place, name, provider, params, own="api_base" in params or "base_url" in params),
            remote_model=remote if remote != model_id and not variable else None,
            parallel=params.whole("max_parallel_requests") or _MANY,
            timeout=params.number("timeout") or self._timeout,
            context=info.whole("max_input_tokens"),
            capabilities=self._capabilities(kind, info),
            tools=info.flag("supports_function_calling") or None,
        )
        return Deployment(model_id, remote, params.whole("order") or (1 << 30))

    def _lend(self, params: Section) -> None:
        """What a named credential says, where the deployment says nothing itself."""
        name = params.text("litellm_credential_name")
        if name and name not in self._credentials:
            self._draft.note(params.place, f"litellm_credential_name '{shown(name)}' left out; there is none")
        elif name:
            values = self._credentials[name].section("credential_values")
            info = self._credentials[name].section("credential_info")
            for key in values.names():
                if key not in params:
                    params.put(key, values.take(key))
            if "custom_llm_provider" in info and "/" not in str(params.peek("model")):
                params.put("custom_llm_provider", info.take("custom_llm_provider"))

    def _free_id(self, wanted: str, groups: dict[str, Any]) -> str:
        """An id for one of several deployments: what LiteLLM calls its model, unless that is a public name."""
        model_id = wanted
        while model_id in groups or model_id in self._draft.models:
            self._taken[wanted] += 1
            model_id = f"{wanted}-{self._taken[wanted]}"
        return model_id

    def _kind(self, place: str, info: Section, provider: str, remote: str, name: str) -> str:
        mode = info.text("mode")
        if mode in _MODES:
            return _MODES[mode]
        if mode:
            self._draft.note(place, f"mode {shown(mode)} is unknown; the name decides")
        if provider == "text-completion-openai":
            return "completion"
        kind = kinds.guess(remote, name, str(info.peek("base_model") or ""))
        if provider in ("voyage", "infinity", "jina_ai") and kind == kinds.CHAT:
            kind = kinds.EMBEDDINGS
        if kind != kinds.CHAT:
            self._draft.note(place, f"has no mode; taken for a model for {kind}, by its name")
        return kind

    def _capabilities(self, kind: str, info: Section) -> list[str] | None:
        extra = [w for w in ("vision", "audio") if info.flag(f"supports_{w}" + ("_input" if w == "audio" else ""))]
        return ["chat", "completion", *extra] if extra and kind == kinds.CHAT else kinds.capabilities(kind)

    def _address(self, place: str, provider: str, params: Section) -> tuple[str, str]:
        """The base URL, and why the model cannot be asked there ('' = it can)."""
        base = params.text("api_base") or params.text("base_url")
        params.take("base_url")
        given = _TAIL.sub("", self._draft.address(base, place).rstrip("/"))
        if variable := _variable(given):
            return "", f"write the value of {variable} into url, and enable it"
        if provider in ("azure", "azure_ai"):
            return self._azure(given)
        if provider in litellm_providers.MESSAGES_DIALECT and given:
            return f"{given.removesuffix('/v1')}/v1", ""
        if provider in litellm_providers.NATIVE_ELSEWHERE and given:
            return given, f"{provider} with an address of its own does not speak the OpenAI dialect"
        if provider not in litellm_providers.OPENAI_DIALECT and (provider or not given):
            name = provider or str(params.peek("model")).partition("/")[0]
            return given, f"provider {shown(name)} does not speak the OpenAI dialect, as far as is known here"
        if provider in litellm_providers.NATIVE_ELSEWHERE:
            self._draft.note(place, f"reaches {provider} through its OpenAI-compatible address")
        if given and provider.startswith("ollama"):
            given = re.sub(r"/api(/(chat|generate|embed))?$", "", given)
        if given and provider in ("ollama", "ollama_chat", "huggingface") and not given.endswith("/v1"):
            given += "/v1"
        base = given or litellm_providers.OPENAI_DIALECT.get(provider, ("", ""))[0]
        return base, "" if base else f"api_base is missing; write the address of the {shown(provider)} server into url"

    def _azure(self, given: str) -> tuple[str, str]:
        """Azure's newer address speaks the OpenAI dialect; that of deployments and api-version does not."""
        if given.endswith("/openai/v1"):
            return given, ""
        host = re.match(r"https://[^/]+", given)
        why = "Azure's addresses of deployments do not speak the OpenAI dialect"
        advice = "its address https://RESOURCE.openai.azure.com/openai/v1 does; try it and enable the model"
        return f"{host[0]}/openai/v1" if host else "", f"{why}; {advice}"

    def _key(self, place: str, name: str, provider: str, params: Section, *, own: bool) -> str:
        text = params.text("api_key")
        known = litellm_providers.OPENAI_DIALECT.get(provider, ("", ""))[1]
        if variable := _variable(text):
            return f"env:{variable}"
        if text:
            return self._draft.secret(text, known if known and not own else f"{name}_API_KEY", place)
        return f"env:{known}" if known and not own else ""

    def _settle_aliases(self, members: dict[str, Members]) -> None:
        """`model_group_alias` gives a model one more name; a role gets a second role with the same models."""
        draft, place = self._draft, "router_settings.model_group_alias"
        for alias in self._aliases.names():
            told = self._aliases.take(alias)
            target = str(told.get("model") if isinstance(told, dict) else told)
            if others := [key for key in told if key != "model"] if isinstance(told, dict) else []:
                draft.note(f"{place}.{shown(alias)}", f"{', '.join(map(shown, others))} left out; every name is listed")
            if alias in members:
                draft.note(place, f"'{shown(alias)}' left out: the name is taken")
            elif target in draft.roles:
                draft.roles[alias] = list(draft.roles[target])
            elif target in draft.models and target in members:
                draft.models[target].setdefault("aliases", []).append(alias)
            else:
                draft.note(place, f"'{shown(alias)}' left out: no model '{shown(target)}'")


def _unsaid(params: Section) -> str:
    """The variable that LiteLLM reads the key from, because the deployment does not say one."""
    provider, _ = litellm_providers.split(str(params.peek("model")), str(params.peek("custom_llm_provider") or ""))
    return "" if "api_key" in params else litellm_providers.OPENAI_DIALECT.get(provider, ("", ""))[1]


def _settle_server(top: Section, draft: Draft) -> None:
    key = top.section("general_settings").text("master_key")
    if variable := _variable(key):
        draft.keys = [f"env:{variable}"]
    elif key:
        draft.keys = [draft.secret(key, "LITELLM_MASTER_KEY", "general_settings.master_key")]
    draft.note("port", "LiteLLM listens on 4000, this file on 8000; set server.port, or the address in clients")


def _variable(text: str) -> str:
    """The variable of the environment that a value is, as LiteLLM writes it; '' when it is none."""
    found = re.fullmatch(r"os\.environ/(\S+)|os\.environ\[['\"](\S+)['\"]\]|\$\{?(?:env:)?(\w+)\}?", text.strip())
    return next((shown(group) for group in found.groups() if group), "") if found else ""
