"""Prior distributions of all parameters of a model: as users give them, and resolved."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from skmixed.bayes.coefficient_distributions import Normal
from skmixed.bayes.correlation_distributions import LKJ
from skmixed.bayes.parametrization import Parametrization, TermShape
from skmixed.bayes.scale_distributions import (
    Decov,
    Exponential,
    Flat,
    HalfT,
    InverseSquare,
    ScaleDistribution,
)
from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.core.posterior.coefficient_prior import CoefficientPrior
from skmixed.core.sums.layout import CONSTANT
from skmixed.design.records import stored

PriorName = Literal["weak", "rstanarm", "reference"]
PRIOR_NAMES = ("weak", "rstanarm", "reference")

_WEAKLY = 2.5  # standard deviations of y per standard deviation of the column, as in rstanarm
_CONSTANT = 1e-20  # variance, of the mean square: rounding error of that of a constant
_COUNT_OF_NONE = 0.5  # events instead of none, whose proportion has no finite link
_DEGREES_OF_SCALES = 3.0  # of half-t distributions, as in brms: finite variance, but heavy tails


@stored
@dataclass(frozen=True)
class Prior:
    """Prior distributions of a mixed model.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    scales : distribution, dict or None, default=None
        Priors of the standard deviations of the random effects, in units of the effect: one for
        all, or by factor, ``{"Subject": HalfT(3, 50)}``, or by factor and column, ``{"Subject":
        {"Days": HalfT(3, 10)}}``. None, and anything not named, is a half-t with 3 degrees of
        freedom and a scale of 2.5 sd(y) / sd(column).
    correlation : LKJ or dict of str to LKJ, default=LKJ(eta=1.0)
        Priors of the correlations of unstructured terms: one for all, or by factor.
    coef : Normal, Flat, dict or None, default=None
        Priors of the fixed coefficients: one for all except the intercept, or by name, ``{"Days":
        Normal(0, 20)}``. That of ``"(Intercept)"`` applies to the mean response at the means of the
        columns. None, and anything not named, is normal with standard deviation 2.5 sd(y) /
        sd(column), about zero, or about the mean of y for the intercept.
    sigma : distribution or None, default=None
        Prior of the residual standard deviation; None is a half-t with 3 degrees of freedom and a
        scale of 2.5 sd(y).
    shape : distribution or None, default=None
        Prior of the shape of gamma responses, or of theta of negative binomial ones. None gives
        their coefficient of variation, 1 / sqrt(shape), a half-t with 3 degrees of freedom and
        scale 1; for counts it is that of the extra-Poisson variation.

    See Also
    --------
    sample : Draws from the posterior.
    prior_predict : Draws of responses from these priors.

    Notes
    -----
    Like those of rstanarm and brms, the default priors are scaled to the data. A model without an
    intercept uses root mean squares instead of standard deviations.

    For generalized models sd(y) is replaced by 1, the unit being that of the link, and the mean of
    y by its link.

    Examples
    --------
    >>> from skmixed.bayes import HalfNormal, HalfT, LKJ, Normal, Prior
    >>> prior = Prior(
    ...     scales={"Subject": {"Days": HalfT(3, 10)}},
    ...     correlation=LKJ(2),
    ...     coef={"Days": Normal(0, 20)},
    ...     sigma=HalfNormal(50),
    ... )
    >>> prior.sigma
    HalfNormal(scale=50)
    """

    scales: Any = None
    correlation: Any = field(default_factory=LKJ)
    coef: Any = None
    sigma: ScaleDistribution | None = None
    shape: ScaleDistribution | None = None

    def __post_init__(self) -> None:
        """Check the types of all priors."""
        _check_kind(self.scales, "scales", (ScaleDistribution, Decov), depth=2)
        _check_kind(self.correlation, "correlation", (LKJ,), depth=1, optional=False)
        _check_kind(self.coef, "coef", (Normal, Flat), depth=1)
        _check_kind(self.sigma, "sigma", (ScaleDistribution,), depth=0)
        _check_kind(self.shape, "shape", (ScaleDistribution,), depth=0)


def _check_kind(
    value: Any, name: str, kinds: tuple[type, ...], *, depth: int, optional: bool = True
) -> None:
    if isinstance(value, kinds) or (value is None and optional):
        return
    if depth and isinstance(value, Mapping):
        for key, each in value.items():
            _check_kind(each, f"{name}[{key!r}]", kinds, depth=depth - 1, optional=False)
        return
    wanted = {"ScaleDistribution": "a distribution such as HalfT(3, 10)"}
    names = " or ".join(
        wanted.get(kind.__name__, kind.__name__) for kind in kinds[:2] if kind != Decov
    )
    raise TypeError(f"{name}={value!r} must be {names}" + (", or a dict of these" if depth else ""))


@dataclass(frozen=True, slots=True)
class TermPrior:
    """The prior of the standard deviations and correlations of one term."""

    scales: tuple[ScaleDistribution, ...] | Decov  # one per deviation, or all relative to sigma
    correlation: LKJ
    shape: TermShape

    @property
    def is_proper(self) -> bool:
        """Whether it is proper."""
        return isinstance(self.scales, Decov) or all(each.is_proper for each in self.scales)

    @property
    def powers(self) -> list[float]:
        """Powers of s with which the probability below s grows, one per deviation."""
        m = len(self.shape.deviations)
        if isinstance(self.scales, Decov):  # of all deviations at once, where they are correlated
            return [self.scales.shape / (m if self.shape.has_correlations else 1)] * m
        return [each.power for each in self.scales]

    def log_density(
        self, log_deviations: FloatArray, partial: FloatArray, log_sigma: FloatArray
    ) -> FloatArray:
        """Return log densities, (n,), of log deviations and atanh of partial correlations."""
        if isinstance(self.scales, Decov):
            ratios = log_deviations - log_sigma[:, None]
            if self.shape.has_correlations:
                value = self.scales.log_density(ratios)
            else:
                value = np.sum([self.scales.log_density(r[:, None]) for r in ratios.T], axis=0)
        else:
            logs = zip(self.scales, log_deviations.T, strict=True)
            value = np.sum([scale.logpdf(np.exp(x)) + x for scale, x in logs], axis=0)
        if self.shape.n_correlations:
            value = value + self.correlation.partial_logpdf(partial, self.shape.size)
        return np.asarray(value)

    def slopes(
        self, log_deviations: FloatArray, partial: FloatArray, log_sigma: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return derivatives of the log density in its arguments, with their shapes."""
        in_sigma = np.zeros(len(log_sigma))
        if isinstance(self.scales, Decov):
            ratios = log_deviations - log_sigma[:, None]
            if self.shape.has_correlations:
                in_deviations = self.scales.slopes(ratios)
            else:
                in_deviations = np.hstack([self.scales.slopes(r[:, None]) for r in ratios.T])
            in_sigma = -in_deviations.sum(axis=1)
        else:
            logs = zip(self.scales, log_deviations.T, strict=True)
            parts = [scale._slope(np.exp(x)) + 1.0 for scale, x in logs]
            in_deviations = np.stack(parts, axis=1)
        in_partial = np.zeros(partial.shape)
        if self.shape.n_correlations:
            in_partial = self.correlation.partial_slopes(partial, self.shape.size)
        return in_deviations, in_partial, in_sigma

    def draw(
        self, sigma: FloatArray, generator: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Draw deviations and partial correlations, (n, .), given sigma, (n,)."""
        n, shape = len(sigma), self.shape
        m = len(shape.deviations)
        if isinstance(self.scales, Decov):
            sizes = [m] if shape.has_correlations else [1] * m
            parts = [self.scales.draw(n, size, generator) for size in sizes]
            deviations = np.concatenate(parts, axis=1) * sigma[:, None]
        else:
            deviations = np.stack([each.sample(n, generator) for each in self.scales], axis=1)
        k = shape.size if shape.n_correlations else 1
        return deviations, self.correlation.partial_draws(k, n, generator)


@dataclass(frozen=True, eq=False)
class ModelPrior:
    """The priors of all parameters of one model."""

    parametrization: Parametrization
    terms: tuple[TermPrior, ...]
    noise: ScaleDistribution | None  # of sigma, or of a coefficient of variation
    coef: CoefficientPrior

    @property
    def is_proper(self) -> bool:
        """Whether all priors are proper."""
        of_noise = self.noise is None or self.noise.is_proper
        return of_noise and self.coef.is_proper and all(t.is_proper for t in self.terms)

    @property
    def root_degrees(self) -> FloatArray:
        """Degrees of the roots whose density is zero at zero, (d,), at least two."""
        degrees: list[float] = []
        for term in self.terms:
            degrees += [max(2.0, 2.0 / power) for power in term.powers]
            degrees += [1.0] * term.shape.n_correlations
        if self.parametrization.has_noise:
            degrees.append(2.0 if self.parametrization.is_deviation[-1] else 1.0)
        return np.array(degrees)

    def beside(self, fit: Fit) -> ModelPrior:
        """Return the same priors for the same model of other data.

        Raises ValueError if other fixed columns are linearly independent there.
        """
        if fit.kept != self.parametrization.fit.kept:
            raise ValueError(
                "without some rows other fixed columns are linearly independent, which changes the "
                "model: remove columns that depend on single rows"
            )
        return replace(self, parametrization=Parametrization.of(fit))

    def log_density(self, phi: FloatArray) -> FloatArray:
        """Return log densities of phi, (n,)."""
        parts, log_sigma = self.parametrization.split(phi)
        value = np.zeros(len(phi))
        if self.noise is not None:
            value = self.noise.logpdf(np.exp(log_sigma)) + log_sigma
        if isinstance(self.parametrization.fit, GeneralizedFit):
            log_sigma = -2.0 * log_sigma  # relative deviations are so to a shape, as in rstanarm
        for term, part in zip(self.terms, parts, strict=True):
            value = value + term.log_density(*part, log_sigma)
        return value

    def slopes(self, phi: FloatArray) -> FloatArray:
        """Return derivatives of the log density of a linear model in phi, (n, d)."""
        parts, log_sigma = self.parametrization.split(phi)
        in_sigma = np.zeros(len(phi))
        if self.noise is not None:
            in_sigma = self.noise._slope(np.exp(log_sigma)) + 1.0
        found = []
        for term, part in zip(self.terms, parts, strict=True):
            in_deviations, in_partial, further = term.slopes(*part, log_sigma)
            found += [in_deviations, in_partial]
            in_sigma = in_sigma + further
        return np.concatenate([*found, in_sigma[:, None]], axis=1)

    def draw(self, n: int, generator: np.random.Generator) -> FloatArray:
        """Draw phi, (n, d); raise ValueError for improper priors."""
        sigma = np.ones(n) if self.noise is None else self.noise.sample(n, generator)
        is_generalized = isinstance(self.parametrization.fit, GeneralizedFit)
        unit = sigma**-2.0 if is_generalized else sigma
        parts = [term.draw(unit, generator) for term in self.terms]
        return self.parametrization.joined(parts, sigma)

    @classmethod
    def of(cls, fit: Fit | GeneralizedFit, prior: Any) -> ModelPrior:
        """Resolve the priors that a user asks for, by name or one by one.

        Raises ValueError for names that the model does not have.
        """
        parametrization = Parametrization.of(fit)
        units = _Units.of(fit)
        if prior == "rstanarm" and units.is_generalized:  # whose intercept lies about zero
            units.means[-1] = 0.0
        given = _preset(prior, units) if isinstance(prior, str) else prior
        if not isinstance(given, Prior):
            raise TypeError(f"prior={prior!r} is neither a Prior nor one of {list(PRIOR_NAMES)}")
        factors = {term.factor for term in parametrization.terms}
        for name in ("scales", "correlation"):
            value = getattr(given, name)
            if isinstance(value, Mapping):
                check_names(value, factors, f"Prior({name}=...)", "a factor of the model")
        _check_columns(given.scales, parametrization)
        terms = tuple(_term_prior(given, term, units) for term in parametrization.terms)
        return cls(
            parametrization,
            terms,
            _noise_prior(fit, given, units),
            _coefficient_prior(fit, given.coef, units),
        )


def _noise_prior(
    fit: Fit | GeneralizedFit, prior: Prior, units: _Units
) -> ScaleDistribution | None:
    """Return the prior of the standard deviation of the noise, None if there is none."""
    if not isinstance(fit, GeneralizedFit):
        if prior.shape is not None:
            raise ValueError("Prior(shape=...) needs a gamma or negative binomial response")
        return prior.sigma or HalfT(_DEGREES_OF_SCALES, _WEAKLY * units.of_response)
    if prior.sigma is not None:
        raise ValueError(
            "Prior(sigma=...) needs a linear model: the noise of a generalized model is that of "
            "its family"
        )
    if not fit.family.n_dispersions:
        if prior.shape is not None:
            raise ValueError(
                f"Prior(shape=...) needs a gamma or negative binomial response, and the family of "
                f"this model is {fit.family.name}"
            )
        return None
    if prior.shape is None:
        return HalfT(_DEGREES_OF_SCALES, 1.0)
    return InverseSquare(prior.shape)


def check_names(given: Collection[str], known: Collection[str], where: str, what: str) -> None:
    """Raise ValueError for unknown names."""
    for name in given:
        if name not in known:
            raise ValueError(f"{where} names {name!r}, which is not {what}: {sorted(known)}")


def _check_columns(scales: Any, parametrization: Parametrization) -> None:
    for factor, given in scales.items() if isinstance(scales, Mapping) else ():
        if isinstance(given, Mapping):
            terms = [term for term in parametrization.terms if term.factor == factor]
            known = {name for term in terms for name in term.columns}
            where = f"Prior(scales={{{factor!r}: ...}})"
            check_names(given, known, where, f"a random column of {factor!r}")


def _preset(name: str, units: _Units) -> Prior:
    if name == "weak":
        return Prior()
    if name == "rstanarm" and units.is_generalized:
        return Prior(scales=Decov(), shape=Exponential(1.0) if units.has_shape else None)
    if name == "rstanarm":
        return Prior(scales=Decov(), sigma=Exponential(units.of_response))
    if name == "reference" and units.is_generalized:
        raise ValueError(
            "prior='reference' has flat priors, under which the posterior of a generalized model "
            "may be improper: use 'weak', or priors of your own"
        )
    if name == "reference":
        return Prior(scales=Flat(), coef=Flat(), sigma=Flat(log=True))
    raise ValueError(f"prior={name!r} is neither a Prior nor one of {list(PRIOR_NAMES)}")


@dataclass(frozen=True, eq=False)
class _Units:
    """Scales of the columns [1, features, y], from their cross-products."""

    means: FloatArray  # (n_columns,)
    sizes: FloatArray  # (n_columns,), standard deviations, or root mean squares
    names: tuple[str, ...]  # (n_columns,)
    is_generalized: bool
    has_shape: bool  # whether responses have a dispersion

    @classmethod
    def of(cls, fit: Fit | GeneralizedFit) -> _Units:
        """Compute the scales of the columns of a fit, about zero if it has no intercept.

        For generalized models y is in units of the link.
        """
        products, n = fit.products, fit.n_observations
        if isinstance(fit, GeneralizedFit):  # whose products are those of its working model
            assert fit.row_products is not None
            products = fit.row_products
        means, moments = products.moments(np.eye(len(products.basis)))
        variances = np.maximum(np.diag(moments), 0.0) * n / (n - 1.0)
        squares = variances + means**2
        is_constant = variances <= _CONSTANT * squares
        if not fit.spec.has_intercept:
            is_constant[:] = True
        sizes = np.sqrt(np.where(is_constant, squares, variances))
        sizes = np.where(sizes > 0.0, sizes, 1.0)
        is_generalized, has_shape = isinstance(fit, GeneralizedFit), False
        if isinstance(fit, GeneralizedFit):
            means[-1], sizes[-1] = _center_of(fit), 1.0
            has_shape = bool(fit.family.n_dispersions)
        return cls(means, sizes, products.layout.columns, is_generalized, has_shape)

    @property
    def of_response(self) -> float:
        """The scale of y."""
        return float(self.sizes[-1])

    def of_effect(self, columns: Collection[str]) -> float:
        """Return the scale of y divided by that of columns, by name."""
        places = [self.names.index(name) for name in columns]
        return float(self.of_response / np.sqrt(np.mean(np.square(self.sizes[places]))))


def _center_of(fit: GeneralizedFit) -> float:
    """Return the link of the mean response minus the mean offset."""
    responses, family = fit.responses, fit.mean_family
    events, weight = responses.total, responses.weight
    if family.counts_trials:
        events, weight = events + _COUNT_OF_NONE, weight + 2.0 * _COUNT_OF_NONE
    mean = (events or _COUNT_OF_NONE) / weight
    return float(family.eta_of(np.array(mean))) - responses.offset


def _term_prior(prior: Prior, term: TermShape, units: _Units) -> TermPrior:
    correlation = prior.correlation
    if isinstance(correlation, Mapping):
        correlation = correlation.get(term.factor, LKJ())
    given = prior.scales
    if isinstance(given, Decov):
        return TermPrior(given, correlation, term)
    if isinstance(given, Mapping):
        given = given.get(term.factor)
    scales = []
    for group in term.deviations:
        names = [term.columns[place] for place in group]
        own = given
        if isinstance(given, Mapping):
            own = next((given[name] for name in names if name in given), None)
        default = HalfT(_DEGREES_OF_SCALES, _WEAKLY * units.of_effect(names))
        scales.append(default if own is None else own)
    return TermPrior(tuple(scales), correlation, term)


def _coefficient_prior(fit: Fit | GeneralizedFit, coef: Any, units: _Units) -> CoefficientPrior:
    """Return the prior of the independent coefficients, the intercept being at the means."""
    places = [fit.spec.fixed[kept] for kept in fit.kept]
    if isinstance(coef, Mapping):
        every = [units.names[place] for place in fit.spec.fixed]
        check_names(coef, every, "Prior(coef=...)", "a fixed column")
    p = len(places)
    combinations, mean, precision = np.eye(p), np.zeros(p), np.zeros(p)
    for number, place in enumerate(places):
        is_intercept = place == CONSTANT
        if is_intercept:
            combinations[number] = [
                1.0 if other == CONSTANT else units.means[other] for other in places
            ]
            default = Normal(float(units.means[-1]), _WEAKLY * units.of_response)
        else:
            default = Normal(0.0, _WEAKLY * units.of_effect([units.names[place]]))
        own = coef
        if isinstance(coef, Mapping):
            own = coef.get(units.names[place])
        elif is_intercept and not isinstance(coef, Flat):
            own = None
        own = default if own is None else own
        if isinstance(own, Normal):
            mean[number], precision[number] = own.mean, float(own.sd) ** -2
    return CoefficientPrior(combinations, mean, precision)
