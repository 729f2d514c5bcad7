"""Pages and pictures of what was done."""

from gan_augment.report.page import write_report
from gan_augment.report.samples import sample_grid
from gan_augment.report.table import comparison_table

__all__ = ["comparison_table", "sample_grid", "write_report"]
