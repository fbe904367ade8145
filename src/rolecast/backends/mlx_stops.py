"""Where an answer ends because of a stop sequence, in a text that comes in pieces. Pure.

mlx-lm looks for the tokens of a sequence, which a model may also write otherwise; clients mean the text.
"""

from collections.abc import Sequence


class Stops:
    """Cuts one answer before the first of its stop sequences, and says no piece that may begin one."""

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = tuple(filter(None, sequences))
        self._held = ""

    def cut(self, piece: str) -> tuple[str, bool]:
        """What may be said after this piece of the answer, and whether a sequence has ended it."""
        if not self._sequences:
            return piece, False
        text = self._held + piece
        found = [place for each in self._sequences if (place := text.find(each)) >= 0]
        if found:
            self._held = ""
            return text[: min(found)], True
        keep = max(_begun(text, each) for each in self._sequences)
        said, self._held = text[: len(text) - keep], text[len(text) - keep :]
        return said, False

    def rest(self) -> str:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, ""
        return held


def _begun(text: str, sequence: str) -> int:
    """So many characters at the end of the text may be the beginning of the sequence."""
    return next((n for n in range(min(len(sequence) - 1, len(text)), 0, -1) if sequence.startswith(text[-n:])), 0)
