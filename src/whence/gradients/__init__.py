"""What does each example, and each query, ask of the weights? The only room that knows Bergson."""

from whence.gradients.engine import engine_version, require_engine
from whence.gradients.streamed import streamed_products

__all__ = ["engine_version", "require_engine", "streamed_products"]
