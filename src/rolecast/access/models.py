"""Which models a key with a list may reach. Pure: patterns and a configuration's names in, models out.

A name in the list stands for the models behind it: a role for all its models, an alias or a variant for its one. So who
may ask for `fast` may ask for each of its models by its own name, too: the answer is the same model's.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from rolecast.config.names import LATEST, Name, untagged


def matches(pattern: str, name: str) -> bool:
    """Whether the pattern, with `*` for any part, is the name. Linear in both."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == name
    *middle, last = rest
    if not (name.startswith(first) and name.endswith(last) and len(name) >= len(first) + len(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def reached(patterns: Sequence[str], names: Mapping[str, Name]) -> frozenset[str]:
    """The ids of all models behind the names that fit, and such names themselves as are judged by nothing else.

    `auto` is nobody's name: it chooses among these.
    """
    plain = [untagged(pattern) if pattern.endswith(LATEST) else pattern for pattern in patterns]
    fits = {*patterns, *plain}
    named = (name for name in names.values() if any(matches(each, name.name) for each in fits))
    return frozenset(each for name in named for each in ((name.name,) if name.guarded else name.models))


def list_id(patterns: Sequence[str]) -> str:
    """A short name for a list: keys with the same list share it, and so the plans that are made for them."""
    return hashlib.blake2s("\0".join(patterns).encode(), digest_size=8).hexdigest()


def narrowed(name: Name, allowed: Callable[[str], bool]) -> Name | None:
    """The name with those of its models that are allowed; None without any."""
    if name.guarded:
        return name if name.models and allowed(name.name) else None
    models = tuple(filter(allowed, name.models))
    if len(models) == len(name.models):
        return name if models else None
    return msgspec.structs.replace(name, models=models, equals=()) if models else None
