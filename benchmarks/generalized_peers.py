"""Each package behind one call: set the data up, return a function that fits and its estimates.

`prepare_<peer>(case)` raises `UnfitError` where the package cannot fit the model. All by Laplace's
approximation but statsmodels, which has another. Estimates are coefficients, the intercept first,
and a covariance matrix for every grouping column.
"""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
from peers import UnfitError

_MANY = 20_000  # rows from which statsmodels takes minutes
_MOST_MIXEDLM = 150_000  # rows from which mixedlm takes minutes


def of_lower(values):
    """Return the covariance whose lower triangle, or that of its root, stands row by row."""
    size = int((np.sqrt(8 * len(values) + 1) - 1) / 2)
    lower = np.zeros((size, size))
    lower[np.tril_indices(size)] = values
    return lower


def trials_of(case):
    """Return of how many trials every y is the share, None where it is of one."""
    return case.data["trials"].to_numpy() if "trials" in case.data else None


def _frame(case):
    return case.data.astype(dict.fromkeys(case.groups, "category"))


def prepare_skmixed(case):
    """Fit the estimator on arrays."""
    from skmixed import MixedGeneralizedRegressor

    data, columns = case.data, list(case.fixed)
    exposure = None
    if "exposure" in data:
        exposure = len(columns)
        columns.append("exposure")
    random = None
    if case.slope is not None:
        random = f"(1 + x{case.fixed.index(case.slope)} | group)"
    X, y, weights = data[columns].to_numpy(dtype=float), data["y"].to_numpy(), trials_of(case)
    groups = data[list(case.groups)].to_numpy()
    groups = groups[:, 0] if len(case.groups) == 1 else groups
    model = MixedGeneralizedRegressor(random, family=case.family, exposure=exposure)
    return lambda: model.fit(X, y, groups=groups, sample_weight=weights).fit_


def prepare_skmixed_formula(case):
    """Fit by `glmer`."""
    from skmixed import glmer

    weights = "trials" if "trials" in case.data else None
    call = {"family": case.family, "weights": weights}
    return lambda: glmer(case.formula, case.data, **call).fit_


def prepare_glmm(case):
    """Formula interface; without the refits from which it makes likelihood-ratio tables."""
    import glmm

    frame, weights = _frame(case), trials_of(case)
    formula = case.formula
    call = {"family": case.family, "weights": weights, "anova_test": "Wald"}
    if "offset" in case.data:
        formula = formula.replace(" + offset(offset)", "")
        call["offset"] = case.data["offset"].to_numpy()

    def fit():
        found = glmm.fit(frame, formula, **call)
        by_name = {}
        for (name, _), values in zip(found.re_groups, found.varcorr, strict=True):
            lower = of_lower(values)
            by_name[name] = lower + np.tril(lower, -1).T
        return found.beta, [by_name[name] for name in case.groups]

    return fit


def prepare_gpboost(case):
    """Its grouped random effects: intercepts, and slopes that are not correlated with them."""
    import gpboost

    if case.slope is not None:
        raise UnfitError("no correlated slopes")
    if "trials" in case.data:
        raise UnfitError("no shares of trials")
    likelihood = "poisson" if case.family == "poisson" else "bernoulli_logit"
    groups, y, exog = case.data[list(case.groups)].to_numpy(), case.data["y"].to_numpy(), case.exog
    offset = case.data["offset"].to_numpy() if "offset" in case.data else None

    def fit():
        model = gpboost.GPModel(group_data=groups, likelihood=likelihood, num_parallel_threads=1)
        model.fit(y=y, X=exog, offset=offset)
        beta = np.asarray(model.get_coef(format_pandas=False))
        variances = np.asarray(model.get_cov_pars(format_pandas=False))
        return beta, [np.array([[v]]) for v in variances.ravel()]

    return fit


def prepare_mixedlm(case):
    """Formula interface; it has no other."""
    import mixedlm

    if len(case.data) > _MOST_MIXEDLM:
        raise UnfitError("not run at this size")
    frame, weights = _frame(case), trials_of(case)
    families = {"binomial": mixedlm.families.Binomial, "poisson": mixedlm.families.Poisson}
    family = families[case.family]()
    formula = case.formula.replace(" + offset(offset)", "")
    offset = case.data["offset"].to_numpy() if "offset" in case.data else None

    def fit():
        model = mixedlm.glmer(formula, frame, family=family, weights=weights, offset=offset)
        theta, covariances, start = np.asarray(model.theta), [], 0
        for place in range(len(case.groups)):
            size = 3 if case.slope is not None and place == 0 else 1
            lower = of_lower(theta[start : start + size])
            covariances.append(lower @ lower.T)
            start += size
        return np.asarray(model.beta), covariances

    return fit


def prepare_statsmodels(case):
    """Its variational approximation with its own priors: not the same estimates."""
    from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM, PoissonBayesMixedGLM

    if len(case.data) > _MANY:
        raise UnfitError("not run at this size")
    if case.slope is not None or "trials" in case.data or "offset" in case.data:
        raise UnfitError("no such model")
    kind = PoissonBayesMixedGLM if case.family == "poisson" else BinomialBayesMixedGLM
    varying, owners = [], []
    for place, name in enumerate(case.groups):
        codes = case.data[name].to_numpy()
        varying.append(codes[:, None] == np.arange(codes.max() + 1))
        owners += [place] * varying[-1].shape[1]
    varying = np.hstack(varying).astype(float)

    def fit():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = kind(case.data["y"].to_numpy(), case.exog, varying, np.array(owners))
            found = model.fit_vb()
        return found.fe_mean, [np.array([[np.exp(2 * v)]]) for v in found.vcp_mean]

    return fit


R_SCRIPT = """
args <- commandArgs(TRUE); kind <- args[1]; repeats <- as.integer(args[6])
suppressMessages(library(kind, character.only = TRUE))
d <- read.csv(args[2]); groups <- strsplit(args[4], ",")[[1]]
for (g in groups) d[[g]] <- factor(d[[g]])
if (is.null(d$trials)) d$trials <- 1
family <- if (args[5] == "poisson") poisson() else binomial()
fit <- if (kind == "lme4") glmer else glmmTMB
began <- proc.time()[["elapsed"]]
for (i in seq_len(repeats)) {
  if (i > 1 && proc.time()[["elapsed"]] - began > as.numeric(args[7])) break
  t <- system.time(m <- fit(as.formula(args[3]), d, family, weights = trials))[["elapsed"]]
  cat("seconds", t, "\\n")
}
beta <- if (kind == "lme4") fixef(m) else fixef(m)$cond
varying <- if (kind == "lme4") VarCorr(m) else VarCorr(m)$cond
cat("beta", format(beta, digits = 17), "\\n")
for (g in groups) cat("covariance", format(as.vector(varying[[g]]), digits = 17), "\\n")
"""


def run_r(kind, case, repeats, budget):
    """Run lme4 or glmmTMB; return seconds, of the processor, and estimates."""
    with tempfile.TemporaryDirectory() as folder:
        path, script = Path(folder) / "data.csv", Path(folder) / "fit.R"
        case.data.to_csv(path, index=False)
        script.write_text(R_SCRIPT, encoding="utf-8")
        groups = ",".join(case.groups)
        command = ["Rscript", str(script), kind, str(path), case.formula, groups, case.family]
        done = subprocess.run(
            [*command, str(repeats), str(budget)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise UnfitError("failed: " + done.stderr.strip()[-200:])
    seconds, covariances = [], []
    for name, *values in map(str.split, done.stdout.splitlines()):
        numbers = np.array(values, dtype=float)
        if name == "seconds":
            seconds.append(float(numbers[0]))
        elif name == "beta":
            beta = numbers
        else:
            size = int(np.sqrt(len(numbers)))
            covariances.append(numbers.reshape(size, size))
    return seconds, (beta, covariances)
