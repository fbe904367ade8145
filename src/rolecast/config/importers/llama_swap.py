"""llama-swap's `config.yaml`: a command per model. Commands are read, never run."""

import json
import re
import shlex
from pathlib import PurePath
from typing import Any

from rolecast.config.importers.draft import Draft, Found, entries, items

TITLE = "llama-swap config.yaml"
_MAX_COMMAND = 64 * 1024
_FLAGS = {
    "-m": "model",
    "--model": "model",
    "-hf": "repo",
    "-hfr": "repo",
    "--hf-repo": "repo",
    "-hff": "file",
    "--hf-file": "file",
    "-c": "context",
    "--ctx-size": "context",
    "-np": "parallel",
    "--parallel": "parallel",
    "-ngl": "gpu_layers",
    "--gpu-layers": "gpu_layers",
    "--n-gpu-layers": "gpu_layers",
    "-t": "threads",
    "--threads": "threads",
    "-ctk": "cache_type_k",
    "--cache-type-k": "cache_type_k",
    "-ctv": "cache_type_v",
    "--cache-type-v": "cache_type_v",
    "-a": "alias",
    "--alias": "alias",
    "--chat-template-kwargs": "chat_template_kwargs",
    "--port": "",
    "--host": "",
    "--api-key": "",
}
"""Options of llama-server that are settings of ours; '' = Rolecast's own business."""
_BARE = {"--embedding": "embeddings", "--embeddings": "embeddings", "--jinja": ""}
_FLASH = {"on": True, "1": True, "true": True, "off": False, "0": False, "false": False, "auto": None}
_MODEL_LEFT = ("env", "checkEndpoint", "filters", "metadata", "unlisted", "cmdStop", "timeouts")
_TOP_LEFT = ("groups", "matrix", "hooks", "peers", "profiles", "routing")


def fits(found: Found) -> bool:
    """Models that carry a command."""
    models = entries(entries(found.value).get("models")).values()
    return any("cmd" in entry or "proxy" in entry for entry in map(entries, models))


def fill(found: Found, draft: Draft) -> None:
    """Each model by its id; `ttl` becomes idle_timeout, persistent groups become pinned."""
    top = found.value
    for model_id, entry in top["models"].items():
        if isinstance(entry, dict):
            _add_model(model_id, entry, top, draft)
        else:
            draft.note(f"models.{model_id}", "left out: an entry needs a cmd")
    for group in entries(top.get("groups")).values():
        if isinstance(group, dict) and group.get("persistent") is True:
            for member in items(group.get("members")):
                if draft.models.get(str(member), {}).get("enabled", True) and str(member) in draft.models:
                    draft.models[str(member)]["pinned"] = True
    draft.left_out("file", top, _TOP_LEFT, "what is loaded together follows from memory.budget and pinned")
    keys = [str(key) for key in items(top.get("apiKeys"))]
    draft.keys = [re.sub(r"^\$\{env\.(\w+)\}$", r"env:\1", key) for key in keys]


def _add_model(model_id: str, entry: dict[str, Any], top: dict[str, Any], draft: Draft) -> None:
    place = f"models.{model_id}"
    macros = {**entries(top.get("macros")), **entries(entry.get("macros")), "MODEL_ID": model_id}
    try:
        argv = _argv(_expand(str(entry.get("cmd") or ""), macros))
    except ValueError as e:
        draft.note(place, f"cmd cannot be read: {e}")
        argv = []
    ttl = entry.get("ttl", -1)
    idle = ttl if isinstance(ttl, int) and ttl >= 0 else top.get("globalTTL") or 0
    common: dict[str, Any] = {
        "idle_timeout": idle,
        "load_timeout": top.get("healthCheckTimeout") or None,
        "description": entry.get("description") or entry.get("name"),
    }
    aliases = [str(a.get("id") if isinstance(a, dict) else a) for a in items(entry.get("aliases"))]
    if argv and PurePath(argv[0]).name.lower().startswith("llama-server"):
        settings = _settings(argv, place, draft)
        aliases += [a for a in settings.pop("aliases", []) if a not in aliases and a != model_id]
        draft.add_model(model_id, **settings, **common, aliases=aliases)
    else:
        settings = _remote(entry, macros, place, draft)
        draft.add_model(model_id, **settings, **common, aliases=aliases)
    draft.left_out(place, entry, _MODEL_LEFT, "no counterpart")


def _remote(entry: dict[str, Any], macros: dict[str, Any], place: str, draft: Draft) -> dict[str, Any]:
    """A command that is not llama-server: its server is used where it listens, once somebody started it."""
    url = _expand(str(entry.get("proxy") or ""), macros).rstrip("/")
    usable = bool(url) and "${" not in url
    start = "start the server yourself and enable the model" if not usable else "start the server yourself"
    draft.note(place, f"cmd left out: only llama-server commands become models; {start}")
    return {
        "backend": "openai",
        "url": f"{url}/v1" if usable else "",
        "remote_model": entry.get("useModelName"),
        "parallel": entry.get("concurrencyLimit") or 10,
    }


def _settings(argv: list[str], place: str, draft: Draft) -> dict[str, Any]:
    """Our settings for a llama-server command; options we have no word for stay arguments of that binary."""
    given, rest = _options(argv[1:])
    parallel = max(1, _whole(given.get("parallel")) or 1)
    total = _whole(given.get("context")) or 0
    if total <= 0:
        draft.note(place, "has no --ctx-size; the default context is used")
    settings: dict[str, Any] = {
        "source": _source(given, place, draft),
        "context": max(1, total // parallel) if total > 0 else None,
        "parallel": parallel,
        "gpu_layers": _whole(given.get("gpu_layers")),
        "threads": _whole(given.get("threads")),
        "cache_type_k": given.get("cache_type_k"),
        "cache_type_v": given.get("cache_type_v"),
        "flash_attn": given.get("flash_attn"),
        "capabilities": ["embeddings"] if "embeddings" in given else None,
        "chat_template_kwargs": _object(given.get("chat_template_kwargs")),
        "aliases": str(given.get("alias") or "").split(",") if given.get("alias") else [],
    }
    if rest:
        draft.note(place, f"runs {argv[0]} because of {' '.join(rest)}; without both, the built-in engine runs")
        settings |= {"binary": argv[0], "args": rest}
    return settings


def _options(tokens: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Known options by our name, and the tokens that are left."""
    given: dict[str, Any] = {}
    rest: list[str] = []
    i = 0
    while i < len(tokens):
        token, value = tokens[i], tokens[i + 1] if i + 1 < len(tokens) else ""
        if token in ("-fa", "--flash-attn"):
            given["flash_attn"] = _FLASH.get(value.lower(), True)
            i += value.lower() in _FLASH
        elif token in _BARE:
            given[_BARE[token]] = True
        elif token in _FLAGS:
            given[_FLAGS[token]] = value
            i += 1
        else:
            rest.append(token)
        i += 1
    return given, rest


def _source(given: dict[str, Any], place: str, draft: Draft) -> str:
    if path := given.get("model"):
        if "${" in path:
            draft.note(place, f"write out the variable in source: {path}")
        return f"file:{path}"
    repo, _, quantization = str(given.get("repo") or "").partition(":")
    if quantization and not given.get("file"):
        draft.note(place, f"name the {quantization} file of {repo} in source")
    return f"hf:{repo}" + (f"/{given['file']}" if given.get("file") else "") if repo else ""


def _argv(command: str) -> list[str]:
    lines = [line for line in command.splitlines() if not line.lstrip().startswith("#")]
    return shlex.split("\n".join(lines).replace("\\\n", " "))


def _expand(text: str, macros: dict[str, Any]) -> str:
    """Put macros in, also macros of macros; the home folder is `~`, other variables stay as they are."""
    for _ in range(8):
        expanded = re.sub(r"\$\{([\w-]+)\}", lambda m: str(macros.get(m[1], m[0])), text)
        if expanded == text:
            break
        if len(expanded) > _MAX_COMMAND:
            raise ValueError("its macros expand without end")
        text = expanded
    return text.replace("${env.HOME}", "~")


def _whole(value: Any) -> int | None:
    return int(value) if re.fullmatch(r"-?\d{1,9}", str(value)) else None


def _object(text: Any) -> Any:
    try:
        value = json.loads(text) if text else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
