"""Holds what a model wrote against what is certain of a problem. Never guesses: what is unclear is not checkable."""

import re
from typing import NamedTuple

from rolecast.proofs.answer import Final, final_answer, shown
from rolecast.proofs.claims import Claim, Finding
from rolecast.proofs.kinds import ALL
from rolecast.proofs.parser import Unreadable
from rolecast.proofs.problem import Problem
from rolecast.proofs.said import Said
from rolecast.proofs.steps import step_errors

VERIFIED, REFUTED, NOT_CHECKABLE = "verified", "refuted", "not_checkable"
UNKNOWN = "no check for this kind of problem"
UNREAD = "the final answer is not clear enough to be checked"
FAULTS = (
    Unreadable,
    ArithmeticError,
    ValueError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RecursionError,
    KeyError,
    IndexError,
)
"""What sympy raises where it gives up, besides our own."""


class Verdict(NamedTuple):
    """What a check came to. `why` is for the model; it does not hold the right answer."""

    verification: str
    reason: str = ""
    """Why it was not checkable."""
    checked_by: str = ""
    why: str = ""
    step_errors: tuple[str, ...] = ()


def judge(problem: str, work: str) -> Verdict:
    """Check the final answer of `work`, and the plain arithmetic on the way."""
    errors = tuple(step_errors(work))
    claim = claim_of(problem)
    if claim is None:
        return Verdict(NOT_CHECKABLE, UNKNOWN, step_errors=errors)
    words = Problem(problem).words
    final = final_answer(work)
    finding = _held(claim, final.text, words)
    if finding.right is None and not final.sure and _held(claim, shown(final), words).right:
        finding = Finding(True)
    if finding.right is None:
        return Verdict(NOT_CHECKABLE, UNREAD, claim.by, step_errors=errors)
    if finding.right:
        return Verdict(VERIFIED, checked_by=claim.by, step_errors=errors)
    if not final.sure and _occurs(claim, work, final, words):
        return Verdict(NOT_CHECKABLE, UNREAD, claim.by, step_errors=errors)
    return Verdict(REFUTED, checked_by=claim.by, why=finding.why, step_errors=errors)


def claim_of(problem: str) -> Claim | None:
    """What is certain of a problem; None where its text is not known as a whole."""
    asked = Problem(problem)
    if not asked.text:
        return None
    for kind in ALL:
        try:
            found: Claim | None = kind(asked)
        except FAULTS:
            continue
        if found is not None:
            return found
    return None


def _held(claim: Claim, text: str, words: frozenset[str]) -> Finding:
    if not text:
        return Finding(None)
    try:
        return claim.judge(Said(text, words))
    except FAULTS:
        return Finding(None)


def _occurs(claim: Claim, work: str, final: Final, words: frozenset[str]) -> bool:
    """Whether anything else in a text that marks no answer is right, or may be."""
    lines = [line for line in work.splitlines() if line.strip()][-30:]
    pieces = {
        piece.strip(" *$").rstrip(" .")
        for line in lines
        for piece in [line, *re.split(r"[=:~≈]|\bis\b|\bare\b", line), *re.findall(r"-?\d[\d,./]*", line)]
    }
    return any(
        _held(claim, piece.rstrip(".,"), words).right for piece in sorted(pieces)[:300] if piece and piece != final.text
    )
