"""`rolecast bench --engine`: both sides really run, and what they do is compared."""

import json
from pathlib import Path

import psutil
import pytest
import tiny_gguf
from typer.testing import CliRunner

from rolecast.cli import app, bench_engine, engine_probe, random_weights
from rolecast.config.schema import Config, Model
from rolecast.errors import LoadFailed, NotFound
from rolecast.weights import gguf


def invoke(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["bench", "--engine", *args], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("weights") / "tiny.gguf")


def test_every_figure_is_taken_of_both_sides_and_nothing_stays_behind(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_weights, "LAYERS", 1)
    for name, small in (("TOKENS", 4), ("BUSY_S", 0.1), ("CONVERSATIONS", 2)):
        monkeypatch.setattr(bench_engine, name, small)
    before = set(psutil.Process().children(recursive=True))
    code, out, err = invoke(str(weights), "--rounds", "1", "--json")
    report = json.loads(out)
    assert (code, err, report["model"], report["against"], report["rounds"]) == (0, "", "tiny.gguf", "engine", 1)
    assert len(report["rows"]) == 7
    for row in report["rows"]:
        assert row["rolecast"] > 0
        assert row["other"] > 0
        assert row["ratio"] == pytest.approx(row["rolecast"] / row["other"], rel=0.05, abs=0.01)
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.parametrize("way", ["rolecast", "previous", "engine"])
def test_each_way_to_start_an_engine_answers_the_same(weights: Path, tmp_path: Path, way: engine_probe.Way) -> None:
    start = engine_probe.launch(way, Model(context=512, threads=1), weights, tmp_path / "w.sock")
    with engine_probe.Engine(start, tmp_path / "log") as engine:
        answer = engine.answer([{"role": "user", "content": "hello"}], 5)
    assert answer["usage"]["completion_tokens"] == 5
    assert answer["timings"]["predicted_n"] == 5


def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [bench_engine.Row("start", "s", 0.5, 1.0, 0.5), bench_engine.Row("read again", "%", 0.0, 0.0, 0.0)]
    bench_engine.show(bench_engine.Report("m", "engine", 2, 3, rows))
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert table[0] == ["Rolecast", "llama.cpp", "as", "it", "comes", "ratio"]
    assert table[1:] == [["start", "s", "0.50", "1.00", "0.50"], ["read", "again", "%", "0.0", "0.0", "-"]]


def test_the_random_model_is_one_that_the_engine_keeps_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_weights, "LAYERS", 1)
    header = gguf.read(random_weights.write(tmp_path / "random.gguf"))
    assert header.repacked_bytes > 0.9 * header.tensor_bytes
    assert abs(header.parameters - random_weights.parameters()) < 0.1 * header.parameters


def test_what_is_measured_is_the_named_model_or_the_first_that_can_be(weights: Path) -> None:
    here = f"file:{weights}"
    config = Config(
        models={
            "echo": Model(backend="fake"),
            "absent": Model(source="file:/none.gguf"),
            "own": Model(source=here, binary="llama-server"),
            "embeds": Model(source=here, capabilities=["embeddings"]),
            "one": Model(source=here, aliases=["uno"]),
            "two": Model(source=here),
        },
        roles={"standard": ["echo", "two"]},
    )
    for asked, found in (("auto", "two"), ("one", "one"), ("uno", "one"), ("standard", "two"), (str(weights), None)):
        assert bench_engine.subject(config, asked)[0] == (found or weights.name)
    for asked in ("echo", "absent", "own", "embeds", "nobody"):
        with pytest.raises(NotFound, match="choose one of one, two") as caught:
            bench_engine.subject(config, asked)
        assert asked in caught.value.message
    with pytest.raises(NotFound, match="rolecast pull"):
        bench_engine.subject(Config(models={"echo": Model(backend="fake")}), "auto")


def test_an_engine_that_does_not_start_says_why(tmp_path: Path, weights: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(weights.read_bytes().replace(b"llama", b"zzzzz"))
    start = engine_probe.launch("rolecast", Model(context=512), bad, tmp_path / "s.sock")
    with pytest.raises(LoadFailed, match="unknown model architecture"), engine_probe.Engine(start, tmp_path / "log"):
        pass
