"""The process of a model on MLX: mlx-lm's own server, with its documented command line, on our socket.

Takes its `Options` as a JSON argument. What is changed of that server, `mlx_server` has.
"""

import os
import sys
from pathlib import Path

import msgspec

from rolecast.backends.mlx import Options
from rolecast.processes.lifeline import end_with_gateway
from rolecast.weights import folder

NICENESS = 5


def arguments(options: Options) -> list[str]:
    """The command line of `mlx_lm.server`, as its `--help` has it; the user's own words are the last."""
    given = ["mlx_lm.server", "--model", options.folder]
    given += ["--decode-concurrency", str(options.parallel), "--prompt-concurrency", str(options.parallel)]
    given += ["--prompt-cache-bytes", str(options.cache_bytes), "--chat-template-args", options.template]
    given += ["--allowed-origins", "", "--log-level", "WARNING"]
    if options.context:  # by itself it stops after 512 tokens, where a client sets no limit
        given += ["--max-tokens", str(options.context)]
    return [*given, *options.args]


def main() -> None:
    options = msgspec.json.decode(sys.argv[1], type=Options)
    end_with_gateway()
    os.umask(0o177)  # the socket is for its owner alone
    os.nice(NICENESS)
    sys.argv = arguments(options)
    if not folder.settings(Path(options.folder) / folder.CONFIG).get("vision_config"):
        # The tokenizers of an engine for MLX bring PyTorch along where it is installed, and use nothing of it: 180 MB,
        # and more than half of the start. What reads pictures may want it.
        sys.modules["torch"] = None  # type: ignore[assignment]
    from rolecast.backends import mlx_server

    mlx_server.serve(options)


if __name__ == "__main__":
    main()
