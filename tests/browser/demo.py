"""A gateway with something to see, and a browser to see it with: for the tests of the page and for its picture.

Every model is scripted, so nothing has to be downloaded. Knows what is configured; nothing of what a test expects.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tiny_gguf
from live_gateway import LiveGateway

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script> **bold** <b>not bold</b>'
MARKDOWN = """Use a **generator**, it holds one line at a time:

```python
def rows(path):
    with open(path) as file:
        yield from file
```

| way | memory |
|---|---|
| list | all lines |
| generator | one line |

1. Open the file.
2. Read *lazily*.
"""
CONFIG = """
server:
  port: 0
  listeners: [{port: 0, name: coder port, model: qwen-coder}]
models:
  smollm2: {backend: fake, pinned: true, parallel: 2, aliases: [default], script: SCRIPT}
  qwen-coder: {backend: fake, aliases: ["coder:latest"], script: SCRIPT, parallel: 4, idle_timeout: 1h}
  minilm: {backend: fake, capabilities: [embeddings]}
  slow: {source: "file:FOLDER/tiny.gguf", binary: "ENGINE", context: 4096, parallel: 2}
  broken: {backend: fake, script: BROKEN}
  absent: {source: "hf:example/absent/absent-Q4_K_M.gguf"}
  misplaced: {source: "file:/nowhere/x.gguf"}
  theirs: {source: "ollama:llama3.2"}
roles:
  standard: [smollm2]
  coding: [qwen-coder, smollm2]
  embeddings: [minilm]
variants:
  mario: {model: standard, system: You are Mario.}
"""


def script() -> dict[str, Any]:
    """What the scripted models say to which words."""

    def event(**delta: str) -> str:
        return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n"

    reasoned = event(reasoning_content="First I add.") + event(content="It is 4.") + "data: [DONE]\n\n"
    return {
        "replies": [
            {"match": "hostile", "reply": HOSTILE},
            {"match": "markdown", "reply": MARKDOWN},
            {"match": "endless", "reply": "word " * 5000, "token_delay": 0.02},
            {"match": "think aloud", "reply": "<think>Let me see.</think>\n\nThe answer is 4."},
            {"match": "reason apart", "raw": reasoned},
            {"match": "fail", "error": {"message": "The scripted failure: ask something else.", "code": "scripted"}},
        ]
    }


@contextlib.contextmanager
def gateway(folder: Path, config: str = CONFIG) -> Iterator[LiveGateway]:
    """The gateway, with its files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "script.yaml").write_text(json.dumps(script()))
    (folder / "broken.yaml").write_text("replies: [{match: '('}]")
    tiny_gguf.write(folder / "tiny.gguf")
    config = config.replace("SCRIPT", str(folder / "script.yaml")).replace("BROKEN", str(folder / "broken.yaml"))
    config = config.replace("ENGINE", str(Path(__file__).with_name("slow_engine.py"))).replace("FOLDER", str(folder))
    with LiveGateway(folder, config) as running:
        yield running


def chromium() -> str | None:
    """The browser that is installed here: `CHROMIUM` names one, else the usual names are tried; first the one without
    windows, which starts and ends in half of the time."""
    names = (os.environ.get("CHROMIUM", ""), "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


@contextlib.contextmanager
def browser(executable: str) -> Iterator["Browser"]:
    """That browser without a window, which asks nobody for updates."""
    from playwright.sync_api import sync_playwright

    quiet = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as tool:
        running = tool.chromium.launch(executable_path=executable, args=["--no-sandbox", *quiet])
        try:
            yield running
        finally:
            running.close()
