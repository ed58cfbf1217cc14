"""Families of exact and near copies of random passages, among unrelated ones."""

import numpy as np
from tests.methods.conftest import corpus_of

from whence.memorization.copies import CLASSES, Copies
from whence.memorization.windows import Windows

NUM_FAMILIES, NUM_EXACT, NUM_NEAR, LENGTH = 7, 5, 4, 16


class World:
    """Families of 5 exact and 4 near copies of a passage among unrelated ones, all shuffled."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        sequences, owners = [], []
        for family in range(NUM_FAMILIES):
            passage = rng.integers(2, 80, LENGTH)
            for kind in ["exact"] * NUM_EXACT + ["near"] * NUM_NEAR:
                made = passage.copy()
                if kind == "near":
                    made[rng.integers(0, LENGTH, 2)] = rng.integers(2, 80, 2)
                sequences.append(made.tolist())
                owners.append((family, kind))
        for length in rng.integers(10, 22, 320):
            sequences.append(rng.integers(2, 80, length).tolist())
            owners.append((-1, "rest"))
        shuffled = rng.permutation(len(sequences)).tolist()
        self.owners = [owners[i] for i in shuffled]
        self.corpus = corpus_of([sequences[i] for i in shuffled], [f"d{i}" for i in shuffled])
        own = [self.owners.index((family, "exact")) for family in range(NUM_FAMILIES)]
        self.windows = Windows(
            tuple(f"w{family}" for family in range(NUM_FAMILIES)),
            np.array([self.corpus.input_ids(row) for row in own]),
            8,
            np.array(own),
            np.zeros(NUM_FAMILIES, dtype=np.int64),
        )
        pairs = [
            (family, row, "self" if row == own[family] else kind)
            for row, (family, kind) in enumerate(self.owners)
            if family >= 0
        ]
        self.copies = copies_of(NUM_FAMILIES, pairs)
        self.targets = {f"family {family}": family for family in range(NUM_FAMILIES)}


def copies_of(num_windows: int, pairs: list[tuple[int, int, str]]) -> Copies:
    pairs = sorted(pairs)
    return Copies(
        num_windows,
        np.array([w for w, _, _ in pairs]),
        np.array([r for _, r, _ in pairs]),
        np.array([CLASSES.index(c) for _, _, c in pairs]),
        np.ones(len(pairs)),
        np.array([r for _, r, _ in pairs]),
    )
