"""The child process that makes an avatar: `python -P -m rolecast.avatars.worker`, its order in a variable.

Tells how far it is as JSON lines on standard output, as every job does. Told to end (SIGTERM), it ends the step at its
next checkpoint; told again, at once.
"""

import os
import signal
import sys
import traceback

import msgspec

from rolecast.avatars.order import ORDER, AvatarOrder
from rolecast.errors import ConfigError, RolecastError
from rolecast.jobs.notes import Note
from rolecast.jobs.worker import Reporter, log_line, own_output
from rolecast.processes.lifeline import end_with_gateway

NICE = 10
MEMORY = (
    "There is not enough memory; end other programs, or train with `--set training.batch=4 --set "
    "training.accumulation=4`, or with `--set training.checkpointing=true`."
)


class _Ending:
    """Whether it was told to end."""

    def __init__(self) -> None:
        self.told = False

    def hear(self, number: int, _: object) -> None:
        if self.told:
            sys.exit(128 + number)
        self.told = True


def main() -> int:
    """Carry out the order; the exit code."""
    end_with_gateway()
    os.umask(0o077)
    ending = _Ending()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ending.hear)
    os.nice(NICE)
    reporter = Reporter(own_output())
    try:
        order = msgspec.json.decode(os.environ.pop(ORDER).encode(), type=AvatarOrder)
        from rolecast.avatars.pipeline import Pipeline

        outcome = Pipeline(order, reporter.progress, lambda: ending.told).run()
        reporter.write(Note(progress=reporter.last, result=msgspec.json.encode(outcome).decode()))
    except ModuleNotFoundError as error:
        return _failed(reporter, f"{error.name} is not installed; run `pip install 'rolecast[avatars]'`.")
    except ConfigError as error:
        return _failed(reporter, "; ".join(error.problems))
    except RolecastError as error:
        return _failed(reporter, error.message)
    except MemoryError:
        return _failed(reporter, MEMORY)
    except Exception as error:
        traceback.print_exc()
        return _failed(reporter, f"Something went wrong that should not: {type(error).__name__}; its log says more.")
    return 0


def _failed(reporter: Reporter, text: str) -> int:
    log_line(text)
    reporter.write(Note(error=text))
    return 1


if __name__ == "__main__":
    sys.exit(main())
