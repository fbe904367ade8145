"""Where everything of avatars lies, below one private folder. Nothing here reads or writes what is in the files.

NAME/avatar.json                     which version answers, and to which share of requests (serving)
NAME/work/extracted.jsonl            examples as they were said
NAME/work/dataset/                   train.jsonl valid.jsonl test.jsonl report.json review.csv canaries.json
NAME/work/training/                  best_model/ final_model/ checkpoint_N/ training_history.json dataset.digest
NAME/work/export/                    GGUF files
NAME/work/evaluation/                report.json report.html
NAME/versions/N/                     a released version: version.json, GGUF, reports, lineage
bases/DIGEST/                        a base as it is trained and as it is served
"""

import re
import unicodedata
from pathlib import Path

from rolecast.config import paths
from rolecast.errors import Invalid

PREFIX = "avatar/"
"""What the model of an avatar is called: `avatar/john`."""
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


def root() -> Path:
    """The folder of all avatars."""
    return paths.home() / "avatars"


def slug(name: str) -> str:
    """A person's name as the name of an avatar: `John Doe` -> `john_doe`. Raises Invalid when nothing of it is left."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(each for each in plain if not unicodedata.combining(each))
    found = re.sub(r"[^a-z0-9.]+", "_", plain).strip("._")[:64].strip("._")
    if not found:  # a name of another script
        found = "_".join(f"{ord(each):x}" for each in name.strip()[:8])
    if not _SLUG.fullmatch(found) or found == "bases":
        raise Invalid(f"{name[:100]!r} cannot be the name of an avatar; name it with `--name`.", param="name")
    return found


class Place:
    """The folder of one avatar. Raises Invalid for a name that is no slug, so that no name leads elsewhere."""

    def __init__(self, name: str, base: Path | None = None) -> None:
        if not _SLUG.fullmatch(name) or name == "bases" or ".." in name:
            raise Invalid(f"{name[:100]!r} is no name of an avatar; use small letters, digits, `_`, `-`.", param="name")
        self.name = name
        self.folder = (base or root()) / name

    @property
    def card(self) -> Path:
        return self.folder / "avatar.json"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def extracted(self) -> Path:
        return self.work / "extracted.jsonl"

    @property
    def dataset(self) -> Path:
        return self.work / "dataset"

    @property
    def training(self) -> Path:
        return self.work / "training"

    @property
    def export(self) -> Path:
        return self.work / "export"

    @property
    def evaluation(self) -> Path:
        return self.work / "evaluation"

    def version(self, number: int) -> Path:
        return self.folder / "versions" / str(number)


def bases() -> Path:
    """The folder of bases."""
    return root() / "bases"
