"""The page of a run."""

from whence.report.page import write_page

__all__ = ["write_page"]
