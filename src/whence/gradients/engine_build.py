"""How is an index left to Bergson's own build, in precisions and on hardware that only it handles?

Bergson loads the model anew from its name, with weights of 8 or 4 bits or spread over all GPUs, and
writes an index of the tokens that it is given. The examples are put beside the rows, so that what
comes out is an index like any other. Queries are then taken with the model as `whence` loads it.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from whence.artifacts import building, is_current, write_json
from whence.corpus.store import save_corpus
from whence.errors import SettingsError
from whence.gradients.batches import check_fits
from whence.gradients.build import save_dataset
from whence.gradients.capture import LOSS_REDUCTION, Reduction
from whence.gradients.engine import engine_version, require_engine
from whence.gradients.index import GRADIENTS, INFO, PROCESSOR, Index, open_index
from whence.gradients.search import save_norms
from whence.records import Corpus, LoadedModel

if TYPE_CHECKING:
    from bergson import IndexConfig

EnginePrecision = Literal["fp32", "bf16", "fp16", "int8", "int4"]
_KEPT = (GRADIENTS, INFO, PROCESSOR, "normalizers.pth", "hessians.pth", "hessians_eigen.pth")


def build_by_engine(
    model: LoadedModel,
    corpus: Corpus,
    directory: Path,
    *,
    modules: Sequence[str],
    projection_dim: int | None,
    projection_seed: int,
    token_batch_size: int,
    precision: EnginePrecision,
    fsdp: bool = False,
    include_bias: bool = False,
    loss_reduction: Reduction = LOSS_REDUCTION,
) -> Index:
    """Builds an index by Bergson's own command, and puts the examples beside the rows.

    An index that was finished before from the same inputs is opened; an interrupted one starts
    anew.

    Args:
        model: The model, which Bergson loads again by its name.
        corpus: The examples.
        directory: The index's place.
        modules: Names of the attributed layers in the base model.
        projection_dim: Rows and columns that each module's gradient is projected to; None stores
            gradients whole.
        projection_seed: The projection's seed.
        token_batch_size: The most tokens in a batch; Bergson takes no more than the context.
        precision: Of the weights, in Bergson's words.
        fsdp: Spread the weights over all GPUs.
        include_bias: Attribute the biases of the layers too.
        loss_reduction: An example's loss is the sum over its tokens, or their mean.

    Raises:
        SettingsError: The precision needs a GPU, and there is none, or Bergson cannot load the
            model.
        CorpusError: An example does not fit the model.
        ArtifactError: The place cannot be written.
        MissingEngineError: Bergson cannot be imported.

    Cost:
        What Bergson's build takes; the rows' type is the one that it chooses.
    """
    inputs = {
        "model": model.fingerprint,
        "corpus": corpus.fingerprint,
        "modules": sorted(modules),
        "projection_dim": projection_dim,
        "projection_seed": projection_seed,
        "loss_reduction": loss_reduction,
        "include_bias": include_bias,
        "collector": "bergson build",
        "precision": precision,
        "fsdp": fsdp,
        "bergson": engine_version(),
    }
    if is_current(directory, kind="index", inputs=inputs):
        return open_index(directory, model=model)
    _check_hardware(precision, fsdp)
    check_fits(model, corpus, spare_target=False)
    _name_and_revision(model)
    with building(directory, kind="index", inputs=inputs) as partial:
        with tempfile.TemporaryDirectory(dir=partial) as work:
            config = engine_config(
                model,
                tokens=Path(work) / "tokens",
                run=Path(work) / "index",
                modules=modules,
                projection_dim=projection_dim,
                projection_seed=projection_seed,
                token_batch_size=token_batch_size,
                precision=precision,
                fsdp=fsdp,
                include_bias=include_bias,
                loss_reduction=loss_reduction,
            )
            _save_tokens(corpus, Path(config.data.dataset))
            losses = _run(config)
            for name in _KEPT:
                shutil.move(Path(config.run_path) / name, partial / name)
        built = open_index(partial)
        save_corpus(corpus, partial)
        save_dataset(corpus, losses, partial)
        save_norms(
            partial,
            num_rows=built.num_examples,
            width=sum(built.grad_sizes.values()),
            dtype=built.dtype,
        )
        write_json(
            partial / "details.json",
            {
                "model_name": model.name,
                "model_dtype": model.dtype,
                "gradient_dtype": built.dtype,
            },
        )
    return open_index(directory, model=model)


def engine_config(
    model: LoadedModel,
    *,
    tokens: Path,
    run: Path,
    modules: Sequence[str],
    projection_dim: int | None,
    projection_seed: int,
    token_batch_size: int,
    precision: EnginePrecision,
    fsdp: bool,
    include_bias: bool,
    loss_reduction: Reduction,
) -> "IndexConfig":
    """Says in Bergson's words what is to be built.

    Raises:
        SettingsError: Bergson cannot load the model by its name.
    """
    from whence.models import attributed_modules

    bergson: Any = require_engine()
    name, revision = _name_and_revision(model)
    left_out = [other for other in attributed_modules(model) if other not in set(modules)]
    return bergson.IndexConfig(
        run_path=str(run),
        model=name,
        revision=revision,
        data=bergson.DataConfig(dataset=str(tokens)),
        precision=precision,
        fsdp=fsdp,
        projection_dim=projection_dim or 0,
        projection_seed=projection_seed,
        token_batch_size=min(token_batch_size, model.context_length),
        include_bias=include_bias,
        loss_reduction=loss_reduction,
        filter_modules=",".join(left_out) or None,
    )


def _name_and_revision(model: LoadedModel) -> tuple[str, str | None]:
    name, _, revision = model.name.partition("@")
    if name.startswith("testbed:"):
        raise SettingsError(
            f"Bergson's build loads models from the Hub or a folder, and not {model.name}.",
            "Leave `fsdp` and quantized precisions out, or take another model.",
        )
    return name, revision or None


def _check_hardware(precision: EnginePrecision, fsdp: bool) -> None:
    import torch

    wanted = "fsdp" if fsdp else f"precision {precision}"
    if (fsdp or precision in ("int8", "int4")) and not torch.cuda.is_available():
        raise SettingsError(
            f"Bergson's `{wanted}` needs a GPU, and torch sees none.",
            "Build it on a machine with one, or in float32 without `fsdp`.",
        )


def _save_tokens(corpus: Corpus, path: Path) -> None:
    """Writes the examples as Bergson reads them: every token bears a loss."""
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar

    ids = corpus.table.column("input_ids").to_pylist()
    disable_progress_bar()
    try:
        columns = {"input_ids": ids, "labels": ids, "length": [len(row) for row in ids]}
        Dataset.from_dict(columns).save_to_disk(str(path))
    finally:
        enable_progress_bar()


def _run(config: "IndexConfig") -> Any:
    """Lets Bergson build; stdout, on which it talks, is ours for the answer. The losses, by row."""
    import numpy as np
    from bergson.build import build
    from bergson.config.config import PreprocessConfig
    from datasets import Dataset

    with redirect_stdout(sys.stderr):
        build(config, PreprocessConfig())
    kept = Dataset.load_from_disk(str(Path(config.run_path) / "data.hf"))
    return np.asarray(kept["loss"][:], dtype=np.float32)
