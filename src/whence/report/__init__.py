"""How does a person see what a run found?"""

from whence.report.page import write_page

__all__ = ["write_page"]
