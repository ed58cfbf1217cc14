"""Continuing prompts token by token: with the model's cache, by its own loop, or without a cache.

The three give the same tokens wherever the model's cache does what it should; which one is used is
found out by `probe.decoding`. A token's logits are those that the model gives, in float32: nothing
of a `generation_config`, such as a penalty on repetition, is applied.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from whence.models.network import known_arguments, logits, model_device
from whence.records import LoadedModel

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel

Choose = Callable[[int, "Float[Tensor, 'rows vocabulary']"], "Int[Tensor, ' rows']"]
"""From a step's number and logits, the next token of each row."""


class Steps(NamedTuple):
    """Prompts of one length and the tokens that follow each, to see the logits on the way."""

    prompts: Sequence[Sequence[int]]
    forced: Sequence[Sequence[int]]


def with_cache(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    num_tokens: int,
    num_copies: int,
    choose: Choose,
) -> "Int[Tensor, 'rows tokens']":
    """Continues copies of prompts of one length; each prompt itself is read only once."""
    import torch

    network: Any = model.model
    ids = torch.tensor(prompts, device=model_device(model))
    keep = known_arguments(network, logits_to_keep=1)
    out = network(input_ids=ids, use_cache=True, **keep)
    found, cache = out.logits[:, -1].float(), out.past_key_values
    if num_copies > 1:
        found = found.repeat_interleave(num_copies, dim=0)
        cache.batch_repeat_interleave(num_copies)
    chosen: list[Tensor] = []
    for step in range(num_tokens):
        chosen.append(choose(step, found))
        if step + 1 < num_tokens:
            out = network(input_ids=chosen[-1][:, None], past_key_values=cache, use_cache=True)
            found = out.logits[:, -1].float()
    return torch.stack(chosen, dim=1)


def by_generate(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    num_tokens: int,
    num_copies: int,
    choose: Choose,
) -> "Int[Tensor, 'rows tokens']":
    """Continues copies of prompts of one length by the model's own `generate`."""
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList

    class Chosen(LogitsProcessor):
        """Leaves only the chosen token possible."""

        def __init__(self) -> None:
            self.step = 0

        def __call__(self, input_ids: "Tensor", scores: "Tensor") -> "Tensor":  # pyright: ignore[reportIncompatibleMethodOverride]
            tokens = choose(self.step, scores.float())
            self.step += 1
            return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)

    network: Any = model.model
    ids = torch.tensor(prompts, device=model_device(model)).repeat_interleave(num_copies, dim=0)
    with _plain_generation(network):
        found = network.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=num_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList([Chosen()]),
        )
    return found[:, ids.shape[1] :]


def without_cache(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    num_tokens: int,
    num_copies: int,
    choose: Choose,
) -> "Int[Tensor, 'rows tokens']":
    """Continues copies of prompts of one length by a pass over all tokens for each new one."""
    import torch

    ids = torch.tensor(prompts, device=model_device(model)).repeat_interleave(num_copies, dim=0)
    length = ids.shape[1]
    for step in range(num_tokens):
        last = torch.tensor([ids.shape[1] - 1], device=ids.device)
        chosen = choose(step, logits(model.model, ids, positions=last)[:, -1].float())
        ids = torch.cat([ids, chosen[:, None]], dim=1)
    return ids[:, length:]


def cached_steps(model: LoadedModel, steps: Steps) -> "Float[Tensor, 'prompts steps vocabulary']":
    """The logits before each forced token, by our own loop, in the second of two copies."""
    return _forced(model, steps, with_cache, num_copies=2)


def generated_steps(
    model: LoadedModel, steps: Steps
) -> "Float[Tensor, 'prompts steps vocabulary']":
    """The logits before each forced token, by the model's own loop."""
    return _forced(model, steps, by_generate, num_copies=1)


def _forced(
    model: LoadedModel, steps: Steps, run: Callable[..., "Tensor"], *, num_copies: int
) -> "Tensor":
    import torch

    seen: list[Tensor] = []

    def choose(step: int, found: "Tensor") -> "Tensor":
        seen.append(found[num_copies - 1 :: num_copies].clone())
        tokens = torch.tensor([forced[step] for forced in steps.forced], device=found.device)
        return tokens.repeat_interleave(num_copies)

    run(
        model,
        steps.prompts,
        num_tokens=len(steps.forced[0]),
        num_copies=num_copies,
        choose=choose,
    )
    return torch.stack(seen, dim=1)


@contextmanager
def _plain_generation(network: "PreTrainedModel") -> Iterator[None]:
    """Lets `generate` stop at no token and change no logit, whatever came with the model."""
    from transformers import GenerationConfig

    own = network.generation_config
    network.generation_config = GenerationConfig()
    try:
        yield
    finally:
        network.generation_config = own
