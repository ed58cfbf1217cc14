"""Per-example gradients: compute, project, store in Bergson's format, compare."""

from whence.gradients.index.build import build_index, merge_index, missing_shares
from whence.gradients.index.engine import engine_version, require_engine
from whence.gradients.index.format import Index
from whence.gradients.index.joined import Parts, join_indexes
from whence.gradients.index.opening import open_index
from whence.gradients.index.preflight import plan
from whence.gradients.index.stored import stored_products
from whence.gradients.passes.streamed import streamed_products

__all__ = [
    "Index",
    "Parts",
    "build_index",
    "engine_version",
    "join_indexes",
    "merge_index",
    "missing_shares",
    "open_index",
    "plan",
    "require_engine",
    "stored_products",
    "streamed_products",
]
