"""The page that tells what a run found."""

from whence.report.page import write_page
from whence.report.pictures import Picture, svg_text
from whence.report.plots import page_pictures

__all__ = ["Picture", "page_pictures", "svg_text", "write_page"]
