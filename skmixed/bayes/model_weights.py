"""Models weighted by how well they predict what is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import LinearConstraint, minimize

from skmixed.bayes.evidence import by_name
from skmixed.bayes.leave_one_out import LeaveOneOut
from skmixed.core.linalg import FloatArray
from skmixed.inference.table import Table

_STACKING_TOLERANCE = 1e-10  # of the mean log density of rows, in weights of no more digits


def stack(results: Mapping[str, LeaveOneOut] | Sequence[LeaveOneOut]) -> Table:
    """Weight models so that their mixture predicts rows best.

    Parameters
    ----------
    results : dict of str to LeaveOneOut, or list of these
        What `loo` says of the models, of the same rows in the same order; without names they are
        called "model 1" and so on.

    Returns
    -------
    Table
        A row a model, the best first: sum of log densities, difference to the best and its
        standard error, and the weight in the mixture.

    Raises
    ------
    TypeError
        If something else stands in the place of what `loo` says.
    ValueError
        If the numbers of rows differ.

    See Also
    --------
    loo : Leaves rows out of one model.
    compare : Weights models by their evidence.

    References
    ----------
    .. [1] Yao, Y., Vehtari, A., Simpson, D. & Gelman, A. (2018). Using stacking to average Bayesian
       predictive distributions. Bayesian Analysis 13(3), 917-1007, :doi:`10.1214/17-BA1091`.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.bayes import loo, sample, stack
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> results = {}
    >>> for random in ("(Days | Subject)", "(1 | Subject)"):
    ...     model = MixedLinearRegressor(random).fit(X, y)
    ...     draws = sample(model, random_state=0)
    ...     results[random] = loo(model, draws, X, y, random_state=0)
    >>> stack(results).to_frame().index[0]
    '(Days | Subject)'
    """
    results = by_name(results, LeaveOneOut, "what loo returns")
    names, found = list(results), list(results.values())
    if len({len(each.elpd) for each in found}) != 1:
        raise ValueError("stack needs what loo says of the same rows, in the same order")
    points, counts = np.stack([each.elpd for each in found], axis=1), found[0].counts
    weights = _stacking_weights(points, counts)
    totals = counts @ points
    best = int(np.argmax(totals))
    frame = pd.DataFrame({"elpd_loo": totals}, index=names)
    frame["difference"] = totals - totals[best]
    apart = points - points[:, [best]]
    n = float(counts.sum())
    deviations = apart - counts @ apart / n
    frame["std_error"] = np.sqrt(n / (n - 1.0) * (counts @ deviations**2))
    frame["weight"] = weights
    order = np.argsort(-totals, kind="stable")
    return Table("Models by rows left out", frame.iloc[order])


def _stacking_weights(points: FloatArray, counts: FloatArray) -> FloatArray:
    """Return weights, (m,), of the mixture of densities, logs (n, m), that suits all rows best."""
    densities = np.exp(points - points.max(axis=1, keepdims=True))
    shares, m = counts / counts.sum(), points.shape[1]

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        mixed = np.maximum(densities @ weights, np.finfo(float).tiny)
        return -float(shares @ np.log(mixed)), -(shares / mixed) @ densities

    found = minimize(
        loss,
        np.full(m, 1.0 / m),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * m,
        constraints=LinearConstraint(np.ones((1, m)), 1.0, 1.0),
        options={"ftol": _STACKING_TOLERANCE, "maxiter": 500},
    )
    weights = np.maximum(found.x, 0.0)
    return np.asarray(weights / weights.sum())
