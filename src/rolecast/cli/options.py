"""The options that several commands share: one name, one help text, one environment variable each."""

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="ROLECAST_URL",
        help="Address of the gateway; without it the one running on this machine.",
        show_default=False,
    ),
]
Key = Annotated[
    str,
    typer.Option(
        "--key", envvar="ROLECAST_API_KEY", help="API key, when the gateway asks for one.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Configuration file, or a SETTINGS.md; without it ./rolecast.yaml, the user's, or the built-in default.",
        show_default=False,
    ),
]
