"""Repeated measures of trials: any covariance of the visits, by glmmTMB and nlme's gls."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from r_fits import in_r
from structures_case import Case

from skmixed import lmer

_FEW_ROWS = 2_000  # gls takes minutes for more
_ANY = "us(0 + visit | subject), d, dispformula = ~0, REML = TRUE"
_SYMMETRIC = "corSymm(form = ~ as.integer(visit) | subject), varIdent(form = ~ 1 | visit)"


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
        "fev_data of mmrm": (fev.rename(columns=names), "y ~ RACE + SEX + ARMCD * visit"),
        "bcva_data of mmrm": (bcva.rename(columns=names), "y ~ BCVA_BL + RACE + ARMCD * visit"),
    }


def trials(arguments):
    """Yield trials that are drawn, and those that are public where a directory has them."""
    sets = {
        "200 x 4, a quarter missing": (drawn(1, 200, 4, 0.25), "y ~ x + arm * visit"),
        "1,000 x 10, a seventh missing": (drawn(2, 1000, 10, 0.14), "y ~ x + arm * visit"),
    }
    if arguments.mmrm is not None:
        sets |= published(arguments.mmrm)
    factors = "d[] <- lapply(d, function(x) if (is.character(x)) factor(x) else x)"
    for title, (table, formula) in sets.items():
        peers = {
            "glmmTMB": partial(in_r, table, f"glmmTMB({formula} + {_ANY})", "glmmTMB", factors)
        }
        if len(table) < _FEW_ROWS:
            call = f"gls({formula}, d, {_SYMMETRIC})"
            peers["`gls`"] = partial(in_r, table, call, "nlme", factors)
        fit = partial(lmer, formula, table, residual="us(visit | subject)")
        yield Case(title, len(table), fit, peers)
