"""Models: checkpoints, attributed modules, forward passes, tokenizers, optimizer state."""

from whence.models.coverage import attributed_modules, coverage
from whence.models.files import model_folder, tokenizer_folder
from whence.models.load import in_dtype, load_initial, load_model, model_fingerprint
from whence.models.optimizer_files import load_second_moments
from whence.models.probe import notes
from whence.models.second_moments import Factored, SecondMoments, estimate_second_moments
from whence.models.tokenizer import open_tokenizer

__all__ = [
    "Factored",
    "SecondMoments",
    "attributed_modules",
    "coverage",
    "estimate_second_moments",
    "in_dtype",
    "load_initial",
    "load_model",
    "load_second_moments",
    "model_fingerprint",
    "model_folder",
    "notes",
    "open_tokenizer",
    "tokenizer_folder",
]
