"""`python conductor.py`: the command `up` with the settings and the variables that Conductor's users have."""

import os
import sys
from pathlib import Path

from rolecast.cli import output

NAME = "conductor.py"


def main(*places: Path) -> None:
    """Run `rolecast up` with what stands on the command line; settings are found as Conductor does, or at `places`."""
    from rolecast import conductor
    from rolecast.cli import app
    from rolecast.cli.settings import preset_path
    from rolecast.errors import ConfigError

    output.prepare()
    try:
        os.environ.update(conductor.environment(os.environ))
    except ConfigError as error:
        output.warn_line("Error", "red", error.problems[0])
        sys.exit(1)
    os.environ["ROLECAST_CONFIG"] = str(conductor.settings_file(os.environ, *places) or preset_path(conductor.PRESET))
    app(args=["up", *sys.argv[1:]], prog_name=NAME)
