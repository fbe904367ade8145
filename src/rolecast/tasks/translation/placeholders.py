"""What a translation must not touch: placeholders, tags, code, addresses. Taken out of a text, and put back.

Each becomes a mark with its number, which a model copies more surely than the thing itself. Whether it did is counted.
Pure.
"""

import re
from collections import Counter
from collections.abc import Callable

import msgspec

# Each part is bounded, possessive, or stopped by what it begins with: a text may be long, and made to be slow.
_KEPT = re.compile(
    r"""
      (?P<code>(?<!`)`++[^`\n]++`++)                                # `code`
    | (?P<address>https?://[^\s<>"')\]]*[\w/=&%~\-] | www\.[^\s<>"')\]]*[\w/])
    | (?P<mail>(?<![\w.+-])[\w.+-]{1,64}+@[\w-]{1,63}+(?:\.[\w-]{1,63}+){1,8})
    | (?P<target>(?<=\])\([^()\s]*\))                               # of a link in Markdown
    | (?P<tag></?[A-Za-z][^<>\n]*>|<!--[^<>\n]*-->|</?\d{1,3}[ ]?/?>|<%[^%<>\n]*%>)  # <b>, <0>, <%= x %>
    | (?P<entity>&(?:\#\d{1,7}|\#x[0-9A-Fa-f]{1,6}|[A-Za-z]\w{1,31});)
    | (?P<choice>\{\s*\w{1,64}+\s*,\s*(?:plural|select|selectordinal)\s*,\s*(?:offset:\d{1,9}\s*)?[=\w]{1,32}+\s*\{)
    | (?P<case>\}\s{0,9}+[=\w]{1,32}+\s{0,9}+\{|\}\s{0,9}+\})       # of ICU: {n, plural, one {an item} other {# items}}
    | (?P<double>\{\{[^{}\n]*\}\}|\{%[^{}%\n]*%\})                  # {{x}}
    | (?P<dollar>\$\{[^{}\n]*\}|\$\([^()\n]*\)|\$[A-Za-z_]\w*)       # ${x}
    | (?P<brace>\{[^{}\n]*\})                                       # {name}
    | (?P<named>%\([^()\n]*\)[-+\#0]{0,4}\d{0,4}(?:\.\d{1,4})?[diouxXeEfFgGcrs])
    | (?P<word>(?<![\d%])%[A-Za-z_][\w.]{0,63}%(?!\w)|(?<!\S):[A-Za-z_]\w{0,63}+(?::(?!\w))?)   # %count%, :name
    | (?P<place>(?<![\d%])%L?\d{1,2}(?![\d$.]|\w))                # %1
    | (?P<percent>(?<!\d)%(?:\d{1,4}\$)?[-+\#0]{0,4}\d{0,4}(?:\.\d{1,4})?(?:hh|h|ll|l|z)?[diouxXeEfFgGcrs@]|%%)
    | (?P<escape>\\[nrt])
    """,
    re.VERBOSE | re.DOTALL,
)


class Form(msgspec.Struct, frozen=True):
    """How marks are written. `find` has their number as its only group; what is `taken` in a text is kept as well."""

    write: Callable[[int], str]
    find: re.Pattern[str]
    taken: re.Pattern[str]
    open: str
    """What a mark begins with."""


TAGS = Form("<x{}/>".format, re.compile(r"<\s*[xX]\s*(\d{1,6})\s*/?\s*>"), re.compile(r"(?!)"), "<")
"""For language models, which have seen many documents with tags. One that stands in a text is a tag as any other."""
BRACKETS = Form("[{}]".format, re.compile(r"\[\s*(\d{1,6})\s*\]"), re.compile(r"\[\s*\d{1,6}\s*\]"), "[")
"""For translation models, whose vocabulary has little else that they copy."""


class Masked(msgspec.Struct, frozen=True):
    """A text with marks, and what each stands for."""

    text: str
    kept: tuple[str, ...]
    form: Form

    @property
    def marks(self) -> list[str]:
        """In their order."""
        return [self.form.write(number) for number in range(1, len(self.kept) + 1)]

    def whole(self, answer: str) -> bool:
        """Whether each mark is in the answer exactly once."""
        found = Counter(int(number) for number in self.form.find.findall(answer))
        return found == Counter(range(1, len(self.kept) + 1))

    def restored(self, answer: str) -> str:
        """The answer with what the marks stand for; one that stands for nothing is left out."""
        return self.form.find.sub(self._behind, answer)

    def segments(self) -> list[str]:
        """The text cut at its marks: text, mark, text ... text."""
        return re.split(f"({self.form.find.pattern.replace('(', '(?:', 1)})", self.text)

    def is_mark(self, segment: str) -> bool:
        """Whether a segment is a mark."""
        return self.form.find.fullmatch(segment) is not None

    def _behind(self, found: re.Match[str]) -> str:
        number = int(found[1])
        return self.kept[number - 1] if 0 < number <= len(self.kept) else ""


def mask(text: str, form: Form) -> Masked:
    """The text with a mark in the place of everything that must stay."""
    kept: list[str] = []

    def taken(found: re.Match[str]) -> str:
        kept.append(found[0])
        return form.write(len(kept))

    either = re.compile(f"{form.taken.pattern}|{_KEPT.pattern}", re.VERBOSE | re.DOTALL)
    masked = either.sub(taken, text)
    return Masked(masked, tuple(kept), form)


def plain(text: str) -> str:
    """Only the words: what is kept is left out, for finding the language."""
    return _KEPT.sub(" ", text)


class Restorer:
    """Puts back what marks stand for while a text comes in pieces; holds back what may become a mark."""

    LONGEST = 16
    """No mark has more characters."""

    def __init__(self, masked: Masked) -> None:
        self._masked = masked
        self._held = ""
        self.raw: list[str] = []
        """The pieces as they came."""

    def take(self, piece: str) -> str:
        """What can be told."""
        self.raw.append(piece)
        text = self._held + piece
        at = text.rfind(self._masked.form.open)
        open_mark = at >= 0 and len(text) - at < self.LONGEST and self._masked.form.find.match(text, at) is None
        cut = at if open_mark else len(text)
        self._held = text[cut:]
        return self._masked.restored(text[:cut])

    def end(self) -> str:
        """What was held back."""
        return self._masked.restored(self._held)
