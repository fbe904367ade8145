"""`python conductor/conductor.py` is `python conductor.py`, from wherever it is called."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).resolve().parents[1] / "conductor.py"), run_name="__main__")
