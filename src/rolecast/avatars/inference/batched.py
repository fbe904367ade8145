"""Replies of a model to prompts, many at a time: sampled, seeded, ended at the token that ends a reply. PyTorch.

The prompt is read once however many samples it is given, and replies that have ended leave the batch: 200 replies of
the default base take as long as some 60 by `generate` of transformers.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Speaks(Protocol):
    """What generates."""

    @property
    def causal(self) -> Any:
        """transformers' model for text, in evaluation mode."""

    @property
    def device(self) -> Any: ...

    @property
    def end(self) -> int:
        """The token that ends a reply."""


ROWS = 64
"""Replies that are made at the same time: more rows cost memory and no longer give speed."""


def replies(
    loaded: Speaks,
    prompts: Sequence[Sequence[int]],
    samples: int,
    *,
    temperature: float,
    most: int = 48,
    seed: int = 0,
    told: Callable[[int], None] = lambda done: None,
    goes_on: Callable[[], bool] = lambda: True,
) -> list[list[list[int]]]:
    """For each prompt so many replies, as tokens without the end, at most `most` of them.

    Temperature 0 = the likeliest token each time; one reply is then enough. `told` hears how many replies are done,
    those of a running batch by what is done of them. Before each token `goes_on` is asked; when it says no, the replies
    of that batch end there.
    """
    found: list[list[list[int]]] = [[] for _ in prompts]
    rows = max(1, ROWS // samples)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        # Seeded by the batch: a part that is done again gives the same, whatever was done before.
        some = [prompts[index] for index in chosen]
        made = _batch(loaded, some, samples, temperature, most, seed + start, _within(told, start * samples), goes_on)
        for index, each in zip(chosen, made, strict=True):
            found[index] = each
        told(min(start + rows, len(order)) * samples)
    return found


def _within(told: Callable[[int], None], before: int) -> Callable[[int], None]:
    return lambda done: told(before + done)


def _batch(
    loaded: Speaks,
    prompts: Sequence[Sequence[int]],
    samples: int,
    temperature: float,
    most: int,
    seed: int,
    told: Callable[[int], None],
    goes_on: Callable[[], bool],
) -> list[list[list[int]]]:
    import torch
    from transformers import DynamicCache

    device, end = loaded.device, loaded.end
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), end, dtype=torch.long)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, each in enumerate(prompts):  # on the left, so that all go on at the same place
        ids[row, width - len(each) :] = torch.tensor(list(each))
        mask[row, width - len(each) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    chance = torch.Generator(device=device).manual_seed(seed)
    cache = DynamicCache(config=loaded.causal.config)
    names = inspect.signature(type(loaded.causal).forward).parameters
    kept_as = "cache" if "cache" in names else "past_key_values"  # renamed in transformers 5.2x
    out: list[list[int]] = [[] for _ in range(len(prompts) * samples)]
    live = list(range(len(out)))

    def ask(tokens: Any, positions: Any) -> Any:
        said = {kept_as: cache, "attention_mask": mask, "position_ids": positions, "logits_to_keep": 1}
        return loaded.causal(input_ids=tokens, use_cache=True, **said).logits[:, -1].float()

    with torch.inference_mode():
        logits = ask(ids, (mask.cumsum(-1) - 1).clamp(min=0))
        if samples > 1:
            cache.batch_repeat_interleave(samples)
            mask, logits = mask.repeat_interleave(samples, 0), logits.repeat_interleave(samples, 0)
        for step in range(most):
            if temperature > 0:
                chosen = torch.multinomial((logits / temperature).softmax(-1), 1, generator=chance)
            else:
                chosen = logits.argmax(-1, keepdim=True)
            said = chosen[:, 0].tolist()
            kept = [row for row, token in enumerate(said) if token != end]
            for row in kept:
                out[live[row]].append(said[row])
            told(len(out) - len(kept) + len(kept) * (step + 1) // most)
            if not kept or step == most - 1 or not goes_on():
                break
            if len(kept) < len(live):
                select = torch.tensor(kept, device=device)
                cache.batch_select_indices(select)
                mask, chosen = mask[select], chosen[select]
                live = [live[row] for row in kept]
            mask = torch.cat([mask, mask.new_ones((len(live), 1))], dim=1)
            logits = ask(chosen, mask.sum(-1, keepdim=True) - 1)
    return [out[row : row + samples] for row in range(0, len(out), samples)]
