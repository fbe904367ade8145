"""Stands in for the process that makes an avatar: takes its order, tells how far it is, releases what was asked for."""

import os
import sys
from pathlib import Path

import msgspec
from released import released

from rolecast.avatars import order
from rolecast.avatars.order import AvatarOrder
from rolecast.jobs.job import Progress
from rolecast.jobs.notes import Note


def main() -> None:
    wanted = msgspec.json.decode(os.environ[order.ORDER], type=AvatarOrder)
    for step in wanted.steps:
        note = Note(progress=Progress(step, 1, 2, "steps", note="loss 2.31"))
        sys.stdout.write(msgspec.json.encode(note).decode() + "\n")
        sys.stdout.flush()
    if wanted.person == "Nobody":
        sys.stdout.write(msgspec.json.encode(Note(error="There is nobody of that name.")).decode() + "\n")
        sys.exit(1)
    released(Path(os.environ["ROLECAST_HOME"]) / "avatars", wanted.name, seed=5)
    sys.stdout.write(msgspec.json.encode(Note(progress=Progress("release"), result="version 1")).decode() + "\n")


if __name__ == "__main__":
    main()
