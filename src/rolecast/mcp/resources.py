"""The resources: what a gateway is at the moment. No secret is among them, and no prompt."""

from typing import Any

from rolecast.mcp.api import Api
from rolecast.mcp.catalogue import Offer
from rolecast.mcp.jsonrpc import RESOURCE_NOT_FOUND, RpcError

SCHEMES = ("conductor://", "rolecast://")
"""The second is the same."""
JSON = "application/json"
SHOWN = ("id", "state", "backend", "aliases", "capabilities", "context", "parallel", "pinned", "stand_in")
"""What the configuration tells of a model; its source and the address of its server may hold what is private."""


def _entry(name: str, title: str, description: str) -> dict[str, Any]:
    uri = f"{SCHEMES[0]}{name}"
    return {"uri": uri, "name": name, "title": title, "description": description, "mimeType": JSON}


def _template(name: str, place: str, title: str, description: str) -> dict[str, Any]:
    uri = f"{SCHEMES[0]}{place}"
    return {"uriTemplate": uri, "name": name, "title": title, "description": description, "mimeType": JSON}


LISTED = [
    _entry("models", "Models", "The models: what they are for, whether they are loaded, the memory they take."),
    _entry("config", "Configuration", "Roles, categories and settings of models, without anything secret."),
    _entry("health", "Health", "Whether the gateway is well, and what is loaded."),
    _entry("engines", "Tasks", "The tasks with their options, and who is asked first."),
]
TEMPLATES = [
    _template("model", "models/{name}", "A model", "One entry of the list of models."),
    _template("engine", "engines/{category}", "A task", "One task with its options."),
]


async def read(uri: str, api: Api, offer: Offer) -> Any:
    """What is there. Raises RpcError where nothing is, RolecastError."""
    scheme = next((each for each in SCHEMES if uri.startswith(each)), None)
    place, _, name = uri.removeprefix(scheme or "").partition("/")
    if scheme is not None and place == "models":
        listed = await api.get("/conductor/models")
        found = [each for each in listed if each["technical_name"] == name]
        if not name or found:
            return found[0] if name else listed
    if scheme is not None and place == "engines":
        listed = await engines(api, offer)
        found = [each for each in listed if each["category"] == name]
        if not name or found:
            return found[0] if name else listed
    if scheme is not None and place == "health" and not name:
        return await api.get("/health")
    if scheme is not None and place == "config" and not name:
        return await config(api)
    raise RpcError(RESOURCE_NOT_FOUND, "Resource not found", {"uri": uri[:500]})


async def engines(api: Api, offer: Offer) -> list[dict[str, Any]]:
    """The tasks that somebody answers."""
    info = (await api.get("/categories"))["category_info"]
    found = []
    for category in offer.categories:
        task = offer.tasks.get(category)
        options = (
            {name: {"kind": o.kind, "default": o.default, "values": o.values} for name, o in task.options.items()}
            if task
            else {}
        )
        told = {"title": task.title, "description": task.description} if task else {}
        found.append({"category": category, **told, **info.get(category, {}), "options": options})
    return found


async def config(api: Api) -> dict[str, Any]:
    """The configuration that applies, as far as it is nobody's secret."""
    status, categories = await api.get("/admin/status"), await api.get("/categories")
    models = [{name: each[name] for name in SHOWN if each.get(name) is not None} for each in status["models"]]
    return {"roles": status["roles"], "categories": categories["category_info"], "models": models}
