"""Which conversation a request belongs to, as a digest: alike for its turns, and for nobody else to be read.

The key of the digest lives as long as the process, so a prompt cannot be guessed from one, not even by trying.
"""

import secrets
from hashlib import blake2b

from rolecast.routing.facts import clipped, opening
from rolecast.values import Caller, Chat

HEAD, TAIL = 4096, 1024
"""Of what a conversation begins with so much is looked at, and its length."""
_SECRET = secrets.token_bytes(32)
_NO_DIGITS = dict.fromkeys(map(ord, "0123456789"))
"""A system prompt may tell the time, which is another one at the next turn."""


def of_session(caller: Caller, session: str) -> str:
    """That of a session, which the caller named."""
    return _digest("session", caller.key, session)


def of_chat(caller: Caller, chat: Chat) -> str:
    """That of a chat which names none: by whose it is, its system prompt and what the user said first."""
    system, first = opening(chat)
    return _digest("chat", caller.key, clipped(system, HEAD, TAIL).translate(_NO_DIGITS), first)


def _digest(*parts: str) -> str:
    found = blake2b(key=_SECRET, digest_size=12)
    for part in parts:
        found.update(b"%d:" % len(part))
        found.update(clipped(part, HEAD, TAIL).encode("utf-8", "surrogatepass"))
    return found.hexdigest()
