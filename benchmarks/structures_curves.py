"""Curves of four columns, alone and beside groups: mgcv, gamm4 and gamrs."""

from __future__ import annotations

import time
from functools import partial
from importlib.util import find_spec

import numpy as np
import pandas as pd
from r_fits import in_r
from structures_case import Case
from timing import seconds

from skmixed import MixedLinearRegressor

CURVES = " + ".join(f"s(x{j}, k=20)" for j in range(4))
_R_CURVES = " + ".join(f's(x{j}, bs = "ps", k = 20)' for j in range(4))
_CALLS = {
    "mgcv `gam`": "gam(y ~ {curves}, data = d, method = 'REML')",
    "mgcv `bam`, discrete": "bam(y ~ {curves}, data = d, method = 'fREML', discrete = TRUE)",
}
_GROUPED = {
    "mgcv `gam`": "gam(y ~ {curves} + s(g, bs = 're'), data = d, method = 'REML')",
    "`gamm4`": "gamm4(y ~ {curves}, random = ~(1 | g), data = d)",
}


def additive(n, levels):
    """Draw four columns, groups, and the response of Gu and Wahba's example."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({f"x{j}": rng.uniform(size=n) for j in range(4)})
    table["g"] = rng.integers(0, levels, n)
    x = table["x2"]
    y = 2 * np.sin(np.pi * table["x0"]) + np.exp(2 * table["x1"])
    y += 0.2 * x**11 * (10 * (1 - x)) ** 6 + 10 * (10 * x) ** 3 * (1 - x) ** 10
    y += rng.standard_normal(levels)[table["g"]] + 2 * rng.standard_normal(n)
    return table.assign(y=y)


def in_gamrs(table):
    """Return least CPU seconds and residual variance of gamrs, whose basis is another."""
    if find_spec("gamrs") is None:
        return None
    from gamrs import CrTerm, Gam

    X, y = table[["x0", "x1", "x2", "x3"]], table["y"].to_numpy()
    terms = [CrTerm(name, k=20) for name in X]
    repeats = 4 if len(table) > 10_000 else 30
    fit = partial(Gam(terms=terms, method="REML").fit, X, y)
    taken, model = seconds(fit, repeats, time.process_time)
    return min(taken), float(np.ravel(model.scale_)[0])


def curves(arguments):
    """Yield four curves alone and beside groups, by restricted likelihood."""
    for n, levels in [(400, 20)] + [(200_000, 5_000)] * arguments.large:
        table = additive(n, levels)
        calls = dict(list(_CALLS.items())[n > 10_000 :][:1])
        for random, calls_in_r in (None, calls), ("(1 | g)", _GROUPED if n < 10_000 else {}):
            peers = {
                package: partial(
                    in_r, table, call.format(curves=_R_CURVES), "mgcv gamm4", "d$g <- factor(d$g)"
                )
                for package, call in calls_in_r.items()
            }
            if random is None:
                peers["gamrs"] = partial(in_gamrs, table)
            model = MixedLinearRegressor(random, fixed=CURVES)
            yield Case(
                "four curves" + (f", {levels:,} groups" if random else ""),
                n,
                partial(model.fit, table.drop(columns="y"), table["y"]),
                peers,
                value=lambda model: model.residual_variance_,
                relative=True,
            )
