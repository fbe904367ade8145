"""The methods behind the official SDK, which speaks the protocol in all its versions."""

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from rolecast.mcp.api import Api
from rolecast.mcp.calls import Tell
from rolecast.mcp.identity import INSTRUCTIONS, ROLECAST, Identity
from rolecast.mcp.jsonrpc import INVALID_PARAMS, RESOURCE_NOT_FOUND, RpcError
from rolecast.mcp.methods import Methods

Context = ServerRequestContext[Any, Any]
ApiOf = Callable[[Context], Api]
"""The gateway for whoever sent a request."""

SPEC: Mapping[str, tuple[type[types.RequestParams], type[types.Result]]] = {
    "tools/list": (types.PaginatedRequestParams, types.ListToolsResult),
    "tools/call": (types.CallToolRequestParams, types.CallToolResult),
    "resources/list": (types.PaginatedRequestParams, types.ListResourcesResult),
    "resources/templates/list": (types.PaginatedRequestParams, types.ListResourceTemplatesResult),
    "resources/read": (types.ReadResourceRequestParams, types.ReadResourceResult),
    "prompts/list": (types.PaginatedRequestParams, types.ListPromptsResult),
    "prompts/get": (types.GetPromptRequestParams, types.GetPromptResult),
    "completion/complete": (types.CompleteRequestParams, types.CompleteResult),
}
"""How the protocol's own methods are checked, and what they give; all others are their own affair."""


def make_server(api_of: ApiOf, identity: Identity = ROLECAST) -> "Server[Any]":
    """A server of the SDK with all methods."""
    server: Server[Any] = Server(
        identity.name, version=identity.version, title=identity.title, instructions=INSTRUCTIONS
    )
    methods = Methods()
    for name in methods.table:
        takes, gives = SPEC.get(name, (types.RequestParams, None))
        server.add_request_handler(name, takes, _handler(name, methods, api_of, gives))
    return server


def _handler(name: str, methods: Methods, api_of: ApiOf, gives: type[types.Result] | None) -> Any:
    async def handle(ctx: Context, _: Any) -> Any:
        try:
            found = await _while_there(ctx, methods, name, api_of(ctx))
            return found if gives is None else gives.model_validate(found, by_name=False)
        except RpcError as error:
            code = error.code
            if code == RESOURCE_NOT_FOUND and ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
                code = INVALID_PARAMS
            raise MCPError(code, error.message, error.data) from None

    return handle


async def _while_there(ctx: Context, methods: Methods, name: str, api: Api) -> dict[str, Any]:
    """The result; the work ends when the client of an HTTP request has gone, who could not be told any more."""
    gone: anyio.Event | None = ctx.request.scope.get(GONE) if ctx.request is not None else None
    params = {key: value for key, value in (ctx.params or {}).items() if key != "_meta"}
    result: dict[str, Any] = {}

    async def leave() -> None:
        assert gone is not None
        await gone.wait()
        group.cancel_scope.cancel()

    failed: RpcError | None = None
    async with anyio.create_task_group() as group:
        if gone is not None:
            group.start_soon(leave)
        try:
            result = await methods.call(name, api, params, _tell(ctx))
        except RpcError as error:
            failed = error  # outside of the group, which would wrap it
        group.cancel_scope.cancel()
    if failed is not None:
        raise failed
    return result


GONE = "rolecast.gone"
"""In the scope of an HTTP request: an event that is set when its client has gone."""


def _tell(ctx: Context) -> Tell | None:
    """Progress for whoever asked for it."""
    meta = (ctx.params or {}).get("_meta")
    if not isinstance(meta, Mapping) or meta.get("progressToken") is None:
        return None

    async def tell(progress: float, total: float | None, words: str) -> None:
        await ctx.session.report_progress(progress, total, words or None)

    return tell
