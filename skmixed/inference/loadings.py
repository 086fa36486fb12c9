"""Factor loadings of reduced-rank random effects."""

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
    """Tabulate the factor loadings of reduced-rank random effects.

    Read more in the user guide: :doc:`/guide/covariances`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model with a term ``rr(...)`` or ``fa(...)``.

    Returns
    -------
    Table
        A row for each column of such a term, indexed by factor and column. ``latent1``, ``latent2``
        and so on are the loadings: the change in the column's effect per standard deviation of a
        latent effect (latent effects have unit variance). ``unique_sd`` is the standard deviation
        specific to the column, zero for ``rr``, and ``communality`` the share of its variance due
        to the latent effects, NaN if it has none. For generalized models on the scale of the link.

    Raises
    ------
    ValueError
        If the model is not fitted, leaves no residual or has no such term.

    See Also
    --------
    random_effects_table : The effects of each level, latent and specific parts together.
    confidence_intervals : Intervals of standard deviations and correlations, with the suffixes
        ``.common`` and ``.unique``.

    Notes
    -----
    With loadings L and unique variances Psi the covariance of the effects is L L' + Psi, which is
    in `random_covariance_`. Loadings are determined up to a rotation. Here they are lower
    triangular, as in glmmTMB: the first column loads on the first latent effect only, the second on
    the first two. Diagonal entries are not negative; glmmTMB leaves their signs arbitrary. In R:
    ``model$obj$env$report(model$fit$parfull)$fact_load``. For other rotations, such as varimax,
    pass the loadings to a package such as factor_analyzer.

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
    design_of(model)  # a bare fit has none
    found = [each for each in wholes(fit.ordered_terms) if each[0].structure.n_latent]
    if not found:
        raise ValueError(
            "the model has no loadings, because none of its random terms has reduced rank: use "
            "rr(0 + x | g, d=2), or fa(...) to add unique variances"
        )
    frame = pd.concat([_of_parts(fit, parts) for parts in found])
    latent = sorted(name for name in frame.columns if isinstance(name, int))
    frame = frame[[*latent, "unique_sd", "communality"]]
    frame = frame.rename(columns={number: f"latent{number}" for number in latent})
    notes = ("Loadings are lower triangular; any rotation fits equally well.",)
    return Table(f"Loadings: {formula_of(model)}", frame, notes)


def _of_parts(fit: MixedFit, parts: tuple[Term, ...]) -> pd.DataFrame:
    """Tabulate the loadings of one term, columns by number, beside its other parts."""
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
