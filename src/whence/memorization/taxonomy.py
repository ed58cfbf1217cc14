"""Recitation, reconstruction, recollection: what kind of memorization a window is.

The cascade of Prashanth et al.; the first that fits is the kind:

    recitation       the corpus holds the continuation often
    reconstruction   the window counts (1, 2, 3 …) or repeats itself, so that it can be continued
                     without having been seen
    recollection     neither

How often is often is the threshold's choice, and published work has chosen two: more than 5 (Eichin
et al., and the default of the taxonomy's command line) and at least 10 (the default of its
function). Both are computed beside any other.

Source:
    Prashanth et al., "Recite, Reconstruct, Recollect: Memorization in LMs as a Multifaceted
    Phenomenon", arXiv 2406.17746. Different here: counting and repeating are decided by
    `evidence.templates`; copies are those of the corpus that was searched, which may be a part of
    the training data, so that "recollection" may only mean that the copies were not searched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from whence.errors import SettingsError
from whence.evidence.templates import is_incrementing, is_repeating
from whence.memorization.windows import Windows
from whence.statistics import Estimate, mean_estimate, proportion

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from transformers import PreTrainedTokenizerBase

    from whence.corpus.search import TokenSearch

MemorizationKind = Literal["recitation", "reconstruction", "recollection"]
KINDS: tuple[MemorizationKind, ...] = get_args(MemorizationKind)
# "More than 5" and "at least 10" copies, as the least number of them.
MORE_THAN_5, AT_LEAST_10 = 6, 10
PUBLISHED = (MORE_THAN_5, AT_LEAST_10)


class Forms(NamedTuple):
    """Which windows can be continued by a rule: they count, or repeat themselves."""

    is_incrementing: "Bool[np.ndarray, ' windows']"
    is_repeating: "Bool[np.ndarray, ' windows']"


class KindShare(NamedTuple):
    """How many windows are of one kind, at one threshold.

    Attributes:
        kind: The kind.
        num_windows: Windows of it.
        share: Their share of all windows; the interval is that of a mean over families.
        num_families: Families of which most windows are of it; of a tie, the earlier kind's.
        family_share: The share of such families, with Wilson's interval.
    """

    kind: MemorizationKind
    num_windows: int
    share: Estimate
    num_families: int
    family_share: Estimate


@dataclass(frozen=True)
class Taxonomy:
    """The kind of each window at several thresholds.

    Attributes:
        num_copies: Occurrences of the continuation in the corpus, the window's own among them.
        forms: Which windows count or repeat themselves.
        kinds: From a threshold (the least number of copies of a recitation) to the place in `KINDS`
            of each window.
    """

    num_copies: "Int[np.ndarray, ' windows']"
    forms: Forms
    kinds: "dict[int, Int[np.ndarray, ' windows']]"

    @property
    def num_undecided(self) -> int:
        """Windows whose kind is another one at another of the thresholds."""
        every = np.array(list(self.kinds.values()))
        return int((every != every[0]).any(axis=0).sum())

    def shares(
        self, threshold: int, families: "Sequence[int] | Int[np.ndarray, ' windows']"
    ) -> tuple[KindShare, ...]:
        """Counts the windows of each kind, and the families.

        Args:
            threshold: One of those of `kinds`.
            families: The family of each window, by any name.

        Raises:
            SettingsError: The threshold is another one, or there is no window.
        """
        if threshold not in self.kinds:
            raise SettingsError(
                f"The taxonomy was not made for a threshold of {threshold} copies.",
                f"Choose one of {', '.join(map(str, self.kinds))}.",
            )
        kinds = self.kinds[threshold]
        if not len(kinds):
            raise SettingsError("There is no window to classify.", "Name other sequences.")
        names = [str(family) for family in np.asarray(families).tolist()]
        own = _families_kinds(kinds, names)
        return tuple(
            KindShare(
                kind,
                int((kinds == place).sum()),
                mean_estimate((kinds == place).tolist(), families=names, bounds=(0, 1)),
                own.count(place),
                proportion(own.count(place), len(own)),
            )
            for place, kind in enumerate(KINDS)
        )


def taxonomy(
    num_copies: "Sequence[int] | Int[np.ndarray, ' windows']",
    forms: Forms,
    *,
    threshold: int = MORE_THAN_5,
) -> Taxonomy:
    """Classifies windows at a threshold, and at both published ones.

    Args:
        num_copies: Occurrences of each continuation, its own among them; see `count_copies`.
        forms: Which windows count or repeat themselves; see `find_forms`.
        threshold: A recitation has at least so many.

    Raises:
        SettingsError: The threshold is below 2: every window has one copy, itself.
    """
    if threshold < 2:
        raise SettingsError(
            f"A threshold of {threshold} copies makes a recitation of everything that occurs once.",
            "Choose at least 2.",
        )
    counts = np.asarray(num_copies, dtype=np.int64)
    is_template = forms.is_incrementing | forms.is_repeating
    assert len(counts) == len(is_template)
    thresholds = sorted({threshold, *PUBLISHED})
    kinds = {
        least: np.where(counts >= least, 0, np.where(is_template, 1, 2)) for least in thresholds
    }
    return Taxonomy(counts, forms, kinds)


def count_copies(windows: Windows, search: "TokenSearch") -> "Int[np.ndarray, ' windows']":
    """Counts how often each window's continuation occurs in a corpus, in any context."""
    known: dict[bytes, int] = {}
    for tokens in windows.continuations:
        key = tokens.tobytes()
        if key not in known:
            known[key] = search.count(tokens.tolist())
    return np.array([known[tokens.tobytes()] for tokens in windows.continuations], dtype=np.int64)


def find_forms(windows: Windows, tokenizer: "PreTrainedTokenizerBase") -> Forms:
    """Finds out which windows count, by the numbers in their text, or repeat their tokens."""
    texts = [
        str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
        for ids in windows.tokens.tolist()
    ]
    return Forms(
        np.array([is_incrementing(text) for text in texts], dtype=bool),
        np.array([is_repeating(ids) for ids in windows.tokens.tolist()], dtype=bool),
    )


def _families_kinds(kinds: "Int[np.ndarray, ' windows']", families: Sequence[str]) -> list[int]:
    """The place of the most frequent kind of each family; of equally frequent ones, the first."""
    order = {name: place for place, name in enumerate(dict.fromkeys(families))}
    cells = np.array([order[name] for name in families]) * len(KINDS) + kinds
    counts = np.bincount(cells, minlength=len(order) * len(KINDS))
    return counts.reshape(-1, len(KINDS)).argmax(axis=1).tolist()
