"""Forgets a person everywhere: in the conversations of our database, and in whatever learnt of them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rolecast.avatars.kept import Kept
from rolecast.avatars.serving import forgetting
from rolecast.avatars.serving.forgetting import Forgotten
from rolecast.books.store import Store, StoreError
from rolecast.errors import NotFound, PersonNotFound


async def forget(
    person: str,
    store: Store,
    *,
    names: Sequence[str] = (),
    keep_messages: bool = False,
    erase: bool = True,
    root: Path | None = None,
) -> tuple[int, Forgotten | None]:
    """How many messages are gone, and what became of avatars; None = none had learnt of them.

    First the messages go, so that nothing that begins now reads them. Raises PersonNotFound where neither knows the
    person, Invalid for several people of that name, Conflict and StoreError.
    """
    kept, deleted, known, missing = Kept(store), 0, [person, *names], None
    for each in dict.fromkeys((person, *names)):
        try:
            if keep_messages:
                one = await kept.find(each)
                known += [one.id, one.name]
            else:
                gone = await kept.forget(each)
                deleted += len(gone.messages)
                known += [*gone.ids, gone.person.name]
        except PersonNotFound as error:  # of another source, perhaps: what was trained on them may be here all the same
            missing = missing or error
    told = None
    try:
        told = await asyncio.to_thread(forgetting.forget, person, names=known, root=root, erase=erase)
    except NotFound:
        if missing is not None and not deleted:
            raise missing from None
    finally:  # last, for it may take a while; also where nobody is there any more, so that it can be made up for
        if not keep_messages:
            await _wipe(kept)
    return deleted, told


async def _wipe(kept: Kept) -> None:
    try:
        await kept.wipe()
    except StoreError as error:
        text = (
            f"All is forgotten, but the files of the database may still hold traces. {error.message} Then forget again."
        )
        raise StoreError(text) from error
