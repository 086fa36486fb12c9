"""Coefficients and differences of means as ratios: of odds, rates, hazards or means."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skmixed.core.families.ordinal import Cumulative
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.inference.fitted import AnyFit


def ratio_name(fit: AnyFit) -> str | None:
    """Return the name of exponentiated coefficients, None if they are not ratios.

    For a linear or nonlinear model they are ratios if the response is a logarithm.
    """
    if not isinstance(fit, GeneralizedFit):
        return "Ratios, if the response is a logarithm"
    link, is_ordinal = fit.family.link, isinstance(fit.family, Cumulative)
    if link == "logit":
        return "Odds ratios of the higher categories" if is_ordinal else "Odds ratios"
    if link == "log":
        counts = fit.family.steps(1, None) is not None
        return "Rate ratios" if counts else "Ratios of means"
    return "Hazard ratios" if link == "cloglog" and not is_ordinal else None


def exponentiated(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of linear functions on the exponential scale.

    Standard errors are by the delta method; the tests remain those of the functions themselves.
    """
    found = frame.assign(estimate=np.exp(frame["estimate"]))
    found["std_error"] = found["estimate"] * frame["std_error"]
    for limit in ("lower", "upper"):
        if limit in found:
            found[limit] = np.exp(frame[limit])
    return found


def ratio_note(name: str) -> str:
    """Return the note beneath a table of ratios."""
    return f"{name}; standard errors by the delta method, tests and intervals on the link scale."
