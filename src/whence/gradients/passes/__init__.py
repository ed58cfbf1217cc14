"""Per-example gradients of a batch: hooks, losses, streamed inner products (no Bergson)."""
