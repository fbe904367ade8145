"""Draws docs/images/terminal.svg: real commands against a real gateway, as a terminal shows them.

python docs/picture.py      starts a gateway with the embedded models in a folder of its own, on a free port
"""

import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parent / "images" / "terminal.svg"
COLUMNS = 84
WAITING = re.compile("^[^\n]*[\u2800-\u28ff][^\n]*\n?", re.MULTILINE)
"""A line that turns while somebody waits, and is gone afterwards."""
COMMANDS = (
    ("ask", "--max-tokens", "24", "--temperature", "0", "Who wrote Hamlet?"),
    ("status",),
    ("check",),
)


def main() -> None:
    """Start, ask, draw, stop."""
    page = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
    with tempfile.TemporaryDirectory(prefix="rolecast-") as folder:
        env = os.environ | {"ROLECAST_HOME": folder, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
        if weights := os.environ.get("ROLECAST_TEST_STORE"):
            env["ROLECAST_STORAGE__MODELS"] = weights
        subprocess.run([*rolecast("up"), "-d", "--port", "0"], env=env, check=True, cwd=folder)
        try:
            for command in COMMANDS:
                shown = " ".join(f'"{word}"' if " " in word else word for word in command)
                page.print(Text.assemble(("$ ", "bold green"), f"rolecast {shown}"))
                page.print(Text.from_ansi(at_home(printed(rolecast(*command), env, folder), folder)))
        finally:
            subprocess.run(rolecast("down"), env=env, check=True)
    PICTURE.parent.mkdir(exist_ok=True)
    drawn = re.sub(r"@font-face \{.*?\}", "", page.export_svg(title="Rolecast"), flags=re.DOTALL)
    PICTURE.write_text(drawn, encoding="utf-8")  # without fonts: no reader of the page asks a font server


def rolecast(*args: str) -> list[str]:
    """The command of this environment."""
    return [sys.executable, "-m", "rolecast", *args]


def at_home(text: str, folder: str) -> str:
    """The text as it would be on port 8000 and in a folder of the reader; columns stay where they are."""
    text = text.replace(folder, "~/rolecast")
    return re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda found: f"{8000:<{len(found[0])}}", text)


def printed(argv: list[str], env: dict[str, str], folder: str) -> str:
    """What a command prints when its output is a terminal."""
    ours, its = pty.openpty()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=its, stderr=its, env=env, cwd=folder):
        os.close(its)
        parts = []
        try:
            while part := os.read(ours, 65536):
                parts.append(part)
        except OSError:
            pass  # how Linux says that the other end has closed
    os.close(ours)
    return WAITING.sub("", b"".join(parts).decode().replace("\r\n", "\n"))


if __name__ == "__main__":
    main()
