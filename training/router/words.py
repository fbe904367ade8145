"""Distils MiniLM's vocabulary into short vectors of whole words, once: python training/router/words.py GGUF.

Writes data/words.npz, which `train.py` reads, so that training needs neither torch nor the weights of MiniLM.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
WIDTH = 64


def distil(words: list[str], vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Words and their vectors, int8, of the WIDTH directions that vary most; a rare word's vector is longer.

    The vocabulary is ordered by how common a word is, so its place says how much the word tells.
    """
    centred = vectors.astype(np.float32) - vectors.mean(0, dtype=np.float32)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    short = centred @ directions[:WIDTH].T * np.log(2 + np.arange(len(words), dtype=np.float32))[:, None]
    scale = np.quantile(np.abs(short), 0.9995) / 127
    coded = np.clip(np.rint(short / scale), -127, 127).astype(np.int8)
    return {"words": np.frombuffer("\n".join(words).encode(), np.uint8), "vectors": coded}


def main() -> None:
    import torch
    from minilm import MiniLM

    torch.set_num_threads(1)
    model = MiniLM(Path(sys.argv[1]))
    words = [t for t in model.vocab if t.isalpha() and (t.isascii() or len(t) > 1)]
    np.savez_compressed(HERE / "data" / "words.npz", **distil(words, model.embed(words)))


if __name__ == "__main__":
    main()
