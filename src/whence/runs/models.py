"""Models of a study, loaded only when something has to be computed with them.

A stage keeps what is known of a model once it was loaded: name, fingerprint, context length. It is
keyed by the state of the model's files, so a run whose stages are all current loads no model.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
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
    """A model with its card, loaded at most once."""

    def __init__(self, card: ModelCard, load: Callable[[], LoadedModel]) -> None:
        self.card = card
        self._load = load

    @property
    def fingerprint(self) -> str:
        """A hash of configuration and weights."""
        return self.card.fingerprint

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model itself.

        Raises:
            ModelError: It cannot be loaded.
        """
        return self._load()


def study_model(
    run: Run,
    role: str,
    settings: ModelSettings,
    load: Callable[[], LoadedModel],
    *,
    extra: Mapping[str, Any] | None = None,
) -> StudyModel:
    """Finds out which model some settings mean, and loads it only if that is not known yet.

    Args:
        run: Where the card is kept.
        role: What the study uses it for, such as `own` or `initial`.
        settings: Where the model comes from.
        load: Loads it.
        extra: What else determines the weights.

    Raises:
        ModelError: There is no such model.
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
        {"origin": model_origin(settings), "dtype": settings.dtype, **(extra or {})},
        make=make,
        read=lambda place: ModelCard(**json.loads((place / _CARD).read_text(encoding="utf-8"))),
    )
    return StudyModel(run.get(stage), loading)


def model_origin(settings: ModelSettings) -> dict[str, Any]:
    """Lists what determines a model's weights and tokenizer, without reading the weights.

    Raises:
        ModelError: There is no such model, or the Hub cannot be reached.
    """
    if (size := opening.testbed_size(settings.name)) is not None:
        from whence.testbed import training_inputs

        return {"testbed": dict(training_inputs(size)), "revision": settings.revision}
    from whence.models import model_folder, tokenizer_folder

    folders = [model_folder(settings.name, revision=settings.revision)]
    if settings.tokenizer is not None:
        folders.append(tokenizer_folder(settings.tokenizer))
    return {"files": files_state(*folders), "tokenizer": settings.tokenizer is not None}


def _card(model: LoadedModel) -> ModelCard:
    return ModelCard(
        label=model.label,
        fingerprint=model.fingerprint,
        tokenizer=_tokenizer_hash(model.tokenizer),
        context_length=model.context_length,
        dtype=model.dtype,
    )


def _tokenizer_hash(tokenizer: "PreTrainedTokenizerBase") -> str:
    from whence.artifacts import fingerprint

    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else type(tokenizer).__name__
    return fingerprint(tokenizer.get_vocab(), rules, tokenizer.eos_token_id)
