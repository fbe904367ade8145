"""Avatar SLM's example program: trains a personal model from conversations, and talks with it.

    python3 examples/slm/slm_pipeline_example.py extract --person "John Doe"
    python3 examples/slm/slm_pipeline_example.py train --data-path data/extracted/john_doe.jsonl
    python3 examples/slm/slm_pipeline_example.py chat --model-path models/john_avatar
    python3 examples/slm/slm_pipeline_example.py full --person "John Doe"

What is behind it is in `rolecast.avatars.documented`; `rolecast avatar` does the same, judges what comes of it, and
serves it.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
PYTHON = HERE / ".venv" / "bin" / "python"
"""Where `make install` puts Rolecast."""

try:
    from rolecast.avatars.documented.pipeline import AvatarSLMPipeline
    from rolecast.avatars.documented.program import main
except ModuleNotFoundError as error:
    if error.name != "rolecast" or __name__ != "__main__":
        raise
    if not PYTHON.exists():
        sys.exit(f"Rolecast is not installed for {sys.executable}. Run `make install` in {HERE}, then this again.")
    os.execv(PYTHON, [str(PYTHON), *sys.argv])  # noqa: S606  (the environment of this checkout)

__all__ = ["AvatarSLMPipeline", "main"]

if __name__ == "__main__":
    sys.exit(main())
