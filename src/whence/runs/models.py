"""Models of a study, loaded only when something has to be computed with them.

A stage keeps what is known of a model once it was loaded: name, fingerprint, context length. It is
keyed by the state of the model's files, so a run whose stages are all current loads no model.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.artifacts import write_json
from whence.artifacts.files import files_state
from whence.artifacts.stage import Stage
from whence.records import LoadedModel
from whence.runs import opening
from whence.runs.directory import Run
from whence.settings import ModelSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CARD = "model.json"


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model without loading it; `tokenizer` is a hash of its tokenizer."""

    label: str
    fingerprint: str
    tokenizer: str
    context_length: int
    dtype: str


class StudyModel:
    """A model with its card, loaded when something has to be computed with it."""

    def __init__(self, card: ModelCard, load: Callable[[], LoadedModel]) -> None:
        self.card = card
        self._load = load
        self._loaded: LoadedModel | None = None

    @property
    def fingerprint(self) -> str:
        """A hash of configuration and weights."""
        return self.card.fingerprint

    @property
    def loaded(self) -> LoadedModel:
        """The model itself.

        Raises:
            ModelError: It cannot be loaded.
        """
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def forget(self) -> None:
        """Frees the model's memory; it is loaded again when it is needed."""
        self._loaded = None


def study_model(
    run: Run, role: str, origin: Mapping[str, object], load: Callable[[], LoadedModel]
) -> StudyModel:
    """Finds out which model some settings mean, and loads it only if that is not known yet.

    Args:
        run: Where the card is kept.
        role: What the study uses the model for, such as `own` or `initial`.
        origin: What determines weights and tokenizer, without loading them.
        load: Loads the model.

    Raises:
        ModelError: It cannot be loaded.
    """
    early: list[LoadedModel] = []

    def loading() -> LoadedModel:
        return early.pop() if early else load()

    def make(place: Path) -> None:
        early.append(load())
        write_json(place / _CARD, asdict(_card(early[0])))

    stage = Stage(
        f"model/{role}",
        1,
        dict(origin),
        make=make,
        read=lambda place: ModelCard(**json.loads((place / _CARD).read_text(encoding="utf-8"))),
    )
    return StudyModel(run.get(stage), loading)


def model_origin(settings: ModelSettings) -> dict[str, object]:
    """Lists what determines a model's weights and tokenizer, without reading them.

    Raises:
        ModelError: There is no such model, or the Hub cannot be reached.
    """
    if (size := opening.testbed_size(settings.name)) is not None:
        from whence.testbed import RetrainingSettings, retraining_inputs

        inputs = dict(retraining_inputs(RetrainingSettings(size=size)))
        return {"testbed": inputs, "revision": settings.revision, "dtype": settings.dtype}
    from whence.models import model_folder, tokenizer_folder

    folders = [model_folder(settings.name, revision=settings.revision)]
    if settings.tokenizer is not None:
        folders.append(tokenizer_folder(settings.tokenizer))
    files = [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]
    # The label of a model is its name, so that equal files of another name have another card.
    return {
        "name": Path(settings.name).name,
        "revision": settings.revision,
        "files": files_state(*files),
        "dtype": settings.dtype,
    }


def initial_origin(settings: ModelSettings) -> dict[str, object]:
    """Lists what determines the untrained model that `initial` names.

    Raises:
        ModelError: There is no such model.
    """
    from whence.models.load import RANDOM_WEIGHTS

    if opening.testbed_size(settings.name) is not None:
        return model_origin(settings.model_copy(update={"revision": "step0"}))
    if settings.initial is None or settings.initial == RANDOM_WEIGHTS:
        # Weights that are drawn anew have the configuration of the trained model.
        return {"initial": settings.initial, **model_origin(settings)}
    if Path(settings.initial).expanduser().is_dir():
        place = {"name": settings.initial, "revision": None}
    else:
        place = {"revision": settings.initial}
    return model_origin(settings.model_copy(update=place))


def _card(model: LoadedModel) -> ModelCard:
    return ModelCard(
        label=model.label,
        fingerprint=model.fingerprint,
        tokenizer=tokenizer_hash(model.tokenizer),
        context_length=model.context_length,
        dtype=model.dtype,
    )


def tokenizer_hash(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Computes a hash of a tokenizer's vocabulary and rules."""
    from whence.artifacts import fingerprint

    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else type(tokenizer).__name__
    return fingerprint(tokenizer.get_vocab(), rules, tokenizer.eos_token_id)
