"""Profile likelihoods of all parameters of a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from skmixed.core.fit import Fit
from skmixed.core.layout import FloatArray
from skmixed.core.monte_carlo import check_exact
from skmixed.inference.components import (
    Component,
    components_of,
    identified_part,
    is_identified,
)
from skmixed.inference.constrained import Held
from skmixed.inference.fitted import determined_fit_of, formula_of
from skmixed.inference.profiling import ProfileCurve
from skmixed.inference.table import Table, TabularResult


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Profile(TabularResult):
    """Signed roots of the profile deviance.

    Parameters
    ----------
    title : str
        The model.
    curves : DataFrame
        Columns parameter, value and zeta: points of the curve of every parameter, by value. zeta
        is the signed root of what the deviance is above its minimum; it is compared with a
        standard normal variable, and is a straight line where a Wald interval is right.

    See Also
    --------
    profile : The function that returns it.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import profile
    >>> model = lmer("Reaction ~ 1 + (1 | Subject)", load_sleepstudy())
    >>> print(profile(model, points=1))
    Profile likelihood: Reaction ~ 1 + (1 | Subject)
                           points   lower zeta_lower   upper zeta_upper
    parameter
    sd_(Intercept)|Subject      3  21.379    -2.5758  59.946     2.5758
    sigma                       3  38.608    -2.5758  51.435     2.5758
    (Intercept)                 3   273.6    -2.5758  323.42     2.5758
    """

    title: str
    curves: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """Return the curves as a data frame of one's own.

        Returns
        -------
        DataFrame
            Columns parameter, value and zeta.
        """
        return self.curves.copy()

    def _table(self) -> Table:
        grouped = self.curves.groupby("parameter", sort=False)
        lowest, highest = grouped.first(), grouped.last()
        ranges = {
            "points": grouped.size(),
            "lower": lowest["value"],
            "zeta_lower": lowest["zeta"],
            "upper": highest["value"],
            "zeta_upper": highest["zeta"],
        }
        return Table(self.title, pd.DataFrame(ranges))


def profile(model: Any, *, level: float = 0.99, points: int = 6) -> Profile:
    """Compute the profile likelihood of every parameter.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    level : float, default=0.99
        How far the curves go: to the limits of the intervals of this probability, or to the
        boundary of the parameter.
    points : int, default=6
        Points on either side of the estimate, equally spaced in zeta.

    Returns
    -------
    Profile
        ``to_frame()`` has columns parameter, value and zeta. Parameters are named as by
        `confidence_intervals`; those of which the data say nothing are left out.

    Raises
    ------
    ValueError
        If the model is not fitted or leaves no residual, and for an invalid level or number.

    See Also
    --------
    confidence_intervals : Limits at one level.

    Notes
    -----
    In R: ``profile(model)``. As there it is the full likelihood, to which a model fitted by REML is
    refitted. Every point is a minimum of the deviance over all other parameters.

    References
    ----------
    .. [1] Bates, D., Maechler, M., Bolker, B. & Walker, S. (2015). Fitting linear mixed-effects
       models using lme4. Journal of Statistical Software 67(1), :doi:`10.18637/jss.v067.i01`,
       section 5.1.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import profile
    >>> model = lmer("Reaction ~ Days + (1 | Subject)", load_sleepstudy())
    >>> curves = profile(model, level=0.95, points=1).to_frame()
    >>> curves[curves["parameter"] == "Days"].round(2)
      parameter  value  zeta
    9      Days   8.89 -1.96
    10     Days  10.47  0.00
    11     Days  12.05  1.96
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level!r} is no probability between 0 and 1")
    if points < 1:
        raise ValueError(f"points={points!r} is not a positive number")
    given = determined_fit_of(model)
    check_exact(given, "a profile")
    fit = given.with_method("ml")
    farthest = float(np.sqrt(stats.chi2.ppf(level, 1)))
    identified = identified_part(fit)
    rows = [
        (component.name, value, zeta)
        for component in components_of(fit)
        if is_identified(fit, component)
        for value, zeta in _curve(
            identified, component, farthest * np.arange(1, points + 1) / points
        )
    ]
    curves = pd.DataFrame(rows, columns=["parameter", "value", "zeta"])
    return Profile(f"Profile likelihood: {formula_of(model)}", curves)


def _curve(fit: Fit, component: Component, targets: FloatArray) -> list[tuple[float, float]]:
    """Return the points of one curve, by value."""
    held = Held(fit, component)
    curve = ProfileCurve(held, fit.criterion)
    found = {held.optimum: 0.0}
    for sign in (-1.0, 1.0):
        found.update(_side(curve, sign * targets))
    direction = -1.0 if component.kind == "cor" else 1.0  # an angle falls as its cosine grows
    return sorted((held.value(t), direction * zeta) for t, zeta in found.items())


def _side(curve: ProfileCurve, targets: FloatArray) -> Iterator[tuple[float, float]]:
    """Yield points away from the optimum, up to the boundary."""
    for target in targets:
        t, zeta = curve.solve(float(target))
        yield t, zeta
        if t in curve.held.bounds:
            return
