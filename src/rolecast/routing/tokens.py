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
_LEADS = (
    (range(0xC2, 0xCC), _LATIN),
    (range(0xCC, 0xE0), _TWO_BYTES),
    (range(0xE0, 0xE2), _INDIC),
    (range(0xE2, 0xF0), _THREE_BYTES),
    (range(0xF0, 0xF8), _FOUR_BYTES),
)
"""First bytes of characters in UTF-8, and what such a character weighs."""
_LEADING = (b"1", b"2", b"3", b"4", b"5")
_KIND_OF = (
    *((leads, kind) for (leads, _), kind in zip(_LEADS, _LEADING, strict=True)),
    (range(48, 58), b"0"),
    (b" \t\r\n", b" "),
    ((*range(65, 91), *range(97, 123)), b"a"),
)
_KINDS = b"".join(next((kind for which, kind in _KIND_OF if byte in which), b".") for byte in range(256))
"""Every byte as what it is counted as: letter, digit, blank, the first one of a character, or a sign."""
_BLANKS = bytes(32 if byte in b" \t\r\n\v\f" else 46 for byte in range(256))


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
    kinds = raw.translate(_KINDS)
    letters, digits, spaces = kinds.count(b"a"), kinds.count(b"0"), kinds.count(b" ")
    found, leads, more = 0.0, 0, 0
    if letters + digits + spaces < size and not raw.isascii():
        for leading, (_, weight) in zip(_LEADING, _LEADS, strict=True):
            number = kinds.count(leading)
            found += weight * number
            leads += number
        more = size - len(text) if leads else 0
    signs = max(0, size - letters - digits - spaces - leads - more)
    return found + _WORD * _words(raw) + _LETTER * letters + _DIGIT * digits + _SIGN * signs


def _words(raw: bytes) -> int:
    """How many there are between blanks."""
    return (b" " + raw.translate(_BLANKS)).count(b" .")
