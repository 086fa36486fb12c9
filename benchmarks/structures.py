"""Time models with structure beyond random intercepts and slopes, here and in other packages.

Packages that are not installed are left out: R with mgcv and gamm4, and gamrs;
the section of residuals needs R with nlme. One thread each:
set OPENBLAS_NUM_THREADS=1 and OMP_NUM_THREADS=1.

Usage: python benchmarks/structures.py [smooths] [residuals] [--large]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from residual_structures import residuals
from timing import seconds

from skmixed import MixedLinearRegressor

SMALL, LARGE, LEVELS = 400, 200_000, 5_000
CURVES = " + ".join(f"s(x{j}, k=20)" for j in range(4))
R_CURVES = " + ".join(f's(x{j}, bs = "ps", k = 20)' for j in range(4))
R_PROGRAM = """
suppressMessages(library(mgcv)); suppressMessages(library(gamm4))
d <- read.csv("{path}"); d$g <- factor(d$g)
took <- function(call, n) {{
  t <- numeric(n); for (i in 1:n) t[i] <- system.time(m <- eval(call))[[3]]
  cat(median(t), if (inherits(m, "gam")) m$sig2 else sigma(m$mer)^2, "\\n")
}}
took(quote({call}), {repeats})
"""


def additive(n, levels):
    """Return a table of four columns and groups, and the response of Gu and Wahba's example."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({f"x{j}": rng.uniform(size=n) for j in range(4)})
    table["g"] = rng.integers(0, levels, n)
    x = table["x2"]
    y = 2 * np.sin(np.pi * table["x0"]) + np.exp(2 * table["x1"])
    y += 0.2 * x**11 * (10 * (1 - x)) ** 6 + 10 * (10 * x) ** 3 * (1 - x) ** 10
    y += rng.standard_normal(levels)[table["g"]] + 2 * rng.standard_normal(n)
    return table, np.asarray(y)


def ours(table, y, random, repeats):
    """Return the median time of a fit, and the residual variance."""
    model = MixedLinearRegressor(random, fixed=CURVES)
    model.fit(table, y)
    taken, fitted = seconds(lambda: model.fit(table, y), repeats)
    return statistics.median(taken), fitted.residual_variance_


def in_r(table, y, call, repeats):
    """Return the same of a call of R; None without R, and where it does not end in ten minutes."""
    if not shutil.which("Rscript"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        table.assign(y=y).to_csv(path, index=False)
        program = R_PROGRAM.format(path=path, call=call, repeats=repeats)
        try:
            done = subprocess.run(
                ["Rscript", "-e", program],
                capture_output=True,
                text=True,
                timeout=600,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        except subprocess.TimeoutExpired:
            return None
    found = done.stdout.split()
    return (float(found[-2]), float(found[-1])) if done.returncode == 0 and found else None


def in_gamrs(table, y, repeats):
    """Return the same of gamrs, whose basis is another; None without it."""
    if find_spec("gamrs") is None:
        return None
    from gamrs import CrTerm, Gam

    X = table[["x0", "x1", "x2", "x3"]]
    terms = [CrTerm(name, k=20) for name in X]
    taken, model = seconds(lambda: Gam(terms=terms, method="REML").fit(X, y), repeats + 1)
    return statistics.median(taken[1:]), float(np.ravel(model.scale_)[0])


def smooths(*, large):
    """Time four curves alone and beside groups."""
    print("| rows | groups | package | seconds | residual variance |\n|---|---|---|---|---|")
    for n, levels, repeats in [(SMALL, 20, 9)] + [(LARGE, LEVELS, 3)] * large:
        table, y = additive(n, levels)
        found = {("", "skmixed"): ours(table, y, None, repeats)}
        found["", "gamrs"] = in_gamrs(table, y, repeats)
        if n == SMALL:
            call = f"gam(y ~ {R_CURVES}, data = d, method = 'REML')"
            found["", "mgcv gam"] = in_r(table, y, call, repeats)
        else:
            call = f"bam(y ~ {R_CURVES}, data = d, method = 'fREML', discrete = TRUE)"
            found["", "mgcv bam, discrete"] = in_r(table, y, call, repeats)
        found[f"{levels:,}", "skmixed"] = ours(table, y, "(1 | g)", repeats)
        if n == SMALL:
            call = f"gam(y ~ {R_CURVES} + s(g, bs = 're'), data = d, method = 'REML')"
            found[f"{levels:,}", "mgcv gam"] = in_r(table, y, call, repeats)
            call = f"gamm4(y ~ {R_CURVES}, random = ~(1 | g), data = d)"
            found[f"{levels:,}", "gamm4"] = in_r(table, y, call, 3)
        for (groups, package), figures in found.items():
            if figures is not None:
                print(f"| {n:,} | {groups} | {package} | {figures[0]:.4f} | {figures[1]:.6f} |")


def main():
    """Run the sections that are asked for, by default all."""
    sections = {"smooths": smooths, "residuals": residuals}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*sections, []], default=[])
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.sections or sections:
        sections[name](large=arguments.large)


if __name__ == "__main__":
    main()
