"""Cluster-robust covariance of the fixed coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from skmixed.core.generalized.after_fit.joint_sandwich import JointSandwich
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.rows.cluster_sandwich import ClusterSandwich, SandwichKind
from skmixed.core.sums.layout import Rows
from skmixed.inference.fitted import (
    AnyFit,
    GivenRows,
    MixedFit,
    check_maximum,
    coefficient_names,
    determined_mixed_fit_of,
    formula_of,
    given_rows,
    infinite_names,
    observations_of_fit,
    rows_of_fit,
    snapshot,
)
from skmixed.inference.table import Table, TabularResult

_USE = "a cluster-robust covariance"


@dataclass(frozen=True, eq=False, repr=False)
class RobustCovariance(TabularResult):
    """Cluster-robust covariance matrix of the fixed coefficients of a model.

    Parameters
    ----------
    table : Table
        The covariance matrix; zero for columns that depend linearly on others.
    kind : {"CR0", "CR1", "CR2"}
        Small-sample correction.
    cluster : str
        Name of the clusters.
    n_clusters : int
        Number of clusters.

    See Also
    --------
    robust_covariance : The function that returns it.
    coefficient_table : Takes it as `covariance`.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import robust_covariance
    >>> data = load_sleepstudy()
    >>> model = lmer("Reaction ~ Days + (1 | Subject)", data)
    >>> robust_covariance(model, data, data["Reaction"]).n_clusters
    18
    """

    table: Table
    kind: SandwichKind
    cluster: str
    n_clusters: int
    _sandwich: ClusterSandwich | JointSandwich
    _beta: FloatArray  # (n_fixed,), of the model it is of

    def _table(self) -> Table:
        return self.table

    def _note(self) -> str:
        """Return the note beneath a table of tests."""
        return f"Standard errors: {self.kind}, {self.n_clusters} clusters of {self.cluster}."

    def _check_is_of(self, fit: AnyFit) -> None:
        """Raise ValueError if the covariance belongs to another model."""
        if not np.array_equal(self._beta, fit.beta):
            raise ValueError(
                "this covariance belongs to another model, or to another fit of this one: call "
                "robust_covariance with this model and its training data"
            )


def robust_covariance(
    model: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    *,
    cluster: Any = None,
    kind: SandwichKind | None = None,
) -> RobustCovariance:
    """Compute the cluster-robust (sandwich) covariance of the fixed coefficients.

    The model-based covariance is right if the random effects and residuals are specified correctly.
    The cluster-robust one is consistent in any case, provided that clusters are independent and
    numerous. Pass it as `covariance` to the functions that report tests and intervals.

    Read more in the user guide: :doc:`/guide/robust`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model: linear, generalized or ordinal.
    X, y, sample_weight, groups : array-like
        The training data, as passed to ``fit``, in any order; the model does not store it. After
        `lmer`, `glmer`, `clmm` or `nlmer` the data frame X is enough: y and the weights, such as
        trials, are read from it.
    cluster : str, array-like of shape (n,) or None, default=None
        The clusters: the name of a grouping factor or of a column of X, or a label for each row.
        None takes the coarsest grouping factor. Each level of each grouping factor must lie within
        one cluster.
    kind : {"CR0", "CR1", "CR2"} or None, default=None
        Small-sample correction. "CR0" makes none and is too small for few clusters. "CR1"
        multiplies by J / (J - 1) for J clusters. "CR2", for linear models only, adjusts the
        residuals of each cluster so that the covariance is unbiased if the model is correct, as
        clubSandwich does. None means "CR2" for linear models and "CR1" for others.

    Returns
    -------
    RobustCovariance
        The covariance matrix, for the parameter `covariance` of `coefficient_table`,
        `linear_hypothesis`, `anova`, `marginal_means` and `confidence_intervals`.

    Raises
    ------
    TypeError
        For nonlinear models.
    ValueError
        If these are not the training data; for an unknown kind, fewer than two clusters or missing
        labels; for levels that span several clusters, as those of crossed factors and
        population-level smooths do; for related levels and correlated residuals; and, for
        generalized models, for "CR2" and infinite coefficients or variances.
    MemoryError
        For "CR2" if a cluster has too many different levels or weights.

    See Also
    --------
    coefficient_table : Tests and intervals with these standard errors.
    bootstrap : Resampling of whole clusters, with kind="cases".

    Notes
    -----
    In R: ``vcovCR(model, type = "CR2")`` of clubSandwich, with its ``coef_test``, ``Wald_test`` and
    ``conf_int``; without random effects "CR0" is ``vcovCL(model, type = "HC0", cadjust = FALSE)``
    of sandwich. Degrees of freedom are Satterthwaite's, and for several restrictions those of
    Hotelling's T-squared (HTZ). They can be much smaller than the number of clusters if columns
    vary in few of them. The standard error of a coefficient determined by a single cluster is NaN.

    For generalized models the covariance is H^-1 (sum of s s') H^-1, with the derivatives s of each
    cluster's log-likelihood in coefficients, variances and dispersions jointly, and its second
    derivatives H. The likelihood is that of the fit, by Laplace's approximation or quadrature (in
    R, merDeriv provides these for ``glmer``). Tests use the normal distribution. The variance
    function of the family is not relied on either, so that without random effects it equals
    ``vcovCL`` for a ``glm``.

    The rows are read once. A cluster costs as much as its number of levels: rows of one level are
    first reduced to as many as there are columns, without loss.

    References
    ----------
    .. [1] Pustejovsky, J. E. & Tipton, E. (2018). Small-sample methods for cluster-robust variance
       estimation and hypothesis testing in fixed effects models. Journal of Business & Economic
       Statistics 36(4), :doi:`10.1080/07350015.2016.1247004`, sections 2 and 3.
    .. [2] Liang, K.-Y. & Zeger, S. L. (1986). Longitudinal data analysis using generalized linear
       models. Biometrika 73(1), :doi:`10.1093/biomet/73.1.13`.
    .. [3] White, H. (1982). Maximum likelihood estimation of misspecified models. Econometrica
       50(1), :doi:`10.2307/1912526`, section 3.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import coefficient_table, robust_covariance
    >>> data = load_sleepstudy()
    >>> model = lmer("Reaction ~ Days + (1 | Subject)", data)
    >>> robust = robust_covariance(model, data, data["Reaction"])
    >>> print(coefficient_table(model, covariance=robust))
    Reaction ~ Days + (1 | Subject)
                estimate std_error  df statistic p_value
    (Intercept)   251.41    6.8246  17    36.838 <0.0001
    Days          10.467    1.5458  17    6.7715 <0.0001
    Standard errors: CR2, 18 clusters of Subject. Degrees of freedom by Satterthwaite's method.
    """
    if kind not in (None, *get_args(SandwichKind)):
        raise ValueError(f"kind={kind!r} is not one of {', '.join(get_args(SandwichKind))}")
    model = snapshot(model)
    fit = determined_mixed_fit_of(model)
    _check_independent(fit)
    given = given_rows(model, X, y, sample_weight, groups, _USE)
    of_kind = _generalized if isinstance(fit, GeneralizedFit) else _linear
    kind, sandwich, name = of_kind(model, fit, given, cluster, kind)
    to_fixed = fit.problem.model.to_raw[list(fit.spec.fixed), :-1]
    names = coefficient_names(fit)
    frame = pd.DataFrame(to_fixed @ sandwich.covariance @ to_fixed.T, names, names)
    n_clusters = len(sandwich.scores)
    table = Table(
        f"{kind} covariance of the coefficients: {formula_of(model)}",
        frame,
        (f"{n_clusters} clusters of {name}.",),
    )
    return RobustCovariance(table, kind, name, n_clusters, sandwich, fit.beta)


def _linear(
    model: Any, fit: Any, given: GivenRows, cluster: Any, kind: SandwichKind | None
) -> tuple[SandwichKind, ClusterSandwich, str]:
    """Return the kind, the sandwich of a linear fit, and the name of the clusters."""
    kind = kind or "CR2"
    rows = rows_of_fit(model, *given, _USE)
    name, clusters, n_clusters = _clusters(model, rows, given, cluster)
    counts_rows = fit.spec.weighting == "frequency" and rows.weights is not None
    if isinstance(fit, ResidualFit):
        if kind == "CR2" and counts_rows and given[2] is not None:
            raise ValueError(
                "CR2 with unequal residual variances does not take weights that count rows: repeat "
                "the rows instead, or use kind='CR1'"
            )
        counts_rows = False
    sandwich = ClusterSandwich.of(fit, rows, clusters, n_clusters, kind, counts_rows=counts_rows)
    return kind, sandwich, name


def _generalized(
    model: Any, fit: Any, given: GivenRows, cluster: Any, kind: SandwichKind | None
) -> tuple[SandwichKind, JointSandwich, str]:
    """Return the same of a generalized fit."""
    kind = kind or "CR1"
    if kind == "CR2":
        raise ValueError(
            "kind='CR2' needs a linear model, since it adjusts residuals by their covariance: use "
            "kind='CR1'"
        )
    check_maximum(fit, _USE)
    if fit.separated_thresholds:
        raise ValueError(
            f"{_USE} needs finite estimates, and {infinite_names(fit)} are infinite: merge rare "
            "categories"
        )
    observations = observations_of_fit(model, *given, _USE)
    name, clusters, n_clusters = _clusters(model, observations.given, given, cluster)
    factor = 1.0 if kind == "CR0" else n_clusters / (n_clusters - 1.0)
    return kind, JointSandwich.of(fit, observations, clusters, n_clusters, factor), name


def _check_independent(fit: MixedFit) -> None:
    """Raise ValueError for models in which rows are dependent beyond their levels."""
    if isinstance(fit, ResidualFit) and fit.structure.is_correlated:
        raise ValueError(
            f"{_USE} needs independent residuals, and this model has a residual structure: fit it "
            "without one, since robust standard errors do not rely on it, or model the correlation "
            "by random effects"
        )
    if any(each is not None for each in fit.problem.directions):
        raise ValueError(
            f"{_USE} needs independent clusters, and the levels of a relationship are all related: "
            "leave the relationship out"
        )
    if not fit.kept:
        raise ValueError("the model has no fixed coefficients, so there is no covariance")


def _column_of(model: Any, name: str, rows: GivenRows) -> Any:
    table = model._observed_rows(*rows).table
    if name not in table.columns:
        raise ValueError(
            f"cluster={name!r} is neither a grouping factor of the model, which has "
            f"{list(model.n_groups_)}, nor a column of X: pass the labels of the rows"
        )
    return table[name]


def _clusters(model: Any, rows: Rows, given: GivenRows, cluster: Any) -> tuple[str, IntArray, int]:
    """Return the name of the clusters, that of each row, (n,), and their number."""
    labels = cluster
    if isinstance(cluster, str) and cluster not in model.n_groups_:
        labels = _column_of(model, cluster, given)
    factors = {rows.indexes[f].name: f for f in model.fit_.spec.used_factors}
    if cluster is None:
        if not factors:
            raise ValueError(
                "the model has no grouping factor to define the clusters: pass cluster, the name "
                "of a column of X or a label for each row"
            )
        cluster = labels = min(factors, key=lambda factor: len(rows.indexes[factors[factor]]))
    if isinstance(labels, str):
        name = labels
        codes, n_clusters = rows.codes[factors[name]], len(rows.indexes[factors[name]])
    else:
        name = (
            cluster if isinstance(cluster, str) else str(getattr(labels, "name", None) or "cluster")
        )
        codes, n_clusters = _codes_of(labels, len(rows.columns))
    if n_clusters < 2:
        raise ValueError(f"{_USE} needs two or more clusters, and {name} has {n_clusters}")
    for factor, place in factors.items():
        _check_within(codes, rows.codes[place], name, factor)
    return name, codes, n_clusters


def _codes_of(labels: Any, n_rows: int) -> tuple[IntArray, int]:
    values = labels if isinstance(labels, pd.Series) else np.asarray(labels)
    if values.shape != (n_rows,):
        raise ValueError(
            f"cluster has shape {values.shape}; expected one label for each of the {n_rows} rows"
        )
    codes, distinct = pd.factorize(values)
    missing = np.flatnonzero(codes < 0)
    if len(missing):
        raise ValueError(
            f"{len(missing)} rows have no cluster, the first being row {missing[0]}: fit the model "
            "without them, or give them a cluster of their own"
        )
    return np.asarray(codes, dtype=np.intp), len(distinct)


def _check_within(clusters: IntArray, codes: IntArray, name: str, factor: str) -> None:
    """Raise ValueError if rows of one level, (n,), are in several clusters, (n,)."""
    of_level = np.zeros(int(codes.max(initial=0)) + 1, dtype=np.intp)
    of_level[codes] = clusters
    if (of_level[codes] != clusters).any():
        raise ValueError(
            f"clusters must be independent, and levels of {factor} have rows in several clusters "
            f"of {name}: use clusters that contain all rows of a level, or a model without one of "
            "these random effects"
        )
