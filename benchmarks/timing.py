"""How long calls take."""

from __future__ import annotations

import time


def seconds(call, repeats, clock=time.perf_counter):
    """Return the times of several calls, and the last result."""
    times = []
    for _ in range(repeats):
        start = clock()
        result = call()
        times.append(clock() - start)
    return times, result
