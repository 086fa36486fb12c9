"""The generalized models that are timed: simulated data of known truth, and well-known sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from cases import INSTEVAL

DATA = INSTEVAL.parent
_CODES = ("YEAR", "period")  # columns of numbers that name


@dataclass(frozen=True)
class GeneralizedCase:
    """One model with its data.

    Parameters
    ----------
    data : DataFrame
        Response y, numeric columns and grouping columns; trials where y is a share of them, and
        exposure with its logarithm, offset.
    fixed : tuple of str
        Numeric columns of the fixed part, beside the intercept.
    groups : tuple of str
        Grouping columns, one a factor.
    family : {"binomial", "poisson"}
        With the logit or the log for link.
    slope : str or None
        Column with a random slope in the first factor, correlated with the intercept.
    """

    data: pd.DataFrame
    fixed: tuple[str, ...]
    groups: tuple[str, ...]
    family: str
    slope: str | None = None

    @property
    def formula(self):
        """The same model in lme4's syntax."""
        first = "1" if self.slope is None else f"1 + {self.slope}"
        random = [f"({first if i == 0 else '1'} | {name})" for i, name in enumerate(self.groups)]
        offset = ["offset(offset)"] if "offset" in self.data else []
        return "y ~ " + " + ".join([*self.fixed, *offset, *random])

    @property
    def exog(self):
        """The columns of the fixed part, the intercept first."""
        return np.column_stack([np.ones(len(self.data)), self.data[list(self.fixed)]])


def _simulated(X, beta, effects, groups, family, rng, slope=None):
    eta = beta[0] + X @ beta[1:] + effects
    mean = np.exp(eta) if family == "poisson" else 1.0 / (1.0 + np.exp(-eta))
    y = rng.poisson(mean) if family == "poisson" else rng.uniform(size=len(mean)) < mean
    names = [f"x{j}" for j in range(X.shape[1])]
    data = pd.DataFrame(X, columns=names).assign(y=y.astype(float), **groups)
    return GeneralizedCase(data, tuple(names), tuple(groups), family, slope)


def logit(scale=1.0):
    """1e5 rows, 10,000 levels, 3 covariates, logit: (1 | g)."""
    rng = np.random.default_rng(1)
    n, q = int(1e5 * scale), int(1e4 * scale)
    X, g = rng.standard_normal((n, 3)), rng.integers(0, q, n)
    effects = rng.standard_normal(q)[g]
    return _simulated(X, [-0.5, 0.6, 0.1, -0.4], effects, {"g": g}, "binomial", rng)


def logit_slope(scale=1.0):
    """1e6 rows, 100,000 levels, 4 covariates, logit: (1 + x0 | g)."""
    rng = np.random.default_rng(2)
    n, q = int(1e6 * scale), int(1e5 * scale)
    X, g = rng.standard_normal((n, 4)), rng.integers(0, q, n)
    b = rng.standard_normal((q, 2)) @ [[1.0, 0.2], [0.0, 0.5]]
    effects, beta = b[g, 0] + b[g, 1] * X[:, 0], [-0.5, 0.6, 0.3, -0.1, -0.4]
    return _simulated(X, beta, effects, {"g": g}, "binomial", rng, slope="x0")


def logit_crossed(scale=1.0):
    """2e5 rows, 5,000 x 500 levels, 3 covariates, logit: (1 | g) + (1 | h)."""
    rng = np.random.default_rng(3)
    n, q, r = int(2e5 * scale), int(5_000 * scale), int(500 * scale)
    X, g, h = rng.standard_normal((n, 3)), rng.integers(0, q, n), rng.integers(0, r, n)
    effects = rng.standard_normal(q)[g] + 0.7 * rng.standard_normal(r)[h]
    return _simulated(X, [0.2, 0.5, -0.3, 0.2], effects, {"g": g, "h": h}, "binomial", rng)


def counts(scale=1.0):
    """1e6 rows, 100,000 levels, 3 covariates, Poisson: (1 | g)."""
    rng = np.random.default_rng(4)
    n, q = int(1e6 * scale), int(1e5 * scale)
    X, g = rng.standard_normal((n, 3)), rng.integers(0, q, n)
    effects = 0.6 * rng.standard_normal(q)[g]
    return _simulated(X, [0.3, 0.3, -0.2, 0.1], effects, {"g": g}, "poisson", rng)


def _table(name, response, fixed, groups, **columns):
    """Read a set and give its response, dummies for columns of labels, and levels as integers."""
    table = pd.read_csv(DATA / name)
    parts = {"y": response(table)}
    for column in fixed:
        values = table[column]
        if pd.api.types.is_numeric_dtype(values) and column not in _CODES:
            parts[column] = values.to_numpy(dtype=float)
        else:
            for level in sorted(values.astype(str).unique())[1:]:
                label = f"{column}_{level.replace('+', 'p')}"
                parts[label] = (values.astype(str) == level).to_numpy(dtype=float)
    names = tuple(parts)[1:]
    for column in groups:
        parts[column] = pd.factorize(table[column])[0]
    parts |= {label: make(table) for label, make in columns.items()}
    return pd.DataFrame(parts), names, groups


def cbpp(scale=1.0):
    """cbpp: proportions of sick cows, 15 herds, four periods, 56 rows, (1 | herd)."""
    table = _table(
        "cbpp.csv",
        lambda d: d["incidence"] / d["size"],
        ["period"],
        ("herd",),
        trials=lambda d: d["size"].to_numpy(dtype=float),
    )
    return GeneralizedCase(*table, "binomial")


def contraception(scale=1.0):
    """Contraception: 1,934 women, age, age squared, urban, livch, (1 | district)."""
    data, fixed, groups = _table(
        "Contraception.csv",
        lambda d: (d["use"] == "Y").to_numpy(dtype=float),
        ["age", "urban", "livch"],
        ("district",),
    )
    data["age2"] = data["age"] ** 2
    return GeneralizedCase(data, (*fixed, "age2"), groups, "binomial")


def contraception_slope(scale=1.0):
    """Contraception: age, urban, (1 + age | district)."""
    table = _table(
        "Contraception.csv",
        lambda d: (d["use"] == "Y").to_numpy(dtype=float),
        ["age", "urban"],
        ("district",),
    )
    return GeneralizedCase(*table, "binomial", slope="age")


def verbagg(scale=1.0):
    """VerbAgg: 7,584 answers of 316 people to 24 items, (1 | id) + (1 | item)."""
    table = _table(
        "VerbAgg.csv.gz",
        lambda d: (d["r2"] == "Y").to_numpy(dtype=float),
        ["btype", "situ", "mode", "Anger", "Gender"],
        ("id", "item"),
    )
    return GeneralizedCase(*table, "binomial")


def _ticks(fixed, groups, **columns):
    return GeneralizedCase(
        *_table(
            "grouseticks.csv",
            lambda d: d["TICKS"].to_numpy(dtype=float),
            fixed,
            groups,
            **columns,
        ),
        "poisson",
    )


def grouse(scale=1.0):
    """grouseticks: 403 chicks, year, height, (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)."""
    return _ticks(["YEAR", "cHEIGHT"], ("BROOD", "INDEX", "LOCATION"))


def grouse_brood(scale=1.0):
    """grouseticks: year, height, (1 | BROOD)."""
    return _ticks(["YEAR", "cHEIGHT"], ("BROOD",))


def grouse_offset(scale=1.0):
    """grouseticks: year, offset(log(HEIGHT / 450)), (1 | LOCATION)."""
    return _ticks(
        ["YEAR"],
        ("LOCATION",),
        exposure=lambda d: d["HEIGHT"] / 450.0,
        offset=lambda d: np.log(d["HEIGHT"] / 450.0),
    )


def arabidopsis(scale=1.0):
    """Arabidopsis: fruits of 625 plants, nutrient, clipping, rack, (1 | gen) + (1 | popu)."""
    table = _table(
        "Arabidopsis.csv",
        lambda d: d["total.fruits"].to_numpy(dtype=float),
        ["nutrient", "amd", "rack"],
        ("gen", "popu"),
    )
    return GeneralizedCase(*table, "poisson")


LARGE = {case.__name__: case for case in (logit, logit_slope, logit_crossed, counts)}
SMALL = {
    case.__name__: case
    for case in (
        cbpp,
        contraception,
        contraception_slope,
        verbagg,
        grouse,
        grouse_brood,
        grouse_offset,
        arabidopsis,
    )
}
CASES = LARGE | SMALL
