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


def over(upper: Defaults | None, lower: Defaults) -> Defaults | None:
    """The one with what it does not say taken from the other; None = neither says anything."""
    if lower == Defaults():
        return upper
    if upper is None:
        return lower
    sampling = replace(upper.sampling, **dict(missing(upper.sampling, lower.sampling)))
    return replace(upper, sampling=sampling, extra={**lower.extra, **upper.extra})


def unpenalized(defaults: Defaults) -> Defaults:
    """Without penalties of repetition, which make a model avoid what a form wants again and again."""
    free = replace(defaults.sampling, repetition_penalty=None, presence_penalty=None, frequency_penalty=None)
    return replace(defaults, sampling=free)


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
