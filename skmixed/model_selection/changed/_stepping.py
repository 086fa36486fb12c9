"""Stepwise selection of the terms of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.inference.compare import ratio_row
from skmixed.inference.fitted import snapshot
from skmixed.inference.fixed_effects.testing import DfMethod, check_probability
from skmixed.inference.table import Table, TabularResult
from skmixed.model_selection.changed._term_changes import (
    BY_RATIO,
    Larger,
    added_ratios,
    added_tests,
    additions,
    by_f,
    check_kind,
    f_note,
    larger_models,
    named_terms,
    random_additions,
)
from skmixed.model_selection.changed._updates import (
    GivenRows,
    changed,
    evaluated,
    fitted_estimator,
    formula_text,
)
from skmixed.model_selection.changed._variants import NONE, RATIO_COLUMNS, Variant, row_frame

Direction = Literal["backward", "forward", "both"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Steps(TabularResult):
    """Result of a stepwise selection of terms.

    Parameters
    ----------
    random, fixed : DataFrame
        Tests of the random-effects and fixed-effect terms, those that led to a step first. The
        column "step" numbers the steps, 0 for a term that is kept, or kept out; "change" is
        "dropped" or "added".
    formula : str
        Formula of the selected model.
    selected : estimator or None
        Fitted selected model; None if fitting it requires data that were not given.
    notes : tuple of str
        How the figures were computed.

    See Also
    --------
    step : Returns it.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.model_selection import step
    >>> model = lmer("Reaction ~ Days + I(Days^2) + (Days | Subject)", load_sleepstudy())
    >>> step(model).formula
    'Reaction ~ Days + (1 + Days | Subject)'
    """

    random: pd.DataFrame
    fixed: pd.DataFrame
    formula: str
    selected: Any
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> Any:
        """Fitted selected model.

        Raises ValueError if it differs from the initial model and no data were given.
        """
        if self.selected is None:
            raise ValueError(
                f"{self.formula} differs from the initial model and must be fitted to the data: "
                "pass X to step, or the formula to update"
            )
        return self.selected

    def _table(self) -> Table:
        shown = ["step", "change", "num_df", "df", "statistic", "p_value"]
        parts = [
            each.assign(part=name)
            for name, each in (("random", self.random), ("fixed", self.fixed))
            if len(each)
        ]
        frame = pd.concat(parts) if parts else pd.DataFrame(columns=["part"])
        frame = frame.reindex(columns=["part", *shown])
        return Table(f"Steps to {self.formula}", frame, self.notes)


def step(
    model: Any,
    *,
    direction: Direction = "backward",
    scope: str | Sequence[str] | None = None,
    alpha_random: float = 0.1,
    alpha_fixed: float = 0.05,
    keep: Sequence[str] = (),
    df: DfMethod = "auto",
    X: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
) -> Steps:
    """Select the terms of a model by stepwise tests.

    Parameters
    ----------
    model : estimator
        A fitted mixed model, linear or generalized.
    direction : {"backward", "forward", "both"}, default="backward"
        Whether to remove terms, add those of `scope`, or both: after each addition, others may be
        removed again.
    scope : str, list of str or None, default=None
        Terms that may be added, as in `add1`: ``"~ . + x + z + (1 | item)"``.
    alpha_random : float, default=0.1
        Random-effects terms with a larger p-value are removed, and those with a smaller one added;
        1 leaves the random effects unchanged.
    alpha_fixed : float, default=0.05
        The same for fixed-effect terms.
    keep : list of str, default=()
        Fixed-effect terms never to remove.
    df : {"auto", "satterthwaite", "kenward-roger", "residual", "normal"}, default="auto"
        Method for the denominator degrees of freedom, as in `drop1`.
    X, y, sample_weight, groups : array-like, default=None
        The training data, as passed to `fit`: required for adding terms, for generalized models,
        and to fit the selected model. After `lmer`, `glmer`, `clmm` or `nlmer` the data frame X is
        enough: y and the weights, such as trials, are read from it.

    Returns
    -------
    Steps
        Tables of all tests, the formula of the selected model, and the model.

    Raises
    ------
    ValueError
        If the direction is unknown, terms are to be added without `scope` or data, a term to keep
        is not in the model, and as in `drop1`.
    TypeError
        If the model is nonlinear or a posterior.

    See Also
    --------
    drop1, add1 : A single step.
    skmixed.inference.ranova : A single step of the random effects.

    Notes
    -----
    In R: ``step`` of lmerTest, which is backward. First the random effects: of the reductions that
    `skmixed.inference.ranova` tests, the one with the largest p-value is made, as long as that
    exceeds `alpha_random`. Then the fixed effects by `drop1`: F tests or, for generalized models,
    likelihood ratios. P-values of random-effects terms are from chi-squared distributions, as in
    lmerTest. After any such selection, p-values are too small and intervals too narrow, as they
    ignore the search [1]_.

    References
    ----------
    .. [1] Harrell, F. E. (2015). Regression modeling strategies. Springer,
       :doi:`10.1007/978-3-319-19425-7`, section 4.3.
    .. [2] Kuznetsova, A., Brockhoff, P. B. & Christensen, R. H. B. (2017). lmerTest package: tests
       in linear mixed effects models. Journal of Statistical Software 82(13),
       :doi:`10.18637/jss.v082.i13`.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.model_selection import step
    >>> data = load_sleepstudy()
    >>> model = lmer("Reaction ~ Days + I(Days^2) + (Days | Subject)", data)
    >>> steps = step(model, X=data)
    >>> print(steps)
    Steps to Reaction ~ Days + (1 + Days | Subject)
                                part step   change num_df   df statistic  p_value
    <none>                    random
    Days in (Days | Subject)  random    0                    2     42.98  <0.0001
    I(Days ** 2)               fixed    1  dropped      1  143    1.6558   0.2003
    Days                       fixed    0               1   17    45.853  <0.0001
    Random terms: likelihood ratios, restricted.
    Degrees of freedom by Satterthwaite's method.
    >>> steps.model.coef_.round(2)
    array([10.47])
    """
    model = fitted_estimator(snapshot(model))
    if direction not in ("backward", "forward", "both"):
        raise ValueError(f"direction={direction!r} is not 'backward', 'forward' or 'both'")
    for alpha in (alpha_random, alpha_fixed):
        if alpha not in (0, 1):
            check_probability(alpha)
    rows = GivenRows(X, y, sample_weight, groups, "raise")
    check_kind(model, "step")
    if direction != "backward" and scope is None:
        raise ValueError(
            f"direction={direction!r} requires the terms that may be added: scope='~ . + x'"
        )
    if direction != "backward" and not rows.are_there:
        raise ValueError(
            "adding terms requires the training data, which the model does not keep: pass X"
        )
    begin = _Stage.of(model, rows)
    search = _Stepping(rows, direction, scope or (), named_terms(begin.variant, keep), df)
    end = search.random_part(begin, alpha_random)
    end = search.fixed_part(end, alpha_fixed)
    return search.steps(model, end)


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """State of a search: a fitted model, and what remains of it."""

    model: MixedEstimator[Any]
    variant: Variant

    @classmethod
    def of(cls, model: MixedEstimator[Any], rows: GivenRows) -> _Stage:
        return cls(model, Variant.of(model, evaluated(model, rows), "step"))

    @property
    def formula(self) -> str:
        """Formula of the remaining model."""
        parts = self.variant.parts(self.model)
        return formula_text(replace(parts, response=parts.response or "y"))

    @property
    def is_whole(self) -> bool:
        """Whether no term has been removed."""
        return self.variant.fit is self.model._state().fit

    def fitted(self, rows: GivenRows) -> _Stage:
        """Return the state with a fitted model of its own; requires the data."""
        if self.is_whole:
            return self
        parts = self.variant.parts(self.model)
        text = formula_text(parts) if parts.response else formula_text(parts).partition("~")[2]
        return _Stage.of(changed(self.model, text, rows, {}), rows)


@dataclass(slots=True, eq=False)
class _Stepping:
    """A search, and the tests it has made."""

    rows: GivenRows
    direction: Direction
    scope: str | Sequence[str]
    keep: tuple[str, ...]
    df: DfMethod
    random: list[pd.DataFrame] = field(default_factory=list)
    fixed: list[pd.DataFrame] = field(default_factory=list)

    def random_part(self, place: _Stage, alpha: float) -> _Stage:
        """Step until no random-effects term is removed or added."""
        fit = place.variant.fit
        if fit.spec.terms or self.direction != "backward":
            first = row_frame({NONE: ratio_row(fit, None)}, RATIO_COLUMNS)
            self.random.append(first.assign(step=np.nan, change=""))
        return self._stepped(place, alpha, self.random, self._random_moves)

    def fixed_part(self, place: _Stage, alpha: float) -> _Stage:
        """Step until no fixed-effect term is removed or added."""
        return self._stepped(place, alpha, self.fixed, self._fixed_moves)

    def _stepped(
        self, place: _Stage, alpha: float, tables: list[pd.DataFrame], moves: _Moves
    ) -> _Stage:
        n_steps, known = 0, {place.formula}
        while True:
            rest = []
            for frame, change, move in moves(place):
                name = _chosen(frame, change, alpha, self.keep)
                following = None if name is None else move(name)
                if following is not None and following.formula not in known:
                    break
                rest.append(frame.assign(step=0, change=""))
            else:
                tables += rest
                return place
            assert following is not None  # by the condition above
            n_steps += 1
            tables.append(frame.loc[[name]].assign(step=n_steps, change=change))
            place = following
            known.add(place.formula)

    def _random_moves(self, place: _Stage) -> Iterator[_Move]:
        variant = place.variant
        if self.direction != "forward" and variant.fit.spec.terms:
            reduced = variant.random_reductions()
            frame = reduced.tabulated(variant.fit)[0].drop(index=NONE)

            def drop(name: str) -> _Stage:
                number = reduced.names.index(name)
                fit, slopes = reduced.fits[number], reduced.slopes[number]
                return replace(place, variant=replace(variant, fit=fit, slopes=slopes))

            yield frame, "dropped", drop
        if self.direction != "backward":
            yield from self._additions(place, 1, random_additions)

    def _fixed_moves(self, place: _Stage) -> Iterator[_Move]:
        variant = place.variant
        is_f = by_f(variant.fit, "auto")
        if self.direction != "forward":
            names = variant.droppable
            if is_f:
                frame = variant.dropped_tests(names, self.df)
            else:
                frame = variant.dropped_ratios(names).drop(index=NONE)

            def drop(name: str) -> _Stage:
                return replace(place, variant=variant.without(name))

            yield frame, "dropped", drop
        if self.direction != "backward":

            def compared(model: MixedEstimator[Any], larger: Larger) -> pd.DataFrame:
                return added_tests(model, larger, self.df) if is_f else added_ratios(model, larger)

            yield from self._additions(place, 0, compared)

    def _additions(
        self,
        place: _Stage,
        kind: int,  # of the two of `additions`
        compared: Callable[[MixedEstimator[Any], Larger], pd.DataFrame],
    ) -> Iterator[_Move]:
        model = place.fitted(self.rows).model
        terms = additions(model, self.scope)[kind]
        if not terms:
            return
        larger = larger_models(model, terms, self.rows)
        frame = compared(model, larger).drop(index=NONE, errors="ignore")
        yield frame, "added", lambda name: _Stage.of(larger[name], self.rows)

    def steps(self, model: MixedEstimator[Any], end: _Stage) -> Steps:
        """Assemble the result."""
        selected: Any = end.model
        if not end.is_whole:
            selected = end.fitted(self.rows).model if self.rows.are_there else None
        is_f, method = by_f(end.variant.fit, "auto"), end.variant.fit.spec.method
        notes = []
        if self.random:
            restricted = ", restricted" if method == "reml" else ""
            notes.append(f"Random terms: likelihood ratios{restricted}.")
        notes.append(f_note(end.variant.fit, self.df) if is_f else BY_RATIO)
        return Steps(
            _stacked(self.random), _stacked(self.fixed), end.formula, selected, tuple(notes)
        )


_Move = tuple[pd.DataFrame, str, Callable[[str], _Stage]]
"""Tests of terms, what becomes of the one that is chosen, and where that leads."""
_Moves = Callable[[_Stage], Iterator[_Move]]


def _chosen(frame: pd.DataFrame, change: str, alpha: float, keep: Sequence[str]) -> str | None:
    """Return the term to remove, with the largest p-value, or to add, with the smallest."""
    p_values = frame["p_value"].drop(index=list(keep), errors="ignore").dropna()
    if not len(p_values):
        return None
    values = p_values.to_numpy(dtype=np.float64)
    place = int(values.argmax() if change == "dropped" else values.argmin())
    is_wanted = values[place] > alpha if change == "dropped" else values[place] < alpha
    return str(p_values.index[place]) if is_wanted else None


def _stacked(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Stack tables, with the columns on steps first."""
    tables = [each for each in tables if len(each)]
    if not tables:
        return pd.DataFrame(columns=["step", "change"])
    frame = pd.concat([each.dropna(axis=1, how="all") for each in tables])
    first = ["step", "change"]
    return frame[[*first, *(name for name in frame.columns if name not in first)]]
