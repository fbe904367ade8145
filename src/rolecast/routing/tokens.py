"""How many tokens a prompt will be, estimated without a tokenizer: by its letters, signs and scripts.

Pure. The weights were fitted to the tokenizers of SmolLM2, GPT-4, GPT-4o and DeepSeek, to the geometric mean of the
four: for English, Markdown and code these differ little, for other scripts up to threefold. So an estimate is no proof,
and characters of three bytes weigh less than was fitted: a prompt that a large vocabulary can take is not refused.
"""

from collections.abc import Sequence

WINDOWS, WINDOW = 4, 320
"""Of a long prompt so many pieces of so many characters are looked at, spread evenly."""
PER_MESSAGE = 4.0
"""Marks that a chat template puts around a message."""
PER_MEDIUM = 600.0
"""A picture or another medium: about what common projectors make of one."""
TOOL_SHARE = 0.3
"""Tokens of a byte of JSON, such as schemas of tools."""
NOT_ENGLISH = 1.2
"""Words of other languages in Latin letters are cut into more pieces."""

_WORD, _LETTER, _DIGIT, _SIGN = 0.719, 0.088, 0.767, 0.769
_LATIN, _TWO_BYTES, _INDIC, _THREE_BYTES, _FOUR_BYTES = 1.762, 0.4, 0.5, 0.85, 1.997
_DIGITS, _SPACES = bytes(range(48, 58)), b" \t\r\n"
_LETTERS = bytes([*range(65, 91), *range(97, 123)])
_LEADS = (
    (bytes(range(0xC2, 0xCC)), _LATIN),
    (bytes(range(0xCC, 0xE0)), _TWO_BYTES),
    (bytes(range(0xE0, 0xE2)), _INDIC),
    (bytes(range(0xE2, 0xF0)), _THREE_BYTES),
    (bytes(range(0xF0, 0xF8)), _FOUR_BYTES),
)
"""First bytes of characters in UTF-8, and what such a character weighs."""


def of_texts(texts: Sequence[str], language: str = "") -> float:
    """Tokens of these texts together; `language` is the one that most of them are in."""
    whole = texts[0] if len(texts) == 1 else "\n".join(texts)
    length = len(whole)
    if length <= WINDOWS * WINDOW:
        found = _weighed(whole)
    else:
        step = (length - WINDOW) // (WINDOWS - 1)
        sample = "".join(whole[i * step : i * step + WINDOW] for i in range(WINDOWS))
        found = _weighed(sample) * length / len(sample)
    return found * NOT_ENGLISH if language in _LATIN_LANGUAGES else found


_LATIN_LANGUAGES = frozenset(["de", "fr", "es", "it", "pt", "nl", "pl", "cs", "tr", "vi"])


def _weighed(text: str) -> float:
    raw = text.encode("utf-8", "replace")
    size = len(raw)
    letters, digits = size - len(raw.translate(None, _LETTERS)), size - len(raw.translate(None, _DIGITS))
    spaces = size - len(raw.translate(None, _SPACES))
    found, leads, more = 0.0, 0, 0
    if letters + digits + spaces < size and not raw.isascii():
        for leading, weight in _LEADS:
            number = size - len(raw.translate(None, leading))
            found += weight * number
            leads += number
        more = size - len(text) if leads else 0
    signs = max(0, size - letters - digits - spaces - leads - more)
    return found + _WORD * len(raw.split()) + _LETTER * letters + _DIGIT * digits + _SIGN * signs
