"""Log-likelihoods of a fit, full and restricted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from skmixed.core.fit import Fit
from skmixed.core.model.spec import Method
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.inference.fitted import determined_any_fit_of, snapshot


def log_likelihood(model: Any, *, method: Method | None = None, refit: bool = False) -> float:
    """Return the log-likelihood of a fit, full or restricted.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    method : {"ml", "reml"} or None, default=None
        Which likelihood; None is the one that the model was fitted by.
    refit : bool, default=False
        Whether it is at its own maximum, or at the variances of the fit.

    Returns
    -------
    float
        The log-likelihood; -2 times it is the deviance.

    Raises
    ------
    TypeError
        For what is no mixed model or has a posterior in the place of a fit.
    ValueError
        If the model is not fitted or leaves no residual, for an unknown method, for "reml" of
        generalized models, and for what takes the rows: other methods of nonlinear models.

    See Also
    --------
    compare_models : Tests that refit by maximum likelihood where they must.

    Notes
    -----
    In R: ``logLik(model, REML = FALSE)`` of a model fitted by REML is that at the variances of the
    fit; ``logLik(refitML(model))`` the other. Models with a residual structure and those without
    random terms are refitted in either case.

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
