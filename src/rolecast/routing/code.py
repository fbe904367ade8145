# ruff: noqa: E501  # a pattern stands in one line
"""Whether a text holds code: in a fence, in lines of its own, or a piece within a sentence.

Pure. Lists, tables, logs and formulas are none. Beside fences only the head and the tail of a text are looked at, and
patterns are tried only around words and signs that occur in it: this runs for every request that names nobody.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rolecast import lazily

HEAD, TAIL = 600, 300
NO_CODE = frozenset(
    [
        "text",
        "txt",
        "plain",
        "plaintext",
        "markdown",
        "md",
        "csv",
        "tsv",
        "log",
        "logs",
        "output",
        "latex",
        "tex",
        "math",
        "email",
    ]
)
"""Fences that say that no code is in them; one that says nothing is looked into."""
MOST_FENCES = 20
LEAST_LINES = 2
"""So many lines must end as lines of code do."""

_TAGS = (
    "a|article|body|br|button|canvas|div|footer|form|h[1-6]|head|header|html|img|input|label|li|link|main|meta|nav|option|p|path|pre|script"
    "|section|select|span|style|svg|table|tbody|td|template|textarea|th|thead|title|tr|ul|ol"
)
_PRINT = r"rint(?:f|ln!?)?\s?\(\s*(?:[\"'fF]|\w+[\[(.,)]|\w+ ?[+\-*/,]|\w+\))"
_MODIFIERS = "(?:static |final |abstract |async |override |virtual |readonly |var )*"
_TYPED = r" [*&]?\w+\s*[=;(\[]"
_WORDS: Mapping[str, tuple[str, ...]] = {
    "def": (r"def \w+[\w.?!]*\s*(?:\(|$)",),
    "class": (
        r"class [A-Z]\w*(?:[(<][^\n]{0,80})?(?: (?:extends|implements|:) [^\n]{0,80})?\s*[:{]\s*$",
        r"data class [A-Z]\w*\(",
        r"case class [A-Z]\w*\(",
    ),
    "import": (
        r"import [\w.]+ as \w+",
        r"^import (?:static )?[\w.]{1,80}(?:\.\*)?;",
        r"^import [\w{}*, ]{1,80} from ['\"]",
        r"^import [\w.]+$",
    ),
    "from": (r"^from [\w.]+ import \S",),
    "return": (r"return (?:[^\n.,;]{0,60}(?:;\s*$|\)$|\]|\}|[\w)] (?:[-+*/%]|[<>=!]=|&&|\|\|) [\w(])|not )",),
    "include": (r"#include\s*[<\"]",),
    "function": (r"function\s*\*?\s*\w*\s*\([^)\n]{0,80}\)\s*(?:\{|:|$)", r"^function \[[\w, ]+\] = \w"),
    "fn": (r"fn \w+\s*[(<]",),
    "func": (r"func (?:\(\w+ [*\w]+\) )?\w+\s*\(",),
    "fun": (r"fun \w+\s*\(",),
    "Sub": (r"Sub \w+\(",),
    "const": (r"const [\w{\[*&][^\n=]{0,60}=\s*\S",),
    "constexpr": (r"constexpr \w",),
    "let": (r"^let (?:mut )?[\w{\[][^\n=]{0,60}=[^\n]{0,80}(?:[;({\['\"]|=>)",),
    "var": (r"var [\w{\[][^\n=]{0,40}=[^\n]{0,80}[;({\['\"]", r"var \w+;"),
    "my": (r"my ?[$@%(]\S",),
    "public": (rf"public {_MODIFIERS}[\w<>\[\],?]+ \w+\s*[({{=;]",),
    "private": (rf"private {_MODIFIERS}[\w<>\[\],?]+ \w+\s*[({{=;]",),
    "struct": (r"struct \w+\s*[{<:]",),
    "interface": (r"interface [A-Z]\w*(?:<[^\n]{0,80}>)?\s*(?:extends \w+\s*)?\{",),
    "enum": (r"enum (?:class )?[A-Z]\w*\s*\{",),
    "int": (r"int [*&]?\w+\s*(?:=|;|\(\w* ?\w*[,)]|\[)",),
    "bool": ("bool" + _TYPED,),
    "double": ("double" + _TYPED,),
    "void": (r"void \w+\s*\(",),
    "switch": (r"switch ?\([^)\n]{0,80}\)\s*\{",),
    "if": (
        r"if(?: ?\((?:[^)\n]{0,40}?(?:[=!<>]=+|&&|\|\|)|\w[\w.\[\]]{0,30} ?[<>])| err != nil| \w+ is (?:not )?None\b| \[\[? )",
        r"^if [^\n]{1,60}(?:==|!=|<=|>=| not | is | in )[^\n]{1,60}:[ \t]*(?:$|return|print)",
    ),
    "elif": (r"elif [^\n]{1,80}:",),
    "for": (
        r"for ?\((?:(?:const|let|var|auto|int) |[^);\n]{0,60};[^);\n]{0,60};)",
        r"for \w+(?:, ?\w+)? (?::?= range|in range\(|in [^\n]{0,80}?[\w)\]][ \t]*:[ \t]*(?:$|\S))",
        r"for [\w, ]{1,20} in \w+(?:\([^)\n]{0,80}\))? ?[\]}]",
    ),
    "while": (r"while(?: ?\([^)\n]{0,80}(?:\)\s*\{|[<>=!&|])| (?:True|\w+ ?[<>!=]=? ?\w+) ?:| \w+ [=!]= )",),
    "try": (r"^try:\s*$", r"^try \{"),
    "raise": (r"raise [A-Z]\w*\(",),
    "assert": (r"^assert [\w.]+ ?[=!<>]=",),
    "lambda": (r"lambda [\w, ]{0,40}:",),
    "with": (r"with open\(",),
    "print": ("p" + _PRINT,),
    "printf": ("p" + _PRINT,),
    "println": ("p" + _PRINT,),
    "Println": ("P" + _PRINT,),
    "console": (r"console\.(?:log|error|warn)\(",),
    "self": (r"self\.\w+",),
    "this": (r"this\.\w+(?:\.\w+)*\s*(?:=|\(|;)",),
    "np": (r"np\.\w+(?:\.\w+)*\(",),
    "pd": (r"pd\.\w+(?:\.\w+)*\(",),
    "plt": (r"plt\.\w+\(",),
    "SELECT": (r"SELECT\b[^;]{1,100}?(?:\bFROM\b|,|\*)",),
    "select": (
        r"select (?:\*|\w+\([^)\n]{0,80}\)|[\w.]+,[^.\n]{1,80}|[\w.]+) from \w+(?:;| where \w+ ?[=<>]| join | group by| order by| limit \d|,)",
        r"select \* from",
    ),
    "INSERT": (r"INSERT INTO \w",),
    "CREATE": (r"CREATE (?:OR REPLACE )?(?:UNIQUE )?(?:TABLE|INDEX|VIEW|FUNCTION|PROCEDURE|TRIGGER)\b",),
    "ALTER": (r"ALTER TABLE \w",),
    "UPDATE": (r"UPDATE \w+ SET\b",),
    "FROM": (r"^FROM [\w./-]+(?::[\w.-]+)?\s*$[\s\S]{0,200}^(?:RUN|COPY|CMD|WORKDIR|ENTRYPOINT|ENV) ",),
    "apiVersion": (r"^apiVersion: \S",),
    "grep": (r"grep [^|\n]{0,60}\| *\w", r"\| *grep "),
    "awk": (r"awk ['\"-]",),
    "xargs": (r"\| *xargs ",),
    "__name__": ("__name__",),
    "__init__": ("__init__",),
}
"""What code looks like around a word that it is made of. With ^ nothing stands before it in its line."""
_SIGNS: tuple[tuple[str, str], ...] = (
    ("=>", r"=>(?:(?<=\)=>)|(?<=\) =>)|(?:(?<=\w=>)|(?<=\w =>))\s*[{(\[`\"'])"),
    ("==", r"==(?:(?<=[\w\])]==)|(?<=[\w\])] ==))=? ?[\"'\w]"),
    ("+=", r"\+=(?:(?<=\w\+=)|(?<=[\w\])] \+=))\s*\S"),
    (" = ", r" = (?:\w+\.\w[\w.]*\(|\w+\([\"'])"),
    ("++", r"\+\+(?<=\w\+\+)\s*[;)]"),
    ("->", r"->(?:(?<=\w->)\w+[ \t]*\(|(?<=\)->)\s*[\w\[<][^\n]{0,80}[:{]|(?<=\) ->)\s*[\w\[<][^\n]{0,80}[:{])"),
    ("::", r"::(?<=\w::)\w"),
    (":: ", r":: (?<=\w :: )[\w\[(]"),
    (").", r"\)\.[a-z_]\w*\("),
    ("();", r"\(\);(?<=\w\(\);)"),
    (");", r"\w\((?!s\))[^\n]{0,80}\);[ \t]*(?:$|\}|//|#)"),
    ("} ", r"^\} (?:else|catch|finally)\b"),
    ("{", r"\{(?<=[\w)] \{)[ \t]*\n[ \t]+[\w-]+(?:: ?[^\n]{1,60};|[^\n]{0,40}[;{(])"),
    ("[", r"\[(?:(?<=\w\[)(?:[^\]\n]{0,40}\]\s*=\s*\S|::-?\d\])|\w[^\]\n]{0,40} for \w+ in )"),
    ("</", rf"</(?:{_TAGS})\s*>"),
    ("<", rf"<(?:!DOCTYPE|\?xml|\?php|(?:{_TAGS})(?:\s+[\w-]+\s*=[^>\n]{{0,80}}|\s*/)?>)"),
    (
        "@",
        r"^@(?:app|pytest|property|staticmethod|classmethod|dataclass|Override|Test|Component|Injectable|media|Entity|router)\b",
    ),
    ("$", r"^\$\w+\s*=[^=$\n]{1,80};"),
    ("$ ", r"^\$ (?:sudo |cd |ls|git |npm |pip |docker |curl )"),
    ("#!", r"^#!\s*/"),
)
"""The same around signs."""


class _Look(NamedTuple):
    """What is looked for."""

    literal: str
    """What it begins with; it is tried only there, for to find a text is ten times faster. '' = anything."""
    pattern: re.Pattern[str]
    begins: bool
    """Nothing stands before it in its line, which is seen to afterwards."""


def _compiled(pattern: str) -> _Look:
    bare = pattern.removeprefix("^")
    return _Look(_literal(bare), lazily.pattern(bare, re.MULTILINE), bare != pattern)


def _literal(pattern: str) -> str:
    """The characters that whatever fits begins with."""
    found, at = "", 0
    while at < len(pattern):
        character, end = pattern[at], at + 1
        if character == "\\" and not pattern[end].isalnum():
            character, end = pattern[end], end + 1
        elif character in "\\.^$*+?{}[]|()":
            break
        if pattern[end : end + 1] in ("*", "?", "{", "+"):
            break
        found, at = found + character, end
    return found


_AROUND_WORDS = {word.encode(): [_compiled(each) for each in patterns] for word, patterns in _WORDS.items()}
_KNOWN_WORDS = frozenset(_AROUND_WORDS)
_AROUND_SIGNS: dict[str, list[tuple[str, _Look]]] = {}
"""By a character of them: that one is not there is known soonest."""
for _sign, _pattern in _SIGNS:
    _AROUND_SIGNS.setdefault(_sign.strip()[-1], []).append((_sign, _compiled(_pattern)))
_OF_WORDS = bytes(i if (chr(i).isalnum() and i < 128) or i == ord("_") else 32 for i in range(256))
_NOT_LINE = lazily.pattern(r"\s*(?:[-*•>|]|\d+[.)])\s|[^\\$]*[\\$]")


def holds_code(text: str) -> bool:
    """Whether there is code in the text."""
    if any(tag and tag not in NO_CODE for tag in _fences(text)):
        return True
    seen = text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"
    words = seen.encode("utf-8", "replace").translate(_OF_WORDS).split()
    for word in _KNOWN_WORDS.intersection(words):
        for look in _AROUND_WORDS[word]:
            if _occurs(look, seen):
                return True
    for character, around in _AROUND_SIGNS.items():
        if character in seen and any(sign in seen and _occurs(look, seen) for sign, look in around):
            return True
    return _ends_as_code(seen)


def _fences(text: str) -> Iterator[str]:
    """What the fences that open say is in them."""
    at, opens = text.find("```"), True
    for _ in range(MOST_FENCES):
        if at < 0:
            return
        end = text.find("\n", at)
        tag = text[at + 3 : end if end >= 0 else len(text)].split(maxsplit=1)[:1]
        if opens and end >= 0:
            yield tag[0].lower() if tag else ""
        opens = not opens
        at = text.find("```", at + 3)


def _occurs(look: _Look, text: str) -> bool:
    literal, pattern, begins = look
    if not literal:
        found = pattern.finditer(text)
        return any(not begins or _is_first(text, each.start()) for each in found)
    at = text.find(literal)
    while at >= 0:
        match = pattern.match(text, at)
        if match is not None and (not begins or _is_first(text, at)):
            return True
        at = text.find(literal, at + 1 if match is None else match.end())
    return False


def _is_first(text: str, at: int) -> bool:
    """Whether nothing stands before it in its line."""
    return not text[text.rfind("\n", 0, at) + 1 : at].strip()


def _ends_as_code(text: str) -> bool:
    """Whether lines end as those of code do, and are not those of a list, a table or a formula."""
    if ";" not in text and "{" not in text:
        return False
    ends = 0
    for line in text.split("\n"):
        bare = line.rstrip()
        ends += bare[-1:] in (";", "{", "}") and any(sign in bare for sign in "=({}[") and not _NOT_LINE.match(bare)
    return ends >= LEAST_LINES
