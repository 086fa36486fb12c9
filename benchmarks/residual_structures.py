"""Correlated and unequal residuals here and in R's nlme, whose data sets are used.

Times are the least of several runs: here of summing arrays and fitting, in R of lme() or gls() at
its default controls.
"""

from __future__ import annotations

import csv
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from timing import seconds

from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.residual.fitting import fit_tables, tables_of
from skmixed.core.residual.products import ResidualProduct
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows

R_DATA = """
suppressMessages(library(nlme)); o <- commandArgs(TRUE)[1]
out <- function(d, n) write.csv(as.data.frame(d), file.path(o, paste0(n, ".csv")), row.names=FALSE)
Ovary$s <- sin(2*pi*Ovary$Time); Ovary$c <- cos(2*pi*Ovary$Time)
Orthodont$female <- 1*(Orthodont$Sex == "Female"); Orthodont$af <- Orthodont$age*Orthodont$female
b <- BodyWeight; b$d2 <- 1*(b$Diet==2); b$d3 <- 1*(b$Diet==3); b$t2 <- b$Time*b$d2
b$t3 <- b$Time*b$d3
out(Ovary, "ovary"); out(Orthodont, "orthodont"); out(b, "body")
"""
R_FIT = """
suppressMessages(library(nlme)); a <- commandArgs(TRUE)
d <- read.csv(a[1]); d$g <- factor(d[[a[2]]]); if (a[3] != "") d$s <- factor(d[[a[3]]])
call <- parse(text=a[4]); n <- as.integer(a[5])
fit <- try(eval(call), silent=TRUE)
if (inherits(fit, "try-error")) { cat("NA NA\\n"); quit() }
once <- function(i) system.time(for (j in 1:n) eval(call))[["elapsed"]] / n
best <- min(sapply(1:ifelse(n > 1, 3, 1), once))
cat(sprintf("%.8f %.6f\\n", -2*as.numeric(logLik(fit)), best))
"""
BODY = ["Time", "d2", "d3", "t2", "t3"]
CHILDREN = ["age", "female", "af"]
# name: table, features, response, series, random columns, structure, method, R's call
CASES = {
    "Ovary, intercepts, AR(1), ML": (
        "ovary", ["s", "c"], "follicles", "Mare", (0,), {"correlation": "ar1"}, "ml",
        "lme(follicles~s+c, d, ~1|g, correlation=corAR1(), method='ML')",
    ),
    "Ovary, uncorrelated slopes, AR(1)": (
        "ovary", ["s", "c"], "follicles", "Mare", (0, 1), {"correlation": "ar1"}, "reml",
        "lme(follicles~s+c, d, list(g=pdDiag(~s)), correlation=corAR1())",
    ),
    "Orthodont, slopes, a variance by sex": (
        "orthodont", CHILDREN, "distance", "Subject", (0, 1), {"stratum": "Sex"}, "reml",
        "lme(distance~age+female+af, d, ~age|g, weights=varIdent(form=~1|s))",
    ),
    "Orthodont, intercepts, a variance by sex, ML": (
        "orthodont", CHILDREN, "distance", "Subject", (0,), {"stratum": "Sex"}, "ml",
        "lme(distance~age+female+af, d, ~1|g, weights=varIdent(form=~1|s), method='ML')",
    ),
    "Orthodont, compound symmetry": (
        "orthodont", CHILDREN, "distance", "Subject", (), {"correlation": "cs"}, "reml",
        "gls(distance~age+female+af, d, corCompSymm(form=~1|g))",
    ),
    "Orthodont, AR(1)": (
        "orthodont", CHILDREN, "distance", "Subject", (), {"correlation": "ar1"}, "reml",
        "gls(distance~age+female+af, d, corAR1(form=~1|g))",
    ),
    "BodyWeight, slopes, AR(1) in continuous time": (
        "body", BODY, "weight", "Rat", (0, 1), {"correlation": "car1", "time": "Time"}, "reml",
        "lme(weight~Time+d2+d3+t2+t3, d, ~Time|g, correlation=corCAR1(form=~Time))",
    ),
    "BodyWeight, slopes, power of time": (
        "body", BODY, "weight", "Rat", (0, 1), {"power": "Time"}, "reml",
        "lme(weight~Time+d2+d3+t2+t3, d, ~Time|g, weights=varPower(form=~Time))",
    ),
    "BodyWeight, intercepts, AR(1) and a variance by diet": (
        "body", BODY, "weight", "Rat", (0,), {"correlation": "ar1", "stratum": "Diet"}, "reml",
        "lme(weight~Time+d2+d3+t2+t3, d, ~1|g, correlation=corAR1(), weights=varIdent(form=~1|s))",
    ),
    "200 series of 20, slopes, AR(1)": (
        "series200", ["t", "x"], "y", "id", (0, 1), {"correlation": "ar1"}, "reml",
        "lme(y~t+x, d, ~t|g, correlation=corAR1())",
    ),
    "2,000 series of 20, slopes, AR(1)": (
        "series2000", ["t", "x"], "y", "id", (0, 1), {"correlation": "ar1"}, "reml",
        "lme(y~t+x, d, ~t|g, correlation=corAR1())",
    ),
}  # fmt: skip


def draw_series(directory, n_series, length=20, rho=0.6):
    """Write a table of series with AR(1) residuals beside random slopes."""
    rng = np.random.default_rng(n_series)
    e = rng.standard_normal((n_series, length))
    for j in range(1, length):
        e[:, j] = rho * e[:, j - 1] + np.sqrt(1 - rho**2) * e[:, j]
    t, x = np.tile(np.arange(length), (n_series, 1)), rng.standard_normal((n_series, length))
    b = rng.standard_normal((n_series, 2)) * [1.0, 0.06]
    y = 2 + 0.5 * x + 0.1 * t + b[:, :1] + b[:, 1:] * t + e
    ids = np.repeat(np.arange(n_series), length)
    table = np.column_stack([ids, t.ravel(), x.ravel(), y.ravel()])
    path = directory / f"series{n_series}.csv"
    np.savetxt(path, table, delimiter=",", header="id,t,x,y", comments="", fmt="%.12g")


def arrays(directory, case):
    """Return a function that sums and fits a case from arrays."""
    name, features, response, series, random, wanted, method, _ = case
    with (directory / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    data = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    labels, codes = np.unique(data[series], return_inverse=True)
    index, n = GroupIndex((series,), (labels,)), len(codes)
    numbers = [data[each].astype(float) for each in [*features, response]]
    columns = np.column_stack([np.ones(n), *numbers])
    factors = (FactorLayout((series,), random),) if random else ()
    layout = Layout(("1", *features, response), factors)
    table = Rows(columns, (codes,) if random else (), (index,) if random else ())
    order = np.argsort(codes, kind="stable")
    position = np.empty(n)
    position[order] = np.concatenate([np.arange(m) for m in np.bincount(codes)])
    if "time" in wanted:
        position = data[wanted["time"]].astype(float)
    strata, stratum = (), None
    if "stratum" in wanted:
        strata, stratum = np.unique(data[wanted["stratum"]], return_inverse=True)
    value = data[wanted["power"]].astype(float) if "power" in wanted else None
    of_residuals = ResidualRows(codes, index, position, stratum, value)
    structure = ResidualProduct.of(wanted.get("correlation"), strata, value is not None)
    covariance = "diagonal" if "pdDiag" in case[-1] else "unstructured"
    terms = (Term(0, random, covariance),) if random else ()
    spec = ModelSpec(tuple(range(len(features) + 1)), terms, method)

    def fit():
        fitted = fit_tables(tables_of(layout, table, of_residuals, structure), spec)
        return fitted.criterion, fitted.beta_covariance, len(codes)

    return fit


def in_r(directory, case, repeats):
    """Return the criterion that R reaches and the least time of its call."""
    script = directory / "fit.R"
    script.write_text(R_FIT)
    name, _, _, series, _, wanted, _, call = case
    command = ["Rscript", script, directory / f"{name}.csv", series, wanted.get("stratum", "")]
    printed = subprocess.run(
        [*command, call, str(repeats)], capture_output=True, text=True, check=True
    ).stdout.split()
    return [float(word) if word != "NA" else np.nan for word in printed]


def residuals(*, large):
    """Print criteria and times of correlated and unequal residuals."""
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name), list(CASES)[: None if large else -1])


def compare(directory, names):
    script = directory / "data.R"
    script.write_text(R_DATA)
    subprocess.run(["Rscript", script, directory], check=True, capture_output=True)
    for n_series in (200, 2_000):
        draw_series(directory, n_series)
    print("| model | rows | -2 log L | nlme's is above by | skmixed, ms | nlme, ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    ratios = []
    for name in names:
        times, (criterion, _, n) = timed(arrays(directory, CASES[name]))
        theirs, taken = in_r(directory, CASES[name], 10 if n < 1_000 else 1)
        ratios.append(taken / min(times))
        cells = f"{criterion:.6f} | {theirs - criterion:.1e} | {1e3 * min(times):.1f}"
        print(f"| {name} | {n} | {cells} | {1e3 * taken:.0f} | {ratios[-1]:.1f} |", flush=True)
    print(f"\nMedian ratio {np.nanmedian(ratios):.1f}, least {np.nanmin(ratios):.1f}.")


def timed(fit):
    """Fit for half a second, at least three times."""
    times, result = seconds(fit, 3)
    began = time.perf_counter()
    while time.perf_counter() - began < 0.5:
        more, result = seconds(fit, 3)
        times += more
    return times, result
