"""Nonlinear mixed models here and in R's nlme and lme4, on data sets of R and 1,000 drawn trees.

Times are CPU seconds, the least of several calls: here of an estimator's fit to a data frame, in R
of nlme() and nlmer() at their default controls.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from skmixed import MixedNonlinearRegressor

R_DATA = """
o <- commandArgs(TRUE)[1]
for (n in c("Orange", "Theoph", "Loblolly", "Indometh"))
  write.csv(as.data.frame(get(n)), file.path(o, paste0(n, ".csv")), row.names=FALSE)
"""
R_FIT = """
suppressMessages({library(nlme); library(lme4)}); a <- commandArgs(TRUE)
d <- read.csv(a[1]); call <- parse(text=a[2]); n <- as.integer(a[3])
best <- Inf
for (i in 1:n) best <- min(best, system.time(f <- try(eval(call), silent=TRUE))[[1]])
if (inherits(f, "try-error")) { cat("NA NA\\n") } else {
  cat(sprintf("%.6f %.6f\\n", -2*as.numeric(logLik(f)), best))
}
"""
# name: data, response, model, random, covariance, curve and start in R
CASES = {
    "Orange, Asym": (
        "Orange", "circumference", "logistic(age, Asym, xmid, scal)", "Asym | Tree",
        "SSlogis(age, Asym, xmid, scal)", "c(Asym=192, xmid=728, scal=348)",
    ),
    "Loblolly, Asym": (
        "Loblolly", "height", "asymptotic(age, Asym, R0, lrc)", "Asym | Seed",
        "SSasymp(age, Asym, R0, lrc)", "c(Asym=103, R0=-8.5, lrc=-3.3)",
    ),
    "Theoph, lKa and lCl, independent": (
        "Theoph", "conc", "first_order(Dose, Time, lKe, lKa, lCl)", "lKa + lCl || Subject",
        "SSfol(Dose, Time, lKe, lKa, lCl)", "c(lKe=-2.4, lKa=0.45, lCl=-3.2)",
    ),
    "Theoph, lKa and lCl": (
        "Theoph", "conc", "first_order(Dose, Time, lKe, lKa, lCl)", "lKa + lCl | Subject",
        "SSfol(Dose, Time, lKe, lKa, lCl)", "c(lKe=-2.4, lKa=0.45, lCl=-3.2)",
    ),
    "Indometh, three, independent": (
        "Indometh", "conc", "biexponential(time, A1, lrc1, A2, lrc2)", "A1 + lrc1 + A2 || Subject",
        "SSbiexp(time, A1, lrc1, A2, lrc2)", "c(A1=2.77, lrc1=0.77, A2=0.6, lrc2=-1.3)",
    ),
    "1,000 trees of 8 rows, Asym and xmid": (
        "big", "y", "logistic(age, Asym, xmid, scal)", "Asym + xmid | Tree",
        "SSlogis(age, Asym, xmid, scal)", "c(Asym=192, xmid=728, scal=348)",
    ),
}  # fmt: skip


def draw_trees(n_trees: int = 1_000) -> pd.DataFrame:
    """Draw trees that differ in their limit and in when they are halfway there."""
    rng = np.random.default_rng(1)
    age = np.tile([118.0, 484, 664, 1004, 1231, 1372, 1582, 1800], n_trees)
    tree = np.repeat(np.arange(n_trees), 8)
    limit, middle = 190 + 30 * rng.normal(size=n_trees), 730 + 60 * rng.normal(size=n_trees)
    y = limit[tree] / (1 + np.exp((middle[tree] - age) / 350)) + 8 * rng.normal(size=len(age))
    return pd.DataFrame({"age": age, "Tree": tree, "y": y})


def fitted_here(data, case, method, n):
    """Return -2 log-likelihood and CPU seconds."""
    _, response, curve, random, *_ = case
    best = np.inf
    model = MixedNonlinearRegressor(curve, random=random, method=method)
    for _ in range(n):
        began = time.process_time()
        model.fit(data, data[response])
        best = min(best, time.process_time() - began)
    return model.criterion_, best


def calls_of(case):
    """Return the calls of nlme and nlmer."""
    _, response, _, random, curve, start = case
    left, _, group = random.partition("|")
    is_diagonal, names = group.startswith("|"), [each.strip() for each in left.split("+")]
    group = group.strip("| ")
    fixed = " + ".join(each.strip() for each in curve[curve.index("(") + 1 : -1].split(",")
                       if f"{each.strip()}=" in start)  # fmt: skip
    effects = " + ".join(names)
    of_nlme = f"{effects} ~ 1 | {group}"
    of_nlmer = f"({effects} | {group})"
    if is_diagonal:
        of_nlme = f"list({group} = pdDiag({effects} ~ 1))"
        of_nlmer = " + ".join(f"(0 + {name} | {group})" for name in names)
    return {
        "lindstrom-bates": f"nlme({response} ~ {curve}, d, fixed={fixed} ~ 1, random={of_nlme}, "
        f"start={start})",
        "laplace": f"nlmer({response} ~ {curve} ~ {of_nlmer}, d, start={start})",
    }


def main() -> None:
    """Print a row of the table a case and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-r", action="store_true")
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "data.R"
        script.write_text(R_DATA)
        subprocess.run(["Rscript", script, directory], check=True)
        draw_trees().to_csv(Path(directory) / "big.csv", index=False)
        (Path(directory) / "fit.R").write_text(R_FIT)
        for name, case in CASES.items():
            if asked.only not in name:
                continue
            file = Path(directory) / f"{case[0]}.csv"
            data, n = pd.read_csv(file), 2 if case[0] == "big" else 5
            for method, call in calls_of(case).items():
                criterion, seconds = fitted_here(data, case, method, n)
                theirs = ["NA", "NA"]
                if not asked.without_r:
                    command = ["Rscript", Path(directory) / "fit.R", file, call]
                    times = "1" if case[0] == "big" else "3"
                    done = subprocess.run([*command, times], capture_output=True, text=True)
                    theirs = done.stdout.split()[-2:] or theirs
                ratio = "" if theirs[1] == "NA" else f"{float(theirs[1]) / seconds:.2f}"
                print(f"| {name} | {method} | {criterion:.6f} | {1e3 * seconds:.1f} | "
                      f"{theirs[0]} | {theirs[1]} | {ratio} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
