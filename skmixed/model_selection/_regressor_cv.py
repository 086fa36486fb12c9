"""Choice of the random effects by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.utils import indexable
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples

from skmixed.bayes.penalties import Penalising
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import Method, Weighting
from skmixed.core.model.structures.named import StructureName
from skmixed.core.search.average_information import IterativeSolver
from skmixed.design.grammar.syntax import parse_random
from skmixed.design.records import stored
from skmixed.estimators._estimator import (
    FittedAttribute,
    SolverName,
    UnknownLevels,
)
from skmixed.estimators.linear import BaseMixedRegressor, MixedLinearRegressor
from skmixed.estimators.mixed._linear_state import LinearState
from skmixed.estimators.reading._columns import listed
from skmixed.estimators.reading._input_table import names_of
from skmixed.estimators.reading._numbers import read_weights
from skmixed.estimators.reading._training_data import read_for_random, read_training_data
from skmixed.model_selection._group_routing import candidates_of
from skmixed.model_selection._grouped_rows import GroupedRows, GroupPassingEstimator
from skmixed.model_selection._progress import CountedFolds, folds_bar
from skmixed.model_selection._scorers import for_rows
from skmixed.model_selection._task import Splits, Task, sum_for_folds


@stored
@dataclass(frozen=True, eq=False, kw_only=True)
class ChosenState(LinearState):
    """Everything that a search for the best random effects has found."""

    random: Any  # the candidate chosen
    best_index: int
    best_score: float
    cv_results: dict[str, Any]
    n_splits: int


class MixedLinearRegressorCV(BaseMixedRegressor):
    """Linear mixed model with random effects chosen by cross-validation.

    Compares candidate random-effects terms by their predictions for held-out rows or groups, as
    `sklearn.linear_model.RidgeCV` does for penalties. The rows are summed once, and each training
    set is the total minus its test rows, so that folds and candidates cost little more than their
    optimisations: far less than refits by `GridSearchCV`. The candidate with the best mean score is
    refitted to all rows. For tests instead of predictive scores, take `skmixed.inference.ranova`.
    :doc:`Cross-validation </guide/cross_validation>` says which folds answer which question.

    Parameters
    ----------
    random : str, dict, None, or list of these, default=None
        Candidates, each as in `MixedLinearRegressor`; ties go to the first. A column that any
        candidate names as a grouping column is one for all candidates.
    cv : None, int, splitter or iterable of pairs, default=None
        Folds, as in scikit-learn; None for 5-fold. A splitter that needs groups gets the coarsest
        grouping column of the first candidate: `GroupKFold` selects for predicting new groups,
        `KFold` or `WithinGroupKFold` for known ones.
    scoring : None, str or callable, default=None
        Scorer, as in scikit-learn; None for R^2.
    fixed : str or None, default=None
        Right-hand side of a formula for the fixed effects, ``"open + agree * region"``; X must then
        be a data frame. Text columns become categories; functions of whole columns, such as
        ``poly`` and ``scale``, require the extra ``formula``. If None, every column of X that is
        not a grouping column is a fixed effect, and must be numeric.
    context : dict of str to object, default=None
        User-defined functions and values that `fixed` and `random` may refer to. Without it,
        formulas from untrusted sources run no code (:doc:`security </guide/security>`).
    group_features : str, int, list of str or int, or None, default=None
        Grouping columns of X, by name or position, in addition to those named in `random`.
    covariance : str or dict, default="unstructured"
        Covariance structure of the random effects of each term: "unstructured", "diagonal",
        "identity", "cs" (compound symmetry), "homcs", "ar1", "hetar1", "toep" (Toeplitz),
        "homtoep", or one of reduced rank, such as "rr(2)" and "fa(2)"
        (:doc:`guide </guide/covariances>`). A dict sets it by grouping factor; a structure written
        in `random`, ``ar1(0 + t | g)``, takes precedence.
    method : {"reml", "ml"}, default="reml"
        Restricted (REML) or full (ML) maximum likelihood.
    prior : {"wishart"}, distribution, dict or None, default=None
        Prior on the random-effects covariance matrices that keeps the fits from being singular, as
        in `MixedLinearRegressor`.
    fit_intercept : bool, default=True
        Whether to include a fixed intercept. If `fixed` is a formula, the formula decides:
        ``"0 + x"`` has none.
    weighting : {"frequency", "precision"}, default="frequency"
        Meaning of `sample_weight`: a row of weight w counts as w rows ("frequency"), as in
        scikit-learn, or has residual variance sigma^2 / w ("precision"), as with lme4's
        ``weights``. Scores are weighted too, as in `GridSearchCV`.
    handle_unknown : {"population", "error", "nan"}, default="population"
        How to predict rows whose level of a grouping factor is missing or was not seen in `fit`,
        including those that are scored: without a random effect of that factor ("population"), with
        an error, or as NaN.
    solver : {"auto", "newton", "em", "iterative"} or IterativeSolver, default="auto"
        Optimiser, as in `MixedLinearRegressor`.
    max_iter : int or None, default=None
        Maximum number of criterion evaluations, or of EM steps; None for 200 and 2,000.
    tol : float, default=1e-8
        Convergence tolerance on the decrease of the criterion.
    n_jobs : int or None, default=None
        Number of folds fitted in parallel by joblib; None means 1, -1 all processors.
    verbose : int, default=0
        If 1 or more, show a progress bar over the folds and print a line per iteration of the final
        fit.

    Attributes
    ----------
    random_ : str, dict or None
        Chosen candidate.
    best_index_ : int
        Index of the chosen candidate.
    best_score_ : float
        Mean cross-validated score of the chosen candidate.
    cv_results_ : dict of str to ndarray or list
        Scores of the candidates, an entry each, as in `sklearn.model_selection.GridSearchCV`:
        "params", "split0_test_score" and so on, "mean_test_score", "std_test_score" and
        "rank_test_score".
    n_splits_ : int
        Number of folds.
    coef_, intercept_, random_effects_, ...
        As in `MixedLinearRegressor`, for the chosen candidate.

    See Also
    --------
    MixedLinearRegressor : Fit given random effects.
    skmixed.inference.ranova : Test random-effects terms by likelihood ratios.
    cross_validate : Score a single model.
    sklearn.model_selection.GridSearchCV : Search over any parameters, by refitting.

    Notes
    -----
    If a formula learns categories or transforms from the data, or weights are zero, every training
    set is read and fitted anew.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressorCV
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.model_selection import WithinGroupKFold
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> candidates = ["(1 | Subject)", "(1 + Days | Subject)"]
    >>> model = MixedLinearRegressorCV(candidates, cv=WithinGroupKFold(5)).fit(X, y)
    >>> model.random_
    '(1 + Days | Subject)'
    """

    _state_type: ClassVar[type[LinearState]] = ChosenState

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMixedRegressor._parameter_constraints,
        "random": [str, Mapping, list, tuple, None],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
    }

    random_ = FittedAttribute[Any]()
    best_index_ = FittedAttribute[int]()
    best_score_ = FittedAttribute[float]()
    cv_results_ = FittedAttribute[dict[str, Any]]()
    n_splits_ = FittedAttribute[int]()

    def __init__(
        self,
        random: str | Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        cv: Any = None,
        scoring: Any = None,
        fixed: str | None = None,
        context: Mapping[str, Any] | None = None,
        group_features: Any = None,
        covariance: StructureName | Mapping[str, StructureName] = "unstructured",
        method: Method = "reml",
        prior: Penalising = None,
        fit_intercept: bool = True,
        weighting: Weighting = "frequency",
        handle_unknown: UnknownLevels = "population",
        solver: SolverName | IterativeSolver = "auto",
        max_iter: int | None = None,
        tol: float = 1e-8,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.random = random
        self.cv = cv
        self.scoring = scoring
        self.fixed = fixed
        self.context = context
        self.group_features = group_features
        self.covariance = covariance
        self.method = method
        self.prior = prior
        self.fit_intercept = fit_intercept
        self.weighting = weighting
        self.handle_unknown = handle_unknown
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None
    ) -> MixedLinearRegressorCV:
        """Choose the random effects and fit the model.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Training data, including the grouping columns unless `groups` is given. Must be dense;
            numbers are converted to double precision.
        y : array-like of shape (n_samples,)
            Response.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights; rows of weight 0 are ignored.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, one column per grouping factor, for the model and the splitter.

        Returns
        -------
        MixedLinearRegressorCV
            Fitted estimator.

        Raises
        ------
        ValueError
            As in `MixedLinearRegressor`, if there are no candidates, or if a score is NaN.
        """
        self._validate_params()
        X, y, groups = indexable(X, y, groups)
        models = self._models([] if groups is not None else names_of(X))
        data = [read_training_data(models[0], X, y, sample_weight, groups)]
        data += [read_for_random(model, data[0]) for model in models[1:]]
        splits = Task.of(models[0], X, y, groups, None).splits(self.cv, None)
        rows = GroupedRows(X, groups, sum_for_folds(models[0], data, splits, _num_samples(X)))
        scores = self._scores(models, rows, np.asarray(y), sample_weight, splits)
        results = _results([model.random for model in models], scores)
        best = int(np.argmin(results["rank_test_score"]))
        self._fitted = ChosenState.of_table(
            self,
            data[best],
            random=models[best].random,
            best_index=best,
            best_score=float(results["mean_test_score"][best]),
            cv_results=results,
            n_splits=len(splits),
        )
        return self

    def _models(self, names: Sequence[str]) -> list[MixedLinearRegressor]:
        """Return a model per candidate, all with the same grouping columns."""
        candidates = candidates_of(self.random)
        if not candidates:
            raise ValueError("random is an empty list: give at least one candidate")
        shared = self.get_params(deep=False)
        for name in ("random", "cv", "scoring", "verbose", "n_jobs"):
            del shared[name]
        if names:
            shared["group_features"] = self._grouping_columns(candidates, names)
        return [MixedLinearRegressor(candidate, **shared) for candidate in candidates]

    def _grouping_columns(self, candidates: Sequence[Any], names: Sequence[str]) -> Any:
        """Return the columns of X that are grouping columns of any candidate."""
        used = [
            name
            for candidate in candidates
            if candidate is not None
            for term in parse_random(candidate)
            for name in term.group
            if name in names
        ]
        if not used:
            return self.group_features
        return [*listed(self.group_features), *dict.fromkeys(used)]

    def _scores(
        self,
        models: list[MixedLinearRegressor],
        rows: GroupedRows,
        y: Any,
        sample_weight: Any,
        splits: Splits,
    ) -> FloatArray:
        """Return the scores of the candidates, of shape (n_candidates, n_splits)."""
        scoring = get_scorer(self.scoring) if isinstance(self.scoring, str) else self.scoring
        scorer = for_rows(scoring, models[0])
        weights = read_weights(sample_weight, len(y))
        with folds_bar(len(splits), self.verbose) as bar:
            by_fold = Parallel(n_jobs=self.n_jobs)(
                delayed(_fold_scores)(models, rows, y, weights, train, test, scorer)
                for train, test in CountedFolds(splits, bar).split()
            )
        return np.asarray(by_fold, dtype=np.float64).T


def _fold_scores(
    models: list[MixedLinearRegressor],
    rows: GroupedRows,
    y: Any,
    weights: FloatArray | None,
    train: IntArray,
    test: IntArray,
    scorer: Any,
) -> list[float]:
    """Return the scores of all candidates on one fold, from cross-products if there are any."""
    given = rows[train]
    tested = GroupedRows(rows[test].X, rows[test].groups)
    sums = given.sums() if rows.summed is not None else None
    weighted = {} if weights is None else {"sample_weight": weights[test]}
    scores = []
    for number, model in enumerate(map(clone, models)):
        if sums is not None and rows.summed is not None:
            rows.summed.fit(model, sums, number, given.places)
        else:
            part = None if weights is None else weights[train]
            model.fit(given.X, y[train], part, groups=given.groups)
        scores.append(float(scorer(GroupPassingEstimator(model), tested, y[test], **weighted)))
    return scores


def _results(candidates: list[Any], scores: FloatArray) -> dict[str, Any]:
    """Return `cv_results_` from scores (n_candidates, n_splits); ValueError if a mean is NaN."""
    mean = scores.mean(axis=1)
    if np.isnan(mean).any():
        number = int(np.flatnonzero(np.isnan(mean))[0])
        raise ValueError(
            f"the score of candidate {candidates[number]!r} is NaN: a prediction is NaN "
            "(handle_unknown='nan'?), or a fold has too few rows for the metric"
        )
    splits = {f"split{n}_test_score": column for n, column in enumerate(scores.T)}
    return {
        "params": [{"random": candidate} for candidate in candidates],
        **splits,
        "mean_test_score": mean,
        "std_test_score": scores.std(axis=1),
        "rank_test_score": rankdata(-mean, method="min").astype(np.int32),
    }
