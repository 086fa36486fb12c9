"""Models compared by how likely they made the data beforehand."""

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
    """Compare models by their evidence, the marginal likelihood of the data.

    Parameters
    ----------
    draws : dict of str to PosteriorDraws, or list of these
        Draws from the posteriors of the models, under priors that integrate to one; without names
        they are called "model 1" and so on.

    Returns
    -------
    Table
        A row a model, the best first: log evidence and its Monte Carlo standard error, log of the
        Bayes factor against the best, and the probability of the model if all were equally likely
        beforehand.

    Raises
    ------
    TypeError
        If something else stands in the place of draws.
    ValueError
        If a prior does not integrate to one, or the models were fitted to different data.

    See Also
    --------
    stack : Weights models by rows left out, which hangs on the prior much less.

    Notes
    -----
    Evidence hangs on how wide the prior distributions are even where the posteriors do not. Give
    your own, and not the default ones, if a Bayes factor is to mean something.

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
    draws = by_name(draws, PosteriorDraws, "draws, what sample returns")
    names = list(draws)
    for name, each in draws.items():
        if np.isnan(each.log_evidence):
            raise ValueError(
                f"{name!r} has no evidence, since its prior does not integrate to one, or its "
                "chains are short: sample it with prior='weak' or distributions of your own, and "
                "with n_draws=1000"
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
    return Table("Models by evidence", frame.iloc[np.argsort(-evidence, kind="stable")])


def by_name(given: Any, kind: type[T], wanted: str) -> dict[str, T]:
    """Return what is known of models by name; in a list they have numbers.

    Raises TypeError for what is not of the kind that is wanted.
    """
    if isinstance(given, kind):
        given = [given]
    named = isinstance(given, Mapping)
    found = dict(given) if named else {f"model {n}": each for n, each in enumerate(given, 1)}
    for name, each in found.items():
        if not isinstance(each, kind):
            raise TypeError(f"{name!r} is of type {type(each).__name__}: give {wanted}")
    return found
