"""Fit one model with one package in a process of its own; print the figures as JSON.

Usage: python benchmarks/worker.py PEER CASE SCALE SECONDS
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import peers
from cases import CASES
from peers import UnfitError, run_lme4


def resident():
    """Return megabytes resident now, after the recorded peak is forgotten."""
    Path("/proc/self/clear_refs").write_text("5")
    text = Path("/proc/self/status").read_text()
    return float(text.split("VmRSS:")[1].split()[0]) / 1024


def peak():
    """Return the peak of resident megabytes since `resident`."""
    text = Path("/proc/self/status").read_text()
    return float(text.split("VmHWM:")[1].split()[0]) / 1024


def measure(fit, budget):
    """Time a fit until the budget is spent, five times at least if it is quick."""
    seconds = []
    before = resident()
    criterion, began = None, time.perf_counter()
    while not seconds or (time.perf_counter() - began < budget and len(seconds) < 200):
        start = time.perf_counter()
        criterion = fit()
        seconds.append(time.perf_counter() - start)
        if len(seconds) == 1:
            memory = peak() - before
    return seconds, criterion, memory


def main():
    """Print what was measured, or why it was not."""
    peer, name, scale, budget = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    case = CASES[name](scale)
    try:
        if peer == "lme4":
            seconds, criterion, memory = run_lme4(case, 1 if len(case.data) > 1000 else 20)
        else:
            fit = getattr(peers, f"prepare_{peer}")(case)
            seconds, criterion, memory = measure(fit, budget)
    except UnfitError as reason:
        print(json.dumps({"unfit": str(reason)}))
        return
    print(json.dumps({"seconds": seconds, "criterion": criterion, "memory": memory}))


if __name__ == "__main__":
    main()
