"""Conductor's starting point: `python conductor.py` starts the gateway with the settings in conductor/SETTINGS.md.

    python conductor.py --port 8000 --skip-model-loading
    python conductor.py --config SETTINGS.md --stand-in smollm2-135m
    python conductor.py --mcp-only

The same as `rolecast up` with those settings; `--help` lists all options. `from conductor import ConductorServer` is
`rolecast.conductor.ConductorServer`.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = HERE / ".venv" / "bin" / "python"
"""Where `make install` puts Rolecast."""

try:
    from rolecast.conductor import ConductorServer
except ModuleNotFoundError as error:
    if error.name != "rolecast" or __name__ != "__main__":
        raise
    if not PYTHON.exists():
        sys.exit(f"Rolecast is not installed for {sys.executable}. Run `make install` in {HERE}, then this again.")
    os.execv(PYTHON, [str(PYTHON), *sys.argv])  # noqa: S606  (the environment of this checkout)

__all__ = ["ConductorServer", "main"]


def main() -> None:
    """Start the gateway as the command line says."""
    from rolecast.cli.conductor import main as start

    start(HERE / "conductor" / "SETTINGS.md")


if __name__ == "__main__":
    main()
