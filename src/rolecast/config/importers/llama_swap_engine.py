"""A llama-server of a llama-swap file: its options as settings, the rest as arguments of the same program."""

import re
import shutil
from os.path import expanduser
from pathlib import Path
from typing import Any

from rolecast.config.importers import kinds, llama_command
from rolecast.config.importers.draft import Draft
from rolecast.config.importers.llama_command import Options
from rolecast.config.importers.llama_swap_entry import Entry
from rolecast.config.importers.macros import unknown
from rolecast.config.importers.section import shown

_ANY_HOST = ("", "127.0.0.1", "localhost", "0.0.0.0", "::1")


def add(entry: Entry, draft: Draft) -> None:
    """The model, run by the user's own program."""
    found = llama_command.options(entry.command.options)
    given, rest = found.given, [_at_home(word) for word in found.rest]
    kind = _kind(entry, given)
    extra = list(dict.fromkeys([*entry.extra, *(["vision"] if "--mmproj" in rest else [])]))
    source = _source(given, entry.place, draft)
    _name_program(entry, draft)
    _name_address(entry, found, draft)
    _name_variables(entry.place, {"source": source, "args": " ".join(rest), "binary": entry.command.program}, draft)
    draft.add_model(
        entry.model_id,
        disabled=kinds.unreachable(kind or kinds.CHAT),
        source=source,
        parallel=max(1, given.get("parallel", 1)),
        context=_context(given, entry.place, draft),
        gpu_layers=given.get("gpu_layers"),
        threads=given["threads"] if given.get("threads", 0) > 0 else None,
        cache_type_k=given.get("cache_type_k"),
        cache_type_v=given.get("cache_type_v"),
        flash_attn=None if given.get("flash_attn") == "auto" else given.get("flash_attn"),
        capabilities=[kind] if kind else ["chat", "completion", *extra] if extra else None,
        chat_template_kwargs=given.get("chat_template_kwargs"),
        binary=entry.command.program.replace("${env.HOME}", "~"),
        args=rest,
        idle_timeout=entry.idle_timeout,
        load_timeout=entry.load_timeout,
        environment=entry.environment,
        description=entry.description,
        tools=entry.tools or None,
        aliases=[*entry.aliases, *(a.strip() for a in given.get("alias", "").split(",") if a.strip())],
    )
    _name_the_rest(entry, draft)


def _kind(entry: Entry, given: dict[str, Any]) -> str:
    if "rerank" in given or entry.kind == "rerank":
        return "rerank"
    return kinds.EMBEDDINGS if "embeddings" in given else entry.kind


def _context(given: dict[str, Any], place: str, draft: Draft) -> int:
    """Tokens of one slot; 0 = what the model was trained for, as llama-server does by itself."""
    if "context" not in given:
        draft.note(place, "has no --ctx-size; the model's own length is used")
    total: int = given.get("context", 0)
    return max(1, total // max(1, given.get("parallel", 1))) if total > 0 else 0


def _name_program(entry: Entry, draft: Draft) -> None:
    """Which program runs the model, and how it was started before."""
    place, program = entry.place, entry.command.program
    draft.note(place, f"{program} runs it, as in the file; without binary and args the built-in engine does")
    if "${" not in program and shutil.which(expanduser(program)) is None:  # noqa: PTH111 - a Path would drop ./
        draft.note(place, f"{program} is not an executable file on this machine; correct binary")
    if entry.command.name != "llama-server":
        draft.note(place, f"{program} is taken for a llama-server; it must take the path of a socket as --host")
    if entry.command.wrapper:
        words = " ".join(re.sub(r"^(\w+)=.*", r"\1=...", word) for word in entry.command.wrapper)
        draft.note(place, f"'{words}' left out; name a script that runs it so as binary")


def _name_address(entry: Entry, found: Options, draft: Draft) -> None:
    """Where it listened and who could ask it: on a private socket neither is needed."""
    if found.dropped:
        told = "the engine listens on a private socket and needs no key; a token for downloads belongs into HF_TOKEN"
        draft.note(entry.place, f"{', '.join(found.dropped)} left out; {told}")
    proxy = draft.address(entry.section.text("proxy"), entry.place)
    if entry.port is None or found.given.get("host", "") not in _ANY_HOST:
        listens = [f"--{name} {found.given[name]}" for name in ("host", "port") if name in found.given]
        listens += [f"proxy {proxy}"] if proxy else []
        if listens:
            draft.note(entry.place, f"{', '.join(listens)} left out; the engine listens on a socket of its own")


def _name_the_rest(entry: Entry, draft: Draft) -> None:
    section, place = entry.section, entry.place
    if limit := section.whole("concurrencyLimit"):
        told = f"concurrencyLimit {limit} left out; --parallel is how many run at once, and the others wait"
        draft.note(place, told)
    if name := section.text("useModelName"):
        draft.note(place, f"useModelName {shown(name)} left out; the engine is started under the model's id")
    if entry.context:
        told = f"capabilities.context {entry.context} left out; lists show the context that a model has"
        draft.note(place, told)
    if section.peek("checkEndpoint") == "/health":
        section.take("checkEndpoint")


def _name_variables(place: str, texts: dict[str, str], draft: Draft) -> None:
    for setting, text in texts.items():
        if names := unknown(text):
            draft.note(place, f"write out {', '.join(names)} in {setting}; nothing is put in its place here")


def _at_home(word: str) -> str:
    """An argument is not read by a shell, so the home folder is written out."""
    try:
        return word.replace("${env.HOME}", str(Path.home())) if "${env.HOME}" in word else word
    except RuntimeError:
        return word


def _source(given: dict[str, Any], place: str, draft: Draft) -> str:
    if path := given.get("model"):
        return f"file:{path.replace('${env.HOME}', '~')}"
    if url := given.get("url"):
        hub = re.fullmatch(r"https://huggingface\.co/([^/]+/[^/]+)/(?:resolve|blob)/([^/]+)/([^?]+)(\?.*)?", url)
        if not hub:
            return draft.address(url, place)
        return f"hf:{hub[1]}" + ("" if hub[2] == "main" else f"@{hub[2]}") + f"/{hub[3]}"
    repo, _, quantization = str(given.get("repo") or "").partition(":")
    if quantization and not given.get("file"):
        draft.note(place, f"name the {quantization} file of {repo} in source")
    return f"hf:{repo}" + (f"/{given['file']}" if given.get("file") else "") if repo else ""
