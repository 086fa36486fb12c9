"""Scorers that hand groups to the prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from sklearn.metrics import get_scorer, make_scorer, r2_score
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object

from skmixed.model_selection._grouped_rows import GroupedRows, GroupPassingEstimator, as_arguments

_SklearnScorer = type(make_scorer(r2_score))


class GroupScorer:
    """A scorer of scikit-learn's kind that also takes `groups`.

    `make_group_scorer` makes it. Its call is ``scorer(estimator, X, y, groups=None,
    sample_weight=None)``, and the larger the score the better.

    Parameters
    ----------
    scorer : scorer of scikit-learn
        What scores the predictions.

    See Also
    --------
    make_group_scorer : Makes one of a metric or of the name of a scorer.

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
        """Score the predictions of a fitted estimator, the larger the better.

        Groups are not handed on to an estimator that takes none; weights, (n,), are for a metric
        that takes them.
        """
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        if groups is None:
            return self._scorer(estimator, X, y, **weights)
        return self._scorer(GroupPassingEstimator(estimator), GroupedRows(X, groups), y, **weights)

    def __repr__(self) -> str:
        return repr(self._scorer).replace("make_scorer", "make_group_scorer", 1)

    def set_score_request(self, **requests: bool | str | None) -> GroupScorer:
        """Set what is asked of scikit-learn's metadata routing.

        Parameters
        ----------
        **requests : dict of str to bool, str or None
            For `groups`, which are requested from the beginning, and `sample_weight`, as in
            scikit-learn: whether it is handed on, or the name by which it is given.

        Returns
        -------
        GroupScorer
            This scorer.

        Raises
        ------
        TypeError
            For metadata of another name.
        """
        unknown = sorted(set(requests) - {"groups", "sample_weight"})
        if unknown:
            raise TypeError(f"a group scorer takes groups and sample_weight, not {unknown}")
        self._requests.update(requests)
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """Return what is asked of scikit-learn's metadata routing.

        Returns
        -------
        MetadataRequest
            Of the method "score".
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
    """Make a scorer that hands `groups` to the prediction.

    It is `sklearn.metrics.make_scorer` for models that are fitted with ``groups=``. Its call is
    ``scorer(estimator, X, y, groups=None, sample_weight=None)``. In scikit-learn's tools, such as
    `GridSearchCV`, it works with metadata routing enabled, where it requests groups; the
    functions of this package call it with groups in any case.

    Parameters
    ----------
    score_func : callable or str
        A metric, ``metric(y_true, y_pred, **kwargs)``; or the name of a scorer of scikit-learn,
        ``"neg_mean_absolute_error"``; or a scorer that `sklearn.metrics.make_scorer` made.
    response_method : str or tuple of str, default="predict"
        The method of the estimator whose result is scored.
    greater_is_better : bool, default=True
        Whether a larger value of the metric is a better one; otherwise its sign is turned.
    **kwargs : dict
        Further arguments of the metric.

    Returns
    -------
    GroupScorer
        The scorer.

    Raises
    ------
    ValueError
        For a name that is no scorer, and for further arguments beside a name or a scorer, which
        is complete.

    See Also
    --------
    cross_validate : Does without, for scorers by name.
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
                f"{score_func!r} is a scorer, which is complete: pass the metric itself to set "
                "response_method, greater_is_better or an argument of the metric"
            )
        return (
            score_func
            if isinstance(score_func, GroupScorer)
            else GroupScorer(get_scorer(score_func))
        )
    if not callable(score_func):
        raise TypeError(f"score_func is a metric or the name of a scorer, got {score_func!r}")
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
