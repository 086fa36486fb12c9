"""Posterior sampling of a fitted generalized mixed model."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm.auto import tqdm

from skmixed.bayes.generalized_density import (
    GeneralizedDensity,
    ScaledPoints,
    joint_start,
)
from skmixed.bayes.generalized_draws import GeneralizedDraws
from skmixed.bayes.posterior_draws import SEEDS
from skmixed.bayes.priors import ModelPrior
from skmixed.bayes.variance_nodes import VARIANCE_NODES, VarianceNodes
from skmixed.core.families.family import MeanFamily
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.posterior.importance import (
    ImportanceSample,
    equal_places,
    importance_sample,
    n_planned,
    thinned,
    with_factors,
)
from skmixed.core.posterior.joint_integrals import JointIntegrals
from skmixed.core.posterior.level_integrals import LevelIntegrals
from skmixed.exceptions import SamplingWarning, warn

_NEGLIGIBLE_WEIGHT = 20.0  # below the largest log weight: such points are not corrected


def generalized_draws_of(
    model: Any,
    observations: Observations,
    prior: Any,
    n_draws: int,
    n_chains: int,
    generator: np.random.Generator,
    verbose: int = 0,
) -> GeneralizedDraws:
    """Sample the posterior of a generalized model; warn of unreliable draws."""
    fit: GeneralizedFit = model.fit_
    check_family(fit)
    if model._fitted.has_further_rows:
        raise ValueError(
            "this model was updated with rows after its fit, by update_groups: sample it before "
            "that, or fit it to all rows"
        )
    distributions = prior if isinstance(prior, ModelPrior) else ModelPrior.of(fit, prior)
    _check_posterior(fit, distributions)
    integrals = integrals_of(observations, fit)
    scaled = ScaledPoints.of(observations, distributions)
    information = scaled.to_scaled.T @ integrals.information @ scaled.to_scaled
    coordinates, starts = joint_start(fit, distributions, information)
    with tqdm(
        total=n_planned(starts.shape[1], n_draws, n_chains),
        desc="posterior",
        unit="",
        disable=not verbose,
    ) as bar:
        density = GeneralizedDensity(integrals, distributions, coordinates, scaled, bar.update)
        found = importance_sample(density, starts, n_draws, n_chains, generator)
        seed = int(generator.integers(SEEDS))
        if isinstance(integrals, JointIntegrals):
            found = _corrected(found, density, integrals, seed, generator)
            more = thinned(found, density, generator)
            if more is not found:
                found = _corrected(more, density, integrals, seed, generator)
        bar.total = bar.n
    draws = _put_together(model, distributions, density, found, seed, generator)
    if found.is_poor:
        _warn_of(draws)
    return draws


def _corrected(
    found: ImportanceSample,
    density: GeneralizedDensity,
    integrals: JointIntegrals,
    seed: int,
    generator: np.random.Generator,
) -> ImportanceSample:
    """Reweight points by the ratio of their likelihoods to Laplace's approximation."""
    felt = np.flatnonzero(found.log_weights > found.log_weights.max() - _NEGLIGIBLE_WEIGHT)
    x, factors = found.points[felt], np.zeros(len(found.points))
    points = density.scaled.at(density.coordinates.beta(x), density.coordinates.phi(x))
    factors[felt] = [factor for factor, _ in integrals.corrected(points, felt, seed)]
    return with_factors(found, factors, generator)


def integrals_of(
    observations: Observations, fit: GeneralizedFit
) -> LevelIntegrals | JointIntegrals:
    """Prepare rows for evaluation, by quadrature for one factor with few random columns."""
    of_levels = LevelIntegrals.of(observations, fit)
    return JointIntegrals.of(observations, fit) if of_levels is None else of_levels


def check_family(fit: GeneralizedFit) -> None:
    """Raise ValueError for responses without a sampler."""
    if not isinstance(fit.family, MeanFamily):
        raise ValueError(
            "ordinal models have no sampler: fit a MixedClassifier to a binary response"
        )


def _check_posterior(fit: GeneralizedFit, prior: ModelPrior) -> None:
    """Raise ValueError for priors under which the posterior may be improper."""
    is_flat = [not term.is_proper for term in prior.terms]
    if prior.noise is not None:
        is_flat.append(not prior.noise.is_proper)
    if any(is_flat):
        raise ValueError(
            "with a flat prior for a standard deviation or a shape the posterior of a generalized "
            "model may be improper: use a proper prior, such as prior='weak'"
        )
    if not prior.coef.is_proper and (fit.separated or fit.report.is_unbounded):
        raise ValueError(
            "the responses are separated, so with flat priors for the coefficients the posterior "
            "is improper: use normal priors, as prior='weak' does"
        )


def _warn_of(draws: GeneralizedDraws) -> None:
    if isinstance(draws.integrals, JointIntegrals):
        warn(
            "Laplace's approximation to the random effects is too poor: Pareto k is "
            f"{draws.pareto_k:.2f} (unreliable above 0.7), and the efficiency of the weights "
            f"{draws.efficiency:.2g}. Sample the same model with PyMC, using "
            "skmixed.bayes.to_pymc, or remove random terms",
            SamplingWarning,
        )
        return
    warn(
        f"the posterior of {draws.n_coordinates} parameters is hard to sample: Pareto k is "
        f"{draws.pareto_k:.2f} (unreliable above 0.7), and the efficiency of the weights "
        f"{draws.efficiency:.2g}. Use priors with lighter tails, or remove random terms; more "
        "draws help little",
        SamplingWarning,
    )


def _put_together(
    model: Any,
    prior: ModelPrior,
    density: GeneralizedDensity,
    found: ImportanceSample,
    seed: int,
    generator: np.random.Generator,
) -> GeneralizedDraws:
    """Average coefficients over all weighted points, and keep the states of the chains."""
    fit, coordinates, weights = model.fit_, density.coordinates, found.weights
    beta, felt = coordinates.beta(found.points), weights > 0.0
    mean = weights @ beta
    apart = beta - mean
    kept, n_fixed = list(fit.kept), len(fit.spec.fixed)
    coef = np.zeros((*found.chains.shape, n_fixed))
    coef[:, :, kept] = beta[found.chains]
    coef_mean, coef_covariance = np.zeros(n_fixed), np.zeros((n_fixed, n_fixed))
    coef_mean[kept] = mean
    coef_covariance[np.ix_(kept, kept)] = (weights[:, None] * apart).T @ apart
    points = np.where(felt[:, None], found.points, found.points[np.argmax(weights)])
    phi = coordinates.phi(points)  # NaN for points beyond the boundary
    nodes = equal_places(weights, min(VARIANCE_NODES, found.chains.size), generator)
    is_proper = prior.is_proper
    return GeneralizedDraws(
        phi=phi[found.chains],
        coef=coef,
        coef_mean=coef_mean,
        coef_covariance=coef_covariance,
        log_evidence=found.log_evidence if is_proper else np.nan,
        log_evidence_error=found.log_evidence_error if is_proper else np.nan,
        efficiency=found.efficiency,
        pareto_k=found.pareto_k,
        acceptance=found.acceptance,
        thinning=found.thinning,
        n_evaluations=found.n_evaluations,
        fit=fit,
        prior=prior,
        nodes=VarianceNodes(phi[nodes], beta[nodes], np.zeros((len(nodes), len(mean), len(mean)))),
        log_density=(found.log_density - coordinates.log_jacobian(points))[found.chains],
        seed=seed,
        model=model,
        integrals=density.integrals,
        streams=found.chains,
    )
