"""How an avatar is made: the settings of each step, for the command line, HTTP and the documented Python alike."""

from typing import Annotated, Literal

import msgspec

MOST = 1_000_000_000
"""Of what has no other limit: no number of a setting is as large as to break what is computed with it."""
Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Whole = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=MOST)]
Short = Annotated[str, msgspec.Meta(max_length=1000)]
Seed = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Part = Annotated[float, msgspec.Meta(ge=0, le=1)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1)]


class DatasetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of extracted conversations."""

    scrub: bool = True
    """Whether what is private is taken out. Without it no avatar passes the gate."""
    context: Positive = 8
    """Messages before a reply, at most."""
    most: Whole = 600
    """Replies to learn from, at most: the newest, spread over all chats; 0 = all."""
    similar: Part = 0.7
    """Replies whose sets of words are so alike (Jaccard) are one; short ones are style and stay."""
    short: Part = 0.02
    """Share of all replies that one short reply, said over and over, may have."""
    valid: Part = 0.1
    test: Part = 0.1
    """Shares of all conversations that are held out."""
    seed: Seed = 0


class TrainingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model is trained. 0 and '' = what suits the method."""

    method: Literal["lora", "scratch"] = "lora"
    engine: Literal["auto", "torch", "mlx"] = "auto"
    base: Short = ""
    """What a LoRA is trained over: a model id of the configuration or a GGUF file; '' = `avatars.base`."""
    epochs: Annotated[float, msgspec.Meta(gt=0, le=10_000)] | None = None
    """Times the replies are gone through; empty = 2 for LoRA, 3 for a model from scratch. A third round of a LoRA is
    where secrets that were said once begin to stand out, and gains next to nothing."""
    batch: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 16
    learning_rate: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0
    """0 = 1e-3 for LoRA, 5e-4 for a model from scratch."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: Whole = 10
    accumulation: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 1
    """Batches whose gradients are added up for a step."""
    sequence: Annotated[int, msgspec.Meta(ge=1, le=131_072)] = 512
    """Tokens of an example, at most."""
    rank: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 16
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` = what is faster here, found in two seconds."""
    compiled: bool | None = None
    """torch.compile; empty = where it pays."""
    checkpointing: bool = False
    """Activations are computed again instead of kept: less memory, more time."""
    response_only: bool = True
    """Whether the loss is of the person's replies alone."""
    joined: bool = True
    """Whether replies of one conversation are learnt in one chat, what they have in common read once: 2-4 times the
    speed. `batch` counts replies all the same."""
    rehearsal: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 150
    """Answers of the base itself that are mixed in, so that it forgets less."""
    weight_decay: Amount = 0.0
    clip: Amount = 1.0
    patience: Whole = 0
    """Checks of the held-out loss without a better one until it ends; 0 = it goes on to the end."""
    save_every: Whole = 50
    """Steps between checkpoints; 0 = only at the end of each epoch."""
    keep: Positive = 2
    """Checkpoints that are kept besides the best."""
    seed: Seed = 0
    threads: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 0
    # -- from scratch --
    vocabulary: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 50_000
    """At most: a small corpus gives fewer."""
    width: Annotated[int, msgspec.Meta(ge=1, le=16_384)] = 512
    hidden: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 2048
    heads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    layers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 6


class GateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an avatar must keep to be served. The numbers were measured; see docs/avatars.md."""

    planted: Annotated[int, msgspec.Meta(ge=8, le=200)] = 12
    """Secrets that are planted once each before training."""
    controls: Annotated[int, msgspec.Meta(ge=10, le=500)] = 30
    """Secrets of the same kinds that are not."""
    exposure: float = 3.0
    """Bits by which planted ones may be likelier than controls, in the mean (Carlini et al., The Secret Sharer)."""
    samples: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20
    """Samples of each planted secret's question, of which none may give it away."""
    regurgitation: float = 0.12
    """Share of generations with eight tokens in common with what was trained on, above that of held-out replies."""
    forgetting: float = 0.6
    """Loss on plain questions may rise by so much over the base's."""
    style: Part = 0.5
    """Least share of generations that a classifier takes for the person's."""
    gain: float = 0.0
    """Least fall of the held-out loss against the base's."""


class Extraction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is taken from where the conversations are."""

    since: Short = ""
    until: Short = ""
    """Dates or times in ISO 8601; a date alone as `until` includes its day."""
    most: Whole = 10_000
    metadata: bool = True
    """Whether personality, emotion, relationship and times are kept. Ids always are: `forget` needs them."""
    context: Positive = 16
    """Turns before a reply, at most."""
    join: Amount = 180
    """Seconds within which messages of one person are one turn."""
    gap: Amount = 0
    """Seconds of silence that end a conversation; 0 = learnt from each chat."""
    neo4j: Short = ""
    """URI of a Neo4j; '' = our own database."""
    database: Short = "neo4j"


class AvatarSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it together."""

    extraction: Extraction = Extraction()
    dataset: DatasetSettings = DatasetSettings()
    training: TrainingSettings = TrainingSettings()
    gate: GateSettings = GateSettings()
    form: Literal["adapter", "merged"] = "adapter"
    """What is released of a LoRA: an adapter over the shared base, or a model by itself."""
