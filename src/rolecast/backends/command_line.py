"""A command as a person writes it: split into words, its placeholders filled in. Pure; no shell ever sees it."""

import re
import shlex
from collections.abc import Iterator, Mapping

_PLACEHOLDER = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\$\{([^{}\s]{1,80})\}|\{([A-Za-z_]\w*)\}")
"""`{{name}}` is the text `{name}`; `${NAME}` is how llama-swap writes it. Other braces, as of JSON, are left alone."""
_SHELLS = frozenset({"|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1", "&>"})
_LINE_GOES_ON = re.compile(r"\\[ \t]*\r?\n")


def words(command: str | list[str]) -> list[str]:
    """The words of a command; a text is split as a shell would. Raises ValueError that says what is wrong with it."""
    if isinstance(command, list):
        return command
    lexer = shlex.shlex(_LINE_GOES_ON.sub(" ", command), posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        found = list(lexer)
    except ValueError as error:
        what = "a quote is not closed" if "quotation" in str(error) else "it ends in a backslash"
        raise ValueError(f"cannot be split into words: {what}") from None
    if meant := next((word for word in found if word in _SHELLS), None):
        raise ValueError(f"'{meant}' is for a shell, and none reads this; name a script that does it")
    return found


def placeholders(text: str) -> Iterator[str]:
    """The names of all placeholders in a word, as they stand there but without `$` and braces."""
    for found in _PLACEHOLDER.finditer(text):
        if name := found[2] or found[3]:
            yield name


def known(name: str) -> str:
    """Our name of a placeholder: llama-swap's are in capitals."""
    return {"PORT": "port", "MODEL_ID": "model", "PID": "pid"}.get(name, name)


def fill(text: str, values: Mapping[str, str]) -> str:
    """The word with its placeholders filled in, once; those without a value stay."""

    def filled(found: re.Match[str]) -> str:
        if found[1]:
            return f"{{{found[1]}}}"
        return values.get(known(found[2] or found[3]), found[0])

    return _PLACEHOLDER.sub(filled, text)
