"""scikit-learn's cross-validation, with groups passed to fit, predict and score."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn import model_selection
from tqdm.auto import tqdm

from skmixed.estimators._cross_fitting import N_FOLDS
from skmixed.model_selection._grouped_rows import GroupPassingEstimator
from skmixed.model_selection._progress import folds_bar
from skmixed.model_selection._task import Splits, Task

_QUESTIONS = ("known_groups", "new_groups")


def cross_validate(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    scoring: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    return_train_score: bool = False,
    return_estimator: bool = False,
    return_indices: bool = False,
    error_score: float | str = np.nan,
    split_by: Any = None,
    generalize_to: str | None = None,
    random_state: Any = None,
) -> dict[str, Any]:
    """Cross-validate a model, passing groups to `fit`, `predict` and `score`.

    `sklearn.model_selection.cross_validate` passes `groups` only to the splitter; this function
    also passes them to models that take them. `generalize_to` answers the two questions that
    grouped data raise: how well are further rows of known groups predicted, and how well are new
    groups? :doc:`Cross-validation </guide/cross_validation>` compares them.

    Parameters
    ----------
    estimator : estimator
        Estimator to fit: one that takes `groups`, a pipeline that ends in one, one whose groups are
        columns of X, or any other.
    X : array-like or data frame of shape (n_samples, n_features)
        Data to fit.
    y : array-like of shape (n_samples,), default=None
        Response.
    groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
        Group labels, one column per grouping factor, for the splitter and, if it takes groups and
        does not find those it declares among the columns of X, for the estimator.
    scoring : None, str, callable, list, tuple or dict, default=None
        Scorer or scorers, as in scikit-learn. A callable that has a parameter `groups` gets the
        groups of the rows it scores.
    cv : None, int, splitter or iterable of pairs, default=None
        Folds, as in scikit-learn; with `generalize_to` the number of folds, None for 5. A splitter
        that needs groups and is given none gets the grouping columns of X that the model declares.
    n_jobs : int or None, default=None
        Number of folds fitted in parallel by joblib; None means 1, -1 all processors.
    verbose : int, default=0
        1 shows a progress bar over the folds; higher values are passed on to scikit-learn, reduced
        by one.
    params : dict or None, default=None
        Further arguments of `fit` and, with metadata routing enabled, of the scorers. Groups in it
        are equivalent to `groups`.
    pre_dispatch : int or str, default="2*n_jobs"
        Number of jobs dispatched in advance.
    return_train_score : bool, default=False
        Whether to score the training rows as well.
    return_estimator : bool, default=False
        Whether to return the fitted estimators.
    return_indices : bool, default=False
        Whether to return the row indices of the folds.
    error_score : "raise" or float, default=nan
        Score of a fold in which fitting or scoring fails, or "raise".
    split_by : str, int, list of these, or array-like of shape (n_samples,), default=None
        Groups for the splitter only: columns of `groups` or else of X by name, or by position (of
        `groups` if given), combined if several; or labels, as which a list as long as X is taken.
        If None, the coarsest grouping factor that the model declares, or else the first column of
        `groups`.
    generalize_to : {"known_groups", "new_groups", "both"} or None, default=None
        Question to answer. "known_groups" splits the rows of every group across the folds
        (`WithinGroupKFold`, by the finest of nested factors), "new_groups" splits the groups
        (`GroupKFold`), and "both" does one after the other. None leaves the folds to `cv`.
    random_state : int, RandomState instance or None, default=None
        With `generalize_to`, seed for shuffling the groups, and the rows within them; None keeps
        their order.

    Returns
    -------
    dict of str to ndarray of shape (n_splits,) or list
        "test_score" or "test_<metric>", "fit_time", "score_time" and whatever else is requested, as
        in scikit-learn. With ``generalize_to="both"`` every key has a suffix:
        "test_score_known_groups", "test_score_new_groups".

    Raises
    ------
    TypeError
        If `groups` is a dict.
    ValueError
        If `groups` cannot reach the model or is given twice, a named column does not exist, and as
        in scikit-learn.

    See Also
    --------
    cross_val_predict : Cross-validated predictions.
    make_group_scorer : Scorers with groups for scikit-learn's own tools.
    WithinGroupKFold : Folds within groups.
    sklearn.model_selection.cross_validate : Cross-validation without groups for the model.

    Notes
    -----
    Whether the estimator takes groups is determined by its metadata requests if routing is enabled,
    and otherwise by the signature of its methods, including the steps of pipelines and
    `TransformedTargetRegressor`.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.model_selection import cross_validate
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> scores = cross_validate(
    ...     MixedLinearRegressor(), X[["Days"]], y, groups=X["Subject"], generalize_to="both"
    ... )
    >>> for question in ["known_groups", "new_groups"]:
    ...     print(question, scores[f"test_score_{question}"].mean().round(2))
    known_groups 0.65
    new_groups 0.09
    """
    settings = {
        "scoring": scoring,
        "n_jobs": n_jobs,
        "verbose": max(0, verbose - 1),
        "pre_dispatch": pre_dispatch,
        "return_train_score": return_train_score,
        "return_estimator": return_estimator,
        "return_indices": return_indices,
        "error_score": error_score,
    }
    _check_question(generalize_to, cv, random_state)
    task = Task.of(estimator, X, y, groups, params)
    questions = _QUESTIONS if generalize_to == "both" else (generalize_to,)
    folds = [_folds(task, question, cv, split_by, random_state) for question in questions]
    with folds_bar(sum(map(len, folds)), verbose) as bar:
        found = [_scores(task, splits, bar, settings) for splits in folds]
    if generalize_to != "both":
        return found[0]
    named = list(zip(questions, found, strict=True))
    return {f"{key}_{question}": scores[key] for key in found[0] for question, scores in named}


def _folds(task: Task, question: str | None, cv: Any, split_by: Any, random_state: Any) -> Splits:
    """Return the folds of a splitter, or those that answer a question."""
    if question is None:
        return task.splits(cv, split_by)
    return task.splits_for(question, N_FOLDS if cv is None else cv, split_by, random_state)


def _scores(task: Task, splits: Splits, bar: tqdm[Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return scikit-learn's scores of one choice of folds, the fitted estimators unwrapped."""
    scores = task.run(model_selection.cross_validate, splits, bar, **settings)
    if "estimator" in scores:
        scores["estimator"] = [
            fitted.estimator if isinstance(fitted, GroupPassingEstimator) else fitted
            for fitted in scores["estimator"]
        ]
    return scores


def _check_question(generalize_to: Any, cv: Any, random_state: Any) -> None:
    """Raise ValueError for an invalid question, or one that contradicts `cv` or `random_state`."""
    if generalize_to is None:
        if random_state is not None:
            raise ValueError(
                "random_state requires generalize_to; otherwise set it in the splitter, "
                "cv=KFold(shuffle=True, random_state=...)"
            )
        return
    if generalize_to not in (*_QUESTIONS, "both"):
        raise ValueError(
            "generalize_to must be 'known_groups', 'new_groups', 'both' or None, got "
            f"{generalize_to!r}"
        )
    if cv is not None and (isinstance(cv, bool) or not isinstance(cv, Integral)):
        raise ValueError(
            f"generalize_to={generalize_to!r} determines the splitter, so that cv must be a "
            f"number of folds or None, got {cv!r}: leave one of the two out"
        )


def cross_val_predict(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    method: str = "predict",
    split_by: Any = None,
    generalize_to: str | None = None,
    random_state: Any = None,
) -> Any:
    """Return cross-validated predictions, passing groups to `fit` and `predict`.

    `sklearn.model_selection.cross_val_predict` passes `groups` only to the splitter; this function
    also passes them to models that take them.

    Parameters
    ----------
    estimator : estimator
        Estimator to fit, as in `cross_validate`.
    X : array-like or data frame of shape (n_samples, n_features)
        Data to fit.
    y : array-like of shape (n_samples,), default=None
        Response.
    groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
        Group labels for the splitter and the estimator, as in `cross_validate`.
    cv : None, int, splitter or iterable of pairs, default=None
        Folds, as in scikit-learn; the test sets must partition the rows. With `generalize_to` the
        number of folds, None for 5.
    n_jobs : int or None, default=None
        Number of folds fitted in parallel by joblib; None means 1, -1 all processors.
    verbose : int, default=0
        Verbosity level, as in scikit-learn.
    params : dict or None, default=None
        Further arguments of `fit`.
    pre_dispatch : int, str or None, default="2*n_jobs"
        Number of jobs dispatched in advance.
    method : {"predict", "predict_proba", "predict_log_proba", "decision_function"}, \
default="predict"
        The method that predicts.
    split_by : str, int, list of these, or array-like of shape (n_samples,), default=None
        Groups for the splitter only, as in `cross_validate`.
    generalize_to : {"known_groups", "new_groups"} or None, default=None
        Question to answer, as in `cross_validate`: predict every row by a model that knows other
        rows of its group, or none of them.
    random_state : int, RandomState instance or None, default=None
        With `generalize_to`, seed for shuffling, as in `cross_validate`.

    Returns
    -------
    ndarray of shape (n_samples,) or (n_samples, n_classes)
        Predictions, in the order of the rows.

    Raises
    ------
    TypeError
        If `groups` is a dict.
    ValueError
        If `groups` cannot reach the model or is given twice, a named column does not exist, and as
        in scikit-learn.

    See Also
    --------
    cross_validate : Cross-validated scores.
    sklearn.model_selection.cross_val_predict : The same without groups for the model.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.model_selection import cross_val_predict
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor()
    >>> for question in ["known_groups", "new_groups"]:
    ...     predicted = cross_val_predict(
    ...         model, X[["Days"]], y, groups=X["Subject"], generalize_to=question
    ...     )
    ...     print(predicted[:3].round(1))
    [286.8 304.3 329.4]
    [256.5 265.5 274.5]
    """
    _check_question(generalize_to, cv, random_state)
    if generalize_to == "both":
        raise ValueError(
            "generalize_to='both' would give two predictions per row: call it for "
            "'known_groups' and for 'new_groups'"
        )
    task = Task.of(estimator, X, y, groups, params)
    return task.run(
        model_selection.cross_val_predict,
        _folds(task, generalize_to, cv, split_by, random_state),
        n_jobs=n_jobs,
        verbose=verbose,
        pre_dispatch=pre_dispatch,
        method=method,
    )
