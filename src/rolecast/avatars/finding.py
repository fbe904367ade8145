"""Who is meant by a name. Pure."""

from collections.abc import Iterable

from rolecast.avatars.called import fold, is_called, like
from rolecast.avatars.conversation import Person
from rolecast.errors import Invalid, PersonNotFound

SHOWN = 8
"""So many candidates are named in an error."""


def the_one(asked: str, people: Iterable[Person]) -> Person:
    """The one person of that id or name: by id, then by the name as written, then by any name without case and accents,
    then as an avatar is called.

    Raises PersonNotFound with names that are like it, and Invalid with the candidates where there are several.
    """
    everybody = list(people)
    if by_id := [each for each in everybody if each.id == asked]:
        return by_id[0]
    wanted = fold(asked)
    for fits in (
        [each for each in everybody if each.name == asked],
        [each for each in everybody if wanted and wanted in (fold(each.name), *map(fold, each.names))],
        [each for each in everybody if is_called(asked, (each.name, *each.names))],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            several = ", ".join(f"{each.name} ({each.id})" for each in fits[:SHOWN])
            raise Invalid(f"{asked[:100]!r} may be several people: {several}. Name one by the id.", param="person")
    raise PersonNotFound(_nobody(asked, everybody), param="person")


def _nobody(asked: str, everybody: list[Person]) -> str:
    if not everybody:
        return "There is nobody in the conversations yet; bring some in: `rolecast avatar import FILE`."
    names = {name: each.name for each in everybody for name in (*each.names, each.name)}
    close = [names[each] for each in like(asked, names)]
    known = close or [each.name for each in everybody[:SHOWN]]
    said = "did you mean" if close else "there are"
    return f"Nobody in the conversations is called {asked[:100]!r}; {said} {', '.join(dict.fromkeys(known))}."
