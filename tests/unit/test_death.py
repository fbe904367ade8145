"""How an end of a worker is read: whose doing it was, and what is said of it."""

import signal
from pathlib import Path

import pytest

from rolecast.fleet import death
from rolecast.fleet.death import Cause, Kills


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """The root of a system that counts."""
    (tmp_path / "proc").mkdir()
    count(tmp_path, 3)
    return tmp_path


def count(system: Path, kills: int) -> None:
    """So many processes were killed for want of memory."""
    (system / "proc/vmstat").write_text(f"nr_free_pages 1\noom_kill {kills}\n")


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (0, Cause.EXITED),
        (1, Cause.EXITED),
        (128, Cause.EXITED),
        (250, Cause.EXITED),
        (-signal.SIGKILL, Cause.KILLED),
        (-signal.SIGTERM, Cause.KILLED),
        (128 + signal.SIGKILL, Cause.KILLED),
        (-signal.SIGSEGV, Cause.CRASHED),
        (-signal.SIGABRT, Cause.CRASHED),
        (128 + signal.SIGABRT, Cause.CRASHED),
    ],
)
def test_an_exit_code_tells_who_ended_it(system: Path, code: int, cause: Cause) -> None:
    assert death.of(code, [], Kills(system)).cause is cause


def test_a_kill_while_the_system_was_short_of_memory_is_no_kill_by_somebody_else(system: Path) -> None:
    kills = Kills(system)
    assert death.of(-9, [], kills).cause is Cause.KILLED
    count(system, 4)
    assert death.of(-15, [], kills).cause is Cause.KILLED  # memory is no signal 15
    ended = death.of(-9, [], kills)
    assert (ended.cause, ended.text) == (
        Cause.MEMORY,
        "its worker was ended by the system, which was short of memory.",
    )
    assert death.of(-9, [], kills).cause is Cause.KILLED  # one that was counted accounts for one
    count(system, 6)
    kills.look()
    assert death.of(-9, [], kills).cause is Cause.KILLED  # that was somebody else, before


@pytest.mark.parametrize("content", [None, "", "nr_free_pages 1\n", "oom_kill x\n", "oom_kill"])
def test_where_the_system_tells_nothing_a_kill_is_not_certainly_somebody_elses(
    system: Path, content: str | None
) -> None:
    file = system / "proc/vmstat"
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    ended = death.of(-9, [], Kills(system))
    assert (ended.cause, ended.certain) == (Cause.KILLED, False)
    assert death.of(-15, [], Kills(system)).certain


def test_the_last_words_of_a_crash_are_its_reason_and_not_its_stack() -> None:
    said = [
        "loading",
        "ggml.c:12: GGML_ASSERT(a == b) failed",
        "[New LWP 77]",
        "#0  0x00007f12 in clone ()",
        "0x7f",
        "",
    ]
    assert death.of(-6, said, Kills()).text == (
        "its worker was killed by signal 6 (SIGABRT); its last words: ggml.c:12: GGML_ASSERT(a == b) failed."
    )


def test_the_last_words_are_bounded_and_those_of_a_worker_that_was_ended_tell_nothing() -> None:
    assert len(death.of(1, ["x" * 5000], Kills()).text) < 400
    assert death.of(-15, ["fine"], Kills()).text == "its worker was killed by signal 15 (SIGTERM)."
    assert death.of(2, ["no such file", "Run 'docker run --help' for more"], Kills()).text == (
        "its worker ended with code 2; its last words: no such file."
    )
