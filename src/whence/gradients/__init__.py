"""Per-example gradients: compute, project, store in Bergson's format, compare."""

from whence.gradients.index.build import build_index
from whence.gradients.index.engine import engine_version, require_engine
from whence.gradients.index.format import Index, open_index
from whence.gradients.index.preflight import plan
from whence.gradients.index.stored import stored_products
from whence.gradients.passes.streamed import streamed_products

__all__ = [
    "Index",
    "build_index",
    "engine_version",
    "open_index",
    "plan",
    "require_engine",
    "stored_products",
    "streamed_products",
]
