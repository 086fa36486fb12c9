"""The models that are timed: simulated data of known truth, sleepstudy, and InstEval if present."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from skmixed.datasets import load_sleepstudy

INSTEVAL = (
    Path(os.environ.get("SKMIXED_REFERENCE", "../shared/reference")) / "data" / "InstEval.csv.gz"
)


@dataclass(frozen=True)
class Case:
    """One model with its data.

    Parameters
    ----------
    data : DataFrame
        Response y, numeric columns and grouping columns.
    fixed : tuple of str
        Numeric columns of the fixed part, beside the intercept.
    groups : tuple of str
        Grouping columns, one a factor.
    slope : str or None
        Column with a random slope in the first factor, correlated with the intercept.
    formula : str
        The same model in lme4's syntax.
    """

    data: pd.DataFrame
    fixed: tuple[str, ...]
    groups: tuple[str, ...]
    slope: str | None
    formula: str


def sleepstudy(scale=1.0):
    """180 rows, 18 subjects: (Days | Subject)."""
    data = load_sleepstudy().rename(columns={"Reaction": "y"})
    data["Subject"] = data["Subject"].astype(int)
    return Case(data, ("Days",), ("Subject",), "Days", "y ~ Days + (Days | Subject)")


def one_factor(scale=1.0, labels=False):
    """1e6 rows, 1e5 levels, 4 covariates: (1 + a | g)."""
    rng = np.random.default_rng(1)
    n, q = int(1e6 * scale), int(1e5 * scale)
    X, g = rng.standard_normal((n, 4)), rng.integers(0, q, n)
    b = rng.standard_normal((q, 2)) @ np.linalg.cholesky([[1, 0.3], [0.3, 0.5]]).T
    y = 2 + X @ [1, -0.5, 0.25, 0] + b[g, 0] + b[g, 1] * X[:, 0] + 1.5 * rng.standard_normal(n)
    data = pd.DataFrame(X, columns=list("abcd")).assign(g=g, y=y)
    if labels:
        data["g"] = ("shop" + data["g"].astype(str)).astype(object)
    return Case(data, tuple("abcd"), ("g",), "a", "y ~ a + b + c + d + (1 + a | g)")


def one_factor_labels(scale=1.0):
    """The same with text labels."""
    return one_factor(scale, labels=True)


def intercept_only(scale=1.0):
    """5e5 rows, 125,000 levels of four: (1 | g)."""
    rng = np.random.default_rng(2)
    n, q = int(5e5 * scale), int(125_000 * scale)
    X, g = rng.standard_normal((n, 2)), rng.permutation(np.repeat(np.arange(q), n // q))
    y = 1 + X @ [1, -0.5] + 0.8 * rng.standard_normal(q)[g] + rng.standard_normal(n)
    data = pd.DataFrame(X, columns=list("ab")).assign(g=g, y=y)
    return Case(data, ("a", "b"), ("g",), None, "y ~ a + b + (1 | g)")


def nested(scale=1.0):
    """1e6 rows, 20,000 levels nested in 2,000: (1 | fine) + (1 | coarse)."""
    rng = np.random.default_rng(4)
    n, q = int(1e6 * scale), int(20_000 * scale)
    X, fine = rng.standard_normal((n, 2)), rng.integers(0, q, n)
    coarse = fine // 10
    effects = 0.4 * rng.standard_normal(q)[fine] + 0.7 * rng.standard_normal(q)[coarse]
    y = 1 + X @ [1, -0.5] + effects + rng.standard_normal(n)
    data = pd.DataFrame(X, columns=list("ab")).assign(fine=fine, coarse=coarse, y=y)
    formula = "y ~ a + b + (1 | fine) + (1 | coarse)"
    return Case(data, ("a", "b"), ("fine", "coarse"), None, formula)


def crossed(scale=1.0):
    """1e6 rows, 20,000 x 2,000 levels: (1 | g) + (1 | h)."""
    rng = np.random.default_rng(3)
    n, q, r = int(1e6 * scale), int(20_000 * scale), int(2_000 * scale)
    X, g, h = rng.standard_normal((n, 2)), rng.integers(0, q, n), rng.integers(0, r, n)
    effects = 0.8 * rng.standard_normal(q)[g] + 0.5 * rng.standard_normal(r)[h]
    y = 1 + X @ [1, -0.5] + effects + 1.2 * rng.standard_normal(n)
    data = pd.DataFrame(X, columns=list("ab")).assign(g=g, h=h, y=y)
    return Case(data, ("a", "b"), ("g", "h"), None, "y ~ a + b + (1 | g) + (1 | h)")


def insteval(scale=1.0):
    """73,421 ratings of 1,128 teachers by 2,972 students: (1 | s) + (1 | d) + (1 | ds)."""
    data = pd.read_csv(INSTEVAL)
    data["ds"] = data["dept"] * 2 + data["service"]
    formula = "y ~ service + (1 | s) + (1 | d) + (1 | ds)"
    return Case(data, ("service",), ("s", "d", "ds"), None, formula)


CASES = {
    case.__name__: case
    for case in (
        sleepstudy,
        one_factor,
        one_factor_labels,
        intercept_only,
        nested,
        insteval,
        crossed,
    )
}
