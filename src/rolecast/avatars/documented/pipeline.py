"""From conversations to a chat in one object, with Avatar SLM's names: `examples.slm.slm_pipeline_example`."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rolecast.avatars import places
from rolecast.avatars.documented import configuration, folder
from rolecast.avatars.documented.engine import SLMInferenceEngine
from rolecast.avatars.documented.extractor import Neo4jDataExtractor
from rolecast.avatars.documented.said import log, say, shown
from rolecast.avatars.documented.trainer import SLMTrainer
from rolecast.avatars.documented.utils import PROMPTS
from rolecast.errors import Invalid, RolecastError, counted
from rolecast.jobs.job import Progress

SUFFIX = "_avatar"
LEAVING = ("quit", "exit", "bye")
FORGETTING = ("clear",)


class AvatarSLMPipeline:
    """Extracts, trains and talks, as a `config.json` says, or the documented defaults.

    Each step tells what came of it on stdout, and raises RolecastError with what to do.
    """

    def __init__(self, config_path: str | Path | None = None) -> None:
        self.config = configuration.read(config_path)
        self._named = configuration.names_model(config_path)
        self.extractor: Neo4jDataExtractor | None = None
        self.trainer: SLMTrainer | None = None
        self.inference_engine: SLMInferenceEngine | None = None

    def extract_data(self, person_name: str) -> str:
        """Write the person's replies with what was said before; the path: `data/extracted/john_doe.jsonl`."""
        config = configuration.extraction(self.config)
        extractor = self.extractor = Neo4jDataExtractor(config)
        with shown(person_name) as report:
            extractor.on_progress = lambda done: report(Progress("extracting", done, 0, "messages"))
            path = extractor.extract_person_conversations(person_name, max_messages=config.max_messages)
        stats = extractor.get_extraction_stats()
        messages, conversations = stats["total_messages"], stats["total_conversations"]
        say(f"{path}: {counted(messages, 'message')} in {counted(conversations, 'conversation')}")
        return path

    def train_model(self, data_path: str | Path, model_name: str | None = None) -> str:
        """Train on an extracted file; the folder of the model.

        Without a name here or in the configuration it is called like the file: `john_doe.jsonl` makes
        `models/john_doe_avatar`, so that one person's model does not take the place of another's.
        """
        name = model_name or self._name(Path(data_path))
        trainer = self.trainer = SLMTrainer(configuration.training(self.config, data_path, name))
        path = trainer.train()
        metrics = trainer.get_final_metrics()
        say(
            f"{path}: loss {metrics['loss']:.2f} after {counted(metrics['steps'], 'step')}, "
            f"{metrics['tokens_per_second']:.0f} tokens/s"
        )
        return path

    def _name(self, data: Path) -> str:
        if self._named or data.is_dir():
            return str(self.config["training"]["model_name"])
        return f"{data.stem}{SUFFIX}"

    def setup_inference(self, model_path: str | Path) -> SLMInferenceEngine:
        """Load a model, to talk with."""
        path = folder.meant(Path(model_path))
        if path != Path(model_path):
            log.warning("%s is not there; %s is the only model whose name begins alike, and is used.", model_path, path)
        self.inference_engine = SLMInferenceEngine(configuration.inference(self.config, path))
        return self.inference_engine

    def chat_demo(self, ask: Callable[[str], str] = input) -> None:
        """Talk on the terminal until `quit`, Ctrl-D or Ctrl-C; `clear` forgets what was said."""
        engine = self._engine()
        name = engine.card.person_name or engine.name
        say(f"You talk with {name}'s avatar, a model. `clear` forgets what was said, `quit` ends.")
        while True:
            try:
                message = ask("You: ").strip()
            except (EOFError, KeyboardInterrupt):
                say()
                return
            if message.casefold() in LEAVING:
                return
            if message.casefold() in FORGETTING:
                engine.clear_conversation()
                say("Forgotten.")
            elif message:
                answer(engine, message, name)

    def run_full_pipeline(self, person_name: str) -> str:
        """Extract, train and talk; the folder of the model, called `john_doe_avatar`."""
        data = self.extract_data(person_name)
        path = self.train_model(data, f"{places.slug(person_name)}{SUFFIX}")
        self.setup_inference(path)
        self.chat_demo()
        return path

    def benchmark_model(self, model_path: str | Path, prompts: Sequence[str] | None = None) -> dict[str, Any]:
        """Answer five prompts, or those given, and tell how quick it was: `results` for each, and the means."""
        engine = self.setup_inference(model_path)
        engine.generate(PROMPTS[0], 1)  # what is done once is not measured
        results: list[dict[str, Any]] = []
        for prompt in prompts or PROMPTS:
            began, first, said = time.perf_counter(), None, []
            for piece in engine.generate(prompt, stream=True):
                first = first or time.perf_counter() - began
                said.append(piece)
            seconds, text = time.perf_counter() - began, "".join(said)
            tokens = engine.count_tokens(text)
            results.append(
                {
                    "prompt": prompt,
                    "response": text,
                    "tokens": tokens,
                    "seconds": seconds,
                    "tokens_per_second": tokens / seconds if seconds else 0.0,
                    "first_token_seconds": first or seconds,
                }
            )
            say(f"{prompt}\n  {text.strip()}\n  {tokens} tokens, {tokens / max(seconds, 1e-9):.0f} tokens/s")
        tokens, seconds = sum(each["tokens"] for each in results), sum(each["seconds"] for each in results)
        firsts = [each["first_token_seconds"] for each in results]
        found: dict[str, Any] = {
            "model": str(engine.config.model_path),
            "results": results,
            "total_tokens": tokens,
            "total_seconds": seconds,
            "tokens_per_second": tokens / seconds if seconds else 0.0,
            "first_token_seconds": sum(firsts) / len(firsts),
        }
        say(
            f"In the mean {found['tokens_per_second']:.0f} tokens/s, the first after "
            f"{1000 * found['first_token_seconds']:.0f} ms"
        )
        return found

    def _engine(self) -> SLMInferenceEngine:
        if self.inference_engine is None:
            raise Invalid("No model is loaded; call setup_inference(model_path) first.")
        return self.inference_engine


def answer(engine: SLMInferenceEngine, message: str, name: str) -> None:
    """One turn on the terminal, piece by piece. Ctrl-C ends the reply, not the conversation."""
    say(f"{name}: ", end="")
    pieces = engine.chat(message, stream=True)
    try:
        for piece in pieces:
            say(piece, end="")
    except KeyboardInterrupt:
        pieces.close()  # type: ignore[attr-defined]
    except RolecastError as error:
        sys.stderr.write(f"{error.message}\n")
    say()
