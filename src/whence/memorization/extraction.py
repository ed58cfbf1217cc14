"""Probability of extraction: how many samples it takes until one reproduces the continuation.

Greedy decoding answers yes or no for one query. Sampling gives the continuation z with a
probability p_z, and at least one of n independent samples gives it with

    P(n) = 1 - (1 - p_z)^n,

so that z is (n, p)-discoverably extractable if P(n) >= p, that is, if

    n >= log(1 - p) / log(1 - p_z).

No sampling is needed: p_z is the product of the probabilities that the sampling scheme gives to the
true tokens, each after the true ones before it, from one forward pass.

Source:
    Hayes et al., "Measuring memorization in language models via probabilistic extraction", NAACL
    2025 (arXiv 2410.19482): the definition of (n, p)-discoverable extraction. Only verbatim
    continuations are counted here, and the schemes are temperature and top-k.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from whence.errors import SettingsError
from whence.memorization.windows import Windows
from whence.models.forward import batches_by_length, check_finite, company, evaluating, logits
from whence.models.network import pad
from whence.progress import SILENT, Progress
from whence.records import LoadedModel
from whence.statistics import Estimate, proportion

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

_TOKEN_BATCH_SIZE = 2048
# A quotient of logarithms is a whole number up to rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled: logits divided by the temperature, of the k largest ones.

    A token as likely as the k-th is among them, as in Hugging Face's `generate`.

    Example:
        >>> str(Sampling(temperature=0.8, top_k=40))
        'temperature 0.8, top 40'
    """

    temperature: float = 1.0
    top_k: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf or (self.top_k is not None and self.top_k < 1):
            raise SettingsError(
                f"There is no sampling at a temperature of {self.temperature} from the "
                f"{self.top_k} likeliest tokens.",
                "Choose a temperature above 0 and at least 1 token; greedy decoding is top-k of 1.",
            )

    def __str__(self) -> str:
        kept = "all tokens" if self.top_k is None else f"top {self.top_k}"
        return f"temperature {self.temperature:g}, {kept}"


def sampled_log_probs(
    model: LoadedModel, windows: Windows, sampling: Sampling, *, progress: Progress = SILENT
) -> "Float[np.ndarray, ' windows']":
    """Computes with which probability one sample is the whole continuation.

    Args:
        model: The model.
        windows: Their prompts are given.
        sampling: The scheme.
        progress: Reports progress, in windows.

    Returns:
        Log-probabilities in nats, at most 0; minus infinity where a token of the continuation is
        not among the k likeliest, so that it is never sampled.

    Raises:
        ModelError: The model gives values that are not finite.

    Cost:
        One forward pass over the windows.
    """
    import torch

    width, first = windows.tokens.shape[1], windows.num_prompt_tokens - 1
    found = np.empty(len(windows))
    batches = batches_by_length(
        [width] * len(windows), token_batch_size=_TOKEN_BATCH_SIZE, company=company(model)
    )
    with (
        progress.task("Sample the windows", total=len(windows), unit="windows") as task,
        evaluating(model.model),
        torch.no_grad(),
    ):
        for rows in batches:
            tokens = windows.tokens[rows].tolist()
            ids = pad(tokens).input_ids.to(model.model.device)
            positions = torch.arange(first, width - 1, device=ids.device)
            values = logits(model.model, ids, positions=positions).float() / sampling.temperature
            targets = ids[:, first + 1 :, None]
            log_probs = _chosen(values, targets, sampling.top_k)
            names = [windows.ids[row] for row in rows]
            check_finite(values.logsumexp(dim=(-2, -1)), names=names, model=model)
            found[rows] = log_probs.sum(dim=1).double().clamp(max=0.0).cpu().numpy()
            task.advance(len(rows))
    return found


def _chosen(
    values: "Float[Tensor, 'rows tokens vocabulary']",
    targets: "Tensor",
    top_k: int | None,
) -> "Float[Tensor, 'rows tokens']":
    """The log-probability of each target among the k largest logits."""
    own = values.gather(2, targets)[..., 0]
    if top_k is None or top_k >= values.shape[2]:
        return own - values.logsumexp(dim=2)
    least = values.topk(top_k, dim=2).values[..., -1:]
    kept = values.masked_fill(values < least, -math.inf)
    return (own - kept.logsumexp(dim=2)).masked_fill(own < least[..., 0], -math.inf)


def extraction_probability(
    log_probs_nats: "Float[np.ndarray, ' windows']", num_samples: int
) -> "Float[np.ndarray, ' windows']":
    """Computes the probability that at least one of some samples is the continuation.

    Args:
        log_probs_nats: Of one sample; see `sampled_log_probs`.
        num_samples: n.

    Returns:
        In [0, 1].

    Raises:
        SettingsError: There is no sample.

    Example:
        >>> extraction_probability(np.log([0.5]), 2).tolist()
        [0.75]
    """
    if num_samples < 1:
        raise SettingsError(f"{num_samples} samples extract nothing.", "Take at least 1.")
    with np.errstate(divide="ignore"):
        return -np.expm1(num_samples * np.log1p(-np.exp(log_probs_nats)))


def samples_needed(
    log_probs_nats: "Float[np.ndarray, ' windows']", probability: float
) -> "Float[np.ndarray, ' windows']":
    """Computes how many samples give the continuation at least once with some probability.

    Args:
        log_probs_nats: Of one sample; see `sampled_log_probs`.
        probability: p.

    Returns:
        The least n, at least 1, as a float because it may be astronomic; infinite where the
        continuation is never sampled, or less often than once in 10³⁰⁷ samples.

    Raises:
        SettingsError: The probability is not between 0 and 1.

    Example:
        >>> samples_needed(np.log([0.5, 0.01]), 0.9).tolist()
        [4.0, 230.0]
    """
    if not 0 < probability < 1:
        raise SettingsError(
            f"No number of samples is right for a probability of {probability}.",
            "Choose one between 0 and 1, such as .5 or .9.",
        )
    with np.errstate(divide="ignore"):
        quotient = math.log1p(-probability) / np.log1p(-np.exp(log_probs_nats))
        return np.maximum(1.0, np.ceil(quotient * (1 - _ROUNDING)))


def extractible_share(
    log_probs_nats: "Float[np.ndarray, ' windows']", *, num_samples: int, probability: float
) -> Estimate:
    """Computes the share of windows that are (n, p)-discoverably extractable.

    Returns:
        The share, with Wilson's interval.

    Raises:
        SettingsError: There is no sample, or the probability is not between 0 and 1.
    """
    needed = samples_needed(log_probs_nats, probability)
    if num_samples < 1:
        raise SettingsError(f"{num_samples} samples extract nothing.", "Take at least 1.")
    return proportion(int((needed <= num_samples).sum()), len(needed))
