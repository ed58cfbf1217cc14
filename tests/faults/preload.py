"""What the process imports of which `forking.py` makes forks; it starts no thread."""

import contextlib
import importlib
import pkgutil

import bergson  # noqa: F401
import bm25s  # noqa: F401
import numpy  # noqa: F401
import pandas  # noqa: F401
import pyarrow.dataset
import pyarrow.parquet  # noqa: F401
import pydantic  # noqa: F401
import scipy.sparse  # noqa: F401
import tokenizers  # noqa: F401
import torch  # noqa: F401
import transformers  # noqa: F401
from transformers.models.gpt_neox import modeling_gpt_neox  # noqa: F401

import whence

with contextlib.suppress(ImportError):
    import sklearn  # noqa: F401

for module in pkgutil.walk_packages(whence.__path__, "whence."):
    with contextlib.suppress(ImportError):
        importlib.import_module(module.name)
