"""What somebody wrote themselves in a mail: without what they answer to, and without their signature."""

import re
from html.parser import HTMLParser

_QUOTED = re.compile(r"^\s{0,3}>")
_SIGNATURE = re.compile(r"^(?:-- ?|__+|Sent from my .{1,40}|Von meinem .{1,40} gesendet|Envoyé de mon .{1,40})\s*$")
_ANSWERED = re.compile(
    r"^(?:On\b.{5,200}\bwrote|Am\b.{5,200}\bschrieb\b.{0,100}|Le\b.{5,200}\ba écrit|El\b.{5,200}\bescribió"
    r"|Il\b.{5,200}\bha scritto|Em\b.{5,200}\bescreveu|Op\b.{5,200}\bschreef\b.{0,100})\s?:\s*$"
)
_ANSWERED_BRIEFLY = re.compile(r"^\S.{0,100}\bwrote\s?:\s*$")
_BELOW = re.compile(
    r"^(?:-{3,}\s*(?:Original Message|Ursprüngliche Nachricht|Message d.origine|Mensaje original|Forwarded message"
    r"|Weitergeleitete Nachricht|Messaggio originale|Oorspronkelijk bericht)\s*-{3,}|Begin forwarded message:)\s*$",
    re.IGNORECASE,
)
_HEADED = re.compile(r"^\*?(?:From|Von|De|Da|Van)\s?:\*?\s.+$")
_HEADED_ON = re.compile(r"^\*?(?:Sent|Gesendet|Date|Datum|Envoyé|Enviado|Inviato|Verzonden|To|An)\s?:\*?\s.+$")
_PARAGRAPH = ("p", "div", "br", "tr", "li", "h1", "h2", "h3")
_HIDDEN = ("style", "script", "head", "blockquote", "title")


def own_words(text: str) -> str:
    """The lines that are no quotation, down to where the mail that is answered stands whole, or the signature."""
    lines = text.split("\n")
    kept: list[str] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        following = lines[place + 1] if place + 1 < len(lines) else ""
        if _BELOW.match(line) or (_HEADED.match(line) and _HEADED_ON.match(following)):
            break
        if line == "-- " or (_SIGNATURE.match(line) and not any(each.strip() for each in lines[place + 8 :])):
            break
        if count := _attribution(lines, place):
            place += count
            continue
        if not _QUOTED.match(line):
            kept.append(line)
        place += 1
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def _attribution(lines: list[str], place: int) -> int:
    """How many lines say who wrote what is quoted below; programs break them after some eighty letters."""
    for count in (1, 2, 3):
        joined = " ".join(each.strip() for each in lines[place : place + count])
        if _ANSWERED.match(joined) or (count == 1 and _ANSWERED_BRIEFLY.match(joined)):
            rest = (line for line in lines[place + count :] if line.strip())
            if _QUOTED.match(next(rest, "")):
                return count
    return 0


def text_of_html(markup: str) -> str:
    """What a page of HTML shows, roughly: its words and where lines end, without quoted blocks."""
    reader = _Text()
    reader.feed(markup)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.pieces).split("\n"))
    return "\n".join(lines)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        quote = (dict(attrs).get("class") or "").startswith("gmail_quote")
        if tag in _HIDDEN or quote or tag in self._hidden:  # those within a hidden one end before it does
            self._hidden.append(tag)
        elif tag in _PARAGRAPH:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if self._hidden and tag == self._hidden[-1]:
            self._hidden.pop()
        elif tag in _PARAGRAPH and tag != "br":
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(data.replace("\n", " "))
