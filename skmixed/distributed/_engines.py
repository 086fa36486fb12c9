"""Fits to data that an engine holds, and predictions for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Protocol, TypeVar

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skmixed.distributed._chunks import Chunks
from skmixed.distributed._dask import DaskFrame
from skmixed.distributed._duckdb import DuckRelation
from skmixed.distributed._files import ArrowFiles, parquet_files
from skmixed.distributed._partial_sums import PartialSums
from skmixed.distributed._parts import PartPredictor, PartSummer
from skmixed.distributed._spark import SparkFrame
from skmixed.estimators.linear import MixedLinearRegressor
from skmixed.estimators.mixed._generalized_estimator import BaseGeneralized
from skmixed.estimators.mixed._linear_state import LinearState
from skmixed.estimators.reading._input_table import InputTable

Model = TypeVar("Model", bound=MixedLinearRegressor)

# Weights that stand for all those of a kind: a fit warns of weights that are no whole numbers.
_SAMPLE_WEIGHTS = {None: None, "whole": np.ones(1), "fractional": np.full(1, 0.5)}


class Engine(Protocol):
    """Rows that may be many, wherever they are."""

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        ...

    def total(self, summing: PartSummer) -> PartialSums | None:
        """Return the sums over all rows, None where no row has weight."""
        ...

    def predicted(self, predictor: PartPredictor) -> Any:
        """Return predictions, not yet computed, as the engine's form of a column."""
        ...


def engine_of(frame: Any, connection: Any = None) -> Engine:
    """Return the engine of what `skmixed.distributed.fit` takes as `frame`.

    Nothing is read but, of an iterable, the first chunk. Raises TypeError for anything else.
    """
    library = type(frame).__module__.partition(".")[0]
    kind = type(frame).__name__
    if library in ("dask", "dask_expr") and hasattr(frame, "map_partitions"):
        return DaskFrame(frame)
    if library == "pyspark" and hasattr(frame, "mapInPandas"):
        return SparkFrame(frame)
    if library in ("duckdb", "_duckdb") and hasattr(frame, "project"):
        return DuckRelation(frame, connection)
    if library == "pyarrow" and hasattr(frame, "get_fragments"):
        return ArrowFiles(frame)
    if isinstance(frame, str | PathLike):
        return ArrowFiles(parquet_files([frame]), has_schema=False)
    if isinstance(frame, list | tuple) and frame and isinstance(frame[0], str | PathLike):
        return ArrowFiles(parquet_files(frame), has_schema=False)
    if kind == "LazyFrame":
        raise TypeError(
            "a LazyFrame has no chunks of its own: write it with sink_parquet and pass the "
            "files, or pass frame.collect_batches()"
        )
    if not hasattr(frame, "shape") and isinstance(frame, Iterable):
        return Chunks(frame)
    if InputTable.of_frame(frame) is not None:
        return Chunks([frame])
    raise TypeError(
        f"frame is a {library}.{kind}; a Dask or Spark DataFrame, a pyarrow Dataset, a list of "
        "parquet files, a DuckDB relation or an iterable of data frames is expected"
    )


def fit(
    model: Model,
    frame: Any,
    *,
    target: str,
    groups: str | Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    weight: str | None = None,
    categories: Mapping[str, Sequence[Any]] | None = None,
) -> Model:
    """Fit a linear mixed model to data out of core or on a cluster, in one pass.

    For rows that do not fit into memory, in parquet files, DuckDB, Dask or Spark: every part is
    reduced to cross-products where it lies, and only these are merged.
    :doc:`Big data </guide/big_data>` shows how.

    Parameters
    ----------
    model : MixedLinearRegressor
        Unfitted model; its parameters determine the roles of the columns, as in its own `fit`.
    frame : Dask DataFrame, Spark DataFrame, pyarrow Dataset, path or list of paths, \
DuckDB relation, or iterable of data frames
        Data. Paths are those of parquet files or of folders of them.
    target : str
        Name of the response column.
    groups : str or list of str, default=None
        Grouping columns to pass as the argument `groups`, which are not columns of X. Those that
        `random` or `group_features` of the model name are not given here.
    features : list of str, default=None
        Columns of X; None for all but `target`, `groups` and `weight`. Other columns are not read.
    weight : str or None, default=None
        Column of sample weights; rows of weight 0 are ignored.
    categories : dict of str to list, default=None
        Levels of categorical columns of formulas, in order. If None, they are found as the rows are
        read: sorted, or in the order of a categorical type that all parts share. Strata and visits
        of a residual structure must be given here unless every part has all of them.

    Returns
    -------
    MixedLinearRegressor
        The same `model`, fitted as its own `fit` would to all rows together. It holds
        cross-products, not rows.

    Raises
    ------
    PartitionError
        If a part cannot be read or has invalid values; the message names the part.
    ValueError
        If a named column does not exist, there are no rows, or a formula has a transform that must
        learn from all rows at once.
    TypeError
        If the model or the frame is of another kind.

    See Also
    --------
    predict : Predict out of core or on a cluster.
    skmixed.MixedLinearRegressor.partial_fit : Fit to further rows.

    Notes
    -----
    Each part is summed separately, and the sums are merged in a tree, with levels matched by label.
    The engine schedules the parts and recomputes those that are lost. Only sums are transferred:
    for each level of a factor with k random effects, k times the number of columns; for crossed
    factors also a few numbers per pair of levels that occurs.

    Sums are rounded in a different order than in memory, so that results agree to about ten digits.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor, distributed
    >>> from skmixed.datasets import load_sleepstudy
    >>> rows = load_sleepstudy()
    >>> chunks = (rows[i : i + 50] for i in range(0, len(rows), 50))
    >>> model = MixedLinearRegressor("(Days | Subject)")
    >>> distributed.fit(model, chunks, target="Reaction").coef_.round(3)
    array([10.467])
    """
    if isinstance(model, BaseGeneralized):
        raise TypeError(
            f"model is a {type(model).__name__}, which cannot be fitted in one pass over the "
            "rows: fit it to rows in memory, or a MixedLinearRegressor here"
        )
    if not isinstance(model, MixedLinearRegressor):
        raise TypeError(
            f"model is a {type(model).__name__}; a MixedLinearRegressor is expected. "
            + (
                "Only linear models can be fitted in one pass over the rows: fit a sample of "
                "the groups, with all of their rows, in memory"
                if hasattr(model, "random")
                else "Earlier steps of a pipeline would require a pass of their own: give the "
                "engine the transformed columns, or write them into the model's formula"
            )
        )
    model._validate_params()
    engine = engine_of(frame)
    summing = _checked_summing(model, engine.names, target, groups, features, weight, categories)
    total = engine.total(summing)
    if total is None:
        raise ValueError("there are no rows" + ("" if weight is None else " of positive weight"))
    design, sums = total.complete()
    data, weights = total.declared.data, _SAMPLE_WEIGHTS[total.weights]
    model._fitted = LinearState.of_sums(model, data, design, sums, weights, ends=total.ends)
    return model


def _checked_summing(
    model: Any,
    names: list[str],
    target: str,
    groups: str | Sequence[str] | None,
    features: Sequence[str] | None,
    weight: str | None,
    categories: Mapping[str, Sequence[Any]] | None,
) -> PartSummer:
    """Check the names of columns, choose those of X, and say what every part is to sum."""
    given = _names(groups)
    others = [target, *given, *_names(weight)]
    wanted = tuple(n for n in names if n not in others) if features is None else _names(features)
    missing = [name for name in [*others, *wanted] if name not in names]
    if missing:
        raise ValueError(f"the columns {missing} do not exist; the frame has {names}")
    twice = [name for name in wanted if name in (target, weight)]
    if twice:
        raise ValueError(
            f"the columns {twice} are the target or the weight: leave them out of `features`"
        )
    return PartSummer(clone(model), target, wanted, given, weight, dict(categories or {}))


def _names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)


def predict(
    model: Any, frame: Any, *, random: str | Sequence[str] = "all", connection: Any = None
) -> Any:
    """Predict the response for data out of core or on a cluster.

    Parameters
    ----------
    model : MixedLinearRegressor
        Model fitted to named columns, in memory or by `fit`.
    frame : Dask DataFrame, Spark DataFrame, pyarrow Dataset, path or list of paths, \
DuckDB relation, or iterable of data frames
        Data. Columns, including groups passed as the argument `groups` of the fit, are picked by
        name; further columns do not matter.
    random : {"all", "none"} or list of str, default="all"
        Random effects to include, as in `MixedLinearRegressor.predict`.
    connection : duckdb.DuckDBPyConnection or None, default=None
        Connection of a DuckDB relation; None for the default one.

    Returns
    -------
    Series of Dask, Column of Spark, Expression of DuckDB, RecordBatchReader, or iterator of arrays
        One prediction per row, computed lazily by the engine. The reader, for a Dataset or paths,
        has a single column "prediction" and can be read once.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    PartitionError
        On computation, if the rows of a part are invalid.
    ValueError
        If the model was fitted to an array without column names.

    See Also
    --------
    fit : Fit out of core or on a cluster.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor, distributed
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    >>> parts = distributed.predict(model, [X[:2], X[2:3]])
    >>> [part.round(1) for part in parts]
    [array([253.7, 273.3]), array([293.])]
    """
    check_is_fitted(model)
    engine = engine_of(frame, connection)
    return engine.predicted(PartPredictor.of(model, engine.names, random))
