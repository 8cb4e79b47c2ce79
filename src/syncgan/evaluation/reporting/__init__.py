"""The report of a run: what it learned from, what it makes, whether that helps, and what it must not be used for.

`fit_run` and ``syncgan report`` make it by the same function, from more or less that is known; what only the fit saw is
kept in the run folder, so that a later report need not be poorer.
"""

from syncgan.evaluation.reporting.making import ReportResult, make_report, report_run

__all__ = ["ReportResult", "make_report", "report_run"]
