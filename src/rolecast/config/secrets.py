"""Keys and credentials as they stand in the configuration: plain, or the name of a variable or file that holds them.

One reading for the keys of our clients, for those of remotes, and for the URL of a database. No message shows a secret.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from rolecast.config.document import Trail
from rolecast.config.schema import Config
from rolecast.errors import ConfigError

PREFIX = "env:"
FILE = "file:"
MOST_BYTES = 65_536
"""No file of a key is longer."""
_QUOTES = ("'", '"')


class Secret(msgspec.Struct, frozen=True):
    """A secret that can be used. `note` says what was dropped from its variable; '' = nothing."""

    value: str
    note: str = ""


def fault(text: str, *, sent: bool) -> str:
    """What is wrong with a secret as it is written in the file, or ''. Asks no variable.

    `sent` = we send it to somebody, so it must be one word of ASCII; a key of our clients may be any text.
    """
    name = text.removeprefix(PREFIX)
    if name != text:
        clear = re.fullmatch(r"[^\s=$'\"]+", name) is not None
        return "" if clear else "env: needs the name of a variable alone, as in env:MY_KEY"
    if text.startswith(FILE):
        there = Path(text.removeprefix(FILE)).expanduser()
        return "" if there.is_absolute() else "file: needs a whole path, as in file:/etc/rolecast/key or file:~/.key"
    if re.match(r"(?i:env)[:=]|os\.environ/", text) or re.fullmatch(r"\$\{?[A-Z_][A-Z0-9_]*\}?", text):
        return "a key in a variable is written env:NAME"
    if sent and re.fullmatch(r"sha256:[0-9a-fA-F]{64}", text):
        return "a hash opens nothing elsewhere; write env:NAME"
    return _unfit(text, sent=sent)


def read(text: str, place: str, *, sent: bool, what: str = "key", env: Mapping[str, str] | None = None) -> Secret:
    """The secret that `text` is or names. White space and quotes around what a variable or file holds are dropped.

    Raises ConfigError, which begins with `place`, when there is none or it cannot be used.
    """
    if problem := fault(text, sent=sent):
        raise ConfigError([f"{place}: {problem}"])
    if text.startswith(FILE):
        return _in_file(Path(text.removeprefix(FILE)).expanduser(), place, what, sent=sent)
    if not text.startswith(PREFIX):
        return Secret(text)
    name = text.removeprefix(PREFIX)
    held = (os.environ if env is None else env).get(name)
    if held is None:
        raise ConfigError([f"{place}: the environment variable {name} is not set; run `export {name}=...` first"])
    value = _bare(held)
    if not value:
        raise ConfigError(
            [f"{place}: the environment variable {name} is empty; give it the {what}, or remove env:{name}"]
        )
    if problem := _unfit(value, sent=sent):
        raise ConfigError([f"{place}: the environment variable {name} holds no usable {what}: {problem}"])
    note = (
        "" if value == held else f"the environment variable {name} has white space or quotes around its {what}; dropped"
    )
    return Secret(value, note)


def _in_file(path: Path, place: str, what: str, *, sent: bool) -> Secret:
    """What a file holds that its owner alone can read. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            held = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "this is no path"
        raise ConfigError([f"{place}: the file {path} cannot be read: {why}"]) from None
    if stat.S_ISREG(mode) and mode & 0o077:
        raise ConfigError([f"{place}: others may read the file {path}; run `chmod 600 {path}` first"])
    try:
        value = _bare(held.decode("utf-8-sig")) if len(held) <= MOST_BYTES else ""
    except UnicodeDecodeError:
        value = ""
    if not value:
        raise ConfigError([f"{place}: the file {path} holds no {what}"])
    if problem := _unfit(value, sent=sent):
        raise ConfigError([f"{place}: the file {path} holds no usable {what}: {problem}"])
    return Secret(value)


def variables(
    given: Mapping[str, str], place: str, env: Mapping[str, str] | None = None
) -> tuple[tuple[str, str], ...]:
    """Variables for a process of a model: as they stand there, or for `env:NAME` what ours holds.

    Raises ConfigError, which begins with `place`, for one of ours that is not set.
    """
    ours = os.environ if env is None else env
    found = []
    for name, text in given.items():
        other = text.removeprefix(PREFIX)
        if other != text and other not in ours:
            raise ConfigError([f"{place}: the environment variable {other} is not set; run `export {other}=...` first"])
        found.append((name, ours[other] if other != text else text))
    return tuple(found)


def unset(environment: Mapping[str, str], key: str = "") -> str | None:
    """What a model needs of our environment and does not find there; None when nothing."""
    try:
        variables(environment, "")
        if key:
            read(key, "", sent=True)
    except ConfigError as error:
        return error.problems[0].removeprefix(": ")
    return None


def notes(config: Config, env: Mapping[str, str] | None = None) -> list[tuple[Trail, str]]:
    """What is odd or wrong about the variables that enabled models and the server name, by setting."""
    found: list[tuple[Trail, str]] = []
    keys: list[tuple[Trail, str]] = [(("server", "keys", i), key) for i, key in enumerate(config.server.keys)]
    keys += [(("models", i, "key"), model.key) for i, model in config.models.items() if model.enabled and model.key]
    keys.append((("storage", "url"), config.storage.url))
    for trail, text in keys:
        if not text.startswith((PREFIX, FILE)):
            continue
        try:
            what = "URL" if trail[0] == "storage" else "key"
            note = read(text, "", sent=trail[0] == "models", what=what, env=env).note
        except ConfigError as error:
            note = error.problems[0].removeprefix(": ")
        if note:
            found.append((trail, note))
    return found


def _bare(held: str) -> str:
    value = held.strip()
    if len(value) > 1 and value[0] in _QUOTES and value[0] == value[-1]:
        value = value[1:-1].strip()
    return value


def _unfit(value: str, *, sent: bool) -> str:
    """Why it cannot be used, or ''."""
    if not value.strip():
        return "the key is empty; write one, or remove the line"
    if value != value.strip() or not value.isprintable():
        return "it has a line break, a control character or white space around it; check what was copied"
    if sent and (not value.isascii() or " " in value):
        return "it has a space or non-ASCII character; check what was copied"
    return ""
