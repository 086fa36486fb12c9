"""The only module that imports ArviZ: diagnostics of chains, and data trees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skmixed._extras import missing
from skmixed.core.linalg import FloatArray

_TAILS = (0.05, 0.95)  # quantiles for the effective sample size of the tails


def chain_diagnostics(draws: Mapping[str, FloatArray]) -> dict[str, dict[str, float]]:
    """Return the Monte Carlo error of the mean, effective sample sizes and R-hat of each parameter.

    Draws are (chains, draws) each.
    """
    try:
        from arviz_stats.base import array_stats
    except ImportError as error:
        raise missing("arviz-stats", "bayes", "diagnostics of chains") from error
    axes = {"chain_axis": 0, "draw_axis": 1}
    found = {}
    for name, values in draws.items():
        found[name] = {
            "mcse": float(array_stats.mcse(values, method="mean", **axes)),
            "ess_bulk": float(array_stats.ess(values, method="bulk", **axes)),
            "ess_tail": float(array_stats.ess(values, method="tail", prob=_TAILS, **axes)),
            "r_hat": float(array_stats.rhat(values, method="rank", **axes)),
        }
    return found


def datatree(
    posterior: Mapping[str, FloatArray],
    stats: Mapping[str, FloatArray],
    coords: Mapping[str, list[Any]],
    dims: Mapping[str, list[str]],
) -> Any:
    """Return draws as a data tree."""
    try:
        from arviz_base import from_dict
    except ImportError as error:
        raise missing("arviz-base", "bayes", "a data tree") from error
    groups = {"posterior": dict(posterior), "sample_stats": dict(stats)}
    return from_dict(groups, coords={k: np.asarray(v) for k, v in coords.items()}, dims=dict(dims))
