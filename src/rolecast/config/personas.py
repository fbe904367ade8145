"""What a persona may be: how one is called, and which texts are none. Reads nothing.

A persona says how to speak. A text that tries to take a model's own rules away is no persona, and is refused.
"""

import re

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
"""Names of files, without what is behind the point; never a path."""
TEXT, NOBODY = "text", "none"
"""Names that are no files: the text of the configuration, and nobody in particular."""
SHORTEST, LONG = 10, 2000
"""Characters: a shorter one is refused, of a longer one somebody is warned."""
LONGEST_BYTES = 64 * 1024

_RULES = r"(?:rules?|instructions?|guidelines?|polic(?:y|ies)|prompts?|restrictions?|safeguards?|filters?)"
_PATTERNS = {
    "asks to leave rules aside": re.compile(
        rf"\b(?<!not )(?<!never )(?:ignore|disregard|forget|override|bypass|circumvent)\b[^.!?\n]{{0,40}}\b{_RULES}\b"
    ),
    "says that there are no limits": re.compile(
        rf"\b(?:without|no|free (?:of|from)|not bound by)\s+(?:any\s+|all\s+)?"
        rf"(?:ethical\s+|moral\s+|safety\s+|content\s+)(?:{_RULES}|limits?|limitations?|constraints?|boundaries)\b"
    ),
    "is a known trick": re.compile(r"\b(?:jail ?break(?:s|ing|ed)?|do anything now|dan mode|developer mode enabled)\b"),
}


def problem(text: str) -> str:
    """Why a text is no persona, as the end of a sentence; '' = it is one."""
    told = text.strip()
    if not told:
        return "is empty"
    if len(told) < SHORTEST:
        return f"has {len(told)} characters, and needs {SHORTEST} at least"
    if len(told.encode("utf-8", "surrogatepass")) > LONGEST_BYTES:
        return f"is longer than {LONGEST_BYTES // 1024} KiB"
    if "\0" in told or any("\ud800" <= sign <= "\udfff" for sign in told):
        return "holds characters that are no text"
    plain = " ".join(told.lower().split())
    return next((why for why, pattern in _PATTERNS.items() if pattern.search(plain)), "")


def warning(text: str) -> str:
    """What somebody should know of it, as the end of a sentence; '' = nothing."""
    length = len(text.strip())
    return f"has {length} characters, which every request pays for; {LONG} are plenty" if length > LONG else ""
