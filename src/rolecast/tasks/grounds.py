"""What an answer has of the text that it was to be made of: words, quotes, the sentences that it relies on.

Counts words and understands nothing: a low share is a reason to look, a high one is no proof. Pure.
"""

import re
from collections.abc import Collection, Iterator

STEM = 6
"""Words that begin alike with so many letters count as one: plurals and endings differ."""
LEAST_QUOTE = 3
"""Words of a quote that is looked up."""
MOST_SOURCE = 500
"""Characters of a sentence that is told as a source."""
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\d+(?:[.,]\d+)*|[^\W\d_]+")
_QUOTE = re.compile(r'"([^"\n]{5,1000})"|“([^”\n]{5,1000})”|„([^“”\n]{5,1000})[“”]|«([^»\n]{5,1000})»')
_SENTENCE = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+|\n+|(?<=[\u3002\uff01\uff1f])")
_COMMON_WORDS = """
a about after all also am an and any are as at be because been but by can context could did do does for from had has
have he her here him his how i if in into is it its just me more most my no not of on one only or other our out over
own said same say says she should so some such than that the their them then there these they this those to too under
up very was we were what when where which while who whom why will with would yes you your
"""
_COMMON = frozenset(_COMMON_WORDS.split())


def words(text: str) -> Iterator[str]:
    """The words of a text that carry its content, by how they begin."""
    for found in _WORD.finditer(text.casefold()):  # not all at once, for other threads wait that long
        word = found[0]
        if word not in _COMMON and (len(word) > 2 or not word.isascii() or word[0].isdecimal()):
            yield word[:STEM] if word.isalpha() else word


def share(answer: str, known: Collection[str]) -> float | None:
    """The part of the answer's content words that are known, from 0 to 1; None = it has none."""
    said = list(words(answer))
    return round(sum(word in known for word in said) / len(said), 2) if said else None


def quotes(answer: str, context: str) -> tuple[int, int]:
    """How many quotes of some length an answer has, and how many of them stand in the context."""
    found = [next(filter(None, each)) for each in _QUOTE.findall(answer)]
    long = [_plain(each) for each in found if len(each.split()) >= LEAST_QUOTE]
    there = _plain(context) if long else ""
    return len(long), sum(each in there for each in long)


def sources(answer: str, context: str, most: int = 3) -> list[str]:
    """The sentences of the context that share most words with the answer, as they stand there, in its order."""
    said = set(words(answer))
    sentences = [each.strip() for each in _SENTENCE.split(context) if each and each.strip()]
    shared = [(len(said.intersection(words(sentence))), -i) for i, sentence in enumerate(sentences)]
    best = sorted((pair for pair in shared if pair[0]), reverse=True)[:most]
    return [sentences[i][:MOST_SOURCE] for i in sorted(-place for _, place in best)]


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold().strip(" .,;:!?")
