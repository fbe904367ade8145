"""`feedback`: says what somebody thinks of an answer, or shows what was said."""

import math
from typing import Annotated

import typer

from rolecast.cli import output
from rolecast.cli.options import Json, Key, Url

SHOWN = 20
"""So many of the newest are listed."""


def feedback(
    request: Annotated[
        str | None, typer.Argument(metavar="[REQUEST]", help="Id of a request, as its answer has it in x-request-id.")
    ] = None,
    rating: Annotated[
        str | None, typer.Argument(metavar="[up|down]", help="What you think; or a number from 0 to 1.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="OF=VALUE", help="What would have been right: role=coding, tier=light."),
    ] = None,
    comment: Annotated[str, typer.Option("--comment", help="In your words; they are kept.", show_default=False)] = "",
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Say what you think of an answer; without a request, show what was said."""
    from rolecast.cli.gateway import connect

    labels = dict(_pair(each) for each in label or [])
    if request is None and (labels or comment):
        output.fail("Name the request: `rolecast feedback REQUEST up`; answers have it in x-request-id.", code=2)
    with connect(url, key) as gateway:
        if request is None:
            _show(gateway.ratings(SHOWN), as_json=as_json)
            return
        said = {"request_id": request, "rating": _number(rating), "label": labels or None, "comment": comment}
        kept = gateway.rate(said)
    if as_json:
        output.print_json(kept)
    else:
        output.say(f"Kept what you think of {output.escape(request)}.")


def _pair(text: str) -> tuple[str, str]:
    of, separator, value = text.partition("=")
    if not (of and separator and value):
        output.fail(f"--label {text}: write it as role=coding.", code=2)
    return of, value


def _number(rating: str | None) -> str | float | None:
    """A number as one; what JSON has no number for stays as it was written, and is refused like any other word."""
    try:
        number = float(rating or "")
    except ValueError:
        return rating
    return number if math.isfinite(number) else rating


def _show(said: bytes, *, as_json: bool) -> None:
    import msgspec

    from rolecast.pages.feedback import Listed

    if as_json:
        output.print_json(said)
        return
    found = msgspec.json.decode(said, type=Listed)
    if not found.summary.count:
        output.say("Nothing was said yet. `rolecast feedback REQUEST up` says that an answer was good.")
        return
    mean = "" if found.summary.mean is None else f", {100 * found.summary.mean:.0f} % on average"
    output.say(f"{found.summary.up} up, {found.summary.down} down{mean}")
    rows = output.table("Request", "Model", "Role", "Rating", "Right", "Comment", right=("Rating",), wrap=("Comment",))
    for each in found.feedback:
        right = ", ".join(f"{of} {value}" for of, value in each.label.items())
        rated = "" if each.rating is None else f"{100 * each.rating:.0f} %"
        rows.add_row(*map(output.plain, (each.request_id, each.model, each.role, rated, right, each.comment)))
    output.show(rows)
