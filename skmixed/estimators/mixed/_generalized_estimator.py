"""What the estimators of generalized linear mixed models have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_scalar

from skmixed.bayes.penalties import Penalising
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.core.sums.layout import Rows
from skmixed.design.source import Source
from skmixed.estimators._estimator import Refused, UnknownLevels, check_choice
from skmixed.estimators.mixed._generalized_state import GeneralizedAttributes, GeneralizedState
from skmixed.estimators.mixed._mixed_estimator import PENALISING, MixedEstimator
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._numbers import read_positive_weights
from skmixed.estimators.reading._prediction_rows import PredictionRows, draw_predictors
from skmixed.estimators.reading._training_data import read_exposure, read_observed
from skmixed.inference.parameter_values import ParameterValues

Averaging = Literal["integrate", "plug-in"]


class BaseGeneralized(GeneralizedAttributes, MixedEstimator[GeneralizedState]):
    """What a generalized linear mixed model does once it is fitted."""

    averaging: Averaging
    handle_unknown: UnknownLevels

    _state_type: ClassVar[type[GeneralizedState]] = GeneralizedState

    prior: Penalising = None

    @property
    def _penalised_by(self) -> Penalising:
        return self.prior

    partial_fit = Refused(
        "sums of rows do not add up to a fit of responses of a family, so call fit with all rows; "
        "update_groups learns the effects of groups from further ones"
    )

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **MixedEstimator._parameter_constraints,
        "quadrature": [Interval(Integral, 1, None, closed="left")],
        "prior": PENALISING,
        "relationship": [Mapping, None],
        "averaging": [StrOptions({"integrate", "plug-in"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def update_groups(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None
    ) -> Self:
        """Learn the random effects of new and old levels from further rows, and nothing else.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, as in `fit`.
        y : array-like of shape (n,)
            The response, as in `fit`; a classifier needs no row of each class.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights, as in `fit`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, if they were given as `groups` to `fit`.

        Returns
        -------
        estimator
            This one, its `random_effects_`, their covariances and its predictions given all
            rows so far, at the coefficients, variances and dispersion of the last fit.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `fit`; for other classes; and if parameters that say what the columns are have
            changed since.

        Notes
        -----
        The effects of a level that is new, none of whose rows has a known level of another factor,
        are exactly the modes given its rows. What the rows of the fit, or of earlier calls, say of
        known levels is their quadratic approximation at the modes then, as they are not kept: the
        further they are moved by new rows, the less exact they are.

        Examples
        --------
        >>> import numpy as np
        >>> import pandas as pd
        >>> from skmixed import MixedGeneralizedRegressor
        >>> shop = np.arange(200) % 20
        >>> visits = np.random.default_rng(0).poisson(2.0 + shop % 3)
        >>> model = MixedGeneralizedRegressor("(1 | shop)").fit(
        ...     pd.DataFrame({"shop": shop}), visits
        ... )
        >>> opened = pd.DataFrame({"shop": [20]})
        >>> model.predict(opened).round(2)
        array([3.17])
        >>> model.update_groups(pd.DataFrame({"shop": [20] * 4}), [5, 3, 7, 4])
        MixedGeneralizedRegressor(random='(1 | shop)')
        >>> model.predict(opened).round(2)
        array([4.])
        """
        fitted = self._state()
        rows, offset = read_observed(self, fitted, X, y, sample_weight, groups)
        self._fitted = fitted.with_effects_of(rows, offset)
        return self

    def simulate(
        self,
        X: Any,
        groups: Any = None,
        *,
        sample_weight: Any = None,
        parameters: Mapping[str, float] | None = None,
        n_samples: int = 1,
        random_state: Any = None,
        random: Literal["new", "fitted"] = "new",
    ) -> NDArray[Any]:
        """Draw new responses from the fitted model.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, as in `predict`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, if they were given as `groups` to `fit`. Rows of one label share an
            effect, whether or not the model knows it; a row with a missing label has one of its
            own.
        sample_weight : None or array-like of shape (n,), default=None
            Positive weights: numbers of trials of shares, whole numbers; exposures of counts, whose
            rates are then drawn. None is one trial a row. Other families have no use for them, and
            a classifier, which draws a class for every row, takes none.
        parameters : mapping of str to float or None, default=None
            Values of parameters in the place of the estimates, by the names that
            `skmixed.inference.confidence_intervals` has: coefficients, ``sd_x|g`` and
            ``cor_x.z|g`` (lme4's ``newparams``). Others stay as they are.
        n_samples : int, default=1
            Number of draws.
        random_state : None, int, RandomState or Generator, default=None
            Seed of the random numbers.
        random : {"new", "fitted"}, default="new"
            Random effects: new ones from their estimated distribution in every draw, as
            ``simulate`` of lme4, or the modes of the levels that the model knows (lme4's
            ``use.u``); levels that it does not know get new ones.

        Returns
        -------
        ndarray of shape (n, n_samples)
            Responses as `fit` takes them, a column a draw: classes of a classifier.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict`, if labels are not given, for weights that are not positive, or no
            numbers of trials, and for parameters that the model does not have or that cannot be so.

        Notes
        -----
        Coefficients, variances and the dispersion are the estimated ones, but for `parameters`.

        References
        ----------
        .. [1] Bates, D., Maechler, M., Bolker, B. & Walker, S. (2015). Fitting linear mixed-effects
           models using lme4. Journal of Statistical Software 67(1), :doi:`10.18637/jss.v067.i01`,
           section 5.

        Examples
        --------
        >>> import numpy as np
        >>> from skmixed import MixedGeneralizedRegressor
        >>> X = np.repeat(np.arange(20), 5)[:, None]
        >>> y = np.random.default_rng(0).poisson(3.0, 100)
        >>> model = MixedGeneralizedRegressor(group_features=[0]).fit(X, y)
        >>> model.simulate(X, n_samples=3, random_state=0).shape
        (100, 3)
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        check_choice("random", random, ("new", "fitted"))
        fitted = self._state()
        if sample_weight is not None and fitted.classes is not None:
            raise ValueError(
                f"a {type(self).__name__} draws a class for every row, without sample_weight: "
                "repeat rows of several trials"
            )
        source, rows, log_exposure = self._rows_to_predict(fitted, X, groups)
        weights = read_positive_weights(sample_weight, len(rows.columns))
        generator = generator_of(random_state)
        values = None if parameters is None else ParameterValues.of(fitted.fit, parameters)
        etas = draw_predictors(fitted.fit, source, rows, n_samples, random, generator, values)
        if log_exposure is not None:
            etas += log_exposure[:, None]
        family, phi = fitted.fit.family, fitted.fit.phi
        drawn = np.empty_like(etas)
        for draw in range(n_samples):
            drawn[:, draw] = family.draw(etas[:, draw], weights, phi, generator)
        return drawn if fitted.classes is None else fitted.classes[drawn.astype(np.intp)]

    def _rows_of_fit(
        self, fitted: GeneralizedState, X: Any, y: Any, sample_weight: Any, groups: Any
    ) -> tuple[Rows, FloatArray | None]:
        """Read the rows of the fit once more, with their offsets, (n,)."""
        return read_observed(self, fitted, X, y, sample_weight, groups)

    def _rows_to_predict(
        self,
        fitted: GeneralizedState,
        X: Any,
        groups: Any,
        random: str | Sequence[str] = "all",
        *,
        all_columns: bool = False,  # also those of effects that are not wanted
    ) -> tuple[Source, PredictionRows, FloatArray | None]:
        """Validate the arguments of a prediction; return also logs of exposures, (n,), or None."""
        table = InputTable.of(X)
        source, rows = fitted.predictor.read(self, table, groups, random, all_columns=all_columns)
        exposure = read_exposure(table, fitted.columns.exposure)
        return source, rows, None if exposure is None else np.log(exposure)

    def _averages(self, fitted: GeneralizedState) -> bool:
        """Tell whether predictions are averaged over what is not known of random effects."""
        return self.averaging == "integrate" and bool(fitted.fit.spec.terms)


def refuse_missing(values: FloatArray, consequence: str) -> None:
    """Raise ValueError, saying what follows for them, if rows have no prediction, (n,)."""
    missing = np.flatnonzero(np.isnan(values))
    if len(missing):
        raise ValueError(
            f"{len(missing)} rows have labels that were not seen in fit, or missing ones, the "
            f"first in row {missing[0]}; with handle_unknown='nan' {consequence}, or say "
            "handle_unknown='population'"
        )
