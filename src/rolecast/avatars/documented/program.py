"""The example program of Avatar SLM: `python3 examples/slm/slm_pipeline_example.py`."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from rolecast.avatars.documented.said import visible
from rolecast.errors import ConfigError, RolecastError

COMMANDS = ("extract", "train", "chat", "full", "benchmark")
NEEDS = {
    "extract": "person",
    "full": "person",
    "train": "data_path",
    "chat": "model_path",
    "benchmark": "model_path",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; the exit code: 0, 1 with a sentence on stderr, 2 for arguments, 130 for Ctrl-C."""
    log_as_told()
    parser = argparse.ArgumentParser(
        prog="slm_pipeline_example.py", description="Train a personal model from conversations, and talk with it."
    )
    parser.add_argument("command", choices=COMMANDS, help="what to do")
    parser.add_argument("--person", metavar="NAME", help="whose replies are learnt (extract, full)")
    parser.add_argument("--data-path", metavar="FILE", help="an extracted file (train)")
    parser.add_argument("--model-path", metavar="FOLDER", help="a trained model (chat, benchmark)")
    parser.add_argument("--config", metavar="FILE", help="a config.json")
    said = parser.parse_args(arguments)
    needed = NEEDS[said.command]
    if not getattr(said, needed):
        parser.error(f"{said.command} needs --{needed.replace('_', '-')}")
    return guarded(lambda: _run(said))


def _run(said: argparse.Namespace) -> None:
    from rolecast.avatars.documented.pipeline import AvatarSLMPipeline

    pipeline = AvatarSLMPipeline(said.config)
    if said.command == "extract":
        pipeline.extract_data(said.person)
    elif said.command == "train":
        pipeline.train_model(said.data_path)
    elif said.command == "full":
        pipeline.run_full_pipeline(said.person)
    elif said.command == "benchmark":
        pipeline.benchmark_model(said.model_path)
    else:
        pipeline.setup_inference(said.model_path)
        pipeline.chat_demo()


def guarded(work: "object") -> int:
    """Do it; what goes wrong is a sentence on stderr."""
    assert callable(work)
    try:
        work()
    except KeyboardInterrupt as stopped:
        sys.stderr.write(f"\n{visible(str(stopped) or 'Stopped.')}\n")
        return 130
    except ConfigError as error:
        return _failed("; ".join(error.problems))
    except RolecastError as error:
        return _failed(error.message)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody listens: nor is anything said at exit
    return 0


def _failed(text: str) -> int:
    sys.stderr.write(f"{visible(text)}\n")
    return 1


def log_as_told(level: str = "") -> None:
    """LOG_LEVEL, as documented; what cannot be meant is WARNING. Never the text of a message."""
    name = (level or os.environ.get("LOG_LEVEL", "WARNING")).upper()
    known = logging.getLevelNamesMapping()
    logging.basicConfig(level=known.get(name, logging.WARNING), format="%(levelname)s %(name)s: %(message)s")
