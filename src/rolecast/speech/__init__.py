"""What models write into their text besides an answer: thoughts, calls of tools, control tokens.

Parts a text, whole or in pieces, into what it says. Knows no wire and no model. Holds back only what may still be a
mark or belongs to a call, and never more than `forms.MOST_CALL`. Evaluates nothing: what a call is given is JSON.
"""

import re
import string
from collections.abc import Callable
from typing import Literal, NamedTuple

from rolecast.speech.code import LONGEST_RUN, Code
from rolecast.speech.forms import MOST_CALL, NO_OFFER, Bare, Form, Offer, begun

__all__ = ["MOST_CALL", "NO_OFFER", "Offer", "Parted", "Piece", "Speech", "begins_within", "part"]

_BAR = "|\uff5c"
"""Around control tokens; some models have a wide one."""
_CONTROL = rf"<[{_BAR}][^\s<>{_BAR}]{{1,64}}[{_BAR}]>"
_THINK = re.compile(rf"</?think>|{_CONTROL}")
_PLAIN = re.compile(rf"</?think>|{_CONTROL}|`+")
_CALLING = re.compile(
    rf"</?think>|(?:<tool_call>\s{{0,8}})?<function=(?P<function>[\w.:-]{{1,64}})>|</?tool_call>|</function>|{_CONTROL}|`+"
    r"|\[(?:TOOL_REQUEST|END_TOOL_REQUEST|TOOL_CALLS)\]"
    r"|Tool:[ \t]{0,8}(?P<tool>[\w.-]{1,64})[ \t]{0,8}\("
)
LONGEST = 96
"""No mark has so many characters."""
MOST_GAP = 256
"""So much white space is held beside a mark; more is no mere gap."""
_BETWEEN_CALLS = f"{string.whitespace};"
_GAP, _GAP_OF_CALLS = re.compile(r"\s*"), re.compile(r"[ \t\n\r\x0b\x0c;]*")
_SIGN = re.compile(r"[<`\[T]")
"""What every mark begins with."""
_CLOSING = re.compile(r"(?<!`)</think>")


def _begun(*words: str) -> str:
    """What matches a beginning of one of these words."""
    return "|".join("(?:".join(map(re.escape, word[:-1])) + ")?" * (len(word) - 2) for word in words)


_BEGUN_CONTROL = rf"<[{_BAR}][^\s<>{_BAR}]{{0,64}}[{_BAR}]?"
_TAGGED_BEGUN = re.compile(rf"\s{{0,8}}(?:{_begun('<function=')}|<function=[\w.:-]{{0,64}})?\Z")
"""What may follow `<tool_call>` and become a part of that mark."""
_THINK_BEGUN = re.compile(rf"(?:{_begun('<think>', '</think>')}|{_BEGUN_CONTROL})\Z")
_PLAIN_BEGUN = re.compile(rf"(?:{_begun('<think>', '</think>')}|{_BEGUN_CONTROL}|`{{1,63}})\Z")
_CALLING_BEGUN = re.compile(
    rf"(?:{_begun('<think>', '</think>', '<tool_call>', '</tool_call>', '</function>', '<function=')}"
    rf"|<function=[\w.:-]{{0,64}}|{_BEGUN_CONTROL}|`{{1,63}}"
    rf"|{_begun('[TOOL_REQUEST]', '[END_TOOL_REQUEST]', '[TOOL_CALLS]', 'Tool:')}"
    r"|Tool:[ \t]{0,8}(?:[\w.-]{1,64}[ \t]{0,8})?)\Z"
)


class Piece(NamedTuple):
    """Some of what was said. Of a call `text` is its arguments, a JSON object."""

    kind: Literal["text", "thought", "call"]
    text: str
    name: str = ""


class Speech:
    """One text, in pieces. `opened` = it begins within thoughts, because the prompt opened them."""

    def __init__(self, offer: Offer = NO_OFFER, *, opened: bool = False) -> None:
        self._offer = offer
        self._calling = bool(offer.tools)
        self._marks, self._begun = (_CALLING, _CALLING_BEGUN) if self._calling else (_PLAIN, _PLAIN_BEGUN)
        self._thinking = opened
        self._form: Form | None = None
        self._code = Code()
        self._held = ""
        """What may be the beginning of a mark."""
        self._gap = ""
        """White space that is dropped when a mark follows."""
        self._fresh = True
        """Nothing but white space came since the beginning, or since the last mark."""
        self._awaited = ""
        """The mark that ends the call before."""
        self._said = False
        """A text, thoughts or a call came."""
        self._marked = False
        """Thoughts or a call came before: white space at the beginning of what follows belongs to the marks."""
        self._around: str | None = None
        """What counts as white space beside marks; None = that alone."""
        self._last = False
        self.called = False
        """A call came."""

    @property
    def idle(self) -> bool:
        """Whether a text without `<` and backquotes would come out as it is; then it need not be fed, but `passed`."""
        return self._said and not (
            self._calling or self._thinking or self._fresh or self._held or self._code.open or self._form
        )

    def passed(self) -> None:
        """A text was not fed."""
        self._code.passed()

    def told_apart(self) -> None:
        """Thoughts came by another way, so the text does not begin within them."""
        if not self._said:
            self._thinking = False

    def feed(self, text: str) -> list[Piece]:
        """What this text adds."""
        out: list[Piece] = []
        if self._held:
            text, self._held = self._held + text, ""
        at = 0
        while at < len(text):
            if self._form is not None:
                at = self._call(self._form, text, at, out)
            elif self._thinking:
                at = self._think(text, at, out)
            elif self._code.open:
                stop = self._code.end(text, at, last=self._last)
                self._say(text[at:stop], out)
                at = self._hold(text, stop) if stop == at else stop
            else:
                at = self._look(text, at, out)
        return out

    def end(self) -> list[Piece]:
        """The rest, when nothing follows."""
        self._last = True
        out = self.feed("")
        if self._form is not None:
            rest = self._form.last()
            if isinstance(rest, str):
                self._say(rest, out)
            else:
                self._take_calls(rest, "", out)
            self._form = None
        if self._gap and not (self._said or self._marked):
            out.append(Piece("text", self._gap))
        self._gap = ""
        return out

    # -- text -------------------------------------------------------------------------------------------------

    def _look(self, text: str, at: int, out: list[Piece]) -> int:
        """Say what comes before the next mark, and take the mark; the place behind it."""
        if self._calling and self._fresh and self._offer.bare:
            gap = (_GAP if self._around is None else _GAP_OF_CALLS).match(text, at)
            begin = gap.end() if gap else at
            if text.startswith("{", begin):
                self._say(text[at:begin], out)
                self._form = Bare(self._offer)
                return begin
        mark = _first(self._marks, text, at)
        if mark is None:
            return self._rest(text, at, self._begun, self._say, out)
        self._say(text[at : mark.start()], out)
        if not self._last and _may_grow(mark, text):
            return self._hold(text, mark.start())
        self._take(mark, out)
        return mark.end()

    def _take(self, mark: re.Match[str], out: list[Piece]) -> None:
        """Do what a mark means here; it is text where it means nothing."""
        word = mark[0]
        if word[0] == "`":
            self._code.begin(word)
            self._say(word, out)
        elif word in ("<think>", "</think>"):
            self._thinking = word == "<think>"
            self._renew()
        elif self._calling and (form := begun(mark, self._offer, at_line=self._code.at_line)):
            self._form, self._awaited = form, ""
        elif word[1] in _BAR:
            pass
        elif word == self._awaited and self._fresh:
            self._awaited = ""
        else:
            self._say(word, out)

    def _say(self, text: str, out: list[Piece]) -> None:
        if self._fresh:
            text, self._gap = self._gap + text, ""
            told = text.lstrip(self._around)
            if not told and len(text) <= MOST_GAP:
                self._gap = text
                return
            text = told if self._marked else text
            self._fresh, self._awaited = False, ""
        if text:
            self._said = True
            self._code.note(text)
            out.append(Piece("text", text))

    def _renew(self) -> None:
        """What follows a mark is at a beginning again."""
        self._fresh = self._marked = True
        self._gap = ""
        self._code.note("\n")

    def _rest(
        self,
        text: str,
        at: int,
        beginning: re.Pattern[str],
        say: Callable[[str, "list[Piece]"], None],
        out: list[Piece],
    ) -> int:
        """Say all that cannot be the beginning of a mark, and hold that."""
        found = None if self._last else beginning.search(text, max(at, len(text) - LONGEST))
        stop = found.start() if found else len(text)
        say(text[at:stop], out)
        return self._hold(text, stop)

    def _hold(self, text: str, at: int) -> int:
        self._held = text[at:]
        return len(text)

    # -- thoughts ---------------------------------------------------------------------------------------------

    def _think(self, text: str, at: int, out: list[Piece]) -> int:
        mark = _first(_THINK, text, at)
        if mark is None:
            return self._rest(text, at, _THINK_BEGUN, self._thought, out)
        self._thought(text[at : mark.start()], out)
        if mark[0] == "</think>":
            self._thinking = False
            self._renew()
        return mark.end()

    def _thought(self, text: str, out: list[Piece]) -> None:
        """White space around thoughts belongs to the marks."""
        text = self._gap + (text.lstrip() if self._fresh else text)
        told = text.rstrip()
        if len(text) - len(told) > MOST_GAP:
            told = text
        self._gap = text[len(told) :]
        if told:
            self._fresh = False
            self._said = self._marked = True
            out.append(Piece("thought", told))

    # -- calls ------------------------------------------------------------------------------------------------

    def _call(self, form: Form, text: str, at: int, out: list[Piece]) -> int:
        """Give a call more of its text; the place behind what it took."""
        place, read = form.take(text, at)
        if read is None:
            return place
        self._form = None
        if isinstance(read, str):
            self._say(read, out)
        else:
            self._take_calls(read, form.closing, out)
        return place

    def _take_calls(self, calls: list[tuple[str, str]], closing: str, out: list[Piece]) -> None:
        out += [Piece("call", arguments, name) for name, arguments in calls]
        self._renew()
        self._awaited, self._around = closing, _BETWEEN_CALLS
        self.called = self._said = True


def _first(marks: re.Pattern[str], text: str, at: int) -> re.Match[str] | None:
    """The first mark. Looking for its first sign is ten times as fast as looking for all marks at each place."""
    while sign := _SIGN.search(text, at):
        if mark := marks.match(text, sign.start()):
            return mark
        at = sign.end()
    return None


def _may_grow(mark: re.Match[str], text: str) -> bool:
    """Whether this mark at the end of a text may be a part of a longer one."""
    if mark[0][0] == "`":
        return mark.end() == len(text) and len(mark[0]) < LONGEST_RUN
    return mark[0] == "<tool_call>" and _TAGGED_BEGUN.match(text, mark.end()) is not None


class Parted(NamedTuple):
    """A whole text, parted."""

    text: str
    thoughts: str
    calls: tuple[tuple[str, str], ...]
    """Name and arguments of each."""


def begins_within(text: str) -> bool:
    """Whether a whole text begins within thoughts: a `</think>` ends what no `<think>` began."""
    closing = _CLOSING.search(text)
    if closing is None or "<think>" in text[: closing.start()]:
        return False
    return text.count("```", 0, closing.start()) % 2 == 0


def part(text: str, offer: Offer = NO_OFFER, *, opened: bool = False) -> Parted:
    """A whole text as what it says. White space at its ends goes where marks were."""
    speech = Speech(offer, opened=opened or begins_within(text))
    pieces = [*speech.feed(text), *speech.end()]
    said = {kind: "".join(piece.text for piece in pieces if piece.kind == kind) for kind in ("text", "thought")}
    calls = tuple((piece.name, piece.text) for piece in pieces if piece.kind == "call")
    answer, thoughts = said["text"], said["thought"]
    if calls or thoughts or "<think>" in text or "</think>" in text:
        answer, thoughts = answer.strip(), thoughts.strip()
    return Parted(answer, thoughts, calls)
