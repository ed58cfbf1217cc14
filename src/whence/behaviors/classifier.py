"""Text classifiers of Hugging Face as judges."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from whence.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_BATCH_SIZE = 32
# From here on a yes-or-no classifier says yes.
_YES = 0.5


class Classifier(NamedTuple):
    """A classifier with the name that identifies its weights and label."""

    name: str
    judge: Callable[[Sequence[str]], list[bool]]


def load_classifier(name: str, *, label: str) -> Classifier:
    """Loads a classifier from the Hub or a folder, and chooses the label that counts.

    Args:
        name: A Hub id or a folder.
        label: One of the labels of its configuration, in any case.

    Returns:
        A classifier that says yes where the label is the likeliest one; where several labels may
        hold at once, or there is only one, where its probability is at least one half.

    Raises:
        ModelError: It cannot be loaded.
        SettingsError: It has no such label.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForSequenceClassification.from_pretrained(name).eval()
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The judge {name!r} cannot be loaded ({str(error).splitlines()[0]}).",
            "Name a text classifier on the Hub, or a folder that holds one.",
        ) from None
    column = _column(model.config, label, name=name)
    independent = (
        model.config.num_labels == 1 or model.config.problem_type == "multi_label_classification"
    )

    def judge(texts: Sequence[str]) -> list[bool]:
        found: list[bool] = []
        for start in range(0, len(texts), _BATCH_SIZE):
            batch = tokenizer(
                list(texts[start : start + _BATCH_SIZE]),
                padding=True,
                truncation=True,
                max_length=min(tokenizer.model_max_length, 512),
                return_tensors="pt",
            )
            with torch.inference_mode():
                logits = model(**batch).logits.float()
            if independent:
                found.extend((logits[:, column].sigmoid() >= _YES).tolist())
            else:
                found.extend((logits.argmax(dim=-1) == column).tolist())
        return found

    return Classifier(f"{name}@{_version(name, model.config)}: {label}", judge)


def _column(config: "PretrainedConfig", label: str, *, name: str) -> int:
    labels = {str(text): int(i) for i, text in (config.id2label or {}).items()}
    found = next((i for text, i in labels.items() if text.lower() == label.lower()), None)
    if found is None:
        raise SettingsError(
            f"The judge {name!r} has no label {label!r}.",
            f"Set `judge_label` to one of: {', '.join(labels)}.",
        )
    return found


def _version(name: str, config: "PretrainedConfig") -> str:
    """Takes the commit of a classifier from the Hub, or a hash of a folder's weights."""
    commit = getattr(config, "_commit_hash", None)
    if commit:
        return str(commit)[:12]
    from whence.artifacts import fingerprint, sha256_of

    weights = sorted([*Path(name).glob("*.safetensors"), *Path(name).glob("*.bin")])
    return fingerprint(config.to_json_string(), *map(sha256_of, weights))[:12]
