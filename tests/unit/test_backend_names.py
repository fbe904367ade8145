"""Backends under names of other packages: what a backend is, it says itself; its name decides nothing."""

from pathlib import Path

import pytest
from gateway import ScriptedWorker, chat, config, request, running_gateway, short_folder

from rolecast import backends
from rolecast.backends.fake import Fake
from rolecast.config.schema import Model
from rolecast.errors import ConfigError
from rolecast.values import Failure

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
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


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


def test_a_backend_made_for_an_earlier_version_gets_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("named_tools", "can", "explain"):
        if hasattr(Fake, part):
            monkeypatch.delattr(Fake, part)
    echo = backends.get("echo")
    assert echo.named_tools is True
    assert echo.can(Model(backend="echo"), None, "vision") is None
    assert echo.explain(500, Failure("what")) is None


def test_what_is_no_backend_is_refused_with_what_it_lacks() -> None:
    with pytest.raises(ConfigError, match=r"'half' .*is no backend: it lacks usage, renames, spawns, plan, missing"):
        backends.get("half")
