"""The only module that imports PyMC: the same model, for its samplers."""

from __future__ import annotations

from typing import Any

import numpy as np

from skmixed._extras import missing
from skmixed.bayes.correlation_distributions import LKJ
from skmixed.bayes.generalized_sampling import check_family
from skmixed.bayes.priors import ModelPrior, Prior, PriorName, TermPrior
from skmixed.bayes.sampling import checked_fit
from skmixed.bayes.scale_distributions import (
    Decov,
    Exponential,
    Flat,
    Gamma,
    HalfNormal,
    HalfT,
    InverseGamma,
    InverseSquare,
    ScaleDistribution,
)
from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.core.sums.layout import Rows
from skmixed.inference.fitted import (
    mixed_fit_of,
    observations_of_fit,
    rows_of_fit,
    snapshot,
)

_USE = "a PyMC model"


def to_pymc(
    model: Any,
    prior: Prior | PriorName = "weak",
    *,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
) -> Any:
    """Build the model that `sample` draws from in PyMC; needs the extra ``pymc``.

    Use it for models that `sample` does not support, and to check its results: sample it with
    ``pymc.sample(model=...)`` or with nutpie. Compilation takes minutes.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    model : estimator
        A fitted `MixedLinearRegressor`, `MixedClassifier` or `MixedGeneralizedRegressor` with any
        number of factors.
    prior : {"weak", "rstanarm", "reference"} or Prior, default="weak"
        Prior distributions; see `sample`.
    X : array-like or data frame of shape (n, n_features)
        The training data, in any order; the model does not store it.
    y : array-like of shape (n,), default=None
        Their response. None reads it, and the weights, from X, for a model fitted by a whole
        formula, such as that of `lmer`.
    sample_weight : None or array-like of shape (n,), default=None
        Weights of the rows, as passed to ``fit``.
    groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
        Group labels of the rows, if they were passed to ``fit`` as `groups`.

    Returns
    -------
    pymc.Model
        A model with the variables ``coef``, ``sigma`` or ``dispersion``, and for each factor
        ``sd_``, ``cor_`` and ``effects_`` followed by its name, as in `PosteriorDraws.to_datatree`.
        The random effects have a non-centred parametrisation.

    Raises
    ------
    ImportError
        If PyMC is not installed.
    ValueError
        If these are not the training data, for ordered categories, and, as in `sample`, for
        covariance structures without priors and unknown names.

    See Also
    --------
    sample : Draws without PyMC.

    References
    ----------
    .. [1] Abril-Pla, O. et al. (2023). PyMC: a modern, and comprehensive probabilistic programming
       framework in Python. PeerJ Computer Science 9, e1516, :doi:`10.7717/peerj-cs.1516`.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.bayes import to_pymc
    >>> from skmixed.datasets import load_sleepstudy
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(Days | Subject)").fit(X, y)
    >>> to_pymc(model, "rstanarm", X=X, y=y)  # doctest: +SKIP
    """
    try:
        import pymc
        import pytensor.tensor as tensor
    except ImportError as error:
        raise missing("pymc", "pymc", _USE) from error
    model = snapshot(model)
    fit, offset = mixed_fit_of(model), None
    if isinstance(fit, GeneralizedFit):
        check_family(fit)
        observations = observations_of_fit(model, X, y, sample_weight, groups, _USE)
        rows, offset = observations.given, observations.offset
    else:
        fit = checked_fit(model)
        rows = rows_of_fit(model, X, y, sample_weight, groups, _USE)
    return _Translation(pymc, tensor, fit, ModelPrior.of(fit, prior), rows, offset).model()


class _Translation:
    """Translation of a model to PyMC, in raw units."""

    def __init__(
        self,
        pymc: Any,
        tensor: Any,
        fit: Fit | GeneralizedFit,
        prior: ModelPrior,
        rows: Rows,
        offset: FloatArray | None,  # (n,)
    ) -> None:
        self.pm, self.pt = pymc, tensor
        self.fit, self.prior, self.rows, self.offset = fit, prior, rows, offset
        self.y = rows.columns[:, -1]

    def model(self) -> Any:
        """Build it."""
        with self.pm.Model(coords=self._coords()) as model:
            noise = self._noise()
            eta = self._fixed()
            for position, factor in enumerate(self.fit.spec.used_factors):
                eta = eta + self._random(position, factor, noise)
            self._likelihood(eta, noise)
        return model

    def _coords(self) -> dict[str, Any]:
        names = self.fit.products.layout.columns
        coords: dict[str, Any] = {
            "coefficient": [names[place] for place in self.fit.spec.fixed],
        }
        for factor in self.fit.spec.used_factors:
            index = self.fit.products.factors[factor].index
            columns = [names[place] for place in self.fit.spec.factor_columns(factor)]
            coords[f"{index.name}_column"] = coords[f"{index.name}_other_column"] = columns
            labels = zip(*index.labels, strict=True)
            coords[index.name] = [":".join(map(str, level)) for level in labels] or ["all"]
        return coords

    def _scale(self, name: str, given: ScaleDistribution) -> Any:
        """Return a positive variable of a distribution."""
        pm = self.pm
        if isinstance(given, HalfT):
            return pm.HalfStudentT(name, nu=given.df, sigma=given.scale)
        if isinstance(given, HalfNormal):
            return pm.HalfNormal(name, sigma=given.scale)
        if isinstance(given, Exponential):
            return pm.Exponential(name, scale=given.mean)
        if isinstance(given, Gamma):
            return pm.Gamma(name, alpha=given.shape, beta=1.0 / given.scale)
        if isinstance(given, InverseGamma):
            square = pm.InverseGamma(f"{name}_square", alpha=given.shape, beta=given.scale)
            return square**0.5
        if isinstance(given, InverseSquare):
            return self._scale(f"{name}_shape", given.inner) ** -0.5
        if isinstance(given, Flat):
            return self.pt.exp(pm.Flat(name)) if given.log else pm.HalfFlat(name)
        raise TypeError(f"{given!r} has no counterpart in the PyMC model: use another distribution")

    def _noise(self) -> Any:
        """Return sigma, or the coefficient of variation of a family; None if there is none."""
        if self.prior.noise is None:
            return None
        noise = self._scale("noise", self.prior.noise)
        if not isinstance(self.fit, GeneralizedFit):
            return self.pm.Deterministic("sigma", noise)
        inverse = self.fit.family.dispersion(np.ones(1)) < 1.0  # of the shape, or the shape
        self.pm.Deterministic("dispersion", noise**2 if inverse else noise**-2)
        return noise

    def _fixed(self) -> Any:
        """Return X beta and the offset."""
        pm, pt, coef, fit = self.pm, self.pt, self.prior.coef, self.fit
        kept, every = list(fit.kept), list(fit.spec.fixed)
        eta = np.zeros(len(self.y)) if self.offset is None else self.offset
        if not kept:
            return pt.as_tensor_variable(eta)
        deviations = np.where(coef.precision > 0.0, coef.precision, 1.0) ** -0.5
        parts = [
            pm.Normal(f"combination_{n}", mu=coef.mean[n], sigma=deviations[n])
            if coef.precision[n] > 0.0
            else pm.Flat(f"combination_{n}")
            for n in range(len(kept))
        ]
        back = np.zeros((len(every), len(kept)))
        back[kept] = np.linalg.inv(coef.combinations)
        beta = pm.Deterministic("coef", pt.dot(back, pt.stack(parts)), dims="coefficient")
        return eta + pt.dot(self.rows.columns[:, every], beta)

    def _random(self, position: int, factor: int, noise: Any) -> Any:
        """Return Z b of a factor."""
        pm, pt, fit = self.pm, self.pt, self.fit
        index = fit.products.factors[factor].index
        name, k = index.name, len(fit.spec.factor_columns(factor))
        root = pt.zeros((k, k))
        terms = [term for term in self.prior.terms if term.shape.position == position]
        for number, term in enumerate(terms):
            own = self._root(f"{name}_{number}", term, noise)
            root = pt.set_subtensor(root[term.shape.block, term.shape.block], own)
        white = pm.Normal(f"white_{name}", shape=(len(index), k))
        dims = [f"{name}_column", f"{name}_other_column"]
        covariance = pt.dot(root, root.T)
        sds = pm.Deterministic(f"sd_{name}", pt.sqrt(pt.diagonal(covariance)), dims=dims[0])
        if k > 1:
            pm.Deterministic(f"cor_{name}", covariance / pt.outer(sds, sds), dims=dims)
        effects = pm.Deterministic(f"effects_{name}", pt.dot(white, root.T), dims=[name, dims[0]])
        z = self.rows.columns[:, list(fit.spec.factor_columns(factor))]
        return (z * effects[self.rows.codes[factor]]).sum(axis=1)

    def _root(self, name: str, term: TermPrior, noise: Any) -> Any:
        """Return the Cholesky factor of the covariance of a term, (k, k)."""
        pt, shape = self.pt, term.shape
        deviations = self._deviations(name, term, noise)
        place = {column: n for n, group in enumerate(shape.deviations) for column in group}
        each = pt.stack([deviations[place[column]] for column in range(shape.size)])
        if not shape.has_correlations or shape.size == 1:
            return pt.diag(each)
        return each[:, None] * self._correlation_root(name, term.correlation, shape.size)

    def _deviations(self, name: str, term: TermPrior, noise: Any) -> list[Any]:
        pm, shape, scales = self.pm, term.shape, term.scales
        n = len(shape.deviations)
        if not isinstance(scales, Decov):
            return [self._scale(f"scale_{name}_{i}", each) for i, each in enumerate(scales)]
        unit: Any = 1.0
        if noise is not None:
            unit = noise**-2 if isinstance(self.fit, GeneralizedFit) else noise
        sizes = [n] if shape.has_correlations else [1] * n
        found: list[Any] = []
        for i, size in enumerate(sizes):
            t = pm.Gamma(f"size_{name}_{i}", alpha=scales.shape, beta=1.0 / scales.scale)
            if size == 1:
                found.append(unit * t)
                continue
            shares = pm.Dirichlet(f"shares_{name}", a=np.full(size, scales.concentration))
            found += [unit * t * (size * shares[j]) ** 0.5 for j in range(size)]
        return found

    def _correlation_root(self, name: str, correlation: LKJ, k: int) -> Any:
        """Return the Cholesky factor of correlations, built from partial correlations."""
        pt, shapes = self.pt, correlation.partial_shapes(k)
        beta = self.pm.Beta(f"partial_{name}", alpha=shapes, beta=shapes, shape=len(shapes))
        z, place = 2.0 * beta - 1.0, 0
        root = pt.zeros((k, k))
        for i in range(k):
            left: Any = 1.0
            for j in range(i):
                root = pt.set_subtensor(root[i, j], z[place] * pt.sqrt(left))
                left = left * (1.0 - z[place] ** 2)
                place += 1
            root = pt.set_subtensor(root[i, i], pt.sqrt(left))
        return root

    def _likelihood(self, eta: Any, noise: Any) -> None:
        pm, pt, weights, y = self.pm, self.pt, self.rows.weights, self.y
        if not isinstance(self.fit, GeneralizedFit):
            is_counted = self.fit.spec.weighting == "frequency"
            sigma = noise if weights is None or is_counted else noise / np.sqrt(weights)
            self._observed(pm.Normal, y, weights if is_counted else None, mu=eta, sigma=sigma)
            return
        family = self.fit.family
        sizes = family.sizes(y, weights)
        counts = weights if sizes is None else None
        if family.counts_trials:
            trials = np.ones(len(y)) if sizes is None else np.round(sizes)
            p = {"logit": pm.math.invlogit, "probit": pm.math.invprobit}.get(
                family.link, lambda x: -pt.expm1(-pt.exp(x))
            )(eta)
            hits = np.round(y * trials).astype(int)
            self._observed(pm.Binomial, hits, counts, n=trials.astype(int), p=p)
        elif family.name == "gamma":
            shape = noise**-2
            self._observed(pm.Gamma, y, counts, alpha=shape, beta=shape / pt.exp(eta))
        else:
            exposure = 1.0 if sizes is None else sizes
            events, mean = np.round(y * exposure).astype(int), exposure * pt.exp(eta)
            if noise is None:
                self._observed(pm.Poisson, events, counts, mu=mean)
            else:
                self._observed(pm.NegativeBinomial, events, counts, mu=mean, alpha=noise**-2)

    def _observed(
        self, distribution: Any, y: Any, counts: FloatArray | None, **parameters: Any
    ) -> None:
        """Add the observed rows, with multiplicities."""
        if counts is None:
            distribution("y", observed=y, **parameters)
            return
        each = self.pm.logp(distribution.dist(**parameters), y)
        self.pm.Potential("y", (counts * each).sum())
