"""The coordinates in which variances are sampled, and the maps to lambdas and back.

phi of a model is, term by term, log standard deviations and inverse hyperbolic tangents of
canonical partial correlations, and last the log of a standard deviation of the noise: sigma of a
linear model, the coefficient of variation of gamma responses or of the extra-Poisson variation of
negative binomial ones; other families have none. The search has v = (s / s0)^(1/m) in the place of
log s: where a posterior reaches zero, the logarithm has a long tail and the root has none; that of
sigma does not. m is 2 if the prior density of s is finite at zero, and larger if that of v would
not vanish there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.bayes.correlation_distributions import (
    correlation_root,
    partial_correlations,
    slopes_in_partial,
)
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import BoolArray, FloatArray
from skmixed.core.model.covariance import Structure

_CORRELATION_SHARE = 0.8  # of correlations kept in a start, which must be off the boundary
_LARGEST_PARTIAL = 0.95  # partial correlation of a start
_LEAST_EFFECT = 0.1  # of the error of a level's mean: the unit of a deviation estimated as zero
_FARTHEST_PHI = 50.0  # of any coordinate phi: exp(50) of a deviation, beyond any data


@dataclass(frozen=True, slots=True)
class TermShape:
    """The parameters of one term."""

    factor: str  # its name, or that of a curve
    columns: tuple[str, ...]  # whose effects vary, k of them
    deviations: tuple[tuple[int, ...], ...]  # the columns of every standard deviation
    has_correlations: bool  # all of them, or none
    position: int  # of its factor among the used ones
    block: slice  # of its columns among those of the factor

    @property
    def size(self) -> int:
        """Number k of columns."""
        return len(self.columns)

    @property
    def n_correlations(self) -> int:
        """Number of free correlations."""
        return self.size * (self.size - 1) // 2 if self.has_correlations else 0


def _check_structure(structure: Structure, factor: str) -> bool:
    """Tell whether a term has all correlations; raise ValueError unless it has all or none."""
    k, n_deviations = structure.size, len(structure.deviations)
    n_correlations = len(structure.tabulated)  # those that are free, and those that must be one
    is_counted = structure.n_theta == n_deviations + n_correlations
    covered = sorted(column for group in structure.deviations for column in group)
    if is_counted and covered == list(range(k)):
        if not n_correlations:
            return False
        if n_deviations == k and n_correlations == k * (k - 1) // 2:
            return True
    raise ValueError(
        f"the random effects of {factor!r} have the covariance structure "
        f"{type(structure).__name__.lower()}, which has no priors: fit the model with "
        "covariance='unstructured', 'diagonal' or 'identity'"
    )


@dataclass(frozen=True, eq=False)
class Parametrization:
    """The coordinates phi of a model."""

    fit: Fit | GeneralizedFit
    terms: tuple[TermShape, ...]

    @classmethod
    def of(cls, fit: Fit | GeneralizedFit) -> Parametrization:
        """Read the terms of a fit; raise ValueError for covariance structures without priors."""
        terms = []
        names = fit.products.layout.columns
        for term in fit.spec.terms:
            position, block = fit.place_of(term)
            factor = term.curve or fit.products.factors[term.factor].index.name
            if term.members:
                raise ValueError(
                    "related levels and multiple membership have no sampler, and "
                    f"{fit.products.factors[term.factor].index.name!r} is such a factor: use "
                    "bootstrap(model) for draws of its variances"
                )
            structure = term.structure
            columns = tuple(names[place] for place in term.columns)
            correlated = _check_structure(structure, factor)
            groups = tuple(structure.deviations)
            terms.append(TermShape(factor, columns, groups, correlated, position, block))
        return cls(fit, tuple(terms))

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.is_deviation)

    @cached_property
    def has_noise(self) -> bool:
        """Whether the last coordinate is the log of a standard deviation of the noise."""
        return not isinstance(self.fit, GeneralizedFit) or bool(self.fit.family.n_dispersions)

    @cached_property
    def is_deviation(self) -> BoolArray:
        """Which coordinates are logs of standard deviations that may be near zero, (d,)."""
        flags: list[bool] = []
        for term in self.terms:
            flags += [True] * len(term.deviations) + [False] * term.n_correlations
        if self.has_noise:
            flags.append(isinstance(self.fit, GeneralizedFit))
        return np.array(flags, dtype=np.bool_)

    def split(self, phi: FloatArray) -> tuple[list[tuple[FloatArray, FloatArray]], FloatArray]:
        """Return log deviations and partial correlations of each term, (n, .), and of the noise.

        The latter is zero if there is none.
        """
        parts, start = [], 0
        for term in self.terms:
            middle = start + len(term.deviations)
            end = middle + term.n_correlations
            parts.append((phi[:, start:middle], np.tanh(phi[:, middle:end])))
            start = end
        return parts, phi[:, -1] if self.has_noise else np.zeros(len(phi))

    def joined(
        self, parts: Sequence[tuple[FloatArray, FloatArray]], sigma: FloatArray
    ) -> FloatArray:
        """Return phi, (n, d), from deviations and partial correlations of each term, and sigma."""
        columns = [np.log(sigma)[:, None]] if self.has_noise else [np.empty((len(sigma), 0))]
        for deviations, partial in reversed(parts):
            columns = [np.log(deviations), np.arctanh(partial), *columns]
        return np.concatenate(columns, axis=1)

    def roots(self, phi: FloatArray) -> Blocks:
        """Return Cholesky factors of the covariances of each used factor, (n, k, k)."""
        sizes = [structure.size for structure in self.fit.problem.structures]
        found = [np.zeros((len(phi), size, size)) for size in sizes]
        for term, (log_deviations, partial) in zip(self.terms, self.split(phi)[0], strict=True):
            group = np.empty(term.size, dtype=np.intp)
            for number, columns in enumerate(term.deviations):
                group[list(columns)] = number
            deviations = np.exp(log_deviations[:, group])
            if term.has_correlations:
                root = deviations[:, :, None] * correlation_root(partial, term.size)
            else:
                root = deviations[:, :, None] * np.eye(term.size)
            found[term.position][:, term.block, term.block] = root
        return found

    def lambdas(self, phi: FloatArray) -> Blocks:
        """Return relative lambdas of each used factor, (n, k, k), in raw units."""
        sigma = np.exp(phi[:, -1])[:, None, None]
        return [root / sigma for root in self.roots(phi)]

    def slopes(self, phi: FloatArray, lambdas: Blocks, slopes: Blocks) -> FloatArray:
        """Return derivatives of a linear model in phi, (n, d), given those in `lambdas`, (n, k, k).

        Lambdas are those of phi. The last derivative is that in log sigma through the lambdas.
        """
        found, in_sigma = [], np.zeros(len(phi))
        inverse = np.exp(-phi[:, -1])
        for term, (log_deviations, partial) in zip(self.terms, self.split(phi)[0], strict=True):
            own = slopes[term.position][:, term.block, term.block]
            weighted = (own * lambdas[term.position][:, term.block, term.block]).sum(axis=2)
            found += [weighted[:, list(group)].sum(axis=1)[:, None] for group in term.deviations]
            in_sigma = in_sigma - weighted.sum(axis=1)
            if term.n_correlations:
                scales = np.exp(log_deviations) * inverse[:, None]
                found.append(slopes_in_partial(partial, term.size, own * scales[:, :, None]))
        return np.concatenate([*found, in_sigma[:, None]], axis=1)

    def covariances(self, phi: FloatArray) -> Blocks:
        """Return covariances of the random effects of every used factor, (n, k, k)."""
        return [root @ root.swapaxes(1, 2) for root in self.roots(phi)]

    def read(self, covariances: Blocks, sigma: float, variation: float | None = None) -> FloatArray:
        """Return phi, (d,), near covariances of each used factor, (k, k), off the boundary.

        `sigma` is the residual standard deviation, one for the working model of a generalized
        model, and `variation` its coefficient of variation.
        """
        found: list[float] = []
        for term, least in zip(self.terms, self._least_deviations(sigma), strict=True):
            omega = covariances[term.position][term.block, term.block]
            every = np.sqrt(np.maximum(np.diag(omega), 0.0))
            deviations = [float(every[list(group)].mean()) for group in term.deviations]
            found += list(np.log(np.maximum(deviations, least)))
            if term.has_correlations and term.size > 1:
                sizes = np.where(every > 0.0, every, 1.0)
                inside = _CORRELATION_SHARE * omega / np.outer(sizes, sizes)
                np.fill_diagonal(inside, 1.0)
                partial = partial_correlations(np.linalg.cholesky(inside))
                found += list(np.arctanh(np.clip(partial, -_LARGEST_PARTIAL, _LARGEST_PARTIAL)))
        if self.has_noise:
            found.append(float(np.log(sigma if variation is None else variation)))
        return np.array(found)

    def _least_deviations(self, sigma: float) -> list[FloatArray]:
        """Return a negligible value for each standard deviation of each term."""
        model, found = self.fit.problem.model, []
        for term in self.terms:
            inverse = np.linalg.inv(model.random_maps[term.position])
            n_levels = model.n_levels(term.position)
            own = inverse.T @ (model.total(term.position) / n_levels) @ inverse
            sizes = np.sqrt(np.diag(own)[term.block])
            sizes = np.maximum(sizes, np.finfo(float).tiny)
            groups = [sizes[list(group)].mean() for group in term.deviations]
            found.append(_LEAST_EFFECT * sigma / np.array(groups))
        return found


@dataclass(frozen=True, eq=False)
class RootCoordinates:
    """The coordinates v of the search, about one phi."""

    parametrization: Parametrization
    origin: FloatArray  # (d,), phi at which every root is one
    degree: FloatArray  # (d,), m of every root

    def phi(self, v: FloatArray) -> FloatArray:
        """Return phi, (n, d), of points v, whose roots are positive."""
        found, roots = v.copy(), self.parametrization.is_deviation
        found[:, roots] = self.degree[roots] * np.log(v[:, roots]) + self.origin[roots]
        return found

    def points(self, phi: FloatArray) -> FloatArray:
        """Return v, (n, d)."""
        found, roots = phi.copy(), self.parametrization.is_deviation
        found[:, roots] = np.exp((phi[:, roots] - self.origin[roots]) / self.degree[roots])
        return found

    def log_jacobian(self, v: FloatArray) -> FloatArray:
        """Return log|d phi / d v|, (n,)."""
        roots = self.parametrization.is_deviation
        return np.asarray(np.log(self.degree[roots] / v[:, roots]).sum(axis=1))

    def slopes(self, v: FloatArray, in_phi: FloatArray) -> FloatArray:
        """Return derivatives in v, including the Jacobian, given those in phi, (n, d) each."""
        found, roots = in_phi.copy(), self.parametrization.is_deviation
        found[:, roots] = (self.degree[roots] * in_phi[:, roots] - 1.0) / v[:, roots]
        return found

    def is_inside(self, v: FloatArray) -> BoolArray:
        """Tell which v have a phi of ordinary size, (n,)."""
        roots = self.parametrization.is_deviation
        inside = np.isfinite(v).all(axis=1) & (v[:, roots] > 0.0).all(axis=1)
        found = np.zeros(len(v), dtype=np.bool_)
        apart = np.abs(self.phi(v[inside]) - self._centre).max(axis=1, initial=0.0)
        found[inside] = apart < _FARTHEST_PHI
        return found

    @property
    def _centre(self) -> FloatArray:
        """Centre of the coordinates, (d,): logs of scales at the origin, correlations of zero."""
        roots = self.parametrization.is_deviation.copy()
        if self.parametrization.has_noise:
            roots[-1] = True
        return np.where(roots, self.origin, 0.0)
