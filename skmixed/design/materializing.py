"""The only dealings with formulaic, which is imported when the first expression is used."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.design.expressions import Naming
from skmixed.design.wording import first_values, known_columns, row_numbers

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
    """Evaluate an expression, or a ModelSpec learned from one, on what `prepare` returned.

    Returns formulaic's ModelSpec and the values, (n, p), all finite.
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
    """Return the names of formulaic's functions and of those added to them."""
    return frozenset(_FUNCTIONS) | frozenset(_import_formulaic().transforms.TRANSFORMS)


def intercept_position(spec: Any) -> int | None:
    """Return the position of the constant among the columns, None if there is none."""
    position = 0
    for term, _, columns in spec.structure:
        if str(term) == "1":
            return position
        position += len(columns)
    return None


def categorical_levels(spec: Any) -> dict[str, list[Any] | None]:
    """Return the learned levels of every categorical expression, in formulaic's spelling.

    None stands for an expression that has none.
    """
    return {
        expression: state.get("categories")
        for expression, (kind, state) in spec.encoder_state.items()
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
    """Say which expression has a category that was not seen in learning."""
    learned = {} if isinstance(spec, str) else categorical_levels(spec)
    for expression, levels in learned.items():
        found = pd.Series(evaluated[expression].values.__wrapped__).unique().tolist()
        known = set(found if levels is None else levels)
        unseen = [level for level in found if level not in known]
        if unseen:
            name = naming.restore(expression)
            what = f"the column '{name}'" if name in naming.columns else f"'{name}'"
            seen = first_values(levels or [])
            return f"{what} has values not seen in fitting: {first_values(unseen)}; seen: {seen}"
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
