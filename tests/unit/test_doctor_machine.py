"""What `rolecast doctor` says of the machine, and of backends that no model uses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rolecast.cli import app, doctor_machine
from rolecast.cli.doctor import check_backends
from rolecast.config.schema import Config, Memory, Model
from rolecast.errors import ConfigError
from rolecast.footprint import Footprint
from rolecast.telemetry import gpus, memory, processor
from rolecast.telemetry.gpus import Gpu
from rolecast.telemetry.memory import Reading

GIB = 1 << 30


def machine(monkeypatch: pytest.MonkeyPatch, total: int, available: int, *cards: Gpu) -> None:
    reading = Reading(Footprint(total), Footprint(available), cards)
    monkeypatch.setattr(memory, "read", lambda: reading)
    monkeypatch.setattr(gpus, "cards", lambda: list(cards))


def config(**models: Model) -> Config:
    return Config(models=models, roles={"standard": [*models]}, memory=Memory(budget="auto"))


def test_memory_is_told_with_what_models_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 4 * GIB, 3 * GIB)
    (found,) = doctor_machine.check_memory(config(a=Model(backend="fake")))
    assert found.level == "ok"
    assert "3.2 GB of 4.3 GB" in found.message
    assert "a control group's limit" in found.message
    assert "models may take 2.1 GB together now (memory.budget: auto)" in found.message


def test_a_model_that_never_fits_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 4 * GIB, 1 * GIB)
    small = Model(backend="fake", memory="1GiB")
    _, found = doctor_machine.check_memory(config(big=Model(backend="fake", memory="5GiB"), small=small))
    assert (found.level, found.message) == ("warn", "big needs about 5.4 GB, but models never get more than 3.2 GB")
    assert "memory.budget" in found.fix


def test_pinned_models_that_do_not_fit_together_or_just_now_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    two = config(**{name: Model(backend="fake", memory="2GiB", pinned=True) for name in "ab"})
    machine(monkeypatch, 4 * GIB, 4 * GIB)
    assert "never fits" in list(doctor_machine.check_memory(two))[1].message
    machine(monkeypatch, 8 * GIB, 2 * GIB)
    assert "other programs leave" in list(doctor_machine.check_memory(two))[1].message
    machine(monkeypatch, 8 * GIB, 8 * GIB)
    assert len(list(doctor_machine.check_memory(two))) == 1


def test_gpus_are_listed_with_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, GIB, GIB, Gpu("H100", 80 * GIB, 20 * GIB), Gpu("M4", 12 * GIB, 0, shares_ram=True))
    one, two = doctor_machine.check_gpus()
    assert one.message == "0: H100, 21.5 GB of 85.9 GB available"
    assert two.message == "1: M4, has the machine's memory, up to 12.9 GB"


def test_a_driver_that_tells_no_gpu_is_worth_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, GIB, GIB)
    monkeypatch.setattr(doctor_machine.shutil, "which", lambda name: None)
    assert [found.level for found in doctor_machine.check_gpus()] == ["ok"]
    monkeypatch.setattr(doctor_machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert [(found.level, found.fix) for found in doctor_machine.check_gpus()] == [("warn", "nvidia-smi")]


@pytest.mark.parametrize(
    ("units", "level", "words", "fix"),
    [
        (("AVX2",), "ok", "AVX2", ""),
        (("AVX2", "AVX-512", "AMX"), "ok", "one of your own with AVX-512 and AMX may be faster", "binary"),
        (("bf16",), "warn", "may need AVX2", "binary"),
        ((), "ok", "nothing known", ""),
    ],
)
def test_what_an_engine_of_ones_own_could_use_is_told(
    monkeypatch: pytest.MonkeyPatch, units: tuple[str, ...], level: str, words: str, fix: str
) -> None:
    monkeypatch.setattr(processor, "features", lambda: units)
    monkeypatch.setattr(processor, "is_x86", lambda: True)
    (found,) = doctor_machine.check_processor()
    assert (found.level, words in found.message, fix in found.fix) == (level, True, True)


def test_backends_that_nobody_uses_are_told_with_the_command_that_installs_what_they_lack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rolecast import backends

    class Lacking:
        spawns = True

        def missing(self, model: Model) -> str:
            return "its engine is not installed; run `pip install 'engine'`"

    def get(name: str) -> object:
        if name == "broken":
            raise ConfigError(["backend: 'broken' cannot be loaded: ImportError"])
        return Lacking() if name == "lacking" else real("fake")

    real = backends.get
    monkeypatch.setattr(backends, "get", get)
    monkeypatch.setattr(backends, "names", lambda: ["broken", "fake", "lacking", "other"])
    broken, lacking, other = check_backends(config(a=Model(backend="fake")))
    assert {each.level for each in (broken, lacking, other)} == {"ok"}
    assert "cannot be loaded" in broken.message
    assert lacking.fix == "pip install 'engine'"
    assert other.message == "other can run models here, too"


def test_every_backend_of_ours_says_whether_it_could_run_models() -> None:
    found = list(check_backends(Config()))
    assert {each.message.partition(" ")[0] for each in found} >= {"llamacpp", "ctranslate2", "command", "openai"}


def test_doctor_gives_all_of_it_as_json(tmp_path: Path) -> None:
    file = tmp_path / "rolecast.yaml"
    file.write_text("server: {port: 0}\nmodels: {a: {backend: fake}}\nroles: {standard: [a]}\n")
    done = CliRunner().invoke(app, ["doctor", "--config", str(file), "--json"], catch_exceptions=False)
    checks = {finding["check"] for finding in json.loads(done.stdout)}
    assert checks >= {"memory", "processor", "gpu", "disk", "engine", "backend"}
    assert done.exit_code == 0
