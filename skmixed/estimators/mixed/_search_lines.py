"""Progress reports of a search."""

from __future__ import annotations

import logging

import numpy as np

from skmixed.core.search.auto import TYPICAL_EVALUATIONS
from skmixed.core.search.report import Iteration

_UNSAID_SECONDS = 5.0  # s, a wait that needs no explanation


def print_iteration(line: Iteration) -> None:
    """Print one line of the trace of a search."""
    number, all_starts = line.start
    start = f"start {number} of {all_starts}: " if number > 1 else ""
    start = start if number else "several starts at once: "
    mark = "" if line.accepted else " (rejected)"
    criterion = "" if np.isnan(line.criterion) else f"criterion {line.criterion:.6f}  "
    print(
        f"{start}{criterion}gradient {line.gradient_norm:.2e}  step {line.step:.2e}  "
        f"{line.seconds:.3f} s{mark}"
    )


class LongSearchNotice:
    """Log once, after a few seconds, the size and duration of a search of crossed factors."""

    def __init__(self, size: str) -> None:
        self.size = size
        self.n_evaluations = 1  # where the search begins
        self.is_said = False

    def __call__(self, line: Iteration) -> None:
        """Check the time."""
        self.n_evaluations += 1
        if self.is_said or line.seconds < _UNSAID_SECONDS:
            return
        self.is_said = True
        left = line.seconds / self.n_evaluations * max(TYPICAL_EVALUATIONS - self.n_evaluations, 1)
        logging.getLogger("skmixed").warning(
            "A long fit of crossed factors: %s. About %.0f s to go; verbose=1 prints every "
            "step, and solver='iterative' is faster but approximate",
            self.size,
            left,
        )
