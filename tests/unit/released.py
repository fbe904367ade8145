"""Avatars as the steps before a release leave them: adapters over one tiny base, with verdicts and datasets."""

import json
from collections.abc import Sequence
from pathlib import Path

import tiny_gguf
import tiny_lora

from rolecast.avatars.example import Example, Lineage, Said, write
from rolecast.avatars.places import Place
from rolecast.avatars.serving.versions import Files, release


def base(root: Path) -> Path:
    """The base that all share, where a base lies."""
    path = root / "bases" / "0123456789abcdef" / "base-f16.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path if path.exists() else tiny_gguf.write(path, context=4096)


def dataset(place: Place, speaker: str, people: Sequence[str], count: int = 3) -> None:
    """Examples that people had a part in."""
    write(
        place.dataset / "train.jsonl",
        (
            Example(
                f"{place.name}_{i}",
                "[Jo]: hello",
                "hi there",
                speaker,
                conversation_history=(Said("Jo", "hello"),),
                metadata=Lineage("t", 1, 2, "c", (f"m{i}", f"r{i}"), tuple(people)),
            )
            for i in range(count)
        ),
    )


def verdict(place: Place, *, passed: bool = True) -> Path:
    """The folder of an evaluation that says so."""
    place.evaluation.mkdir(parents=True, exist_ok=True)
    reasons = [] if passed else ["2 of 12 planted secrets were given away"]
    report = {"passed": passed, "reasons": reasons, "numbers": {"style": 0.9}}
    (place.evaluation / "report.json").write_text(json.dumps(report), "utf-8")
    (place.evaluation / "report.html").write_text("<h1>Report</h1>", "utf-8")
    return place.evaluation


def released(
    root: Path,
    name: str,
    *,
    seed: int,
    people: Sequence[str] = ("p1", "p2"),
    share: float = 0.0,
    passed: bool = True,
    force: bool = False,
) -> Place:
    """Another version of that avatar, which speaks by that seed."""
    place = Place(name, root)
    title = name.title()
    place.export.mkdir(parents=True, exist_ok=True)
    adapter = tiny_lora.write(place.export / "adapter.gguf", seed=seed)
    dataset(place, title, people)
    release(
        place,
        verdict(place, passed=passed),
        Files(adapter, base(root), "tiny"),
        title=title,
        person=people[0] if people else "",
        force=force,
        share=share,
    )
    return place
