"""What a Conductor `SETTINGS.md` says: the rows of its model table, its persona, its image server, each with its line.

Reads Markdown as people write it and tells what is wrong with it. Knows no setting of ours.
"""

import re
from collections.abc import Iterator

import msgspec

from rolecast.config.importers.section import shown
from rolecast.config.labels import CATEGORIES, EXTERNAL, TWINS, category, plain
from rolecast.config.shape import meant

COLUMNS = {
    "category": "category",
    "technical": "id",
    "stay": "stay",
    "precision": "precision",
    "best": "title",
    "vram": "memory",
}
"""How the columns begin, and what they are called here."""
MARK = "technical model name"
MOST_ROWS = 1000
"""No machine has so many models."""
PRECISIONS = ("4-bit", "8-bit", "FP16", "FP32")
_WRITTEN = {"4bit": "4-bit", "int4": "4-bit", "8bit": "8-bit", "int8": "8-bit", "float16": "FP16", "half": "FP16"}
_WRITTEN |= {"bf16": "FP16", "bfloat16": "FP16", "float32": "FP32", "full": "FP32"}
_YES, _NO = ("true", "yes", "y", "1"), ("false", "no", "n", "0", "n/a", "-", "")
_PERSONA, _IMAGES = "conversational persona", "diffusiond"
_REPOSITORY = re.compile(r"[^/\s]+/[^/\s]+")
_URL = re.compile(r"\W*url[\s*_`]*:(.*)", re.IGNORECASE)


class Row(msgspec.Struct, frozen=True):
    """One row of the table. `id` is '' for an engine outside, such as an image server."""

    line: int
    category: str
    """As it is written there."""
    id: str
    title: str = ""
    memory: str = ""
    stays: bool = False
    precision: str = ""
    """One of `PRECISIONS`; '' = not said."""

    @property
    def key(self) -> str:
        """The category as a key."""
        return plain(self.category)

    @property
    def place(self) -> str:
        """How problems call it."""
        return f"row '{shown(self.category)}'"


class Remark(msgspec.Struct, frozen=True):
    """Something to be said of a line. `grave` = it cannot be meant so; `taken` is what was made of it nevertheless."""

    line: int
    place: str
    text: str
    taken: str = ""
    grave: bool = False


class Said(msgspec.Struct, frozen=True):
    """A text of the file and its line."""

    line: int
    text: str


class Settings(msgspec.Struct):
    """All that such a file says."""

    rows: list[Row] = []
    remarks: list[Remark] = []
    persona: Said | None = None
    images: Said | None = None
    """Address of the image server."""
    line: int = 1
    """Where the table begins."""


class _Line(msgspec.Struct, frozen=True):
    number: int
    text: str
    fenced: bool
    """In a fenced block, or one of its fences."""


class _Part(msgspec.Struct):
    """A heading and all up to the next one."""

    line: int
    title: str
    level: int
    lines: list[_Line] = []


def read(text: str) -> Settings:
    """What the file says. A file without a table has no rows."""
    found = Settings()
    parts = list(_parts(text))
    for part in parts:
        _take_section(part, found)
    _take_table([line for part in parts for line in part.lines if not line.fenced], found)
    found.remarks.sort(key=lambda remark: remark.line)
    return found


def _parts(text: str) -> Iterator[_Part]:
    """The sections in order. What looks like a heading in a fenced block is none."""
    part, fence = _Part(1, "", 0), ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if fence:
            part.lines.append(_Line(number, line, fenced=True))
            if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
        elif mark:
            part.lines.append(_Line(number, line, fenced=True))
            fence = mark[1]
        elif heading := re.match(r" {0,3}(#{1,6})\s+(.*?)[ #]*$", line):
            yield part
            part = _Part(number, heading[2].strip(" *_`:"), len(heading[1]))
        else:
            part.lines.append(_Line(number, line, fenced=False))
    yield part


def _take_section(part: _Part, found: Settings) -> None:
    """The persona and the address of the image server; other sections are named, but for titles and the table's."""
    title = part.title.lower()
    if title.startswith(_PERSONA):
        said = _persona(part)
        if said is None:
            found.remarks.append(Remark(part.line, shown(part.title), "is empty; nobody in particular speaks"))
        found.persona = found.persona or said
    elif title.startswith(_IMAGES):
        _take_address(part, found)
    elif part.level > 1 and not any(MARK in line.text.lower() for line in part.lines) and _text(part.lines):
        found.remarks.append(Remark(part.line, shown(part.title), "left out: no counterpart"))


def _persona(part: _Part) -> Said | None:
    """The first fenced block, else the text up to the table of models; words in square brackets are to be filled in."""
    fences = [i for i, line in enumerate(part.lines) if line.fenced]
    if not fences:
        table = next((i for i, line in enumerate(part.lines) if _begins_table(line)), None)
        said = _text(part.lines[:table])
        return None if said and re.fullmatch(r"\[[^\]]*\]", said.text) else said
    block = part.lines[fences[0] + 1 :]
    return _text(block[: next((i for i, line in enumerate(block) if re.match(r" {0,3}(```|~~~)", line.text)), None)])


def _begins_table(line: _Line) -> bool:
    return line.text.strip().startswith("|") and MARK in line.text.lower()


def _text(lines: list[_Line]) -> Said | None:
    """The text of these lines, without blank ones around it; None = there is none."""
    written = [i for i, line in enumerate(lines) if line.text.strip()]
    if not written:
        return None
    kept = lines[written[0] : written[-1] + 1]
    return Said(kept[0].number, "\n".join(line.text for line in kept).strip())


def _take_address(part: _Part, found: Settings) -> None:
    for line in part.lines:
        if written := _URL.match(line.text):
            url = written[1].strip(" \t*_`<>\"'")
            if not url:
                continue
            if not re.fullmatch(r"https?://[^/\s]+\S*", url):
                said = "the url is no http:// or https:// address; write it like http://127.0.0.1:7860"
                found.remarks.append(Remark(line.number, shown(part.title), said, "left out", grave=True))
            elif found.images is None:
                found.images = Said(line.number, url)


def _take_table(lines: list[_Line], found: Settings) -> None:
    """The rows of every table with the column of technical names, by what its header calls the columns."""
    header: list[str] = []
    rows = 0
    for line in lines:
        if not line.text.strip().startswith("|"):
            header = []
        elif MARK in line.text.lower() and not header:
            header = _header(line, found)
        elif header and not set(line.text.strip()) <= set("|-: \t"):
            cells = _cells(line.text)
            if any(cell.strip(". …") for cell in cells):  # a row of dots says that there is more
                rows += 1
                if rows > MOST_ROWS:
                    said = f"there are more than {MOST_ROWS} rows; shorten the table"
                    found.remarks.append(Remark(line.number, "table", said, "the rest is left out", grave=True))
                    return
                _take_row(line.number, header, cells, found)


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if re.search(r"(?<!\\)\|$", inner) else inner
    return [cell.replace("\\|", "|").strip(" *`\t") for cell in re.split(r"(?<!\\)\|", inner)]


def _header(line: _Line, found: Settings) -> list[str]:
    cells = _cells(line.text)
    names = [next((ours for begins, ours in COLUMNS.items() if cell.lower().startswith(begins)), "") for cell in cells]
    if not found.rows:
        found.line = line.number
    for cell, name in zip(cells, names, strict=True):
        if cell and not name:
            found.remarks.append(Remark(line.number, f"column '{shown(cell)}'", "left out: no counterpart"))
    if "category" not in names:
        said = "there is no column Category/Area, so nobody knows what the models are for; add it"
        found.remarks.append(Remark(line.number, "table", said, "its rows are left out", grave=True))
    return names


def _take_row(number: int, header: list[str], cells: list[str], found: Settings) -> None:
    told = dict(zip(header, cells, strict=False))
    place = f"row '{shown(told.get('category', ''))}'"

    def remark(text: str, taken: str = "", *, grave: bool = True) -> None:
        found.remarks.append(Remark(number, place, text, taken, grave))

    if len(cells) != len(header):
        remark(f"has {len(cells)} cells, and the header {len(header)}; write each cell between bars", "read as it is")
    key = plain(told.get("category", ""))
    if not key:
        remark("says no category; write what the model is for into the first cell", "left out")
        return
    twin = next((row for row in found.rows if _same(row.key, key)), None)
    if twin is not None:
        remark(f"the category is already on line {twin.line}; keep one of the rows", "one more model of it")
    if not category(key) and (hint := meant(key, (*CATEGORIES, *TWINS), 0.75)):
        remark(f"is no category of Conductor's, but a role of its own; did you mean '{hint}'?", grave=False)
    model_id = told.get("id", "")
    if _is_outside(key, model_id, told.get("memory", "")):
        model_id = ""
    elif not _REPOSITORY.fullmatch(model_id) and not re.fullmatch(r"[\w.-]+", model_id):
        what = f"'{shown(model_id)}' is no technical model name" if model_id else "no technical model name"
        remark(f"{what}; write it as on Hugging Face, OWNER/NAME", "left out")
        return
    stays, precision = told.get("stay", "").lower(), _precision(told.get("precision", ""))
    if stays not in (*_YES, *_NO):
        remark(f"Stay Loaded is '{shown(stays)}'; write true or false", "taken for false")
    if precision is None:
        written = shown(told.get("precision", ""))
        remark(f"Precision is '{written}'; write one of {', '.join(PRECISIONS)}", "taken for 4-bit")
    row = Row(
        number,
        told["category"],
        model_id,
        told.get("title", ""),
        told.get("memory", ""),
        stays in _YES,
        "4-bit" if precision is None else precision,
    )
    found.rows.append(row)


def _same(one: str, other: str) -> bool:
    """Whether two keys are one category, however they are spelled."""
    return one == other or (category(one) != "" and category(one) == category(other))


def _is_outside(key: str, model_id: str, memory: str) -> bool:
    """Whether the row is of a server elsewhere: the one for images."""
    outside = model_id.lower() == _IMAGES or memory.lower().startswith("external")
    return outside or (category(key) == EXTERNAL and not _REPOSITORY.fullmatch(model_id))


def _precision(written: str) -> str | None:
    """The precision that is meant; '' = none is said, None = nobody knows it."""
    word = written.lower().replace(" ", "").replace("_", "").replace("-", "")
    if word in ("", "na", "n/a", "auto"):
        return ""
    known = {name.lower().replace("-", ""): name for name in PRECISIONS}
    return known.get(word) or _WRITTEN.get(word)
