"""JSON-RPC as text in, text out: for programs that have the gateway in their own process, and in tests.

No handshake is needed, and `jsonrpc` may be missing, as in the example of Conductor. The other transports are the
SDK's, over the same methods.
"""

import asyncio
from typing import Any

import msgspec

from rolecast.errors import UNREADABLE
from rolecast.mcp.api import Api
from rolecast.mcp.identity import CONDUCTOR, INSTRUCTIONS, Identity
from rolecast.mcp.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, RpcError
from rolecast.mcp.methods import Methods

VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Protocol versions; a client that asks for none of them is told the first, which is Conductor's."""
MOST = 100
"""So many requests may come in one batch."""


class Dispatcher:
    """Answers texts for one caller."""

    def __init__(self, api: Api, identity: Identity = CONDUCTOR) -> None:
        self._api = api
        self._identity = identity
        self._methods = Methods()

    async def handle(self, text: str | bytes) -> str:
        """The answer to a request or a batch of them; '' where a notification needs none. Never raises."""
        try:
            asked = msgspec.json.decode(text)
        except UNREADABLE as error:
            return _text(_error(None, RpcError(PARSE_ERROR, "Parse error", str(error))))
        if not isinstance(asked, list):
            answer = await self._one(asked)
            return "" if answer is None else _text(answer)
        if not asked or len(asked) > MOST:
            return _text(_error(None, RpcError(INVALID_REQUEST, f"A batch has from 1 to {MOST} requests.")))
        answers = [each for each in await asyncio.gather(*map(self._one, asked)) if each is not None]
        return _text(answers) if answers else ""

    async def _one(self, asked: Any) -> dict[str, Any] | None:
        number = asked.get("id") if isinstance(asked, dict) else None
        if not isinstance(asked, dict) or not isinstance(asked.get("method"), str) or not _is_id(number):
            valid = number if _is_id(number) else None
            return _error(
                valid, RpcError(INVALID_REQUEST, "A request is an object with `method`, a text, and an `id`.")
            )
        try:
            result = await self._result(asked["method"], asked.get("params"))
        except RpcError as error:
            return None if "id" not in asked else _error(number, error)
        except Exception as error:
            if "id" not in asked:
                return None
            return _error(number, RpcError(INTERNAL_ERROR, "Internal error", type(error).__name__))
        return None if "id" not in asked else {"jsonrpc": "2.0", "id": number, "result": result}

    async def _result(self, method: str, params: Any) -> dict[str, Any]:
        if params is not None and not isinstance(params, dict):
            raise RpcError(INVALID_PARAMS, "`params` must be an object.")
        if method == "initialize":
            return self._initialized(params or {})
        if method in ("ping", "initialized") or method.startswith("notifications/"):
            return {}
        return await self._methods.call(method, self._api, params)

    def _initialized(self, params: dict[str, Any]) -> dict[str, Any]:
        wanted = params.get("protocolVersion")
        return {
            "protocolVersion": wanted if wanted in VERSIONS else VERSIONS[0],
            "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "completions": {}},
            "serverInfo": {"name": self._identity.name, "version": self._identity.version},
            "instructions": INSTRUCTIONS,
        }


def _is_id(number: Any) -> bool:
    return number is None or (isinstance(number, str | int | float) and not isinstance(number, bool))


def _error(number: Any, error: RpcError) -> dict[str, Any]:
    told: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        told["data"] = error.data
    return {"jsonrpc": "2.0", "id": number, "error": told}


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
