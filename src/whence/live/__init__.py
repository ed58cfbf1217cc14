"""A page that answers: ad hoc queries to a model and an index that stay in memory.

`server` binds an address, `app` are the calls, `guard` what every request passes, `payload` what
may come in and goes out, `jobs` the queue. What is served is opened by `whence.runs.warm`.
"""

from whence.live.server import require_server, serve

__all__ = ["require_server", "serve"]
