"""One step of the expectation-conditional maximisation either algorithm.

With sigma^2 and beta at their conditional optima (Liu & Rubin 1994, doi:10.1093/biomet/81.4.633),
the expected second moment of the random effects of a factor of q levels, relative to sigma^2, is

    (1/q) sum over levels of E[b b'] / sigma^2 = Omega - Omega G Omega / q

with G the derivative of the criterion in Omega: an EM step is a step along the gradient. It never
raises the criterion and stays positive semidefinite.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.model.evaluation import Evaluation


def ecme_step(evaluation: Evaluation) -> Blocks:
    """Return the relative covariances, (k, k), of the next iteration, each of its structure."""
    problem = evaluation.problem
    result: Blocks = []
    zipped = zip(problem.structures, evaluation.lambdas, evaluation.gradient, strict=True)
    for factor, (structure, lam, gradient) in enumerate(zipped):
        omega = lam @ lam.T
        moment = omega - omega @ gradient @ omega / problem.model.n_levels(factor)
        update = np.zeros_like(omega)
        for block, columns, _ in structure.slices():
            part = moment[columns, columns]
            if block.kind == "unstructured":
                update[columns, columns] = (part + part.T) / 2.0
            else:
                variances = np.maximum(np.diag(part), 0.0)
                if block.kind == "identity":
                    variances = np.full(block.size, variances.mean())
                update[columns, columns] = np.diag(variances)
        result.append(update)
    return result
