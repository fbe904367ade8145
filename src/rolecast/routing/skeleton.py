"""The skeleton of a request: its small words in their order, with what it is about left out.

`should i ~ or ~ ?` is a matter to think about whatever stands in the gaps; `who ~ the ~` asks for a fact. Sentences
also show their first words, where what is to be done mostly stands. A pure function of the text.
"""

import re
from collections.abc import Iterable
from itertools import islice
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

BUCKETS = 1 << 15
HEAD = 256
TAIL = 192
"""Characters at either end that are read; what lies between them was pasted, mostly."""

_TOKEN = re.compile(r"\w+|[?!.:;,\n]|[^\w\s]+")
_ENDS = frozenset(".?!:;\n")
"""After these a sentence or line begins."""

_COMMON = """
a the to what in is of i my for and how you on s me do it with can that are this from does at an have if which write
who one about need was by please be when two as tell many get where why would all make find or up has there t list not
we will each no like function did out your new but give should so first explain people code name between they want x
three into after more much use m go now change only say next take he good return these our put last could any text same
whats help n line set them some words than am translate left let then story mean may over before most other call his la
were think had check un off just every here answer add through given she today see short five read following without
way back person show using her difference total its e been review under going made different four best complete song
per plan points both report did create test us something because contract must called still half until below place poem
also compare since summarise summarize turn summary sentence talk problem whether never wrong better meeting possible
whole very why happens happen sum draft design draw generate picture image paint sort extract convert format rewrite
correct rank prove solve calculate compute simplify evaluate study studies evidence research hypothesis sample should
legal rights clause landlord liable allowed worth pros cons decide choose argue imagine suppose reason logic who whom
whose hi hello hey thanks thank bye sorry lol really feel feeling feels guess love hate miss bored tired joke u ur im
ive dont doesnt isnt cant thats whats continue finish fix bug error fails debug explain script class regex sql python
javascript html css java pages chapters documents attached pasted above entire book novel logs transcript email letter
message note table json csv bullet bullets checklist only exactly english german french spanish italian pt say written
meaning means briefly shorter main key gist recap haiku lyrics scene dialogue slogan logo photo portrait sketch poster
der die das ein eine und ist ich du mir mein meine wie was warum wer wo wann soll bitte schreib schreibe mach erstelle
im auf mit für zu nicht kann darf muss wenn oder als von den dem sind habe hab fasse übersetze heißt zeichne erkläre
le les une des du et est je tu moi mon ma comment quoi que qui pourquoi quand où quel quelle quels dois peut faut
écris fais donne traduis résume dessine explique ce cette pour dans sur avec pas ou en au si ai suis il elle on plus
el los las y es yo mi cómo qué quién por dónde cuándo cuál cuánto debo puedo escribe haz hazme dame traduce resume
dibuja explica este esta para con no al se una o lo il gli di che chi perché come quando quale posso scrivi fammi
traduci riassumi disegna spiega questo per non sono ho o os um uma não eu meu minha como por quem onde posso escreva
faça traduza resuma desenhe explique em com se het een en ik mijn hoe wat waarom wie waar mag schrijf maak vertaal
teken leg uit van voor met niet kan jak co dlaczego kto gdzie czy napisz zrób przetłumacz narysuj wyjaśnij w na z nie
jest mi и в на не что как почему кто где когда ли мне мой моя это напиши сделай переведи нарисуй объясни кратко с по
bir ve bu ne nasıl neden kim nerede mi mı için yaz çevir çiz açıkla ile في من ما كيف لماذا هل اكتب ترجم لخص ارسم على
क्या कैसे क्यों है का की के में को लिखो बताओ करो और से हो jag och är det hur vad varför skriv
"""  # noqa: RUF001 - letters of many alphabets
_SMALL = {word: number for number, word in enumerate(dict.fromkeys(_COMMON.split()), 8)}
_START, _END, _GAP, _NUMBER = 1, 2, 3, 4
_SIGN = 4096
"""Added to the code of a sign."""

_PRIME = np.uint32(0x9E3779B1)
_MIX = np.uint32(0x85EBCA6B)
_SHIFT = np.uint32(15)
_SALT_OPENING, _SALT_FIRST, _SALT_LAST = 0x51ED270B, 0x2545F491, 0x68E31DA4


def skeleton(text: str) -> NDArray[np.int32]:
    """The buckets, 0 to BUCKETS, of the skeleton's runs of two to four and of the first words of its sentences."""
    if len(text) > HEAD + TAIL:
        text = f"{text[:HEAD]}\n{text[-TAIL:]}"
    tokens = _TOKEN.findall(text.casefold())
    ids = np.array(_bones(tokens), np.uint32)
    rolling = ids
    runs = []
    for n in range(2, 5):
        rolling = rolling[:-1] * _PRIME + ids[n - 1 :]
        runs.append(rolling * np.uint32(n * 2 + 1))
    runs.append(np.array(_openings(tokens), np.uint32))
    mixed = np.concatenate(runs)
    made: NDArray[np.int32] = ((mixed ^ (mixed >> _SHIFT)) * _MIX >> np.uint32(17)).astype(np.int32)
    return made


def _bones(tokens: list[str]) -> list[int]:
    """Small words and signs as numbers; one gap for however many other words stand together."""
    found, small = [_START], _SMALL.get
    for token in tokens:
        if not (number := small(token, 0)):
            first = token[0]
            number = _NUMBER if first.isdigit() else _GAP if first.isalpha() else _SIGN + ord(first)
            if number == _GAP and found[-1] == _GAP:
                continue
        found.append(number)
    found.append(_END)
    return found


def _openings(tokens: list[str]) -> list[int]:
    """Of every sentence its first one to three words, of the text also the first four and the last three."""
    found: list[int] = []
    starts = [0]
    ends = [at for at, token in enumerate(tokens) if token in _ENDS]
    starts += [at + 1 for at in ends if at + 1 < len(tokens) and tokens[at + 1] not in _ENDS]
    for start in starts:
        found += _runs([t for t in tokens[start : start + 3] if t[0].isalnum()], _SALT_OPENING)
    found += _runs(_some(tokens, 4), _SALT_FIRST)
    found += _runs(_some(reversed(tokens), 3), _SALT_LAST)
    return found


def _some(tokens: Iterable[str], most: int) -> list[str]:
    """The first of them that are words."""
    return list(islice((t for t in tokens if t[0].isalnum()), most))


def _runs(words: list[str], salt: int) -> list[int]:
    """The hashes of the first word, the first two, and so on."""
    found = []
    for word in words:
        salt = crc32(word.encode("utf-8", "replace"), salt)
        found.append(salt)
    return found
