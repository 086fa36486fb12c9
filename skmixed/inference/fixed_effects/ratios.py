"""Coefficients and differences of means as ratios: of odds, rates, hazards or means."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skmixed.core.families.ordinal import Cumulative
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.inference.fitted import AnyFit


def ratio_name(fit: AnyFit) -> str | None:
    """Return what exponentials of coefficients are, None where they are no ratio of anything.

    Those of a linear or nonlinear model are ratios of what the response is the logarithm of.
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
    """Return a table of linear functions on the scale of their exponentials.

    Errors are by the delta method; the tests stay those of the functions themselves.
    """
    found = frame.assign(estimate=np.exp(frame["estimate"]))
    found["std_error"] = found["estimate"] * frame["std_error"]
    for limit in ("lower", "upper"):
        if limit in found:
            found[limit] = np.exp(frame[limit])
    return found


def ratio_note(name: str) -> str:
    """Say how ratios are tabulated."""
    return f"{name}; errors by the delta method, tests and intervals on the scale of the link."
