"""Fits of R's packages to a table that is given to them as a file."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pandas as pd

# The measure is the residual variance of additive models, whose criteria differ by constants
# between packages, and -2 log-likelihood of all others.
_PROGRAM = """
wanted <- strsplit("{packages}", " ")[[1]]
for (name in wanted) suppressMessages(library(name, character.only = TRUE))
d <- read.csv("{path}")
{prepare}
cpu <- function(code) sum(system.time(code)[1:2])
measure <- function(fit) if (inherits(fit, "gam")) fit$sig2 else
  if (!is.null(fit$mer)) sigma(fit$mer)^2 else -2 * as.numeric(logLik(fit))
one <- function(call) {{
  taken <- cpu(fit <- suppressWarnings(eval(call)))
  n <- ceiling(0.1 / max(taken, 0.001))
  more <- if (taken < 5) replicate(3, cpu(for (i in 1:n) suppressWarnings(eval(call))) / n)
  cat(sprintf("%.6f %.15g", min(c(taken, more)), measure(fit)), "\\n")
}}
tryCatch(one(quote({call})), error = function(e) cat("NA NA\\n"))
"""
_MINUTES = 10  # a call that takes longer is left out


def in_r(table: pd.DataFrame, call: str, packages: str, prepare: str = ""):
    """Return the least CPU seconds of a call on `d`, and its measure.

    NaN where R fails; None without R, and where the call takes longer than ten minutes.
    """
    if not shutil.which("Rscript"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path, script = Path(folder) / "rows.csv", Path(folder) / "fit.R"
        table.to_csv(path, index=False)
        script.write_text(_PROGRAM.format(path=path, call=call, packages=packages, prepare=prepare))
        try:
            done = subprocess.run(
                ["Rscript", script],
                capture_output=True,
                text=True,
                timeout=60 * _MINUTES,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        except subprocess.TimeoutExpired:
            return None
    found = done.stdout.split()
    if done.returncode or len(found) < 2:
        return None
    return tuple(float("nan" if each == "NA" else each) for each in found[-2:])


def r_table(name: str, package: str) -> pd.DataFrame | None:
    """Return a data set of an R package, None without R or it."""
    if not shutil.which("Rscript"):
        return None
    code = f"write.csv(as.data.frame({package}::{name}), row.names = FALSE)"
    done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True)
    if done.returncode:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_text(done.stdout)
        return pd.read_csv(path)
