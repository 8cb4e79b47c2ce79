"""Built-in sample filters, one a file: what a synthetic sample must pass before it is given out.

`syncgan.data.sample_filters` says what a filter is. Those that learn compare a sample with what real images of its
class get when they are left out.
"""

from __future__ import annotations

from syncgan.evaluation.filters.contrast import dark_nuclei

__all__ = ["dark_nuclei"]
