"""Whether a GGUF answers as what was trained: the same tokens of a text, the same chat, the same greedy replies.

llama.cpp replies greedily; PyTorch in float32 is then given the reply and says of each of its tokens whether it would
have taken it too, and how much likelier its own choice is (the margin, in nats). Where rounding decides between two
tokens that are about as likely, both are right: a margin below a bound is a tie.
"""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rolecast.avatars.export.base import Base
from rolecast.avatars.export.llamacpp_side import Answers, Questions
from rolecast.errors import UNREADABLE, Invalid

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

TIE = {"f32": 1e-3, "f16": 0.05, "adapter": 0.05, "q8_0": 1.5}
"""Nats by which PyTorch's own choice may be likelier, by form: the rounding of its numbers, measured with
bench/avatar_parity.py. A wrong order of rows or base of positions gives margins of many nats."""
OTHERWISE = 0.15
"""Tokens that PyTorch would not have taken, at most, of all: for q8_0, whose margins are wide."""
SHARE = 0.2
"""Replies of the check that may hold a tie at most, of forms that are to be exact."""
TIME_S = 600
TEXTS = (
    "Hello, how are you today?",
    "Call me at 17:45, 1234567 is the code, and 3.14159 is pi.",
    "I can't, won't and shouldn't; she'd've said it's John's. I'LL GO",
    "😀😂👍🏽 family 👩‍👩‍👧‍👦 flag 🇩🇪 ❤️",
    "Zażółć gęślą jaźń — naïve façade, Ünïcödé",
    "Привет, как дела? Что нового?",
    "你好，今天天气怎么样？我们去公园吧。",
    "こんにちは、元気ですか？カタカナ",
    "مرحبا كيف حالك اليوم؟ ١٢٣٤",
    "שלום, מה שלומך?",
    "नमस्ते, आप कैसे हैं? १२३",
    "안녕하세요 오늘 날씨가 좋네요",
    "Γειά σου Κόσμε, τι κάνεις;",
    "สวัสดีครับ วันนี้อากาศดี",
    "  leading spaces,\ttabs\tand\n\nnew lines \r\n end   ",
    "def f(x):\n    return x ** 2  # code!",
    "https://example.com/a?b=1&c=%20d#e <b>bold</b> &amp;",
    "x½ ² ³ ① Ⅷ 五 ٣ 𝟘 1e-10 0x1F",
    "combining: e\u0301 n\u0303 a\u0308\u0323 \u200d\u200b\ufeff",
    "What did you do on 2024-12-31 at 23:59?",
    "...!!!??? ---- ____ ==== ((())) ''' \"\"\" ```",
    "A" * 60 + " " * 9 + "ß" * 12,
    "lol ok 👍 see u @ 8pm w/ mum & dad :-) <3",
    "Write one sentence about the sea.",
)
"""Digits, contractions, emoji, other scripts, spaces: where tokenizers differ."""
CHATS = (
    (
        {"role": "system", "content": "You are Mira."},
        {"role": "user", "content": "hey, what's up? 😀 12:30 ok?"},
        {"role": "assistant", "content": "nm, u?"},
        {"role": "user", "content": "Wie geht's dir?"},
    ),
)


class Parity(msgspec.Struct, frozen=True):
    """What came of a comparison."""

    prompts: int
    exact: int
    """Replies of which PyTorch takes every token."""
    tokens: int
    """Of all replies."""
    ties: tuple[float, ...]
    """Margins of those that it would not have taken, in nats."""
    drift: float
    """The greatest difference of log p of a token between both, in nats."""
    texts: int
    cut_otherwise: tuple[int, ...]
    """Indexes of texts whose tokens differ."""
    chats_otherwise: int
    """Chats that are written differently."""


def compare(
    weights: Path,
    model: "LlamaForCausalLM",
    words: "PreTrainedTokenizerBase",
    *,
    adapters: tuple[Path, ...] = (),
    texts: tuple[str, ...] = TEXTS,
    prompts: int = len(TEXTS),
    count: int = 24,
) -> Parity:
    """Compare a file with a model in float32 and its tokenizer; the first `prompts` of the texts are replied to.

    Raises Invalid when llama.cpp cannot load the file.
    """
    cut = tuple(tuple(words(text)["input_ids"]) for text in texts)
    asked = tuple(each for each in cut[:prompts] if each)
    chats = CHATS if words.chat_template else ()
    questions = Questions(str(weights), tuple(map(str, adapters)), texts, chats, asked, count)
    said = _ask(questions)
    margins, exact, drift, number = [], 0, 0.0, 0
    for prompt, reply, likelihoods in zip(asked, said.replies, said.likelihoods, strict=True):
        missed, far = _judged(model, prompt, reply, likelihoods)
        margins += missed
        exact += not missed
        drift = max(drift, far)
        number += len(reply)
    ours = [words.apply_chat_template(list(chat), tokenize=False, add_generation_prompt=True) for chat in chats]
    return Parity(
        prompts=len(asked),
        exact=exact,
        tokens=number,
        ties=tuple(margins),
        drift=drift,
        texts=len(texts),
        cut_otherwise=tuple(i for i, (a, b) in enumerate(zip(cut, said.tokens, strict=True)) if a != b),
        chats_otherwise=sum(a != b for a, b in zip(ours, said.written, strict=True)),
    )


def fault(found: Parity, form: str) -> str:
    """What is wrong with an export of that form, in a sentence; '' = nothing."""
    if found.cut_otherwise:
        return f"llama.cpp cuts {len(found.cut_otherwise)} of {found.texts} texts into other tokens"
    if found.chats_otherwise:
        return "llama.cpp writes a chat otherwise"
    worst = max(found.ties, default=0.0)
    if worst > TIE[form]:
        return f"llama.cpp takes a token that is {worst:.2f} nats less likely than the best (a tie is {TIE[form]:g})"
    if len(found.ties) > OTHERWISE * found.tokens:
        return f"{len(found.ties)} of {found.tokens} tokens are others"
    if form in ("f16", "adapter", "f32") and found.prompts - found.exact > max(1, SHARE * found.prompts):
        return f"only {found.exact} of {found.prompts} replies are the same"
    return ""


def demand(path: Path, trained: Path, form: str, base: Base | None) -> None:
    """Compare an export with what was trained, on eight prompts. Raises Invalid when it answers otherwise."""
    model, words = load(trained, base)
    over = (path, ()) if form != "adapter" or base is None else (base.gguf, (path,))
    found = compare(over[0], model, words, adapters=over[1], prompts=8, count=16)
    if said := fault(found, form):
        raise Invalid(f"The export does not answer as what was trained: {said}. It was removed; please report this.")


def load(trained: Path, base: Base | None) -> "tuple[LlamaForCausalLM, PreTrainedTokenizerBase]":
    """What was trained, in float32 on the CPU, and its tokenizer. Weights are read from safetensors alone.

    Raises Invalid for a folder that holds none, or damaged ones.
    """
    from safetensors import SafetensorError

    lora = (trained / "adapter_config.json").exists()
    weights = trained / ("adapter_model.safetensors" if lora else "model.safetensors")
    if not weights.is_file():  # others would be looked for, and pickles are programs
        raise Invalid(f"{trained} has no {weights.name}; other files of weights are not read. Train again.")
    try:
        return _loaded(trained, base)
    except (OSError, RuntimeError, KeyError, TypeError, SafetensorError, *UNREADABLE) as error:
        raise Invalid(f"{trained} is damaged ({(str(error).splitlines() or [''])[0][:200]}); train again.") from error


def _loaded(trained: Path, base: Base | None) -> "tuple[LlamaForCausalLM, PreTrainedTokenizerBase]":
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    told: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    lora = (trained / "adapter_config.json").exists()
    if lora and base is None:
        raise Invalid("A LoRA is loaded with its base; name it.", param="base")
    folder = base.hf if lora and base is not None else trained
    model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, **told)
    if lora:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, trained, local_files_only=True)
    words: Any = AutoTokenizer.from_pretrained(folder, **told)
    return model.eval(), words


def _ask(questions: Questions) -> Answers:
    """Put questions to llama.cpp in a process of its own."""
    argv = [sys.executable, "-m", "rolecast.avatars.export.llamacpp_side"]
    try:
        done = subprocess.run(
            argv, input=msgspec.json.encode(questions), capture_output=True, timeout=TIME_S, check=False
        )
        return msgspec.json.decode(done.stdout, type=Answers)
    except subprocess.TimeoutExpired as error:
        raise Invalid("llama.cpp did not answer within ten minutes; is there enough memory?") from error
    except UNREADABLE as error:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1][:300] if lines else f"it ended with {done.returncode}"
        raise Invalid(f"llama.cpp cannot load {questions.weights}: {reason}") from error


def _judged(
    model: Any,
    prompt: tuple[int, ...],
    reply: tuple[int, ...],
    likelihoods: tuple[float, ...],
) -> tuple[list[float], float]:
    """Margins of the tokens that PyTorch would not have taken, and the greatest difference of log p."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + reply])).logits[0, len(prompt) - 1 : -1].float()
    known = torch.log_softmax(logits, dim=-1)
    taken = known.gather(1, torch.tensor(reply, dtype=torch.long)[:, None])[:, 0]
    margins = (known.max(dim=-1).values - taken).tolist()
    told = torch.tensor(likelihoods)
    far = (taken[: len(told)] - told).abs().max().item() if likelihoods else 0.0
    return [each for each in margins if each > 0], far
