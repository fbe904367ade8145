"""Any other server of a llama-swap file, and its peers: used where they listen, once somebody started them."""

import re
from urllib.parse import urlsplit

from rolecast.config.importers import kinds
from rolecast.config.importers.draft import Draft
from rolecast.config.importers.llama_command import Command
from rolecast.config.importers.llama_swap_entry import Entry
from rolecast.config.importers.macros import unknown
from rolecast.config.importers.section import shown

_PARALLEL = 10
"""llama-swap's own limit of requests at once to a model."""


def add(entry: Entry, draft: Draft) -> None:
    """A remote; disabled while nobody can say where it listens, or when it is for something we cannot ask."""
    section, place = entry.section, entry.place
    remote_model = section.text("useModelName")
    kind = entry.kind or _guessed(entry, remote_model, draft)
    url, why_not = _address(entry, draft)
    chat = ["chat", "completion", *entry.extra] if entry.extra else None
    draft.add_model(
        entry.model_id,
        disabled=kinds.unreachable(kind) or why_not,
        backend="openai",
        url=url,
        remote_model=remote_model,
        parallel=section.whole("concurrencyLimit") or _PARALLEL,
        context=entry.context,
        capabilities=chat if kind == kinds.CHAT else kinds.capabilities(kind),
        description=entry.description,
        tools=entry.tools or None,
        aliases=entry.aliases,
    )
    if section.peek("ttl"):
        draft.note(place, "ttl left out; a server that is not started here is not stopped either")


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


def _address(entry: Entry, draft: Draft) -> tuple[str, str]:
    """The base URL, and why it cannot be asked yet: '' with a note when somebody only has to start the server."""
    command, proxy = entry.command, entry.section.text("proxy")
    fixed = bool(proxy) and "${PORT}" not in proxy
    if not fixed and entry.port:
        proxy = (proxy or "http://127.0.0.1:${PORT}").replace("${PORT}", str(entry.port))
    url = base(proxy, entry.place, draft)
    if command.fault:
        return url, command.fault
    if not command.program:
        return url, "" if url else "an entry needs a cmd or a proxy"
    start = (
        f"cmd left out: only llama-server can be started here, not {shown(command.title)}; start the server yourself"
    )
    if fixed and url:
        draft.note(entry.place, start)
        return url, ""
    where = f"; url expects it on port {entry.port}" if entry.port else ""
    return url, f"{start} and enable the model{where}"


def base(address: str, place: str, draft: Draft) -> str:
    """The base URL behind an address to which llama-swap adds the path of a request, which begins with /v1."""
    address = draft.address(address, place).rstrip("/")
    if not address or unknown(address):
        if address:
            draft.note(place, f"url left out; write out {', '.join(unknown(address))}")
        return ""
    try:
        path = urlsplit(address).path
    except ValueError:
        return address
    if path.endswith("/v1"):
        draft.note(place, "proxy already ends in /v1; it is taken as the base URL, without a second one")
        return address
    return f"{address}/v1"
