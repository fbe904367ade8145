"""Any other server of a llama-swap file: run by the same command, with our placeholders in place of its macros."""

import re
import shutil
from os.path import expanduser

from rolecast.config.importers import kinds, llama_command
from rolecast.config.importers.draft import Draft
from rolecast.config.importers.llama_command import Command
from rolecast.config.importers.llama_swap_entry import SECRET, Entry
from rolecast.config.importers.llama_swap_remote import PARALLEL, base
from rolecast.config.importers.macros import unknown
from rolecast.config.importers.section import shown

_MACROS = {"${PORT}": "{port}", "${PID}": "{pid}"}
_KEY = r"--?(?:(?:hf|hub|huggingface|api|auth|access|bearer|admin)[-_])*(?:api[-_]?key|key|token|secret|password)"
_CREDENTIAL = re.compile(rf"(?i){_KEY}")
_GIVEN = re.compile(rf"(?i)\s({_KEY})[= ]\S+")
_NAME = r"(\w*(?:KEY|TOKEN|SECRET|PASSW|CREDENTIAL)\w*)"
_SET = re.compile(rf"(?i)(^|(?<=\s)){_NAME}=(?!\$\{{env\.)(\S+)")
_FOR_CONTAINER = re.compile(rf"(?i)(--env=|-e){_NAME}=(?!\$\{{env\.)(\S+)")
_WHERE = re.compile(r"(https?://[^/]*)\$\{PORT\}(.*)")


def add(entry: Entry, draft: Draft) -> None:
    """The model, run by its own command; disabled when it is for something we cannot ask."""
    section = entry.section
    remote_model = section.text("useModelName")
    kind = entry.kind or _guessed(entry, remote_model, draft)
    chat = ["chat", "completion", *entry.extra] if entry.extra else None
    words, variables = _split(entry.command)
    words = _without_secrets(words, variables, entry, draft)
    draft.add_model(
        entry.model_id,
        disabled=kinds.unreachable(kind),
        backend="command",
        command=_ours(words, "command", entry, draft),
        stop=_ours(llama_command.read(section.text("cmdStop")).words, "stop", entry, draft),
        health=_health(entry, draft),
        url=_url(entry, draft),
        environment={**variables, **entry.environment},
        remote_model=remote_model,
        parallel=section.whole("concurrencyLimit") or PARALLEL,
        context=entry.context,
        capabilities=chat if kind == kinds.CHAT else kinds.capabilities(kind),
        idle_timeout=entry.idle_timeout,
        load_timeout=entry.load_timeout,
        description=entry.description,
        tools=entry.tools or None,
        aliases=entry.aliases,
    )
    program = words[0] if words else ""
    if program and "${" not in program and shutil.which(expanduser(program)) is None:  # noqa: PTH111 - keeps a ./
        draft.note(entry.place, f"{shown(program)} is not on the PATH of this machine; install it, or correct command")


def _split(command: Command) -> tuple[tuple[str, ...], dict[str, str]]:
    """The words of the command without the variables that a shell would set in front of it, and those."""
    words, variables = command.words, {}
    while words and (found := re.match(r"([A-Za-z_]\w*)=(.*)", words[0], re.DOTALL)):
        variables[found[1]] = found[2]
        words = words[1:]
    return words, variables


def _without_secrets(words: tuple[str, ...], variables: dict[str, str], entry: Entry, draft: Draft) -> tuple[str, ...]:
    """The words without credentials: a key for the server goes, and what stands in a variable becomes one of ours.

    A container takes over a variable that is only named to it.
    """
    place, found, dropped = f"{entry.place}.cmd", list[str](), list[str]()
    for name in [name for name in variables if SECRET.search(name)]:
        variables[name] = draft.secret(variables[name], name, place)
    left = list(words)
    while left:
        word = left.pop(0)
        if " " in word.strip():  # a line for a shell
            for given in _SET.finditer(word):
                variables[given[2]] = draft.secret(given[3], given[2], place)
            dropped += [given[1] for given in _GIVEN.finditer(word)]
            found.append(_GIVEN.sub(" ", _SET.sub(r"\1", word)))
        elif _CREDENTIAL.fullmatch(word.partition("=")[0]):
            dropped.append(word.partition("=")[0])
            if "=" not in word and left and not left[0].startswith("-"):
                left.pop(0)
        elif held := _SET.fullmatch(word) or _FOR_CONTAINER.fullmatch(word):
            variables[held[2]] = draft.secret(held[3], held[2], place)
            named = held[1] or (found and found[-1] in ("-e", "--env"))
            found += [f"{held[1]}{held[2]}"] if named else []
        else:
            found.append(word)
    if dropped:
        told = "its server is asked by nobody else and needs no key; a token for downloads belongs into environment"
        draft.note(entry.place, f"{', '.join(dropped)} left out; {told}")
    return tuple(found)


def _ours(words: tuple[str, ...], setting: str, entry: Entry, draft: Draft) -> list[str]:
    """The words as our setting has them; what is still a macro or a variable is named."""
    found = []
    for word in words:
        word = re.sub(r"(?<![${])\{([A-Za-z_]\w*)\}(?!\})", r"{{\1}}", word)
        for macro, placeholder in _MACROS.items():
            word = word.replace(macro, placeholder)
        found.append(word)
    if names := unknown(" ".join(found)):
        draft.note(entry.place, f"write out {', '.join(names)} in {setting}; nothing is put in its place here")
    return found


def _health(entry: Entry, draft: Draft) -> str:
    path = entry.section.text("checkEndpoint")
    if path == "none":
        draft.note(entry.place, "checkEndpoint none left out; /v1/models is asked, which any such server has")
        return "/v1/models"
    return path


def _url(entry: Entry, draft: Draft) -> str:
    """Where it listens, when that is not /v1 on the port it is given."""
    proxy = entry.section.text("proxy")
    if not proxy or "${PORT}" not in proxy:
        return base(proxy, entry.place, draft)
    found = _WHERE.fullmatch(proxy)
    path = found[2].rstrip("/") if found else ""
    return "" if path in ("", "/v1") else f"{path}/v1"


def _guessed(entry: Entry, remote_model: str, draft: Draft) -> str:
    kind = kinds.guess(entry.model_id, remote_model, *_named_models(entry.command))
    if kind != kinds.CHAT:
        draft.note(entry.place, f"taken for a model for {kind}, by its name")
    return kind


def _named_models(command: Command) -> list[str]:
    """Words of a command that tell what it serves: the program, its module, the model."""
    words = [w for w in (command.title, *command.options) if not re.match(r"-|/[^:]*:|\d", w)]
    vectors = {"--embedding", "--embeddings", "--is-embedding", "pooling"} & set(command.options)
    return [*words, "embedding"] if vectors else words
