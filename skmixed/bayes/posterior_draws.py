"""Posterior draws of a linear mixed model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from skmixed.bayes._arviz import chain_diagnostics, datatree
from skmixed.bayes.memory import check_fits
from skmixed.bayes.parametrization import Parametrization
from skmixed.bayes.variance_nodes import VarianceNodes
from skmixed.core.batch.error_sums import NeedsRowsError
from skmixed.core.fit import Fit
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import FloatArray
from skmixed.core.posterior.conditional import Average
from skmixed.core.posterior.effect_draws import EffectDraws
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.design.records import stored
from skmixed.inference.components import components_of, deviations_and_correlations
from skmixed.inference.table import Table, TabularResult

SEEDS = 2**31  # for draws of random effects
_SHOWN_QUANTILES = (0.05, 0.5, 0.95)  # in the printed table, as in rstanarm and ArviZ
_TREE_CELLS = 2e7  # drawn effects included in a data tree: 160 MB


@stored
@dataclass(frozen=True, eq=False, repr=False)
class PosteriorDraws(TabularResult):
    """Posterior draws of a linear mixed model.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    phi : ndarray of shape (n_chains, n_draws, d)
        Sampled coordinates: for each term the logarithms of the standard deviations and the inverse
        hyperbolic tangents of the partial correlations; log sigma last.
    coef : ndarray of shape (n_chains, n_draws, n_fixed)
        Fixed coefficients, the intercept first if there is one; 0 for columns that depend linearly
        on earlier ones.
    coef_mean : ndarray of shape (n_fixed,)
        Their posterior means: averages of conditional means, far more precise than those of draws.
    coef_covariance : ndarray of shape (n_fixed, n_fixed)
        Their posterior covariance, computed likewise.
    log_evidence : float
        Log marginal likelihood of the data; NaN under an improper prior.
    log_evidence_error : float
        Its Monte Carlo standard error.
    efficiency : float
        Effective proportion of the proposals, at most 1; with ``sampler="hamiltonian"``, of the
        draws, for the coordinate that mixes worst.
    pareto_k : float
        Pareto k of the importance weights, reliable below 0.7; NaN without weights.
    acceptance : float
        Acceptance rate of the chains.
    thinning : int
        Proposals per draw, 1 unless the weights are poor.
    n_evaluations : int
        Evaluations of the density, including searches for modes.
    fit : Fit
        The fit that was sampled; it stores no rows.
    prior : Prior or str
        The prior distributions.
    nodes : VarianceNodes
        Equally weighted values of `phi` that represent the posterior in passes over levels or rows.
    log_density : ndarray of shape (n_chains, n_draws)
        Log of likelihood times prior density of `phi`.
    seed : int
        Seed for draws of random effects.
    sampler : {"importance", "hamiltonian"}, default="importance"
        The sampler.
    n_divergent : int, default=0
        Divergent transitions of the Hamiltonian sampler.

    See Also
    --------
    sample : The function that returns them.
    GeneralizedDraws : The counterpart for generalized models.
    loo : Leave-one-out cross-validation.
    posterior_predictive_check : Replicated beside observed responses.

    Notes
    -----
    They print posterior means, standard deviations and quantiles of all parameters, named as in
    lme4: ``sd_x|g``, ``cor_x.z|g``, ``sigma``.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.bayes import sample
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> draws = sample(model, random_state=0)
    >>> draws.coef.shape
    (4, 1000, 2)
    >>> draws.effects("Subject", ["308", "309"]).shape
    (4, 1000, 2, 2)
    """

    phi: FloatArray
    coef: FloatArray
    coef_mean: FloatArray
    coef_covariance: FloatArray
    log_evidence: float
    log_evidence_error: float
    efficiency: float
    pareto_k: float
    acceptance: float
    thinning: int
    n_evaluations: int
    fit: Any  # the Fit that was sampled; None in a saved model, which has it elsewhere
    prior: Any  # a Prior, or its name
    nodes: VarianceNodes
    log_density: FloatArray  # (n_chains, n_draws)
    seed: int  # of draws of random effects
    sampler: Literal["importance", "hamiltonian"] = "importance"
    n_divergent: int = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be recomputed."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        return int(self.phi.shape[0])

    @property
    def n_draws(self) -> int:
        """Number of draws per chain."""
        return int(self.phi.shape[1])

    @property
    def sigma(self) -> FloatArray:
        """Residual standard deviations, (n_chains, n_draws), in units of y."""
        return np.exp(self.phi[:, :, -1])

    @property
    def noise(self) -> dict[str, FloatArray]:
        """Draws of the noise parameters, (n_chains, n_draws) each, by name."""
        return {"sigma": self.sigma}

    @property
    def coef_names(self) -> list[str]:
        """Names of the coefficients."""
        names = self.fit.products.layout.columns
        return [names[place] for place in self.fit.spec.fixed]

    @property
    def random_covariance(self) -> dict[str, FloatArray]:
        """Covariances of the random effects of each factor, (n_chains, n_draws, k, k)."""
        flat = self.phi.reshape(-1, self.phi.shape[2])
        return {
            name: covariance.reshape(*self.phi.shape[:2], *covariance.shape[1:])
            for name, covariance in zip(
                self._factors, self._parametrization.covariances(flat), strict=True
            )
        }

    @property
    def parameters(self) -> dict[str, FloatArray]:
        """Draws of all parameters by name, (n_chains, n_draws) each: coefficients, then others."""
        covariances = list(self.random_covariance.values())
        spreads = [deviations_and_correlations(each) for each in covariances]
        coefficients, others = {}, {}
        for part in components_of(self.fit):
            if part.kind == "coefficient":
                coefficients[part.name] = self.coef[:, :, part.columns[0]]
            elif part.term is None:
                others[part.name] = self.noise[part.name]
            else:
                position, block = self.fit.place_of(part.term)
                deviations, correlations = spreads[position]
                first, *other = (block.start + column for column in part.columns)
                if part.kind == "cor":
                    others[part.name] = correlations[:, :, first, other[0]]
                else:
                    others[part.name] = deviations[:, :, first]
        return {**coefficients, **others}

    def effects(self, factor: str, levels: Sequence[Any] | None = None) -> FloatArray:
        """Draw random effects; repeated calls return the same draws.

        Parameters
        ----------
        factor : str
            Name of the factor.
        levels : sequence or None, default=None
            Labels of levels, tuples for a factor of several columns; None for all.

        Returns
        -------
        ndarray of shape (n_chains, n_draws, n_levels, k)
            Draws given those of variances and coefficients, in units of the effect.

        Raises
        ------
        ValueError
            For an unknown factor or level, and for several factors with too many random effects:
            use `effect_moments` for means and covariances.
        MemoryError
            If the draws need more than half of the machine's memory.
        """
        position = self._position(factor)
        known = self.levels(factor)
        places = np.arange(len(known))
        if levels is not None:
            places = known.get_indexer(pd.Index(list(levels), tupleize_cols=known.nlevels > 1))
            if (places < 0).any():
                missing = list(levels)[int(np.argmax(places < 0))]
                raise ValueError(f"{missing!r} is not a level of {factor!r}")
        n_draws, size = self.n_chains * self.n_draws, len(self._columns(factor))
        check_fits(
            3.0 * n_draws * size * len(places),  # with copies in other orders
            f"{n_draws} draws of {size} effects of {len(places)} levels",
            "Pass the levels that you need, or use effect_moments",
        )
        try:
            effects = self._effect_draws.of(position, places.astype(np.intp))
        except NeedsRowsError:
            raise ValueError(
                "the model has too many random effects of several factors for joint draws: "
                "effect_moments has their posterior means and covariances"
            ) from None
        return effects.reshape(*self.phi.shape[:2], *effects.shape[1:])

    def effect_moments(self, factor: str) -> tuple[FloatArray, FloatArray]:
        """Return posterior means and covariances of the random effects of all levels.

        Parameters
        ----------
        factor : str
            Name of the factor.

        Returns
        -------
        mean : ndarray of shape (n_levels, k)
            Averages of conditional means, in units of the effect.
        covariance : ndarray of shape (n_levels, k, k)
            Averages of conditional covariances plus the covariance of the conditional means.
        """
        average = self._averages()[self._position(factor)]
        return average.mean, average.covariance

    def levels(self, factor: str) -> pd.Index[Any]:
        """Return the levels of a factor.

        Parameters
        ----------
        factor : str
            Name of the factor.

        Returns
        -------
        Index of length n_levels
            The labels, a MultiIndex for a factor of several columns.
        """
        index = self.fit.products.factors[self.fit.spec.used_factors[self._position(factor)]].index
        if len(index.key) == 1:
            levels: pd.Index[Any] = pd.Index(index.labels[0], name=index.name)
        else:
            levels = pd.MultiIndex.from_arrays(index.labels, names=index.key)
        return levels

    def diagnostics(self) -> Table:
        """Compute R-hat and effective sample sizes; needs the extra ``bayes``.

        Returns
        -------
        Table
            A row for each parameter: Monte Carlo standard error of the mean, bulk and tail
            effective sample size, and R-hat, from arviz-stats.

        Raises
        ------
        ImportError
            If arviz-stats is not installed.
        """
        frame = pd.DataFrame(chain_diagnostics(self.parameters)).T
        notes = f"efficiency {self.efficiency:.2f}, Pareto k {self.pareto_k:.2f}"
        if self.sampler == "hamiltonian":
            notes = f"efficiency {self.efficiency:.2f}, divergent transitions {self.n_divergent}"
        elif self.thinning > 1:
            notes += f", {self.thinning} proposals per draw"
        return Table(f"{self.n_chains} chains of {self.n_draws} draws", frame, (notes,))

    def to_datatree(self) -> Any:
        """Convert the draws to ArviZ's DataTree; needs the extra ``bayes``.

        Returns
        -------
        DataTree
            Groups ``posterior``, with coefficients, sigma, standard deviations, correlations and
            random effects of as many factors as fit into 160 MB, and ``sample_stats``, with the log
            density ``lp``.

        Raises
        ------
        ImportError
            If arviz-base is not installed.
        """
        posterior = {"coef": self.coef, **self.noise}
        coords: dict[str, list[Any]] = {"coefficient": self.coef_names}
        dims = {"coef": ["coefficient"]}
        for name, covariances in self.random_covariance.items():
            columns = self._columns(name)
            rows, others = f"{name}_column", f"{name}_other_column"
            coords[rows] = coords[others] = columns
            deviations, correlations = deviations_and_correlations(covariances)
            posterior[f"sd_{name}"], dims[f"sd_{name}"] = deviations, [rows]
            if len(columns) > 1:
                posterior[f"cor_{name}"], dims[f"cor_{name}"] = correlations, [rows, others]
            levels = self.levels(name)
            if len(levels) * len(columns) * self.n_chains * self.n_draws <= _TREE_CELLS:
                posterior[f"effects_{name}"] = self.effects(name)
                coords[name] = [str(level) for level in levels]
                dims[f"effects_{name}"] = [name, rows]
        return datatree(posterior, {"lp": self.log_density}, coords, dims)

    def _table(self) -> Table:
        rows = {}
        means = dict(zip(self.coef_names, self.coef_mean, strict=True))
        sds = dict(zip(self.coef_names, np.sqrt(np.diag(self.coef_covariance)), strict=True))
        for name, draws in self.parameters.items():
            low, middle, high = np.quantile(draws, _SHOWN_QUANTILES)
            rows[name] = {
                "mean": means.get(name, draws.mean()),
                "sd": sds.get(name, draws.std()),
                "5%": low,
                "50%": middle,
                "95%": high,
            }
        title = f"Posterior, {self.n_chains} chains of {self.n_draws} draws"
        return Table(title, pd.DataFrame(rows).T)

    @property
    def _parametrization(self) -> Parametrization:
        return Parametrization.of(self.fit)

    @property
    def _factors(self) -> list[str]:
        factors = self.fit.products.factors
        return [factors[factor].index.name for factor in self.fit.spec.used_factors]

    def _position(self, factor: str) -> int:
        if factor not in self._factors:
            raise ValueError(f"{factor!r} is not a factor of the model, which has {self._factors}")
        return self._factors.index(factor)

    def _columns(self, factor: str) -> list[str]:
        spec, names = self.fit.spec, self.fit.products.layout.columns
        used = spec.used_factors[self._position(factor)]
        return [names[place] for place in spec.factor_columns(used)]

    @cached_property
    def _effect_draws(self) -> EffectDraws:
        """Draws of random effects; those of several factors are stored for each other."""
        flat = self.phi.reshape(-1, self.phi.shape[2])
        return drawn_effects(self, flat, self.coef.reshape(len(flat), -1), self.seed)

    def _posteriors(self, products: CrossProducts | None = None) -> Iterator[Posterior]:
        """Yield the conditional posterior of the effects at each node, given some sums."""
        return self.nodes.for_moments(self.fit).posteriors(self.fit, products)

    def _averages(self, products: CrossProducts | None = None) -> list[Average]:
        """Return moments of the random effects of each factor; those of the fit are stored."""
        if products is None:
            return self._own_averages
        return self.nodes.effect_averages(self.fit, products)

    @cached_property
    def _own_averages(self) -> list[Average]:
        return self.nodes.effect_averages(self.fit)


def drawn_effects(
    draws: PosteriorDraws,
    phi: FloatArray,
    coef: FloatArray,
    seed: int,
    products: CrossProducts | None = None,
) -> EffectDraws:
    """Return draws of random effects at values of phi, (R, d), and coefficients, (R, n_fixed).

    They condition on the data of the fit, or on other sums.
    """
    fit: Fit = draws.fit
    return EffectDraws(
        fit if products is None else fit.at(products),
        draws._parametrization.lambdas(phi),
        np.exp(phi[:, -1]),
        coef[:, list(fit.kept)],
        seed,
    )
