"""Correlations of places by their distance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special
from scipy.spatial import distance

from skmixed.core.linalg import FloatArray


def matern_correlation(coordinates: Any, length: float, smoothness: float) -> FloatArray:
    """Return the Matern correlation of places, (n, n), given their coordinates, (n, n_dimensions).

    2^(1 - v) / Gamma(v) t^v K_v(t) with t = sqrt(2 v) h / length at distance h (Rasmussen &
    Williams 2006, eq. 4.14). Raises ValueError for what is not positive and finite.
    """
    for name, value in (("range", length), ("smoothness", smoothness)):
        if not 0.0 < value < np.inf:
            raise ValueError(f"{name}={value!r} of a Matern correlation is not positive and finite")
    places = np.asarray(coordinates, dtype=np.float64)
    if places.ndim == 1:
        places = places[:, None]
    if places.ndim != 2 or not np.isfinite(places).all():
        raise ValueError("coordinates are a table of finite numbers, a row a place")
    scaled = math.sqrt(2.0 * smoothness) / length * distance.cdist(places, places)
    if smoothness == 0.5:
        return np.asarray(np.exp(-scaled))
    if smoothness == 1.5:
        return np.asarray((1.0 + scaled) * np.exp(-scaled))
    if smoothness == 2.5:
        return np.asarray((1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled))
    apart = np.where(scaled > 0.0, scaled, 1.0)
    log_times = (1.0 - smoothness) * math.log(2.0) - special.gammaln(smoothness)
    values = np.exp(log_times + smoothness * np.log(apart) - apart) * special.kve(smoothness, apart)
    return np.where(scaled > 0.0, values, 1.0)
