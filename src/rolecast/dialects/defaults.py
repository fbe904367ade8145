"""What a variant of a model puts into a request that says nothing itself, in words of no dialect.

In the bodies that pass from clients to workers as they are, the worker's family puts it (`Family.fill`).
"""

from collections.abc import Iterable

from msgspec.structs import asdict, replace

from rolecast.values import Chat, Completion, Defaults, Message, Sampling, Words

LEADING = ("system", "developer")
"""Roles of messages that a system prompt is in."""


def filled(words: Words, defaults: Defaults) -> Words:
    """The request with what it does not say."""
    if not isinstance(words, Chat | Completion):
        return words
    sampling = replace(words.sampling, **dict(missing(words.sampling, defaults.sampling)))
    extra = {**defaults.extra, **words.extra}
    if isinstance(words, Completion):
        return replace(words, sampling=sampling, extra=extra)
    return replace(words, sampling=sampling, extra=extra, messages=_begun(words, defaults))


def missing(said: Sampling, defaults: Sampling) -> Iterable[tuple[str, object]]:
    """The settings that only the defaults have."""
    theirs = asdict(defaults)
    return ((name, theirs[name]) for name, value in asdict(said).items() if value in (None, ()))


def _begun(chat: Chat, defaults: Defaults) -> tuple[Message, ...]:
    """The defaults' messages between the system messages that the chat begins with and its others."""
    messages = chat.messages
    led = next((i for i, message in enumerate(messages) if message.role not in LEADING), len(messages))
    system = (Message("system", defaults.system),) if defaults.system and not led else messages[:led]
    return (*system, *defaults.messages, *messages[led:])
