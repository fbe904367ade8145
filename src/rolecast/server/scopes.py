"""What a key must be allowed to do at each path of the pages. One table; a route that is not in it is an admin's.

Paths that go to models are not here: those need `use`, which the gate asks of every request. Pure, but for the routes
that it is given.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from rolecast.errors import ScopeMissing
from rolecast.values import Rights

Need = Literal["any", "use", "admin"]
"""Any valid key; one that may ask models; one that may change things and see what others do."""

_LISTS = (
    *("/health", "/metrics", "/info", "/", "/ui", "/ui/{name}", "/docs", "/openapi.json"),
    *("/v1/models", "/models", "/v1/models/{model:path}", "/v1/backends/health", "/conductor/models"),
    *("/api/version", "/api/tags", "/api/ps", "/categories", "/stats", "/tasks", "/tasks/{name:path}"),
    *("/personas", "/personas/{name}", "/taxonomies", "/v1/tlc/taxonomies"),
)
"""What is only looked at, and tells nothing of what others asked."""
_OWN = (
    *("/v1/route", "/route", "/v1/messages/count_tokens", "/messages/count_tokens"),
    *("/v1/responses/compact", "/responses/compact", "/v1/responses/input_tokens", "/responses/input_tokens"),
    *("/v1/responses/{id}", "/responses/{id}", "/v1/responses/{id}/input_items", "/responses/{id}/input_items"),
    *("/v1/responses/{id}/cancel", "/responses/{id}/cancel"),
    *("/sessions", "/sessions/{id:text}", "/sessions/{id:text}/export", "/sessions/{id:text}/clear"),
    *("/mcp", "/mcp/servers"),
    *(f"{start}{path}" for start in ("", "/v1/tlc") for path in ("/classify_domain", "/extract_tmd")),
    *(f"{start}/validate_domain" for start in ("", "/v1/tlc")),
)
"""What belongs to asking: with every method, and of one's own sessions and answers alone."""

_SERVICES_SEEN = (
    *("/discover", "/services", "/services/{id:path}", "/alerts", "/providers", "/providers/{name:path}"),
    *("/receipts/{run_id:path}", "/budget/{run_id:path}", "/quotas", "/reservations", "/status", "/admin/usage"),
)
"""The same of the services of PAS, and of what is used, where a key sees its own requests alone."""
_SERVICES_USED = (
    *("/register", "/heartbeat", "/discover", "/promote", "/deregister", "/select", "/broadcast", "/invoke"),
    *("/track", "/summarize", "/clear", "/reserve", "/release", "/kill"),
)
"""What programs do there that work with models."""

RULES: Mapping[tuple[str, str], Need] = {
    **{("GET", path): "any" for path in _LISTS},
    **{(method, path): "use" for path in _OWN for method in ("GET", "POST", "DELETE")},
    **{("GET", path): "any" for path in _SERVICES_SEEN},
    **{(method, path): "use" for path in _SERVICES_USED for method in ("POST", "PUT")},
    ("GET", "/summaries"): "use",
    ("POST", "/api/show"): "any",
    ("POST", "/v1/feedback"): "use",
    **{(method, "/v1/admin/requests/{id}"): "use" for method in ("GET", "DELETE")},
    ("GET", "/v1/admin/requests"): "use",
}
"""By method and the path as its route has it. Of requests under way a key sees and cancels its own alone."""


def needed(method: str, path: str) -> Need:
    """What a key needs for that method of the route with that path."""
    return RULES.get(("GET" if method == "HEAD" else method, path), "admin")


def check(rights: Rights | None, scope: Scope, routes: Sequence[BaseRoute]) -> None:
    """Raises ScopeMissing where these rights are not enough for what answers that request.

    What nothing answers is let through: who asks learns that there is nothing, or which method there is.
    """
    if rights is None or rights.admin:
        return
    route = next((each for each in routes if each.matches(scope)[0] is Match.FULL), None)
    if route is None:
        return
    need = needed(scope["method"], route.path if isinstance(route, Route) else "")
    if need == "any" or (need == "use" and rights.use):
        return
    what = "asks models" if need == "use" else "may manage the gateway"
    raise ScopeMissing(f"{scope['method']} {scope['path'][:200]} needs a key that {what}: with the scope `{need}`.")
