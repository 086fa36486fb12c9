"""Generation of bootstrap replicates, a block at a time, and refits of the model to them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from skmixed.core.batch.error_sums import NeedsRowsError
from skmixed.core.batch.refits import refit_at, refit_responses, takes_lockstep
from skmixed.core.batch.residual_refits import draw_rows, estimates, refit_rows
from skmixed.core.batch.responses import Responses, draw_responses
from skmixed.core.fit import Fit
from skmixed.core.generalized.after_fit.redrawn import (
    GeneralizedRefits,
    Refitted,
    draw_observations,
)
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.sums.layout import Rows
from skmixed.inference.components import Component, parameters_of, values_of
from skmixed.inference.resampling import (
    WholeLevels,
    outer_factor,
    resample_levels,
    resample_residuals,
    responses_of_rows,
)

# A block of replicates has its own random generator, and is one unit of work for a thread.
MOST_IN_BLOCK = 1_000  # replicates refitted together: a fifth of a second for a small factor
ONE_BY_ONE = 25  # replicates in a block if refitted one by one: enough blocks for all threads
BLOCK_CELLS = 4e6  # cross-products, or rows, times replicates: 32 MB

BootstrapKind = Literal["parametric", "residual", "cases"]
Statistic = Callable[[Any], Any]
Block = TypeVar("Block")


class Replicator(Protocol):
    """Generates replicates and refits the model to them."""

    @property
    def parameters(self) -> list[Component]:
        """The parameters that are tabulated."""
        ...

    @property
    def block_size(self) -> int:
        """Replicates in a block; depends on the data alone, so threads do not change results."""
        ...

    def __call__(self, n_samples: int, generator: np.random.Generator) -> RefittedBlock:
        """Return the estimates of a block."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class RefittedBlock:
    """Estimates of R replicates."""

    values: FloatArray  # (R, n_parameters), in the order of `parameters_of`
    converged: NDArray[np.bool_]  # (R,)
    singular: NDArray[np.bool_]  # (R,)
    statistics: list[pd.Series[float]]  # one a replicate, if a statistic is wanted


@dataclass(frozen=True, slots=True, eq=False)
class LinearReplicator:
    """Replicates of a linear mixed model."""

    fit: Fit
    kind: str
    rows: Rows | None  # None where replicates are drawn without rows
    statistic: Statistic | None
    parameters: list[Component]  # what is tabulated
    random: str = "new"  # random effects of drawn responses: new ones, or the "fitted"

    @property
    def block_size(self) -> int:
        """Replicates in a block; depends on the data alone, so threads do not change results."""
        if not takes_lockstep(self.fit):
            return ONE_BY_ONE
        size = sum(block.products.size for block in self.fit.products.factors)
        if self.rows is not None:
            size = max(size, len(self.rows.columns))
        return int(max(1, min(MOST_IN_BLOCK, BLOCK_CELLS // size)))

    def __call__(self, n_samples: int, generator: np.random.Generator) -> RefittedBlock:
        """Draw and refit a block."""
        if self.kind == "cases":
            assert self.rows is not None
            refits, fits = resample_levels(
                self.fit, self.rows, n_samples, generator, self.statistic is not None
            )
        else:
            responses = self.responses(n_samples, generator)
            refits = refit_responses(self.fit, responses)
            fits = (refit_at(self.fit, responses, refits, n) for n in range(n_samples))
        statistics = []
        if self.statistic is not None:
            statistics = [
                as_series(self.statistic(refit)) if np.isfinite(s2) else pd.Series(dtype=float)
                for refit, s2 in zip(fits, refits.sigma2, strict=True)
            ]
        values = values_of(self.fit, self.parameters, refits)
        return RefittedBlock(values, refits.converged, refits.singular, statistics)

    def responses(self, n_samples: int, generator: np.random.Generator) -> Responses:
        """Draw responses; raise ValueError if that needs rows and there are none."""
        if self.kind == "residual":
            assert self.rows is not None
            return resample_residuals(self.fit, self.rows, n_samples, generator)
        if self.rows is not None:
            return responses_of_rows(self.fit, self.rows, n_samples, generator, self.random)
        try:
            return draw_responses(self.fit, n_samples, generator, self.random)
        except NeedsRowsError as error:
            raise ValueError(f"{error}: bootstrap(model, X=X, y=y, ...)") from None


@dataclass(frozen=True, slots=True, eq=False)
class ResidualReplicator:
    """Replicates of a linear mixed model with a residual structure, drawn and refitted by rows."""

    fit: ResidualFit
    rows: Rows
    residual: ResidualRows  # of the same rows
    statistic: Statistic | None
    parameters: list[Component]  # what is tabulated
    random: str = "new"  # random effects of drawn responses: new ones, or the "fitted"

    @property
    def block_size(self) -> int:
        """Replicates in a block."""
        return ONE_BY_ONE

    def __call__(self, n_samples: int, generator: np.random.Generator) -> RefittedBlock:
        """Draw and refit a block."""
        drawn = draw_rows(self.fit, self.rows, self.residual, n_samples, generator, self.random)
        found = [refit_rows(self.fit, self.rows, self.residual, y) for y in drawn.T]
        statistics = []
        if self.statistic is not None:
            empty = pd.Series(dtype=float)
            statistics = [empty if fit is None else as_series(self.statistic(fit)) for fit in found]
        refits = estimates(self.fit, found)
        values = values_of(self.fit, self.parameters, refits)
        return RefittedBlock(values, refits.converged, refits.singular, statistics)


@dataclass(frozen=True, slots=True, eq=False)
class GeneralizedReplicator:
    """Replicates of a generalized linear mixed model, refitted one by one."""

    fit: GeneralizedFit
    kind: str  # "parametric" or "cases"
    observations: Observations  # each with a response of its own, if these are drawn
    statistic: Statistic | None
    parameters: list[Component]  # what is tabulated
    random: str = "new"  # random effects of drawn responses: new ones, or the "fitted"

    @property
    def block_size(self) -> int:
        """Replicates in a block."""
        return ONE_BY_ONE

    def __call__(self, n_samples: int, generator: np.random.Generator) -> RefittedBlock:
        """Draw and refit a block."""
        found, statistics = [], []
        for drawn in self._drawn(n_samples, generator):
            refitted = Refitted.of(drawn, self.fit.quadrature)
            if self.statistic is not None:
                fit = refitted.fit
                empty = pd.Series(dtype=float)
                statistics.append(empty if fit is None else as_series(self.statistic(fit)))
            found.append(refitted.estimates(self.fit))
        refits = GeneralizedRefits.of(found)
        values = values_of(self.fit, self.parameters, refits)
        return RefittedBlock(values, refits.converged, refits.singular, statistics)

    def _drawn(
        self, n_samples: int, generator: np.random.Generator
    ) -> Iterator[Observations | None]:
        if self.kind == "parametric":
            yield from draw_observations(
                self.fit, self.observations, n_samples, generator, self.random
            )
            return
        rows, offset = self.observations.given, self.observations.offset
        factor = outer_factor(self.fit, "kind='parametric'")
        whole, n_levels = WholeLevels.of(rows, factor), len(rows.indexes[factor])
        for _ in range(n_samples):
            again, chosen = whole.drawn(generator.integers(0, n_levels, n_levels))
            shift = None if offset is None else offset[chosen]
            yield Observations.of(
                self.observations.layout, again, self.fit.spec, self.fit.family, shift
            )


def in_blocks(
    make: Callable[[int, np.random.Generator], Block],
    n_samples: int,
    block_size: int,
    generator: np.random.Generator,
    *,
    n_jobs: int | None,
    name: str | None,
) -> list[Block]:
    """Generate replicates in threads, by blocks that each have a random generator.

    `name` labels the progress bar; None shows none.
    """
    sizes = [min(block_size, n_samples - first) for first in range(0, n_samples, block_size)]
    generators = generator.spawn(len(sizes))
    n_threads = (os.cpu_count() or 1) if n_jobs == -1 else max(1, n_jobs or 1)
    blocks = []
    with (
        tqdm(total=n_samples, disable=name is None, desc=name) as bar,
        ThreadPoolExecutor(n_threads) as pool,
    ):
        run = make, sizes, generators
        for size, block in zip(sizes, map(*run) if n_threads == 1 else pool.map(*run), strict=True):
            bar.update(size)
            blocks.append(block)
    return blocks


def as_series(value: Any) -> pd.Series[float]:
    """Return the result of a statistic as a Series."""
    if isinstance(value, pd.Series):
        return value
    if isinstance(value, Mapping):
        return pd.Series(value, dtype=float)
    values = np.atleast_1d(np.asarray(value, dtype=float)).ravel()
    single = len(values) == 1
    names = ["statistic"] if single else [f"statistic{n}" for n in range(len(values))]
    return pd.Series(values, index=names)


@dataclass(frozen=True, slots=True, eq=False)
class NonlinearReplicator:
    """Replicates of a nonlinear mixed model: responses drawn, and the model fitted to them."""

    model: Any  # the estimator, whose search starts at its coefficients
    rows: tuple[Any, Any, Any]  # X, sample_weight and groups
    statistic: Statistic | None
    parameters: list[Component]  # what is tabulated
    random: str = "new"  # random effects of drawn responses: new ones, or the "fitted"

    @classmethod
    def of(
        cls,
        model: Any,
        kind: BootstrapKind,
        statistic: Statistic | None,
        rows: tuple[Any, Any, Any, Any],  # X, y, sample_weight and groups
        parameters: list[Component],
        random: str = "new",
    ) -> NonlinearReplicator:
        """Prepare the rows; raise ValueError without X, or for a kind other than "parametric"."""
        if kind != "parametric":
            raise ValueError(
                f"kind={kind!r} is not available for nonlinear models: use kind='parametric'"
            )
        X, y, weights, groups = rows
        if X is not None and y is None and model._fitted.response is not None:
            X, _, weights, groups = model._with_response(X, None, weights, groups, of_fit=True)
        if X is None:
            raise ValueError(
                "a bootstrap of a nonlinear model needs the training data, which the model does "
                "not store: pass X, and sample_weight and groups if fit had them"
            )
        again = copy(model)
        again.start = model._fitted.start_again
        return cls(again, (X, weights, groups), statistic, parameters, random)

    @property
    def block_size(self) -> int:
        """Replicates in a block; depends on the data alone, so threads do not change results."""
        return ONE_BY_ONE

    def __call__(self, n_samples: int, generator: np.random.Generator) -> RefittedBlock:
        """Return the estimates of a block; NaN where a replicate cannot be fitted."""
        X, weights, groups = self.rows
        values = np.full((n_samples, len(self.parameters)), np.nan)
        converged, singular = np.zeros((2, n_samples), dtype=np.bool_)
        statistics: list[pd.Series[float]] = []
        for place in range(n_samples):
            drawn = self.model.simulate(
                X, groups, sample_weight=weights, random_state=generator, random=self.random
            )
            again = copy(self.model)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    fit = again.fit(X, drawn[:, 0], weights, groups=groups).fit_
            except ValueError:
                continue
            values[place] = [part.estimate for part in parameters_of(fit)]
            converged[place], singular[place] = fit.report.converged, fit.is_singular
            if self.statistic is not None:
                statistics.append(as_series(self.statistic(fit)).rename(place))
        return RefittedBlock(values, converged, singular, statistics)
