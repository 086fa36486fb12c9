"""Levels of known covariance: skmixed, and lme4 with Z times a root of K, as lme4qtl has it.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/related_levels.py [--levels 600 2000]

CPU seconds of one fit, K made before; the second model has an effect of every level beside
that of its relatives. lme4 is left out where R is not there, and for more levels than a thousand.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from r_fits import in_r
from timing import seconds

from skmixed import MixedLinearRegressor, Relationship

_R = """
K <- as.matrix(read.csv("{matrix}", header = FALSE)); L <- t(chol(K))
d$g <- factor(d$g); d$own <- d$g
by_root <- function(form) {{
  skip <- lmerControl(check.nobs.vs.nlev = "ignore", check.nobs.vs.nRE = "ignore")
  lf <- lFormula(form, d, control = skip)
  lf$reTrms$Ztlist[[1]] <- as(t(L) %*% lf$reTrms$Ztlist[[1]], "CsparseMatrix")
  lf$reTrms$Zt <- do.call(rbind, lf$reTrms$Ztlist)
  found <- optimizeLmer(do.call(mkLmerDevfun, lf))
  structure(list(criterion = found$fval), class = "criterion")
}}
logLik.criterion <- function(object, ...) -0.5 * object$criterion
"""
_MOST_FOR_R = 1_000


def drawn(n_levels):
    """Draw families with a genomic kinship, and one to four rows a level."""
    rng = np.random.default_rng(8)
    markers = rng.binomial(2, rng.uniform(0.1, 0.5, 2_000), (n_levels, 2_000)).astype(float)
    markers = (markers - markers.mean(0)) / markers.std(0)
    families = rng.standard_normal((n_levels // 10, 2_000))
    markers = 0.7 * markers + 0.7 * families[np.arange(n_levels) // 10]
    K = markers @ markers.T / 2_000
    K = K / np.mean(np.diag(K)) + 1e-6 * np.eye(n_levels)
    effects = np.linalg.cholesky(K) @ rng.standard_normal(n_levels) * 0.8
    g = np.repeat(np.arange(n_levels), rng.integers(1, 5, n_levels))
    x = rng.standard_normal(len(g))
    y = 1 + 0.5 * x + effects[g] + 0.5 * rng.standard_normal(n_levels)[g]
    y += rng.standard_normal(len(g))
    return pd.DataFrame({"x": x, "g": g, "own": g, "y": y}), K


def in_lme4(table, K, call):
    """Return CPU seconds and the criterion of lme4 with Z times a root of K."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "K.csv"
        np.savetxt(path, K, delimiter=",")
        return in_r(table, call, "lme4 Matrix", _R.format(matrix=path))


def main():
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", type=int, nargs="+", default=[600, 2_000, 5_000])
    warnings.simplefilter("ignore")
    print("| levels | rows | model | skmixed, s | lme4, s | times skmixed | differs by |")
    print("|---:|---:|---|---:|---:|---:|---:|")
    for n_levels in parser.parse_args().levels:
        table, K = drawn(n_levels)
        related = {"g": Relationship(K, np.arange(n_levels))}
        for random in ("(1 | g)", "(1 | g) + (1 | own)"):
            if n_levels > _MOST_FOR_R and "own" in random:
                continue
            model = MixedLinearRegressor(random, fixed="x", relationship=related)
            X, y = table.drop(columns="y"), table["y"]
            repeats = 3 if n_levels < 3_000 else 1
            taken, fitted = seconds(
                lambda m=model, X=X, y=y: m.fit(X, y), repeats, time.process_time
            )
            line = f"| {n_levels:,} | {len(table):,} | `{random}` | {min(taken):.3f}".replace(
                "1 | ", "1 \\| "
            )
            cells = ["", "", ""]
            if n_levels <= _MOST_FOR_R:
                call = f"by_root(y ~ x + {random})"
                found = in_lme4(table, K, call)
                if found is not None:
                    less = f"{fitted.criterion_ - found[1]:.1e}"
                    cells = [f"{found[0]:.1f}", f"{found[0] / min(taken):.0f}x", less]
            print(" | ".join([line, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
