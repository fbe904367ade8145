"""Finds credentials: keys by how their issuers begin them, private keys, tokens, and what is called a password."""

import re
from collections.abc import Iterator
from math import log2

from rolecast.privacy.spans import Span

_ISSUED = re.compile(
    r"(?<![A-Za-z0-9_])(?:"
    r"sk-(?:ant-|proj-|or-v1-|svcacct-)?[A-Za-z0-9_-]{16,256}"
    r"|gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}|glpat-[A-Za-z0-9_-]{16,64}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,255}|xapp-[A-Za-z0-9-]{10,255}"
    r"|(?:AKIA|ASIA|AIDA|AROA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,45}|ya29\.[A-Za-z0-9_-]{20,255}"
    r"|SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}|hf_[A-Za-z0-9]{20,64}|npm_[A-Za-z0-9]{20,64}"
    r"|pypi-[A-Za-z0-9_-]{16,255}|dckr_pat_[A-Za-z0-9_-]{16,64}|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,255}"
    r"|whsec_[A-Za-z0-9+/=]{16,255}|shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{16,64}|xai-[A-Za-z0-9]{20,255}|gsk_[A-Za-z0-9]{20,255}"
    r"|r8_[A-Za-z0-9]{20,64}|pplx-[A-Za-z0-9]{20,64}|tskey-[A-Za-z0-9-]{10,64}|dop_v1_[a-f0-9]{20,80}|rc-[A-Za-z0-9_-]{24,64}"
    r"|lin_api_[A-Za-z0-9]{20,64}|ATATT[A-Za-z0-9_=-]{20,255}|AGE-SECRET-KEY-1[A-Z0-9]{40,64}|sq0[a-z]{3}-[A-Za-z0-9_-]{20,64}"
    r"|\d{8,10}:AA[A-Za-z0-9_-]{30,40}"
    r")"
)
_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{4,8192}\.[A-Za-z0-9_-]{0,2048}")
_PEM = "-----BEGIN "
_PEM_HEAD = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(r"-----END (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_PEM_LINES = re.compile(r"(?:(?:\s|\\[nr]){0,4}[A-Za-z0-9+/=]{8,100}){0,200}")
"""What a block without an end may hold."""
MOST_BLOCK = 20_000
_IN_URL = re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s/@:?#\"'<>]{0,128}:([^\s/@\"'<>]{1,256})@", re.IGNORECASE)
_BEARER = re.compile(r"\b(?:bearer|basic|token)[ \t]{1,4}([A-Za-z0-9._~+/=-]{16,4096})", re.IGNORECASE)
_CALLED = re.compile(
    r"(?P<what>api[ _-]?key|access[ _-]?key|secret|private[ _-]?key|auth[ _-]?key|token|passw(?:or)?d|passwort|kennwort"
    r"|passphrase|pwd|credentials?|contrase\u00f1a|mot de passe|senha|(?<![A-Za-z])pin)(?:[A-Za-z0-9_-]{0,24})"
    r"[\"'`*]{0,3}[ \t]{0,4}(?P<sign>:=|=>|[:=]|\bis\b|\bist\b|\blautet\b)"
    r"[ \t]{0,4}(?P<quote>[\"'`*]{0,3})(?P<value>[^\s\"'`,;<>]{4,512})",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"\W|[A-Za-z_$][\w$]*(?:(?:\.|->|::)[A-Za-z_$][\w$]*)+[\[(]?|[$%{<].*|.*[(\[{].*[)\]}].*"
    r"|.*\(|\*+|x+|\.+|your[-_].*|none|null|true|false",
    re.IGNORECASE,
)
"""What stands there in code and in examples: names of things, calls, blanks."""
_BRACKETS = re.compile(r"[()\[\]{}<>|]")
_NAMES = re.compile(r"(?:[A-Za-z]{1,16}\d{0,2}[_.]){1,8}[A-Za-z]{1,16}\d{0,2}|[A-Z_]{1,40}")
"""Of things in code: words with underscores or points between them, or in capitals."""
_THOUGHT_UP = ("pass", "pwd", "pin", "kennwort", "contra", "mot", "senha")
ENTROPY = 2.6
"""Bits for each character of what no person thought up; English words have less where they are short."""


def keys(text: str) -> Iterator[Span]:
    """Credentials. What is called one must look like one: code and sentences use the same words."""
    yield from _formed(text)
    yield from _told(text)


def _formed(text: str) -> Iterator[Span]:
    """Those that can be told by their form."""
    for found in _ISSUED.finditer(text):
        if any(sign.isdigit() for sign in found[0]) or len(found[0]) > 40:
            yield Span(found.start(), found.end(), "keys")
    if "eyJ" in text:
        yield from (Span(found.start(), found.end(), "keys") for found in _JWT.finditer(text))
    if _PEM in text:
        yield from _blocks(text)


def _told(text: str) -> Iterator[Span]:
    """Those that stand where one must be."""
    if "://" in text:
        for found in _IN_URL.finditer(text):
            if not (_CODE.fullmatch(found[1]) or _NAMES.fullmatch(found[1]) or _BRACKETS.search(found[1])):
                yield Span(*found.span(1), "keys", told=True)
    for found in _BEARER.finditer(text):
        if _is_random(found[1]):
            yield Span(*found.span(1), "keys", told=True)
    for found in _CALLED.finditer(text):
        start, end = found.span("value")
        end -= len(found["value"]) - len(found["value"].rstrip(".!?)*"))
        personal = found["what"].lower().startswith(_THOUGHT_UP)
        if _is_secret(text[start:end], personal=personal, quoted=found["quote"] != "", spoken=found["sign"].isalpha()):
            yield Span(start, end, "keys", told=True)


def _blocks(text: str) -> Iterator[Span]:
    """Private keys in PEM, from head to end; one that was cut off, as far as it goes."""
    at = 0
    while (head := _PEM_HEAD.search(text, at)) is not None:
        following = text.find(_PEM, head.end())
        limit = min(head.end() + MOST_BLOCK, following if following >= 0 else len(text))
        end = _PEM_END.search(text, head.end(), limit)
        if end is None:
            end = _PEM_LINES.match(text, head.end(), limit)
            assert end is not None  # it may be empty
        at = end.end()
        yield Span(head.start(), at, "keys")


def _is_secret(value: str, *, personal: bool, quoted: bool, spoken: bool) -> bool:
    """Whether this is one and no word about one, nor the name of one in code.

    `personal` = people think it up, as a password; `spoken` = it is told in a sentence: my password is ...
    """
    if len(value) < 4 or _CODE.fullmatch(value) or (not quoted and _BRACKETS.search(value)):
        return False
    letters, digits = any(map(str.isalpha, value)), any(map(str.isdigit, value))
    signs = any(not c.isalnum() and c not in "-_./" for c in value)
    if personal and digits and not letters and not signs:
        return len(value) <= 12
    if not letters or len(value) < 6 or _NAMES.fullmatch(value):
        return False
    if personal:
        return digits or (signs and (quoted or spoken or value[-1] not in ":=&|+*/"))
    return digits and len(value) > 7 and _is_random(value)


def _is_random(value: str) -> bool:
    """Whether nobody thought it up: by its entropy, and that there is more than letters of one case."""
    counts = [value.count(each) for each in set(value)]
    entropy = -sum(n / len(value) * log2(n / len(value)) for n in counts)
    kinds = sum((any(map(str.islower, value)), any(map(str.isupper, value)), any(map(str.isdigit, value))))
    return entropy > ENTROPY and kinds > 1
