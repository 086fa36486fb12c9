"""Model weights by stacking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import LinearConstraint, minimize

from skmixed.bayes.evidence import by_name
from skmixed.bayes.leave_one_out import LeaveOneOut
from skmixed.core.linalg import FloatArray
from skmixed.inference.table import Table

_STACKING_TOLERANCE = 1e-10  # of the mean log density of rows: weights need no more digits


def stack(results: Mapping[str, LeaveOneOut] | Sequence[LeaveOneOut]) -> Table:
    """Compare models by leave-one-out cross-validation, with stacking weights.

    Stacking weights are those of the mixture of predictive distributions that predicts left-out
    rows best. For posterior model probabilities use `compare`.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    results : dict of str to LeaveOneOut, or list of these
        Results of `loo` for the models, for the same rows in the same order; models in a list are
        called "model 1" and so on.

    Returns
    -------
    Table
        A row for each model, the best first: elpd, its difference from the best with standard
        error, and the weight in the mixture.

    Raises
    ------
    TypeError
        If an entry is not a result of `loo`.
    ValueError
        If the numbers of rows differ.

    See Also
    --------
    loo : Leave-one-out cross-validation of one model.
    compare : Model comparison by evidence.

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
    results = by_name(results, LeaveOneOut, "the result of loo")
    names, found = list(results), list(results.values())
    if len({len(each.elpd) for each in found}) != 1:
        raise ValueError("stack needs results of loo for the same rows, in the same order")
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
    return Table("Model comparison by leave-one-out cross-validation", frame.iloc[order])


def _stacking_weights(points: FloatArray, counts: FloatArray) -> FloatArray:
    """Return the weights, (m,), of the mixture of log densities, (n, m), with the highest score."""
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
