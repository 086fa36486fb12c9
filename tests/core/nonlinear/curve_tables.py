"""Data of curves, and the rows of models of them.

Orange (Draper & Smith 1998), Loblolly (Kung 1986), Theoph (Boeckmann, Sheiner & Beal 1994) and
Indometh (Kwan et al. 1976) are those of R's package datasets.
"""

import csv
from pathlib import Path

import numpy as np

from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.nonlinear.curve_rows import CurveRows, ParameterColumns
from skmixed.core.nonlinear.curve_starts import closed_form_start
from skmixed.core.nonlinear.named_curves import CURVES
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout


def table(name):
    """Read columns by name."""
    with (Path(__file__).parent / "data" / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}


def rows_of(
    data,
    response,
    inputs,
    groups,
    curve,
    random,
    *,
    covariance="unstructured",
    method="ml",
    weights=None,
    weighting="frequency",
    fixed=(),  # further columns of coefficients, with the parameters they belong to
):
    """Return the rows of a model; every factor has the same random parameters."""
    curve = curve if not isinstance(curve, str) else CURVES[curve]()
    n, names = len(data[response]), list(curve.names)
    codes, indexes = [], []
    for group in groups:
        labels, code = np.unique(data[group], return_inverse=True)
        codes.append(code)
        indexes.append(GroupIndex((group,), (labels,)))
    places = tuple(1 + names.index(name) for name in random)
    columns = [np.ones(n) for _ in names] + [column for column, _ in fixed]
    owners = list(range(len(names))) + [names.index(name) for _, name in fixed]
    layout = Layout(
        ("1", *names, *(f"{name}.x" for _, name in fixed), "y"),
        tuple(FactorLayout((group,), (0, *places)) for group in groups),
    )
    terms = tuple(Term(factor, places, covariance) for factor in range(len(groups)))
    spec = ModelSpec(tuple(range(1, len(owners) + 1)), terms, method, weighting)
    return CurveRows(
        curve,
        ParameterColumns(np.array(owners), spec),
        layout,
        np.stack(columns, axis=-1),
        np.zeros((len(names), 1)),
        np.stack([data[name] for name in inputs], axis=-1),
        data[response],
        tuple(codes),
        tuple(indexes),
        weights,
    )


def start_of(rows):
    """Return the start of the curve, further coefficients being zero."""
    found = closed_form_start(rows.curve, rows.inputs, rows.y, rows.weights)
    return np.concatenate([found, np.zeros(len(rows.spec.fixed) - len(found))])


def fit_of(rows, method="laplace", **settings):
    return NonlinearFit.of(rows, start_of(rows), method, **settings)


def orange(**more):
    columns = ("circumference", ["age"], ["Tree"], "logistic", ["Asym"])
    return rows_of(table("orange"), *columns, **more)


def loblolly(**more):
    columns = ("height", ["age"], ["Seed"], "asymptotic", ["Asym"])
    return rows_of(table("loblolly"), *columns, **more)


def theoph(random=("lKa", "lCl"), **more):
    columns = ("conc", ["Dose", "Time"], ["Subject"], "first_order", random)
    return rows_of(table("theoph"), *columns, **more)


def indometh(**more):
    columns = ("conc", ["time"], ["Subject"], "biexponential", ("A1", "lrc1", "A2"))
    return rows_of(table("indometh"), *columns, covariance="diagonal", **more)


def plots(seed=3, n_sites=12, n_plots=3):
    """Draw growth in plots within sites, a rise measured nine times."""
    rng = np.random.default_rng(seed)
    ages = np.linspace(100, 1600, 9)
    site = np.repeat(np.arange(n_sites), n_plots * len(ages))
    plot = np.repeat(np.arange(n_sites * n_plots), len(ages))
    x = np.tile(ages, n_sites * n_plots)
    asym = 190 + 25 * rng.normal(size=n_sites)[site] + 10 * rng.normal(size=plot.max() + 1)[plot]
    y = asym / (1 + np.exp(-(x - 700 - 40 * rng.normal(size=n_sites)[site]) / 330))
    y += 5 * rng.normal(size=len(x))
    year = np.tile(np.arange(len(ages)), n_sites * n_plots)
    return {"x": x, "y": y, "site": site, "plot": plot, "year": year, "treated": site % 2 + 0.0}
