"""The running gateway as the commands see it: its addresses and its admin endpoints.

Knows addresses, keys and the wire. Prints nothing.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import msgspec

from rolecast import statefile
from rolecast.config import paths
from rolecast.errors import UNREADABLE, RolecastError, Unauthorized, UpstreamTimeout, WorkerDown
from rolecast.jobs.job import Job
from rolecast.statefile import Address, State

if TYPE_CHECKING:
    import httpx2

    from rolecast import LLMClient
    from rolecast.tools.wire import Told
    from rolecast.turn.rehearsal import Routed

REPLY_TIMEOUT_S = 600
"""Longest silence: loading a large model takes minutes."""

NEW = 202
"""Status of the answer about a job that was not there before."""

START_HINT = "Start one with `rolecast up` (or `rolecast up --detach` to get the shell back)."


class Replica(msgspec.Struct, frozen=True):
    """One copy of a model that may have several."""

    id: str
    state: str
    pid: int | None = None
    memory_bytes: int = 0
    active: int = 0
    slots: int = 1
    error: str | None = None


class Room(msgspec.Struct, frozen=True):
    """What all models may take of a place, and what of it is taken; of the machine's memory with its GPUs."""

    budget_bytes: int
    held_bytes: int
    gpus: list["Room"] = []


class ModelStatus(msgspec.Struct, frozen=True):
    """One model of a running gateway, as `/admin/status` tells it."""

    id: str
    state: str
    backend: str = ""
    source: str = ""
    present: bool = True
    stand_in: str | None = None
    aliases: list[str] = []
    capabilities: list[str] = []
    context: int | None = None
    parallel: int = 1
    pinned: bool = False
    active: int = 0
    waiting: int = 0
    wants_memory: bool = False
    pid: int | None = None
    endpoint: str | None = None
    rss_bytes: int | None = None
    restarts: int = 0
    loaded_at: float | None = None
    leaves_at: float | None = None
    last_used_at: float | None = None
    error: str | None = None
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    load_seconds: float | None = None
    load_percent: int | None = None
    replicas: list[Replica] = []

    @property
    def fares(self) -> str:
        """Its state for people: one that nobody has room for is more than not loaded."""
        return "waits for memory" if self.wants_memory else self.state

    @property
    def copies(self) -> list[Replica]:
        """The copies that are not just cold, if these are not the first one alone."""
        found = [one for one in self.replicas if one.state != "cold"]
        return found if len(found) > 1 or any(one.id != self.id for one in found) else []

    @property
    def pids(self) -> str:
        """The processes of all copies."""
        return ", ".join(str(one.pid) for one in self.replicas if one.pid) or (str(self.pid) if self.pid else "")


class VariantStatus(msgspec.Struct, frozen=True):
    """One variant of a running gateway; without `models` it cannot be used, and `error` is why."""

    id: str
    variant_of: str
    models: list[str] = []
    error: str | None = None


class Reload(msgspec.Struct, frozen=True):
    """What became of the last edit of the configuration: settings by path, or why it was refused."""

    at: float = 0.0
    applied: list[str] = []
    waiting: list[str] = []
    problems: list[str] = []
    warnings: list[str] = []


class Status(msgspec.Struct, frozen=True):
    """The answer of `/admin/status`."""

    version: str
    pid: int
    uptime_seconds: float
    started_at: float = 0.0
    config: str | None = None
    ledger: str | None = None
    weights: str | None = None
    rss_bytes: int | None = None
    listeners: list[Address] = []
    roles: dict[str, list[str]] = {}
    models: list[ModelStatus] = []
    variants: list[VariantStatus] = []
    reload: Reload | None = None
    problems: list[str] = []
    memory: Room | None = None


class ModelState(msgspec.Struct, frozen=True):
    """How one model fares, as `/v1/admin/models` tells it."""

    id: str
    state: str
    pinned: bool = False
    memory_bytes: int = 0
    leases: int = 0
    waiting: int = 0
    error: str | None = None


class Running(msgspec.Struct, frozen=True):
    """One request under way, as `/v1/admin/requests` tells it."""

    id: str
    phase: str
    model: str
    kind: str = ""
    tokens: int = 0
    age_ms: float = 0.0
    listener: str = ""
    key: str = ""
    key_name: str = ""
    client: str = ""
    client_id: str = ""


class _UnderWay(msgspec.Struct):
    requests: list[Running]


class _Jobs(msgspec.Struct):
    jobs: list[Job]


def ports(state: State) -> set[int]:
    """The ports it listens on."""
    return {port for url in _urls(state) if (port := urlsplit(url).port)}


def listens_at(state: State, host: str) -> bool:
    """Whether it listens at that address; its URLs decide when the system does not tell."""
    import psutil

    bound: set[str | None] = set()
    try:
        # A URL names loopback also for a socket that listens at every address.
        open_sockets = psutil.Process(state.pid).net_connections("tcp")
        bound.update(one.laddr.ip for one in open_sockets if one.status == psutil.CONN_LISTEN)
    except psutil.Error:
        pass
    return bool(_resolved(host) & (bound or {urlsplit(url).hostname for url in _urls(state)}))


def _urls(state: State) -> set[str]:
    return {state.url, *(one.url for one in state.listeners)}


def _resolved(host: str) -> set[str | None]:
    """A name and its numbers, of the family that the gateway would open."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return {host, *(str(found[4][0]) for found in socket.getaddrinfo(host, None, family, socket.SOCK_STREAM))}
    except OSError:
        return {host}


def describe_absence() -> str:
    """One sentence on why there is no gateway to talk to, and how to start one."""
    state = statefile.read()
    if state is None:
        return f"No gateway is running. {START_HINT}"
    log = state.log or paths.log_file()
    seen = f" Its log is {log}." if Path(log).exists() else ""
    return f"No gateway is running; the last one (pid {state.pid}) has ended.{seen} {START_HINT}"


def is_stopping(state: State) -> bool:
    """Whether that gateway, whose process lives, has closed its port: then it was told to stop."""
    parts = urlsplit(state.url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=2).close()
    except OSError as error:
        return isinstance(error, ConnectionRefusedError)
    return False


class Gateway:
    """A connection to one gateway. Raises RolecastError with a sentence for everything that can fail."""

    def __init__(self, url: str, key: str = "", timeout_s: float = REPLY_TIMEOUT_S) -> None:
        import httpx2

        self.url = url.rstrip("/").removesuffix("/v1")
        self.key = key
        headers = {"authorization": f"Bearer {key}"} if key else {}
        timeout = httpx2.Timeout(timeout_s, connect=min(5, timeout_s))
        self._http = httpx2.Client(base_url=self.url, headers=headers, timeout=timeout, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._http.close()

    def status(self) -> Status:
        """The whole state of the gateway."""
        return msgspec.json.decode(self.status_json(), type=Status)

    def status_json(self) -> bytes:
        """The same as it came, for `--json`."""
        return self._request("GET", "/admin/status").content

    def tool_servers(self) -> "Told":
        """The servers whose tools models may call; those that are not connected are connected first."""
        from rolecast.tools.wire import Told

        return msgspec.json.decode(self._request("GET", "/mcp/servers").content, type=Told)

    def load(self, model: str) -> ModelState:
        """Load a model and wait until it is; which it is, of an alias or a role, and its state."""
        found = self._request("POST", "/admin/load", json={"model": model}).json()
        return ModelState(str(found.get("model", model)), str(found.get("state", "")))

    def reload(self, how: str = "") -> Reload:
        """Let the gateway read its configuration's file again; `dry_run` or `rollback` as its page knows them."""
        body = {how: True} if how else {}
        return msgspec.json.decode(self._request("POST", "/admin/reload", json=body).content, type=Reload)

    def does(self, model: str, action: str, **query: str) -> ModelState:
        """Load, unload, pin, unpin or reload a model, and how it fares then."""
        from urllib.parse import quote

        path = f"/v1/admin/models/{quote(model, safe='')}/{action}"
        return msgspec.json.decode(self._request("POST", path, params=query).content, type=ModelState)

    def requests(self) -> list[Running]:
        """The requests under way."""
        answer = self._request("GET", "/v1/admin/requests", params={"state": "running"})
        return msgspec.json.decode(answer.content, type=_UnderWay).requests

    def cancel_request(self, request_id: str) -> Running:
        """End a request; what it was doing."""
        from urllib.parse import quote

        answer = self._request("DELETE", f"/v1/admin/requests/{quote(request_id, safe='')}")
        return msgspec.json.decode(answer.content, type=Running)

    def logs(self, model: str | None, lines: int, *, follow: bool) -> Iterator[str]:
        """Pieces of a model's log, or of the gateway's own."""
        params: dict[str, str | int] = {"lines": lines, "follow": "true" if follow else "false"}
        if model:
            params["model"] = model
        with self._stream("GET", "/admin/logs", params=params) as response:
            yield from response.iter_text()

    def jobs(self) -> list[Job]:
        """Its jobs: those not over, then the newest that are."""
        return msgspec.json.decode(self._request("GET", "/admin/jobs").content, type=_Jobs).jobs

    def pull(self, model: str) -> tuple[Job, bool]:
        """Let it bring the weights of a model; whether the job is new, or was there already."""
        response = self._request("POST", "/admin/jobs", json={"kind": "pull", "model": model})
        return msgspec.json.decode(response.content, type=Job), response.status_code == NEW

    def cancel(self, job_id: str) -> Job:
        """End a job, and give how it ended."""
        return msgspec.json.decode(self._request("POST", f"/admin/jobs/{job_id}/cancel", json={}).content, type=Job)

    def follow(self, job_id: str) -> Iterator[Job]:
        """The job as it is now and after each change, until it is over."""
        with self._stream("GET", f"/admin/jobs/{job_id}/events") as response:
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield msgspec.json.decode(line[5:], type=Job)

    def job_log(self, job_id: str, lines: int) -> str:
        """The last lines that it printed."""
        return str(self._request("GET", f"/admin/jobs/{job_id}/log", params={"lines": lines}).text)

    def route(self, body: dict[str, Any]) -> "Routed":
        """Who would answer that request. Raises what the request itself would."""
        from rolecast.turn.rehearsal import Routed

        return msgspec.json.decode(self._request("POST", "/v1/route", json=body).content, type=Routed)

    def rate(self, said: dict[str, Any]) -> bytes:
        """Say what somebody thinks of an answer; what is kept now, as JSON."""
        return self._request("POST", "/v1/feedback", json=said).content

    def ratings(self, most: int) -> bytes:
        """What was said of answers, as JSON."""
        return self._request("GET", "/v1/feedback", params={"limit": most}).content

    def fetch(self, method: str, path: str, **options: Any) -> bytes:
        """The body of an answer, for pages whose commands show it as it is."""
        return bytes(self._request(method, path, **options).content)

    def client(self) -> "LLMClient":
        """The Python client for this gateway; nothing is retried, a person is watching."""
        from rolecast import LLMClient

        return LLMClient(self.url, api_key=self.key, timeout_s=REPLY_TIMEOUT_S, max_retries=0)

    def _request(self, method: str, path: str, **options: Any) -> "httpx2.Response":
        with _translated(self.url):
            response = self._http.request(method, path, **options)
            if response.is_error:
                raise explain(response, self.url)
            return response

    @contextmanager
    def _stream(self, method: str, path: str, **options: Any) -> Iterator["httpx2.Response"]:
        with _translated(self.url), self._http.stream(method, path, **options) as response:
            if response.is_error:
                response.read()
                raise explain(response, self.url)
            yield response


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turn failures of the connection into sentences that name the address."""
    import httpx2

    try:
        yield
    except UnicodeEncodeError as error:
        raise RolecastError("What was written is no text: it holds half a character. Send it as UTF-8.") from error
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        state = statefile.running()
        if state is not None and state.url == url and is_stopping(state):
            text = f"The gateway (pid {state.pid}) is stopping, and ends the requests that it has"
            raise WorkerDown(f"{text}; `rolecast down` waits for that.") from error
        raise WorkerDown(f"Nothing answers on {url}. {START_HINT}") from error
    except httpx2.TimeoutException as error:
        raise UpstreamTimeout(f"The gateway at {url} was silent for too long; look at `rolecast logs`.") from error
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise RolecastError(f"{url!r} is not an address; use one such as http://127.0.0.1:8000.") from error
    except httpx2.TransportError as error:
        why = str(error) or type(error).__name__
        raise WorkerDown(f"The connection to {url} broke ({why}); look at `rolecast logs`.") from error


def explain(response: "httpx2.Response", url: str) -> RolecastError:
    """The gateway's own sentence, or one made from the status when the answer is not ours."""
    if response.status_code == 401:
        return Unauthorized(
            f"The gateway at {url} asks for a key: pass --key KEY or set ROLECAST_API_KEY to one of "
            "the keys under server.keys, or to one that `rolecast keys create` made."
        )
    try:
        message = _message(msgspec.json.decode(response.content))
    except UNREADABLE:
        message = ""
    if not message:
        message = f"{url} answered {response.status_code} and does not look like a Rolecast gateway."
    return RolecastError(message, status=response.status_code)


def _message(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return str(error.get("message") or "")
    return str(error or "")


def connect(url: str = "", key: str = "", timeout_s: float = REPLY_TIMEOUT_S) -> Gateway:
    """The gateway at `url`, else the one that runs on this machine. Raises WorkerDown with the next step."""
    if url:
        return Gateway(url if "://" in url else f"http://{url}", key, timeout_s)
    state = statefile.running()
    if state is None:
        raise WorkerDown(describe_absence())
    return Gateway(state.url, key, timeout_s)


def answers(url: str) -> bool:
    """Whether the gateway at `url` serves: its /health says so, or at least that we need a key."""
    import httpx2

    try:
        return httpx2.get(f"{url}/health", timeout=2, trust_env=False).status_code < 500
    except httpx2.TransportError:
        return False
