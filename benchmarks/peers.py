"""Each package behind one call: set the data up, return a function that fits and a criterion.

`prepare_<peer>(case)` raises `UnfitError` where the package cannot fit the model. All by REML.
"""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np

_LARGE = 200_000  # rows beyond which gpboost and statsmodels take many minutes


class UnfitError(Exception):
    """The package cannot fit this model."""


def _arrays(case):
    data = case.data
    X = data[list(case.fixed)].to_numpy(dtype=float)
    groups = [data[name].to_numpy() for name in case.groups]
    return X, groups, data["y"].to_numpy(dtype=float)


def prepare_skmixed(case):
    """Fit the estimator on arrays."""
    from skmixed import MixedLinearRegressor

    X, groups, y = _arrays(case)
    groups = groups[0] if len(groups) == 1 else np.column_stack(groups)
    random = None if case.slope is None else f"(1 + x{case.fixed.index(case.slope)} | group)"
    model = MixedLinearRegressor(random)
    return lambda: model.fit(X, y, groups=groups).criterion_


def prepare_linear_regression(case):
    """Ordinary least squares of scikit-learn, the cost of looking at the data."""
    from sklearn.linear_model import LinearRegression

    X, _, y = _arrays(case)
    return lambda: LinearRegression().fit(X, y) and None


def prepare_mixedlm(case):
    """Formula interface; it has no other."""
    import mixedlm

    return lambda: mixedlm.lmer(case.formula, case.data).REMLcrit()


def prepare_mixedlm_rs(case):
    """Arrays; one grouping factor."""
    from mixedlm_rs import MixedLM

    if len(case.groups) > 1:
        raise UnfitError("one grouping factor only")
    X, groups, y = _arrays(case)
    one = np.ones(len(y))
    exog = np.column_stack([one, X])
    varying = [one] if case.slope is None else [one, X[:, case.fixed.index(case.slope)]]
    varying = np.column_stack(varying)
    return lambda: -2 * MixedLM(y, exog, groups[0], exog_re=varying).fit(reml=True).llf


def prepare_lme_python(case):
    """Formula interface on a polars frame."""
    import lme_python
    import polars

    data = case.data.assign(**{name: case.data[name].astype(str) for name in case.groups})
    frame = polars.from_pandas(data)
    return lambda: lme_python.lmer(case.formula, frame).deviance


def prepare_statsmodels(case):
    """MixedLM; one grouping factor, or nested ones by variance components."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    if len(case.groups) > 1 or len(case.data) > _LARGE:
        raise UnfitError("crossed, or not run at this size")
    X, groups, y = _arrays(case)
    one = np.ones(len(y))
    exog = np.column_stack([one, X])
    varying = [one] if case.slope is None else [one, X[:, case.fixed.index(case.slope)]]

    def fit():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = MixedLM(y, exog, groups[0], exog_re=np.column_stack(varying))
            return -2 * model.fit(reml=True).llf

    return fit


def prepare_gpboost(case):
    """Its grouped random effects: maximum likelihood, uncorrelated, so the criterion differs."""
    import gpboost

    if len(case.data) > _LARGE:
        raise UnfitError("not run at this size")
    X, groups, y = _arrays(case)
    exog = np.column_stack([np.ones(len(y)), X])
    settings = {"group_data": np.column_stack(groups), "likelihood": "gaussian"}
    if case.slope is not None:
        settings["group_rand_coef_data"] = X[:, case.fixed.index(case.slope)]
        settings["ind_effect_group_rand_coef"] = [1]

    def fit():
        gpboost.GPModel(num_parallel_threads=1, **settings).fit(y=y, X=exog)

    return fit


R_SCRIPT = """
suppressMessages(library(lme4)); args <- commandArgs(TRUE)
d <- read.csv(args[1]); for (g in strsplit(args[3], ",")[[1]]) d[[g]] <- factor(d[[g]])
invisible(gc(reset = TRUE)); before <- sum(gc()[, 2])
for (i in seq_len(as.integer(args[4]))) {
  t <- system.time(m <- lmer(as.formula(args[2]), d))[["elapsed"]]; cat("seconds", t, "\\n") }
cat("memory", sum(gc()[, 6]) - before, "\\n")
cat("criterion", format(REMLcrit(m), digits = 15), "\\n")
"""


def run_lme4(case, repeats):
    """Run R and return seconds, criterion and megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        path, script = Path(folder) / "data.csv", Path(folder) / "fit.R"
        case.data.to_csv(path, index=False)
        script.write_text(R_SCRIPT, encoding="utf-8")
        groups = ",".join(case.groups)
        command = ["Rscript", str(script), str(path), case.formula, groups, str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    seconds = [float(line[1]) for line in lines if line[0] == "seconds"]
    values = {line[0]: float(line[1]) for line in lines if line[0] != "seconds"}
    return seconds, values["criterion"], values["memory"]
