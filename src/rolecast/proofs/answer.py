"""Finds the final answer in what a model wrote. Plain text work: knows no mathematics and imports nothing heavy."""

import re
from typing import NamedTuple

MOST_CHARS = 400
"""An answer is short; a longer one is cut."""
MOST_BOXES = 50
MOST_WORK = 20_000
"""The answer is at the end of a text; no more of it is looked at."""
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_HASHES = re.compile(r"^[ \t]*####[ \t]*(\S.*)$", re.MULTILINE)
_MARK = r"(?:the\s+|our\s+|my\s+)?(?:final\s+|correct\s+)?(?:answer|result|solution|solutions)"
_IS = r"(?:is|are|equals|comes\s+to|(?:should|must|will)\s+be)"
_LINE = re.compile(rf"^[^\w\n]{{0,40}}_*{_MARK}[*_\s]*(?::|=|\b{_IS}\b:?)[*_ \t]*(.*)$", re.MULTILINE | re.IGNORECASE)
_INLINE = re.compile(
    rf"\b(?:final\s+)?(?:answer|result|solutions?)\s+(?:{_IS}|=|:)\s*:?\s*([^\n]+)",
    re.IGNORECASE,
)
_EQUATION = re.compile(r"\s*[$*_(\\]*\s*[A-Za-z]\w{0,2}\s*=\s*\S")
_END_OF_SENTENCE = re.compile(r"(?<![A-Z])\.\s+(?=[A-Z])|(?<=[a-z]{2})[!?]\s")
_TOLD = re.compile(r"(?:=|≈|\bis\b|\bare\b)\s*([^=≈]+)$")
_NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?")
SHORT = 40
_EMPHASIS = re.compile(r"\*\*|__|`|(?<!\w)\*(?=\w)|(?<=\w)\*(?!\w)(?!\s*[\d(])")


class Final(NamedTuple):
    """A final answer; `sure` = the text marks it as one."""

    text: str
    sure: bool


def final_answer(work: str) -> Final:
    """The answer that a text comes to; an empty one where it says nothing."""
    work = work[-MOST_WORK:]
    for marked in (_boxed, _hashed, _marked):
        found = marked(work)
        if found and (text := _bare(found)):
            return Final(text, True)
    return Final(_bare(_last(work)), False)


def shown(final: Final) -> str:
    """The answer as people are told it: of a long sentence without a mark, what it says a value is, or a number."""
    if final.sure or len(final.text) < SHORT:
        return final.text
    told = _TOLD.findall(final.text)
    if told and len(told[-1]) < SHORT and re.search(r"\d", told[-1]):
        return str(told[-1]).strip()
    numbers = _NUMBER.findall(final.text)
    return numbers[-1] if numbers else final.text


def _boxed(work: str) -> str:
    """What stands in the boxes of the last line that has one."""
    found: list[tuple[int, int, str]] = []
    for match in list(_BOX.finditer(work))[-MOST_BOXES:]:
        inside = _until_closed(work, match.end())
        if inside is not None and not (found and match.start() < found[-1][1]):
            found.append((match.start(), match.end() + len(inside), inside))
    if not found:
        return ""
    start = work.rfind("\n", 0, found[-1][0]) + 1
    return ", ".join(inside for begin, _, inside in found if begin >= start)


def _until_closed(text: str, start: int) -> str | None:
    depth = 1
    for index in range(start, min(len(text), start + MOST_CHARS)):
        depth += (text[index] == "{") - (text[index] == "}")
        if not depth:
            return text[start:index]
    return None


def _hashed(work: str) -> str:
    found = _HASHES.findall(work)
    return found[-1] if found else ""


def _marked(work: str) -> str:
    """What follows the last mark such as `Answer:`, with further lines that are equations of unknowns."""
    lines = list(_LINE.finditer(work))
    inline = list(_INLINE.finditer(work))
    if not lines and not inline:
        return ""
    if not lines or (inline and inline[-1].start(1) > lines[-1].end()):
        return _END_OF_SENTENCE.split(inline[-1][1], maxsplit=1)[0]
    first = lines[-1][1].strip()
    rest = work[lines[-1].end() :].split("\n")[1:]
    while rest and not first:
        first = rest.pop(0).strip()
        if first in ("$$", "\\[", "```"):
            first = ""
    parts = [_END_OF_SENTENCE.split(first, maxsplit=1)[0]]
    if _EQUATION.match(first):
        for line in rest:
            if not _EQUATION.match(line):
                break
            parts.append(line.strip())
    return ", ".join(part.rstrip(".,;") for part in parts)


def _last(work: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in work.splitlines() if re.search(r"\w", line)]
    return _END_OF_SENTENCE.split(lines[-1])[-1] if lines else ""


def _bare(text: str) -> str:
    """The same without marks of Markdown and the dot at its end."""
    text = _EMPHASIS.sub("", text[: 2 * MOST_CHARS]).strip()
    boxed = _boxed(text)
    text = (boxed or text).strip().rstrip(".").strip()
    if text.endswith(")") and text.count("(") + text.count("[") < text.count(")") + text.count("]"):
        text = text[:-1].rstrip()  # it closes what was opened before the answer
    for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        inner = text[len(left) : len(text) - len(right)]
        if text.startswith(left) and text.endswith(right) and len(text) > len(left) + 1 and left not in inner:
            text = inner.strip()
    return text[:MOST_CHARS].rstrip(".").strip()
