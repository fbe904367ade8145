"""A trained folder as a model: peft's LoRA over its base, or a Hugging Face Llama of its own. PyTorch.

Weights are read from safetensors alone, nothing of a folder is executed and nothing is fetched. Examples become tokens
by the encoder of training: what is asked here reads exactly as what was learnt.
"""

import contextlib
import functools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rolecast.avatars import prompt
from rolecast.avatars.example import Example
from rolecast.avatars.prompt import Turn
from rolecast.avatars.training.encode import Encoder
from rolecast.errors import UNREADABLE, Invalid

if TYPE_CHECKING:
    from rolecast.avatars.evaluation.exposure import Tree

ADAPTER, ADAPTER_WEIGHTS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors", "model.safetensors"
LONGEST = 512
"""Tokens of a prompt; what is older is cut off."""
PAYS = 1.3
"""So much faster must bf16 be: it rounds."""
BATCH_TOKENS = 4096
"""Of one forward pass, padding included: what keeps two cores busy and memory small."""


class Loaded:
    """A model with its tokenizer. Token lists in, numbers out; no tensor leaves this class and `batched`."""

    def __init__(self, model: Any, tokenizer: Any, encoder: Encoder, *, adapted: bool) -> None:
        self.model = model
        """transformers' model for text, or peft's around one; in evaluation mode."""
        self.tokenizer = tokenizer
        self._encoder = encoder
        self.adapted = adapted
        """Whether it is an adapter over a base, which `as_base` shows."""

    # -- text <-> tokens --

    def prompt(self, example: Example) -> list[int]:
        """What comes before the reply of an example, as it was trained; nothing where the model's template refuses its
        turns, or it has none."""
        return self._before(prompt.turns(example))

    def ask(self, question: str) -> list[int]:
        """A question to a plain assistant."""
        return self._before([Turn("user", question)])

    def _before(self, turns: Sequence[Turn]) -> list[int]:
        found = self._encoder.chat(turns, ".", whole=False)
        return list(found.ids[: found.replies[0][0]]) if found else []

    def reply(self, text: str) -> list[int]:
        """A reply, without the token that ends it."""
        return self.replies([text])[0]

    def replies(self, texts: Sequence[str]) -> list[list[int]]:
        """Many at once, which is much quicker."""
        plain = [self._encoder.plain(each).strip() for each in texts]
        return [list(each) for each in self.tokenizer(plain, add_special_tokens=False)["input_ids"]]

    def text(self, tokens: Sequence[int]) -> str:
        """Tokens as text, without special ones."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    @property
    def end(self) -> int:
        """The token that ends a reply."""
        return int(self.tokenizer.eos_token_id)

    @property
    def device(self) -> Any:
        return self.causal.device

    @property
    def causal(self) -> Any:
        """transformers' model itself; an adapter is inside of its layers."""
        return self.model.get_base_model() if self.adapted else self.model

    # -- numbers --

    @contextlib.contextmanager
    def as_base(self) -> Iterator[None]:
        """Within it the adapter is off. Only where `adapted`, and before `settle`."""
        with self.model.disable_adapter():
            yield

    def settle(self) -> None:
        """Work the adapter into the weights: nothing changes but that it is quicker, and the base is gone."""
        if self.adapted:
            self.model, self.adapted = self.model.merge_and_unload(), False

    def losses(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, int]]:
        """Of each (prompt, reply): the sum of the reply's losses in nats, its end included, and how many tokens."""
        import torch

        rows = [(list(before), [*after, self.end][:LONGEST]) for before, after in pairs]
        found: list[tuple[float, int]] = [(0.0, 0)] * len(rows)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]) + len(rows[index][1]))
        for chosen in _batches(order, [len(before) + len(after) for before, after in rows]):
            width = max(len(rows[index][0]) + len(rows[index][1]) for index in chosen)
            ids = torch.full((len(chosen), width), self.end, dtype=torch.long)
            for row, index in enumerate(chosen):
                both = [*rows[index][0], *rows[index][1]]
                ids[row, : len(both)] = torch.tensor(both)
            ids = ids.to(self.device)
            # Padded on the right: what comes later is not seen by what is before it, so that no mask is needed.
            with torch.inference_mode():
                hidden = self._hidden(input_ids=ids)
                for row, index in enumerate(chosen):
                    start, count = len(rows[index][0]), len(rows[index][1])
                    logits = self._logits(hidden[row, start - 1 : start + count - 1])
                    targets = ids[row, start : start + count]
                    loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
                    found[index] = float(loss), count
        return found

    def tree(self, before: Sequence[int], tree: "Tree") -> list[float]:
        """The log-likelihood in nats of each sequence of a tree behind a prompt, in one forward pass."""
        import torch

        length, fed = len(before), list(tree.fed)
        place = {node: length + index for index, node in enumerate(fed)}
        place[-1] = length - 1
        ids = torch.tensor([[*before, *(tree.tokens[node] for node in fed)]], device=self.device)
        positions = torch.tensor([[*range(length), *(length + tree.depths[node] for node in fed)]], device=self.device)
        size = ids.shape[1]
        seen = torch.zeros((size, size), dtype=torch.bool)
        seen[:length, :length] = torch.ones((length, length), dtype=torch.bool).tril()
        for node in fed:  # parents come first
            own = place[node]
            seen[own] = seen[place[tree.parents[node]]]
            seen[own, own] = True
        with torch.inference_mode():
            mask = torch.zeros((1, 1, size, size), dtype=self.causal.dtype)
            mask.masked_fill_(~seen, torch.finfo(self.causal.dtype).min)
            hidden = self._hidden(input_ids=ids, position_ids=positions, attention_mask=mask.to(self.device))
            logs = self._logits(hidden[0, length - 1 :]).log_softmax(dim=-1)
            rows = torch.tensor([place[parent] - (length - 1) for parent in tree.parents], device=self.device)
            steps = logs[rows, torch.tensor(tree.tokens, device=self.device)].double().tolist()
        sums: list[float] = []
        for step, parent in zip(steps, tree.parents, strict=True):
            sums.append(step + (sums[parent] if parent >= 0 else 0.0))
        return [sums[end] for end in tree.ends]

    def _hidden(self, **inputs: Any) -> Any:
        """(rows, length, width): the last layer, before words are made of it."""
        return self.causal.get_decoder()(use_cache=False, **inputs).last_hidden_state

    def _logits(self, hidden: Any) -> Any:
        return self.causal.get_output_embeddings()(hidden).float()


def _batches(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Neighbours of an order that is sorted by length, as many as fit."""
    chosen: list[int] = []
    for index in order:
        if chosen and (len(chosen) + 1) * lengths[index] > BATCH_TOKENS:
            yield chosen
            chosen = []
        chosen.append(index)
    if chosen:
        yield chosen


def load(trained: Path, base: Path | None = None, threads: int = 0) -> Loaded:
    """The model of a trained folder; `base` = the Hugging Face folder of the base, or the one it lies in.

    Raises Invalid for a folder that holds none, and for an adapter without its base.
    """
    adapted = (trained / ADAPTER).exists()
    if adapted:
        if not (trained / ADAPTER_WEIGHTS).exists():
            raise Invalid(f"{trained} has no {ADAPTER_WEIGHTS}; other files of weights are not read. Train again.")
        source = _base(trained, base)
    else:
        source = trained
    if not (source / "config.json").exists() or not any(source.glob("*.safetensors")):
        raise Invalid(f"{source} holds no model (config.json and {WEIGHTS} are expected); train again.")
    try:
        from safetensors import SafetensorError
    except ImportError as error:
        raise Invalid("Avatars need PyTorch and transformers: pip install 'rolecast[avatars]'.") from error
    try:
        return _load(trained, source, adapted=adapted, threads=threads)
    except (OSError, RuntimeError, KeyError, SafetensorError, *UNREADABLE) as error:
        raise Invalid(f"{trained} cannot be loaded ({str(error).splitlines()[0][:200]}); train again.") from error


def _base(trained: Path, given: Path | None) -> Path:
    if given is None:
        try:
            said = msgspec.json.decode((trained / "base.json").read_bytes(), type=dict[str, Any])
            given = Path(str(said.get("hf") or said.get("folder") or said.get("path") or ""))
        except (OSError, *UNREADABLE) as error:
            raise Invalid(f"{trained} does not say what it was trained over; name its base.", param="base") from error
    return given / "hf" if (given / "hf").is_dir() else given


def _load(trained: Path, source: Path, *, adapted: bool, threads: int) -> Loaded:
    import torch
    import transformers

    told: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if threads:
        torch.set_num_threads(threads)
    here = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = torch.bfloat16 if _bf16_pays(here) else torch.float32
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        source, dtype=kind, use_safetensors=True, attn_implementation="sdpa", **told
    )
    if adapted:
        import peft

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft and transformers about each other
            model = peft.PeftModel.from_pretrained(model, str(trained), torch_device="cpu", local_files_only=True)
    tokens = trained if (trained / "tokenizer.json").exists() else source
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokens, **told)
    return Loaded(model.to(here).eval(), tokenizer, Encoder(tokens, LONGEST), adapted=adapted)


@functools.cache
def _bf16_pays(device: Any) -> bool:
    """Whether matrices of a small model are multiplied much faster in bf16 here; without instructions for it they are
    far slower. Losses differ by less than 0.01 nats, ranks by a tenth of a bit (measured)."""
    import torch

    from rolecast.avatars.training import precision

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    narrow, wide = precision.speeds(device, 128, 576, 1536, 0.2)
    return narrow > PAYS * wide
