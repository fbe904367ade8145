"""`discover`: servers of models that run on this machine, or at a given address, and how to configure what they have.

Asks for their lists, and with Ollama for what each model can do. Changes nothing; what it prints is for the file.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from rolecast.cli import output
from rolecast.cli.options import Json
from rolecast.values import LOOPBACK

if TYPE_CHECKING:
    import httpx2

    from rolecast.backends.offered import Offered

USUAL = {
    11434: "Ollama",
    1234: "LM Studio",
    8080: "llama.cpp",
    8000: "vLLM",
    8001: "vLLM",
    1337: "Jan",
    5001: "KoboldCpp",
    52415: "exo",
}
"""Where such servers listen unless they are told otherwise, and whose port it is."""
TIMEOUT_S = 2.0
MOST_SHOWN = 50
"""So many models of one server are asked about one by one."""
Addresses = Annotated[
    list[str] | None,
    typer.Argument(metavar="[URL]...", help="Addresses to ask, in place of the usual ports of this machine."),
]
Key = Annotated[str, typer.Option("--key", help="What those servers want as key.", envvar="ROLECAST_DISCOVER_KEY")]


class Server(msgspec.Struct, frozen=True):
    """One that answered: `backend` is how to ask it, `url` what the configuration calls it."""

    backend: str
    url: str
    models: "tuple[Offered, ...]"


def discover(addresses: Addresses = None, key: Key = "", as_json: Json = False) -> None:
    """Find servers of models on this machine, and show how to configure what they have."""
    found = [server for base in addresses or _usual() if (server := ask(base.rstrip("/"), key)) is not None]
    if as_json:
        output.print_json({"servers": found})
        return
    if not found:
        where = "there" if addresses else f"on the usual ports ({', '.join(map(str, USUAL))}) of this machine"
        output.say(f"No server of models answers {where}. Name one: [bold]rolecast discover http://HOST:PORT[/]")
        raise typer.Exit(1)
    rows = output.table("Server", "Backend", "Model", "Context", "Can", right=("Context",), wrap=("Can",))
    for server in found:
        for one in server.models:
            cells = (server.url, server.backend, one.name, one.context or "", ", ".join(one.capabilities))
            rows.add_row(*map(output.plain, cells))
    output.show(rows)
    output.say("\n[dim]For rolecast.yaml:[/]\n")
    output.raw(snippet(found))


def snippet(servers: list[Server]) -> str:
    """The models as a configuration has them; a name that two servers have is told apart by its backend."""
    lines, taken = ["models:"], set[str]()
    for server in servers:
        for one in server.models:
            model_id = one.name if one.name not in taken else f"{server.backend}/{one.name}"
            if model_id in taken:
                continue
            taken.add(model_id)
            lines += [f"  {_quoted(model_id)}:", f"    backend: {server.backend}", f"    url: {server.url}"]
            if model_id != one.name:
                lines.append(f"    remote_model: {_quoted(one.name)}")
            if one.context:
                lines.append(f"    context: {one.context}")
            words = [word for word in one.capabilities if word != "tools"] or ["embeddings"] * one.embeds
            if words and set(words) != {"chat", "completion"}:
                lines.append(f"    capabilities: [{', '.join(words)}]")
            if "tools" in one.capabilities:
                lines.append("    tools: true")
    return "\n".join(lines)


def ask(base: str, key: str = "") -> Server | None:
    """What runs at that address; None when nobody answers, or nobody who knows models."""
    import httpx2

    from rolecast.backends import offered

    root = base.removesuffix("/v1").removesuffix("/api")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, headers=headers, follow_redirects=False) as client:
        if (body := _get(client, f"{root}/api/tags")) is not None and not _is_gateway(client, root):
            return Server("ollama", root, tuple(_shown(client, root, one) for one in offered.listed(body)))
        if (body := _get(client, f"{root}/v1/models")) is None:
            return None
        return Server("openai", f"{root}/v1", offered.listed(body))


def _usual() -> list[str]:
    """The usual ports of this machine, but for those of a gateway that runs here."""
    import os

    from rolecast import statefile
    from rolecast.backends.ollama import usual_url

    state = statefile.running()
    ours = {each.url for each in state.listeners} | {state.url} if state else set()
    bases = [usual_url(os.environ), *(f"http://{LOOPBACK}:{port}" for port in USUAL)]
    return [base for base in dict.fromkeys(bases) if base not in ours]


def _is_gateway(client: "httpx2.Client", root: str) -> bool:
    """Whether it is one of these gateways, which speaks OpenAI's wire better than Ollama's."""
    body = _get(client, f"{root}/v1/models")
    return body is not None and b'"owned_by":"rolecast"' in body


def _shown(client: "httpx2.Client", root: str, one: "Offered") -> "Offered":
    from rolecast.backends import offered

    body = _post(client, f"{root}/api/show", {"model": one.name})
    return one if body is None else offered.shown(one.name, body)


def _get(client: "httpx2.Client", url: str) -> bytes | None:
    return _answered(client, "GET", url, None)


def _post(client: "httpx2.Client", url: str, body: Any) -> bytes | None:
    return _answered(client, "POST", url, body)


def _answered(client: "httpx2.Client", method: str, url: str, body: Any) -> bytes | None:
    import httpx2

    try:
        answer = client.request(method, url, json=body) if body is not None else client.request(method, url)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError):
        return None
    return answer.content if answer.status_code == 200 else None


def _quoted(name: str) -> str:
    """A name as YAML has it."""
    plain = re.fullmatch(r"[A-Za-z_][\w./-]*", name) and name.lower() not in ("yes", "no", "on", "off", "true", "false")
    return name if plain and name.lower() != "null" else f'"{name}"'
