"""Time curves, covariances of effects, and residual structures, here and in other packages.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/structures.py [SECTION ...]

Sections are curves, effects, residuals, trials and wide; all without any. --large adds the cases
that take minutes, and --mmrm the public data of R's mmrm in a directory. Both sides
get a formula and a table in memory; times are CPU seconds, the least of several calls, of which
fast ones are repeated. Packages that are not installed are left out.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from pathlib import Path

from structures_curves import curves
from structures_effects import effects
from structures_residuals import residuals
from structures_trials import trials
from structures_wide import wide
from timing import seconds

SECTIONS = {
    "curves": curves, "effects": effects, "residuals": residuals, "trials": trials, "wide": wide,
}  # fmt: skip
_HEAD = """| model | rows | skmixed, ms | package | ms | times skmixed | differs by |
|---|---:|---:|---|---:|---:|---:|"""
_LEAST = 0.5  # seconds for which fast fits are repeated, against the noise of the machine


def ours(fit):
    """Return the least CPU seconds of a fit, and its result."""
    taken, result = seconds(fit, 1, time.process_time)
    while len(taken) < 3 or (sum(taken) < _LEAST and len(taken) < 100):
        more, result = seconds(fit, 1, time.process_time)
        taken += more
    return min(taken), result


def shown(milliseconds):
    """Write a time with two digits that count."""
    if milliseconds >= 100:
        return f"{milliseconds:,.0f}"
    return f"{milliseconds:.1f}"


def times(ratio):
    """Write a ratio with two digits that count."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


def measure(case, ratios):
    """Print the lines of a case, and add the ratio of every package."""
    taken, model = ours(case.fit)
    line = f"| {case.title} | {case.n_rows:,} | {shown(1e3 * taken)}"
    if not case.peers:
        print(f"{line} | | | | |", flush=True)
    for package, call in case.peers.items():
        found = call()
        if found is None:
            continue
        theirs, value = found
        difference = case.value(model) - value
        if case.relative:
            difference /= value
        cells = [package, shown(1e3 * theirs), f"{times(theirs / taken)}x", f"{difference:.1e}"]
        cells = ["" if "nan" in cell else cell for cell in cells]
        print(" | ".join([line, *cells]) + " |", flush=True)
        if not math.isnan(theirs):
            ratios.setdefault(package, []).append(theirs / taken)


def main():
    """Run the sections that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--mmrm", type=Path)
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {list(SECTIONS)}")
    warnings.simplefilter("ignore")
    for name in arguments.sections or SECTIONS:
        ratios = {}
        print(f"\n{name}\n\n{_HEAD}")
        for case in SECTIONS[name](arguments):
            measure(case, ratios)
        for package, found in ratios.items():
            median, least = times(statistics.median(found)), times(min(found))
            print(f"\n{package}: median {median}x, least {least}x")


if __name__ == "__main__":
    main()
