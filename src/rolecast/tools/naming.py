"""What models call the tools of servers: `server__tool`, in letters that every model and client takes. Pure."""

import re
from collections.abc import Container
from hashlib import blake2b

LONGEST = 64
_ODD = re.compile(r"[^A-Za-z0-9_-]+")


def name_of(server: str, tool: str, taken: Container[str]) -> str:
    """The name of a tool that nobody else has. Odd characters become `_`; the same tool has the same name always."""
    plain = f"{server}__{_ODD.sub('_', tool)}"
    if plain == f"{server}__{tool}" and len(plain) <= LONGEST and plain not in taken:
        return plain
    digest = blake2b(f"{server}\0{tool}".encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{plain[: LONGEST - 9]}_{digest}"
