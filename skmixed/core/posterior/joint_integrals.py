"""Likelihoods of a generalized model whose effects are too many to be integrated by quadrature.

Laplace's approximation takes the effects u for normal about their mode, with the curvature H there.
With M effects u_j = mode + d_j, d_j from a t distribution of scale H^-1 whose density is q times
that of a normal one at zero, the mean of

    w_j = exp(h(mode) - h(u_j)) / q(d_j)

is an estimate, without bias, of what the likelihood is over its approximation: so is the product of
such means over parts of the data that share no level. Weighted by it, draws of the parameters have
the exact posterior, and an effect that is chosen by its w_j is a draw given them (Andrieu & Roberts
2009, doi:10.1214/07-AOS574).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln, logsumexp

from skmixed.core.elimination.levels import multiply
from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.generalized.after_fit.same_rows import point_of
from skmixed.core.generalized.approximation.laplace import LaplaceEvaluation, evaluate_laplace
from skmixed.core.generalized.approximation.modes import Modes, Point, find_modes
from skmixed.core.generalized.approximation.observations import Observations, RowBlock
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.posterior.level_rows import ParameterPoints
from skmixed.core.posterior.reduced_sums import Progress

_PAIRS = 8  # of effects drawn about a mode, each with the one opposite: what is cubic cancels
_MODE_DECREMENT = 1e-13  # of the modes: log|D| errs by its root, and is differenced
_LEAST_DEGREES = 6.0  # of freedom: effects far out are as likely as before the data, and no more
_DEGREES_AN_EFFECT = 4.0  # of a part: with fewer a t distribution of many effects is none of theirs


@dataclass(frozen=True, eq=False)
class JointIntegrals:
    """Rows of a model whose likelihood is approximated, and corrected, at many parameters."""

    observations: Observations
    start: LaplaceEvaluation  # at the estimates of the fit

    @classmethod
    def of(cls, observations: Observations, fit: GeneralizedFit) -> JointIntegrals:
        """Evaluate the rows at the estimates of a fit."""
        point = point_of(observations, fit.beta, fit.lambdas, fit.phi)
        return cls(observations, evaluate_laplace(observations, point, is_curved=False))

    @property
    def information(self) -> FloatArray:
        """The information on the coefficients of the scaled columns, (p, p)."""
        return self.start.fixed_information

    def log_likelihood(
        self, points: ParameterPoints, progress: Progress | None = None
    ) -> FloatArray:
        """Return Laplace's approximation of log p(y) at R points, (R,), -inf where it has none."""
        found = np.full(len(points.beta), -np.inf)
        for row, point in enumerate(_single(points)):
            modes = self._modes(point)
            if modes is not None:
                heights = [m.visit.objective + 0.5 * m.factorisation.log_det for m in modes]
                found[row] = -sum(heights) - self._constant(point)
            if progress is not None:
                progress(1)
        return np.where(np.isfinite(found), found, -np.inf)

    def corrected(
        self, points: ParameterPoints, seeds: IntArray, seed: int
    ) -> Iterator[tuple[float, Blocks]]:
        """Yield the log of the correction at every point, and effects given it.

        `seeds`, (R,), tell streams of random numbers apart. Effects are (k, n_levels) of every
        factor, in scaled units.
        """
        n_levels = self.observations.n_levels
        for point, own in zip(_single(points), seeds, strict=True):
            generator = np.random.default_rng([seed, int(own)])
            effects = [
                np.zeros((len(lam), n)) for lam, n in zip(point.lambdas, n_levels, strict=True)
            ]
            modes, total = self._modes(point), 0.0
            for rows, each in zip(self.observations.blocks, modes or [], strict=False):
                correction, chosen = _Candidates(self.observations, rows, point, each).kept(
                    generator
                )
                total += correction
                for whole, levels, part in zip(effects, rows.levels, chosen, strict=True):
                    whole[:, levels] = part
            yield total, effects

    def _modes(self, point: Point) -> list[Modes] | None:
        """Search for the modes of every block, from those of the fit; None where there are none."""
        family, found = self.observations.family, []
        for rows, kept in zip(self.observations.blocks, self.start.remembered, strict=True):
            with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
                try:
                    carried, tangent = kept.predicted(point)
                    found.append(find_modes(rows, family, point, carried, _MODE_DECREMENT, tangent))
                except (LostPrecisionError, np.linalg.LinAlgError):
                    return None
        return found

    def _constant(self, point: Point) -> float:
        observations = self.observations
        if observations.constant is not None:
            return observations.constant
        return sum(
            observations.family.constant(rows.y, rows.weights, point.phi)
            for rows in observations.blocks
        )


class _Candidates:
    """Effects of a block drawn about their modes, (k, m, n_levels) a factor."""

    def __init__(
        self, observations: Observations, rows: RowBlock, point: Point, modes: Modes
    ) -> None:
        self.family, self.rows, self.point, self.modes = observations.family, rows, point, modes

    def kept(self, generator: np.random.Generator) -> tuple[float, Blocks]:
        """Return the log of the correction, and effects of every part chosen by their weights."""
        rows, modes = self.rows, self.modes
        white, effects = self._drawn(generator)
        move = self._predictors(effects)
        phi = self.point.phi[:, None, None]
        squares = [np.square(d).sum(axis=0) for d in white]
        square = _part_sums(rows, modes.visit.w * np.square(move), squares)  # d'H d
        of_proposal = self._log_proposal(square)
        log_weights = []
        for sign in (1.0, -1.0):
            with np.errstate(over="ignore", invalid="ignore", under="ignore"):
                eta = modes.visit.eta + sign * move
                losses = self.family.losses(eta, rows.y, rows.weights, phi) - modes.visit.f
            rises = [
                sign * (mode * d).sum(axis=0) + 0.5 * own
                for mode, d, own in zip(modes.visit.spherical, white, squares, strict=True)
            ]
            log_weights.append(-_part_sums(rows, losses, rises) - of_proposal)
        weights = np.concatenate(log_weights)  # logs, (2m, n_parts)
        weights = np.where(np.isfinite(weights), weights, -np.inf)
        chosen = (weights + generator.gumbel(size=weights.shape)).argmax(axis=0)
        signs, which = np.where(chosen < len(move), 1.0, -1.0), chosen % len(move)
        picked = [
            mode[:, 0] + signs[parts] * d[:, which[parts], np.arange(len(parts))]
            for mode, d, parts in zip(modes.visit.effects, effects, rows.parts_of, strict=True)
        ]
        correction = logsumexp(weights, axis=0) - np.log(len(weights))
        return float(correction.sum()), picked

    @cached_property
    def _sizes(self) -> FloatArray:
        """Number of effects of every part, (n_parts,)."""
        sizes = np.zeros(self.rows.n_parts)
        for lam, parts in zip(self.point.lambdas, self.rows.parts_of, strict=True):
            sizes += len(lam) * np.bincount(parts, minlength=len(sizes))
        return sizes

    @cached_property
    def _degrees(self) -> FloatArray:
        """Degrees of freedom of the t distribution of every part, (n_parts,)."""
        return np.maximum(_LEAST_DEGREES, _DEGREES_AN_EFFECT * self._sizes)

    def _log_proposal(self, square: FloatArray) -> FloatArray:
        """Return log q of d, (m, n_parts), given d'H d."""
        size, v = self._sizes, self._degrees
        constant = gammaln((v + size) / 2.0) - gammaln(v / 2.0) - size / 2.0 * np.log(v / 2.0)
        return np.asarray(constant - (v + size) / 2.0 * np.log1p(square / v))

    def _drawn(self, generator: np.random.Generator) -> tuple[Blocks, Blocks]:
        """Draw d of u, and of effects, from a t distribution with the curvature H of the modes.

        Normal ones are drawn as effects would be given responses of zero: those before the data,
        less what the data, drawn with them, say of them.
        """
        rows, point, modes = self.rows, self.point, self.modes
        white = [
            generator.standard_normal((len(lam), _PAIRS, len(own)))
            for lam, own in zip(point.lambdas, rows.levels, strict=True)
        ]
        before = [multiply(lam, u) for lam, u in zip(point.lambdas, white, strict=True)]
        noise = generator.standard_normal((_PAIRS, len(rows.y))) * np.sqrt(modes.visit.w)
        sums = [np.concatenate(parts, axis=1) for parts in zip(*map(rows.sums, noise), strict=True)]
        spread = modes.tangent.elimination.multiply(before)
        right = [-(own + more) for own, more in zip(spread, sums, strict=True)]
        carried = modes.factorisation.reduce(right).cross()
        white = [
            u + multiply(lam.T, s) for lam, u, s in zip(point.lambdas, white, carried, strict=True)
        ]
        squares = generator.chisquare(self._degrees, (_PAIRS, rows.n_parts)) / self._degrees
        white = [
            u / np.sqrt(squares[:, parts]) for u, parts in zip(white, rows.parts_of, strict=True)
        ]
        return white, [multiply(lam, u) for lam, u in zip(point.lambdas, white, strict=True)]

    def _predictors(self, effects: Blocks) -> FloatArray:
        """Return Z d, (m, n), of effects."""
        total = np.zeros((_PAIRS, len(self.rows.y)))
        for z, codes, columns in zip(self.rows.random, self.rows.codes, effects, strict=True):
            for column, effect in zip(z, columns, strict=True):
                total += column * effect[:, codes]
        return total


def _part_sums(rows: RowBlock, values: FloatArray, of_levels: Blocks) -> FloatArray:
    """Sum values of rows, (m, n), and of levels, (m, n_levels) a factor, within parts."""
    each = zip(values, *of_levels, strict=True)
    return np.stack([rows.part_sums(own, list(levels)) for own, *levels in each])


def _single(points: ParameterPoints) -> Iterator[Point]:
    """Yield R points one by one."""
    for row, beta in enumerate(points.beta):
        yield Point(beta, [root[row] for root in points.roots], points.phi[row])


@dataclass(frozen=True, eq=False)
class JointDraws:
    """R points with their streams of random numbers, of which effects are made when asked for."""

    integrals: JointIntegrals
    points: ParameterPoints
    seeds: IntArray  # (R,)
    seed: int

    def of(self, position: int, levels: IntArray) -> FloatArray:
        """Return the effects of some levels of a used factor, (R, len(levels), k), raw units."""
        random_map = self.integrals.observations.units.random_maps[position]
        return np.asarray((random_map @ self._drawn[position][:, :, levels]).transpose(0, 2, 1))

    @cached_property
    def _drawn(self) -> Blocks:
        """The effects of every factor, (R, k, n_levels), in scaled units."""
        every = [
            effects for _, effects in self.integrals.corrected(self.points, self.seeds, self.seed)
        ]
        return [np.stack(parts) for parts in zip(*every, strict=True)]
