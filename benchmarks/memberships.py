"""Rows of several levels: skmixed's ``mm()``, and lme4 with a matrix of weights made by hand.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/memberships.py [--levels 100 300]

CPU seconds of one fit of rows with two members each, equally weighted; lme4 is given the weights in
the place of Z, which is what lmerMultiMember does. lme4 is left out where R is not there.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from r_fits import in_r
from timing import seconds

from skmixed import glmer, lmer

_R = """
d$g <- factor(d$a, levels = sort(unique(c(d$a, d$b))))
members <- Matrix::fac2sparse(d$g, drop.unused.levels = FALSE) / 2 +
  Matrix::fac2sparse(factor(d$b, levels = levels(d$g)), drop.unused.levels = FALSE) / 2
found <- function(o) structure(list(criterion = o$fval), class = "criterion")
logLik.criterion <- function(object, ...) -0.5 * object$criterion
linear <- function() {
  f <- lFormula(y ~ x + (1 | g), d)
  f$reTrms$Ztlist[[1]] <- f$reTrms$Zt <- as(members, "CsparseMatrix")
  found(optimizeLmer(do.call(mkLmerDevfun, f)))
}
binomial_model <- function() {
  f <- glFormula(hit ~ x + (1 | g), d, family = binomial)
  f$reTrms$Ztlist[[1]] <- f$reTrms$Zt <- as(members, "CsparseMatrix")
  devfun <- do.call(mkGlmerDevfun, f)
  optimizeGlmer(devfun)
  found(optimizeGlmer(updateGlmerDevfun(devfun, f$reTrms), stage = 2))
}
"""


def drawn(n_levels):
    """Draw ten rows a level, each of two levels."""
    rng, n = np.random.default_rng(5), 10 * n_levels
    a, b = rng.integers(0, n_levels, n), rng.integers(0, n_levels, n)
    a[:n_levels] = np.arange(n_levels)
    x, effects = rng.standard_normal(n), rng.standard_normal(n_levels)
    eta = 0.5 * x + effects[a] / 2 + effects[b] / 2
    hit = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int)
    return pd.DataFrame({"x": x, "a": a, "b": b, "hit": hit, "y": eta + rng.standard_normal(n)})


def main():
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", type=int, nargs="+", default=[100, 300, 600])
    warnings.simplefilter("ignore")
    fits = {
        "linear": (lambda d: lmer("y ~ x + (1 | mm(a, b))", d), "linear()"),
        "binomial": (
            lambda d: glmer("hit ~ x + (1 | mm(a, b))", d, family="binomial"),
            "binomial_model()",
        ),
    }
    print("| levels | rows | model | skmixed, s | lme4, s | times skmixed | differs by |")
    print("|---:|---:|---|---:|---:|---:|---:|")
    for n_levels in parser.parse_args().levels:
        table = drawn(n_levels)
        for name, (fit, call) in fits.items():
            taken, model = seconds(lambda f=fit, d=table: f(d), 3, time.process_time)
            cells = ["", "", ""]
            found = in_r(table, call, "lme4 Matrix", _R)
            if found is not None:
                less = f"{model.criterion_ - found[1]:.1e}"
                cells = [f"{found[0]:.2f}", f"{found[0] / min(taken):.1f}x", less]
            line = f"| {n_levels:,} | {len(table):,} | {name} | {min(taken):.3f}"
            print(" | ".join([line, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
