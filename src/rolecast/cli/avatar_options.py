"""The options that several commands of `avatar` share."""

from pathlib import Path
from typing import Annotated

import typer

Person = Annotated[
    str, typer.Argument(metavar="PERSON", help="Whose replies are learnt: a name as in the conversations, or an id.")
]
Name = Annotated[
    str, typer.Option("--name", help="What the avatar is called; without it the person's name.", show_default=False)
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.NAME=VALUE",
        help="Any setting of extraction, dataset, training or gate, such as training.rank=8; kept for later steps.",
        show_default=False,
    ),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", metavar="FILE", help="Avatar SLM's config.json, read as it is.", show_default=False),
]
Method = Annotated[
    str | None,
    typer.Option("--method", help="lora (over a base) or scratch (a small model of its own).", show_default=False),
]
Engine = Annotated[
    str | None, typer.Option("--engine", help="torch or mlx; without it what is here.", show_default=False)
]
Epochs = Annotated[
    float | None, typer.Option("--epochs", help="Times the replies are gone through.", show_default=False)
]
Base = Annotated[
    str | None,
    typer.Option(
        "--base", metavar="MODEL|FILE", help="What a LoRA is trained over: a model or a GGUF.", show_default=False
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Start of all random numbers.", show_default=False)]
Neo4j = Annotated[
    str | None,
    typer.Option(
        "--neo4j",
        metavar="URI",
        envvar="NEO4J_URI",
        help="Read from this Neo4j (NEO4J_USERNAME, NEO4J_PASSWORD) instead of what was imported.",
        show_default=False,
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Do the step again, whatever is there.")]
