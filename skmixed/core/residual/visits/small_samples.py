"""What tests of coefficients in small samples ask of residuals that covary over visits.

Along directions E_r of Sigma, with V_b = (X'V^-1 X)^-1, the terms of Kenward and Roger (1997,
doi:10.2307/2533558) are

    P_r = -X'V^-1 G_r V^-1 X,     Q_rs = X'V^-1 G_r V^-1 G_s V^-1 X,     G_r = dV along E_r,

all made of the sums by pattern: X'V^-1 G_r V^-1 X = sum_ij E_ij D_ij, and the Q are only needed
weighted, or in traces. Second derivatives of V are left out, as they are zero along the entries of
Sigma; so what comes out does not depend on the parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.residual.visits.visits_likelihood import VisitEvaluation


@dataclass(frozen=True, slots=True, eq=False)
class FixedTerms:
    """P_r, the expected information and sums of Q_rs, relative to sigma^2 and in scaled units."""

    evaluation: VisitEvaluation
    directions: FloatArray  # (r, V, V), E
    shares: FloatArray  # (r, p, p), P in units in which V_b is the identity
    information: FloatArray  # (r, r), twice the expected one of REML

    @property
    def forms(self) -> FloatArray:
        """P_r, (r, p, p)."""
        lower = self.evaluation.lower[:-1, :-1]
        return np.asarray(lower @ self.shares @ lower.T)

    def weighted_products(self, weights: FloatArray) -> FloatArray:
        """Return the sum of w_rs Q_rs, (p, p), of symmetric weights, (r, r)."""
        evaluation, model = self.evaluation, self.evaluation.model
        n_visits = model.sums.n_visits
        squares = n_visits * n_visits
        flat = self.directions.reshape(-1, squares)
        form = (flat.T @ weights @ flat).reshape((n_visits,) * 4)  # i, j, k, l
        inverses = evaluation.inverses
        through = (
            form.transpose(0, 3, 1, 2).reshape(squares, squares) @ inverses.reshape(-1, squares).T
        )
        middle = through.T.reshape(inverses.shape)
        weighted = inverses @ middle @ inverses
        which, first, second = model.places
        rows = weighted[which, first, second] + weighted[which, second, first]
        total = model.within((rows * np.where(first < second, 1.0, 0.5)) @ model.sums.products)
        return np.asarray(total[:-1, :-1])


def fixed_terms(evaluation: VisitEvaluation, directions: FloatArray) -> FixedTerms:
    """Compute the terms along directions of Sigma, (r, V, V)."""
    shares = evaluation.forms(directions)[:, :-1, :-1]
    middle = np.zeros_like(evaluation.middle)
    middle[:-1, :-1] = evaluation.fixed_covariance
    between = evaluation.information - 2.0 * evaluation.spread(middle)
    information = evaluation.quartic(directions, between)
    flat = shares.reshape(len(shares), -1)
    return FixedTerms(evaluation, directions, shares, information + flat @ flat.T)
