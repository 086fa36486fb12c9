"""Models compared by how likely they made the data beforehand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import softmax

from skmixed.bayes.posterior_draws import PosteriorDraws
from skmixed.inference.comparable import check_same_data
from skmixed.inference.table import Table


def compare(draws: Mapping[str, PosteriorDraws]) -> Table:
    """Compare models by their evidence, the marginal likelihood of the data.

    Parameters
    ----------
    draws : dict of str to PosteriorDraws
        Draws from the posteriors of the models, under priors that integrate to one.

    Returns
    -------
    Table
        A row a model, the best first: log evidence and its Monte Carlo standard error, log of the
        Bayes factor against the best, and the probability of the model if all were equally likely
        beforehand.

    Raises
    ------
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
    names = list(draws)
    for name, each in draws.items():
        if np.isnan(each.log_evidence):
            raise ValueError(
                f"{name!r} has no evidence, since its prior does not integrate to one: sample it "
                "with prior='weak' or distributions of your own"
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
