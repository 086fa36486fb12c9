"""Correlated and unequal residuals in nlme's data sets, and in drawn series."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from r_fits import in_r, r_table
from structures_case import Case

from skmixed import lmer

_OVARY = "follicles ~ sin(2 * pi * Time) + cos(2 * pi * Time)"
_TEETH = "distance ~ age * Sex"
_RATS = "weight ~ Time * Diet"
_SERIES = "y ~ t + x"
# table, formula, random part, residual, restricted, nlme's call
_CASES = [
    ("Ovary", _OVARY, "(1 | Mare)", "ar1(| Mare)", False,
     "lme({0}, d, ~ 1 | Mare, correlation = corAR1(), method = 'ML')"),
    ("Ovary", _OVARY, "(sin(2 * pi * Time) || Mare)", "ar1(| Mare)", True,
     "lme({0}, d, list(Mare = pdDiag(~ sin(2 * pi * Time))), correlation = corAR1())"),
    ("Orthodont", _TEETH, "(age | Subject)", "var(Sex)", True,
     "lme({0}, d, ~ age | Subject, weights = varIdent(form = ~ 1 | Sex))"),
    ("Orthodont", _TEETH, "(1 | Subject)", "var(Sex)", False,
     "lme({0}, d, ~ 1 | Subject, weights = varIdent(form = ~ 1 | Sex), method = 'ML')"),
    ("Orthodont", _TEETH, "", "cs(| Subject)", True,
     "gls({0}, d, corCompSymm(form = ~ 1 | Subject))"),
    ("Orthodont", _TEETH, "", "ar1(| Subject)", True, "gls({0}, d, corAR1(form = ~ 1 | Subject))"),
    ("BodyWeight", _RATS, "(Time | Rat)", "car1(Time | Rat)", True,
     "lme({0}, d, ~ Time | Rat, correlation = corCAR1(form = ~ Time))"),
    ("BodyWeight", _RATS, "(Time | Rat)", "power(Time)", True,
     "lme({0}, d, ~ Time | Rat, weights = varPower(form = ~ Time))"),
    ("BodyWeight", _RATS, "(1 | Rat)", "ar1(| Rat) * var(Diet)", True,
     "lme({0}, d, ~ 1 | Rat, correlation = corAR1(), weights = varIdent(form = ~ 1 | Diet))"),
    ("200 series", _SERIES, "(t | id)", "ar1(| id)", True,
     "lme({0}, d, ~ t | id, correlation = corAR1())"),
    ("2,000 series", _SERIES, "(t | id)", "ar1(| id)", True,
     "lme({0}, d, ~ t | id, correlation = corAR1())"),
]  # fmt: skip
_LONG = "2,000 series"  # nlme takes a minute and more for it


def draw_series(n_series, length=20, rho=0.6):
    """Draw series with AR(1) residuals beside random slopes."""
    rng = np.random.default_rng(n_series)
    e = rng.standard_normal((n_series, length))
    for j in range(1, length):
        e[:, j] = rho * e[:, j - 1] + np.sqrt(1 - rho**2) * e[:, j]
    t, x = np.tile(np.arange(length), (n_series, 1)), rng.standard_normal((n_series, length))
    b = rng.standard_normal((n_series, 2)) * [1.0, 0.06]
    y = 2 + 0.5 * x + 0.1 * t + b[:, :1] + b[:, 1:] * t + e
    ids = np.repeat(np.arange(n_series), length)
    return pd.DataFrame({"id": ids, "t": t.ravel(), "x": x.ravel(), "y": y.ravel()})


def _tables():
    """Return nlme's tables by name where R is, and drawn series."""
    tables = {name: r_table(name, "nlme") for name in ("Ovary", "Orthodont", "BodyWeight")}
    tables = {name: table for name, table in tables.items() if table is not None}
    if "BodyWeight" in tables:
        tables["BodyWeight"]["Diet"] = tables["BodyWeight"]["Diet"].astype(str)
    return tables | {"200 series": draw_series(200), _LONG: draw_series(2_000)}


def residuals(arguments):
    """Yield models of correlated and unequal residuals, in the order of their tables."""
    tables = _tables()
    prepare = "if (!is.null(d$Diet)) d$Diet <- factor(d$Diet)"
    for name, fixed, random, residual, restricted, call in _CASES:
        if name not in tables or (name == _LONG and not arguments.large):
            continue
        table, formula = tables[name], f"{fixed} + {random}" if random else fixed
        theirs = partial(in_r, table, call.format(fixed), "nlme", prepare)
        yield Case(
            f"{name}: {f'`{random}`, ' if random else ''}`{residual}`".replace("|", "\\|"),
            len(table),
            partial(lmer, formula, table, residual=residual, reml=restricted),
            {"nlme": theirs},
        )
