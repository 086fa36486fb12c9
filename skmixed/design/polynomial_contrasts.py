"""Contrasts of ordered factors: orthogonal polynomials, R's ``contr.poly``."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray

_NAMES = (".L", ".Q", ".C")  # of the first three degrees; those beyond are ^4, ^5


def is_ordered(values: Any) -> bool:
    """Tell whether a column has categories in an order."""
    dtype = getattr(values, "dtype", None)
    return isinstance(dtype, pd.CategoricalDtype) and bool(dtype.ordered)


def without_order(values: Any) -> Any:
    """Return a Series of categories without their order, anything else as it is."""
    return values.cat.as_unordered() if is_ordered(values) else values


@lru_cache(maxsize=64)  # numbers of levels of a session
def polynomial_contrasts(n_levels: int) -> FloatArray:
    """Return orthonormal polynomials of degree 1 and more at equal distances, (n_levels, p)."""
    scores = np.arange(n_levels) - (n_levels - 1) / 2.0
    powers = np.vander(scores / max(scores[-1], 1.0), increasing=True)
    directions, triangle = np.linalg.qr(powers)
    found = (directions * np.sign(np.diag(triangle)))[:, 1:]
    found.flags.writeable = False
    return np.asarray(found)


def polynomial_names(n_levels: int) -> list[str]:
    """Return the names of these columns, (p,)."""
    return [_NAMES[d - 1] if d <= len(_NAMES) else f"^{d}" for d in range(1, n_levels)]
