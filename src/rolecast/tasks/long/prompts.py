# ruff: noqa: RUF001  # marks of other languages are meant
"""What is said to a model about a long text: for each kind of work, what to note of a part and what to make of all.

Pure.
"""

import re

import msgspec

STRATEGIES = (
    "full_context", "sliding_window", "hierarchical", "summarize_and_refine", "key_extraction", "chunk_and_merge",
)  # fmt: skip
SUMMARY = "comprehensive_summary"
NONE = "NONE"
"""What a model says of a part in which there is nothing that was looked for."""
LONGEST_LINE = 300
"""A line of so many characters at either end of a text may be what is asked of it."""


class Work(msgspec.Struct, frozen=True):
    """A kind of work on a text."""

    note: str
    """What is noted of each part."""
    whole: str
    """What is made of the text, or of all notes."""


WORKS: dict[str, Work] = {
    SUMMARY: Work(
        "Note what happens or is claimed here, who and what it is about, and every figure that matters.",
        "Write a comprehensive summary: the subject, the main points in their order, and the conclusion.",
    ),
    "question_answering": Work(
        "Note everything here that helps to answer the question, with the exact words that matter.",
        "Answer the question from the text alone. Say so if the text does not answer it.",
    ),
    "cross_reference": Work(
        "Note what is defined, named or claimed here, and what it refers to elsewhere.",
        "Show how the places of the text refer to each other: for each subject, what is said where.",
    ),
    "contradictions": Work(
        "Note every claim, figure, date and rule of this part, each in one short sentence.",
        "List claims that contradict each other, with both sides. Say so if there are none.",
    ),
    "timeline": Work(
        "Note every event with its date or its place in time, in one line each.",
        "Write a timeline of all events in the order of time, in one line each.",
    ),
    "entities": Work(
        "Note every person, organization, place and work that is named, each in one line with what is said of it.",
        "List all persons, organizations, places and works, each once, with what the text says of it.",
    ),
    "key_points": Work(
        "Note the few points of this part that a reader must know, in one line each.",
        "List the points that a reader must know, the weightiest first.",
    ),
    "themes": Work(
        "Note which themes appear here and how they are treated.",
        "Describe the themes of the text, and how each develops from beginning to end.",
    ),
    "comparison": Work(
        "Note what is said here of each thing that may be compared, and by which criterion.",
        "Compare what the text treats, criterion by criterion.",
    ),
    "action_items": Work(
        "Note every task, decision, duty and deadline, with who is responsible.",
        "List all tasks, decisions, duties and deadlines, with who is responsible.",
    ),
}
"""By `task_type`."""

CHOSEN = {
    "question_answering": "key_extraction",
    "cross_reference": "chunk_and_merge",
    "contradictions": "chunk_and_merge",
    "comparison": "chunk_and_merge",
    "timeline": "sliding_window",
    "entities": "sliding_window",
    "action_items": "sliding_window",
}
"""The strategy for a text that does not fit; of others its headings decide."""
OVERLAPS = frozenset({"sliding_window", "key_extraction", "chunk_and_merge"})
"""Strategies that show the end of each part again at the beginning of the next."""


def choose(task_type: str, *, headings: bool) -> str:
    """The strategy for a text that does not fit."""
    return CHOSEN.get(task_type) or ("hierarchical" if headings else "summarize_and_refine")


def work_of(task_type: str) -> Work:
    """The kind of work of that name; one that is not known is taken by its words."""
    name = task_type.replace("_", " ")
    return WORKS.get(task_type) or Work(f"Note everything here that matters for this: {name}.", f"Do this: {name}.")


class Wish(msgspec.Struct, frozen=True):
    """What is wanted of a text."""

    work: Work
    asked: str = ""
    """A question or instruction in the client's own words."""
    focus: str = ""
    more: str = ""
    """What the answer itself must also be."""

    def of_whole(self, text: str) -> str:
        """What the user says about a text that is there whole."""
        return f"{fenced(text, 'text')}\n\n{self._lines(self.work.whole, self.more)}"

    def of_part(self, text: str, number: int, total: int) -> str:
        """The same about a part of it."""
        brief = "Write short notes on this part alone, in full sentences, without an introduction."
        return f"{_part(text, number, total)}\n\n{self._lines(self.work.note, brief)}"

    def of_extract(self, text: str, number: int, total: int) -> str:
        """About a part in which something is looked for."""
        wanted = f"Copy the sentences of this part that matter for this, word for word, or answer {NONE} without any."
        return f"{_part(text, number, total)}\n\n{self._lines(self.work.note, wanted)}"

    def of_notes(self, notes: str, number: int, total: int) -> str:
        """About notes that are too long together."""
        brief = "These are notes on neighbouring parts of a long text. Merge them into one short note; keep names,"
        return f"{fenced(notes, 'notes')}\n\n{self._lines(self.work.note, f'{brief} figures and their order.')}"

    def of_all(self, notes: str) -> str:
        """About the notes on all parts: what the answer is made of."""
        how = "These are notes on all parts of a long text, in their order. Do not mention notes or parts."
        return f"{fenced(notes or '(nothing)', 'notes')}\n\n{self._lines(how, self.work.whole, self.more)}"

    def of_next(self, so_far: str, text: str, number: int, total: int) -> str:
        """About a part, and what was made of those before it."""
        brief = "Bring what is known so far up to date with this part: keep what matters, add what is new. Be brief."
        known = f"{fenced(so_far, 'so_far')}\n\n" if so_far else ""
        return f"{known}{_part(text, number, total)}\n\n{self._lines(self.work.note, brief)}"

    def of_last(self, so_far: str, text: str, number: int, total: int) -> str:
        """About the last part: what the answer is made of."""
        how = "What is known of the parts before this last one stands above it. Do not mention parts."
        return f"{fenced(so_far, 'so_far')}\n\n{_part(text, number, total)}\n\n" + self._lines(
            how, self.work.whole, self.more
        )

    def _lines(self, *lines: str) -> str:
        asked = f"Asked: {self.asked}" if self.asked else ""
        focus = f"Look above all for this: {self.focus}" if self.focus else ""
        return "\n".join(filter(None, [*lines, focus, asked]))


def fenced(text: str, name: str) -> str:
    """A text between marks, so that it is not taken for an instruction."""
    return f"<{name}>\n{text.strip()}\n</{name}>"


def _part(text: str, number: int, total: int) -> str:
    return f"Part {number} of {total} of a long text:\n{fenced(text, 'text')}"


def is_nothing(note: str) -> bool:
    """Whether a note says that there was nothing."""
    return note.strip(" .\"'*`\n").upper() in ("", NONE, "NOTHING", "N/A")


def asked_in(text: str) -> str:
    """What a text begins or ends with that looks like what is asked of it; '' = nothing does."""
    blocks = re.split(r"\n\s*\n", text[: 2 * LONGEST_LINE].strip(), maxsplit=1)
    last = re.split(r"\n\s*\n", text[-2 * LONGEST_LINE :].strip())[-1]
    first = blocks[0] if len(blocks) > 1 else ""
    for block in (first, last):
        if 0 < len(block) <= LONGEST_LINE and block != text.strip() and block.endswith((":", "?", "？", "：")):
            return block
    return ""
