"""Log-likelihoods of a fit, full and restricted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from skmixed.core.fit import Fit
from skmixed.core.model.spec import Method
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.inference.fitted import determined_any_fit_of, snapshot


def log_likelihood(model: Any, *, method: Method | None = None, refit: bool = False) -> float:
    """Compute the log-likelihood of a fit, full or restricted.

    `compare_models` has likelihood-ratio tests and information criteria.

    Read more in the user guide: :doc:`/guide/reml`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    method : {"ml", "reml"} or None, default=None
        Full ("ml") or restricted ("reml") likelihood; None is the one the model was fitted by.
    refit : bool, default=False
        Whether to evaluate the other likelihood at its own maximum instead of at the estimated
        variances.

    Returns
    -------
    float
        The log-likelihood; the deviance is -2 times this.

    Raises
    ------
    TypeError
        If the model is not a mixed model, or has posterior draws instead of a fit.
    ValueError
        If the model is not fitted or leaves no residual; for an unknown method, "reml" of a
        generalized model, and the other method of a nonlinear model, which would need the training
        data.

    See Also
    --------
    compare_models : Likelihood-ratio tests, with refits by maximum likelihood where needed.

    Notes
    -----
    In R: ``logLik(model, REML = FALSE)`` of a model fitted by REML is evaluated at the estimated
    variances; ``logLik(refitML(model))`` corresponds to ``refit=True``. Models with a residual
    structure and those without random terms are refitted in either case.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import log_likelihood
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> round(log_likelihood(model), 3), round(log_likelihood(model, method="ml"), 3)
    (-871.814, -875.993)
    >>> round(log_likelihood(model, method="ml", refit=True), 3)
    -875.97
    """
    if method not in (None, "ml", "reml"):
        raise ValueError(f"method={method!r} is neither 'ml' nor 'reml'")
    fit = determined_any_fit_of(snapshot(model))
    if method is None or method == fit.spec.method:
        return fit.log_likelihood
    is_searched = not isinstance(fit, Fit) or isinstance(fit, ResidualFit) or not fit.spec.terms
    if refit or is_searched or not isinstance(fit, Fit):
        return fit.with_method(method).log_likelihood
    other = replace(fit, spec=replace(fit.spec, method=method), _cache={})
    scaled = other.problem.scaled_lambdas(fit.lambdas)
    return other.moved(scaled, "the variances are those of another criterion").log_likelihood
