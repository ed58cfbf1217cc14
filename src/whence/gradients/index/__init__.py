"""The gradient index in Bergson's format: build, open, check, search, plan."""
