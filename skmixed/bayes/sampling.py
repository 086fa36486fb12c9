"""From a fitted model and prior distributions to draws from the posterior."""

from __future__ import annotations

import os
from numbers import Integral
from typing import Any, Literal, get_args

import numpy as np
from tqdm.auto import tqdm

from skmixed.bayes.coefficient_draws import coefficient_draws, n_nodes
from skmixed.bayes.density import PosteriorDensity, starting_points
from skmixed.bayes.generalized_sampling import generalized_draws_of
from skmixed.bayes.impropriety import check_posterior
from skmixed.bayes.memory import check_fits
from skmixed.bayes.parametrization import RootCoordinates
from skmixed.bayes.posterior_draws import SEEDS, PosteriorDraws
from skmixed.bayes.priors import ModelPrior, Prior, PriorName
from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import generator_of
from skmixed.core.posterior.hamiltonian import HamiltonianSample, hamiltonian_sample, n_paths
from skmixed.core.posterior.importance import ImportanceSample, importance_sample, n_planned
from skmixed.core.posterior.integrated_likelihood import IntegratedLikelihood
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.exceptions import SamplingWarning, warn
from skmixed.inference.fitted import (
    determined_fit_of,
    mixed_fit_of,
    observations_of_fit,
    snapshot,
)

SamplerName = Literal["auto", "importance", "hamiltonian"]

_MOST_WEIGHTED = 20  # parameters to which weighted proposals are the faster way; measured
_STEPS_A_PATH = 5  # evaluations of a path, about


def sample(
    model: Any,
    prior: Prior | PriorName = "weak",
    *,
    X: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    n_draws: int = 1000,
    n_chains: int = 4,
    sampler: SamplerName = "auto",
    random_state: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> PosteriorDraws:
    """Draw from the posterior of a fitted mixed model.

    Parameters
    ----------
    model : estimator
        A fitted `MixedLinearRegressor`, also after `partial_fit` and from
        `skmixed.distributed.fit`. Its sums are what the data say; its estimates are where the
        search for the posterior begins. Or a fitted `MixedClassifier` or
        `MixedGeneralizedRegressor`, which need the rows.
    prior : {"weak", "rstanarm", "reference"} or Prior, default="weak"
        Prior distributions: weak ones in units of the data (see `Prior`), those of rstanarm, flat
        ones (on coefficients, standard deviations and log sigma; of linear models alone), or your
        own.
    X : array-like or data frame of shape (n, n_features), default=None
        For generalized models the rows that `fit` was given, in any order. Linear ones do without.
    y : array-like of shape (n,), default=None
        Likewise their response.
    sample_weight : None or array-like of shape (n,), default=None
        Likewise their weights.
    groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
        Likewise their labels, if they were given as `groups` to `fit`.
    n_draws : int, default=1000
        Number of draws of every chain.
    n_chains : int, default=4
        Number of chains.
    sampler : {"auto", "importance", "hamiltonian"}, default="auto"
        How variances are drawn: "importance" from proposals that are weighted, "hamiltonian" by
        chains that follow the gradient of the density. "auto" takes the second for linear models of
        more than twenty standard deviations, correlations and sigma, where it is the faster way.
        Generalized models have the first alone.
    random_state : None, int, RandomState or Generator, default=None
        Seed.
    n_jobs : int or None, default=None
        Threads for models of several factors; None is 1, -1 all cores. Draws do not depend on it.
    verbose : int, default=0
        Show a progress bar of the evaluations if 1 or more.

    Returns
    -------
    PosteriorDraws or GeneralizedDraws
        Draws of variances and coefficients; of random effects on demand.

    Raises
    ------
    ValueError
        If the fit left no residual or was iterative, for covariance structures without prior
        distributions, for models with correlated residuals, for names in the prior that the model
        does not have, and where the posterior would not integrate to one. For generalized models
        also without the rows of the fit, for categories in an order, and for
        ``sampler="hamiltonian"``.
    TypeError
        For what is no mixed model.
    MemoryError
        For more draws than half of the memory of the machine holds.

    Warns
    -----
    SamplingWarning
        If weights are too unequal for the draws to be trusted, after a second try and thinning; of
        chains that follow the gradient, if they have not mixed or left the density.

    See Also
    --------
    compare : Compares models by their evidence.
    loo : How well single rows are predicted by the others.
    to_pymc : Builds the same model in PyMC.

    Notes
    -----
    Coefficients and random effects are integrated out exactly, so that standard deviations,
    correlations and sigma alone are sampled: by a mixture of t distributions that learns from
    importance weights, and chains of independence Metropolis that it proposes to. Nothing has to be
    tuned, chains need no burn-in, and a variance of zero is no obstacle. Rows are not needed; the
    cost depends on levels, not on rows.

    An efficiency of proposals below one half is made up for by several proposals a draw. Beyond
    twenty parameters few proposals have any weight, and chains of Hamiltonian Monte Carlo [3]_ take
    their place, in steps tuned by dual averaging [4]_ and paths of random length, with the exact
    gradient, all side by side. They learn for 350 draws, which are left out. Their evidence is that
    of a bridge between the draws and a normal distribution [5]_.

    Of generalized models coefficients and dispersions are sampled with the variances, and the
    effects of every level are integrated by adaptive Gauss-Hermite quadrature, all levels and a
    batch of parameters at a time. That costs passes over the rows. Effects of several factors, and
    of more than three columns, are integrated by Laplace's approximation, which weighted draws of
    them about their mode correct: `pareto_k` tells whether they could. Where they could not,
    `to_pymc` builds the model for samplers of another kind.

    References
    ----------
    .. [1] Cornuet, J.-M., Marin, J.-M., Mira, A. & Robert, C. P. (2012). Adaptive multiple
       importance sampling. Scandinavian Journal of Statistics 39(4), 798-812,
       :doi:`10.1111/j.1467-9469.2011.00756.x`.
    .. [2] Vehtari, A., Simpson, D., Gelman, A., Yao, Y. & Gabry, J. (2024). Pareto smoothed
       importance sampling. Journal of Machine Learning Research 25(72), 1-58.
    .. [3] Neal, R. M. (2011). MCMC using Hamiltonian dynamics. Handbook of Markov Chain Monte
       Carlo, chapter 5, equations 5.18 to 5.20, :doi:`10.1201/b10905-6`.
    .. [4] Hoffman, M. D. & Gelman, A. (2014). The No-U-Turn sampler. Journal of Machine Learning
       Research 15, 1593-1623, equation 6.
    .. [5] Meng, X.-L. & Wong, W. H. (1996). Simulating ratios of normalizing constants via a simple
       identity. Statistica Sinica 6, 831-860, equation 4.1.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.bayes import sample
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> draws = sample(model, random_state=0)
    >>> draws.coef_mean.round(0)
    array([251.,  10.])
    >>> print(draws.to_frame().index.tolist())
    ['(Intercept)', 'Days', 'sd_(Intercept)|Subject', 'cor_Days.(Intercept)|Subject', \
'sd_Days|Subject', 'sigma']
    """
    model = snapshot(model)
    _check_sampler(sampler)
    if isinstance(mixed_fit_of(model), GeneralizedFit):
        if sampler == "hamiltonian":
            raise ValueError(
                "sampler='hamiltonian' is for linear models, whose density has a gradient here: "
                "take sampler='auto', or to_pymc, which builds the same model for PyMC"
            )
        observations = observations_of_fit(
            model, X, y, sample_weight, groups, "the posterior of a generalized model"
        )
        return generalized_draws_of(
            model, observations, prior, n_draws, n_chains, generator_of(random_state), verbose
        )
    fit = checked_fit(model)
    generator = generator_of(random_state)
    return draws_of(fit, prior, n_draws, n_chains, generator, n_jobs, verbose, sampler)


def _check_sampler(sampler: Any) -> None:
    names = list(get_args(SamplerName))
    if sampler not in names:
        raise ValueError(f"sampler={sampler!r} is none of {names}")


def checked_fit(model: Any) -> Fit:
    """Return the fit of a model that can be sampled, or say why it cannot."""
    instead = "glmer's models have no sampler here yet"
    fit = determined_fit_of(model, "this sampler", instead)
    if fit.krylov is not None:
        raise ValueError(
            "this model was fitted by solver='iterative', which has no exact likelihood to sample: "
            "fit it with solver='newton', if that fits into memory"
        )
    if fit.spec.relations:
        raise ValueError(
            "posteriors of related levels are not drawn: bootstrap(model) has draws of their "
            "variances, and heritability(model) an interval"
        )
    if isinstance(fit, ResidualFit):
        raise ValueError(
            "this model has residuals that are correlated or of unequal variance, for which there "
            "is no sampler: fit it without residual="
        )
    if fit.report.is_unbounded:
        raise ValueError(
            "the likelihood of this model has no maximum, since its random effects can follow "
            "every row, and its posterior need not integrate to one: leave out a term"
        )
    return fit


def draws_of(
    fit: Fit,
    prior: Any,
    n_draws: int,
    n_chains: int,
    generator: np.random.Generator,
    n_jobs: int | None = None,
    verbose: int = 0,
    sampler: SamplerName = "auto",
) -> PosteriorDraws:
    """Sample the posterior of a fit, as `sample` says; warns where draws are not to be trusted."""
    for name, value in (("n_draws", n_draws), ("n_chains", n_chains)):
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r} must be a whole number of at least 1")
    distributions = prior if isinstance(prior, ModelPrior) else ModelPrior.of(fit, prior)
    _check_memory(fit, distributions, int(n_draws) * int(n_chains))
    check_posterior(fit, distributions)
    starts = starting_points(fit, distributions)
    degrees = distributions.root_degrees
    coordinates = RootCoordinates(distributions.parametrization, starts[0], degrees)
    likelihood = IntegratedLikelihood.of(fit, distributions.coef)
    points = coordinates.points(starts)
    if sampler == "auto":
        sampler = "importance" if points.shape[1] <= _MOST_WEIGHTED else "hamiltonian"
    planned = n_planned(points.shape[1], n_draws, n_chains)
    if sampler == "hamiltonian":
        planned = _STEPS_A_PATH * n_paths(n_draws, n_chains)
    found: ImportanceSample | HamiltonianSample
    with tqdm(total=planned, desc="posterior", unit="", disable=not verbose) as bar:
        density = PosteriorDensity(
            likelihood, distributions, coordinates, n_threads(n_jobs), bar.update
        )
        if sampler == "importance":
            found = importance_sample(density, points, n_draws, n_chains, generator)
        else:
            found = hamiltonian_sample(
                density,
                density.with_slopes,
                points,
                n_draws,
                n_chains,
                generator,
                has_evidence=distributions.is_proper,
            )
        bar.total = bar.n
    draws = _put_together(fit, prior, density, found, generator)
    if found.is_poor:
        _warn_of(found, draws)
    return draws


def _check_memory(fit: Fit, prior: ModelPrior, n: int) -> None:
    """Raise MemoryError for n draws that are too many for this machine."""
    p, d = fit.rank, prior.parametrization.size
    # points, weights and proposals; coefficients, their deviates and copies; covariances at nodes
    check_fits(
        n * (12.0 * d + 4.0 * p) + 2.0 * n_nodes(p, n) * p * p,
        f"{n} draws of {p} coefficients and {d} variance parameters",
        "Ask for fewer draws, by n_draws or n_chains, or leave columns out",
    )


def n_threads(n_jobs: int | None) -> int:
    """Return the number of threads that `n_jobs` asks for."""
    if n_jobs is None:
        return 1
    cores = os.cpu_count() or 1
    return max(1, int(n_jobs) if n_jobs > 0 else cores + 1 + int(n_jobs))


def _warn_of(found: ImportanceSample | HamiltonianSample, draws: PosteriorDraws) -> None:
    if isinstance(found, HamiltonianSample):
        warn(
            f"the chains of {draws.phi.shape[2]} variance parameters have not mixed: the largest "
            f"R-hat is {found.r_hat:.2f}, {found.n_divergent} of their paths left the density, and "
            f"a draw is worth {found.efficiency:.2g} independent ones. Ask for more draws, give "
            "prior distributions with lighter tails, or leave out random terms",
            SamplingWarning,
        )
        return
    warn(
        f"the posterior of {draws.phi.shape[2]} variance parameters is hard to sample: the shape k "
        f"of the tail of the weights is {draws.pareto_k:.2f}, above 0.7 they cannot be trusted, "
        f"and their efficiency is {draws.efficiency:.2g}. Give prior distributions with lighter "
        "tails, or leave out random terms; more draws help little",
        SamplingWarning,
    )


def _put_together(
    fit: Fit,
    prior: Any,
    density: PosteriorDensity,
    found: ImportanceSample | HamiltonianSample,
    generator: np.random.Generator,
) -> PosteriorDraws:
    """Draw coefficients, and give those of dependent columns zeros."""
    given = coefficient_draws(density, found, generator)
    shape, states = found.chains.shape, found.points[found.chains.ravel()]
    log_density = found.log_density[found.chains.ravel()] - density.coordinates.log_jacobian(states)
    n_fixed, kept = len(fit.spec.fixed), list(fit.kept)
    coef = np.zeros((*shape, n_fixed))
    coef[:, :, kept] = given.drawn
    coef_mean, coef_covariance = np.zeros(n_fixed), np.zeros((n_fixed, n_fixed))
    coef_mean[kept] = given.mean
    coef_covariance[np.ix_(kept, kept)] = given.covariance
    is_proper = density.prior.is_proper
    return PosteriorDraws(
        phi=density.coordinates.phi(states).reshape(*shape, -1),
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
        nodes=given.nodes,
        log_density=log_density.reshape(shape),
        seed=int(generator.integers(SEEDS)),
        sampler="hamiltonian" if isinstance(found, HamiltonianSample) else "importance",
        n_divergent=found.n_divergent if isinstance(found, HamiltonianSample) else 0,
    )
