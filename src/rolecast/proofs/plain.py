"""Rewrites LaTeX and Unicode notation as plain text: `\\frac{1}{2}` as `((1)/(2))`, `x²` as `x^(2)`.

Text to text: builds no expressions. A command that it does not know stays as it is, and nothing reads it later.
"""

import re

MOST_CHARS = 4000
DEEPEST = 30
_POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿˣ⁽⁾", "0123456789+-nx()")
_INDICES = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋ₙ", "0123456789+-n")
_FRACTIONS = {
    "½": "1/2",
    "⅓": "1/3",
    "⅔": "2/3",
    "¼": "1/4",
    "¾": "3/4",
    "⅕": "1/5",
    "⅛": "1/8",
    "⅜": "3/8",
    "⅙": "1/6",
}
_SIGNS = str.maketrans(
    {
        "×": "*",
        "·": "*",
        "∙": "*",
        "⋅": "*",
        "÷": "/",
        "−": "-",
        "–": "-",
        "—": " - ",
        "≤": "<=",
        "≥": ">=",
        "≠": "!=",
        "√": " sqrt ",
        "∞": " oo ",
        "∪": " cup ",
        "∩": " cap ",
        "∈": " in ",
        "’": "'",
        "‘": "'",
        "′": "'",
        "”": '"',
        "“": '"',
        "∑": " sum ",
        "∫": " int ",
        "→": "->",
        "≡": "==",
        "≈": "~",
        "≅": "~",
        "⇒": " implies ",
        "∛": " cbrt ",
        "º": "°",
        "\u00a0": " ",
        "\u2009": " ",
        "\u202f": " ",
        "ℝ": " reals ",
        "θ": " theta ",
        "λ": " lambda ",
    }
)
_COMMANDS = {
    "cdot": "*",
    "times": "*",
    "ast": "*",
    "div": "/",
    "pi": " π ",
    "infty": " oo ",
    "pm": "±",
    "mp": "±",
    "le": "<=",
    "leq": "<=",
    "leqslant": "<=",
    "geqslant": ">=",
    "ge": ">=",
    "geq": ">=",
    "lt": "<",
    "gt": ">",
    "ne": "!=",
    "neq": "!=",
    "approx": "~",
    "to": "->",
    "rightarrow": "->",
    "cup": " cup ",
    "cap": " cap ",
    "in": " in ",
    "degree": "°",
    "circ": "°",
    "equiv": "==",
    "int": " int ",
    "sum": " sum ",
    "lim": " lim ",
    "mid": "|",
    "vert": "|",
    "lvert": "|",
    "rvert": "|",
    "det": " det ",
    "theta": " theta ",
    "lambda": " lambda ",
    "emptyset": " emptyset ",
    "varnothing": " emptyset ",
    "mod": " mod ",
    "bmod": " mod ",
    "mathbb": "",
    "prime": "'",
    "square": "",
    "cdots": "...",
    "ldots": "...",
    "dots": "...",
    "land": " and ",
    "lor": " or ",
    "implies": " implies ",
    "arcsin": " arcsin ",
    "arccos": " arccos ",
    "arctan": " arctan ",
    "sin": " sin ",
    "cos": " cos ",
    "tan": " tan ",
    "cot": " cot ",
    "sec": " sec ",
    "csc": " csc ",
    "sinh": " sinh ",
    "cosh": " cosh ",
    "tanh": " tanh ",
    "ln": " ln ",
    "log": " log ",
    "exp": " exp ",
    "gcd": " gcd ",
    "max": " max ",
    "min": " min ",
    "partial": "∂",
    "quad": " ",
    "qquad": " ",
    "left": "",
    "right": "",
    "displaystyle": "",
    "big": "",
    "Big": "",
    "bigl": "",
    "bigr": "",
    "limits": "",
    "lfloor": " floor(",
    "rfloor": ")",
    "lceil": " ceil(",
    "rceil": ")",
}
_NOTHING = frozenset("!,;: ><")
_TEXTS = frozenset(
    ["text", "mathrm", "textbf", "mathbf", "operatorname", "mathit", "textrm", "mbox", "boxed", "mathsf"]
)
_FRACS = frozenset(["frac", "dfrac", "tfrac", "cfrac"])
_MATRIX = re.compile(r"\\begin\{([pbBvV]?matrix|array)\}(?:\{[^}]*\})?(.*?)\\end\{\1\}", re.DOTALL)
_CASES = re.compile(r"\\begin\{(?:cases|aligned|align\*?)\}(.*?)\\end\{(?:cases|aligned|align\*?)\}", re.DOTALL)
_POWER_RUN = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿˣ⁽⁾]+")
_INDEX_RUN = re.compile(r"[₀₁₂₃₄₅₆₇₈₉₊₋ₙ]+")
_FRACTION = re.compile(rf"(\d*)([{''.join(_FRACTIONS)}])")
_MIXED = re.compile(r"(?<![\w.)^])(\d{1,9})\s+(\d{1,9})\s*/\s*(\d{1,9})(?![\w.])")
_MIXED_LATEX = re.compile(
    r"(?<![\w.^_},\\])(\d{1,9})\s*\\[dtc]?frac\s*(?:\{\s*(\d{1,9})\s*\}\s*\{\s*(\d{1,9})\s*\}|(\d)\s*(\d)(?!\d))"
)
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?:\{,\}\d{3})+)(?!\d)")


def plain(text: str) -> str:
    """The same in plain notation, on one line. At most `MOST_CHARS` characters are looked at."""
    text = text[:MOST_CHARS].replace("$", " ")
    text = _POWER_RUN.sub(lambda m: f"^({m[0].translate(_POWERS)})", text)
    text = _INDEX_RUN.sub(lambda m: f"_({m[0].translate(_INDICES)})", text)
    text = _FRACTION.sub(lambda m: f"({m[1] or 0}+{_FRACTIONS[m[2]]})", text)
    text = _THOUSANDS.sub(lambda m: m[0].replace("{,}", ""), text.translate(_SIGNS))
    if "\\" in text:
        text = _CASES.sub(lambda m: m[1].replace("&", "").replace("\\\\", ", "), text)
        text = _MATRIX.sub(_matrix, text)
        text = _MIXED_LATEX.sub(lambda m: f" mixedfrac({m[1]}, {m[2] or m[4]}, {m[3] or m[5]}) ", text)
        text, _ = _latex(text, 0, 0, "")
    else:
        text = _braced(text)
    text = re.sub(r"\^\s*(?:°|\(\s*°\s*\))", "°", _MIXED.sub(r"(\1+\2/\3)", text))
    return re.sub(r"\s+", " ", text).strip()


def _matrix(match: re.Match[str]) -> str:
    rows = [row.split("&") for row in re.split(r"\\\\", match[2]) if row.strip()]
    inside = ", ".join("[" + ", ".join(cell.strip() for cell in row) + "]" for row in rows)
    return f" det([{inside}]) " if match[1] == "vmatrix" else f"[{inside}]"


def _braced(text: str) -> str:
    """Braces of powers and indices as parentheses, where the text is no LaTeX; others are of sets."""
    found: list[str] = []
    closes: list[str] = []
    for index, sign in enumerate(text):
        if sign == "{":
            group = text[index - 1 : index] in ("^", "_")
            closes.append(")" if group else "}")
            found.append("(" if group else "{")
        elif sign == "}" and closes:
            found.append(closes.pop())
        else:
            found.append(sign)
    return "".join(found)


def _latex(text: str, at: int, depth: int, until: str) -> tuple[str, int]:
    """The text from `at` to the brace that closes it, and where it goes on."""
    found: list[str] = []
    while at < len(text):
        sign = text[at]
        if sign == until:
            return "".join(found), at + 1
        if sign == "\\":
            piece, at = _command(text, at + 1, depth)
        elif sign == "{":
            piece, at = _group(text, at, depth)
            piece = f"({piece})" if piece.strip() else ""
        else:
            piece, at = sign, at + 1
        found.append(piece)
    return "".join(found), at


def _group(text: str, at: int, depth: int) -> tuple[str, int]:
    """An argument: a group in braces, or one sign or command."""
    while at < len(text) and text[at] == " ":
        at += 1
    if at >= len(text) or depth > DEEPEST:
        return "\\", len(text)
    if text[at] == "{":
        return _latex(text, at + 1, depth + 1, "}")
    return _command(text, at + 1, depth + 1) if text[at] == "\\" else (text[at], at + 1)


def _command(text: str, at: int, depth: int) -> tuple[str, int]:
    name = re.compile(r"[A-Za-z]+").match(text, at)
    if name is None:
        sign = text[at : at + 1]
        return (
            " " if sign in _NOTHING else {"\\": ", ", "|": "|", "(": " ", ")": " ", "[": " ", "]": " "}.get(sign, sign)
        ), at + 1
    word, at = name[0], name.end()
    if word in _FRACS:
        above, at = _group(text, at, depth)
        below, at = _group(text, at, depth)
        return f"(({above})/({below}))", at
    if word == "sqrt":
        return _root(text, at, depth)
    if word == "binom":
        above, at = _group(text, at, depth)
        below, at = _group(text, at, depth)
        return f" binom({above}, {below})", at
    if word == "pmod":
        inside, at = _group(text, at, depth)
        return f" (mod {inside})", at
    if word in _TEXTS:
        inside, at = _group(text, at, depth)
        return f" {inside} ", at
    return _COMMANDS.get(word, f"\\{word} "), at


def _root(text: str, at: int, depth: int) -> tuple[str, int]:
    degree = re.compile(r"\s*\[([^\[\]]{1,20})\]").match(text, at)
    if degree is None:
        inside, at = _group(text, at, depth)
        return f" sqrt({inside})", at
    inside, at = _group(text, degree.end(), depth)
    return f" root({inside}, {degree[1]})", at
