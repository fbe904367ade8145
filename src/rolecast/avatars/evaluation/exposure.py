"""Exposure of a secret among a grid of its like: the arithmetic, and the tree that makes it affordable.

Carlini et al., "The Secret Sharer" (2019): log2 of the number of candidates less log2 of the secret's rank among them,
by the log-likelihood of the reply given its question. A model that learnt nothing of the choice gives 1.44 bits in the
mean (log2 N less the mean of log2 of a uniform rank), whatever it thinks of the words; 9.97 is most for N = 1,000.

Candidates share beginnings. Written as a tree of tokens, a grid of 1,000 is some 200 tokens behind one prompt: one
forward pass, in which each token sees its own ancestors only.
"""

import math
from collections.abc import Sequence

import msgspec

from rolecast.avatars.evaluation.canaries import Canary
from rolecast.avatars.evaluation.loaded import Loaded


def exposure(scores: Sequence[float], position: int) -> float:
    """Bits of exposure of the candidate at `position`; the higher the score, the likelier. Ties are shared.

    A score that is no number ranks the secret first: a broken model is not one that keeps secrets.
    """
    own = scores[position]
    if math.isnan(own):
        return math.log2(len(scores))
    above = sum(1 for each in scores if each > own)
    equal = sum(1 for each in scores if each == own)
    return math.log2(len(scores)) - math.log2(above + (equal + 1) / 2)


class Tree(msgspec.Struct, frozen=True):
    """Sequences of tokens with shared beginnings, as nodes in an order in which parents come first.

    Node i is token `tokens[i]` after node `parents[i]` (-1 = after the prompt), `depths[i]` tokens behind the prompt
    (0 = right behind it). `ends[j]` is the node that sequence j ends with. `fed` are the nodes that have children:
    the others are only predicted.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    ends: tuple[int, ...]
    fed: tuple[int, ...]


def tree(sequences: Sequence[Sequence[int]]) -> Tree:
    """The tree of these sequences, none of which is empty."""
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    known: dict[tuple[int, int], int] = {}
    for sequence in sequences:
        node = -1
        for token in sequence:
            found = known.get((node, token))
            if found is None:
                found = known[node, token] = len(tokens)
                tokens.append(token)
                parents.append(node)
                depths.append(depths[node] + 1 if node >= 0 else 0)
            node = found
        ends.append(node)
    return Tree(tuple(tokens), tuple(parents), tuple(depths), tuple(ends), tuple(sorted({*parents} - {-1})))


def of(loaded: Loaded, canary: Canary) -> float:
    """Bits of exposure of one secret."""
    grown = tree(loaded.replies(list(canary.replies())))
    return exposure(loaded.tree(loaded.prompt(canary.asked), grown), canary.position)
