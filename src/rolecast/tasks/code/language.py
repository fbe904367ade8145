"""Programming languages: their names, how each begins a definition, and which one a text is written in or asks for."""

import re
from functools import lru_cache

import msgspec

READ = 4000
"""So many characters of a wish are looked at."""
LINES = 20
"""So many of code, at its begin and at its end: somebody waits at the cursor."""


class Language(msgspec.Struct, frozen=True):
    """What tasks know of a language."""

    name: str
    title: str
    also: tuple[str, ...] = ()
    """Other names, in lower case, file endings among them."""
    begins: str = ""
    """A pattern: a line that begins like this begins a definition."""
    kinds: str = ""
    """A pattern: such a definition holds others, as a class does."""
    signs: tuple[tuple[str, int], ...] = ()
    """Patterns of a line that speak for it, and how much."""
    temperature: float = 0.3
    """How freely code is written, where nobody says it."""


_MODIFIERS = (
    r"(?:(?:public|private|protected|internal|static|final|abstract|sealed|override|async|virtual|open|data)\s+)"
)
_CALLABLE = r"[\w<>\[\],.?&*:~\s]+\([^;=]*$"
_NO_WORD = r"(?!(?:if|for|while|switch|return|else|do|case|catch|throw|new|try|foreach|using|lock)\b)"

_METHOD = rf"{_NO_WORD}[\w<>\[\],.?]+\s+\w+\s*\([^;=]*\{{\s*$"

LANGUAGES = (
    Language(
        "python",
        "Python",
        ("py", "python3", "py3", "ipython"),
        r"(?:async\s+def|def|class)\b",
        r"class\b",
        (
            (r"\s*(?:async\s+)?def \w+\(.*:", 4),
            (r"\s*(?:async\s+)?def \w+\(", 3),
            (r"\s*class \w+(?:\(.*\))?:", 4),
            (r"\s*(?:from [\w.]+ )?import [\w., *]+(?: as \w+)?\s*$", 2),
            (r"\s*(?:if|elif|for|while|with|try|except)\b.*:\s*$", 2),
            (r"\s*if __name__ ==", 4),
            (r"\s*print\(", 1),
        ),
        0.4,
    ),
    Language(
        "javascript",
        "JavaScript",
        ("js", "node", "nodejs", "node.js", "jsx", "mjs", "ecmascript"),
        r"(?:export\s+(?:default\s+)?)?(?:(?:async\s+)?function\b|class\b|const\b|let\b|var\b)",
        r"(?:export\s+(?:default\s+)?)?class\b",
        (
            (r"\s*(?:export\s+)?(?:async\s+)?function\s*\*?\s*\w*\(", 4),
            (r"\s*(?:export\s+)?(?:const|let|var)\s+[\w{\[]", 3),
            (r".*=>", 1),
            (r".*\b(?:console\.log|require|document\.\w+)\(", 3),
            (r".*===", 2),
        ),
        0.4,
    ),
    Language(
        "typescript",
        "TypeScript",
        ("ts", "tsx"),
        r"(?:export\s+(?:default\s+)?)?(?:declare\s+)?(?:abstract\s+)?"
        r"(?:(?:async\s+)?function\b|class\b|const\b|let\b|var\b|interface\b|type\s+\w|enum\b|namespace\b)",
        r"(?:export\s+(?:default\s+)?)?(?:abstract\s+)?(?:class|namespace)\b",
        (
            (r"\s*(?:export\s+)?(?:interface \w+|type \w+(?:<.*>)? =)", 5),
            (r".*[(,\s]\w+\??: (?:string|number|boolean|void|any|unknown|\w+\[\])\b", 5),
            (r"\s*(?:export\s+)?(?:async\s+)?function\s+\w+", 3),
            (r"\s*(?:export\s+)?(?:const|let)\s+\w+", 2),
            (r"\s*import .* from ['\"]", 2),
        ),
    ),
    Language(
        "java",
        "Java",
        (),
        rf"{_MODIFIERS}*(?:class|interface|enum|record)\b|{_MODIFIERS}+{_CALLABLE}|{_METHOD}",
        rf"{_MODIFIERS}*(?:class|interface|enum|record)\b",
        (
            (r"\s*public (?:static |final |abstract )*(?:class|interface|enum|record) \w+", 6),
            (r"\s*import java[\w.]*\.[\w.*]+;", 6),
            (r".*\bSystem\.out\.print", 5),
            (r"\s*(?:public|private|protected) (?:static |final )*[\w<>\[\]]+ \w+\(", 4),
            (r"\s*package [\w.]+;", 4),
        ),
        0.2,
    ),
    Language(
        "cpp",
        "C++",
        ("c++", "cplusplus", "cc", "cxx", "hpp"),
        rf"(?:class|struct|namespace|enum|union|template)\b|{_NO_WORD}[A-Za-z_]{_CALLABLE}",
        r"(?:class|struct|namespace|template)\b",
        (
            (r"\s*#include <(?:iostream|vector|string|map|memory|algorithm|\w+)>", 4),
            (r".*\bstd::\w+", 6),
            (r"\s*using namespace \w+;", 6),
            (r"\s*(?:template\s*<|class \w+\s*[:{]|namespace \w+)", 4),
            (r".*\b(?:cout|cin) (?:<<|>>)", 4),
        ),
        0.2,
    ),
    Language(
        "c",
        "C",
        ("ansi c", "c99", "c11", "c17", "h"),
        rf"(?:struct|union|enum|typedef)\b|{_NO_WORD}[A-Za-z_]{_CALLABLE}",
        "",
        (
            (r"\s*#include <\w+\.h>", 5),
            (r"\s*(?:int|void|char|float|double|size_t|static|struct \w+) \*?\w+\(.*\)\s*[{;]?\s*$", 3),
            (r".*\b(?:printf|malloc|free|sizeof|scanf)\(", 3),
            (r"\s*#define \w+", 2),
        ),
        0.2,
    ),
    Language(
        "go",
        "Go",
        ("golang",),
        r"(?:func|type|var|const)\b",
        "",
        (
            (r"package \w+\s*$", 5),
            (r"func (?:\(\w+ \*?\w+\) )?\w+\(", 4),
            (r".*\w+ :=", 2),
            (r".*\bfmt\.\w+\(", 4),
            (r"\s*if err != nil", 5),
        ),
    ),
    Language(
        "rust",
        "Rust",
        ("rs",),
        r"(?:pub(?:\([\w:\s]+\))?\s+)?(?:(?:async|unsafe|const|extern(?:\s+\"\w+\")?)\s+)*"
        r"(?:fn|struct|enum|impl|trait|mod|type|union|static)\b|macro_rules!",
        r"(?:pub(?:\([\w:\s]+\))?\s+)?(?:unsafe\s+)?(?:impl|trait|mod)\b",
        (
            (r"\s*(?:pub )?(?:async )?fn \w+(?:<.*>)?\(", 5),
            (r"\s*let mut \w+", 5),
            (r"\s*use (?:std|crate|super)::", 5),
            (r"\s*(?:pub )?(?:impl|trait)\b", 3),
            (r".*\bprintln!\(", 5),
            (r"\s*#\[\w+", 3),
        ),
    ),
    Language(
        "html",
        "HTML",
        ("htm", "xhtml", "html5"),
        signs=(
            (r"\s*<!doctype html", 8),
            (r"\s*</?(?:html|head|body|div|span|p|a|ul|ol|li|h[1-6]|table|form|script|style)\b[^>]*>", 3),
        ),
        temperature=0.5,
    ),
    Language(
        "css",
        "CSS",
        ("css3",),
        signs=(
            (r"\s*[.#]?[\w-]+(?:[ ,:>.#][\w\s,:>.#-]*)?\{\s*$", 1),
            (r"\s*(?:color|margin|padding|display|font-\w+|background(?:-\w+)?|width|height|border):\s*[^;]+;", 4),
            (r"\s*@(?:media|import|keyframes)\b", 5),
        ),
        temperature=0.5,
    ),
    Language(
        "sql",
        "SQL",
        ("sqlite", "postgresql", "postgres", "mysql", "plsql"),
        r"(?i:create|alter|drop)\b",
        signs=(
            (
                r"(?i)\s*(?:select\b.*\bfrom\b|select\s*$|insert into\b|create (?:table|view)\b|update \w+ set\b)",
                5,
            ),
            (r"(?i)\s*(?:from|where|group by|order by|left join|inner join)\b", 2),
        ),
    ),
    Language(
        "bash",
        "Bash",
        ("sh", "shell", "zsh", "shell script", "console"),
        r"(?:function\s+[\w-]+|[\w-]+\s*\(\)\s*)",
        signs=(
            (r"#!.*\b(?:ba|z)?sh\b", 8),
            (r"\s*(?:if \[|fi$|done$|esac$|then$|do$)", 3),
            (r"\s*(?:echo|export|sudo|cd|grep|mkdir|chmod) ", 2),
            (r".*\$\{?\w+", 1),
        ),
    ),
    Language("json", "JSON", (), signs=((r"\s*\"[^\"]+\"\s*:\s*[\[{\"\d]", 2),), temperature=0.2),
    Language(
        "csharp",
        "C#",
        ("c#", "cs", "c-sharp"),
        rf"(?:namespace\b|{_MODIFIERS}*(?:class|interface|enum|record|struct)\b|{_MODIFIERS}+{_CALLABLE}|{_METHOD})",
        rf"(?:namespace\b|{_MODIFIERS}*(?:class|interface|record|struct)\b)",
        ((r"\s*using System", 6), (r"\s*namespace [\w.]+", 4), (r".*\bConsole\.Write", 5)),
    ),
    Language(
        "ruby",
        "Ruby",
        ("rb",),
        r"(?:def|class|module)\b",
        r"(?:class|module)\b",
        ((r"\s*def \w+[?!]?(?:\(.*\))?\s*$", 2), (r"\s*(?:require|puts|attr_accessor) ", 3), (r"\s*end\s*$", 2)),
    ),
    Language(
        "php",
        "PHP",
        (),
        rf"(?:{_MODIFIERS}*(?:function|class|interface|trait)\b)",
        rf"{_MODIFIERS}*(?:class|interface|trait)\b",
        ((r"\s*<\?php", 8), (r"\s*\$\w+ =", 2), (r"\s*(?:\w+ )?function \w+\(.*\$", 4)),
    ),
    Language(
        "kotlin",
        "Kotlin",
        ("kt",),
        rf"{_MODIFIERS}*(?:fun|class|interface|object)\b",
        rf"{_MODIFIERS}*(?:class|interface|object)\b",
        ((r"\s*(?:\w+ )*fun \w+\(", 5), (r"\s*val \w+", 3)),
    ),
    Language(
        "swift",
        "Swift",
        (),
        rf"{_MODIFIERS}*(?:func|class|struct|enum|protocol|extension)\b",
        rf"{_MODIFIERS}*(?:class|struct|protocol|extension)\b",
        ((r"\s*(?:\w+ )*func \w+\(.*\) (?:->|\{)", 4), (r"\s*import (?:Foundation|UIKit|SwiftUI)", 6)),
    ),
)
BY_NAME = {language.name: language for language in LANGUAGES}
_SPELLED = {word: each.name for each in LANGUAGES for word in (each.name, each.title.lower(), *each.also)}
_SIGNS = {each.name: [(re.compile(sign), weight) for sign, weight in each.signs] for each in LANGUAGES}
_ANY_NAME = "|".join(re.escape(word) for word in sorted(_SPELLED, key=len, reverse=True))
_NAMED = re.compile(rf"(?<![\w./+#-])({_ANY_NAME})(?![\w+#]|-\w)", re.IGNORECASE)
_COMMON = frozenset(["go", "rust", "swift", "node", "shell", "console", "json"])
"""Names that are words of English besides, or of data that any code may read; like short ones they count only where
code is spoken of."""
_CODE = (
    r"(?:code|function|script|program|class|method|snippet|module|implementation|file|query|page|struct|api|server)s?"
)
_BEFORE = re.compile(r"\b(?:in|using|with)\s+$", re.IGNORECASE)
_INTO = re.compile(r"\b(?:to|into)\s+$", re.IGNORECASE)
_BEHIND = re.compile(rf"\s+{_CODE}\b", re.IGNORECASE)
_ENDING = re.compile(r"[\w-]\.(py|jsx?|tsx?|java|cpp|cc|hpp|c|h|go|rs|html|css|sql|sh|cs|rb|php|kt|swift)\b")
_OPENING = re.compile(r"(?:^|\n) {0,3}(?:```+|~~~+)[ \t]*([\w+#.-]+)")
_ASSIGNS = re.compile(r"\s*[\w.$\[\]]+\s*(?:[-+*/:]?=)\s*\S|.*[{;]\s*$")
LEAST = 3
"""Signs that weigh less are chance."""


def language_named(word: str) -> str:
    """The name of a language as it is kept here: `C++`, `cpp` and `.hpp` are one. One that is not known stays."""
    spelled = word.strip().lower().lstrip(".")
    return _SPELLED.get(spelled, spelled)


def title_of(name: str) -> str:
    """What people call it."""
    return BY_NAME[name].title if name in BY_NAME else name


def written_in(code: str) -> str:
    """The language that code is written in, by its signs; '' = they are too few."""
    lines = code.splitlines()
    lines = lines if len(lines) <= 2 * LINES else [*lines[:LINES], *lines[-LINES:]]
    weights = dict.fromkeys(BY_NAME, 0)
    for line in lines:
        for name, weight in _weights(line[:200]):
            weights[name] += weight
    if weights["typescript"] <= weights["javascript"]:
        weights["typescript"] = 0
    name, weight = max(weights.items(), key=lambda each: each[1])
    return name if weight >= LEAST else ""


@lru_cache(2048)
def _weights(line: str) -> tuple[tuple[str, int], ...]:
    """What a line says for each language. Kept: with the next keystroke most lines are the same."""
    found = ((name, sum(weight for sign, weight in signs if sign.match(line))) for name, signs in _SIGNS.items())
    return tuple((name, weight) for name, weight in found if weight)


def asked_for(prompt: str) -> str:
    """The language that a wish is about: it is named, a file is, or code of it stands there. '' = none of these."""
    text = prompt[:READ]
    best, weight = "", 0
    for found in _NAMED.finditer(text):
        if (weighs := _weight(text, found)) > weight:
            best, weight = _SPELLED[found[1].lower()], weighs
    if best:
        return best
    if ending := _ENDING.search(text):
        return language_named(ending[1])
    if opening := _OPENING.search(text):
        return language_named(opening[1])
    return written_in(prompt)


def _weight(text: str, found: re.Match[str]) -> int:
    """How surely a word that is a language's name means it, and its code is what is wanted."""
    before = text[max(0, found.start() - 12) : found.start()]
    if _INTO.search(before):
        return 3
    if _BEFORE.search(before) or _BEHIND.match(text, found.end()):
        return 2
    word = found[1].lower()
    return 0 if len(word) < 3 or word in _COMMON else 1


def may_begin(line: str, language: str) -> bool:
    """Whether a line may be the first of code in that language, and is no sentence."""
    bare = line.strip()
    if bare.startswith(("#", "//", "/*", '"""', "'''", "@", "<", "{", "--")):
        return True
    short = line[:300]
    return _ASSIGNS.match(short) is not None or any(sign.match(short) for sign, _ in _SIGNS.get(language, ()))
