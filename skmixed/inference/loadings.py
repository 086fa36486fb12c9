"""Loadings of random effects of reduced rank on latent effects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import Term, wholes
from skmixed.inference.fitted import (
    MixedFit,
    design_of,
    determined_mixed_fit_of,
    formula_of,
    snapshot,
)
from skmixed.inference.table import Table


def loadings_table(model: Any) -> Table:
    """Tabulate the loadings of random effects of reduced rank.

    Parameters
    ----------
    model : estimator
        A fitted mixed model with a term ``rr(...)`` or ``fa(...)``.

    Returns
    -------
    Table
        A row for every factor and column of such a term, which are the index. ``latent1``,
        ``latent2`` and so on are the loadings: what an increase of a latent effect by its standard
        deviation, which is one, adds to the effect of the column. ``unique_sd`` is the standard
        deviation of what the column has of its own, zero for ``rr``, and ``communality`` the share
        of its variance that is due to the latent effects; NaN where it has none. Those of
        generalized models are on the scale of the link.

    Raises
    ------
    ValueError
        If the model is not fitted, leaves no residual or has no such term.

    See Also
    --------
    random_effects_table : The effects of every level, latent ones and a column's own together.
    confidence_intervals : Intervals of deviations and correlations, by ``.common`` and ``.unique``.

    Notes
    -----
    With loadings L and unique variances Psi the covariance of the effects is L L' + Psi, which is
    what `random_covariance_` has. Loadings are determined up to a rotation, L T with an orthogonal
    T. Here they are lower triangular, as in glmmTMB: the first column loads on the first latent
    effect alone, the second on the first two. No diagonal entry is negative; glmmTMB leaves signs
    as they come. In R: ``model$obj$env$report(model$fit$parfull)$fact_load``. Other rotations,
    varimax for one, are made of these, for example by the package factor_analyzer.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import lmer
    >>> from skmixed.inference import loadings_table
    >>> rng = np.random.default_rng(0)
    >>> pupil, test = np.repeat(np.arange(200), 8), np.tile(np.repeat(list("abcd"), 2), 200)
    >>> ability = rng.normal(size=(200, 1)) * [1.0, 0.8, 0.6, 0.0] + 0.5 * rng.normal(size=(200, 4))
    >>> score = np.repeat(ability, 2, axis=1).ravel() + 0.3 * rng.normal(size=1600)
    >>> data = pd.DataFrame({"pupil": pupil, "test": test, "score": score})
    >>> model = lmer("score ~ test + fa(0 + test | pupil, d=1)", data)
    >>> loadings_table(model).to_frame().round(2)
                    latent1  unique_sd  communality
    factor column
    pupil  test[a]     0.96       0.51         0.78
           test[b]     0.78       0.42         0.78
           test[c]     0.61       0.47         0.62
           test[d]     0.02       0.50         0.00
    """
    model = snapshot(model)
    fit = determined_mixed_fit_of(model)
    design_of(model)  # which a bare fit has not
    found = [each for each in wholes(fit.ordered_terms) if each[0].structure.n_latent]
    if not found:
        raise ValueError(
            "the model has no loadings: its random terms are not of reduced rank. Write "
            "rr(0 + x | g, d=2), or fa(...) for variances of the columns' own beside it"
        )
    frame = pd.concat([_of_parts(fit, parts) for parts in found])
    latent = sorted(name for name in frame.columns if isinstance(name, int))
    frame = frame[[*latent, "unique_sd", "communality"]]
    frame = frame.rename(columns={number: f"latent{number}" for number in latent})
    notes = ("Loadings are lower triangular; a rotation of them fits as well.",)
    return Table(f"Loadings: {formula_of(model)}", frame, notes)


def _of_parts(fit: MixedFit, parts: tuple[Term, ...]) -> pd.DataFrame:
    """Tabulate the loadings of one term, columns by number; the other parts are beside it."""
    layout, (term, *beside) = fit.products.layout, parts
    covariance = fit.term_covariance(term)
    loadings = term.structure.loadings(covariance)
    own = sum((np.diag(fit.term_covariance(part)) for part in beside), np.zeros(len(loadings)))
    common = np.diag(covariance)
    factor = ":".join(layout.factors[term.factor].key)
    columns = [layout.columns[place] for place in term.columns]
    index = pd.MultiIndex.from_product([[factor], columns], names=["factor", "column"])
    frame = pd.DataFrame(loadings, index, range(1, loadings.shape[1] + 1))
    return frame.assign(unique_sd=np.sqrt(own), communality=_share(common, common + own))


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    shares = np.full(len(part), np.nan)
    np.divide(part, whole, out=shares, where=whole > 0.0)
    return shares
