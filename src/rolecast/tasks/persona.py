"""Personas: texts that say who speaks, from the configuration and from files of one folder.

A file is looked at with each request that needs it, so that an edit applies to the next. Only regular files of that
very folder are read, never what a link leads to.
"""

import asyncio
import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rolecast.config import paths
from rolecast.config import personas as rules
from rolecast.config.current import Current
from rolecast.config.tasks import Personas as Settings
from rolecast.errors import Invalid, NotFound, RolecastError

ENDINGS = (".txt", ".md")
MOST = 1000
"""So many are listed."""
Stamp = tuple[int, int, int]


class PersonaUnavailable(RolecastError):
    """The configuration names a persona that cannot be used."""

    status, code = 503, "persona_unavailable"


class Persona(msgspec.Struct, frozen=True, omit_defaults=False):
    """Somebody who may speak."""

    name: str
    text: str
    source: str
    """`personas.text`, or the name of its file."""
    problem: str = ""
    """Why it cannot be used, as the end of a sentence; '' = it can."""
    warning: str = ""
    """What there is to know of it, likewise."""


class Personas:
    """All of them."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._read: dict[str, tuple[Stamp, str]] = {}

    async def of(self, name: str = "") -> str:
        """The text of a persona; '' = the usual one, and `none` nobody.

        Raises Invalid for a name that is none and a text that may not be used, PersonaUnavailable for the usual one.
        """
        asked = name or self._settings.use or rules.TEXT
        if asked == rules.NOBODY:
            return ""
        try:
            found = self._own() if asked == rules.TEXT else await asyncio.to_thread(self._file, asked)
            if found is None and asked == rules.TEXT and not name:
                return ""
            if found is None:
                known = "GET /personas and `rolecast personas` list them"
                raise Invalid(f"There is no persona {asked[:64]!r}; {known}.", param="persona", code="unknown_persona")
            if found.problem:
                text = f"The persona {asked} cannot be used: it {found.problem}. Change {found.source}."
                raise Invalid(text, param="persona", code="bad_persona")
        except Invalid as error:
            if name:
                raise
            raise PersonaUnavailable(f"personas.use: {error.message}") from None
        return found.text

    @property
    def usual(self) -> str:
        """The name of the one that speaks where a request names none; '' = nobody in particular."""
        return self._settings.use or (rules.TEXT if self._own() else "")

    async def listed(self) -> list[Persona]:
        """Those there are, that of the configuration first."""
        own = self._own()
        return [*([own] if own else []), *await asyncio.to_thread(self._files)]

    async def get(self, name: str) -> Persona:
        """One of them. Raises NotFound."""
        found = self._own() if name == rules.TEXT else await asyncio.to_thread(self._file, name)
        if found is None:
            raise _absent(name)
        return found

    async def put(self, name: str, text: str) -> tuple[Persona, bool]:
        """Write one into its file; whether it is new. Raises Invalid for what is none, and where nothing is written."""
        if name in (rules.TEXT, rules.NOBODY) or not rules.NAME.match(name):
            how = f"letters, digits, _ and -, up to 64; {rules.TEXT} and {rules.NOBODY} mean something else"
            raise Invalid(f"A persona is not called {name[:64]!r}: {how}.", param="name")
        if why := rules.problem(text):
            raise Invalid(f"This is no persona: it {why}.", param="text", code="bad_persona")
        return await asyncio.to_thread(self._write, name, text.strip())

    async def delete(self, name: str) -> None:
        """Delete its file. Raises NotFound, and Invalid for that of the configuration."""
        if name == rules.TEXT:
            raise Invalid("This persona is personas.text of the configuration; empty it there.", param="name")
        if not await asyncio.to_thread(self._remove, name):
            raise _absent(name)

    # -- in a thread ------------------------------------------------------------------------------------------

    def _file(self, name: str) -> Persona | None:
        """A persona by its name; None = there is no such file."""
        if not rules.NAME.match(name):
            return None
        for ending in ENDINGS:
            path = self.folder / f"{name}{ending}"
            text, why = self._text(path)
            if text is not None:
                why = why or rules.problem(text)
                return Persona(name, text.strip(), path.name, why, rules.warning(text))
        return None

    def _files(self) -> list[Persona]:
        try:
            names = sorted({path.stem for path in self.folder.iterdir() if path.suffix in ENDINGS})[:MOST]
        except OSError:
            return []
        return [found for name in names if (found := self._file(name)) is not None]

    def _text(self, path: Path) -> tuple[str | None, str]:
        """The text of a file and what is wrong with it; None = it is no regular file of this folder."""
        try:
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None, ""
        try:
            now = os.fstat(number)
            if not stat.S_ISREG(now.st_mode):
                return None, ""
            if now.st_size > rules.LONGEST_BYTES:
                return "", f"is longer than {rules.LONGEST_BYTES // 1024} KiB"
            stamp, known = (now.st_ino, now.st_mtime_ns, now.st_size), self._read.get(path.name)
            if known is not None and known[0] == stamp:
                return known[1], ""
            text = os.read(number, rules.LONGEST_BYTES + 1).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            return "", "is no text in UTF-8"
        finally:
            os.close(number)
        if len(self._read) >= MOST:
            self._read.clear()
        self._read[path.name] = (stamp, text)
        return text, ""

    def _write(self, name: str, text: str) -> tuple[Persona, bool]:
        folder = self.folder
        there = next((folder / f"{name}{e}" for e in ENDINGS if self._text(folder / f"{name}{e}")[0] is not None), None)
        path = there or folder / f"{name}{ENDINGS[0]}"
        with _writing("write"):
            paths.make_private(folder)
            number, draft = tempfile.mkstemp(prefix=".draft-", dir=folder)
            try:
                with os.fdopen(number, "w", encoding="utf-8") as file:
                    file.write(f"{text}\n")
                    file.flush()
                    os.fsync(file.fileno())
                Path(draft).replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(draft).unlink()
                raise
        return Persona(name, text, path.name, "", rules.warning(text)), there is None

    def _remove(self, name: str) -> bool:
        if not rules.NAME.match(name):
            return False
        found = [path for e in ENDINGS if self._text(path := self.folder / f"{name}{e}")[0] is not None]
        with _writing("delete"):
            for path in found:
                path.unlink(missing_ok=True)
        return bool(found)

    @property
    def folder(self) -> Path:
        """Where the files are. Raises ConfigError without a home folder."""
        chosen = self._settings.folder
        return paths.expand(chosen, "personas.folder") if chosen else paths.personas()

    def _own(self) -> Persona | None:
        text = self._settings.text.strip()
        if not text:
            return None
        return Persona(rules.TEXT, text, "personas.text", rules.problem(text), rules.warning(text))

    @property
    def _settings(self) -> Settings:
        return self._current.config.personas


@contextlib.contextmanager
def _writing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise PersonaUnavailable(f"The file of the persona could not be changed ({what}): {why}.") from None


def _absent(name: str) -> NotFound:
    known = "GET /personas and `rolecast personas` list them"
    return NotFound(f"There is no persona {name[:64]!r}; {known}.", code="unknown_persona")
