"""Tokens that stand for private values: the same value has the same one, which nobody can tell without the secret."""

import hmac
import re
from hashlib import sha256

WORDS = {
    "emails": "EMAIL",
    "phones": "PHONE",
    "cards": "CARD",
    "ibans": "IBAN",
    "keys": "KEY",
    "ips": "IP",
    "names": "NAME",
}
"""How tokens of each kind begin."""
DIGITS, MOST_DIGITS = 6, 16
"""Hexadecimal digits of a token; more where two values of one request would have the same."""
NAMES = "|".join(WORDS.values())
ANY = re.compile(
    rf"(?:%5B|\\?\[|(?<![0-9A-Za-z]))({NAMES})(?:\\?_|[- ])([0-9a-f]{{{DIGITS},{MOST_DIGITS}}})(?![0-9A-Za-z])"
    r"(?:%5D|\\?\])?",
    re.IGNORECASE,
)
"""A token as models write it: with brackets or without, in any case, escaped for Markdown or for a URL."""


class Tokens:
    """Makes tokens with one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, kind: str, value: str, taken: dict[str, str]) -> str:
        """The token for a value, without its brackets: `EMAIL_4f2a91`. `taken` = what tokens mean in this request."""
        mark = hmac.new(self._secret, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), sha256).hexdigest()
        for digits in range(DIGITS, len(mark) + 1):
            token = f"{WORDS[kind]}_{mark[:digits]}"
            if taken.get(token, value) == value:
                return token
        raise ValueError("no token is free")  # SHA-256 had collided
