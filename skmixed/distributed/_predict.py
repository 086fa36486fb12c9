"""Predictions for the rows of an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.utils.validation import check_is_fitted

from skmixed.distributed._duckdb import DuckRelation
from skmixed.distributed._engines import engine_of
from skmixed.distributed._predicting import PartPredictor


def predict(
    model: Any, frame: Any, *, random: str | Sequence[str] = "all", connection: Any = None
) -> Any:
    """Predict the response for rows that stay where they are.

    Parameters
    ----------
    model : MixedLinearRegressor
        Fitted to columns with names, in whichever way.
    frame : Dask DataFrame, Spark DataFrame, pyarrow Dataset, path or list of paths, \
DuckDB relation, or iterable of data frames
        The rows. Columns are picked by name; others do not matter. Groups that were given to the
        fit as the argument `groups` are found by their names too.
    random : {"all", "none"} or list of str, default="all"
        Which factors' random effects are added, as in `MixedLinearRegressor.predict`.
    connection : duckdb.DuckDBPyConnection, optional
        The connection of a DuckDB relation, if it is not the default one.

    Returns
    -------
    Series of Dask, Column of Spark, Expression of DuckDB, RecordBatchReader, or iterator of arrays
        One prediction a row, computed when the engine is asked for it. The reader, for a Dataset
        and paths, has one column "prediction" and can be read once.

    Raises
    ------
    NotFittedError
        Before `fit`.
    PartitionError
        When it is computed, if the rows of a part are invalid.
    ValueError
        If the model was fitted to an array, whose columns have no names.

    See Also
    --------
    fit : Fit to the rows of an engine.

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
    engine = engine_of(frame)
    if isinstance(engine, DuckRelation):
        engine = DuckRelation(frame, connection)
    return engine.predicted(PartPredictor.of(model, engine.names, random))
