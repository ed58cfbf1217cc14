"""Builds an index by Bergson's own build, in precisions and on hardware that only it handles.

Bergson loads the model anew from its name, with weights of 8 or 4 bits or spread over all GPUs, and
writes an index of the tokens that it is given. The examples are put beside the rows, so that what
comes out is an index like any other. Queries are then taken with the model as `whence` loads it.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from whence.artifacts import building
from whence.errors import SettingsError
from whence.gradients.index.engine import require_engine
from whence.gradients.index.files import read_info
from whence.gradients.index.finish import finish_index, index_inputs, open_current
from whence.gradients.index.format import Index
from whence.gradients.index.manifest import GRADIENTS, INFO, KIND, PROCESSOR
from whence.gradients.index.opening import open_index
from whence.gradients.passes.batches import check_fits
from whence.progress import SILENT, Progress
from whence.records import Corpus, LoadedModel
from whence.settings import IndexSettings

if TYPE_CHECKING:
    from bergson import IndexConfig

EnginePrecision = Literal["fp32", "bf16", "fp16", "int8", "int4"]
_KEPT = (GRADIENTS, INFO, PROCESSOR, "normalizers.pth", "hessians.pth", "hessians_eigen.pth")


def build_by_engine(
    model: LoadedModel,
    corpus: Corpus,
    directory: Path,
    settings: IndexSettings,
    modules: Sequence[str],
    *,
    progress: Progress = SILENT,
) -> Index:
    """Builds an index by Bergson's own command, and puts the examples beside the rows.

    An index that was finished before from the same inputs is opened; an interrupted one starts
    anew.

    Args:
        model: The model, which Bergson loads again by its name.
        corpus: The examples.
        directory: The index's place.
        settings: Projection, precision, `fsdp`. A batch has no more tokens than the context.
        modules: Names of the attributed layers in the base model.
        progress: Reports progress.

    Raises:
        SettingsError: The precision needs a GPU, and there is none, or Bergson cannot load the
            model.
        CorpusError: An example does not fit the model.
        ArtifactError: The place cannot be written.
        MissingEngineError: Bergson cannot be imported.

    Cost:
        What Bergson's build takes; the rows' type is the one that it chooses.
    """
    inputs = index_inputs(model, corpus, settings, modules)
    inputs |= {"collector": "bergson build", "precision": engine_precision(model, settings)}
    finished = open_current(directory, model, corpus, inputs, progress)
    if finished is not None:
        return finished
    _check_hardware(settings)
    check_fits(model, corpus, spare_target=False)
    _name_and_revision(model)
    with building(directory, kind=KIND, inputs=inputs) as partial:
        with tempfile.TemporaryDirectory(dir=partial) as work:
            config = engine_config(
                model,
                settings,
                modules,
                tokens=Path(work) / "tokens",
                run=Path(work) / "index",
            )
            _save_tokens(corpus, Path(config.data.dataset))
            losses = _run(config)
            for name in _KEPT:
                shutil.move(Path(config.run_path) / name, partial / name)
        info = read_info(partial)
        finish_index(
            partial,
            Path(os.path.realpath(directory)),
            model,
            corpus,
            losses=losses,
            grad_sizes=info.sizes,
            dtype=info.dtype,
            details={"model_dtype": model.dtype, "gradient_dtype": info.dtype},
        )
    return open_index(directory, model=model)


def engine_precision(model: LoadedModel, settings: IndexSettings) -> EnginePrecision:
    """Names, in Bergson's words, the precision in which the weights are held."""
    if settings.precision in ("int8", "int4"):
        return settings.precision
    words: dict[str, EnginePrecision] = {"bfloat16": "bf16", "float16": "fp16"}
    return words.get(model.dtype, "fp32")


def engine_config(
    model: LoadedModel, settings: IndexSettings, modules: Sequence[str], *, tokens: Path, run: Path
) -> "IndexConfig":
    """Translates settings to Bergson's own.

    Raises:
        SettingsError: Bergson cannot load the model by its name.
    """
    from whence.models.probe import linear_layers

    bergson: Any = require_engine()
    name, revision = _name_and_revision(model)
    left_out = [other for other in linear_layers(model) if other not in set(modules)]
    return bergson.IndexConfig(
        run_path=str(run),
        model=name,
        revision=revision,
        data=bergson.DataConfig(dataset=str(tokens)),
        precision=engine_precision(model, settings),
        fsdp=settings.fsdp,
        projection_dim=settings.projection_dim or 0,
        projection_seed=settings.projection_seed,
        token_batch_size=min(settings.token_batch_size, model.context_length),
        include_bias=settings.include_bias,
        loss_reduction=settings.loss_reduction,
        filter_modules=",".join(left_out) or None,
    )


def _name_and_revision(model: LoadedModel) -> tuple[str, str | None]:
    """Finds what Bergson loads the model by."""
    if model.settings is None or model.settings.name.startswith("testbed:"):
        raise SettingsError(
            f"Bergson's build loads models from the Hub or a folder, and not {model.name}.",
            "Leave `fsdp` and quantized precisions out, or choose another model.",
        )
    return model.settings.name, model.settings.revision


def _check_hardware(settings: IndexSettings) -> None:
    import torch

    option = "fsdp" if settings.fsdp else f"precision {settings.precision}"
    if settings.by_engine and not torch.cuda.is_available():
        raise SettingsError(
            f"Bergson's `{option}` needs a GPU, and torch sees none.",
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
