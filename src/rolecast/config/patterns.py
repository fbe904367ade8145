"""Regular expressions that a user writes, compiled by RE2: no pattern and no text can hold up the gateway.

RE2 takes time linear in the text, and the text and the compiled pattern are bounded here. google-re2 is imported when
the first pattern is compiled.
"""

import re
from collections.abc import Callable

MOST_TEXT = 16_384
"""Characters of a text that are searched: of a longer one its two ends."""
MOST_PATTERN = 1000
"""Characters of a pattern."""
MOST_STEPS = 5000
"""Instructions of a compiled pattern; a search takes at most as many steps for each byte."""
MISSING = "needs google-re2, which is not installed: pip install 'rolecast[router]'"

Search = Callable[[str], bool]


def compiled(pattern: str) -> Search:
    """Whether it occurs in a text. Raises ValueError with what is wrong with it, in words for people."""
    try:
        import re2
    except ImportError:
        raise ValueError(MISSING) from None
    if len(pattern) > MOST_PATTERN:
        raise ValueError(f"is longer than {MOST_PATTERN} characters; shorten it, or make several rules of it")
    options = re2.Options()
    options.log_errors = False
    try:
        found = re2.compile(pattern, options)
    except (re2.error, UnicodeError) as fault:
        raise ValueError(f"is no regular expression of RE2: {_said(fault)}{_hint(pattern)}") from None
    if found.programsize > MOST_STEPS:
        raise ValueError("repeats too much to be searched quickly; use smaller numbers in {} or fewer classes")
    return lambda text: found.search(_searched(text)) is not None


def lost_edge(pattern: str) -> str:
    """The letter beside which a `\\b` of the pattern never fits, because RE2 takes it for no letter; '' = none."""
    found = _LOST.search(pattern)
    return (found[1] or found[2]) if found is not None else ""


_LOST = re.compile(r"(?:\A|[^\\])(?:\\\\)*(?:\\b(?:\((?:\?[a-z]*:)?)*([^\W\x00-\x7f])|([^\W\x00-\x7f])\\b)")


def _searched(text: str) -> str:
    if len(text) > MOST_TEXT:
        text = f"{text[: MOST_TEXT // 2]}\n{text[-MOST_TEXT // 2 :]}"
    return text.encode("utf-8", "replace").decode()  # RE2 takes no half of a pair


def _said(fault: Exception) -> str:
    said = fault.args[0] if fault.args and not isinstance(fault, UnicodeError) else "it holds half of a character"
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


def _hint(pattern: str) -> str:
    if any(sign in pattern for sign in ("(?=", "(?!", "(?<=", "(?<!")):
        return "; it knows no looking ahead or behind"
    return ""
