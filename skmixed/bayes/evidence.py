"""Model comparison by evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy.special import softmax

from skmixed.bayes.posterior_draws import PosteriorDraws
from skmixed.inference.comparable import check_same_data
from skmixed.inference.table import Table

T = TypeVar("T")


def compare(draws: Mapping[str, PosteriorDraws] | Sequence[PosteriorDraws]) -> Table:
    """Compare models by their evidence (marginal likelihood) and Bayes factors.

    Evidence depends on the width of the priors even where the posterior does not: set priors of
    your own, not the defaults, for meaningful Bayes factors. `stack` and `loo` compare models by
    their predictions and depend on the priors much less.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    draws : dict of str to PosteriorDraws, or list of these
        Posterior draws of the models, under proper priors; models in a list are called "model 1"
        and so on.

    Returns
    -------
    Table
        A row for each model, the best first: log evidence with its Monte Carlo standard error, log
        Bayes factor against the best, and posterior probability under equal prior probabilities.

    Raises
    ------
    TypeError
        If an entry is not a set of draws.
    ValueError
        If a prior is improper, or the models were fitted to different data.

    See Also
    --------
    stack : Model weights by cross-validation.
    loo : Leave-one-out cross-validation of one model.
    skmixed.inference.compare_models : Likelihood-ratio tests, AIC and BIC of fits.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.bayes import compare, sample
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> draws = {
    ...     random: sample(MixedLinearRegressor(random).fit(X, y), random_state=0)
    ...     for random in ("(Days | Subject)", "(1 | Subject)")
    ... }
    >>> compare(draws).to_frame().index[0]
    '(Days | Subject)'
    """
    draws = by_name(draws, PosteriorDraws, "the result of sample")
    names = list(draws)
    for name, each in draws.items():
        if np.isnan(each.log_evidence):
            raise ValueError(
                f"{name!r} has no evidence, because its prior is improper or its chains are too "
                "short: sample it with prior='weak' or proper priors of your own, and with "
                "n_draws=1000"
            )
    check_same_data([each.fit for each in draws.values()], names)
    evidence = np.array([each.log_evidence for each in draws.values()])
    frame = pd.DataFrame(
        {
            "log_evidence": evidence,
            "std_error": [each.log_evidence_error for each in draws.values()],
            "log_bayes_factor": evidence - evidence.max(),
            "probability": softmax(evidence),
        },
        index=names,
    )
    return Table("Model comparison by evidence", frame.iloc[np.argsort(-evidence, kind="stable")])


def by_name(given: Any, kind: type[T], wanted: str) -> dict[str, T]:
    """Return results of models by name; those in a list are numbered.

    Raises TypeError for results of another kind.
    """
    if isinstance(given, kind):
        given = [given]
    named = isinstance(given, Mapping)
    found = dict(given) if named else {f"model {n}": each for n, each in enumerate(given, 1)}
    for name, each in found.items():
        if not isinstance(each, kind):
            raise TypeError(f"{name!r} is a {type(each).__name__}: pass {wanted}")
    return found
