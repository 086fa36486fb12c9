"""What linear mixed models as scikit-learn regressors have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _num_samples, check_is_fitted

from skmixed.core.fit import Fit, Posterior
from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.rows.leave_out import leave_levels_out, leave_rows_out
from skmixed.core.search.auto import Auto
from skmixed.core.search.average_information import IterativeSolver
from skmixed.core.search.em import EM
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import Solver
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Rows
from skmixed.design.design import Design
from skmixed.estimators._attributes import LabelledAttributes
from skmixed.estimators._batches import declaration, read_batch
from skmixed.estimators._data import TrainingData
from skmixed.estimators._diagnosis import (
    check_residual,
    check_sizes,
    check_weights,
    print_iteration,
    warn_about,
)
from skmixed.estimators._documentation import DocumentedMixin
from skmixed.estimators._labels import describe
from skmixed.estimators._predictions import Predictions
from skmixed.estimators._summed import learn_rows
from skmixed.inference.summary import Summary, summarise

_MOST_EM_STEPS = 2_000  # for max_iter=None, EM's own default: its steps are cheap, but many
_MOST_EVALUATIONS = 200  # for max_iter=None, Newton's own default: far above what it takes


class BaseMixedRegressor(
    Predictions, LabelledAttributes, DocumentedMixin, RegressorMixin, BaseEstimator
):
    """Fitted attributes and predictions of a linear mixed model.

    A subclass has the parameters of `MixedLinearRegressor` and its own `fit`.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "random": [str, Mapping, None],
        "fixed": [str, None],
        "group_features": [str, Integral, "array-like", None],
        "covariance": [StrOptions({"unstructured", "diagonal", "identity"}), Mapping],
        "method": [StrOptions({"reml", "ml"})],
        "fit_intercept": ["boolean"],
        "weighting": [StrOptions({"frequency", "precision"})],
        "handle_unknown": [StrOptions({"population", "error", "nan"})],
        "solver": [StrOptions({"auto", "newton", "em", "iterative"}), IterativeSolver],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    __metadata_request__fit: ClassVar = {"groups": True}
    __metadata_request__partial_fit: ClassVar = {"groups": True}
    __metadata_request__predict: ClassVar = {"groups": True}
    __metadata_request__score: ClassVar = {"groups": True}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # `categorical` stays False: to scikit-learn it says that all of X is whole numbers.
        tags.input_tags.string = any(
            part is not None for part in (self.random, self.fixed, self.group_features)
        )
        tags.input_tags.two_d_array = self.fixed is None  # a formula needs a data frame
        return tags

    def _summed(self, data: TrainingData) -> tuple[Design, CrossProducts]:
        """Learn the design and sum over the rows, of which nothing is kept."""
        design, rows = learn_rows(self, data, data.terms)
        return design, CrossProducts.of(design.layout, rows)

    def _solver(self) -> Solver:
        """Return the search that `solver`, `max_iter`, `tol` and `verbose` ask for."""
        callback = print_iteration if self.verbose else None
        if isinstance(self.solver, IterativeSolver):
            return replace(self.solver, callback=self.solver.callback or callback)
        if self.solver == "em":
            return EM(tol=self.tol, max_iter=self.max_iter or _MOST_EM_STEPS, callback=callback)
        most = self.max_iter or _MOST_EVALUATIONS
        newton = Newton(tol=self.tol, max_iter=most, callback=callback)
        iterative = IterativeSolver(tol=self.tol, max_iter=most, callback=callback)
        if self.solver == "iterative":
            return iterative
        return newton if self.solver == "newton" else Auto(newton, iterative)

    def _fit_to(self, data: TrainingData) -> None:
        """Fit to a table."""
        design, products = self._summed(data)
        fit = self._search(design, products, data.weights)
        self._adopt(data, design)
        self._adopt_fit(design, fit)

    def _search(self, design: Design, products: CrossProducts, weights: FloatArray | None) -> Fit:
        """Fit to cross-products; nothing is set. `weights`, (n,), are only warned about."""
        spec = ModelSpec(design.fixed, design.terms, self.method, self.weighting)
        check_weights(weights, spec)
        check_sizes(products, spec)
        return Fit.of(products, spec, self._solver())

    def _adopt(self, data: TrainingData, design: Design) -> None:
        """Set what is known of the columns, after everything else has worked."""
        self.n_features_in_ = data.n_features
        for name in ("feature_names_in_", "n_dropped_"):  # of an earlier fit
            self.__dict__.pop(name, None)
        if data.feature_names is not None:
            self.feature_names_in_ = data.feature_names
        self._columns = data.columns
        self._declaration = declaration(self)
        self.formula_ = describe(design, data.terms, data.fixed)

    def _adopt_fit(self, design: Design, fit: Fit) -> None:
        """Set the estimates, and warn where they are in doubt."""
        self.fit_ = fit
        self._beta = fit.beta
        self.coef_ = self._beta[1:] if design.has_intercept else self._beta.copy()
        self.intercept_ = float(self._beta[0]) if design.has_intercept else 0.0
        self.residual_variance_ = fit.sigma2
        self.theta_ = fit.theta
        self.criterion_ = fit.criterion
        self.rank_ = fit.rank
        self.n_iter_ = max(1, fit.report.n_iter)
        self.converged_ = fit.report.converged
        self.is_singular_ = fit.is_singular
        self.solver_ = fit.report.solver
        self._adopt_effects(design, fit)
        named = hasattr(self, "feature_names_in_")
        warn_about(fit, () if named else self._columns.groups)

    def _adopt_effects(self, design: Design, posterior: Fit | Posterior) -> None:
        """Set what is known of the levels, which `update_groups` changes alone."""
        self.design_ = design
        self._posterior = posterior
        self._effects = posterior.modes
        levels = posterior.products.levels
        used = (levels[factor] for factor in self.fit_.spec.used_factors)
        self.n_groups_ = {index.name: len(index) for index in used}

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> float:
        """Return the coefficient of determination of the predictions.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        y : array-like of shape (n,)
            The true response.
        sample_weight : None or array-like of shape (n,), default=None
            Weights of the rows.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        float
            R^2 of ``predict(X, groups)``.
        """
        prediction = self.predict(X, groups)
        return float(r2_score(y, prediction, sample_weight=sample_weight))

    def summary(self, digits: int = 2) -> Summary:
        """Summarise the fit as arm::display and print(lmer) do.

        Parameters
        ----------
        digits : int, default=2
            Decimals of estimates, standard errors and standard deviations.

        Returns
        -------
        Summary
            Prints as text and shows as HTML in a notebook.
        """
        check_is_fitted(self)
        return summarise(self.fit_, self.formula_, getattr(self, "n_dropped_", 0), digits)

    def update_groups(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None
    ) -> Self:
        """Learn the random effects of old and new levels from further rows, and nothing else.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, as in `fit`.
        y : array-like of shape (n,)
            The response.
        sample_weight : None or array-like of shape (n,), default=None
            Nonnegative weights.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        estimator
            This one, its `random_effects_`, their covariances and its predictions given all
            rows so far, at the coefficients and variances of the last fit.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `partial_fit`, and if the fit left no residual.
        """
        check_is_fitted(self)
        check_residual(self.fit_)
        rows = read_batch(self, X, y, sample_weight, groups)
        products = self._posterior.products + CrossProducts.of(self.design_.layout, rows)
        posterior = Posterior.of(self.fit_, products)
        self._adopt_effects(self.design_.with_levels(products.levels), posterior)
        return self

    def loo_predict(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        leave_out: str | None = None,
    ) -> FloatArray:
        """Predict every row the model was fitted to by the model of the other rows.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The rows that `fit` was given, in any order; the model does not keep them.
        y : array-like of shape (n,)
            Their response.
        sample_weight : None or array-like of shape (n,), default=None
            Their weights, all positive.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Their labels, if they were given as `groups` to `fit`.
        leave_out : str or None, default=None
            None leaves out each row by itself; the name of a factor leaves out all rows of the
            same level.

        Returns
        -------
        ndarray of shape (n,)
            Predictions in units of y: of a known group without the row itself, or, with
            `leave_out`, of a new group.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If these are not the rows of the fit, for an unknown factor, and if the fit left no
            residual.

        Notes
        -----
        The relative variances stay those of all rows, so that no refit is needed; coefficients and
        random effects are those of the other rows, exactly. The cost is that of one evaluation of
        the criterion and a pass over the rows; to leave out levels of a factor that is crossed with
        another or lies within one takes an evaluation a level.

        Examples
        --------
        >>> from skmixed import MixedLinearRegressor
        >>> from skmixed.datasets import load_sleepstudy
        >>> X, y = load_sleepstudy(return_X_y=True)
        >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
        >>> model.loo_predict(X, y)[:3].round(1)
        array([254.9, 276.3, 299.1])
        >>> model.loo_predict(X, y, leave_out="Subject")[:3].round(1)
        array([251.8, 261.6, 271.4])
        """
        rows = self._rows_of_fit(X, y, sample_weight, groups)
        if leave_out is None:
            return leave_rows_out(self.fit_, rows)
        if leave_out not in self.n_groups_:
            raise ValueError(
                f"leave_out={leave_out!r} is no factor of the model, which has "
                f"{list(self.n_groups_)}; None leaves out single rows"
            )
        names = [index.name for index in self.fit_.products.levels]
        return leave_levels_out(self.fit_, rows, names.index(leave_out))

    def _rows_of_fit(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> Rows:
        """Read the rows of the fit once more, for what its cross-products cannot tell.

        Raises ValueError for rows of weight zero.
        """
        check_is_fitted(self)
        check_residual(self.fit_)
        rows = read_batch(self, X, y, sample_weight, groups)
        if len(rows.columns) != _num_samples(X):
            raise ValueError(
                "rows of weight zero are no part of the fit: leave them out of X and y"
            )
        return rows
