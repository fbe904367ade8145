"""The chat program of Avatar SLM: `python chat.py`. Picks a model, talks, keeps a transcript."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from rolecast.avatars.documented import folder
from rolecast.avatars.documented.engine import InferenceConfig, SLMInferenceEngine
from rolecast.avatars.documented.pipeline import answer
from rolecast.avatars.documented.program import guarded, log_as_told
from rolecast.avatars.documented.said import say
from rolecast.errors import Invalid, RolecastError, counted

LOGS = "chat_logs"
HELP = """/help    this list
/clear   forget what was said
/save    write the transcript now
/switch  talk with another model
/exit    end; what was said is saved"""
Ask = Callable[[str], str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Talk until /exit, Ctrl-D or Ctrl-C; the exit code."""
    parser = argparse.ArgumentParser(prog="chat.py", description="Talk with a personal model.")
    parser.add_argument("--model", metavar="NAME", help="a model of the folder, or the path of one")
    parser.add_argument("--models-dir", metavar="FOLDER", default="slm_models", help="default: slm_models")
    parser.add_argument("--debug", action="store_true", help="tell in detail what is done, never what is said")
    said = parser.parse_args(arguments)
    log_as_told("DEBUG" if said.debug else "")
    return guarded(lambda: Chat(Path(said.models_dir)).run(said.model))


class Chat:
    """One run of the program."""

    def __init__(self, models: Path, ask: Ask = input, logs: Path | None = None) -> None:
        self._models, self._ask, self._logs = models, ask, logs or Path(LOGS)
        self._engine: SLMInferenceEngine | None = None
        self._began = datetime.now().astimezone()

    def available(self) -> list[Path]:
        """Every folder with a config.json."""
        return folder.scan(self._models)

    def run(self, name: str | None = None) -> None:
        """Pick a model, unless one is named, and talk. Raises Invalid when there is none."""
        try:
            self._open(self._named(name) if name else self._picked())
            while self._turn():
                pass
        except (EOFError, KeyboardInterrupt):
            say()
        self._save()

    def _named(self, name: str) -> Path:
        inside = [each for each in self.available() if each.name == name]
        if inside:
            return inside[0]
        if Path(name).exists():
            return Path(name)
        return folder.meant(self._models / name)

    def _picked(self) -> Path:
        found = self.available()
        if not found:
            raise Invalid(
                f"There is no model in {self._models}; train one (examples/slm/slm_pipeline_example.py), or name "
                "another folder with --models-dir."
            )
        for number, each in enumerate(found, 1):
            about = folder.card(each)
            details = [
                about.person_name,
                counted(about.training_examples, "example") if about.training_examples else "",
            ]
            details.append("answers with samples" if about.framework == "fallback" else "")
            say(f"{number}  {each.name}  {', '.join(filter(None, details))}".rstrip())
        if len(found) == 1:
            return found[0]
        while True:
            said = self._ask(f"Which one (1-{len(found)})? ").strip()
            named = [each for each in found if each.name == said]
            if named:
                return named[0]
            if said.isdecimal() and 1 <= int(said) <= len(found):
                return found[int(said) - 1]

    def _open(self, path: Path) -> None:
        engine = SLMInferenceEngine(InferenceConfig(path))
        self._engine, self._began = engine, datetime.now().astimezone()
        say(
            f"You talk with {engine.card.person_name or engine.name}'s avatar, a model. /help lists what else there is."
        )

    def _turn(self) -> bool:
        """One line of the person; False when it is the last."""
        engine = self._engine
        if engine is None:
            return False
        said = self._ask("You: ").strip()
        if not said.startswith("/"):
            if said:
                answer(engine, said, engine.card.person_name or engine.name)
            return True
        match said.split()[0].casefold():
            case "/exit" | "/quit":
                return False
            case "/help":
                say(HELP)
            case "/clear":
                engine.clear_conversation()
                say("Forgotten.")
            case "/save":
                self._save()
            case "/switch":
                self._switch()
            case other:
                say(f"{other} is not known; /help lists what is.")
        return True

    def _switch(self) -> None:
        """Another model, if it can be loaded; else this one goes on."""
        self._save()
        try:
            self._open(self._picked())
        except RolecastError as error:
            sys.stderr.write(f"{error.message}\n")

    def _save(self) -> None:
        engine = self._engine
        if engine is None or not engine.conversation_history:
            return
        name = re.sub(r"[^\w.-]+", "_", engine.name)
        path = self._logs / f"chat_{name}_{self._began:%Y%m%d_%H%M%S}.json"
        say(f"Saved as {engine.save_conversation(path)}.")
