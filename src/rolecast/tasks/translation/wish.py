"""What a request for a translation asks for: the texts, and the languages, said by options or in the prompt itself.

Asks nobody.
"""

import re

import msgspec

from rolecast.errors import Invalid, TooLarge
from rolecast.tasks.job import Job
from rolecast.tasks.translation.detect import detect
from rolecast.tasks.translation.languages import Language, UnknownLanguageError, find
from rolecast.tasks.translation.placeholders import plain

MOST = 1_000_000
"""Characters that are translated in one request."""
UNSAID = frozenset({"", "auto", "detect", "detected", "automatic", "none", "null"})
"""Words for a language that is to be found by the text."""
_LANGUAGE = r"[^\W\d_][\w\u2019'()-]*(?:[ ][^\W\d_][\w\u2019'()-]*){0,3}"
_POLITE = r"\s*(?:please\s+|(?:can|could|would)\s+you\s+(?:please\s+)?)?translate\s+"
_FROM_TO = (
    rf"(?:from\s+(?P<source>{_LANGUAGE}?)\s+)?(?:in)?to\s+(?P<target>{_LANGUAGE}?)"
    rf"(?:\s+from\s+(?P<origin>{_LANGUAGE}?))?"
)
_IN_FRONT = re.compile(
    rf"{_POLITE}(?:(?:this|that|it|the\s+following)\s+)?(?:text|sentence|paragraph|message|passage|phrase|document)?\s*"
    rf"{_FROM_TO}\s*(?::|[.]?\s*\n)\s*(?P<text>\S)",
    re.IGNORECASE | re.DOTALL,
)
_ALONE = re.compile(
    rf"{_POLITE}(?:(?:this|that|it|the\s+following)\s+)?(?:text|texts|sentence|paragraph|message|document)?\s*"
    rf"{_FROM_TO}\s*[.:!]?\s*",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    rf"{_POLITE}(?:the\s+(?:text|sentence|word|phrase)\s+)?[\"“'«](?P<text>.+)[\"”'»]\s+{_FROM_TO}\s*[.?!]*\s*",
    re.IGNORECASE | re.DOTALL,
)
_OPENING, _QUOTING = 400, 2000
"""An instruction in front of a text ends within so many characters, one around a quoted text is no longer than that."""


class Wish(msgspec.Struct, frozen=True):
    """A request for a translation, understood."""

    texts: tuple[str, ...]
    batch: bool
    """They came as a list, and go back as one."""
    target: Language
    source: Language | None
    """As it was said; None = to be found by each text."""
    instruction: str = ""
    """What the prompt says besides the texts."""

    def source_of(self, text: str) -> Language | None:
        """The language of one text; None = it does not say."""
        return self.source or detect(plain(text[: 2 * _OPENING] if len(text) > 2 * _OPENING else text))


def wish_of(job: Job) -> Wish:
    """Read a job. Raises Invalid for a language that is none, TooLarge for too much."""
    texts = job.option("texts")
    text, instruction = job.option("text") or "", ""
    said_source, said_target = _said(job, "source_lang"), _said(job, "target_lang")
    prompt = job.prompt
    if texts is not None or text:
        found = _ALONE.fullmatch(prompt[:_OPENING]) if len(prompt) <= _OPENING else None
        instruction = "" if found else prompt.strip()
    else:
        found = None if said_target else _instructed(prompt)
        text = _text_in(found, prompt) if found else prompt
    target, source = _languages(found, said_target, said_source)
    batch = texts is not None
    all_texts = tuple(texts) if texts is not None else (text,)
    if sum(map(len, all_texts)) > MOST:
        raise TooLarge(f"A request has at most {MOST} characters to translate; send the text in parts.")
    if not any(each.strip() for each in all_texts):
        raise Invalid("There is no text to translate: give it as `prompt`, `text` or `texts`.", param="text")
    default = str(job.task.options["target_lang"].default or "spanish") if "target_lang" in job.task.options else "es"
    return Wish(all_texts, batch, target or language("target_lang", default), source, instruction)


def language(option: str, word: str) -> Language:
    """The language that an option names. Raises Invalid with what was perhaps meant."""
    try:
        return find(word)
    except UnknownLanguageError as error:
        raise Invalid(f"`{option}`: {error}.", param=option) from None


def _said(job: Job, option: str) -> str:
    """What the request itself says of a language; its default counts only where the prompt says nothing, either."""
    value = str(job.option(option) or "").strip()
    if option == "target_lang" and option not in job.said:
        return ""
    return "" if value.lower() in UNSAID else value


def _instructed(prompt: str) -> re.Match[str] | None:
    """An instruction around the text, if it names a language. Raises Invalid for one that there is not."""
    head = prompt[:_OPENING]
    if "translate" not in head.lower():
        return None
    found = _IN_FRONT.match(head)
    if found is None and len(prompt) <= _QUOTING:
        found = _BEHIND.fullmatch(prompt)
    if found is None or _known(found["target"]):
        return found
    if " " in found["target"]:  # "translate this to the letter": no language is meant
        return None
    raise Invalid(f"`target_lang`: {_why_not(found['target'])}.", param="target_lang")


def _text_in(found: re.Match[str], prompt: str) -> str:
    """What is to be translated: what is quoted, or all that follows the instruction."""
    return found["text"] if found.re is _BEHIND else prompt[found.start("text") :]


def _known(word: str) -> bool:
    return not _why_not(word)


def _why_not(word: str) -> str:
    try:
        find(word)
    except UnknownLanguageError as error:
        return str(error)
    return ""


def _languages(
    found: re.Match[str] | None, said_target: str, said_source: str
) -> tuple[Language | None, Language | None]:
    """Options count more than the prompt."""
    named = (found["source"] or found["origin"] or "") if found else ""
    target = language("target_lang", said_target) if said_target else None
    source = language("source_lang", said_source) if said_source else None
    if target is None and found:
        target = language("target_lang", found["target"])
    if source is None and named and _known(named):
        source = language("source_lang", named)
    return target, source
