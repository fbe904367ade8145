"""The methods that Conductor has besides those of MCP: generation, models, sessions, system."""

import time
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from rolecast.errors import RolecastError
from rolecast.mcp import resources
from rolecast.mcp.api import Api
from rolecast.mcp.calls import Tell, generated
from rolecast.mcp.jsonrpc import INVALID_PARAMS, RpcError

Params = Mapping[str, Any]
OPERATIONS = ("get", "reload", "validate")


async def _generate(api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
    """An answer; its length is told on the way to whoever wants that."""
    _text(params, "prompt")
    beside = {name: value for name, value in params.items() if name != "_meta"}
    found = (await generated(api, beside, tell)).data
    return {"metadata": {}, **found}


async def _models(api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
    return {"models": await api.get("/conductor/models")}


async def _status(api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
    name = _text(params, "technical_name")
    for model in await api.get("/conductor/models"):
        if model["technical_name"] == name:
            return dict(model)
    raise RpcError(INVALID_PARAMS, f"There is no model {name[:100]!r}; models/list says which there are.")


async def _load(api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
    return await _changed(api, "load", _text(params, "technical_name"))


async def _unload(api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
    return await _changed(api, "unload", _text(params, "technical_name"))


async def _changed(api: Api, how: str, name: str) -> dict[str, Any]:
    found = await api.post(f"/admin/{how}", {"model": name})
    return {"technical_name": found["model"], "status": found["state"], "success": True}


async def _create_session(api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
    """A conversation. Where the gateway keeps none before something was said in it, a name for one."""
    name = _text(params, "session_id") if params.get("session_id") else ""
    try:
        return {"session_id": (await api.post("/sessions", {"session_id": name} if name else {}))["session_id"]}
    except RolecastError as error:
        if error.status not in (404, 405):
            raise
    return {"session_id": name or uuid.uuid4().hex}


async def _sessions(api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
    return dict(await api.get("/sessions"))


async def _clear(api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
    """One conversation is forgotten, or, where none is named, all of this key."""
    if params.get("session_id"):
        names = [_text(params, "session_id")]
    else:
        names = (await api.get("/sessions"))["sessions"]
        names = [each["session_id"] if isinstance(each, dict) else each for each in names]
    for name in names:
        await api.delete(f"/sessions/{quote(name, safe='')}")
    return {"cleared": names, "success": True}


async def _health(api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
    health, models = await api.get("/health"), await api.get("/conductor/models")
    loaded = [each["technical_name"] for each in models if each["status"] == "loaded"]
    failed = [each["technical_name"] for each in models if each["status"] == "error"]
    categories = (await api.get("/categories"))["categories"]
    return {
        "status": "degraded" if failed else "healthy" if loaded else "no_models_loaded",
        "loaded_models": loaded,
        "error_models": failed,
        "total_memory_gb": health.get("total_memory_gb", 0.0),
        "engines_active": len(categories),
        "timestamp": round(time.time(), 3),
    }


async def _stats(api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
    stats, categories = await api.get("/stats"), await api.get("/categories")
    models = await api.get("/conductor/models")
    return {
        "memory": stats["memory_usage"],
        "activity": stats["activity"],
        "registry": {each["technical_name"]: each for each in models},
        "engines": categories["categories"],
    }


async def _config(api: Api, params: Params, tell: Tell | None) -> dict[str, Any]:
    operation = params.get("operation") or "get"
    if operation == "get":
        return {"config": await resources.config(api)}
    if operation == "reload":
        return dict(await api.post("/reload-config", {}))
    if operation == "validate":
        status = await api.get("/admin/status")
        problems = [*status.get("problems", []), *((status.get("reload") or {}).get("problems") or [])]
        return {"valid": not problems, "problems": problems}
    raise RpcError(INVALID_PARAMS, f"`operation` must be one of {', '.join(OPERATIONS)}.")


def _text(params: Params, name: str) -> str:
    found = params.get(name)
    if not isinstance(found, str) or not found:
        raise RpcError(INVALID_PARAMS, f"`{name}` is missing: a text is needed.")
    return found


METHODS = {
    "generation/generate": _generate,
    "generation/stream": _generate,
    "models/list": _models,
    "models/load": _load,
    "models/unload": _unload,
    "models/status": _status,
    "sessions/create": _create_session,
    "sessions/list": _sessions,
    "sessions/clear": _clear,
    "system/health": _health,
    "system/stats": _stats,
    "system/config": _config,
}
