"""Checkpoints of the testbed: from the package, a cache, or a training run."""

import csv
import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from whence.artifacts import (
    building,
    fingerprint,
    is_current,
    read_manifest,
    read_manifest_json,
    write_json,
)
from whence.errors import ModelError
from whence.progress import SILENT, Progress
from whence.records import LoadedModel
from whence.testbed.plan import generate
from whence.testbed.sizes import Size, size_named
from whence.testbed.tables import (
    CONTEXT_LENGTH,
    DATA,
    END_OF_TEXT,
    END_OF_TEXT_ID,
    VOCABULARY_SIZE,
    corpus,
    corpus_hash,
    training_weights,
)
from whence.training.recipe import Recipe, learning_rate, num_steps, pythia_like_steps

if TYPE_CHECKING:
    import torch
    from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

    from whence.training.trainer import StepLog, TrainingState

WEIGHTS = "model.safetensors"
SECOND_MOMENTS = "second_moments.safetensors"
LOG = "log.csv"
_SHIPPED = "mini"
# The end's losses on so many first documents go into the manifest, for whoever checks a copy.
_NUM_CHECKED = 16


def all_steps(size: str) -> tuple[int, ...]:
    """Lists the steps after which `train_testbed` keeps a checkpoint; ascending, 0 included."""
    testbed = generate(size)
    total = num_steps(testbed.size.recipe, len(testbed.documents))
    return pythia_like_steps(total, every=testbed.size.checkpoint_every)


def steps(size: str) -> tuple[int, ...]:
    """Lists the steps that `load_checkpoint` has: those that ship, or all that are trained."""
    size_named(size)
    return _steps_in(DATA / size) if size == _SHIPPED else all_steps(size)


def initial_model(size: str, *, seed: int | None = None) -> "GPTNeoXForCausalLM":
    """Makes the model before its first step; another seed than the testbed's gives a sibling.

    Its weights are drawn by a generator of their own, as Pythia's are, and rounded to float16, so
    that step 0 ships in half precision and is still exactly where training began.

    Source:
        Nguyen and Salazar, "Transformers without Tears", IWSLT 2019 (small init), and Wang and
        Komatsuzaki's GPT-J (output layers), as named in Pythia's configuration.
    """
    import torch
    from transformers import GPTNeoXForCausalLM

    plan = size_named(size)
    width, depth = plan.hidden_size, plan.num_layers
    with torch.random.fork_rng(devices=[]):
        model = GPTNeoXForCausalLM(_config(plan))
    generator = torch.Generator().manual_seed(plan.seed if seed is None else seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                continue  # Norms start at one, biases at zero.
            is_output = name.endswith(("attention.dense.weight", "dense_4h_to_h.weight"))
            std = 2 / (depth * math.sqrt(width)) if is_output else math.sqrt(2 / (5 * width))
            parameter.normal_(0.0, std, generator=generator)
            # Parameters only: the rotary frequencies are buffers, and stay exact.
            parameter.copy_(parameter.half())
    return model.eval()


def training_start(size: str, *, seed: int | None = None) -> "GPTNeoXForCausalLM":
    """Makes the model that training changes: the initial one, its rotary frequencies rounded too.

    What ships was trained so; a remake on the same machine gives the same bits only from here. A
    loaded model has exact frequencies, which moves a document's loss by about 1e-4 nats.
    """
    return initial_model(size, seed=seed).half().float()


def initial_checkpoint(size: str) -> LoadedModel:
    """Joins the model that training changes with its tokenizer, to repeat the training."""
    return loaded(size, training_start(size), step=0)


def load_checkpoint(
    size: str,
    *,
    step: int | None = None,
    cache: Path | None = None,
    progress: Progress = SILENT,
) -> LoadedModel:
    """Loads a testbed's model after a step; the end where no step is named.

    Args:
        size: `nano` or `mini`.
        step: One of `steps(size)`.
        cache: Where trained checkpoints are kept, so that nano is trained once. Without one, nano
            is trained anew; a `mini` there has all steps, not only those that ship.
        progress: Reports progress.

    Returns:
        The model in float32 with its tokenizer; its name says the step.

    Raises:
        ModelError: There is no such size or step.
    """
    last = all_steps(size)[-1]
    step = last if step is None else step
    if step == 0:
        return loaded(size, initial_model(size), step=0)
    if size == _SHIPPED and step in steps(size):
        return loaded(size, _read(size, DATA / size / f"step{step}"), step=step)
    _check_step(size, step, cache=cache)
    if cache is not None:
        directory = cache / f"testbed-{size}"
        train_testbed(size, directory, progress=progress)
        return loaded(size, _read(size, directory / f"step{step}"), step=step)
    with TemporaryDirectory() as scratch:
        directory = Path(scratch) / "testbed"
        train_testbed(size, directory, progress=progress)
        return loaded(size, _read(size, directory / f"step{step}"), step=step)


def train_testbed(size: str, directory: Path, *, progress: Progress = SILENT) -> None:
    """Trains a testbed from its first weights and keeps every checkpoint; skips what stands.

    Each `step…` folder is a Hugging Face model with tokenizer and Adam's second moments; `log.csv`
    holds every step's loss.

    Args:
        size: `nano` or `mini`.
        directory: Where the artifact goes.
        progress: Reports progress.

    Raises:
        ArtifactError: The directory cannot be written.

    Cost:
        About ten seconds of one CPU core for nano, some minutes for mini.
    """
    from whence.training.trainer import train

    inputs = training_inputs(size)
    if is_current(directory, kind="testbed-checkpoints", inputs=inputs):
        return
    model = training_start(size)
    examples = corpus(size).table.column("input_ids").to_pylist()
    with building(directory, kind="testbed-checkpoints", inputs=inputs) as partial:
        progress.note(f"Training testbed:{size}, whose weights are kept in {directory}.")
        log = train(
            model,
            examples,
            recipe=size_named(size).recipe,
            weights=training_weights(size).tolist(),
            checkpoint_steps=all_steps(size),
            on_checkpoint=lambda state: _keep(size, state, partial / f"step{state.step}"),
            progress=progress,
        )
        _write_log(log, partial / LOG)
        write_json(
            partial / "details.json",
            {
                "steps": list(all_steps(size)),
                "end_losses_nats": document_losses(model, examples[:_NUM_CHECKED]),
            },
        )


def pack(directory: Path, target: Path, *, kept: tuple[int, ...]) -> None:
    """Copies what ships out of a training run: smaller files, the same steps' names.

    Intermediate weights become float16 and the second moments bfloat16, whose range they need; the
    end stays float32.
    """
    from whence.training.checkpoints import load_tensors, save_tensors

    end = read_manifest(directory).details["steps"][-1]
    shutil.rmtree(target, ignore_errors=True)
    for step in (*kept, end):
        (target / f"step{step}").mkdir(parents=True)
        weights = load_tensors(directory / f"step{step}" / WEIGHTS)
        dtype = "float32" if step == end else "float16"
        save_tensors(weights, target / f"step{step}" / WEIGHTS, dtype=dtype)
    moments = load_tensors(directory / f"step{end}" / SECOND_MOMENTS)
    save_tensors(moments, target / f"step{end}" / SECOND_MOMENTS, dtype="bfloat16")
    shutil.copy(directory / LOG, target / LOG)
    _record_losses(directory, target, end=end)


def _record_losses(directory: Path, target: Path, *, end: int) -> None:
    """Writes the manifest with the losses of what ships, read back from the packed files."""
    manifest = dict(read_manifest_json(directory))
    size = manifest["inputs"]["size"]
    examples = corpus(size).table.column("input_ids").to_pylist()[:_NUM_CHECKED]
    model = _read(size, target / f"step{end}")
    losses = document_losses(model, examples)
    manifest["details"] = manifest["details"] | {"end_losses_nats": losses}
    write_json(target / "manifest.json", manifest)


def second_moments(
    size: str, *, step: int | None = None, cache: Path | None = None
) -> "dict[str, torch.Tensor]":
    """Loads Adam's second moments after a step, by parameter name, in float32.

    They are the running means as Adam keeps them, divided by 1 − β₂ to the power of the step, as
    Adam divides them before it uses them.

    Args:
        size: `nano` or `mini`.
        step: One of `second_moment_steps`; the end by default.
        cache: Where `train_testbed` has kept its checkpoints.

    Raises:
        ArtifactError: They are not there; train the testbed into the cache first.
    """
    from whence.training.checkpoints import load_tensors

    step = last_step(size) if step is None else step
    kept = load_tensors(_moments_directory(size, step, cache) / f"step{step}" / SECOND_MOMENTS)
    correction = 1 - recipe(size).beta2 ** step
    return {name: values / correction for name, values in kept.items()}


def second_moment_steps(size: str, *, cache: Path | None = None) -> tuple[int, ...]:
    """Lists the steps that `second_moments` has: those that ship, or all that are trained.

    Never 0, where there are none yet.
    """
    return tuple(
        step
        for step in all_steps(size)
        if step > 0
        and (
            size != _SHIPPED
            or (_moments_directory(size, step, cache) / f"step{step}" / SECOND_MOMENTS).is_file()
        )
    )


def last_step(size: str) -> int:
    """Tells after which step training ends."""
    return all_steps(size)[-1]


def recipe(size: str) -> Recipe:
    """Tells how a testbed is trained."""
    return size_named(size).recipe


def learning_rate_after(size: str, step: int) -> float:
    """Tells the learning rate of the optimizer step after a checkpoint; at the end, the last one's.

    It is the rate at which the gradients at that checkpoint are taken.
    """
    total = last_step(size)
    return learning_rate(recipe(size), min(step + 1, total), total_steps=total)


def _moments_directory(size: str, step: int, cache: Path | None) -> Path:
    trained = cache / f"testbed-{size}" if cache is not None else None
    if trained is not None and (trained / f"step{step}" / SECOND_MOMENTS).is_file():
        return trained
    return DATA / size


def read_log(path: Path) -> "tuple[StepLog, ...]":
    """Reads a training log."""
    from whence.training.trainer import StepLog

    with path.open(newline="", encoding="utf-8") as lines:
        return tuple(
            StepLog(
                step=int(row["step"]),
                loss_nats=float(row["loss_nats"]),
                learning_rate=float(row["learning_rate"]),
                gradient_norm=float(row["gradient_norm"]),
                num_targets=int(row["num_targets"]),
            )
            for row in csv.DictReader(lines)
        )


def document_losses(model: "torch.nn.Module", examples: list[list[int]]) -> list[float]:
    """Computes each example's loss: the mean over its targets, in nats."""
    import torch
    from torch.nn.functional import cross_entropy

    from whence.models.forward import evaluating, logits

    losses = []
    with evaluating(model):
        for ids in examples:
            inputs = torch.tensor([ids])
            found = logits(model, inputs)[0, :-1]
            losses.append(cross_entropy(found, inputs[0, 1:]).item())
    return losses


def _config(plan: Size) -> Any:
    from transformers import GPTNeoXConfig

    return GPTNeoXConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=plan.hidden_size,
        num_hidden_layers=plan.num_layers,
        num_attention_heads=plan.num_heads,
        intermediate_size=4 * plan.hidden_size,
        max_position_embeddings=CONTEXT_LENGTH,
        # Unlike Pythia (a quarter of each head, base 10,000): on documents of 75 tokens, attention
        # forms much earlier so. Measured on nano: the loss ends at 1.26 instead of 1.44 nats.
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 100.0,
            "partial_rotary_factor": 1.0,
        },
        hidden_dropout=0.0,
        attention_dropout=0.0,
        tie_word_embeddings=False,
        bos_token_id=END_OF_TEXT_ID,
        eos_token_id=END_OF_TEXT_ID,
    )


def _tokenizer() -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_file=str(DATA / "tokenizer.json"),
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def training_inputs(size: str) -> Mapping[str, object]:
    """Tells everything that determines a testbed's training."""
    plan = size_named(size)
    return {
        "size": size,
        "seed": plan.seed,
        "corpus_sha256": corpus_hash(size),
        "tokenizer_sha256": hashlib.sha256((DATA / "tokenizer.json").read_bytes()).hexdigest(),
        "shape": [plan.hidden_size, plan.num_layers, plan.num_heads, VOCABULARY_SIZE],
        "recipe": plan.recipe.model_dump(mode="json"),
        "checkpoint_every": plan.checkpoint_every,
    }


def _keep(size: str, state: "TrainingState", directory: Path) -> None:
    from whence.training.checkpoints import save_tensors

    directory.mkdir()
    save_tensors(state.weights, directory / WEIGHTS)
    save_tensors(state.second_moments, directory / SECOND_MOMENTS)
    _config(size_named(size)).save_pretrained(directory)
    _tokenizer().save_pretrained(directory)


def _write_log(log: "tuple[StepLog, ...]", path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(log[0]._fields)
        writer.writerows(log)


def _read(size: str, directory: Path) -> "GPTNeoXForCausalLM":
    import torch
    from transformers import GPTNeoXForCausalLM

    from whence.training.checkpoints import load_tensors

    weights = load_tensors(directory / WEIGHTS)
    # Without memory first: initializing weights that are overwritten would touch the global dice.
    with torch.random.fork_rng(devices=[]):
        model = GPTNeoXForCausalLM(_config(size_named(size)))
    model.load_state_dict(weights, strict=True)
    return model.eval()


def loaded(size: str, model: "GPTNeoXForCausalLM", *, step: int) -> LoadedModel:
    """Joins a testbed's model after some step with its tokenizer."""
    parts = [p.detach().numpy().tobytes() for _, p in sorted(model.named_parameters())]
    return LoadedModel(
        model=model,
        tokenizer=_tokenizer(),
        name=f"testbed:{size}@step{step}",
        fingerprint=fingerprint(*parts),
        context_length=CONTEXT_LENGTH,
    )


def _check_step(size: str, step: int, *, cache: Path | None) -> None:
    known = all_steps(size) if size != _SHIPPED or cache is not None else steps(size)
    if step not in known:
        raise ModelError(
            f"testbed:{size} has no checkpoint at step {step}.",
            f"Take one of {', '.join(map(str, known))}.",
        )


def _steps_in(directory: Path) -> tuple[int, ...]:
    if not (directory / "manifest.json").is_file():
        return ()
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    known = manifest["details"]["steps"]
    return tuple(step for step in known if (directory / f"step{step}" / WEIGHTS).is_file())
