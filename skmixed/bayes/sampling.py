"""Posterior sampling of a fitted linear mixed model."""

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

_MOST_WEIGHTED = 20  # parameters up to which importance sampling is faster; measured
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

    Use it for credible intervals and predictions that carry the uncertainty of the variances, and
    where the likelihood is singular. `skmixed.BayesianMixedRegressor` is the same as an estimator;
    `skmixed.inference.sim` draws at the estimated variances.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    model : estimator
        A fitted `MixedLinearRegressor`, also after ``partial_fit`` and from
        `skmixed.distributed.fit`, of which the cross-products are used, and the estimates as a
        starting point. Or a fitted `MixedClassifier` or `MixedGeneralizedRegressor`, with its
        training data.
    prior : {"weak", "rstanarm", "reference"} or Prior, default="weak"
        Prior distributions: weakly informative ones scaled to the data (see `Prior`), those of
        rstanarm, flat ones (on coefficients, standard deviations and log sigma; linear models
        only), or your own.
    X : array-like or data frame of shape (n, n_features), default=None
        For generalized models, the training data in any order. Not needed for linear models.
    y : array-like of shape (n,), default=None
        Their response.
    sample_weight : None or array-like of shape (n,), default=None
        Weights of the rows, as passed to ``fit``.
    groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
        Group labels of the rows, if they were passed to ``fit`` as `groups`.
    n_draws : int, default=1000
        Number of draws per chain.
    n_chains : int, default=4
        Number of chains.
    sampler : {"auto", "importance", "hamiltonian"}, default="auto"
        Sampler for the variances: adaptive importance sampling, or Hamiltonian Monte Carlo. "auto"
        uses the latter, which is then faster, for linear models with more than twenty standard
        deviations, correlations and sigma. Generalized models have "importance" only.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed of the random number generator; pass an int for reproducible results.
    n_jobs : int or None, default=None
        Number of threads for models with several factors; None means one, and -1 one per processor.
        Results do not depend on it.
    verbose : int, default=0
        Whether to show a progress bar, if 1 or more.

    Returns
    -------
    PosteriorDraws or GeneralizedDraws
        Draws of variances and coefficients, with methods for those of the random effects.

    Raises
    ------
    ValueError
        If the fit leaves no residual or used the iterative solver, for covariance structures
        without priors, correlated residuals, unknown names in the prior, and an improper posterior.
        For generalized models also without the training data, for ordinal models, and for
        ``sampler="hamiltonian"``.
    TypeError
        If the model is not a mixed model.
    MemoryError
        If the draws need more than half of the machine's memory.

    Warns
    -----
    SamplingWarning
        If the importance weights remain unreliable after a second attempt and thinning, or if
        Hamiltonian chains have not mixed or have divergent transitions.

    See Also
    --------
    skmixed.BayesianMixedRegressor : The same as a scikit-learn estimator.
    loo : Leave-one-out cross-validation.
    posterior_predictive_check : Replicated beside observed responses.
    compare : Model comparison by evidence.
    to_pymc : The same model in PyMC.

    Notes
    -----
    Coefficients and random effects are integrated out exactly, so only standard deviations,
    correlations and sigma are sampled: by a mixture of t distributions adapted to importance
    weights [1]_ [2]_, which then proposes to independence Metropolis chains. There is nothing to
    tune and no burn-in, and a variance of zero is no obstacle. Rows are not needed; the cost
    depends on the number of levels.

    If the efficiency of proposals is below one half, several are made per draw. With more than
    twenty parameters few proposals carry weight, and Hamiltonian Monte Carlo [3]_ takes over, with
    exact gradients, paths of random length and steps tuned by dual averaging [4]_, all chains in
    parallel. The first 350 draws of each chain are used for tuning and discarded. The evidence is
    then that of bridge sampling between the draws and a normal distribution [5]_.

    In generalized models coefficients and dispersions are sampled with the variances, and the
    effects of each level are integrated by adaptive Gauss-Hermite quadrature, for all levels and a
    batch of parameters at once. This takes passes over the rows. Effects of several factors, or of
    more than three columns, are integrated by Laplace's approximation, corrected by importance
    sampling about their mode; `pareto_k` tells whether the correction is reliable. If it is not,
    use `to_pymc`.

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
                "sampler='hamiltonian' needs a linear model: use sampler='auto', or to_pymc, which "
                "builds the same model in PyMC"
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
        raise ValueError(f"sampler={sampler!r} is not one of {names}")


def checked_fit(model: Any) -> Fit:
    """Return the fit of a model that can be sampled, or raise an error that says why not."""
    instead = "glmer's models have no sampler here yet"
    fit = determined_fit_of(model, "this sampler", instead)
    if fit.krylov is not None:
        raise ValueError(
            "this model was fitted by solver='iterative', which has no exact likelihood to sample: "
            "fit it with solver='newton' if memory allows"
        )
    if fit.spec.relations:
        raise ValueError(
            "related levels have no sampler: use bootstrap(model) for draws of their variances, or "
            "heritability(model) for an interval"
        )
    if isinstance(fit, ResidualFit):
        raise ValueError(
            "correlated residuals and unequal residual variances have no sampler: fit the model "
            "without residual="
        )
    if fit.report.is_unbounded:
        raise ValueError(
            "the likelihood of this model has no maximum, since its random effects can fit every "
            "row, and its posterior may be improper: remove a term"
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
    """Sample the posterior of a fit; see `sample`. Warn of unreliable draws."""
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
        "Reduce n_draws or n_chains, or remove columns",
    )


def n_threads(n_jobs: int | None) -> int:
    """Return the number of threads for `n_jobs`."""
    if n_jobs is None:
        return 1
    cores = os.cpu_count() or 1
    return max(1, int(n_jobs) if n_jobs > 0 else cores + 1 + int(n_jobs))


def _warn_of(found: ImportanceSample | HamiltonianSample, draws: PosteriorDraws) -> None:
    if isinstance(found, HamiltonianSample):
        warn(
            f"the chains of {draws.phi.shape[2]} variance parameters have not mixed: the largest "
            f"R-hat is {found.r_hat:.2f}, there are {found.n_divergent} divergent transitions, and "
            f"a draw is worth {found.efficiency:.2g} independent ones. Increase n_draws, use "
            "priors with lighter tails, or remove random terms",
            SamplingWarning,
        )
        return
    warn(
        f"the posterior of {draws.phi.shape[2]} variance parameters is hard to sample: Pareto k is "
        f"{draws.pareto_k:.2f} (unreliable above 0.7), and the efficiency of the weights "
        f"{draws.efficiency:.2g}. Use priors with lighter tails, or remove random terms; more "
        "draws help little",
        SamplingWarning,
    )


def _put_together(
    fit: Fit,
    prior: Any,
    density: PosteriorDensity,
    found: ImportanceSample | HamiltonianSample,
    generator: np.random.Generator,
) -> PosteriorDraws:
    """Draw coefficients; those of dependent columns are zero."""
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
