"""Terms that formulaic evaluates: transforms of whole columns, contrasts, the user's functions.

These are the only dealings with formulaic, which is imported when a formula first needs it.
"""

from __future__ import annotations

import ast
import copy
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from skmixed._extras import missing
from skmixed.core.linalg import FloatArray
from skmixed.design.factor_functions import factor_functions
from skmixed.design.grammar.expressions import FormulaTerms, KnownColumns
from skmixed.design.grammar.functions import FOR_FORMULAIC
from skmixed.design.grammar.terms import Operand
from skmixed.design.plain import TermColumns, refuse_unseen
from skmixed.design.polynomial_contrasts import is_ordered
from skmixed.design.spline_functions import spline_functions
from skmixed.design.values import is_categorical, truth_levels
from skmixed.exceptions import ExtrapolationWarning, warn

# Functions whose columns of truth values are categories, not 0 and 1.
_OF_TRUTH = frozenset(
    {"I", "C", "interaction", "relevel", "dummy", "ordered", "as_ordered", "as_character"}
)
_EVALUATION = {"name": "lookup", "code": "python", "literal": "literal"}


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What was learned from rows about operands, by their text."""

    # The numbers of functions that learn from whole columns, by the text of their call.
    transforms: Mapping[str, Any] = field(default_factory=dict)
    # Kind ("numerical" or "categorical") and encoding; the latter holds the levels as "categories".
    encodings: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)

    @classmethod
    def of_levels(cls, levels: Mapping[str, list[Any]], ordered: Collection[str] = ()) -> Learned:
        """Return what plain terms learn; levels in an order have polynomial contrasts."""
        encodings: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for text, known in levels.items():
            order = {"ordered": True} if text in ordered else {}
            encodings[text] = ("categorical", {"categories": known, **order})
        return cls({}, encodings)

    @property
    def ordered(self) -> frozenset[str]:
        """The categorical operands with polynomial contrasts, whose levels have an order."""
        found = (text for text, (_, each) in self.encodings.items() if each.get("ordered"))
        return frozenset(found)

    @property
    def levels(self) -> dict[str, list[Any] | None]:
        """The levels of every categorical operand; None stands for one that has none."""
        return {
            text: encoding.get("categories")
            for text, (kind, encoding) in self.encodings.items()
            if kind == "categorical"
        }

    @property
    def known_levels(self) -> dict[str, list[Any]]:
        """The levels of the categorical operands that have some."""
        return {text: known for text, known in self.levels.items() if known is not None}


def learn_by_formulaic(
    terms: FormulaTerms, context: Mapping[str, Any], prepared: Mapping[str, Any], n_rows: int
) -> tuple[tuple[TermColumns, ...], Learned, FloatArray]:
    """Have formulaic learn terms from what `prepare` returns; return their columns, (n_rows, p)."""
    nothing = Learned()
    spec = _spec(terms, (), nothing)
    spec, values = _materialize(terms, spec, context, prepared, n_rows, nothing)
    structure = tuple(
        TermColumns(str(term), tuple(names), tuple(map(_scoped, scoped_terms)))
        for term, scoped_terms, names in spec.structure
    )
    ordered = {name for name, column in prepared.items() if is_ordered(column)}
    encodings = {}
    for text, (kind, state) in spec.encoder_state.items():
        kept = {key: each for key, each in state.items() if key != "contrasts"}
        encodings[text] = (kind.value, {**kept, "ordered": True} if text in ordered else kept)
    return structure, Learned(spec.transform_state, encodings), values


def _scoped(term: Any) -> tuple[float, tuple[tuple[str, bool], ...]]:
    return term.scale, tuple((each.factor.expr, bool(each.reduced)) for each in term.factors)


def replay_by_formulaic(
    terms: FormulaTerms,
    structure: tuple[TermColumns, ...],
    learned: Learned,
    context: Mapping[str, Any],
    prepared: Mapping[str, Any],
    n_rows: int,
) -> FloatArray:
    """Have formulaic evaluate terms on other rows as they were learned, (n_rows, p)."""
    spec = _spec(terms, structure, learned)
    return _materialize(terms, spec, context, prepared, n_rows, learned)[1]


def contrasts_of(
    terms: FormulaTerms,
    learned: Learned,
    context: Mapping[str, Any],
    text: str,
    known: KnownColumns,
) -> Any:
    """Return formulaic's contrasts of a categorical operand; its levels were learned."""
    alone = replace(terms, products=((Operand(text, "code"),),))
    spec = _spec(alone, (), learned)
    no_rows = {
        alias: known.without_rows(column)
        for column, alias in zip(terms.columns, terms.aliases, strict=True)
    }
    spec, _ = _materialize(alone, spec, context, no_rows, 0, learned)
    return spec.encoder_state[text][1]["contrasts"].contrasts


def _spec(terms: FormulaTerms, structure: tuple[TermColumns, ...], learned: Learned) -> Any:
    """Return formulaic's ModelSpec of terms, with what was learned put in."""
    formulaic = _import_formulaic(terms)
    parsed = formulaic.parser.types
    products = [
        parsed.Term([parsed.Factor(each.text, eval_method=_EVALUATION[each.kind]) for each in term])
        for term in terms.products
    ]
    encoded = [_encoded(formulaic, *each) for each in zip(products, structure, strict=False)]
    return formulaic.ModelSpec(
        formula=formulaic.SimpleFormula(products, _ordering="none"),
        structure=encoded or None,  # none before anything is learned
        transform_state=copy.deepcopy(dict(learned.transforms)),
        encoder_state={
            text: (parsed.Factor.Kind(kind), copy.deepcopy(_without_order(encoding)))
            for text, (kind, encoding) in learned.encodings.items()
        },
    )


def _without_order(encoding: Mapping[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in encoding.items() if key != "ordered"}


def _encoded(formulaic: Any, term: Any, columns: TermColumns) -> Any:
    """Return formulaic's record of what the columns of a term are."""
    types = formulaic.materializers.types
    evaluated = {factor.expr: types.EvaluatedFactor(factor, None) for factor in term.factors}
    scoped = [
        types.ScopedTerm([types.ScopedFactor(evaluated[text], cut) for text, cut in each], scale)
        for scale, each in columns.products
    ]
    structure = formulaic.materializers.base.EncodedTermStructure
    return structure(term, scoped, list(columns.names))


def _materialize(
    terms: FormulaTerms,
    spec: Any,
    context: Mapping[str, Any],
    prepared: Mapping[str, Any],
    n_rows: int,
    learned: Learned,
) -> tuple[Any, FloatArray]:
    """Evaluate a ModelSpec; return it with what was learned, and the columns, (n_rows, p).

    Beside its own functions formulaic knows the columns and what it is given here, nothing else;
    `skmixed.design.grammar.permitted` has seen every expression before.
    """
    formulaic = _import_formulaic(terms)
    frame = pd.DataFrame(prepared, index=pd.RangeIndex(n_rows))
    # Until 1.2.2 formulaic takes the texts of pandas 3 for numbers.
    texts = [name for name, kind in frame.dtypes.items() if isinstance(kind, pd.StringDtype)]
    if texts:
        frame = frame.astype(dict.fromkeys(texts, object))
    numbers = [name for name in _calculated_with(terms) if frame[name].dtype == np.bool_]
    factors = {
        name: truth_levels(values) if values.dtype == np.bool_ else pd.Series(values, dtype=object)
        for name, values in prepared.items()
        if not is_categorical(values) and (values.dtype == np.bool_ or name in learned.known_levels)
    }
    frame = frame.assign(**frame[numbers].astype(np.float64))
    beyond: list[str] = []
    functions = {
        **FOR_FORMULAIC,
        **spline_functions(formulaic, beyond),
        **factor_functions(formulaic),
        **context,
    }
    materializer = formulaic.materializers.PandasMaterializer(frame, functions)
    ordered = {name for name, column in prepared.items() if is_ordered(column)} | learned.ordered
    materializer = _with_factors(materializer, factors, ordered, formulaic)
    mismatch = formulaic.errors.DataMismatchWarning
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error", mismatch)
            matrix = materializer.get_model_matrix(spec, output="numpy", na_action="ignore")
        values = np.asarray(matrix, dtype=np.float64)
    except mismatch as error:
        for text, levels in learned.known_levels.items():
            found = pd.Series(materializer.factor_cache[text].values.__wrapped__)
            refuse_unseen(terms, text, found, levels)
        outside = f"'{terms.given}' has categories outside of the levels it gives"
        raise ValueError(outside) from error
    except (formulaic.errors.FormulaicError, ValueError, TypeError, SyntaxError) as error:
        raise _not_evaluated(terms, error) from error
    for said in dict.fromkeys(beyond):
        warn(f"'{terms.given}' has rows outside of {said}", ExtrapolationWarning)
    if values.shape[0] != n_rows:
        raise ValueError(f"'{terms.given}' does not give one value for every row")
    return matrix.model_spec, values


def _calculated_with(terms: FormulaTerms) -> set[str]:
    """Return the columns with which expressions calculate; there truth values are 0 and 1.

    They are truth values where they are compared, joined by ``&``, ``|`` or ``~``, or alone.
    """
    codes = [each.text for each in chain.from_iterable(terms.products) if each.kind == "code"]
    nodes = chain.from_iterable(ast.walk(ast.parse(code, mode="eval")) for code in codes)
    calculating = (node for node in nodes if not _takes_truth(node))
    beneath = chain.from_iterable(map(ast.iter_child_nodes, calculating))
    return {each.id for each in beneath if isinstance(each, ast.Name)}.intersection(terms.aliases)


def _takes_truth(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _OF_TRUTH
    logical = isinstance(getattr(node, "op", None), ast.BitAnd | ast.BitOr | ast.Invert)
    return logical or isinstance(node, ast.Compare | ast.Expression)


def _with_factors(
    materializer: Any, factors: Mapping[str, Any], ordered: Collection[str], formulaic: Any
) -> Any:
    """Have formulaic take truth values for a factor, as in R, and some columns for categories.

    Those in an order get polynomial contrasts.
    """
    polynomial = formulaic.transforms.contrasts.PolyContrasts()
    wrapped = formulaic.materializers.types.FactorValues
    lookup, evaluate = materializer._lookup, materializer._evaluate

    def look_up(name: str) -> tuple[Any, Any]:
        values, variables = lookup(name)
        values = factors.get(name, values)
        if name in ordered:
            values = formulaic.transforms.C(pd.Series(values), polynomial)
        return values, variables

    def evaluate_code(*arguments: Any) -> tuple[Any, Any]:
        values, variables = evaluate(*arguments)
        if is_ordered(values) and not isinstance(values, wrapped):
            values = formulaic.transforms.C(pd.Series(values), polynomial)
        return truth_levels(values), variables

    materializer._lookup, materializer._evaluate = look_up, evaluate_code
    return materializer


def _import_formulaic(terms: FormulaTerms) -> Any:
    try:
        import formulaic
    except ImportError as error:
        raise missing("formulaic", "formula", f"the formula '{terms.given}'") from error
    return formulaic


def _not_evaluated(terms: FormulaTerms, error: Exception) -> ValueError:
    if isinstance(error.__cause__, NameError):
        return terms.unknown(str(error.__cause__).replace("`", "'").split("'")[1])
    said = error.__cause__ if isinstance(error.__cause__, ValueError) else error
    reason = terms.restore(str(said).partition("\n")[0])
    if "beyond upper and/or lower bounds" in reason:
        reason = (
            "rows lie outside of the values it was fitted to; extrapolation='extend' in the call "
            "goes on with the outer polynomials, as R does, and 'clip' and 'zero' are others"
        )
    return ValueError(f"cannot evaluate '{terms.given}': {reason}")
