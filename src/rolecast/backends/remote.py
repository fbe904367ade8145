"""A server somewhere else that speaks the OpenAI dialect: another gateway, llama-server, vLLM, a cloud.

Only turns a configured URL and key into an address. Sends nothing and checks nothing over the network.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from rolecast.backends import SLOTS_ELSEWHERE
from rolecast.backends.plain import Plain
from rolecast.config import secrets
from rolecast.config.about import COMMAND, RUN_HERE, WEIGHTS, About, Remark, no_copies
from rolecast.config.schema import Model
from rolecast.errors import ConfigError
from rolecast.values import Endpoint, Failure, Listen

DEFAULT_PORTS = {"http": 80, "https": 443}
# Common servers close a connection after 5 s without a request; leaving first keeps their close from meeting
# our next request. What a server says in `Keep-Alive` is heeded besides.
IDLE_S = 4.0


NAME = f"rolecast-{token_hex(8)}"
"""How this process names itself to remotes, in `Via`: a request that comes back with it goes in a circle."""


def is_base_of(model: Model) -> Iterator[Remark]:
    """What is wrong with the address of a model."""
    if model.enabled and model.url and not is_base(model.url):
        yield "url", "expected http://HOST[:PORT]/v1 or https://HOST/v1, without user, query or spaces"


class OpenAIRemote(Plain):
    """`backend: openai`."""

    about = About(
        slots=SLOTS_ELSEWHERE,
        needs={"url": "give the base URL of the remote, such as http://127.0.0.1:11434/v1"},
        unused=(*WEIGHTS, *RUN_HERE, *COMMAND, "script"),
        problems=is_base_of,
        doubts=no_copies,
    )
    credential = "Authorization: Bearer {}"
    """The header line that carries the key."""
    usage: Literal["inject", "always"] = "inject"
    renames: Mapping[str, str] = {}
    spawns = False

    def plan(self, model_id: str, model: Model, weights: Path | None, listen: Listen) -> Endpoint:
        """Where the remote is. Raises ConfigError for a bad URL or a key that is not there."""
        headers, via = authorization(self.credential, model_id, model.key), f"via: 1.1 {NAME}\r\n".encode()
        if model.url.startswith("unix:/"):
            path = model.url.removeprefix("unix:")
            return Endpoint(uds=path, health_path="/v1/models", headers=headers, via=via, idle_s=IDLE_S)
        url = address(model_id, model.url)
        base = url.path.rstrip("/")
        return Endpoint(
            host=url.hostname or "",
            port=url.port or DEFAULT_PORTS[url.scheme],
            tls=url.scheme == "https",
            base=base,
            health_path=f"{base}/models",
            headers=headers,
            via=via,
            idle_s=IDLE_S,
        )

    def tells_apart(self, model: Model) -> bool:
        """Clouds do, which are asked over TLS. A server in the same house may be any."""
        return model.url.startswith("https://")

    def missing(self, model: Model) -> str | None:
        """Nothing needs to be installed; only the variable of the key must exist."""
        return secrets.unset({}, model.key)

    def explain(self, status: int, said: Failure) -> None:
        """A remote belongs to whoever configured it, and says what it wants to."""
        return


def is_base(url: str) -> bool:
    """Whether it looks like the base URL of a server."""
    if url.startswith("unix:/"):
        return True
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    clean = re.fullmatch(r"[!-~]+", url) is not None and "@" not in parts.netloc
    return whole and clean and not parts.query and not parts.fragment


def authorization(credential: str, model_id: str, key: str) -> bytes:
    """The header line that carries the key, '' without one. Raises ConfigError when it is not there."""
    if not key:
        return b""
    secret = secrets.read(key, f"models.{model_id}.key", sent=True)
    return f"{credential.format(secret.value)}\r\n".encode()


def address(model_id: str, text: str) -> SplitResult:
    """The parts of a URL that can be asked. Raises ConfigError that says what is wrong with it."""
    place = f"models.{model_id}.url"
    if not text:
        raise ConfigError([f"{place}: is missing; give the address with its /v1, as http://host:8080/v1"])
    # urlsplit drops line breaks and tabs without a word, so they are looked for first.
    if not text.isascii() or any(c <= " " or c == "\x7f" for c in text):
        raise ConfigError([f"{place}: has a space, control or non-ASCII character; write it percent-encoded"])
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as e:
        raise ConfigError([f"{place}: is not a URL ({e}); write it as http://host:8080/v1"]) from None
    if url.username is not None or url.password is not None:
        raise ConfigError([f"{place}: has a user name in it; put the credential into `key` instead"])
    if url.scheme not in DEFAULT_PORTS or not url.hostname or port == 0:
        raise ConfigError([f"{place}: {text!r} needs http:// or https:// and a host, as http://host:8080/v1"])
    if url.query or url.fragment:
        raise ConfigError([f"{place}: has a query or fragment; give only scheme, host, port and path"])
    return url
