"""The play of scientific research: the works that an answer cites are listed, and those that nobody gave it."""

import re

from rolecast.tasks.aside import aside
from rolecast.tasks.backstage import Backstage
from rolecast.tasks.job import Job
from rolecast.turn.stage import Stage
from rolecast.values import Metadata

MOST = 50
"""So many works are told."""
_NAME = r"[A-Z\u00c0-\u00de](?:['\u2019][A-Z])?[^\W\d_]++(?:-[^\W\d_]++)?"
_NAMES = (  # blanks are bounded: a text may be made to be slow
    rf"{_NAME}(?:\s{{1,3}}et\s{{1,3}}al\.?|(?:,?\s{{1,3}}(?:and|&)\s{{1,3}}{_NAME})"
    rf"|(?:,\s{{1,3}}{_NAME}){{0,8}},?\s{{1,3}}(?:and|&)\s{{1,3}}{_NAME})?"
)
_WORK = re.compile(
    rf"\b(?P<names>{_NAMES})(?:\s{{0,3}},\s{{0,3}}|\s{{1,3}}\(?)(?P<year>(?:18|19|20)\d\d)[a-z]?\b"
    r"|\b(?P<doi>10\.\d{4,9}/[^\s\"'<>)\]]+)|\b(?i:arxiv):\s?(?P<arxiv>\d{4}\.\d{4,5})",
)
_WORDS = """
January February March April May June July August September October November December Spring Summer Autumn Winter
In Since By During Around Before After Until Of From The
"""
_NO_NAMES = frozenset(_WORDS.split())
"""What stands in front of a year that is no name of an author."""


async def science(stage: Stage, job: Job, backstage: Backstage) -> None:
    """Answer as it comes, then tell what it cites.

    Metadata: `citations`, and `unverified_citations`, which are those that the prompt does not have: look them up.
    """
    answer = await stage.answer(job.written(), tell=True)
    cited = await aside(len(answer.text), citations, answer.text)
    if cited:
        asked = job.user()
        given = {_key(each) for each in await aside(len(asked), citations, asked)}
        stage.tell(Metadata({"citations": cited, "unverified_citations": [c for c in cited if _key(c) not in given]}))


def citations(text: str) -> list[str]:
    """The works that a text cites, by author and year, DOI or arXiv number, each once."""
    found: dict[str, str] = {}
    for each in _WORK.finditer(text):
        if each["doi"]:
            work = each["doi"].rstrip(".,;:")
        elif each["arxiv"]:
            work = f"arXiv:{each['arxiv']}"
        elif each["names"].split()[0].strip(",") in _NO_NAMES:
            continue
        else:
            work = f"{' '.join(each['names'].split())} {each['year']}"
        found.setdefault(_key(work), work)
        if len(found) == MOST:
            break
    return list(found.values())


def _key(work: str) -> str:
    """By the first author and the year, in which ways of citing agree."""
    names, _, year = work.rpartition(" ")
    return f"{re.split(r'[ ,]', names)[0]} {year}".casefold() if names else work.casefold()
