"""What the commands print, and the pure parts behind it."""

import re
import shlex
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecast.cli import bench, config, markdown, output, serve
from rolecast.cli.answer import Piece, Stats
from rolecast.cli.gateway import ModelStatus, Reload, Replica
from rolecast.cli.markdown import split_finished
from rolecast.client import LLMClientError


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (98_400_000, "98.4 MB"),
        (140e9, "140 GB"),
        (2e12, "2.0 TB"),
    ],
)
def test_sizes_are_short_and_decimal(count: float, text: str) -> None:
    assert output.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (12.9, "12 s"), (192, "3m 12s"), (7500, "2h 5m"), (350_000, "4d 1h"), (-1, "0.0 s")],
)
def test_durations_have_at_most_two_units(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


def test_what_is_said_of_an_answer_that_breaks_off_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*words: str) -> Iterator[Piece]:
        yield from map(Piece, words)
        raise LLMClientError("the worker ended.")

    for words, shown in ((("Once", " upon"), "Once upon\n"), ((), "")):
        with pytest.raises(LLMClientError):
            markdown.write(broken(*words))
        assert capsys.readouterr().out == shown


def test_why_a_model_does_not_run_names_it_once(capsys: pytest.CaptureFixture[str]) -> None:
    errors = {"huge": "huge takes 9 GB of memory.", "bad": "the weights are cut off."}
    serve.show_errors(ModelStatus(model_id, "cold", error=error) for model_id, error in errors.items())
    assert capsys.readouterr().out == "huge takes 9 GB of memory.\nbad: the weights are cut off.\n"


def test_what_has_to_be_installed_comes_with_the_command_of_this_installation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.warn("it is not installed; run `pip install 'rolecast[mlx]'`.")
    command = f"`{shlex.quote(sys.executable)} -m pip install 'rolecast[mlx]'`"
    assert capsys.readouterr().err == f"Warning: it is not installed; run {command}.\n"
    assert output.runnable(command) == command
    assert output.runnable("uv pip install vllm") == "uv pip install vllm"


def test_a_plan_of_an_edit_says_what_its_lines_are(capsys: pytest.CaptureFixture[str]) -> None:
    config._show_plan(Reload(applied=["roles.standard"], waiting=["log.format"]))
    assert capsys.readouterr().out == ("A reload would change:\n  roles.standard\n  log.format (at the next start)\n")


def test_a_table_in_a_pipe_is_never_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    rows = output.table("Model", "Source", wrap=("Source",))
    rows.add_row("a", output.plain("x" * 500))
    output.console().print(rows)
    assert "x" * 500 in capsys.readouterr().out


def test_text_from_elsewhere_is_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output.warn("[bold]models[0][/] is odd :smile:")
    assert capsys.readouterr().err == "Warning: [bold]models[0][/] is odd :smile:\n"


def test_workers_are_listed_with_their_copies_and_those_that_wait_for_memory(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    now = time.time()
    copies = [
        Replica(id="m", state="ready", pid=7, memory_bytes=2_000_000, active=1, slots=2),
        Replica(id="m#2", state="asleep", pid=8, memory_bytes=1_000_000, slots=2),
        Replica(id="m#3", state="cold", slots=2),
    ]
    output.show(
        serve.workers_table(
            [
                ModelStatus(id="m", state="ready", pid=7, rss_bytes=3_000_000, active=1, parallel=2, replicas=copies),
                ModelStatus(id="alone", state="ready", pid=9, replicas=[Replica(id="alone", state="ready", pid=9)]),
                ModelStatus(id="late", state="cold", waiting=2, wants_memory=True),
                ModelStatus(id="p", state="ready", pid=5, pinned=True, loaded_at=now - 20.5, leaves_at=None),
                ModelStatus(id="q", state="ready", pid=6, loaded_at=now - 20.5, leaves_at=now + 299.9),
                ModelStatus(id="r", state="ready", pid=4, loaded_at=now - 20.5, leaves_at=None),
            ]
        )
    )
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [
        ["m", "ready", "-", "3.0", "MB", "1/2", "0", "-", "0"],
        ["m", "ready", "7", "2.0", "MB", "1/2"],
        ["m#2", "asleep", "8", "1.0", "MB", "0/2"],
        ["alone", "ready", "9", "-", "0/1", "0", "-", "0"],
        ["late", "waits", "for", "memory", "-", "-", "0/1", "2", "-", "0"],
        ["p", "ready", "5", "-", "0/1", "0", "20", "s", "0", "pinned"],
        ["q", "ready", "6", "-", "0/1", "0", "20", "s", "0", "4m", "59s", "from", "now"],
        ["r", "ready", "4", "-", "0/1", "0", "20", "s", "0", "for", "good"],
    ]


def test_no_message_table_or_state_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    odd = "m\x1b[2J\u202e"
    output.warn(odd)
    output.say(output.escape(odd), stderr=True)
    rows = output.table("Model", "State")
    rows.add_row(output.plain(odd), output.state(odd))
    output.show(rows)
    printed = "".join(capsys.readouterr())
    assert printed.count(r"m\x1b[2J\u202e") == 4
    assert not set("\x1b\u202e") & set(printed)


@pytest.mark.parametrize("columns", ["30", "300"])
def test_a_table_keeps_every_cell_on_every_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    rows = output.table("Model", "State", "Where", "Requests", right=("Requests",))
    rows.add_row(output.plain("a-model-with-a-long-name"), output.state("ready"), output.plain("pid 123"), "1,000")
    output.show(rows)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= int(columns)
    for words in ("a-model-with-a-long-name", "ready", "pid 123", "1,000"):
        assert words in printed.replace("\n", "")


def test_counts_of_a_bench_stand_under_no_percentile(capsys: pytest.CaptureFixture[str]) -> None:
    bench._print(bench.summarise([bench.Sample(0.5, 0.1, 10)] * 1234, "auto", 2, 2.0))
    lines = capsys.readouterr().out.splitlines()
    head = next(at for at, line in enumerate(lines) if "p50" in line)
    assert any("1,234" in line for line in lines[:head])
    assert [line.split()[0] for line in lines[head + 1 :]] == ["latency", "first"]


@given(st.text(alphabet="ab`~ \n", max_size=60))
def test_a_growing_answer_is_cut_without_losing_a_character(text: str) -> None:
    done, rest = split_finished(text)
    assert done + rest == text
    assert not done or done.endswith("\n")


def test_a_code_block_is_not_finished_before_its_fence_closes() -> None:
    opened = "Text.\n\n```python\na = 1\n\nb = 2\n"
    assert split_finished(opened) == ("Text.\n\n", "```python\na = 1\n\nb = 2\n")
    assert split_finished(opened + "```\n\nMore") == (opened + "```\n\n", "More")


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=300))
def test_percentiles_are_measured_values_in_order(seconds: list[float]) -> None:
    found = bench.percentiles(seconds)
    assert list(found) == ["p50", "p95", "p99", "max"]
    assert list(found.values()) == sorted(found.values())
    assert set(found.values()) <= {round(value * 1000, 1) for value in seconds}


def test_failed_requests_count_in_no_rate() -> None:
    samples = [bench.Sample(0.5, 0.1, 10), bench.Sample(1.5, 0.2, 30), bench.Sample(0.1, error="429: full")]
    report = bench.summarise(samples, "auto", 2, 2.0)
    assert (report.requests, report.failed, report.errors) == (3, 1, ["429: full"])
    assert (report.requests_per_second, report.tokens_per_second) == (1.0, 20.0)
    assert report.latency_ms["max"] == 1500


def test_a_bench_without_one_finished_request_reports_nothing_measured() -> None:
    report = bench.summarise([], "auto", 1, 1.0)
    assert (report.requests, report.latency_ms, report.first_token_ms) == (0, {}, {})


def test_the_statistics_line_leaves_out_what_was_not_measured() -> None:
    assert Stats(completion_tokens=1, first_s=0.25).line() == "1 tokens · first token after 250 ms"
    assert re.search(r"m · 11 tokens · 10\.0 tokens/s", Stats("m", 5, 11, 1.0, 2.0).line())
