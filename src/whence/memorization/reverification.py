"""Re-verification: does this model, here, still reproduce what a list says that it memorized?

Published labels were measured with other code, in half precision and on other hardware. Where two
tokens are almost equally likely, that decides: 10 to 20 % of Pythia's published rows do not
re-verify elsewhere, most of them by a few tokens. So each window is decoded again, from its prompt
alone; what misses by little is kept apart, with all measures, and not thrown away.

Source:
    k-extractible sequences, with 32 tokens of each part: Biderman et al., "Emergent and Predictable
    Memorization in Large Language Models", NeurIPS 2023. The share that fails elsewhere is that of
    Eichin et al. for Pythia.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whence.memorization.scan import Scan, scan
from whence.memorization.windows import Windows
from whence.models.forward import batches_by_length, company, continue_prompts
from whence.progress import SILENT, Progress
from whence.records import LoadedModel
from whence.statistics import Estimate, mean_estimate, proportion

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Tensor

# Of 32 tokens: in seven of eight the continuation is there.
NEAR_MISS = 0.875
_MAX_PROMPTS = 64
_TOKEN_BATCH_SIZE = 4096


class NearMiss(NamedTuple):
    """A window that is not reproduced, but almost.

    Attributes:
        id: The window's.
        num_matching: Tokens of the greedy continuation that are right, each at its place.
        num_right: Tokens that are the likeliest ones after the true ones before.
        first_error: How many tokens are right before the first wrong one.
        loss_nats: Mean cross-entropy per token of the true continuation.
    """

    id: str
    num_matching: int
    num_right: int
    first_error: int
    loss_nats: float


@dataclass(frozen=True)
class Reverification:
    """How a model continues windows that a list says it memorized.

    Attributes:
        ids: The windows'.
        scan: Given the true tokens before each (teacher-forced).
        matches: Given its own tokens (free-running): whether each token of the greedy continuation
            is the true one at its place.
    """

    ids: tuple[str, ...]
    scan: Scan
    matches: "Bool[np.ndarray, 'windows completion']"

    @cached_property
    def is_reproduced(self) -> "Bool[np.ndarray, ' windows']":
        """Whether greedy decoding from the prompt gives the whole continuation."""
        return np.asarray(self.matches.all(axis=1))

    @cached_property
    def num_matching(self) -> "Int[np.ndarray, ' windows']":
        """Tokens of the greedy continuation that are right, each at its place."""
        return self.matches.sum(axis=1)

    @cached_property
    def first_error(self) -> "Int[np.ndarray, ' windows']":
        """How many tokens greedy decoding gives before its first error; all where it makes none."""
        return np.where(self.is_reproduced, self.matches.shape[1], self.matches.argmin(axis=1))

    @cached_property
    def num_disagreements(self) -> int:
        """Windows whose first error differs between decoding and the teacher-forced pass.

        There are none but for ties and for rounding, which differs between the two computations.
        """
        return int((self.first_error != self.scan.first_error).sum())

    def share(self) -> Estimate:
        """The share of windows that re-verify, with Wilson's interval over windows."""
        return proportion(int(self.is_reproduced.sum()), len(self.ids))

    def share_of_families(self, families: "Sequence[int] | Int[np.ndarray, ' w']") -> Estimate:
        """The same share, with an interval over families, which alone are independent."""
        names = [str(family) for family in np.asarray(families).tolist()]
        return mean_estimate(self.is_reproduced.tolist(), families=names, bounds=(0, 1))

    def near_misses(self, least: float = NEAR_MISS) -> tuple[NearMiss, ...]:
        """Lists the windows that are not reproduced, but almost.

        Args:
            least: The share of tokens that is right, given the true ones before.
        """
        is_near = ~self.is_reproduced & (self.scan.is_right.mean(axis=1) >= least)
        return tuple(
            NearMiss(
                self.ids[place],
                int(self.num_matching[place]),
                int(self.scan.num_right[place]),
                int(self.first_error[place]),
                -float(self.scan.mean_log_prob_nats[place]),
            )
            for place in np.flatnonzero(is_near).tolist()
        )

    def sentence(self) -> str:
        """Says how many windows re-verify."""
        share, near = self.share(), self.near_misses()
        if share.value is None or share.interval is None:
            return "There is no window to verify."
        low, high, _ = share.interval
        return (
            f"{int(self.is_reproduced.sum()):,} of {len(self.ids):,} windows re-verify "
            f"({share.value:.1%} [{low:.1%}, {high:.1%}]); {len(near):,} others have at least "
            f"{NEAR_MISS:.1%} of their tokens right, given the true ones before."
        )


def reverify(
    model: LoadedModel, windows: Windows, *, step: int = -1, progress: Progress = SILENT
) -> Reverification:
    """Decodes windows from their prompts, and scans them.

    Args:
        model: The model that, by the list, memorized them.
        windows: Published ones, see `read_sequences`.
        step: The model's training step, which is only noted.
        progress: Reports progress, in windows.

    Raises:
        ModelError: The model gives values that are not finite, or knows fewer tokens.

    Cost:
        A forward pass over the windows, and a decoding step for each token of the continuations.
    """
    found = scan(model, windows, step=step, progress=progress)
    decoded = _decode(model, windows, progress)
    return Reverification(windows.ids, found, decoded == windows.continuations)


def _decode(
    model: LoadedModel, windows: Windows, progress: Progress
) -> "Int[np.ndarray, 'windows completion']":
    """Continues every prompt greedily."""
    decoded = np.zeros((len(windows), windows.num_completion_tokens), dtype=np.int64)
    batches = batches_by_length(
        [windows.tokens.shape[1]] * len(windows),
        token_batch_size=_TOKEN_BATCH_SIZE,
        max_sequences=_MAX_PROMPTS,
        company=company(model),
    )
    with progress.task("Continue the prompts", total=len(windows), unit="windows") as task:
        for rows in batches:
            decoded[rows] = continue_prompts(
                model,
                windows.tokens[rows, : windows.num_prompt_tokens].tolist(),
                num_tokens=windows.num_completion_tokens,
                num_copies=1,
                choose=_likeliest,
                names=[windows.ids[row] for row in rows],
            )
            task.advance(len(rows))
    return decoded


def _likeliest(step: int, found: "Tensor") -> "Tensor":
    return found.argmax(dim=-1)
