"""Reduced variants of a fitted model, without reading the data again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.fit import Fit
from skmixed.core.model.fixed_part import FixedColumn, FixedPart
from skmixed.core.model.spec import wholes
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.sums.layout import CONSTANT
from skmixed.design.design import Design
from skmixed.design.formula import INTERCEPT
from skmixed.design.grammar.syntax import FormulaParts, parse_random
from skmixed.design.grammar.updating import fixed_terms_of
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.inference.compare import ratio_row
from skmixed.inference.fitted import AnyFit, MixedFit, check_unpenalised, determined_any_fit_of
from skmixed.inference.fixed_effects.term_tests import marginal_tests
from skmixed.inference.fixed_effects.testing import CoefficientTests, DfMethod, JointTest
from skmixed.inference.random_terms import ReducedFits, Refitting, Slopes, reduced_fits, refitting
from skmixed.inference.random_terms import term_text as bar_of
from skmixed.model_selection.changed._updates import GivenRows, parts_of

RATIO_COLUMNS = ("n_parameters", "log_likelihood", "aic", "statistic", "df", "p_value")
NONE = "<none>"  # the row of the model itself, as in R


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """A fitted model, or what is left of it."""

    fit: MixedFit
    design: Design  # of the whole model
    refit: Refitting
    slopes: tuple[Slopes, ...]  # of every random term that is left
    gone: frozenset[str] = frozenset()  # terms of the fixed part

    @classmethod
    def of(cls, model: MixedEstimator[Any], rows: GivenRows, use: str) -> Variant:
        """Prepare a fitted model; generalized ones need their rows, for a `use`.

        Raises TypeError for a nonlinear model and a posterior, ValueError for one with a prior.
        """
        if not hasattr(model, "fit_"):
            raise TypeError(
                f"{use} compares likelihoods, but a {type(model).__name__} has a posterior: use "
                "a MixedLinearRegressor, or compare models by skmixed.bayes.loo"
            )
        fit = determined_any_fit_of(model)
        if isinstance(fit, NonlinearFit):
            raise TypeError(
                f"{use} takes terms of one fixed part, and parameters of a nonlinear model have a "
                "formula each: update(model, fixed={...}) and compare_models"
            )
        check_unpenalised(fit, use)
        given = rows.X, rows.y, rows.sample_weight, rows.groups
        design = model._state().design
        return cls(fit, design, refitting(model, fit, given, use), design.slopes)

    @property
    def terms(self) -> dict[str, tuple[str, ...]]:
        """The terms of the fixed part that are left, with what they are products of."""
        whole = self.design.fixed_design.terms
        return {name: operands for name, operands in whole.items() if name not in self.gone}

    @property
    def droppable(self) -> list[str]:
        """The terms that no other term contains."""
        return [
            name
            for name, operands in self.terms.items()
            if not any(set(operands) < set(other) for other in self.terms.values())
        ]

    def without(self, name: str) -> Variant:
        """Return the model without a term of the fixed part, by the same criterion."""
        gone = self.gone | {name}
        return replace(self, fit=self.refit_without({name}), gone=gone)

    def refit_without(self, names: Collection[str], **changes: Any) -> MixedFit:
        """Fit without some more terms of the fixed part."""
        places = self._places(self.gone.union(names))
        return self.refit(fixed=places, terms=self.fit.spec.terms, **changes)

    def _places(self, gone: Collection[str]) -> tuple[int, ...]:
        places = self.design.fixed_design.without(gone)
        if places is None:
            raise ValueError(
                f"without {' and '.join(sorted(gone))} the columns of the other terms would "
                "change: fit that model by update, and compare the two by compare_models"
            )
        return places

    @property
    def part(self) -> FixedPart:
        """What the fixed columns stand for."""
        whole = self.design.fixed_design.part
        by_place = dict(zip(self.design.fixed, whole.columns, strict=True))
        by_place.setdefault(CONSTANT, FixedColumn(INTERCEPT))
        return replace(whole, columns=tuple(by_place[place] for place in self.fit.spec.fixed))

    def dropped_tests(self, names: Collection[str], df: DfMethod) -> pd.DataFrame:
        """Test by F what terms add to all others, (n_names, 6)."""
        tests = CoefficientTests.of(self.fit, df)
        found = marginal_tests(tests, self.part) if names else {}
        return row_frame({name: f_row(tests.fit, found[name]) for name in names}, F_COLUMNS)

    def dropped_ratios(self, names: Collection[str]) -> pd.DataFrame:
        """Test the same by likelihood ratios, by maximum likelihood; first is the model's row."""
        whole = self.fit.with_method("ml")
        rows = {NONE: ratio_row(whole, None)}
        for name in names:
            rows[name] = ratio_row(self.refit_without({name}, method="ml"), whole)
        return row_frame(rows, RATIO_COLUMNS)

    def random_reductions(self) -> ReducedFits:
        """Fit every reduction of the random part, whatever the fixed one is."""
        fixed = self.fit.spec.fixed
        return reduced_fits(
            self.fit, self.slopes, lambda **changes: self.refit(fixed=fixed, **changes)
        )

    def parts(self, model: MixedEstimator[Any]) -> FormulaParts:
        """Write what is left as parts of a formula."""
        parts = parts_of(model)
        if self.gone:
            parts = replace(parts, fixed=self._fixed_text(parts.fixed))
        if self.slopes != self.design.slopes or len(self.slopes) != len(self.fit.spec.terms):
            parts = replace(parts, random=parse_random(self._random_text()) if self.slopes else ())
        return parts

    def _fixed_text(self, given: str) -> str:
        written = {name: ":".join(each) for name, each in self.design.fixed_design.terms.items()}
        own = [":".join(each) for each in fixed_terms_of(given)]
        if len(own) == len(written):  # the same terms, as the user spelled them
            written = dict(zip(written, own, strict=True))
        kept = [text for name, text in written.items() if name not in self.gone]
        return " + ".join(kept if self.design.has_intercept else ["0", *kept]) or "1"

    def _random_text(self) -> str:
        bars, place = [], 0
        for parts in wholes(self.fit.spec.terms):
            if self.design.layout.factors[parts[0].factor].key:
                bars.append(bar_of(self.fit, parts[0], self.slopes[place]))
            place += len(parts)
        return " + ".join(bars)


def f_row(fit: AnyFit, test: JointTest) -> dict[str, float]:
    """Return the figures of an F test in a fit, with the sums of squares of lmerTest."""
    has_squares = isinstance(fit, Fit) and not isinstance(fit, ResidualFit)
    mean_sq = test.statistic * fit.sigma2 if has_squares else np.nan
    return {
        "sum_sq": mean_sq * test.num_df,
        "mean_sq": mean_sq,
        "num_df": test.num_df,
        "df": test.df,
        "statistic": test.statistic,
        "p_value": test.p_value,
    }


F_COLUMNS = ("sum_sq", "mean_sq", "num_df", "df", "statistic", "p_value")


def row_frame(rows: dict[str, dict[str, float]], columns: Sequence[str]) -> pd.DataFrame:
    """Tabulate rows by name, of which there may be none."""
    index = pd.Index(list(rows), dtype=object)
    return pd.DataFrame(list(rows.values()), index=index, columns=list(columns))
