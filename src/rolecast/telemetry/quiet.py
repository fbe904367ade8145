"""What the SDK logs, without anything that a request or an answer says."""

import logging
import sys
import traceback


class Quiet(logging.Formatter):
    """The text of a message without what is put into it, and of an exception its type and place.

    Exceptions of validation quote what they looked at, which may be a prompt.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        text = f"{record.levelname} {record.name}: {str(record.msg)[:200]}"
        kind, error, trace = record.exc_info or (None, None, None)
        if kind is None or error is None:
            return text
        places = [f"{each.name} in {each.filename}:{each.lineno}" for each in traceback.extract_tb(trace)[-3:]]
        return f"{text} ({kind.__name__}: {', '.join(places)})"


def log_quietly() -> None:
    """Log warnings of this process on standard error, so."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Quiet())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
