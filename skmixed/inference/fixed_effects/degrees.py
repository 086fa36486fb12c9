"""Degrees of freedom and small-sample standard errors.

Satterthwaite: the variance l'C l of a linear function of the coefficients is estimated, and the
estimate is treated as a multiple of chi-squared whose degrees of freedom match its variance,

    df = 2 (l'C l)^2 / var(l'C l),     var(l'C l) = g'A g,

with g its derivative in the variance parameters and A their covariance (Giesbrecht & Burns 1985;
Kuznetsova, Brockhoff & Christensen 2017, doi:10.18637/jss.v082.i13). With the parameters theta and
log sigma^2, and v = l'V_b l,

    1 / df = 1 / nu + h'K^-1 h / v^2,     h = dv / d theta - q v / nu.

Everything is relative to the residual variance and in scaled units. The variance parameters are
theta, the entries of lambda, and log sigma^2. They stay meaningful on the boundary: where a
variance is zero, neither the criterion nor V_b changes with it to first order.

Kenward and Roger, from Z'V^-1 X and Z'V^-1 Z alone: the covariance of y is linear in the variance
parameters, V sigma^2 being the sum of phi_r G_r. With V_b = (X'V^-1 X)^-1 and the expected
information,

    P_r = -X'V^-1 G_r V^-1 X,     Q_rs = X'V^-1 G_r V^-1 G_s V^-1 X,
    I_rs = (tr(V^-1 G_r V^-1 G_s) - 2 tr(V_b Q_rs) + tr(V_b P_r V_b P_s)) / 2,     W = I^-1,
    adjusted covariance = V_b + 2 V_b (sum of W_rs (Q_rs - P_r V_b P_s)) V_b

(Kenward & Roger 1997, doi:10.2307/2533558; computed as in Halekoh & Hojsgaard 2014,
doi:10.18637/jss.v059.i09). The result does not depend on the basis G_r. It is formed by V itself,
for which all is known, and Z E Z' for a basis of symmetric matrices E, where

    X'V^-1 Z E Z'V^-1 X = sum U'E U,     tr(V^-1 Z E Z'V^-1 Z D Z') = sum tr(E F_lm D F_lm')

over levels l and pairs of levels l, m, with U and F the blocks of Z'V^-1 X and Z'V^-1 Z. Where
residuals covary over visits, the G_r are the derivatives of V in their parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, inverse_felt
from skmixed.core.model.evaluation import Evaluation, evaluate, exact_hessian
from skmixed.core.model.problem import threads_for
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.visits.visits_fit import VisitsFit
from skmixed.core.search.coordinates import Coordinates, theta_gradient
from skmixed.core.sums.blocks import PairBlock, pair_between

_SAME_DEGREES = 1e-8  # relative spread of degrees of freedom that differ by rounding only


def satterthwaite(curvature: Curvature, covariance: FloatArray, rows: FloatArray) -> FloatArray:
    """Return the degrees of freedom of linear functions of the coefficients, (m,), at most nu.

    `covariance` is V_b, (p, p), and `rows`, (m, p), are the functions in scaled units.
    """
    v = np.einsum("mi,ij,mj->m", rows, covariance, rows)
    g = np.einsum("mi,tij,mj->mt", rows, curvature.slopes, rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        h = g / v[:, None] - curvature.shares / curvature.degrees
    excess = np.einsum("mt,ts,ms->m", h, curvature.inverse, h)
    with np.errstate(divide="ignore"):  # infinite degrees of freedom for known variances
        return np.asarray(1.0 / (1.0 / curvature.degrees + excess))


def joint_degrees(degrees: FloatArray) -> float:
    """Return denominator degrees of freedom for a mean of q squared independent t statistics.

    The F distribution then has the mean of that of theirs, with degrees of freedom `degrees`, (q,);
    2 if some t has no variance (Fai & Cornelius 1996, doi:10.1080/00949659608811740).
    """
    if np.isinf(degrees).all():
        return np.inf
    is_finite = np.isfinite(degrees)
    if is_finite.all() and np.ptp(degrees) < _SAME_DEGREES * degrees.max():
        return float(degrees.mean())
    if (degrees <= 2.0).any():
        return 2.0
    finite = degrees[is_finite]
    total = float((finite / (finite - 2.0)).sum() + np.count_nonzero(~is_finite))
    return 2.0 * total / (total - len(degrees))


DIFFERENCE_STEP = 1e-4  # relative, of central differences of a gradient: their error is its square
_FLAT_CURVATURE = 1e-8  # of the largest curvature: less is within the error of the differences


@dataclass(frozen=True, slots=True, eq=False)
class Curvature:
    """Second derivatives of the criterion at the optimum, and first derivatives of V_b.

    The mixed second derivative in theta and log sigma^2 is q, and that in log sigma^2 alone nu.
    """

    hessian: FloatArray  # (t, t), K: in theta, with sigma^2 profiled out
    inverse: FloatArray  # (t, t), of K, without directions in which the criterion is flat
    shares: FloatArray  # (t,), q: -d log r^2 / d theta, times nu
    slopes: FloatArray  # (t, p, p), dV_b / d theta
    degrees: float  # nu

    @classmethod
    def of(cls, fit: Fit) -> Curvature:
        """Differentiate at the optimum of a fit that leaves a residual.

        Exact for one grouping factor; for several, second derivatives are central differences of
        the exact gradient. Parameters of a residual structure follow theta.
        """
        if isinstance(fit, ResidualFit):
            joint = fit.curvature
            inverse = inverse_felt(joint.hessian, _FLAT_CURVATURE)
            return cls(joint.hessian, inverse, joint.shares, joint.slopes, fit.problem.degrees)
        evaluation = fit.evaluation
        coordinates = Coordinates.natural(fit.problem.structures)
        theta = coordinates.read(evaluation.lambdas)
        directions = coordinates.directions(theta)
        forms = _forms_along(evaluation, directions)
        w, v_b = evaluation.to_residual, evaluation.beta_covariance
        shares = np.asarray(forms @ w @ w / evaluation.sigma2)
        slopes = v_b @ forms[:, :-1, :-1] @ v_b
        hessian = _hessian(evaluation, coordinates, theta)
        inverse = inverse_felt(hessian, _FLAT_CURVATURE)
        return cls(hessian, inverse, shares, slopes, fit.problem.residual_degrees)

    def log_covariance(self) -> FloatArray:
        """Return the covariance of theta and log sigma^2, (t + 1, t + 1).

        Twice the inverse of the second derivatives of the criterion, which is -2 log-likelihood.
        """
        t = len(self.shares)
        lean = self.shares / self.degrees
        covariance = np.empty((t + 1, t + 1))
        covariance[:t, :t] = self.inverse
        covariance[:t, t] = covariance[t, :t] = -self.inverse @ lean
        covariance[t, t] = 1.0 / self.degrees + lean @ self.inverse @ lean
        return 2.0 * covariance


def _forms_along(evaluation: Evaluation, directions: list[FloatArray]) -> FloatArray:
    """Return the sum over levels of U'E U for every direction E, (t, p + 1, p + 1)."""
    m = len(evaluation.to_residual)
    parts = [
        matrices.reshape(len(matrices), -1) @ gram
        for matrices, gram in zip(directions, evaluation.grams, strict=True)
    ]
    return np.concatenate([np.empty((0, m * m)), *parts]).reshape(-1, m, m)


def _hessian(evaluation: Evaluation, coordinates: Coordinates, theta: FloatArray) -> FloatArray:
    """Return K, (t, t): exact for one factor, by differences for several."""
    if len(coordinates.structures) == 1:
        curvature = coordinates.curvature(theta, evaluation.gradient)
        (directions,) = coordinates.directions(theta)
        exact = exact_hessian(evaluation, [(0, directions)])
        return exact + (curvature + curvature.T) / 2.0
    problem = evaluation.problem
    with threads_for(problem.structures, problem.n_levels, problem.rank):
        return _differences(evaluation, coordinates, theta)


def _differences(evaluation: Evaluation, coordinates: Coordinates, theta: FloatArray) -> FloatArray:
    """Return central differences of the exact gradient in theta, (t, t)."""
    hessian = np.empty((len(theta), len(theta)))
    for place in coordinates.places:
        step = DIFFERENCE_STEP * max(1.0, float(np.abs(theta[place]).max(initial=0.0)))
        for column in range(place.start, place.stop):
            ends = []
            for sign in (1.0, -1.0):
                moved = theta.copy()
                moved[column] += sign * step
                at_moved = evaluate(evaluation.problem, coordinates.lambdas(moved))
                ends.append(theta_gradient(at_moved, coordinates, moved))
            hessian[column] = (ends[0] - ends[1]) / (2.0 * step)
    return np.asarray((hessian + hessian.T) / 2.0)


_COLUMNS_BYTES = 2**26  # columns of Z'V^-1 Z computed at a time: 64 MB
_UNIDENTIFIED = 1e-10  # of the largest eigenvalue: with less information a variance is unidentified
_ZERO_MOMENT = 1e-10  # zero up to rounding, as V_0 and V_1 of pbkrtest
_NEAR_TWO = 1e-2  # of 2 degrees of freedom, where the mean of F is lost: no scale, as in pbkrtest


@dataclass(frozen=True, slots=True, eq=False)
class KenwardRoger:
    """The Kenward-Roger adjustment, relative to sigma^2 and in scaled units."""

    covariance: FloatArray  # (p, p), V_b
    adjusted: FloatArray  # (p, p), the adjusted covariance
    weights: FloatArray  # (r, r), W
    slopes: FloatArray  # (r, p, p), V_b P_r V_b

    @classmethod
    def of(cls, fit: Fit) -> KenwardRoger:
        """Compute the adjustment of a REML fit that leaves a residual.

        Variances that the data do not identify are left out. The cost is that of all blocks of
        Z'V^-1 Z: linear in the number of random effects for one factor, quadratic for several.
        """
        if isinstance(fit, VisitsFit):
            terms = fit.fixed_terms
            weights = 2.0 * _dense_inverse(terms.information)
            products = terms.weighted_products(weights)
            return cls._of(fit.evaluation.beta_covariance, terms.forms, weights, products)
        if any(len(s.basis) != s.n_theta for s in fit.problem.structures):
            raise ValueError(
                "df='kenward-roger' needs covariance structures that are linear in their "
                "parameters: unstructured, diagonal, or cs and toep with equal variances. Use "
                "df='satterthwaite' for others"
            )
        evaluation = fit.evaluation
        directions = [
            structure.basis[: 0 if factor in fit.report.confounded else None]
            for factor, structure in enumerate(fit.problem.structures)
        ]
        p_terms, q_terms = _fixed_terms(evaluation, directions)
        traces = _traces(evaluation, directions, fit.problem.n_observations)
        v_b = evaluation.beta_covariance
        if fit.spec.sigma2 is not None:  # V itself, the first, has no parameter
            p_terms, q_terms, traces = p_terms[1:], q_terms[1:, 1:], traces[1:, 1:]
        vp = v_b @ p_terms
        information = traces - 2.0 * np.einsum("ij,rsji->rs", v_b, q_terms)
        information += np.einsum("rij,sji->rs", vp, vp)
        weights = 2.0 * _dense_inverse(information)
        return cls._of(v_b, p_terms, weights, np.einsum("rs,rsij->ij", weights, q_terms))

    @classmethod
    def _of(
        cls, v_b: FloatArray, p_terms: FloatArray, weights: FloatArray, products: FloatArray
    ) -> KenwardRoger:
        """Assemble V_b, P_r, W and the sum of W_rs Q_rs."""
        vp = v_b @ p_terms
        middle = products - np.einsum("rs,rij,sjk->ik", weights, p_terms, vp)
        adjusted = v_b + 2.0 * v_b @ ((middle + middle.T) / 2.0) @ v_b
        return cls(v_b, adjusted, weights, vp @ v_b)

    def joint(self, rows: FloatArray) -> tuple[float, float]:
        """Return the scale and the denominator degrees of freedom of an F test.

        `rows`, (q, p), are the hypothesis in scaled units, of full row rank. The scale multiplies
        the Wald statistic with the adjusted covariance, divided by q.
        """
        q = len(rows)
        root = np.linalg.inv(rows @ self.covariance @ rows.T)
        parts = root @ (rows @ self.slopes @ rows.T)
        traces = np.einsum("rii->r", parts)
        first = float(traces @ self.weights @ traces)
        second = float(np.einsum("rs,rij,sji->", self.weights, parts, parts))
        return _scale_and_degrees(q, first, second)


def _scale_and_degrees(q: int, first: float, second: float) -> tuple[float, float]:
    """Match the first two moments of F; A_1 and A_2 of Kenward & Roger (1997), section 3."""
    if second <= 0.0:
        return 1.0, float("inf")
    b = (first + 6.0 * second) / (2.0 * q)
    g = ((q + 1) * first - (q + 4) * second) / ((q + 2) * second)
    d = 3.0 * q + 2.0 * (1.0 - g)
    c1, c2, c3 = g / d, (q - g) / d, (q + 2.0 - g) / d
    v0, v1, v2 = 1.0 + c1 * b, 1.0 - c2 * b, 1.0 - c3 * b
    v0 = 0.0 if abs(v0) < _ZERO_MOMENT else v0
    shrink = 1.0 - second / q
    is_limit = abs(v1) < _ZERO_MOMENT and abs(shrink) < _ZERO_MOMENT
    ratio = 1.0 if is_limit else shrink / v1
    rho = ratio**2 * v0 / v2 / q
    degrees = 4.0 + (q + 2.0) / (q * rho - 1.0)
    scale = 1.0 if abs(degrees - 2.0) < _NEAR_TWO else degrees * shrink / (degrees - 2.0)
    return float(scale), float(degrees)


def _fixed_terms(
    evaluation: Evaluation, directions: list[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return P, (r, p, p), and Q, (r, r, p, p); the first parameter multiplies V itself."""
    cross = [u[:, :-1] for u in evaluation.cross]
    p, r = cross[0].shape[1], 1 + sum(map(len, directions))
    p_terms, q_terms = np.empty((r, p, p)), np.empty((r, r, p, p))
    xvx = evaluation.lower[:-1, :-1] @ evaluation.lower[:-1, :-1].T
    p_terms[0], q_terms[0, 0] = -xvx, xvx
    applied = [
        np.matmul(d, u.reshape(len(u), -1)).reshape(len(d), *u.shape)
        for d, u in zip(directions, cross, strict=True)
    ]
    start = 1
    for factor, products in enumerate(applied):
        for product in products:
            p_terms[start] = -np.einsum("apl,aql->pq", cross[factor], product)
            crossed = _cross_products_of(evaluation, factor, product)
            others = [
                np.einsum("eapl,aql->epq", other, block)
                for other, block in zip(applied, crossed, strict=True)
            ]
            q_terms[1:, start] = np.concatenate(others)
            q_terms[0, start] = q_terms[start, 0] = -p_terms[start]
            start += 1
    return p_terms, q_terms


def _cross_products_of(evaluation: Evaluation, factor: int, product: FloatArray) -> Blocks:
    """Return Z_f'V^-1 Z_g e of every factor f, for columns e of effects of the factor g."""
    effects = [
        product if g == factor else np.zeros((own.shape[0], product.shape[1], own.shape[2]))
        for g, own in enumerate(evaluation.problem.model.own)
    ]
    return evaluation.factorisation.reduce(evaluation.problem.elimination.multiply(effects)).cross()


def _traces(evaluation: Evaluation, directions: list[FloatArray], n: float) -> FloatArray:
    """Return tr(V^-1 G_r V^-1 G_s), (r, r)."""
    flat = [d.reshape(len(d), d.shape[1] * d.shape[2]) for d in directions]
    ends = np.cumsum([1] + [len(matrices) for matrices in flat])
    traces = np.empty((ends[-1], ends[-1]))
    traces[0, 0] = n
    for f, (matrices, stop) in enumerate(zip(flat, ends[1:], strict=True)):
        total = matrices @ evaluation.factorisation.total_information(f).ravel()
        traces[0, stop - len(matrices) : stop] = traces[stop - len(matrices) : stop, 0] = total
    for g, right in enumerate(flat):
        for f, form in enumerate(_forms(evaluation, g)):
            part = flat[f] @ form @ right.T
            traces[ends[f] : ends[f + 1], ends[g] : ends[g + 1]] = part
    return (traces + traces.T) / 2.0


def _forms(evaluation: Evaluation, g: int) -> Blocks:
    """Return sum tr(E F_lm D F_lm') as a form in vec E and vec D, (k_f^2, k_g^2) per factor f.

    Columns of Z_g'V^-1 Z_f are computed by chunks of levels.
    """
    own = evaluation.problem.model.own
    if len(own) == 1:
        return [_form(evaluation.factorisation.information(0)[..., None])]
    k, _, n_levels = own[g].shape
    forms = [np.zeros((block.shape[0] ** 2, k * k)) for block in own]
    n_effects = sum(block.shape[0] * block.shape[2] for block in own)
    chunk = max(1, _COLUMNS_BYTES // (8 * k * n_effects))
    for start in range(0, n_levels, chunk):
        levels = np.arange(start, min(start + chunk, n_levels))
        right = [_columns(evaluation, f, g, levels) for f in range(len(own))]
        for form, block in zip(forms, evaluation.factorisation.reduce(right).cross(), strict=True):
            split = block.reshape(block.shape[0], k, len(levels), -1)
            form += _form(split.transpose(0, 1, 3, 2))
    return forms


def _form(blocks: FloatArray) -> FloatArray:
    """Sum F_bc F_ad over blocks F, (k_f, k_g, ...): rows (a, b), columns (c, d)."""
    k, m = blocks.shape[:2]
    flat = blocks.reshape(k * m, -1)
    products = (flat @ flat.T).reshape(k, m, k, m)  # b, c, a, d
    return np.asarray(products.transpose(2, 0, 1, 3).reshape(k * k, m * m))


def _columns(evaluation: Evaluation, f: int, g: int, levels: np.ndarray) -> FloatArray:
    """Return Z_f'W Z_g for some levels of g, (k_f, k_g * len(levels), n_levels_f)."""
    own, pairs = evaluation.problem.model.own, evaluation.problem.pairs
    pair = PairBlock.diagonal(own[f]) if f == g else pair_between(pairs, f, g)
    chosen = (pair.columns >= levels[0]) & (pair.columns <= levels[-1])
    result = np.zeros((own[f].shape[0], own[g].shape[0], len(levels), own[f].shape[2]))
    rows, columns = pair.rows[chosen], pair.columns[chosen] - levels[0]
    result[:, :, columns, rows] = pair.products[:, :, chosen]
    return result.reshape(len(result), -1, own[f].shape[2])


def _dense_inverse(information: FloatArray) -> FloatArray:
    """Invert the information, approximately if some variance is not identified."""
    scale = 1.0 / np.sqrt(np.maximum(np.diag(information), np.finfo(float).tiny))
    scaled = information * np.outer(scale, scale)
    return np.asarray(np.outer(scale, scale) * inverse_felt(scaled, _UNIDENTIFIED))
