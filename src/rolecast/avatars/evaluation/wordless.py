"""Takes what people and models said out of the reports of an evaluation; verdict, checks and figures stay."""

import contextlib
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from rolecast.avatars.evaluation import report
from rolecast.avatars.files import write_private
from rolecast.errors import UNREADABLE, Conflict


def make(folder: Path, withdrawn: str = "") -> None:
    """Leave no words in the reports of a folder; `withdrawn` says why what they judge answers nobody any more.

    A report of another form keeps its verdict and numbers alone, and has no page. Raises Conflict for what cannot be
    deleted.
    """
    found, numbers = report.read(folder), _numbers(folder)
    try:
        for name in (report.HTML, report.JSON):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        text = f"The reports in {folder} hold what was said, and cannot be deleted ({error.strerror}); do it yourself."
        raise Conflict(text) from error
    with contextlib.suppress(OSError):  # on a full disk the words go all the same; version.json has the verdict
        if found is not None:
            # Without plots: a gateway does not load what draws them.
            report.write(folder, replace(found, talks=(), withdrawn=withdrawn or found.withdrawn), drawn=False)
        elif numbers is not None:
            write_private(folder / report.JSON, msgspec.json.encode({**numbers, "withdrawn": withdrawn}))


def _numbers(folder: Path) -> dict[str, Any] | None:
    """The verdict and the numbers of a report, whatever else it has; None where there is none."""
    try:
        said: Any = msgspec.json.decode((folder / report.JSON).read_bytes())
    except (OSError, *UNREADABLE):
        return None
    if not isinstance(said, dict):
        return None
    numbers = said.get("numbers")
    kept = (
        {key: each for key, each in numbers.items() if isinstance(each, int | float)}
        if isinstance(numbers, dict)
        else {}
    )
    return {"passed": said.get("passed") is True, "numbers": kept}
