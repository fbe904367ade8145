"""A problem as somebody put it, without what people say around it: manners, wishes for steps, forms of the answer."""

import re
from collections.abc import Callable
from typing import Any

from rolecast.proofs.parser import Unreadable
from rolecast.proofs.plain import plain

MOST_CHARS = 1500
_MANNERS = re.compile(
    r"^(?:(?:please|hi|hello|hey|kindly|ok|okay|problem|question|exercise|q|task)\b[\s,.:!]*(?:\d{1,3}[.:)]\s+)?"
    r"|\d{1,2}[.)]\s+(?=[A-Za-z])|(?:can|could|would|will) you (?:please |kindly )?(?:help me (?:to )?)?"
    r"|(?:help me|i need to|i want to|i have to|let's|we want to)\s+)+",
    re.IGNORECASE,
)
_WISHES = (
    r"(?:please )?(?:show|explain|write|include|provide)\b.*\b(?:steps?|work|working|reasoning|solution)\b.*",
    r"explain(?: your answer)?",
    r"(?:let's )?(?:think|work|solve|do it|go)?\s*(?:it )?step[- ]by[- ]step",
    r"justify .*",
    r"check your answer",
    r"be (?:concise|brief|exact)",
    r"(?:please )?(?:give|express|write|state|leave|put|box|simplify)\b.*\b(?:answer|result|solution)s?\b.*",
    r"(?:answer|reply) (?:with|in) .*",
    r"use (?:the )?(?:quadratic formula|factoring|substitution|elimination|integration by parts|l'h[oô]pital's rule).*",
    r"use (?:the )?(?:power|product|quotient|chain) rule.*",
    r"simplify (?:fully|completely)",
    r"thanks?(?: you)?",
    r"(?:only|just) (?:give )?the (?:final )?(?:answer|result)",
)
_WISH = re.compile("|".join(_WISHES), re.IGNORECASE)
_ROUND = re.compile(r"\b(?:round|nearest|approximat|estimate|decimal places?|significant|about how)", re.IGNORECASE)
_TAILS = (
    r"(?:and )?(?:show|explain)(?: all)?(?: your| the)? (?:steps|work|reasoning)",
    r"step by step",
    r"please",
    r"using (?:the )?[a-z' -]{0,40}?(?:formula|rule|method|theorem|parts|factoring|elimination|substitution)",
    r"by (?:factoring|completing the square|hand|substitution|elimination)",
    r"in (?:simplest|lowest|simplified|exact) (?:form|terms)",
    r"completely",
    r"fully",
    r"over the reals?(?: numbers)?",
    r"exactly",
)
_TAIL = re.compile(rf"[,;]?\s+(?:{'|'.join(_TAILS)})$", re.IGNORECASE)
_SENTENCES = re.compile(r"(?<=[.?!])\s+(?=[A-Z(])|\n+")
_WORD = re.compile(r"[A-Za-z]+")


class Problem:
    """`text` is what is asked, in plain notation and on one line; '' = it is too long.

    `rough` = it asks for a rounded result. `words` may stand in an answer, as units do.
    """

    def __init__(self, original: str) -> None:
        self.rough = _ROUND.search(original) is not None
        self.words = frozenset(word.lower() for word in _WORD.findall(original[:MOST_CHARS]))
        self.text = _asked(original) if len(original) <= MOST_CHARS else ""


def _asked(original: str) -> str:
    sentences = [s.strip() for s in _SENTENCES.split(original.strip()) if s.strip()]
    kept = [s for s in sentences if not _WISH.fullmatch(_bare(s)) and not _is_rounding(s)]
    text = _MANNERS.sub("", plain(" ".join(kept))).strip()
    for _ in range(3):
        text = _TAIL.sub("", _ended(text))
    return _ended(re.sub(r"\s+", " ", text)).lstrip(" .:;*")


def _ended(text: str) -> str:
    """Without the signs of its end; the `!` of `5!` is a factorial."""
    return re.sub(r"(?<=[A-Za-z]{2})!+$", "", text.rstrip(" .?:;*")).rstrip(" .?:;*")


def _bare(sentence: str) -> str:
    return sentence.strip().rstrip(".!?").strip()


def _is_rounding(sentence: str) -> bool:
    """A sentence that only says how the result is rounded; one with a number to round is the problem itself."""
    return re.match(r"round (?:your|the|to|all|it)\b", sentence, re.IGNORECASE) is not None


Kind = Callable[[Problem], Any]
"""Gives a Claim, or None where the problem is of another kind."""
Made = Callable[..., Any]


def kinds(*rows: tuple[str, Made]) -> Kind:
    """A kind by patterns that must match the whole problem; the groups go to what makes the claim."""
    compiled = [(re.compile(pattern, re.IGNORECASE), made) for pattern, made in rows]

    def kind(problem: Problem) -> Any:
        for pattern, made in compiled:
            if (match := pattern.fullmatch(problem.text)) is None:
                continue
            try:
                found = made(problem, *match.groups())
            except Unreadable:
                continue
            if found is not None:
                return found
        return None

    return kind


_VERBS = "calculate|compute|evaluate|find|determine|work out|give|tell me|how much is|get|state|obtain"
ASK = rf"(?:(?:what(?:'s| is| are| does| would be| will be)|{_VERBS})\s+)"
"""How a result is asked for."""
THE = r"(?:the |an? )?(?:exact )?(?:value of |result of )?(?:the )?"
