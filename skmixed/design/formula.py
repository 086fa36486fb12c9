"""Model matrices from expressions, learned from one table and replayed on others.

The expressions are those of formulaic, with R's spellings translated. Their function calls are
Python code and are evaluated: an expression is as trusted as the program it stands in.

formulaic is imported when the first expression is used, never before.
"""

import keyword
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.design.references import (
    column_references,
    replace_spans,
    translate_r,
    uses_all_columns,
)

__all__ = ["FormulaMatrix", "evaluate_expression", "learn_matrix", "variables"]

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
_SHOWN = 10

INTERCEPT = "(Intercept)"
"""Name of the constant column."""


@dataclass(frozen=True, slots=True, eq=False)
class FormulaMatrix:
    """What was learned about the columns of one model matrix.

    Columns of strings and of the category type are categorical, with treatment contrasts against
    the first level. The levels are those seen when learning, sorted, or in the order of the
    categories. Columns of booleans are numbers, 0 and 1. ``C()`` makes any column categorical. It
    pickles, and holds no rows.

    Parameters
    ----------
    expression : str
        The expression as it was given.
    names : tuple of str
        The names of the columns; the constant is ``"(Intercept)"``.
    has_intercept : bool
        Whether the constant is among the columns.
    variables : tuple of str
        The columns of the data it needs.
    is_stateful : bool
        Whether a transform learned from all rows at once, such as ``poly``, ``scale`` or ``bs``.
        Learning the levels of a categorical column does not count.
    has_categorical : bool
        Whether a column is categorical.
    """

    expression: str
    names: tuple[str, ...]
    has_intercept: bool
    variables: tuple[str, ...]
    is_stateful: bool
    has_categorical: bool
    _naming: "_Naming" = field(repr=False)
    _spec: Any = field(repr=False)

    def matrix(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Build the columns for other rows, exactly as they were learned.

        Parameters
        ----------
        frame : DataFrame
            A table with at least `variables`, in any order.

        Returns
        -------
        ndarray of shape (n, p)
            One row for every row of `frame`, in its order.

        Raises
        ------
        ValueError
            For a missing column, a missing value, a category that was not seen when learning, and
            a value at which the expression is not finite.
        """
        return _replay(self._spec, _prepare(frame, self._naming), self._naming)[1]

    @property
    def structure(self) -> list[tuple[Any, list[Any], list[str]]]:
        """The terms as formulaic has them, with their scoped terms and names of columns."""
        return [(term, list(scoped), list(names)) for term, scoped, names in self._spec.structure]

    @property
    def levels(self) -> dict[str, list[Any] | None]:
        """Levels of every categorical expression, in the user's names; None where it has none."""
        found = _categorical_factors(self._spec)
        return {self.restore(factor): levels for factor, levels in found.items()}

    def restore(self, text: str) -> str:
        """Return a text of formulaic with the columns' own names."""
        return self._naming.restore(text)

    def coding(self, factor: str, *, reduced: bool) -> NDArray[np.float64] | None:
        """Return the columns of a categorical factor at each of its levels.

        Parameters
        ----------
        factor : str
            The factor, in formulaic's words.
        reduced : bool
            Whether the constant is left out of what the columns span.

        Returns
        -------
        ndarray of shape (n_levels, n_columns) or None
            None if the factor is numeric.
        """
        kind, state = self._spec.encoder_state.get(factor, (None, {}))
        if kind is None or kind.value != "categorical":
            return None
        contrasts = state.get("contrasts")
        if contrasts is None:
            return np.eye(len(state.get("categories", ())))
        levels = list(contrasts.levels)
        if reduced and len(levels) == 1:
            return np.empty((1, 0))
        coding = contrasts.contrasts.get_coding_matrix(levels, reduced_rank=reduced)
        return np.asarray(coding, dtype=np.float64)

    def learns_the_same(self, frame: pd.DataFrame) -> bool:
        """Tell whether the transforms would learn the same from another table.

        Parameters
        ----------
        frame : DataFrame
            A table with at least `variables`.

        Returns
        -------
        bool
            True where nothing is learned, and where the expression gives all there is to learn,
            as ``bs(x, knots=[2, 4], lower_bound=0, upper_bound=9)`` does.
        """
        if not self.is_stateful:
            return True
        return self.knows_the_same(learn_matrix(self.expression, frame)[0])

    def knows_the_same(self, other: "FormulaMatrix") -> bool:
        """Tell whether the transforms learned the same from another table.

        Parameters
        ----------
        other : FormulaMatrix
            The same expression, learned elsewhere.

        Returns
        -------
        bool
            Categories are not compared.
        """
        return _same_state(self._spec.transform_state, other._spec.transform_state)

    @property
    def categories(self) -> dict[str, tuple[Any, ...]]:
        """The levels of every categorical factor that were learned, by its expression."""
        return {
            self._naming.restore(factor): tuple(levels)
            for factor, levels in _categorical_factors(self._spec).items()
            if levels is not None
        }


@dataclass(frozen=True, slots=True)
class _Naming:
    """The columns an expression needs, and the names under which formulaic sees them.

    The names differ where the column's own name would break a Python expression (``total.fruits``,
    ``class``) or hide a function. `given` is the expression in the user's words, `labels` holds the
    columns whose values only tell categories apart, `categorical` those of a categorical type, and
    `available` all columns of the table.
    """

    given: str
    expression: str
    columns: tuple[str, ...]
    aliases: tuple[str, ...]
    labels: frozenset[str]
    categorical: frozenset[str]
    available: tuple[str, ...]

    def restore(self, text: str) -> str:
        """Return a text of formulaic with the columns' own names."""
        for column, alias in zip(self.columns, self.aliases, strict=True):
            if alias != column:
                text = text.replace(alias, column)
        return text


def _same_state(first: Any, second: Any) -> bool:
    """Compare what transforms learned: nested dictionaries of numbers and arrays."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(
            _same_state(first[key], second[key]) for key in first
        )
    return bool(np.array_equal(np.asarray(first), np.asarray(second)))


def learn_matrix(expression: str, frame: pd.DataFrame) -> tuple[FormulaMatrix, NDArray[np.float64]]:
    """Learn the columns of an expression from a table, and build them for its rows.

    Parameters
    ----------
    expression : str
        The right-hand side of a formula, without bars and offsets: ``"open + agree * x"``. The
        constant is included unless it is taken out by ``0 +`` or ``- 1``.
    frame : DataFrame
        A table without missing values in the columns that the expression uses.

    Returns
    -------
    FormulaMatrix
        What was learned.
    ndarray of shape (n, p)
        One row for every row of `frame`, in its order; p may be 0.

    Raises
    ------
    ValueError
        For an expression that cannot be evaluated, a missing value, and a value at which the
        expression is not finite.
    """
    return _learn(expression, expression, frame)


def evaluate_expression(expression: str, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Evaluate a response or an offset: one number for every row.

    Parameters
    ----------
    expression : str
        Such as ``"Reaction"``, ``"log1p(total.fruits)"`` or ``"2 * Days^2"``. It is arithmetic:
        ``+``, ``*`` and ``^`` have the meanings they have within ``I()``.
    frame : DataFrame
        A table without missing values in the columns that the expression uses.

    Returns
    -------
    ndarray of shape (n,)
        The values.

    Raises
    ------
    ValueError
        Where `learn_matrix` raises it, and when the result is categorical, has several columns,
        or uses no column of the table.
    """
    quoted = f"`{expression}`" if expression in frame.columns else expression
    if not variables(quoted, frame.columns):
        raise ValueError(f"'{expression}' uses no column of the data; {_known(frame.columns)}")
    learned, values = _learn(expression, f"0 + I({quoted})", frame)
    if learned.has_categorical:
        raise ValueError(f"'{expression}' is categorical; a numeric expression is needed")
    if values.shape[1] != 1:
        raise ValueError(f"'{expression}' has {values.shape[1]} columns; one is needed")
    return values[:, 0]


def variables(expression: str, columns: Collection[str]) -> tuple[str, ...]:
    """Return the columns of the data that an expression uses, by first appearance.

    Parameters
    ----------
    expression : str
        A fixed part, a response, an offset, or the left side of a bar.
    columns : collection of str
        The columns of the data. The term ``.`` uses all of them.

    Returns
    -------
    tuple of str
        The names, each once.
    """
    used = [reference.column for reference in column_references(expression, columns)]
    if uses_all_columns(expression):
        used.extend(columns)
    return tuple(dict.fromkeys(used))


def _learn(
    given: str, expression: str, frame: pd.DataFrame
) -> tuple[FormulaMatrix, NDArray[np.float64]]:
    naming = _name_columns(given, expression, frame)
    spec, values = _replay(naming.expression, _prepare(frame, naming), naming)
    intercept = _intercept_position(spec)
    names = [naming.restore(name) for name in spec.column_names]
    if intercept is not None:
        names[intercept] = INTERCEPT
    learned = FormulaMatrix(
        expression=given,
        names=tuple(names),
        has_intercept=intercept is not None,
        variables=naming.columns,
        is_stateful=any(spec.transform_state.values()),
        has_categorical=bool(_categorical_factors(spec)),
        _naming=naming,
        _spec=spec,
    )
    return learned, values


def _name_columns(given: str, expression: str, frame: pd.DataFrame) -> _Naming:
    """Translate an expression for formulaic, giving awkward columns another name."""
    columns = [column for column in frame.columns if isinstance(column, str)]
    dtypes = dict(zip(frame.columns, frame.dtypes, strict=True))
    translated = translate_r(expression, columns)
    used = variables(translated, columns)
    functions = _function_names()
    aliases = {
        column: f"column_{position}__" if _is_awkward(column, functions) else column
        for position, column in enumerate(used)
    }
    references = column_references(translated, used)
    edits = [
        (reference.start, reference.end, aliases[reference.column])
        for reference in references
        if aliases[reference.column] != reference.column
    ]
    return _Naming(
        given=given,
        expression=replace_spans(translated, edits),
        columns=used,
        aliases=tuple(aliases.values()),
        labels=frozenset(reference.column for reference in references if reference.as_label),
        categorical=frozenset(column for column in used if _is_categorical(dtypes[column])),
        available=tuple(columns),
    )


def _is_awkward(column: str, functions: Collection[str]) -> bool:
    return not column.isidentifier() or keyword.iskeyword(column) or column in functions


def _prepare(frame: pd.DataFrame, naming: _Naming) -> pd.DataFrame:
    """Pick the columns an expression needs, refuse missing values, and unify the types."""
    prepared = {}
    for name, alias in zip(naming.columns, naming.aliases, strict=True):
        column = _pick(frame, name)
        is_label = name in naming.labels
        if not is_label:
            _check_kind(column, name in naming.categorical)
        prepared[alias] = _prepare_column(column, is_label)
    return pd.DataFrame(prepared, index=pd.RangeIndex(len(frame)))


def _pick(frame: pd.DataFrame, name: str) -> "pd.Series[Any]":
    if name not in frame.columns:
        raise ValueError(f"the column '{name}' is missing; {_known(frame.columns)}")
    column = frame[name]
    if isinstance(column, pd.DataFrame):
        raise ValueError(f"the name '{name}' belongs to {column.shape[1]} columns")
    missing = np.flatnonzero(column.isna().to_numpy())
    if missing.size:
        raise ValueError(f"the column '{name}' has missing values in {_rows(missing)}")
    return column.reset_index(drop=True)


def _is_categorical(dtype: Any) -> bool:
    """Return whether a type stands for categories: strings, objects and the category type."""
    return isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(dtype)


def _check_kind(column: "pd.Series[Any]", was_categorical: bool) -> None:
    """Refuse numbers for categories and the reverse, which formulaic would take."""
    if _is_categorical(column.dtype) != was_categorical:
        kinds = ("categorical", "numeric") if was_categorical else ("numeric", "categorical")
        raise ValueError(
            f"the column '{column.name}' was {kinds[0]} in fitting and is {kinds[1]} now, "
            f"of type {column.dtype}"
        )


def _prepare_column(column: "pd.Series[Any]", is_label: bool) -> "pd.Series[Any]":
    """Give numbers 64 bits, strings one type, and categories no level that does not occur.

    Integers become floating point, or their powers and products could overflow unseen.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return column.cat.remove_unused_categories()
    if pd.api.types.is_bool_dtype(dtype):
        return column.astype("bool")
    if pd.api.types.is_integer_dtype(dtype):
        return column.astype("int64" if is_label else "float64")
    if pd.api.types.is_float_dtype(dtype):
        return column.astype("float64")
    if _is_categorical(dtype) and dtype != "str":
        return column.astype("object")
    return column


def _replay(spec: Any, prepared: pd.DataFrame, naming: _Naming) -> tuple[Any, NDArray[np.float64]]:
    """Evaluate an expression, or what was learned from one, on prepared columns.

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


def _function_names() -> frozenset[str]:
    return frozenset(_FUNCTIONS) | frozenset(_import_formulaic().transforms.TRANSFORMS)


def _intercept_position(spec: Any) -> int | None:
    position = 0
    for term, _, columns in spec.structure:
        if str(term) == "1":
            return position
        position += len(columns)
    return None


def _categorical_factors(spec: Any) -> dict[str, list[Any] | None]:
    """Return the levels of the categorical factors that were learned; None if they have none."""
    return {
        factor: state.get("categories")
        for factor, (kind, state) in spec.encoder_state.items()
        if kind.value == "categorical"
    }


def _check_values(values: NDArray[np.float64], spec: Any, n_rows: int, naming: _Naming) -> None:
    if values.shape[0] != n_rows:
        raise ValueError(f"'{naming.given}' does not give one value for every row")
    finite = np.isfinite(values)
    if finite.all():
        return
    column = int(np.argmin(finite.all(axis=0)))
    name = naming.restore(spec.column_names[column])
    raise ValueError(f"'{name}' is not finite in {_rows(np.flatnonzero(~finite[:, column]))}")


def _explain_unseen(spec: Any, evaluated: Mapping[str, Any], naming: _Naming) -> str:
    """Say which factor has a category that was not seen when learning."""
    learned = {} if isinstance(spec, str) else _categorical_factors(spec)
    for factor, levels in learned.items():
        found = pd.Series(evaluated[factor].values.__wrapped__).unique().tolist()
        known = set(found if levels is None else levels)
        unseen = [level for level in found if level not in known]
        if unseen:
            name = naming.restore(factor)
            what = f"the column '{name}'" if name in naming.columns else f"'{name}'"
            seen = _some(levels or [])
            return f"{what} has values not seen in fitting: {_some(unseen)}; seen: {seen}"
    return f"'{naming.given}' has categories outside of the levels it gives"


def _explain(error: Exception, naming: _Naming) -> str:
    if isinstance(error.__cause__, NameError):
        name = str(error.__cause__).replace("`", "'").split("'")[1]
        return (
            f"'{naming.given}' refers to '{name}', which is neither a column nor a known function; "
            + _known(naming.available)
        )
    reason = naming.restore(str(error).partition("\n")[0])
    return f"cannot evaluate '{naming.given}': {reason}"


def _known(columns: Iterable[Any]) -> str:
    return f"the columns are {_some(list(columns))}"


def _rows(positions: NDArray[np.intp]) -> str:
    plural = "rows" if positions.size > 1 else "row"
    return f"{plural} {_some(positions.tolist())} (counted from 0)"


def _some(values: Sequence[Any]) -> str:
    """Return a few values, in words."""
    shown = ", ".join(repr(value) for value in values[:_SHOWN])
    left = len(values) - _SHOWN
    return f"{shown} and {left} more" if left > 0 else shown
