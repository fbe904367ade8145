"""Which language a text that is to be translated is in, as far as its script and its commonest words tell."""

import re
from collections.abc import Mapping

from rolecast.routing import language
from rolecast.tasks.translation.languages import Language, find, languages

SHARE = 0.3
"""So many of the letters must be of a script for it to decide."""
SEEN = 2000
"""Characters that are looked at."""
_SCRIPTS: Mapping[str, str] = {
    "ell_Grek": "\u0370-\u03ff\u1f00-\u1fff",
    "hye_Armn": "\u0530-\u058f",
    "heb_Hebr": "\u0590-\u05ff",
    "tzm_Tfng": "\u2d30-\u2d7f",
    "amh_Ethi": "\u1200-\u137f",
    "ben_Beng": "\u0980-\u09ff",
    "pan_Guru": "\u0a00-\u0a7f",
    "guj_Gujr": "\u0a80-\u0aff",
    "ory_Orya": "\u0b00-\u0b7f",
    "tam_Taml": "\u0b80-\u0bff",
    "tel_Telu": "\u0c00-\u0c7f",
    "kan_Knda": "\u0c80-\u0cff",
    "mal_Mlym": "\u0d00-\u0d7f",
    "sin_Sinh": "\u0d80-\u0dff",
    "tha_Thai": "\u0e00-\u0e7f",
    "lao_Laoo": "\u0e80-\u0eff",
    "bod_Tibt": "\u0f00-\u0fff",
    "mya_Mymr": "\u1000-\u109f",
    "kat_Geor": "\u10a0-\u10ff",
    "khm_Khmr": "\u1780-\u17ff",
    "div_Thaa": "\u0780-\u07bf",
}
"""Scripts that one language of these writes above all."""
_LETTERS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "arb_Arab": (("urd_Arab", "ٹڈڑںےھہ"), ("pbt_Arab", "ټډړږښګڼ"), ("pes_Arab", "پچژگکی")),
    "rus_Cyrl": (
        ("srp_Cyrl", "ђћџљњј"),
        ("mkd_Cyrl", "ѓќѕ"),
        ("bel_Cyrl", "ў"),
        ("kaz_Cyrl", "ғқңұһ"),
        ("bul_Cyrl", "ъ"),
    ),
}
"""Of a script that several write: letters that only another one of them has. Bulgarian is told by how often."""
_TRADITIONAL = re.compile("[們國會說這個來時為對點學過還後體實開關門車東長見現經給讓誰電話問題買賣錢書寫聽愛]")
_SIMPLIFIED = re.compile("[们国会说这个来时为对点学过还后体实开关门车东长见现经给让谁电话问题买卖钱书写听爱]")
_LETTER = re.compile(r"[^\W\d_]")
BULGARIAN = 0.015
"""The hard sign is so frequent in Bulgarian, and rare in Russian."""


def detect(text: str) -> Language | None:
    """The language of a text; None = it does not say. Marks and code must be out of it."""
    seen = text[:SEEN]
    letters = len(_LETTER.findall(seen))
    if not letters:
        return None
    for code, characters in _SCRIPTS.items():
        if len(re.findall(f"[{characters}]", seen)) >= SHARE * letters:
            return languages()[code]
    short = language.of_text(seen)
    if not short:
        return None
    found = find(short)
    if short == "zh" and len(_TRADITIONAL.findall(seen)) > len(_SIMPLIFIED.findall(seen)):
        return languages()["zho_Hant"]
    return _neighbour(found, seen.lower(), letters)


def _neighbour(found: Language, text: str, letters: int) -> Language:
    for code, characters in _LETTERS.get(found.code, ()):
        count = sum(text.count(each) for each in characters)
        if code == "bul_Cyrl":
            if count >= 2 and count >= BULGARIAN * letters and not re.search("[ыэё]", text):
                return languages()[code]
        elif count > (1 if code == "pes_Arab" else 0) and count >= 0.01 * letters:
            return languages()[code]
    return found
