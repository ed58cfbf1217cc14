"""Which checkpoint, and which of its modules? Loading, revisions, tokenizers and coverage."""

from whence.models.coverage import attributed_modules, coverage
from whence.models.load import load_initial, load_model, model_fingerprint

__all__ = ["attributed_modules", "coverage", "load_initial", "load_model", "model_fingerprint"]
