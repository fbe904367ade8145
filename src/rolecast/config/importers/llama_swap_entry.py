"""One model of a llama-swap file: what its entry says besides the command.

Knows names, times and what a model is said to do. Knows nothing of the server that runs it.
"""

import re

import msgspec

from rolecast.config.importers import llama_command
from rolecast.config.importers.draft import Draft
from rolecast.config.importers.llama_command import Command
from rolecast.config.importers.macros import unknown
from rolecast.config.importers.section import Section

SECRET = re.compile(r"(?i)key|token|secret|passw|credential")
"""In the name of a variable: its value is one."""


class Entry(msgspec.Struct, frozen=True):
    """A model as the file has it; `section` holds what is left to be read. Times are in seconds."""

    model_id: str
    section: Section
    command: Command
    port: int | None
    """What `${PORT}` is in its command; None when the command names a port of its own."""
    idle_timeout: float
    load_timeout: float | None
    description: str
    aliases: list[str]
    tools: bool
    extra: list[str]
    """What it takes besides text."""
    kind: str
    """What it is for; '' = the file does not say."""
    context: int | None
    environment: dict[str, str]
    """Variables of its process."""

    @property
    def place(self) -> str:
        """Where it stands in the file."""
        return self.section.place


def read(
    model_id: str, section: Section, port: int | None, idle: float, load_timeout: float | None, draft: Draft
) -> Entry:
    """The entry of that id; `idle` is for one without a `ttl` of its own."""
    ttl = section.number("ttl")
    title, about = section.text("name"), section.text("description")
    told = section.section("capabilities")
    takes, gives = told.texts("in"), told.texts("out")
    made = "images" if "image" in gives else "speech" if "audio" in gives else ""
    if section.peek("unlisted") is False:
        section.take("unlisted")
    return Entry(
        model_id=model_id,
        section=section,
        command=llama_command.read(section.text("cmd")),
        port=port,
        idle_timeout=max(0, idle) if ttl is None or ttl < 0 else ttl,
        load_timeout=load_timeout,
        description=": ".join(x for x in (title, about) if x),
        aliases=_aliases(section),
        tools=told.flag("tools") or False,
        extra=[word for word, kind in (("vision", "image"), ("audio", "audio")) if kind in takes],
        kind="rerank" if told.flag("reranker") else made,
        context=told.whole("context"),
        environment=_variables(section, draft),
    )


def _variables(section: Section, draft: Draft) -> dict[str, str]:
    """`NAME=value` lines; what may be a secret becomes a variable of ours, and so does `${env.NAME}`."""
    found: dict[str, str] = {}
    for text in section.texts("env"):
        name, _, value = text.partition("=")
        if whole := re.fullmatch(r"\$\{env\.(\w+)\}", value):
            found[name] = f"env:{whole[1]}"
        elif value and SECRET.search(name):
            found[name] = draft.secret(value, name, f"{section.place}.env")
        else:
            found[name] = value
    if names := unknown(" ".join(value for value in found.values() if not value.startswith("env:"))):
        draft.note(section.place, f"write out {', '.join(names)} in environment; nothing is put in its place here")
    return {name: value for name, value in found.items() if name}


def _aliases(section: Section) -> list[str]:
    """Plain names, or mappings with an id; what else such a mapping says is only for lists."""
    value = section.peek("aliases")
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        plain = [str(item) for item in value if isinstance(item, str)]
        section.put("aliases", [item for item in value if not isinstance(item, str)])
        return [*plain, *(name for item in section.sections("aliases", "id") if (name := item.text("id")))]
    return section.texts("aliases")
