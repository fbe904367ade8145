"""The replay of traces: the simulator allows nothing that a machine could not do, and bars are judged as they say."""

import json
import sys
from pathlib import Path

import msgspec
import pytest
from fleet_bench import (
    fleet,
    fleet_make_traces,
    fleet_peers,
    fleet_policy,
    fleet_report,
    fleet_simulator,
    fleet_workload,
)

About, Arrival, Client = fleet_workload.About, fleet_workload.Arrival, fleet_workload.Client
ModelSpec, Trace, Turn = fleet_workload.ModelSpec, fleet_workload.Trace, fleet_workload.Turn
Load, Unload, Start = fleet_policy.Load, fleet_policy.Unload, fleet_policy.Start
Fifo, LruByCount, Overtaking = fleet_peers.Fifo, fleet_peers.LruByCount, fleet_peers.Overtaking
NEVER = float("inf")


def trace(*arrivals: "Arrival", clients: tuple["Client", ...] = (), budget: int = 10) -> "Trace":
    """Two models of which one fits at a time, and a small one beside either."""
    models = (ModelSpec("a", 6, 5.0, 1.0, 2), ModelSpec("b", 6, 5.0, 1.0), ModelSpec("small", 2, 1.0, 1.0))
    return Trace(About("test", "", budget), models, arrivals, clients)


def starts(of: "Trace", policy: type) -> list[tuple[str, float]]:
    """Which model answered when, in the order of arrival."""
    return [(request.model, request.started_s) for request in fleet_simulator.replay(of, policy(of)).requests]


# -- the machine -----------------------------------------------------------------------------------------------------


class Scripted:
    """Does what it is told, right or wrong: by what happened, and where R stands for the request."""

    def __init__(self, **script: list) -> None:
        self.script = script
        self.last: object = None

    def arrive(self, request: object, now: float) -> list:
        self.last = request
        return self.do("arrive")

    def loaded(self, model: str, now: float) -> list:
        return self.do(f"loaded_{model}")

    def unloaded(self, model: str, now: float) -> list:
        return self.do("unloaded")

    def finished(self, request: object, now: float) -> list:
        return self.do("finished")

    def tick(self, now: float) -> list:
        return []

    def next_time(self) -> float:
        return NEVER

    def do(self, what: str) -> list:
        return [Start(self.last) if action == "R" else action for action in self.script.pop(what, [])]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ({"arrive": [Load("a"), Load("b")]}, "12 bytes of 10 with b"),
        ({"arrive": [Load("a"), Load("a")]}, "a is loading and is to be loaded"),
        ({"arrive": [Load("a")], "loaded_a": ["R", Unload("a")]}, "a is ready with 1 requests and is to be unloaded"),
        ({"arrive": [Load("a"), Unload("a")]}, "a is loading with 0 requests and is to be unloaded"),
        ({"arrive": [Load("a")], "loaded_a": [Unload("a"), Load("b")]}, "12 bytes of 10 with b"),
        ({"arrive": ["R"]}, "a is cold with 0 requests and gets one more"),
        ({"arrive": [Load("a")], "loaded_a": ["R", "R"]}, "request 0 is answered twice"),
    ],
    ids=["budget", "twice loaded", "a lease", "while it loads", "while it leaves", "not loaded", "twice answered"],
)
def test_a_policy_is_stopped_that_does_what_no_machine_can(script: dict[str, list], says: str) -> None:
    with pytest.raises(fleet_simulator.Broken, match=says):
        fleet_simulator.replay(trace(Arrival(1.0, "a", 3.0)), Scripted(**script))


def test_a_model_gives_no_more_answers_at_once_than_it_has_slots() -> None:
    class Generous(Fifo):
        def free(self, model: str) -> bool:
            return model in self.residence.ready

    three = trace(*(Arrival(0.0, "a", 3.0) for _ in range(3)))
    with pytest.raises(fleet_simulator.Broken, match="a is ready with 2 requests and gets one more"):
        fleet_simulator.replay(three, Generous(three))


def test_a_policy_that_asks_for_attention_without_end_is_stopped() -> None:
    class Restless(Fifo):
        def look(self, now: float) -> list:
            return []

        def next_time(self) -> float:
            return 0.0

    with pytest.raises(fleet_simulator.Broken, match="does nothing"):
        fleet_simulator.replay(trace(Arrival(1.0, "a", 3.0)), Restless(trace()))


def test_times_memory_and_shares_are_counted_as_they_are() -> None:
    client = Client(1.0, (Turn("a", 4.0, 2.0), Turn("b", 3.0)))
    result = fleet_simulator.replay(trace(clients=(client,)), Fifo(trace()))
    first, second = result.requests
    assert (first.arrived_s, first.started_s, first.ended_s) == (1.0, 6.0, 10.0)
    assert (second.arrived_s, second.started_s, second.ended_s) == (12.0, 18.0, 21.0)
    assert (result.loads, result.peak_bytes, result.busy_s, result.end_s) == (2, 6, 7.0, 21.0)
    row = fleet_report.figures(trace(clients=(client,)), "fifo", result)
    assert (row.wait_p50_s, row.wait_max_s, row.per_minute) == (5.0, 6.0, pytest.approx(120 / 21))


def test_who_is_never_answered_waits_for_ever_in_the_figures() -> None:
    one = trace(Arrival(0.0, "a", 1.0))
    row = fleet_report.figures(one, "none", fleet_simulator.replay(one, Scripted()))
    assert (row.served, row.wait_max_s) == (0, NEVER)
    assert "never" in fleet_report.table([row], {})


# -- the other policies ----------------------------------------------------------------------------------------------


def test_in_order_of_arrival_nobody_starts_before_all_who_came_earlier() -> None:
    of = trace(Arrival(0.0, "a", 10.0), Arrival(1.0, "b", 1.0), Arrival(2.0, "a", 1.0))
    assert starts(of, Fifo) == [("a", 5.0), ("b", 21.0), ("a", 28.0)]


def test_by_count_a_loaded_model_waits_behind_the_load_of_another() -> None:
    of = trace(Arrival(0.0, "small", 1.0), Arrival(5.0, "a", 1.0), Arrival(6.0, "small", 1.0))
    assert starts(of, LruByCount) == [("small", 1.0), ("a", 10.0), ("small", 10.0)]
    assert starts(of, Overtaking) == [("small", 1.0), ("a", 10.0), ("small", 6.0)]


def test_by_count_no_more_models_are_held_than_may_be() -> None:
    of = trace(Arrival(0.0, "small", 1.0), Arrival(5.0, "a", 1.0))
    policy = LruByCount(of, most=1)
    assert fleet_simulator.replay(of, policy).peak_bytes == 6


def test_the_one_that_was_used_longest_ago_goes() -> None:
    models = tuple(ModelSpec(name, 4, 1.0, 1.0) for name in "abc")
    asked = tuple(Arrival(10.0 * n, name, 1.0) for n, name in enumerate("abacb"))
    of = Trace(About("test", "", 8), models, asked)
    assert fleet_simulator.replay(of, Fifo(of)).loads == 4, "c takes the place of b, so b is loaded twice"


def test_who_overtakes_without_end_keeps_others_waiting_and_rolecast_does_not() -> None:
    busy = tuple(Client(n * 0.5, tuple(Turn("a", 3.0) for _ in range(100))) for n in range(4))
    of = trace(Arrival(10.0, "b", 1.0), clients=busy)
    overtaken, ours = starts(of, Overtaking)[0], starts(of, fleet.Rolecast)[0]
    assert overtaken[1] > 500
    assert ours[1] < 50


def test_a_pinned_model_stays_under_every_policy() -> None:
    of = fleet_workload.read(fleet_workload.FOLDER / "pinned.jsonl")
    for make in fleet.POLICIES.values():
        result = fleet_simulator.replay(of, make(of))
        assert len({since for name, _, since, _ in result.spans if name == "router"}) == 2, (
            "it loads once, and is there"
        )


# -- files, bars, the command ----------------------------------------------------------------------------------------


def test_the_bundled_traces_are_what_their_script_makes(tmp_path: Path) -> None:
    made = [fleet_workload.write(make(), tmp_path) for make in fleet_make_traces.ALL]
    bundled = fleet_workload.FOLDER.glob("*.jsonl")
    assert {path.name: path.read_bytes() for path in made} == {path.name: path.read_bytes() for path in bundled}
    assert fleet_workload.read(made[0]) == fleet_make_traces.ALL[0]()


HEAD = '{"kind":"trace","name":"x","about":"","budget_bytes":1}\n'
MODEL = '{"kind":"model","model":"m","size_bytes":%d,"load_s":%d,"unload_s":1}\n'
REQUEST = '{"kind":"request","at_s":0,"model":"m","service_s":1}\n'


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("", "the first line must be the trace"),
        (REQUEST, "the first line must be the trace"),
        ("{", ":1: Input data was truncated"),
        ('{"kind": "wish"}', ":1: Invalid value 'wish'"),
        (HEAD + REQUEST, "m is asked for"),
        (HEAD + MODEL % (2, 1), "m does not fit"),
        (HEAD + MODEL % (1, -1), "a time is negative"),
        (HEAD + MODEL % (1, 1) + MODEL % (1, 1), "two models have one name"),
        (HEAD + '{"kind":"client","at_s":0,"turns":[]}', "a client asks for nothing"),
        (HEAD + MODEL.replace("}", ',"slots":0}') % (1, 1), "a model has no slot"),
    ],
)
def test_a_wrong_trace_says_what_is_wrong(
    lines: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(lines)
    assert fleet.main([str(path)]) == 2
    assert says in capsys.readouterr().err


def test_an_unknown_trace_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet.main(["tem"]) == 2
    assert "team" in capsys.readouterr().err


def test_every_bar_is_met_on_the_bundled_traces(capsys: pytest.CaptureFixture[str]) -> None:
    status = fleet.main(["--json"])
    told = json.loads(capsys.readouterr().out)
    assert [bar for bar in told["bars"] if not bar["met"]] == []
    assert status == 0
    assert {row["trace"] for row in told["figures"]} == {path.stem for path in fleet_workload.FOLDER.glob("*.jsonl")}
    assert len(told["figures"]) == len(fleet.POLICIES) * len(fleet_make_traces.ALL)


def row(policy: str, **others: object) -> "fleet_report.Figures":
    made = fleet_report.Figures(
        "team", policy, 10, 10, loads=5, idle_loads=0, wait_p50_s=1, wait_p95_s=5, wait_max_s=9, wait_p95_by_s={},
        per_minute=1, busy_share=1, bound_s=10,
    )  # fmt: skip
    return msgspec.structs.replace(made, **others)


@pytest.mark.parametrize(
    ("ours", "missed"),
    [
        ({}, None),
        ({"served": 9}, "all are answered"),
        ({"beyond": 1}, "declared bound"),
        ({"loads": 6}, "no more swaps"),
        ({"wait_p95_s": 5.1}, "at least 2x better"),
    ],
)
def test_a_bar_that_is_missed_is_told_and_ends_with_a_status(ours: dict[str, object], missed: str | None) -> None:
    rows = [row("fifo", wait_p95_s=10), row("lru-by-count"), row("rolecast", **ours)]
    found = fleet_report.bars(rows)
    assert [bar.what for bar in found if not bar.met] == [b.what for b in found if missed and missed in b.what]
    assert ("MISSED" in fleet_report.verdicts(found)) is bool(missed)


def test_the_same_trace_gives_the_same_figures_for_people_too(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for _ in range(2):
        assert fleet.main(["burst", "priorities"]) == 0
        told.append(capsys.readouterr().out.splitlines()[:-1])
    assert told[0] == told[1]
    assert any(line.split()[:1] == ["rolecast"] for line in told[0])


def test_the_picture_is_drawn_or_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, of = tmp_path / "new" / "fleet.png", str(fleet_workload.write(trace(Arrival(0.0, "a", 1.0)), tmp_path))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert fleet.main([of, "--plot", str(path)]) == 0
    assert "pip install matplotlib" in capsys.readouterr().err
    monkeypatch.undo()
    pytest.importorskip("matplotlib")
    assert fleet.main([of, "--plot", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")
