"""Prior-aware check: is a continuation bound to its prompt, or is it common text?

A model that never saw a window may complete it as well: a licence's next line, a count, a closing
bracket. Such a window is extractible, but says little of what was memorized. Three measures tell:

    association   log p(z | own prompt) - log mean over other prompts u of p(z | u), in nats: by how
                  much the own prompt makes the continuation z likelier than unrelated prompts do
    reference     a model that did not train on it (an earlier checkpoint, another model) completes
                  it, too
    bigram prior  log p(z) under bigrams of the corpus, without the documents that copy it

None of them is counterfactual: that needs models trained with and without the window.

Source:
    The idea, whether a suffix belongs to its prefix or is likely after many unrelated prompts, is
    that of Tiwari, Trachtenberg and Suh, "Prior Aware Memorization: An Efficient Metric for
    Distinguishing Memorization from Generalization in Large Language Models", arXiv 2602.18733
    (2026), of which the abstract was read. Estimator, threshold and the two other measures are our
    own. Counterfactual memorization is that of Zhang et al., NeurIPS 2023.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from whence.errors import SettingsError
from whence.memorization.reverification import Reverification, reverify
from whence.memorization.scan import Scan, scan
from whence.memorization.windows import Windows
from whence.models.forward import token_log_probs
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel
from whence.statistics import Estimate, mean_estimate

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

# The own prompt has to make the continuation at least ten times as likely.
ASSOCIATED_NATS = math.log(10)
_NUM_PROMPTS = 16
_BIGRAM_WEIGHT = 0.5
# Two token ids in one number.
_SHIFT = 31


@dataclass(frozen=True)
class PriorCheck:
    """How likely continuations are without their prompt, and without having been trained on.

    Attributes:
        ids: The windows'.
        own_nats: Log-probability of the continuation after its own prompt.
        unrelated_nats: Log of its mean probability after prompts of other families.
        num_prompts: Such prompts per window.
        reference: How a model that did not train on the windows continues them; None where none is
            named.
        reference_nats: Its log-probability of the continuation; None with the former.
        bigram_nats: Log-probability under the corpus's bigrams; None where no corpus was given.
    """

    ids: tuple[str, ...]
    own_nats: "Float[np.ndarray, ' windows']"
    unrelated_nats: "Float[np.ndarray, ' windows']"
    num_prompts: int
    reference: Reverification | None = None
    reference_nats: "Float[np.ndarray, ' windows'] | None" = None
    bigram_nats: "Float[np.ndarray, ' windows'] | None" = None

    @property
    def association_nats(self) -> "Float[np.ndarray, ' windows']":
        """By how much the own prompt makes the continuation likelier than unrelated ones do.

        An estimate from few prompts: the mean is that of its largest terms.
        """
        return self.own_nats - self.unrelated_nats

    def is_common(self, least_nats: float = ASSOCIATED_NATS) -> "Bool[np.ndarray, ' windows']":
        """Whether a continuation is common text, or completed by a model without it.

        Args:
            least_nats: A continuation with a smaller association is common.
        """
        common = self.association_nats < least_nats
        return common if self.reference is None else common | self.reference.is_reproduced

    def share_of_common(
        self, families: Sequence[object], *, least_nats: float = ASSOCIATED_NATS
    ) -> Estimate:
        """The share of windows that are common, with a 95 % interval over their families.

        Args:
            families: Of each window: those of one licence are common or not together.
            least_nats: See `is_common`.
        """
        names = [str(family) for family in families]
        return mean_estimate(self.is_common(least_nats).tolist(), families=names, bounds=(0, 1))


def check_prior(
    model: LoadedModel,
    windows: Windows,
    families: "Sequence[int] | Int[np.ndarray, ' windows']",
    *,
    reference: LoadedModel | None = None,
    bigrams: "BigramPrior | None" = None,
    copies: Sequence[Collection[int]] | None = None,
    num_prompts: int = _NUM_PROMPTS,
    seed: int = 0,
    progress: Progress = SILENT,
) -> PriorCheck:
    """Measures how likely continuations are without their prompt, and without training on them.

    Args:
        model: The model that reproduces the windows.
        windows: What to check.
        families: Of each window: prompts of other families only are unrelated.
        reference: A model that did not train on them.
        bigrams: Of the corpus.
        copies: For each window, rows of the corpus that are left out of its bigrams, because they
            copy it; none by default.
        num_prompts: Unrelated prompts per window, drawn without replacement.
        seed: Of these prompts.
        progress: Reports progress, in windows.

    Raises:
        SettingsError: A window has no prompt of another family, or no prompt is to be drawn.
        ModelError: A model gives values that are not finite, or knows fewer tokens.

    Cost:
        A forward pass over the windows for each unrelated prompt.
    """
    names = np.asarray(families)
    if num_prompts < 1 or len(np.unique(names)) < 2:
        raise SettingsError(
            f"{num_prompts} prompts of {len(np.unique(names))} families are not unrelated to every "
            "window.",
            "Draw at least 1 prompt, and give windows of at least 2 families.",
        )
    own = scan(model, windows, step=-1, progress=progress)
    unrelated, fewest = _unrelated(model, windows, names, num_prompts, seed, progress)
    other = None if reference is None else reverify(reference, windows, progress=progress)
    return PriorCheck(
        windows.ids,
        _sums(own),
        unrelated,
        fewest,
        other,
        None if other is None else _sums(other.scan),
        None if bigrams is None else _bigram_nats(bigrams, windows, copies),
    )


class BigramPrior:
    """Probabilities of tokens from the bigrams of a corpus, some documents left out.

    p(w | v) = 1/2 · c(v w) / c(v) + 1/2 · (c(w) + 1) / (N + V), with counts c of N tokens of V - 1
    different ids; where v is not followed by anything, the second term alone.

    Args:
        corpus: The examples.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        documents = [np.asarray(corpus.input_ids(row), np.int64) for row in range(len(corpus))]
        tokens = np.concatenate([np.zeros(0, np.int64), *documents])
        self._counts = _Counts(tokens, _pairs(documents))
        self._num_ids = len(np.unique(tokens)) + 1

    def log_prob(self, tokens: Sequence[int], first: int, without: Collection[int] = ()) -> float:
        """Computes the log-probability of some tokens, in nats.

        Args:
            tokens: A sequence.
            first: The first token whose probability counts, at least 1.
            without: Rows of the corpus that are not counted.
        """
        left_out = [np.asarray(self._corpus.input_ids(row), np.int64) for row in sorted(without)]
        part = _Counts(np.concatenate([np.zeros(0, np.int64), *left_out]), _pairs(left_out))
        previous = np.asarray(tokens[first - 1 : -1], np.int64)
        targets = np.asarray(tokens[first:], np.int64)
        pairs = self._counts.of_pairs(previous, targets) - part.of_pairs(previous, targets)
        follow = self._counts.of_first(previous) - part.of_first(previous)
        single = self._counts.of_tokens(targets) - part.of_tokens(targets)
        total = self._counts.num_tokens - part.num_tokens
        unigram = (single + 1) / (total + self._num_ids)
        mixed = _BIGRAM_WEIGHT * pairs / np.maximum(follow, 1) + (1 - _BIGRAM_WEIGHT) * unigram
        return float(np.log(np.where(follow > 0, mixed, unigram)).sum())


class _Counts:
    """Counts of tokens and of pairs of them."""

    def __init__(self, tokens: np.ndarray, pairs: np.ndarray) -> None:
        self.num_tokens = len(tokens)
        self._tokens = np.sort(tokens)
        self._pairs = np.sort(pairs)

    def of_tokens(self, tokens: np.ndarray) -> np.ndarray:
        return _count(self._tokens, tokens, tokens)

    def of_pairs(self, previous: np.ndarray, targets: np.ndarray) -> np.ndarray:
        keys = previous << _SHIFT | targets
        return _count(self._pairs, keys, keys)

    def of_first(self, previous: np.ndarray) -> np.ndarray:
        """How often each token is followed by some other one."""
        return _count(self._pairs, previous << _SHIFT, (previous + 1 << _SHIFT) - 1)


def _count(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Counts the sorted values from low to high, both included."""
    return np.searchsorted(values, high, side="right") - np.searchsorted(values, low)


def _pairs(documents: list[np.ndarray]) -> np.ndarray:
    keys = [document[:-1] << _SHIFT | document[1:] for document in documents]
    return np.concatenate([np.zeros(0, np.int64), *keys])


def _sums(found: Scan) -> np.ndarray:
    return found.log_probs_nats.sum(axis=1, dtype=np.float64)


def _unrelated(
    model: LoadedModel,
    windows: Windows,
    families: np.ndarray,
    num_prompts: int,
    seed: int,
    progress: Progress,
) -> tuple[np.ndarray, int]:
    """The log of each continuation's mean probability after drawn prompts of other families."""
    rng = np.random.default_rng(seed)
    first, fewest = windows.num_prompt_tokens, num_prompts
    found = np.empty(len(windows))
    with progress.task("Unrelated prompts", total=len(windows), unit="windows") as task:
        for place in range(len(windows)):
            others = np.flatnonzero(families != families[place])
            drawn = rng.choice(others, min(num_prompts, len(others)), replace=False)
            fewest = min(fewest, len(drawn))
            ends = np.tile(windows.continuations[place], (len(drawn), 1))
            sequences = np.concatenate([windows.tokens[drawn, :first], ends], axis=1).tolist()
            measured = token_log_probs(model, sequences, [first] * len(sequences))
            sums = np.array([float(one.log_probs_nats.double().sum()) for one in measured])
            # The mean of probabilities, of which the largest alone may be above underflow.
            found[place] = sums.max() + np.log(np.exp(sums - sums.max()).mean())
            task.advance()
    return found, fewest


def _bigram_nats(
    bigrams: BigramPrior, windows: Windows, copies: Sequence[Collection[int]] | None
) -> np.ndarray:
    left_out: Sequence[Collection[int]] = copies or [()] * len(windows)
    return np.array(
        [
            bigrams.log_prob(ids, windows.num_prompt_tokens, rows)
            for ids, rows in zip(windows.tokens.tolist(), left_out, strict=True)
        ]
    )
