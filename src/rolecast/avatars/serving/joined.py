"""Released avatars in the configuration: variants with their person's system prompt, over hidden models.

All adapters over one base are one model, so ten avatars cost one base. Kept versions stay loaded beside the one that
answers: to go back is to ask another adapter, and no worker is started for it. A broken folder hides nothing but
itself.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec

from rolecast.avatars import prompt
from rolecast.avatars.places import PREFIX, Place, root
from rolecast.avatars.serving import card, versions
from rolecast.avatars.serving.card import Card, Version
from rolecast.config import variants
from rolecast.config.avatars import Avatars as Settings
from rolecast.config.schema import Config, Parameters
from rolecast.config.variants import Hidden, Served
from rolecast.errors import Conflict, NotFound, RolecastError
from rolecast.values import Canary
from rolecast.weights import gguf
from rolecast.weights.controls import controls

log = logging.getLogger("rolecast.avatars")

LOOK_S = 1.0
"""What the command line releases answers after so long, and what applying it takes."""
SAMPLING = Parameters(temperature=0.7, top_k=40, top_p=0.95, repeat_penalty=1.1, num_predict=512)
"""Where a request says nothing: the documented defaults of an avatar. Its replies were no longer; one that finds no end
would hold its slot until the context is full."""
BASE, MODEL = "avatar-base/", "avatar-model/"
"""How the hidden models begin that adapters share, and those that an avatar has for itself."""


class Here(msgspec.Struct, frozen=True):
    """One avatar that was released here, with what may answer of it."""

    place: Place
    card: Card
    versions: list[Version]
    """Those at hand, oldest first."""


class Avatars:
    """The released avatars of one folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or root()
        """Where they are."""
        self._told: set[str] = set()

    def join(self, config: Config) -> Config:
        """The configuration with what is released now. Reads the disk. Says what cannot be read or used, once."""
        if not config.avatars.enabled:
            return variants.with_avatars(config, {}, {})
        bases: dict[str, Hidden] = {}
        served: dict[str, Served] = {}
        for here in self.released():
            served |= dict(self._served(here, config.avatars, bases))
        joined = variants.with_avatars(config, bases, served)
        for name in served.keys() - joined.variants.keys():
            self._tell(f"the avatar {name!r} cannot be asked for: its name is taken in the configuration")
        return joined

    def released(self) -> Iterator[Here]:
        """All that can be read, by name."""
        for place in card.released(self.folder):
            try:
                known = card.card(place)
            except (Conflict, NotFound, OSError) as error:
                self._tell(f"the avatar in {place.folder} is not served: {_said(error)}")
                continue
            found = []
            for number in versions.usable(place, known):
                try:
                    version = card.version(place, number)
                    self._check(place, version)
                    found.append(version)
                except (RolecastError, OSError) as error:
                    self._tell(f"version {number} of the avatar {place.name!r} is not served: {_said(error)}")
            yield Here(place, known, found)

    def here(self, name: str) -> Here:
        """That one. Raises NotFound, and Conflict for one that cannot be read."""
        place = Place(name, self.folder)
        known = card.card(place)
        usable = versions.usable(place, known)
        return Here(place, known, [v for number, v in versions.verdicts(place).items() if number in usable])

    def place(self, name: str) -> Place:
        """The folder of the avatar of that name. Raises Invalid for what is no name."""
        return Place(name.removeprefix(PREFIX), self.folder)

    async def watch(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Call it after each change that somebody makes, the command line or another gateway."""
        seen = await asyncio.to_thread(card.signature, self.folder)
        while True:
            await asyncio.sleep(LOOK_S)
            now = await asyncio.to_thread(card.signature, self.folder)
            if now != seen:
                seen = now
                await changed()

    def base(self, version: Version) -> Path:
        """The GGUF that the adapter of a version goes with."""
        return self.folder / version.base

    def _check(self, place: Place, version: Version) -> None:
        """Raises Conflict for files that are not what the version says."""
        header = gguf.known(versions.weights(place, version))
        if header is None or (header.kind == "adapter") is not (version.form == "adapter"):
            raise Conflict(f"{version.file} is not the GGUF that was released; release it again.")
        if version.form == "adapter" and (not version.base or gguf.known(self.base(version)) is None):
            raise Conflict(f"its base {version.base or 'model'} is not here; bring it back, or train the avatar again.")

    def _served(self, here: Here, settings: Settings, bases: dict[str, Hidden]) -> Iterator[tuple[str, Served]]:
        """Each version by its number, and the one that answers by the plain name."""
        name = PREFIX + here.place.name
        found = {v.number: self._version(here.place, v, name, settings, bases) for v in here.versions}
        # Of all of them: a conversation may be answered by another version than the one whose settings it has.
        marks = tuple(sorted({mark for each in found.values() for mark in each.controls}))
        found = {number: msgspec.structs.replace(each, controls=marks) for number, each in found.items()}
        current = found.get(here.card.current)
        if current is not None:
            canary = found.get(here.card.canary) if here.card.share > 0 else None
            told = f"{here.card.title}, version {here.card.current}"
            yield (
                name,
                msgspec.structs.replace(
                    current,
                    description=told,
                    canary=None
                    if canary is None
                    else Canary(canary.version, here.card.share, canary.model, canary.adapter),
                ),
            )
        elif here.card.current:
            self._tell(f"the avatar {here.place.name!r} answers nobody: its version {here.card.current} is not here")
        yield from ((each.version, each) for each in found.values())

    def _version(
        self, place: Place, version: Version, name: str, settings: Settings, bases: dict[str, Hidden]
    ) -> Served:
        file, adapter = versions.weights(place, version), ""
        if version.form == "adapter":
            base, adapter = self.base(version), str(file.absolute())
            model_id = BASE + _slug(base)
            shared = bases.get(model_id)
            adapters = sorted({*(shared.adapters if shared is not None else ()), adapter})
            bases[model_id] = _model(base, settings, adapters, version.base_name)
        else:
            model_id = f"{MODEL}{place.name}@{version.number}"
            bases[model_id] = _model(file, settings, [], "")
        return Served(
            model=model_id,
            system=prompt.system(version.speaks_as),
            parameters=SAMPLING,
            description=f"version {version.number}",
            adapter=adapter,
            version=f"{name}@{version.number}",
            controls=controls(self.base(version) if adapter else file),
        )

    def _tell(self, text: str) -> None:
        if text not in self._told and len(self._told) < 1000:
            self._told.add(text)
            log.warning("%s", text)


def _model(path: Path, settings: Settings, adapters: list[str], base_name: str) -> Hidden:
    return Hidden(
        source=f"file:{path.absolute()}",
        context=settings.context,
        parallel=settings.parallel,
        prompt_cache=0 if adapters else "auto",
        adapters=adapters,
        projector="none",
        description=f"Avatars over {base_name or path.parent.name}." if adapters else "An avatar.",
    )


def _slug(base: Path) -> str:
    """A name for a base: that of its folder, and a few digits of where it lies."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", base.parent.name.lower())[:12].strip("-.") or "base"
    return f"{plain}-{hashlib.blake2s(str(base.absolute()).encode(), digest_size=3).hexdigest()}"


def _said(error: Exception) -> str:
    return error.message if isinstance(error, RolecastError) else str(error)
