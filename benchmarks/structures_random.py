"""Covariance structures of random effects against glmmTMB and nlme.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/structures_random.py

skmixed and R fit the same rows in one run, each as its users do: a formula and a
data frame, data in memory. Times are the least CPU seconds of several calls. Prints a table in
Markdown.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from timing import seconds

_REPEATS = 7  # of skmixed; R's calls are repeated twice
_LAGS = np.abs(np.subtract.outer(np.arange(20), np.arange(20)))


def r_seconds(table: pd.DataFrame, calls: dict[str, str]) -> dict[str, tuple[float, float]]:
    """Return CPU seconds and -2 log-likelihood of R's calls on `d`; NaN where they fail."""
    if not shutil.which("Rscript"):
        return dict.fromkeys(calls, (np.nan, np.nan))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows.csv"
        table.to_csv(path, index=False)
        lines = [
            "suppressMessages({library(glmmTMB); library(nlme)})",
            f"d <- read.csv('{path}'); d$g <- factor(d$g); d$f <- factor(d$f)",
            "one <- function(e) { t <- Inf; for (i in 1:2) t <- min(t, "
            "system.time(m <- suppressWarnings(eval(e)))[['user.self']]); "
            "cat(sprintf('%.4f %.8f', t, -2 * as.numeric(logLik(m))), '\\n') }",
            *(
                f"tryCatch(one(quote({call})), error = \\(e) cat('NA NA\\n'))"
                for call in calls.values()
            ),
        ]
        script = Path(directory) / "fits.R"
        script.write_text("\n".join(lines))
        done = subprocess.run(["Rscript", str(script)], capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    values = [tuple(float("nan" if each == "NA" else each) for each in row) for row in rows]
    return dict(zip(calls, values, strict=True))


def _visits(seed: int, n_groups: int, n_times: int, *, twice: bool, latent: bool) -> pd.DataFrame:
    """Draw responses of groups at times: AR(1) effects, or two latent ones, and noise."""
    rng = np.random.default_rng(seed)
    rows = pd.MultiIndex.from_product(
        [range(n_groups), range(n_times), range(1 + twice)], names=["g", "t", "r"]
    ).to_frame(index=False)
    root = np.linalg.cholesky(0.7 ** _LAGS[:n_times, :n_times])
    if latent:
        angle = np.linspace(0.0, 2.0, n_times)[:, None]
        root = np.hstack([np.cos(angle), np.sin(angle)])
    effects = rng.standard_normal((n_groups, root.shape[1])) @ root.T
    rows["y"] = effects[rows["g"], rows["t"]] + rng.standard_normal(len(rows))
    kept = rng.random(len(rows)) < (0.8 if twice else 1.0)
    return rows[kept].reset_index(drop=True).assign(f=lambda d: pd.Categorical(d["t"]))


def _machines() -> pd.DataFrame:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.structured import machines

    names = {"Worker": "g", "Machine": "f", "score": "y"}
    return machines().rename(columns=names).assign(t=0.0)


def random_effects() -> list[str]:
    """Compare covariances of random effects with glmmTMB, and homcs with nlme."""
    from skmixed import lmer

    sets = {
        "Machines, 6 x 3, 54 rows": (_machines(), "f", ["homcs", "cs", "ar1", "toep"]),
        "400 x 6, 3,800 rows, AR(1)": (
            _visits(2, 400, 6, twice=True, latent=False), "t", ["ar1", "cs", "toep"],
        ),
        "400 x 6, 3,800 rows, two latent": (
            _visits(3, 400, 6, twice=True, latent=True), "t", ["rr", "us"],
        ),
        "200 x 20, one row each, AR(1)": (
            _visits(4, 200, 20, twice=False, latent=False), "t", ["ar1"],
        ),
    }  # fmt: skip
    lines = [
        "| rows | structure | skmixed, ms | R, ms | ratio | criterion less R's |",
        "|---|---|---|---|---|---|",
    ]
    for title, (table, fixed, names) in sets.items():
        calls = {
            name: f"glmmTMB(y ~ {fixed} + {name}(0 + f | g), d, REML = TRUE)" for name in names
        }
        if "homcs" in calls:
            calls["homcs"] = f"lme(y ~ {fixed}, d, random = list(g = pdCompSymm(~ f - 1)))"
        theirs = r_seconds(table, calls)
        for name in names:
            formula = f"y ~ {fixed} + {name}(0 + f | g)"
            lmer(formula, table)
            times, model = seconds(
                lambda f=formula, d=table: lmer(f, d), _REPEATS, time.process_time
            )
            r, criterion = theirs[name]
            ours = 1e3 * min(times)
            lines.append(
                f"| {title} | `{name}` | {ours:.1f} | {1e3 * r:.0f} | {1e3 * r / ours:.3g} "
                f"| {model.criterion_ - criterion:.1e} |"
            )
    return lines


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print("\n".join(random_effects()))
