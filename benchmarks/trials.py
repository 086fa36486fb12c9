"""Repeated measures of clinical trials, here and by R's glmmTMB and nlme.

Both fit the same rows one after the other in one run, each from a formula and rows in memory.
Times are the least CPU seconds of several calls. The public data of R's mmrm are fitted, too, where
they are. One thread each: set OPENBLAS_NUM_THREADS=1 and OMP_NUM_THREADS=1.

Usage: python benchmarks/trials.py [--mmrm DIRECTORY with fev.csv and bcva.csv]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from timing import seconds

from skmixed import lmer

REPEATS = 7
FEW_ROWS = 2_000  # gls takes minutes for more
R_PROGRAM = """
suppressMessages({{library(nlme); library(glmmTMB)}})
d <- read.csv("{path}", stringsAsFactors = TRUE)
took <- function(call) {{
  t <- min(sapply(1:2, function(i) system.time(m <<- suppressWarnings(eval(call)))[[1]]))
  cat(t, sprintf("%.8f", -2 * as.numeric(logLik(m))), "\\n")
}}
{calls}
"""


def drawn(seed, n_subjects, n_visits, missing):
    """Return a trial of two arms, some of whose visits are missing."""
    rng = np.random.default_rng(seed)
    sizes = np.linspace(4.0, 7.0, n_visits)
    lags = np.abs(np.subtract.outer(range(n_visits), range(n_visits)))
    root = np.linalg.cholesky(0.8**lags * np.outer(sizes, sizes))
    x, arm = rng.standard_normal(n_subjects), rng.integers(0, 2, n_subjects)
    mean = 30.0 + x[:, None] - 0.5 * arm[:, None] * np.arange(n_visits)
    y = mean + rng.standard_normal((n_subjects, n_visits)) @ root.T
    who, when = np.nonzero(rng.random((n_subjects, n_visits)) >= missing)
    return pd.DataFrame(
        {
            "y": y[who, when],
            "x": x[who],
            "arm": np.take(["placebo", "drug"], arm[who]),
            "visit": [f"v{visit:02d}" for visit in when],
            "subject": [f"s{subject:04d}" for subject in who],
        }
    )


def published(directory):
    """Return the public data of mmrm, with their fixed parts."""
    names = {"USUBJID": "subject", "AVISIT": "visit", "FEV1": "y", "BCVA_CHG": "y"}
    fev, bcva = (pd.read_csv(directory / f"{name}.csv").dropna() for name in ("fev", "bcva"))
    return {
        "fev_data": (fev.rename(columns=names), "y ~ RACE + SEX + ARMCD * visit"),
        "bcva_data": (bcva.rename(columns=names), "y ~ BCVA_BL + RACE + ARMCD * visit"),
    }


def in_r(table, formula):
    """Return CPU seconds and -2 log-likelihood by package; nothing without R."""
    if not shutil.which("Rscript"):
        return {}
    calls = {
        "glmmTMB": f"glmmTMB({formula} + us(0 + visit | subject), d, dispformula = ~0, REML = TRUE)"
    }
    if len(table) < FEW_ROWS:
        covariance = "corSymm(form = ~ as.integer(visit) | subject), varIdent(form = ~ 1 | visit)"
        calls["gls"] = f"gls({formula}, d, {covariance})"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        table.to_csv(path, index=False)
        lines = "\n".join(f"took(quote({call}))" for call in calls.values())
        program = R_PROGRAM.format(path=path, calls=lines)
        command = ["Rscript", "-e", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return {name: tuple(map(float, row)) for name, row in zip(calls, rows, strict=True)}


def main():
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mmrm", type=Path)
    directory = parser.parse_args().mmrm
    trials = {
        "200 x 4, a quarter missing": (drawn(1, 200, 4, 0.25), "y ~ x + arm * visit"),
        "1,000 x 10, a seventh missing": (drawn(2, 1000, 10, 0.14), "y ~ x + arm * visit"),
    }
    if directory is not None:
        trials |= published(directory)
    warnings.simplefilter("ignore")
    print("| trial | rows | skmixed, ms | R | ms | ratio | criterion, less R's |")
    print("|---|---:|---:|---|---:|---:|---:|")
    for title, (table, formula) in trials.items():
        taken, model = seconds(
            lambda d=table, f=formula: lmer(f, d, residual="us(visit | subject)"),
            REPEATS,
            time.process_time,
        )
        ours = 1e3 * min(taken)
        for package, (theirs, criterion) in in_r(table, formula).items():
            less = -2.0 * model.log_likelihood_ - criterion
            ratio = 1e3 * theirs / ours
            row = [title, f"{len(table):,}", f"{ours:.1f}", package, f"{1e3 * theirs:.0f}"]
            print("| " + " | ".join([*row, f"{ratio:.0f}", f"{less:.1e}"]) + " |")


if __name__ == "__main__":
    main()
