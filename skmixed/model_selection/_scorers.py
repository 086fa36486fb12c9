"""Scorers that pass groups to the predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from sklearn.metrics import get_scorer, make_scorer, r2_score
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object

from skmixed.model_selection._grouped_rows import GroupedRows, GroupPassingEstimator, as_arguments

_SklearnScorer = type(make_scorer(r2_score))


class GroupScorer:
    """Scorer in scikit-learn's sense that also accepts `groups`.

    Made by `make_group_scorer`. It is called as
    ``scorer(estimator, X, y, groups=None, sample_weight=None)`` and returns a number that is higher
    for better predictions.

    Parameters
    ----------
    scorer : scorer of scikit-learn
        Scorer of the predictions.

    See Also
    --------
    make_group_scorer : Make one from a metric or the name of a scorer.

    Examples
    --------
    >>> from skmixed.model_selection import GroupScorer, make_group_scorer
    >>> scorer = make_group_scorer("r2").set_score_request(sample_weight=True)
    >>> isinstance(scorer, GroupScorer)
    True
    """

    def __init__(self, scorer: Any) -> None:
        self._scorer = scorer
        self._requests: dict[str, Any] = {"groups": True, "sample_weight": None}

    def __call__(
        self, estimator: Any, X: Any, y: Any, groups: Any = None, sample_weight: Any = None
    ) -> float:
        """Score the predictions of a fitted estimator; higher is better.

        Groups are passed only to estimators that accept them; weights, (n,), are for metrics that
        do.
        """
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        if groups is None:
            return self._scorer(estimator, X, y, **weights)
        return self._scorer(GroupPassingEstimator(estimator), GroupedRows(X, groups), y, **weights)

    def __repr__(self) -> str:
        return repr(self._scorer).replace("make_scorer", "make_group_scorer", 1)

    def set_score_request(self, **requests: bool | str | None) -> GroupScorer:
        """Set the metadata requests of the scorer.

        Parameters
        ----------
        **requests : dict of str to bool, str or None
            For `groups`, requested by default, and `sample_weight`, as in scikit-learn: whether it
            is passed, or the alias under which it is given.

        Returns
        -------
        GroupScorer
            The scorer itself.

        Raises
        ------
        TypeError
            If other metadata are named.
        """
        unknown = sorted(set(requests) - {"groups", "sample_weight"})
        if unknown:
            raise TypeError(
                f"a group scorer accepts the metadata groups and sample_weight, not {unknown}"
            )
        self._requests.update(requests)
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """Return the metadata requests of the scorer.

        Returns
        -------
        MetadataRequest
            Requests of the method `score`.
        """
        request = MetadataRequest(owner=self)
        for name, alias in self._requests.items():
            request.score.add_request(param=name, alias=alias)
        return request


def make_group_scorer(
    score_func: Callable[..., float] | str,
    *,
    response_method: Any = "predict",
    greater_is_better: bool = True,
    **kwargs: Any,
) -> GroupScorer:
    """Make a scorer that passes `groups` to the predictions.

    The counterpart of `sklearn.metrics.make_scorer` for models fitted with ``groups=``; it is
    called as ``scorer(estimator, X, y, groups=None, sample_weight=None)``. In scikit-learn's tools,
    such as `GridSearchCV`, it requires metadata routing to be enabled, and then requests groups;
    the functions of this package always pass them.

    Parameters
    ----------
    score_func : callable or str
        Metric ``metric(y_true, y_pred, **kwargs)``, name of a scikit-learn scorer,
        ``"neg_mean_absolute_error"``, or scorer made by `sklearn.metrics.make_scorer`.
    response_method : str or tuple of str, default="predict"
        Method of the estimator that returns the predictions to score.
    greater_is_better : bool, default=True
        Whether a higher value of the metric is better; if False, its sign is flipped.
    **kwargs : dict
        Further arguments of the metric.

    Returns
    -------
    GroupScorer
        The scorer.

    Raises
    ------
    ValueError
        If the name is not that of a scorer, or further arguments are given with a name or a scorer.

    See Also
    --------
    cross_validate : Takes scorers by name without this.
    sklearn.metrics.make_scorer : The same without groups.

    Examples
    --------
    >>> from sklearn.metrics import mean_absolute_error
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.model_selection import make_group_scorer
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> days, subject = X[["Days"]], X["Subject"]
    >>> model = MixedLinearRegressor().fit(days, y, groups=subject)
    >>> scorer = make_group_scorer(mean_absolute_error, greater_is_better=False)
    >>> round(scorer(model, days, y, groups=subject), 2)
    -21.87
    """
    if isinstance(score_func, str | _SklearnScorer | GroupScorer):
        if kwargs or response_method != "predict" or not greater_is_better:
            raise ValueError(
                f"{score_func!r} is already a scorer: pass the metric itself to set "
                "response_method, greater_is_better or arguments of the metric"
            )
        return (
            score_func
            if isinstance(score_func, GroupScorer)
            else GroupScorer(get_scorer(score_func))
        )
    if not callable(score_func):
        raise TypeError(f"score_func must be a metric or the name of a scorer, got {score_func!r}")
    return GroupScorer(
        make_scorer(
            score_func,
            response_method=response_method,
            greater_is_better=greater_is_better,
            **kwargs,
        )
    )


class _UserScorer:
    """A user's own scorer, called with the X and the estimator it expects."""

    def __init__(self, scorer: Callable[..., Any]) -> None:
        self._scorer = scorer

    def __call__(
        self, estimator: GroupPassingEstimator, X: GroupedRows, y: Any = None, **params: Any
    ) -> Any:
        if _takes_groups(self._scorer):
            params["groups"] = X.groups
        return self._scorer(estimator.estimator, X.X, *as_arguments(y), **params)

    def __repr__(self) -> str:
        return repr(self._scorer)

    def get_metadata_routing(self) -> Any:
        """Return the requests of the scorer, if it has any."""
        ask = getattr(self._scorer, "get_metadata_routing", None)
        return MetadataRequest(owner=self._scorer) if ask is None else ask()


def _takes_groups(scorer: Callable[..., Any]) -> bool:
    return "groups" in signature(scorer).parameters


class _DefaultScorer:
    """The estimator's own `score`, whose requests routing finds in every scikit-learn."""

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator

    def __call__(
        self, estimator: GroupPassingEstimator, X: GroupedRows, y: Any = None, **params: Any
    ) -> Any:
        return estimator.score(X, y, **params)

    def __repr__(self) -> str:
        return f"{type(self._estimator).__name__}.score"

    def get_metadata_routing(self) -> Any:
        """Return the requests of the estimator."""
        return get_routing_for_object(self._estimator)


def for_rows(scoring: Any, estimator: Any) -> Any:
    """Return a `scoring` argument whose scorers work on `GroupPassingEstimator` and `GroupedRows`.

    None means the `score` of the estimator. scikit-learn's own scorers stay as they are, since they
    only call methods of the estimator.
    """
    if scoring is None:
        return _DefaultScorer(estimator)
    if isinstance(scoring, Mapping):
        return {name: for_rows(scorer, estimator) for name, scorer in scoring.items()}
    if not callable(scoring) or isinstance(scoring, _SklearnScorer):
        return scoring
    return _UserScorer(scoring)
