"""Scan of windows for memorization: one teacher-forced pass at each checkpoint, without decoding.

Greedy decoding from the prompt gives all tokens of the continuation if and only if each of them is
the likeliest token after the true ones before it; and its first error is at the first token that is
not. So one forward pass over prompt and continuation decides what would take one decoding step per
token.

Source:
    k-extractible sequences, with 32 tokens of each part: Biderman et al., "Emergent and Predictable
    Memorization in Large Language Models", NeurIPS 2023.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whence.artifacts import progress_directory, write_json
from whence.artifacts.stage import Stage
from whence.behaviors.measure import check_ids
from whence.errors import CorpusError
from whence.memorization.arrays import find_arrays, read_arrays, save_arrays
from whence.memorization.windows import Windows
from whence.models.forward import token_log_probs
from whence.progress import SILENT, Progress
from whence.records import LoadedModel

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

# Small enough that a batch's activations stay in a processor's cache.
_TOKEN_BATCH_SIZE = 2048
_BLOCK_WINDOWS = 1024
_FILE = "scan.npz"
_SPEED = "speed.json"


@dataclass(frozen=True)
class Scan:
    """How a checkpoint continues each window, given the true tokens so far.

    Attributes:
        step: The checkpoint's training step.
        is_right: Whether each token of the continuation is the likeliest one; a tie is not.
        log_probs_nats: The log-probability of each token of the continuation, at most 0.
    """

    step: int
    is_right: "Bool[np.ndarray, 'windows completion']"
    log_probs_nats: "Float[np.ndarray, 'windows completion']"

    @cached_property
    def is_extractible(self) -> "Bool[np.ndarray, ' windows']":
        """Whether greedy decoding from the prompt gives the whole continuation."""
        return np.asarray(self.is_right.all(axis=1))

    @cached_property
    def num_right(self) -> "Int[np.ndarray, ' windows']":
        """Tokens that are right, given the true ones before."""
        return self.is_right.sum(axis=1)

    @cached_property
    def first_error(self) -> "Int[np.ndarray, ' windows']":
        """How many tokens greedy decoding gives before its first error; all where it makes none."""
        length = self.is_right.shape[1]
        return np.where(self.is_extractible, length, self.is_right.argmin(axis=1))

    @cached_property
    def mean_log_prob_nats(self) -> "Float[np.ndarray, ' windows']":
        """Mean log-probability per token of the continuation."""
        return self.log_probs_nats.mean(axis=1)


def scan(
    model: LoadedModel,
    windows: Windows,
    *,
    step: int,
    work: Path | None = None,
    progress: Progress = SILENT,
) -> Scan:
    """Scans windows at one checkpoint.

    Args:
        model: The checkpoint.
        windows: What to scan.
        step: The checkpoint's training step, which is only noted.
        work: A directory for finished blocks: a scan that was cut short continues from there.
        progress: Reports progress, in windows.

    Raises:
        ModelError: The model gives values that are not finite, or knows fewer tokens.

    Cost:
        A forward pass over the windows: some 270 windows of 64 tokens per core-second for a model
        of two million parameters.
    """
    check_ids(model, windows.tokens.tolist(), names=list(windows.ids))
    key = f"{model.fingerprint}-{windows.fingerprint}"
    found: list[dict[str, np.ndarray]] = []
    name = f"Scan windows with {model.label}"
    with progress.task(name, total=len(windows), unit="windows") as task:
        for number, start in enumerate(range(0, len(windows), _BLOCK_WINDOWS)):
            block = windows.tokens[start : start + _BLOCK_WINDOWS]
            place = None if work is None else work / f"{key}-{number:05d}.npz"
            known = None if place is None else find_arrays(place)
            if known is None:
                known = _scanned(model, block, windows.num_prompt_tokens)
                if place is not None:
                    save_arrays(place, **known)
            found.append(known)
            task.advance(len(block))
    width = windows.num_completion_tokens
    return Scan(
        step,
        np.concatenate([np.zeros((0, width), bool), *(b["is_right"] for b in found)]),
        np.concatenate([np.zeros((0, width), np.float32), *(b["log_probs_nats"] for b in found)]),
    )


def scan_stage(
    model_fingerprint: str,
    open_model: Callable[[], LoadedModel],
    windows: Windows,
    *,
    step: int,
    name: str = "scan",
    progress: Progress = SILENT,
) -> Stage[Scan]:
    """The scan of windows at one checkpoint, as a stage.

    Args:
        model_fingerprint: The checkpoint's.
        open_model: Loads the checkpoint; called only where the scan has to be made.
        windows: What to scan; at least one.
        step: The checkpoint's training step.
        name: The first part of the stage's name.
        progress: Reports progress.

    Raises:
        CorpusError: There is no window.
    """
    if not len(windows):
        raise CorpusError(
            "The corpus has no example that is long enough for a window, so there is nothing to "
            "scan.",
            "Shorten `sequences.num_prompt_tokens` or `sequences.num_completion_tokens`, or read "
            "longer documents.",
        )

    def make(place: Path) -> None:
        model = open_model()
        started = time.perf_counter()
        found = scan(model, windows, step=step, work=progress_directory(place), progress=progress)
        seconds = time.perf_counter() - started
        save_arrays(
            place / _FILE,
            is_right=np.packbits(found.is_right, axis=1),
            log_probs_nats=found.log_probs_nats,
        )
        speed = {"windows": len(windows), "seconds": round(seconds, 3)}
        speed["windows_per_second"] = round(len(windows) / max(seconds, 1e-9), 1)
        write_json(place / _SPEED, speed)
        progress.note(f"Scanned {len(windows):,} windows, {speed['windows_per_second']} a second.")

    def read(place: Path) -> Scan:
        arrays = read_arrays(place / _FILE)
        log_probs = arrays["log_probs_nats"]
        bits = np.unpackbits(arrays["is_right"], axis=1)[:, : log_probs.shape[1]]
        return Scan(step, bits.astype(bool), log_probs)

    return Stage(
        f"{name}/step{step}",
        1,
        {
            "model": model_fingerprint,
            "windows": windows.fingerprint,
            "step": step,
        },
        make=make,
        read=read,
    )


def _scanned(
    model: LoadedModel, tokens: np.ndarray, num_prompt_tokens: int
) -> dict[str, np.ndarray]:
    sequences = tokens.tolist()
    measured = token_log_probs(
        model,
        sequences,
        [num_prompt_tokens] * len(sequences),
        token_batch_size=_TOKEN_BATCH_SIZE,
    )
    return {
        "is_right": np.array([(one.ranks == 1).tolist() for one in measured], dtype=bool),
        "log_probs_nats": np.array(
            [one.log_probs_nats.tolist() for one in measured], dtype=np.float32
        ),
    }
