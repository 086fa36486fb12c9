"""New responses drawn from a fitted linear mixed model."""

from __future__ import annotations

from typing import Any

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.design.grouping import number_levels
from skmixed.design.source import Source
from skmixed.design.tables import UNKNOWN
from skmixed.estimators._prediction import PredictionRows


def simulate_rows(
    model: Any,
    source: Source,
    predicted: PredictionRows,  # the same rows, all factors wanted
    n_samples: int,
    random: str,
    generator: np.random.Generator,
) -> FloatArray:
    """Draw responses of rows, (n, n_samples), in units of y.

    The effects of known levels are drawn too if `random` is "new", and are their BLUPs if it is
    "fitted". Raises ValueError if labels are not given.
    """
    spec = model.fit_.spec
    drawn = np.repeat(predicted.fixed_part(model)[:, None], n_samples, axis=1)
    for position, factor in enumerate(spec.used_factors):
        key = predicted.indexes[factor].key
        missing = [name for name in key if name not in source.groups]
        if missing:
            raise ValueError(
                f"no labels of the grouping columns {missing} are given: rows that share an effect "
                "must be known to draw it"
            )
        numbers = number_levels(source.groups, key)
        shape = (numbers.max(initial=-1) + 1, len(spec.factor_columns(factor)), n_samples)
        lam = np.sqrt(model.fit_.sigma2) * model.fit_.factors[position]
        effects = np.einsum("ab,lbs->las", lam, generator.standard_normal(shape))[numbers]
        if random == "fitted":
            level = predicted.codes[factor]
            known = level != UNKNOWN
            effects[known] = model._effects[position][level[known]][:, :, None]
        for column, place in enumerate(spec.factor_columns(factor)):
            drawn += predicted.columns[:, place, None] * effects[:, column]
    noise = generator.standard_normal(drawn.shape)
    return np.asarray(drawn + np.sqrt(model.residual_variance_) * noise)
