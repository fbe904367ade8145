"""Checks of answers in this process: what is verified, refuted or left alone, notation, steps, and hostile texts."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rolecast.proofs.answer import final_answer, shown
from rolecast.proofs.judge import NOT_CHECKABLE, REFUTED, VERIFIED, claim_of, judge
from rolecast.proofs.parser import Unreadable
from rolecast.proofs.plain import plain
from rolecast.proofs.reader import read, readings
from rolecast.proofs.steps import step_errors

PROBLEMS: dict[str, list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("maths_problems.json").read_text(encoding="utf-8")
)
CONTEXTS = {"general", "algebra", "calculus", "geometry", "statistics", "linear_algebra", "discrete_math"}
CONTEXTS |= {"number_theory", "optimization"}


def verdict(problem: str, answer: str) -> str:
    return judge(problem, f"Some steps.\n\nAnswer: {answer}").verification


def test_the_problems_are_of_all_fields_and_each_has_right_and_wrong_answers() -> None:
    rows = PROBLEMS["checked"]
    assert len(rows) >= 60
    assert len(PROBLEMS["unsure"]) >= 40
    assert {row["context"] for row in rows} == CONTEXTS
    assert all(len(set(row["right"])) >= 3 and len(set(row["wrong"])) >= 3 for row in rows)


@pytest.mark.parametrize("row", PROBLEMS["checked"], ids=lambda row: row["problem"][:50])
def test_every_wrong_answer_is_refuted_and_every_right_one_verified(row: dict[str, Any]) -> None:
    told = {answer: verdict(row["problem"], answer) for answer in (*row["right"], *row["wrong"])}
    assert told == dict.fromkeys(row["right"], VERIFIED) | dict.fromkeys(row["wrong"], REFUTED)


@pytest.mark.parametrize("row", PROBLEMS["unsure"], ids=lambda row: f"{row['problem'][:40]} {row['right'][:12]}")
def test_what_cannot_be_sure_is_never_refuted_when_it_is_right(row: dict[str, Any]) -> None:
    for work in (f"Answer: {row['right']}", f"Some steps.\n\n{row['right']}"):
        assert judge(row["problem"], work).verification != REFUTED, work


def test_a_right_answer_without_a_mark_is_not_refuted_and_a_wrong_one_is_not_verified() -> None:
    for row in PROBLEMS["checked"]:
        for answer in row["right"]:
            assert judge(row["problem"], f"We compute it.\n\nTherefore we get {answer}.").verification != REFUTED, (
                answer
            )
        for answer in row["wrong"]:
            told = judge(row["problem"], f"We compute it.\n\nTherefore we get {answer}.").verification
            assert told != VERIFIED, (row["problem"], answer)


@pytest.mark.parametrize("seed", range(60))
def test_quadratics_of_chance(seed: int) -> None:
    chance = random.Random(seed)
    a, p, q = chance.randint(1, 4), chance.randint(-9, 9), chance.randint(-9, 9)
    problem = f"Solve {a}x^2 + {-a * (p + q)}x + {a * p * q} = 0".replace("+ -", "- ")
    right = [f"x = {p}, x = {q}", f"x = {q} or x = {p}", f"\\boxed{{x = {p}, {q}}}"]
    assert [verdict(problem, answer) for answer in right] == [VERIFIED] * 3
    assert verdict(problem, f"x = {p + 1}, x = {q}") == (VERIFIED if {p + 1, q} == {p, q} else REFUTED)
    if p != q:
        assert verdict(problem, f"x = {p}") == REFUTED


@pytest.mark.parametrize("seed", range(60))
def test_fractions_of_chance(seed: int) -> None:
    chance = random.Random(seed)
    a, b, c, d = (chance.randint(1, 30) for _ in range(4))
    above, below = a * d - c * b, b * d
    problem = f"What is {a}/{b} - {c}/{d}?"
    for answer in (f"{above}/{below}", f"\\frac{{{above}}}{{{below}}}", f"{above / below:.4f}", f"{above / below:.3f}"):
        assert verdict(problem, answer) != REFUTED, answer
    assert verdict(problem, f"{above}/{below}") == VERIFIED
    assert verdict(problem, f"{above + 1}/{below}") == REFUTED


@pytest.mark.parametrize(
    ("problem", "answer", "told"),
    [
        ("Find the area of a circle with radius 1 m.", "31415.9 cm²", NOT_CHECKABLE),  # converted
        ("Find the volume of a cylinder with radius 50 cm and height 2 m.", "1.57 m³", NOT_CHECKABLE),  # mixed units
        ("What is the sum of the interior angles of a hexagon?", "4π radians", NOT_CHECKABLE),
        ("Differentiate sec(x).", "sec(x)tan(x)", VERIFIED),  # a word of the problem is a function as well
        ("Expand (x + y)^2.", "x^2 + 2xy + y^2", VERIFIED),
        ("Expand (a + c)^2 + c.", "a^2 + 2ac + c^2 + c", VERIFIED),  # no constant of integration
        ("Expand (m + 2)(m + 3).", "m^2 + 5 m + 6", VERIFIED),  # no metres
        ("What is the value of 2^10 - 5!?", "904", VERIFIED),
        ("What is 20% of 50 plus 5?", "11", NOT_CHECKABLE),  # or 15
        ("What is half of 10 plus 4?", "7", NOT_CHECKABLE),  # or 9
        ("Solve x^3 = 8", "x = 2", VERIFIED),  # the real one
        ("Solve sin(x) = 1/2", "x = π/6", NOT_CHECKABLE),  # one of many
        ("Solve sin(x) = 1/2", "x = π/4", REFUTED),
        ("Find the inverse of [[1, 2], [2, 4]].", "It does not exist; the matrix is singular.", VERIFIED),
        ("Find the inverse of [[1, 2], [2, 4]].", "[[1, 0], [0, 1]]", REFUTED),
        ("Evaluate the integral \\int_{-1}^{1} 1/x dx", "0", NOT_CHECKABLE),
        ("Solve x^2 - 5x + 6 = 0 and then add the roots", "5", NOT_CHECKABLE),
        ("Explain why 2 + 2 = 4", "5", NOT_CHECKABLE),
        ("What is 7?", "8", NOT_CHECKABLE),
        ("", "8", NOT_CHECKABLE),
        ("What is 2 + 2?", "", NOT_CHECKABLE),
    ],
)
def test_traps(problem: str, answer: str, told: str) -> None:
    assert verdict(problem, answer) == told


@pytest.mark.parametrize(
    ("problem", "right", "wrong"),
    [
        ("What is 1/4 + 1/4?", [".5", "= .5", "0.50", "\\frac12"], [".25", "5"]),
        ("Solve 4x = -3", ["-.75", "x = -.75"], [".75", "x = -75"]),
        ("What is 3/2 + 5/4?", ["2\\frac{3}{4}", "2 \\frac{3}{4}", "2\\dfrac34", "2 3/4"], ["1.5", "1\\frac{3}{4}"]),
        ("What is -7/2?", ["-3\\frac12", "-(3\\tfrac{1}{2})"], ["-2.5", "3\\frac12"]),
        ("What is 2\\frac{3}{4} + 1?", ["3.75", "3\\frac{3}{4}"], ["2.5"]),
        ("Find the derivative of ln(x)", ["1/x, x > 0", "\\frac1x \\text{ for } x > 0"], ["x, x > 0"]),
        ("Simplify (x^2 - 1)/(x - 1)", ["x + 1, x \\neq 1", "x+1 (x != 1)", "x + 1 for x ≠ 1"], ["x - 1, x \\neq 1"]),
    ],
)
def test_people_write_right_answers_in_many_ways(problem: str, right: list[str], wrong: list[str]) -> None:
    told = {answer: verdict(problem, answer) for answer in (*right, *wrong)}
    assert told == dict.fromkeys(right, VERIFIED) | dict.fromkeys(wrong, REFUTED)


@pytest.mark.parametrize(
    ("problem", "answer"),
    [
        ("Solve x^2 - 5x + 6 = 0", "(x-2)(x-3) = 0"),
        ("Solve x/(x-1) = 2", "2, x \\ne 1"),
        ("Solve the system x + y = 10, x - y = 4", "x=7\\quad y=3"),
        ("Simplify (x^2 + 5x + 6)/(x + 2)", "x + 3 \\text{ (provided } x \\neq -2)"),
    ],
)
def test_an_answer_with_more_beside_it_is_not_refuted(problem: str, answer: str) -> None:
    for work in (f"Answer: {answer}", f"So \\boxed{{{answer}}}"):
        assert judge(problem, work).verification != REFUTED


def test_why_an_equation_is_refuted_is_told_by_substitution_and_without_the_solution() -> None:
    told = judge("Solve x^2 - 5x + 6 = 0", "Answer: x = 4, x = 1")
    assert told.why == "With x = 4 the left side is 2 and the right side is 0."
    missing = judge("Solve x^2 - 5x + 6 = 0", "Answer: x = 2")
    assert "3" not in missing.why
    assert "another solution" in missing.why


# -- notation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("\\frac{1}{2}x^2 + \\sqrt[3]{8}", "x**2/2 + 2"),
        ("\\dfrac12", "1/2"),
        ("x² + 2x − 3", "x**2 + 2*x - 3"),
        ("sin^2 x cos x", "sin(x)**2*cos(x)"),
        ("\\sin^{-1}(1)", "pi/2"),
        ("2½", "5/2"),
        ("2 1/2", "5/2"),
        ("-x^2", "-x**2"),
        ("2^-1", "1/2"),
        ("e^{2x}", "exp(2*x)"),
        ("C(10, 3)", "120"),
        ("|-3|", "3"),
        ("\\left(\\frac{3}{4}\\right)^2", "9/16"),
        ("30°", "pi/6"),
        ("xe^x", "x*exp(x)"),
        ("\\log_2 8", "3"),
    ],
)
def test_notation_is_read_as_it_is_meant(text: str, meant: str) -> None:
    assert str(read(plain(text)).simplify()) == str(read(meant).simplify() if meant != "pi/2" else "pi/2")


def test_what_may_be_meant_in_two_ways_has_two_readings() -> None:
    assert [str(each) for each in readings("1/2x")] == ["x/2", "1/(2*x)"]
    assert len(readings("log(100)")) == 2
    assert len(readings("sin(30)")) == 2
    assert len(readings("sin(pi)")) == 1


# -- where an answer is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("work", "answer", "sure"),
    [
        ("Steps.\nAnswer: 42", "42", True),
        ("Steps.\n**Answer:** $x = 2$", "x = 2", True),
        ("Steps.\n**Final Answer: 42.**", "42", True),
        ("We box it: \\boxed{\\frac{1}{2}}. Done.", "\\frac{1}{2}", True),
        ("\\boxed{1}\nNo, it is \\boxed{2} and \\boxed{3}", "2, 3", True),
        ("so\n#### 72", "72", True),
        ("Answer:\n\n7", "7", True),
        ("Answer:\n$$\n7\n$$", "7", True),
        ("Answer: x = 2\ny = 3\nThat was it.", "x = 2, y = 3", True),
        ("Answer: 1\nWait, that is wrong.\nAnswer: 2", "2", True),
        ("The answer is 12. I hope that helps!", "12", True),
        ("Answer: 5! = 120", "5! = 120", True),
        ("First this.\nTherefore, x = 3.", "Therefore, x = 3", False),
        ("", "", False),
        ("Answer:", "Answer:", False),
    ],
)
def test_the_final_answer_is_found(work: str, answer: str, sure: bool) -> None:
    assert final_answer(work) == (answer, sure)


@pytest.mark.parametrize(
    ("work", "told"),
    [
        ("After all of these long considerations the value that we looked for is 12.", "12"),
        ("Then we see that the sum of all these numbers here is equal to x = 3/4", "3/4"),
        ("Having done all this we are left with 5 apples in the basket at the end", "5"),
        ("Nothing at all can be said about this problem, because it has no numbers", "Nothing at all can be said"),
        ("Answer: 7", "7"),
        ("So x = 2 or x = 3.", "So x = 2 or x = 3"),
    ],
)
def test_an_answer_that_is_not_marked_is_told_briefly(work: str, told: str) -> None:
    assert shown(final_answer(work)).startswith(told)


def test_a_right_answer_at_the_end_of_a_sentence_is_verified() -> None:
    work = "We multiply the two.\nAfter these long considerations the product of the numbers comes out and is 84."
    assert judge("What is 12 * 7?", work).verification == VERIFIED
    assert judge("What is 12 * 7?", work.replace("84", "85")).verification != VERIFIED


def test_a_long_text_is_looked_through_quickly() -> None:
    for text in ("*" * 500_000, "answer " * 80_000, "\\boxed{" * 80_000, "\n" * 500_000, "Answer: \n" * 50_000):
        begin = time.perf_counter()
        final_answer(text)
        assert time.perf_counter() - begin < 0.5


# -- steps -----------------------------------------------------------------------------------------------------


def test_false_equalities_on_the_way_are_told_and_true_ones_are_not() -> None:
    work = """
    1. First, 12 * 3 = 37
    2. then 37 + 1 = 38 = 40 - 2
    - 10 / 4 = 2.5, and 1/3 = 0.33
    $\\frac{1}{2} + \\frac{1}{3} = \\frac{2}{5}$
    x^2 + 6 = 6
    f(2) = 4, 101 = 5
    half of 10 + 2 = 7
    3 * 5 = 1 mod 7
    Area = 5 * 3 = 15 cm
    20% = 1/5
    """
    assert step_errors(work) == ["12 * 3 = 37", "((1)/(2)) + ((1)/(3)) = ((2)/(5))"]


def test_a_false_step_alone_refutes_nothing() -> None:
    told = judge("What is 12 * 3 + 1?", "12 * 3 = 35\nAnswer: 37")
    assert told.verification == VERIFIED
    assert told.step_errors == ("12 * 3 = 35",)


# -- hostile texts ---------------------------------------------------------------------------------------------

HOSTILE = [
    "10**10**10",
    "9^9^9^9",
    "1000000000!",
    "((10^9)!)!",
    "__import__('os').system('touch /tmp/x')",
    "exec('1')",
    "x.__class__.__mro__",
    "lambda: 0",
    "open('/etc/passwd')",
    "(" * 2000 + "1" + ")" * 2000,
    "-" * 2000 + "1",
    "9" * 100_000,
    "[[" * 500,
    "{" * 5000,
    "\\frac{" * 3000,
    "\\sqrt{" * 3000 + "2" + "}" * 3000,
    "x^" * 200 + "2",
    "(x+1)^100000",
    "(10^1000)^1000",
    "binom(1000000, 500000)",
    "e^(10^10)",
    "2^(2^(2^(2^2)))",
    "1/(1-1)",
    "0^(-1)",
    "gcd(" + "1," * 400 + "2)",
    "|" * 999,
    "\x00\ud7ff\u202e",
    "10^600" + "*10^600" * 60,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
def test_hostile_texts_are_unreadable_or_small(text: str) -> None:
    begin = time.perf_counter()
    try:
        found = readings(plain(text))
    except Unreadable:
        found = []
    assert all(len(str(each)) < 2000 for each in found)
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
def test_hostile_problems_and_answers_end_soon_and_are_not_verified(text: str) -> None:
    begin = time.perf_counter()
    for form in ("What is {}?", "Solve {} = 0", "Find the derivative of {}", "Factor {}"):
        assert judge(form.replace("{}", text), "Answer: 1234567").verification != VERIFIED
    assert judge("What is 2 + 2?", f"Answer: {text}").verification != VERIFIED
    assert judge("Solve x^2 - 4 = 0", f"{text} = {text}\nAnswer: x = {text}, x = 2").verification != VERIFIED
    assert time.perf_counter() - begin < 10


def test_only_what_is_known_as_a_whole_is_a_claim() -> None:
    assert claim_of("What is 2 + 2?") is not None
    for more in (" Then double it.", " if x is odd", " in base 7", ", but upside down", " for my little sister"):
        assert claim_of(f"What is 2 + 2{more}") is None, more


def test_the_gateway_imports_no_sympy() -> None:
    code = (
        "import sys, rolecast.app; from rolecast.tasks import backstage; from rolecast.tasks.maths import check, play;"
        "bad = {m for m in sys.modules if m.split('.')[0] in ('sympy', 'mpmath')} | "
        "({m for m in sys.modules if m.startswith('rolecast.proofs')} - {'rolecast.proofs', 'rolecast.proofs.answer'});"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("work", "answer"),
    [
        ("So the final answer should be 1", "1"),
        ("Well, the answer is 7)", "7"),
        ("(the answer must be 12).", "12"),
        ("The solution is [2, 5)", "[2, 5)"),
        ("The solution is (2, 5)", "(2, 5)"),
    ],
)
def test_an_answer_is_found_however_it_is_introduced(work: str, answer: str) -> None:
    assert final_answer(work) == (answer, True)
