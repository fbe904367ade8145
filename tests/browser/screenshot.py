"""Makes the picture of the status page in the documentation.

PYTHONPATH=tests/unit python tests/browser/screenshot.py docs/images/status-page.png

Starts a scripted gateway, lets some of its models work, and takes the picture. Needs Chromium.
"""

import re
import sys
import tempfile
from pathlib import Path

import demo

SIZE = (1120, 640)
NAMES = {
    "smollm2": "smollm2-1.7b",
    "qwen-coder": "qwen3-coder-4b",
    "minilm": "all-minilm-l6-v2",
    "slow": "phi-4-mini",
    "absent": "qwen3-8b",
}
CONFIG = "\n".join(line for line in demo.CONFIG.splitlines() if not re.search("broken|misplaced|theirs", line))


def main() -> None:
    executable = demo.chromium()
    if executable is None:
        sys.exit("No Chromium here: install it (Debian: apt-get install chromium), or name one in CHROMIUM.")
    config = CONFIG
    for short, name in NAMES.items():
        config = re.sub(rf"\b{short}\b", name, config)
    with tempfile.TemporaryDirectory() as folder, demo.gateway(Path(folder) / "gateway", config) as gateway:
        gateway.post("/v1/embeddings", {"model": NAMES["minilm"], "input": ["one", "two"]})
        for model in ("auto", "coding"):
            gateway.chat(model, "markdown")
        streams = [gateway.stream(model, "endless") for model in ("auto", "coding", "coding")]
        with demo.browser(executable) as browser:
            page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme="light")
            page.goto(f"{gateway.url}/ui")
            page.get_by_role("button", name=f"Load {NAMES['slow']}").click()
            page.get_by_text("Loading, about").wait_for()
            page.get_by_text("tok/s now").nth(1).wait_for()
            page.mouse.move(0, 0)
            page.screenshot(path=sys.argv[1], animations="disabled")
            page.get_by_role("button", name=f"Cancel the load of {NAMES['slow']}").click()
            page.get_by_text("Loading, about").wait_for(state="detached")
        for stream in streams:
            stream.close()


if __name__ == "__main__":
    main()
