"""A server of a llama-swap file that no command starts, and its peers: used where they listen."""

from urllib.parse import urlsplit

from rolecast.config.importers import kinds
from rolecast.config.importers.draft import Draft
from rolecast.config.importers.llama_swap_entry import Entry
from rolecast.config.importers.macros import unknown

PARALLEL = 10
"""llama-swap's own limit of requests at once to a model."""


def add(entry: Entry, draft: Draft) -> None:
    """A remote; disabled while nobody can say where it listens, or when it is for something we cannot ask."""
    section, place = entry.section, entry.place
    remote_model = section.text("useModelName")
    kind = entry.kind or kinds.guess(entry.model_id, remote_model)
    if kind != kinds.CHAT and not entry.kind:
        draft.note(place, f"taken for a model for {kind}, by its name")
    url = base(section.text("proxy"), place, draft)
    why_not = entry.command.fault or ("" if url else "an entry needs a cmd or a proxy")
    chat = ["chat", "completion", *entry.extra] if entry.extra else None
    draft.add_model(
        entry.model_id,
        disabled=kinds.unreachable(kind) or why_not,
        backend="openai",
        url=url,
        remote_model=remote_model,
        parallel=section.whole("concurrencyLimit") or PARALLEL,
        context=entry.context,
        capabilities=chat if kind == kinds.CHAT else kinds.capabilities(kind),
        description=entry.description,
        tools=entry.tools or None,
        aliases=entry.aliases,
    )
    if section.peek("ttl"):
        draft.note(place, "ttl left out; a server that is not started here is not stopped either")


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
