"""The only dealings with formulaic, which is imported when the first expression is used."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.design.naming import Naming
from skmixed.design.wording import known_columns, row_numbers, some

# What formulaic lacks, and exp10, which it has as x ** 10.
_FUNCTIONS: Mapping[str, Any] = {
    "abs": np.abs,
    "cos": np.cos,
    "exp10": lambda x: np.power(10.0, x),
    "expm1": np.expm1,
    "log1p": np.log1p,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "tan": np.tan,
}


def replay(spec: Any, prepared: pd.DataFrame, naming: Naming) -> tuple[Any, NDArray[np.float64]]:
    """Evaluate an expression, or what was learned from one, on prepared columns.

    Parameters
    ----------
    spec : str or formulaic.ModelSpec
        The expression, or what was learned from it.
    prepared : DataFrame
        What `prepare` made of a table.
    naming : Naming
        The names of its columns.

    Returns
    -------
    ModelSpec
        What formulaic learned, or had learned before.
    ndarray of shape (n, p)
        The values, all finite.
    """
    formulaic = _import_formulaic()
    materializer = formulaic.materializers.PandasMaterializer(prepared, _FUNCTIONS)
    mismatch = formulaic.errors.DataMismatchWarning
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error", mismatch)
            matrix = materializer.get_model_matrix(spec, output="numpy", na_action="ignore")
        if isinstance(matrix, formulaic.ModelMatrices):
            raise ValueError("a sum of terms is expected, without '~', '|' or ','")
        values = np.asarray(matrix, dtype=np.float64)
    except mismatch as error:
        raise ValueError(_explain_unseen(spec, materializer.factor_cache, naming)) from error
    except (formulaic.errors.FormulaicError, ValueError, TypeError, SyntaxError) as error:
        raise ValueError(_explain(error, naming)) from error
    _check_values(values, matrix.model_spec, len(prepared), naming)
    return matrix.model_spec, values


def _import_formulaic() -> Any:
    try:
        import formulaic
    except ImportError as error:
        raise ImportError('formulas need formulaic: pip install "scikit-mixed[formula]"') from error
    return formulaic


def function_names() -> frozenset[str]:
    """Return the functions that expressions call by names of their own.

    Returns
    -------
    frozenset of str
        Those of formulaic and those added to them.
    """
    return frozenset(_FUNCTIONS) | frozenset(_import_formulaic().transforms.TRANSFORMS)


def intercept_position(spec: Any) -> int | None:
    """Return which column is the constant.

    Parameters
    ----------
    spec : formulaic.ModelSpec
        What was learned.

    Returns
    -------
    int or None
        None where there is no constant.
    """
    position = 0
    for term, _, columns in spec.structure:
        if str(term) == "1":
            return position
        position += len(columns)
    return None


def categorical_factors(spec: Any) -> dict[str, list[Any] | None]:
    """Return the levels of the categorical factors that were learned.

    Parameters
    ----------
    spec : formulaic.ModelSpec
        What was learned.

    Returns
    -------
    dict of str to list or None
        By factor, in formulaic's words; None where a factor has none.
    """
    return {
        factor: state.get("categories")
        for factor, (kind, state) in spec.encoder_state.items()
        if kind.value == "categorical"
    }


def _check_values(values: NDArray[np.float64], spec: Any, n_rows: int, naming: Naming) -> None:
    if values.shape[0] != n_rows:
        raise ValueError(f"'{naming.given}' does not give one value for every row")
    finite = np.isfinite(values)
    if finite.all():
        return
    column = int(np.argmin(finite.all(axis=0)))
    name = naming.restore(spec.column_names[column])
    raise ValueError(f"'{name}' is not finite in {row_numbers(np.flatnonzero(~finite[:, column]))}")


def _explain_unseen(spec: Any, evaluated: Mapping[str, Any], naming: Naming) -> str:
    """Say which factor has a category that was not seen when learning."""
    learned = {} if isinstance(spec, str) else categorical_factors(spec)
    for factor, levels in learned.items():
        found = pd.Series(evaluated[factor].values.__wrapped__).unique().tolist()
        known = set(found if levels is None else levels)
        unseen = [level for level in found if level not in known]
        if unseen:
            name = naming.restore(factor)
            what = f"the column '{name}'" if name in naming.columns else f"'{name}'"
            seen = some(levels or [])
            return f"{what} has values not seen in fitting: {some(unseen)}; seen: {seen}"
    return f"'{naming.given}' has categories outside of the levels it gives"


def _explain(error: Exception, naming: Naming) -> str:
    if isinstance(error.__cause__, NameError):
        name = str(error.__cause__).replace("`", "'").split("'")[1]
        return (
            f"'{naming.given}' refers to '{name}', which is neither a column nor a known function; "
            + known_columns(naming.available)
        )
    reason = naming.restore(str(error).partition("\n")[0])
    return f"cannot evaluate '{naming.given}': {reason}"
