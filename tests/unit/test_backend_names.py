"""Backends under names of other packages: what a backend is, it says itself; its name decides nothing."""

import sys
from pathlib import Path

import pytest
from gateway import ScriptedWorker, chat, config, request, running_gateway, short_folder

from rolecast import backends, readiness
from rolecast import config as configuration
from rolecast.backends import plain
from rolecast.config.schema import Model
from rolecast.errors import ConfigError
from rolecast.values import Failure

MODULE = '''
"""Backends of another package."""
from rolecast.backends.fake import Fake
from rolecast.backends.remote import OpenAIRemote
from rolecast.config.about import About


def _problems(model):
    if model.parallel > 3:
        yield "parallel", "polite ones take three at a time; lower it"


def _doubts(model):
    if not model.description:
        yield "description", "is not there; be polite and say what it is"


class Polite(Fake):
    about = About(
        slots=3,
        needs={"script": "say what it shall say"},
        unused=("url",),
        problems=_problems,
        doubts=_doubts,
    )


class Keyed(OpenAIRemote):
    credential = "x-api-key: {}"


class Old:
    """Made for an earlier version: it says nothing of itself."""
    usage, renames, spawns = "inject", {}, False

    def plan(self, model_id, model, weights, listen):
        return OpenAIRemote().plan(model_id, model, weights, listen)

    def missing(self, model):
        return None
'''
pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that registers backends."""
    folder = tmp_path / "site" / "more_backends-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: more-backends\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[rolecast.backends]\n"
        "engine = rolecast.backends.llamacpp:LlamaCpp\n"
        "echo = rolecast.backends.fake:Fake\n"
        "far = rolecast.backends.remote:OpenAIRemote\n"
        "half = rolecast.values:Usage\n"
        "polite = more_backends:Polite\n"
        "keyed = more_backends:Keyed\n"
        "old = more_backends:Old\n"
        "broken = more_backends:Nobody\n"
    )
    (tmp_path / "site" / "more_backends.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "more_backends", raising=False)


async def test_a_backend_under_a_second_name_does_what_it_does_under_the_first(tmp_path: Path) -> None:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            models = {
                "absent": Model(backend="engine", source=f"file:{tmp_path}/absent.gguf"),
                "unnamed": Model(backend="engine"),
                "echo": Model(backend="echo"),
                "far": Model(backend="far", url=worker.url, parallel=4),
            }
            async with running_gateway(config(models), Path(folder)) as gate:
                assert (await gate.ask(request(chat(model="echo")))).json["model"] == "echo"
                assert (await gate.ask(request(chat(model="far")))).status == 200
                states = {m: str(gate.gateway.fleet.worker(m).state) for m in models}
                assert states == {"absent": "cold", "unnamed": "cold", "echo": "ready", "far": "remote"}
                for model in ("absent", "unnamed"):
                    refused = await gate.ask(request(chat(model=model)))
                    assert (refused.status, refused.error["code"]) == (503, "load_failed")
            await worker_is_gone(folder)


async def worker_is_gone(folder: str) -> None:
    """A remote of another name that is not there is said to be unreachable at once, as the first name's."""
    absent = Model(backend="far", url=f"unix:{folder}/nobody.sock", parallel=4)
    async with running_gateway(config({"far": absent}), Path(folder)) as gate:
        refused = await gate.ask(request(chat(model="far")))
        assert refused.error["code"] == "unreachable"


def test_a_backend_made_for_an_earlier_version_gets_what_it_leaves_out() -> None:
    old, model = backends.get("old"), Model(backend="old")
    assert not [part for part in plain.PARTS if not hasattr(old, part)]
    assert (old.speaks, old.named_tools) == ("openai", True)
    assert old.can(model, None, "vision") is None
    assert old.sleeper(model) is None
    assert old.explain(500, Failure("what")) is None


def test_what_is_no_backend_is_refused_with_what_it_lacks() -> None:
    with pytest.raises(ConfigError, match=r"'half' .*is no backend: it lacks usage, renames, spawns, plan, missing"):
        backends.get("half")


def read(models: str) -> configuration.Config:
    return configuration.read(f"models:\n{models}\nroles: {{standard: [m]}}", backends=backends.table())


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("{backend: polite}", "rolecast.yaml:2: models.m: 'script' is missing; say what it shall say"),
        ("{backend: polite, script: s, parallel: 4}", "models.m.parallel: polite ones take three at a time"),
        ("{backend: engine}", "models.m: 'source' is missing; say where the weights are"),
        (
            "{backend: engine, source: 'file:x', parallel: 257}",
            "models.m.parallel: the built-in engine has at most 256",
        ),
        ("{backend: far}", "models.m: 'url' is missing"),
        ("{backend: keyed, url: 'ftp://x'}", "models.m.url: expected http://"),
        ("{backend: half}", "models.m.backend: 'half' (rolecast.values:Usage) is no backend: it lacks"),
        ("{backend: broken}", "models.m.backend: 'broken' (more_backends:Nobody) cannot be loaded: AttributeError"),
        ("{backend: polit}", "models.m.backend: there is no backend 'polit'; did you mean 'polite'?"),
    ],
)
def test_the_checks_ask_the_backend_and_not_its_name(model: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(f"  m: {model}")
    assert problem in "\n".join(refused.value.problems)


def test_slots_advice_and_readiness_are_the_backends_own(tmp_path: Path) -> None:
    loaded = read(
        f"  m: {{backend: polite, script: {tmp_path}/none.yaml, url: 'http://h/v1'}}\n"
        "  far: {backend: far, url: 'http://h/v1', script: x}\n"
        "  old: {backend: old, url: 'http://h/v1', script: x}\n"
        "  engine: {backend: engine, source: 'file:x', key: k, pooling: cls, parallel: 0}"
    )
    slots = {model_id: model.parallel for model_id, model in loaded.models.items()}
    assert slots == {"m": 3, "far": 64, "old": 64, "engine": 1}
    lines = configuration.warnings(loaded, backends.table())
    assert "models.m.url: does nothing with backend polite" in lines
    assert "models.m.description: is not there; be polite and say what it is" in lines
    assert "models.far.script: does nothing with backend far" in lines
    assert "models.engine.key: does nothing with backend engine" in lines
    assert "models.engine.pooling: does nothing without the capability embeddings" in lines
    assert not any(line.startswith("models.old") for line in lines)
    assert any("none.yaml is not a file" in line for line in readiness.warnings(loaded))


async def test_backends_of_another_package_start_and_answer(tmp_path: Path) -> None:
    (tmp_path / "script.yaml").write_text("replies: [{reply: how do you do}]")
    with short_folder() as folder:
        async with ScriptedWorker().listening() as worker:
            loaded = read(
                f"  m: {{backend: polite, script: {tmp_path}/script.yaml}}\n"
                f"  keyed: {{backend: keyed, url: '{worker.url}', key: sk-1}}\n"
                f"  old: {{backend: old, url: '{worker.url}', key: sk-2}}"
            )
            async with running_gateway(config(loaded.models), Path(folder)) as gate:
                said = (await gate.ask(request(chat(model="m")))).json
                assert said["choices"][0]["message"]["content"] == "how do you do"
                for model in ("keyed", "old"):
                    assert (await gate.ask(request(chat(model=model)))).status == 200
            seen = [(r.header("x-api-key"), r.header("authorization")) for r in worker.requests]
            assert seen == [(["sk-1"], []), ([], ["Bearer sk-2"])]


def test_only_an_engine_that_the_bench_knows_is_measured() -> None:
    table = backends.table()
    assert {name: table[name].benched for name in ("engine", "polite", "far", "old")} == {
        "engine": True,
        "polite": False,
        "far": False,
        "old": False,
    }
