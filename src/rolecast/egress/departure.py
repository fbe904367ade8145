"""Sees off what leaves this machine: private things are taken out, and it is written down before it is sent.

Whatever goes wrong here, the request does not leave.
"""

import asyncio
import logging
import os
import time
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from secrets import token_bytes
from typing import TYPE_CHECKING

import msgspec

from rolecast.books.store import Store
from rolecast.config import paths
from rolecast.config.edit import Change, Edit
from rolecast.config.egress import Egress
from rolecast.egress.chain import Entry
from rolecast.egress.ledger import EgressLedger
from rolecast.errors import ConfigError, RolecastError, StaysHere
from rolecast.telemetry.events import Events
from rolecast.turn.departure import Cleared, Parcel

if TYPE_CHECKING:
    from rolecast.privacy.finder import Finder
    from rolecast.privacy.tokens import Tokens

log = logging.getLogger("rolecast.egress")

ASIDE_BYTES = 32 * 1024
"""A longer body is searched in a thread."""
MOST_NAMES = 100_000
MOST_FILE = 4 * 1024 * 1024
SECRET_BYTES = 32
JSON = b"application/json"


class Unsafe(StaysHere):
    """What is private cannot be taken out of it, so it does not leave."""

    code = "cannot_redact"


class Unrecorded(StaysHere):
    """That it leaves cannot be written down, so it does not."""

    status, type, code = 503, "server_error", "egress_unrecorded"


class Departures:
    """Made once, by `app`."""

    def __init__(self, config: Egress, store: Store, events: Events) -> None:
        """Raises ConfigError for a list of names that cannot be read."""
        self._config = config
        self._events = events
        self.ledger = EgressLedger(store)
        self._names = _names(config)
        self._search: tuple[Finder, Tokens] | None = None
        """Made with the first request to a cloud: patterns take a while to compile."""

    @property
    def local_only(self) -> bool:
        """Nothing leaves at all."""
        return self._config.local_only

    async def prepare(self, edit: Edit) -> Change:
        """Read the list of names anew. Raises ConfigError when that cannot be."""
        config = edit.config.egress
        names = await asyncio.to_thread(_names, config)
        return Change(partial(self._renew, config, names))

    def _renew(self, config: Egress, names: tuple[str, ...]) -> None:
        self._config, self._names, self._search = config, names, None

    async def leave(self, parcel: Parcel) -> Cleared:
        """Make it ready for a server elsewhere, and write down that it goes. Raises StaysHere."""
        try:
            cleared, replaced = await self._covered(parcel)
            if self._config.ledger:
                await self._write(parcel, cleared, replaced)
        except StaysHere as refused:
            self._events.tell("egress_refused", {"model": parcel.model, "kind": parcel.kind, "code": refused.code})
            raise
        return cleared

    async def close(self) -> None:
        """Wait until all is written."""
        await self.ledger.close()

    # -- what is private --------------------------------------------------------------------------------------

    async def _covered(self, parcel: Parcel) -> tuple[Cleared, Mapping[str, int]]:
        if not (parcel.redacts and self._config.redact):
            return Cleared(parcel.body, parcel.lines), {}
        from rolecast.privacy.veil import Unreadable, Veil, line_is_clean

        try:
            finder, tokens = await self._searching()
            veil = Veil(finder, tokens)
            lines = b"".join(line for line in parcel.lines.splitlines(keepends=True) if line_is_clean(finder, line))
            body = parcel.body
            if parcel.content_type != JSON:
                veil.unread += 1
            elif len(body) > ASIDE_BYTES:
                body = await asyncio.to_thread(veil.cover, body)
            else:
                body = veil.cover(body)
        except Unreadable as error:
            text = (
                f"What is private cannot be taken out of this request ({error}), so it does not go to {parcel.model}."
            )
            raise Unsafe(text) from None
        except Exception as error:  # whatever it is: what was not searched does not leave
            log.exception("a request could not be searched for what is private")
            text = f"What is private could not be taken out of this request, so it does not go to {parcel.model}."
            raise Unsafe(text) from error
        if veil.unread and self._config.media == "refuse":
            what = "pictures, sound, files, or numbers of tokens"
            text = f"It holds what cannot be searched ({what}), which egress.media does not let go to {parcel.model}."
            raise Unsafe(text, code="unreadable_media")
        return Cleared(body, lines, veil.values), veil.counts

    async def _searching(self) -> "tuple[Finder, Tokens]":
        """What searches, and makes tokens, by the settings that apply."""
        found = self._search
        if found is None:
            found = await asyncio.to_thread(_searching, tuple(self._config.redact), self._names)
            self._search = found
        return found

    # -- the books --------------------------------------------------------------------------------------------

    async def _write(self, parcel: Parcel, cleared: Cleared, replaced: Mapping[str, int]) -> None:
        entry = Entry(
            place=self.ledger.place,
            seq=0,
            at_us=time.time_ns() // 1000,
            kind=parcel.kind,
            request=parcel.number,
            key=parcel.key,
            model=parcel.model,
            provider=parcel.provider,
            host=parcel.host,
            path=parcel.path,
            bytes=len(cleared.body),
            replaced=msgspec.json.encode(dict(sorted(replaced.items()))).decode(),
        )
        try:
            await self.ledger.write(entry)
        except RolecastError as error:
            text = f"That a request goes to {parcel.model} cannot be written down, so it stays here: {error.message}"
            raise Unrecorded(text) from error


def _searching(kinds: Collection[str], names: Collection[str]) -> "tuple[Finder, Tokens]":
    from rolecast.privacy.finder import Finder
    from rolecast.privacy.tokens import Tokens

    return Finder(kinds, names), Tokens(secret(paths.home() / "egress.key"))


def _names(config: Egress) -> tuple[str, ...]:
    """Raises ConfigError for a list of names that cannot be read."""
    names = list(config.names)
    if config.names_file:
        place = "egress.names_file"
        path = paths.expand(config.names_file, place)
        try:
            with path.open(encoding="utf-8") as file:
                text = file.read(MOST_FILE + 1)
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
            raise ConfigError([f"{place}: {str(path)!r} cannot be read: {why}"]) from None
        if len(text) > MOST_FILE:
            raise ConfigError([f"{place}: has more than {MOST_FILE} characters"])
        names += [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(names) > MOST_NAMES:
        raise ConfigError([f"egress.names: there are {len(names)}; at most {MOST_NAMES} are looked for"])
    return tuple(names)


def secret(path: Path) -> bytes:
    """The secret of this gateway's tokens, made at first use, for its owner alone. Raises OSError and ValueError."""
    paths.make_private(path.parent)
    made = path.with_name(f"{path.name}.{os.getpid()}.new")
    if not path.exists():
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(token_bytes(SECRET_BYTES))
        try:
            os.link(made, path)  # of two that do it at once the first wins
        except FileExistsError:
            pass
        finally:
            made.unlink()
    found = path.read_bytes()
    if len(found) < SECRET_BYTES:
        raise ValueError(f"{path} does not hold a secret")
    return found
