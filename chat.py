"""Avatar SLM's chat program: `python chat.py` lists the models of slm_models/ and talks with one.

python chat.py --models-dir models
python chat.py --model john_avatar --models-dir models
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = HERE / ".venv" / "bin" / "python"
"""Where `make install` puts Rolecast."""

try:
    from rolecast.avatars.documented.chat import Chat, main
except ModuleNotFoundError as error:
    if error.name != "rolecast" or __name__ != "__main__":
        raise
    if not PYTHON.exists():
        sys.exit(f"Rolecast is not installed for {sys.executable}. Run `make install` in {HERE}, then this again.")
    os.execv(PYTHON, [str(PYTHON), *sys.argv])  # noqa: S606  (the environment of this checkout)

__all__ = ["Chat", "main"]

if __name__ == "__main__":
    sys.exit(main())
