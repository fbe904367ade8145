"""A real gateway as a child of the tests, with blocking clients that see every byte of its answers.

Starts `rolecast up` in the foreground on free ports, in a data folder of its own. Knows what a gateway writes
about itself (its state file) and HTTP; knows nothing of what a test wants to see.
"""

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import psutil

from rolecast.cli import foreground

T = TypeVar("T")
DEADLINE_S = 60.0
"""Generous: it only bounds how long a failure takes to show."""


def until(condition: Callable[[], T], what: str = "", timeout_s: float = DEADLINE_S) -> T:
    """The first true value of `condition`; fails after `timeout_s` seconds, saying `what` did not happen."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {timeout_s:g} s: {what or condition}"
        time.sleep(0.01)
    return value


def has_ended(pid: int) -> bool:
    """Whether nothing runs there any more; whoever adopted it may be slow to bury it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def plain_environment() -> dict[str, str]:
    """Ours without the settings of the person who runs the tests."""
    settings = ("ROLECAST_", "LLM_", "AGENT_LLM_BASE_URL", "SLM_CONFIG", "PAS_CONFIG", "OLLAMA_")
    return {name: value for name, value in os.environ.items() if not name.startswith(settings)}


class Answer(NamedTuple):
    """A whole answer; names of headers are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object; its message must be in `detail` too."""
        body = self.json
        assert body["detail"] == body["error"]["message"]
        return dict(body["error"])


class Stream:
    """An answer that is read event by event. Raises http.client.IncompleteRead when it is cut off."""

    def __init__(self, url: str, path: str, body: Mapping[str, Any], key: str = "") -> None:
        self._connection = _connect(url)
        self._connection.request("POST", path, json.dumps(body), _headers(key))
        self._response: http.client.HTTPResponse | None = None

    @property
    def response(self) -> http.client.HTTPResponse:
        """Waits for the head of the answer."""
        if self._response is None:
            self._response = self._connection.getresponse()
        return self._response

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def event(self) -> str | None:
        """The text of the next `data:` line; None at a clean end."""
        while line := self.response.readline():
            if line.startswith(b"data:"):
                return line[5:].strip().decode()
        return None

    def rest(self) -> list[str]:
        """All events that are still to come."""
        return list(iter(self.event, None))

    def close(self) -> None:
        """Leave, whether the answer is complete or not."""
        if self._response is not None:
            self._response.close()
        self._connection.close()


def words(events: list[str]) -> str:
    """The text of streamed chat events."""
    pieces = [json.loads(event) for event in events if event != "[DONE]"]
    return "".join(p["choices"][0]["delta"].get("content") or "" for p in pieces if p.get("choices"))


def is_refused(url: str) -> bool:
    """Whether nobody listens there."""
    address = urlsplit(url)
    try:
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=5):
            return False
    except ConnectionRefusedError:
        return True


def _connect(url: str) -> http.client.HTTPConnection:
    address = urlsplit(url)
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=DEADLINE_S)


def _headers(key: str) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    return headers | {"authorization": f"Bearer {key}"} if key else headers


def ask(
    url: str, method: str, path: str, body: Any = None, *, key: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on a connection of its own; the whole answer."""
    connection = _connect(url)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, _headers(key) | dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


class LiveGateway:
    """One `rolecast up` with its data folder. Ended, with all it started, when the block ends."""

    def __init__(self, folder: Path, config: str, *args: str, key: str = "", **env: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.home = folder / "data"
        self.config = folder / "rolecast.yaml"
        self.config.write_text(config)
        self.args = args or ("--config", str(self.config))
        self.as_it_is = not args
        self.key = key
        self.env = plain_environment() | {"ROLECAST_HOME": str(self.home), "PYTHONUNBUFFERED": "1"} | env
        self.state: dict[str, Any] = {}
        self.child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self if self.runs else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.runs:
            self.stop()

    @property
    def runs(self) -> bool:
        return self.child is not None and self.child.poll() is None

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it and wait until all its ports are open."""
        argv = [sys.executable, "-m", "rolecast", "up", "--no-pull", *self.args]
        if self.as_it_is:  # what `rolecast up` becomes: to get there is a third of a start
            argv = foreground.words(self.config, None)
        with (self.folder / "gateway.log").open("ab") as log:
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        try:
            self.state = until(self._announced, "the gateway started")
        except BaseException:
            self.kill()
            raise
        return self

    def _announced(self) -> dict[str, Any] | None:
        assert self.runs, f"the gateway ended while starting:\n{self.log()}"
        try:
            state: dict[str, Any] = json.loads((self.home / "run" / "gateway.json").read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return state if state["pid"] == self.pid else None

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    def send(self, number: int) -> None:
        assert self.child is not None
        self.child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and nothing else."""
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        assert self.child is not None
        return self.child.wait(DEADLINE_S)

    def stop(self) -> int:
        """SIGTERM twice, which waits for nobody; kills what is left. The exit code."""
        everyone = self.processes()
        for _ in range(2):
            self.send(signal.SIGTERM)
        try:
            return self.wait()
        finally:
            for process in everyone:
                try:
                    process.kill()
                except psutil.Error:
                    pass
            self.wait()

    # -- views --------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return str(self.state["url"])

    def port(self, name: str) -> str:
        """The address of the listener of that name."""
        return next(str(x["url"]) for x in self.state["listeners"] if x["name"] == name)

    def processes(self) -> list[psutil.Process]:
        """The gateway and everything it started."""
        try:
            gateway = psutil.Process(self.pid)
            return [gateway, *gateway.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text(errors="replace")

    def rows(self, columns: str = "*") -> list[tuple[Any, ...]]:
        """The ledger, oldest first, read from its file."""
        ledger = sqlite3.connect(f"file:{self.home / 'rolecast.db'}?mode=ro", uri=True)
        try:
            return ledger.execute(f"SELECT {columns} FROM ledger ORDER BY id").fetchall()
        finally:
            ledger.close()

    # -- requests -----------------------------------------------------------------------------------------------

    def get(self, path: str) -> Answer:
        return ask(self.url, "GET", path, key=self.key)

    def post(self, path: str, body: Any) -> Answer:
        return ask(self.url, "POST", path, body, key=self.key)

    def chat(self, model: str, text: str, url: str = "", **fields: Any) -> Answer:
        """A chat of one message."""
        return ask(url or self.url, "POST", "/v1/chat/completions", _chat(model, text, fields), key=self.key)

    def stream(self, model: str, text: str, url: str = "", **fields: Any) -> Stream:
        """The same, streamed."""
        body = _chat(model, text, fields) | {"stream": True}
        return Stream(url or self.url, "/v1/chat/completions", body, self.key)

    def model(self, model_id: str) -> dict[str, Any]:
        """What /admin/status tells of one model."""
        models: list[dict[str, Any]] = self.get("/admin/status").json["models"]
        return next(m for m in models if m["id"] == model_id)


def _chat(model: str, text: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}
