"""The report: one self-contained page made from a comparison's JSON and PNG files, and no model."""

from triptych.report.page import write_page

__all__ = ["write_page"]
