"""Posterior draws of a generalized linear mixed model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skmixed.bayes.generalized_density import ScaledPoints, dispersions_of
from skmixed.bayes.posterior_draws import PosteriorDraws
from skmixed.bayes.posterior_means import PredictedRows, sampled_responses
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, IntArray, generator_of
from skmixed.core.posterior.joint_integrals import JointDraws, JointIntegrals
from skmixed.core.posterior.level_draws import LevelDraws
from skmixed.core.posterior.level_integrals import LevelIntegrals
from skmixed.core.posterior.level_rows import ParameterPoints


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class GeneralizedDraws(PosteriorDraws):
    """Posterior draws of a generalized linear mixed model.

    Read more in the user guide: :doc:`/guide/posterior`.

    Parameters
    ----------
    phi : ndarray of shape (n_chains, n_draws, d)
        Sampled coordinates of the variances, as in `PosteriorDraws`; instead of log sigma, the log
        coefficient of variation if the family has a dispersion.
    coef : ndarray of shape (n_chains, n_draws, n_fixed)
        Fixed coefficients, on the scale of the link.
    coef_mean : ndarray of shape (n_fixed,)
        Their posterior means, from all weighted proposals.
    coef_covariance : ndarray of shape (n_fixed, n_fixed)
        Their posterior covariance, from all weighted proposals.
    log_evidence, log_evidence_error, efficiency, pareto_k, acceptance : float
        As in `PosteriorDraws`.
    thinning, n_evaluations : int
        As in `PosteriorDraws`.
    fit : GeneralizedFit
        The fit that was sampled.
    prior : ModelPrior
        The prior distributions.
    nodes : VarianceNodes
        Equally weighted values of all parameters that represent the posterior.
    log_density : ndarray of shape (n_chains, n_draws)
        Log of likelihood times prior density, of coefficients and `phi`.
    seed : int
        Seed for draws of random effects.
    sampler : str, default="importance"
        The sampler; always "importance".
    n_divergent : int, default=0
        Always 0; for other samplers.
    model : estimator
        Copy of the sampled model.
    integrals : LevelIntegrals or JointIntegrals
        The rows, prepared for likelihoods and random effects.
    streams : ndarray of shape (n_chains, n_draws)
        Indices of the proposals behind the draws.

    See Also
    --------
    sample : The function that returns them.
    PosteriorDraws : The counterpart for linear models, with the same attributes.

    Notes
    -----
    Unlike fits, and draws of linear models, they store the training data.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmixed import MixedGeneralizedRegressor
    >>> from skmixed.bayes import sample
    >>> shop = np.arange(200) % 20
    >>> visits = np.random.default_rng(0).poisson(2.0 + shop % 3)
    >>> X = pd.DataFrame({"shop": shop})
    >>> model = MixedGeneralizedRegressor("(1 | shop)").fit(X, visits)
    >>> draws = sample(model, X=X, y=visits, random_state=0)
    >>> draws.predict(pd.DataFrame({"shop": [3, 99]})).round(1)
    array([2.3, 3.2])
    >>> draws.predict_interval(pd.DataFrame({"shop": [3, 99]}), level=0.9).shape
    (2, 2)
    """

    model: Any
    integrals: LevelIntegrals | JointIntegrals
    streams: IntArray

    @property
    def sigma(self) -> FloatArray:
        """Not available: the noise is that of the family."""
        raise AttributeError(
            "a generalized model has no residual standard deviation: parameters has the "
            "dispersion, if the family has one"
        )

    @property
    def n_coordinates(self) -> int:
        """Number of sampled parameters."""
        return len(self.fit.kept) + int(self.phi.shape[2])

    @property
    def noise(self) -> dict[str, FloatArray]:
        """Draws of the dispersion, (n_chains, n_draws), by its name; empty for other families."""
        if not self._parametrization.has_noise:
            return {}
        phi = self.dispersions(self.phi.reshape(-1, self.phi.shape[2]))
        values = np.array([self.fit.family.dispersion(each) for each in phi])
        return {"dispersion": values.reshape(self.phi.shape[:2])}

    def are_of(self, fit: GeneralizedFit) -> bool:
        """Tell whether they are draws from the posterior of a fit.

        Parameters
        ----------
        fit : GeneralizedFit
            The fit.

        Returns
        -------
        bool
            Whether it has the terms, rows and estimates of the sampled fit.
        """
        own = self.fit
        same_spec = own.spec.fixed == fit.spec.fixed and own.spec.terms == fit.spec.terms
        same_rows = own.responses.are_those_of(fit.responses)
        return own is fit or (same_spec and same_rows and own.criterion == fit.criterion)

    def dispersions(self, phi: FloatArray) -> FloatArray:
        """Return the dispersion parameters of the family.

        Parameters
        ----------
        phi : ndarray of shape (n, d)
            Coordinates of draws.

        Returns
        -------
        ndarray of shape (n, m)
            Logs of shapes, or of theta; m is zero for families without a dispersion.
        """
        if not self._parametrization.has_noise:
            return np.empty((len(phi), 0))
        return dispersions_of(self.fit.family, phi)

    def effect_moments(self, factor: str) -> tuple[FloatArray, FloatArray]:
        """Return posterior means and covariances of the random effects of all levels.

        Parameters
        ----------
        factor : str
            Name of the factor.

        Returns
        -------
        mean : ndarray of shape (n_levels, k)
            Posterior means, by quadrature given the other parameters, or from draws with several
            factors; on the scale of the link.
        covariance : ndarray of shape (n_levels, k, k)
            Posterior covariances, computed likewise.
        """
        position = self._position(factor)
        if isinstance(self.integrals, LevelIntegrals):
            return self._own_moments
        effects = self._effect_draws.of(position, np.arange(len(self.levels(factor))))
        mean = effects.mean(axis=0)
        apart = effects - mean
        return mean, np.einsum("rla,rlb->lab", apart, apart) / len(apart)

    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        return_std: bool = False,
    ) -> Any:
        """Predict the mean response; for a classifier, the probability of the second class.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            New data, with the columns of ``fit``.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Group labels of the rows, if they were passed to ``fit`` as `groups`.
        random : {"all", "none"} or list of str, default="all"
            Factors whose random effects are used; levels of others are treated as unknown.
        return_std : bool, default=False
            Whether to return posterior standard deviations as well.

        Returns
        -------
        y_mean : ndarray of shape (n,)
            Posterior means, in units of y, averaged over groups for unknown levels.
        y_std : ndarray of shape (n,)
            Posterior standard deviations of the group-specific means, if return_std is True; for
            unknown levels they include the variance between groups.

        Raises
        ------
        ValueError
            For invalid input, unknown factors in `random`, and unknown levels if the model has
            handle_unknown="error".
        """
        rows = PredictedRows.read(self, X, groups, random)
        return (rows.means(), rows.deviations()) if return_std else rows.means()

    def predict_interval(
        self,
        X: Any,
        groups: Any = None,
        *,
        level: float = 0.95,
        kind: Literal["observation", "mean"] = "observation",
        sample_weight: Any = None,
    ) -> FloatArray:
        """Compute credible intervals for the mean response or prediction intervals for new rows.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            New data, with the columns of ``fit``.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Group labels of the rows, if they were passed to ``fit`` as `groups`.
        level : float, default=0.95
            Probability of the intervals, between 0 and 1.
        kind : {"observation", "mean"}, default="observation"
            Whether the interval is for a new observation, or for the mean response given the groups
            of the row.
        sample_weight : None or array-like of shape (n,), default=None
            Numbers of trials for proportions, required for the intervals of their observations.
            None takes those that the formula of `glmer` names, if X has their columns.

        Returns
        -------
        ndarray of shape (n, 2)
            Quantiles over all draws, in units of y; NaN for rows without a prediction.

        Raises
        ------
        ValueError
            As in `predict`; for a level outside (0, 1), and for proportions without numbers of
            trials.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level={level!r} must be between 0 and 1")
        if kind not in ("observation", "mean"):
            raise ValueError(f"kind={kind!r} must be 'observation' or 'mean'")
        observation = kind == "observation"
        sample_weight = self.model._sizes_told(self.model._state(), X, sample_weight)
        if observation and sample_weight is None and self.fit.family.counts_trials:
            raise ValueError(
                "the interval of a proportion depends on the number of trials: pass it as "
                "sample_weight, or use kind='mean' for the interval of the probability"
            )
        rows = PredictedRows.read(self, X, groups, "all")
        tails = np.array([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
        return rows.quantiles(tails, self._sizes(sample_weight), observation=observation)

    def sample_y(
        self,
        X: Any,
        groups: Any = None,
        *,
        sample_weight: Any = None,
        n_samples: int = 1,
        random_state: Any = None,
    ) -> NDArray[Any]:
        """Draw responses from the posterior predictive distribution.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            New data, with the columns of ``fit``.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Group labels of the rows, if they were passed to ``fit`` as `groups`. Rows with the same
            label share an effect, whether the level is known or not.
        sample_weight : None or array-like of shape (n,), default=None
            Numbers of trials for proportions. None takes those that the formula of `glmer` names
            from X; for a model fitted to single trials it is one per row.
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState instance, Generator or None, default=None
            Seed of the random number generator; pass an int for reproducible results.

        Returns
        -------
        ndarray of shape (n, n_samples)
            Responses as in ``fit``; labels for a classifier. Each column uses the parameters and
            random effects of one draw, and new effects for unknown levels.

        Raises
        ------
        ValueError
            As in `predict`, for fractional numbers of trials, and if the fit had trials that X does
            not provide.
        """
        if not isinstance(n_samples, Integral) or isinstance(n_samples, bool) or n_samples < 1:
            raise ValueError(f"n_samples={n_samples!r} must be a whole number of at least 1")
        fitted = self.model._state()
        if fitted.has_sizes:
            sample_weight = self.model._weights_of(fitted, X, sample_weight)
        drawn = sampled_responses(
            self, X, groups, self._sizes(sample_weight), int(n_samples), generator_of(random_state)
        )
        classes = fitted.classes
        return drawn if classes is None else np.asarray(classes[drawn.astype(np.intp)])

    @staticmethod
    def _sizes(sample_weight: Any) -> FloatArray | None:
        if sample_weight is None:
            return None
        sizes = np.asarray(sample_weight, dtype=np.float64)
        if sizes.ndim != 1 or not (np.isfinite(sizes) & (sizes > 0.0)).all():
            raise ValueError("sample_weight must have one positive number per row")
        return sizes

    @cached_property
    def _own_moments(self) -> tuple[FloatArray, FloatArray]:
        assert isinstance(self.integrals, LevelIntegrals)
        return self.integrals.effect_moments(self.points(self.nodes.means, self.nodes.phi))

    def points(self, beta: FloatArray, phi: FloatArray) -> ParameterPoints:
        """Convert parameters to the units of the rows.

        Parameters
        ----------
        beta : ndarray of shape (R, p)
            Coefficients of the kept columns.
        phi : ndarray of shape (R, d)
            Coordinates of the variances.

        Returns
        -------
        ParameterPoints
            The parameters in scaled units.
        """
        return ScaledPoints.of(self.integrals.observations, self.prior).at(beta, phi)

    @cached_property
    def _effect_draws(self) -> LevelDraws | JointDraws:  # type: ignore[override]
        flat = self.phi.reshape(-1, self.phi.shape[2])
        beta = self.coef.reshape(len(flat), -1)[:, list(self.fit.kept)]
        points = self.points(beta, flat)
        if isinstance(self.integrals, LevelIntegrals):
            return LevelDraws(self.integrals, points, self.seed)
        return JointDraws(self.integrals, points, self.streams.ravel(), self.seed)
