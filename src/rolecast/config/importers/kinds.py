"""What a model is for, by its name, where a file does not say.

Knows the words that makers use. A guess: whoever asks tells the user about it.
"""

import re

from rolecast.values import KINDS

CHAT, EMBEDDINGS = "chat", "embeddings"
_WORDS = (
    ("rerank", r"re-?rank|(?<![a-z])ranker"),
    ("transcription", r"whisper|transcri|parakeet|speech[-_]to[-_]text|(?<![a-z])(asr|stt)(?![a-z])"),
    ("speech", r"(?<![a-z])(x?tts|kokoro|piper|orpheus|chatterbox|bark)(?![a-z])|speech"),
    ("images", (r"dall-?e|diffusion|diffusers|comfyui|(gpt|qwen)-image|image[-_](gen|edit)|(?<![a-z])(sdxl|sd-server"
     r"|sd[-_]?(1\.5|3(\.5)?|turbo)|flux|imagen)(?![a-z])")),
    ("video", r"(?<![a-z])(sora|veo|wan2)(?![a-z])"),
    ("moderation", r"moderation"),
    ("realtime", r"realtime"),
    (EMBEDDINGS, r"embed(?!ded)|minilm|mpnet|(?<![a-z])(bge|e5|gte|nomic|mxbai|voyage|uae|ada-002|jina-clip)(?![a-z])"),
)  # fmt: skip


def guess(*names: str) -> str:
    """`chat` unless one of the names has a word for something else."""
    joined = " ".join(names).lower()
    return next((kind for kind, words in _WORDS if re.search(words, joined)), CHAT)


def capabilities(kind: str) -> list[str] | None:
    """What the setting says for a kind; None = the default, which is chat and completion."""
    return None if kind == CHAT else [kind]


def unreachable(kind: str) -> str:
    """Why a model of this kind cannot be asked, or ''."""
    return "" if kind in KINDS else f"there is no endpoint for {kind} yet"
