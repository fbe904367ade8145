"""What each model takes, as the fleet, the pages and the commands tell it before it is loaded."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import tiny_gguf
from gateway import config, request, running_gateway, until
from typer.testing import CliRunner

from rolecast.backends import get
from rolecast.backends.llamacpp import LlamaCpp
from rolecast.cli import app
from rolecast.config.check import check
from rolecast.config.schema import Config, Model
from rolecast.fleet import State
from rolecast.fleet.sizes import Sizes, stated
from rolecast.footprint import Estimate, Footprint
from rolecast.pages import residency


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return tiny_gguf.write(tmp_path / "tiny.gguf", context=4096)


class Counting(LlamaCpp):
    def __init__(self) -> None:
        self.asked = 0

    def estimate(self, model: Model, weights: Path | None) -> Estimate | None:
        self.asked += 1
        return super().estimate(model, weights)


def test_an_estimate_is_made_once_for_each_version_of_files_and_settings(weights: Path) -> None:
    sizes, backend = Sizes(lambda model: weights), Counting()
    first = sizes.of("m", Model(source="file:x"), backend)
    assert first is not None
    assert sizes.of("m", Model(source="file:x"), backend) is first
    assert backend.asked == 1
    wide = sizes.of("m", Model(source="file:x", parallel=4), backend)
    assert wide is not None
    assert wide.loaded.ram > first.loaded.ram
    tiny_gguf.write(weights, context=1024)
    short = sizes.of("m", Model(source="file:x"), backend)
    assert short is not None
    assert short.loaded.ram < first.loaded.ram
    weights.unlink()
    assert sizes.of("m", Model(source="file:x"), backend) is None


def test_a_projector_that_arrives_later_counts(weights: Path) -> None:
    sizes, backend = Sizes(lambda model: weights), Counting()
    sizes.of("m", Model(source="file:x"), backend)
    (weights.parent / "mmproj.gguf").write_bytes(b"GGUF")
    sizes.of("m", Model(source="file:x"), backend)
    assert backend.asked == 2


def test_what_the_settings_say_wins(weights: Path) -> None:
    model = Model(source="file:x", memory="3GiB")
    found = Sizes(lambda model: weights).of("m", model, LlamaCpp())
    assert found is not None
    assert found.most == Footprint(3 << 30)
    assert 0 < found.loaded.ram < 1 << 30
    small = Sizes(lambda model: weights).of("m", Model(source="file:x", memory="1MiB"), LlamaCpp())
    assert small is not None
    assert small.loaded == small.most == Footprint(1 << 20)


def test_what_the_settings_say_is_all_that_is_known_of_a_command() -> None:
    found = Sizes(lambda model: None).of("m", Model(backend="fake", memory=1000), get("fake"))
    assert found == Estimate((("stated", 1000),), Footprint(1000), Footprint(1000))
    assert Sizes(lambda model: None).of("m", Model(backend="fake"), get("fake")) is None


def test_a_stated_size_is_spread_over_gpus_as_the_estimate_is() -> None:
    guess = Estimate((), Footprint(10, (20, 20)), Footprint(20, (40, 40)))
    found = stated(Model(memory=1000), guess)
    assert found is not None
    assert found.most == Footprint(200, (400, 400))
    assert found.loaded == guess.loaded


@pytest.mark.parametrize(
    ("memory", "fine"), [("auto", True), ("4GiB", True), (10**9, True), ("4 apples", False), (0, False)]
)
def test_a_size_that_is_none_is_refused(memory: Any, fine: bool) -> None:
    model = Model(backend="fake", memory=memory)
    problems = [str(one) for one in _problems(Config(models={"m": model}, roles={"standard": ["m"]}))]
    assert bool([one for one in problems if "memory" in one]) is not fine


def _problems(made: Config) -> list[Any]:
    from rolecast import backends

    return list(check(made, backends.table()))


# Pages


pytestmark = pytest.mark.anyio


async def test_the_list_of_models_tells_what_each_takes_before_it_is_loaded(weights: Path, tmp_path: Path) -> None:
    models = {"m": Model(source=f"file:{weights}", context=1024), "f": Model(backend="fake")}
    async with running_gateway(config(models), tmp_path) as gate:
        listed = (await gate.ask(request(path="/v1/models", method="GET"), method="GET")).json["data"]
        memory = {one["id"]: one["memory"] for one in listed}
        assert memory["f"] is None
        assert 10 << 20 < memory["m"]["loaded_bytes"] < memory["m"]["most_bytes"]
        one = (await gate.ask(request(path="/v1/models/m", method="GET"), method="GET")).json
        assert one["memory"] == memory["m"]
        assert (one["state"], one["memory"]["gpu_bytes"]) == ("cold", [])
        assert "load" not in one


async def test_a_load_tells_how_many_percent_are_there(tmp_path: Path) -> None:
    models = {"f": Model(backend="fake", memory="1GiB"), "g": Model(backend="fake")}
    models["h"] = Model(backend="fake", memory="1GiB", replicas=2)
    async with running_gateway(config(models), tmp_path) as gate:
        fleet = gate.gateway.fleet
        loading = [asyncio.ensure_future(fleet.load(name)) for name in models]
        await until(lambda: fleet.worker("f").state is State.LOADING and fleet.stations.child("f") is not None)
        fleet.stations._measured_at = float("-inf")
        found = await residency.loading(fleet, "f")
        if found is not None:  # a fake one is quick
            assert found.expected_bytes == 1 << 30
            assert found.percent is not None
            assert 0 <= found.percent < 30
        await asyncio.gather(*loading)
        assert await residency.loading(fleet, "f") is None
        assert residency.percent(fleet, "f", {"f": 1 << 20}) is None
        fleet.worker("f").state = fleet.worker("g").state = State.LOADING
        assert residency.percent(fleet, "f", {"f": 1 << 29}) == 50
        assert residency.percent(fleet, "f", {"f": 1 << 31}) == 99, "it is not there before it answers"
        assert residency.percent(fleet, "g", {"g": 1 << 20}) is None, "nobody knows what it takes"
        one = (await gate.ask(request(path="/v1/models/f", method="GET"), method="GET")).json
        assert one["load"]["expected_bytes"] == 1 << 30
        assert 0 < one["load"]["percent"] < 30
        activity = (await gate.ask(request(path="/admin/activity", method="GET"), method="GET")).json
        assert {each["model"] for each in activity["loads"]} == {"f", "g"}
        status = (await gate.ask(request(path="/admin/status", method="GET"), method="GET")).json
        known = {each["id"]: each["load_percent"] is not None for each in status["models"]}
        assert known == {"f": True, "g": False, "h": False}, "one that does not load has none"
        fleet.worker("f").state = fleet.worker("g").state = State.READY
        fleet.machine.workers["h"].state, fleet.machine.workers["h#2"].state = State.ASLEEP, State.LOADING
        assert residency.percent(fleet, "h", {"h": 1 << 30, "h#2": 1 << 28}) == 25, "of the copy that loads"
        fleet.machine.workers["h"].state, fleet.machine.workers["h#2"].state = State.READY, State.COLD


def test_memory_on_a_gpu_is_not_seen_in_a_process() -> None:
    assert residency.expected_bytes(None) is None
    assert residency.expected_bytes(Estimate((), Footprint(7), Footprint(9))) == 7
    assert residency.expected_bytes(Estimate((), Footprint(7, (1,)), Footprint(9, (1,)))) is None


# Commands


CAST = (
    "models:\n  m: {{source: 'file:{}', context: 1024}}\n  f: {{backend: fake}}\n  away: {{source: 'hf:o/r/x.gguf'}}\n"
)


def test_the_command_shows_what_each_model_takes(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rolecast.yaml").write_text(CAST.format(weights) + "roles: {standard: [m]}\n")
    shown = CliRunner().invoke(app, ["models", "--estimate"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert all(word in shown.output for word in ("Weights", "Cache", "Buffers", "Loaded", "At most", "MB"))
    assert "Not known for away" in shown.output
    found = json.loads(CliRunner().invoke(app, ["models", "--estimate", "--json"]).stdout)
    rows = {one["id"]: one for one in found}
    assert rows["m"]["loaded_bytes"] < rows["m"]["most_bytes"] == sum(rows["m"]["parts"].values())
    assert rows["f"]["parts"] is rows["away"]["loaded_bytes"] is None
    assert len({tuple(one) for one in found}) == 1
