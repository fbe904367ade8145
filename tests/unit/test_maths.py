"""The task of mathematics through a whole gateway: answers of a scripted worker, really checked beside it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway import (
    DONE,
    USAGE,
    Gate,
    Peer,
    Received,
    ScriptedWorker,
    config,
    delta,
    on_uvloop,
    remote,
    request,
    running_gateway,
    short_folder,
    stream,
    until,
)

from rolecast.config import paths
from rolecast.processes.helper import Helper
from rolecast.proofs.box import boxed
from rolecast.tasks.maths import check as maths_check
from rolecast.tasks.maths.check import DOWN, INSTALL, NOT_CHECKABLE, REFUTED, SLOW, VERIFIED, Checker

pytestmark = pytest.mark.anyio
anyio_backend = on_uvloop

PROBLEMS: dict[str, list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("maths_problems.json").read_text(encoding="utf-8")
)
QUADRATIC = "Solve x^2 - 5x + 6 = 0"
ENDLESS = "Expand (a + b + c + x + y + z)^60"
"""Eight million terms."""
SECRET = "zanzibar"


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Gate, ScriptedWorker]]:
    with short_folder() as folder:
        async with ScriptedWorker().listening(f"{folder}/w.sock") as worker:
            made = config({"m": remote(worker.url)})
            made = msgspec.structs.replace(made, roles={"mathematical_reasoning": ["m"]})
            async with running_gateway(made, Path(folder)) as gate:
                gate.gateway.backstage.maths._check_s = 20.0  # machines that run tests may be busy
                yield gate, worker


@pytest.fixture
async def checker(tmp_path: Path) -> AsyncIterator[Checker]:
    made = Checker(tmp_path / "proofs.log", check_s=20.0)
    yield made
    await made.close()


async def solve(front: Gate, problem: str, **fields: Any) -> dict[str, Any]:
    answer = await front.ask(request({"prompt": problem, **fields}, path="/math/solve"))
    assert answer.status == 200, answer.body
    return dict(answer.json)


def says(*texts: str) -> list[Any]:
    return [stream(delta(text), USAGE, DONE) for text in texts]


def by_seed(answers: dict[int, str], asked: list[int]) -> Any:
    """A script that answers by the seed of a request, so that many may be under way."""

    async def script(peer: Peer, received: Received) -> None:
        asked.append(received.json["seed"])
        await stream(delta("Some steps.\n\n"), delta(f"Answer: {answers[received.json['seed']]}"), USAGE, DONE)(
            peer, received
        )

    return script


@pytest.mark.timeout(600)
async def test_of_all_problems_every_wrong_answer_is_refuted_and_no_right_one_is(
    front: Gate, worker: ScriptedWorker
) -> None:
    cases = [
        (row["problem"], answer, told)
        for row in PROBLEMS["checked"]
        for told, answers in ((VERIFIED, row["right"]), (REFUTED, row["wrong"]))
        for answer in answers
    ]
    asked: list[int] = []
    worker.usual = by_seed({number: answer for number, (_, answer, _) in enumerate(cases)}, asked)
    worker.keep = False
    turns = asyncio.Semaphore(6)

    async def one(number: int) -> tuple[str, str, str]:
        async with turns:
            found = await solve(front, cases[number][0], seed=number)
            assert found["metadata"]["retried"] == (cases[number][2] == REFUTED)
            return (*cases[number][:2], found["metadata"]["verification"])

    try:
        assert await asyncio.gather(*map(one, range(len(cases)))) == cases
    finally:
        worker.keep = True
    refuted = {number for number, case in enumerate(cases) if case[2] == REFUTED}
    assert sorted(asked) == sorted([*range(len(cases)), *refuted])  # each of these is asked once more, and only they


async def test_a_refuted_answer_is_asked_for_once_more_with_what_the_check_saw(
    front: Gate, worker: ScriptedWorker
) -> None:
    before = len(await front.rows())
    worker.script.extend(says("Hm.\nAnswer: x = 4, x = 1", "So.\nAnswer: x = 2, x = 3"))
    found = await solve(front, QUADRATIC)
    assert found["response"] == "So.\nAnswer: x = 2, x = 3"
    assert found["metadata"] == {
        "answer": "x = 2, x = 3",
        "verification": "verified",
        "retried": True,
        "checked_by": "substitution",
    }
    first, second = (each.json["messages"] for each in worker.requests)
    assert second[: len(first)] == first
    assert second[-2] == {"role": "assistant", "content": "Hm.\nAnswer: x = 4, x = 1"}
    assert "With x = 4 the left side is 2 and the right side is 0." in second[-1]["content"]
    assert "x = 3" not in second[-1]["content"]
    rows = await front.rows()
    assert len(rows) == before + 1  # one request in the books, with the tokens of both
    assert rows[-1].completion_tokens == 6


async def test_it_is_asked_again_once_and_no_more(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.extend(says("Answer: 5", "Answer: 6", "Answer: 4"))
    found = await solve(front, "What is 2 + 2?")
    assert (found["response"], found["metadata"]["verification"]) == ("Answer: 6", "refuted")
    assert len(worker.requests) == 2


async def test_a_second_answer_that_is_empty_leaves_the_first(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.extend(says("Answer: 5", ""))
    found = await solve(front, "What is 2 + 2?")
    assert (found["response"], found["metadata"]["verification"]) == ("Answer: 5", "refuted")


async def test_what_cannot_be_checked_is_told_and_asked_once(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.extend(says("12 * 3 = 37, so\nAnswer: 3 apples"))
    found = await solve(front, "Tom has 5 apples and eats two. How many are left?")
    assert found["metadata"] == {
        "answer": "3 apples",
        "verification": "not_checkable",
        "retried": False,
        "reason": "no check for this kind of problem",
        "step_errors": ["12 * 3 = 37"],
    }
    assert len(worker.requests) == 1


async def test_a_stream_goes_out_as_it_comes_and_ends_with_what_the_check_came_to(
    front: Gate, worker: ScriptedWorker
) -> None:
    worker.script.extend([stream(delta("So.\n"), delta("Answer: 5"), USAGE, DONE)])
    answer = await front.ask(request({"prompt": "What is 2 + 2?", "stream": True}, path="/math/solve"))
    events = [json.loads(line[6:]) for line in answer.body.decode().split("\n") if line.startswith("data: ")]
    assert [each["chunk"] for each in events[:-1]] == ["So.\n", "Answer: 5"]
    assert events[-1] == {
        "done": True,
        "metadata": {"answer": "5", "verification": "refuted", "retried": False, "checked_by": "arithmetic"},
    }
    assert len(worker.requests) == 1  # nothing is sent twice


async def test_without_verification_nothing_is_started(front: Gate, worker: ScriptedWorker) -> None:
    helper = front.gateway.backstage.maths.helper
    await helper.close()
    worker.script.extend(says("Answer: 5"))
    found = await solve(front, "What is 2 + 2?", verify_answer=False)
    assert found["metadata"] == {"answer": "5"}
    assert not helper.running
    assert len(worker.requests) == 1


@pytest.mark.parametrize(
    ("options", "said", "not_said"),
    [
        ({}, ["numbered steps", '"Answer: ..."', "without LaTeX"], ["field", "algebra", "boxed"]),
        ({"use_latex": True}, ["\\boxed{...}", "numbered steps"], ['"Answer: ..."']),
        ({"show_work": False}, ["Give only the final answer"], ["numbered steps"]),
        ({"math_context": "algebra"}, ["algebra", "unknown"], []),
        ({"math_context": "Linear Algebra"}, ["linear algebra", "rows"], []),
        ({"extra_params": {"math_context": "number_theory"}}, ["number theory"], []),
        ({"math_context": "optimization"}, ["optimization", "ends of its range"], []),
        ({"math_context": "calculus"}, ["calculus"], []),
        ({"math_context": "geometry"}, ["geometry"], []),
        ({"math_context": "statistics"}, ["statistics"], []),
        ({"math_context": "discrete_math"}, ["discrete mathematics"], []),
    ],
)
async def test_each_option_changes_what_reaches_the_worker(
    front: Gate, worker: ScriptedWorker, options: dict[str, Any], said: list[str], not_said: list[str]
) -> None:
    worker.script.extend(says("Answer: 4"))
    await solve(front, "What is 2 + 2?", **options)
    system, user = worker.requests[0].json["messages"]
    assert [word for word in said if word not in system["content"]] == []
    assert [word for word in not_said if word in system["content"]] == []
    assert user == {"role": "user", "content": "What is 2 + 2?"}


async def test_the_settings_are_the_tasks_and_zero_is_a_wish(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.extend(says("Answer: 4", "Answer: 4"))
    await solve(front, "What is 2 + 2?")
    await solve(front, "What is 2 + 2?", temperature=0, max_tokens=7)
    usual, own = (each.json for each in worker.requests)
    assert (usual["temperature"], usual["top_p"], usual["max_tokens"]) == (0.4, 0.85, 1024)
    assert (own["temperature"], own["max_tokens"]) == (0, 7)


async def test_a_problem_may_stand_beside_the_prompt(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.extend(says("Answer: 4"))
    answer = await front.ask(request({"problem": "What is 2 + 2?"}, path="/math/solve"))
    assert answer.json["metadata"]["verification"] == "verified"
    assert worker.requests[0].json["messages"][-1]["content"] == "What is 2 + 2?"


async def test_an_unknown_field_is_refused(front: Gate, worker: ScriptedWorker) -> None:
    answer = await front.ask(request({"prompt": "2 + 2", "math_context": "astrology"}, path="/math/solve"))
    assert answer.status == 422
    assert "general, algebra" in answer.error["message"]
    assert worker.requests == []


async def test_without_the_package_it_says_what_to_install(
    front: Gate, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maths_check, "find_spec", lambda name: None)
    worker.script.extend(says("Answer: 5"))
    found = await solve(front, "What is 2 + 2?")
    assert (found["metadata"]["verification"], found["metadata"]["reason"]) == (NOT_CHECKABLE, INSTALL)


async def test_a_client_that_leaves_during_the_check_frees_the_request(front: Gate, worker: ScriptedWorker) -> None:
    worker.script.extend(says("Answer: (a + b)^60"))
    async with front.client() as client:
        await client.send(request({"prompt": ENDLESS}, path="/math/solve"))
        await until(lambda: worker.requests and front.gateway.dispatch.active)
        await asyncio.sleep(0.1)
        client.abort()
    await until(lambda: not front.gateway.dispatch.active)


# -- the process beside the gateway ----------------------------------------------------------------------------


def child_of(helper: Helper) -> Any:
    assert helper._child is not None
    return helper._child


async def test_many_checks_at_once_are_all_right(checker: Checker) -> None:
    orders = [(f"What is {n} + {n}?", f"Answer: {2 * n + n % 2}") for n in range(1, 21)]
    told = await asyncio.gather(*(checker.check(*order) for order in orders))
    assert [each.verification for each in told] == [REFUTED if n % 2 else VERIFIED for n in range(1, 21)]


async def test_a_check_that_takes_for_ever_ends_alone(tmp_path: Path) -> None:
    checker = Checker(tmp_path / "proofs.log", check_s=2.0)
    try:
        await checker.check("What is 1 + 1?", "Answer: 2")
        child = child_of(checker.helper)
        slow, quick = await asyncio.gather(
            checker.check(ENDLESS, "Answer: a^60"), checker.check("What is 2 + 2?", "Answer: 4")
        )
        assert (slow.verification, slow.reason) == (NOT_CHECKABLE, SLOW)
        assert quick.verification == VERIFIED
        assert child_of(checker.helper) is child  # the others' process lives
    finally:
        await checker.close()


async def test_hostile_problems_come_to_nothing(checker: Checker, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    texts = [
        f"__import__('pathlib').Path('{mark}').touch()",
        "10**10**10",
        "factorial(10**9)",
        "Solve " + "sin(" * 30 + "x" + ")" * 30 + " = 0",
        "Factor (x^59 + 1)(y^59 + 1)(z^59 + 1)(a^59 + 1)",
        "Solve x^12 + a^12 = 7",
        "Find the determinant of " + str([["x^9"] * 8] * 8).replace("'", ""),
    ]
    quick = Checker(tmp_path / "quick.log", check_s=1.0)
    try:
        told = await asyncio.gather(*(quick.check(text, f"{text} = {text}\nAnswer: {text}") for text in texts))
        assert {each.verification for each in told} <= {NOT_CHECKABLE, REFUTED}
        assert not mark.exists()
        assert (await quick.check("What is 2 + 2?", "Answer: 4")).verification == VERIFIED
    finally:
        await quick.close()


async def test_a_process_that_is_killed_during_a_check_is_started_again(checker: Checker) -> None:
    await checker.check("What is 1 + 1?", "Answer: 2")
    first = child_of(checker.helper)
    slow = asyncio.create_task(checker.check(ENDLESS, "Answer: a^60"))
    await asyncio.sleep(0.2)
    os.kill(first.pid, signal.SIGKILL)
    assert (await checker.check("What is 2 + 2?", "Answer: 4")).verification == VERIFIED
    assert child_of(checker.helper) is not first
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


async def test_a_process_that_never_starts_is_a_reason(
    checker: Checker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checker.helper, "_module", "rolecast.no_such_module")
    told = await checker.check(f"What is {SECRET}?", "Answer: 5")
    assert (told.verification, told.reason) == (NOT_CHECKABLE, DOWN)
    assert "proofs.log" in caplog.text
    assert SECRET not in caplog.text


async def test_no_log_quotes_a_prompt(checker: Checker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for text in (SECRET, f"What is {SECRET} + 1?", f"Solve x = {SECRET}", "\x00" + SECRET, "Solve x^^2 = zanzibar"):
        await checker.check(text, f"{SECRET} = 1\nAnswer: {SECRET}")
    await checker.close()
    assert SECRET not in (tmp_path / "proofs.log").read_text()
    assert SECRET not in caplog.text


async def test_it_ends_when_nobody_checks(tmp_path: Path) -> None:
    checker = Checker(tmp_path / "proofs.log", idle_s=0.3)
    try:
        assert (await checker.check("What is 2 + 2?", "Answer: 4")).verification == VERIFIED
        await until(lambda: not checker.helper.running)
        assert (await checker.check("What is 2 + 2?", "Answer: 5")).verification == REFUTED
    finally:
        await checker.close()


def _eats() -> bytes:
    return bytes(len(bytearray(8 * 1024**3)))


def _spins() -> bytes:
    while True:
        pass


def _fails() -> bytes:
    raise ValueError(SECRET)


def _writes() -> bytes:
    Path("/tmp/rolecast-box-test").write_text("x" * 100)
    return b"written"


def _looks_around() -> bytes:
    os.write(1, SECRET.encode())
    os.write(2, SECRET.encode())
    return str(sum(map(_is_open, range(3, 256)))).encode()


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


async def test_the_box_holds_what_runs_in_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert await boxed(lambda: b"fine", 5.0) == b"fine"
    assert await boxed(_eats, 5.0) is None
    assert await boxed(_spins, 0.3) is None
    assert await boxed(_fails, 5.0) is None
    assert await boxed(_writes, 5.0) is None
    assert await boxed(_looks_around, 5.0) == b"1"  # the pipe that the answer goes through
    captured = capfd.readouterr()
    assert SECRET not in captured.out + captured.err


def test_the_log_has_a_place_of_its_own() -> None:
    assert paths.helper_log("proofs").parent not in (paths.worker_logs(), paths.job_logs())
