"""What a regressor or classifier f learns of responses, given the random effects of the rows.

The linear predictor of a row is eta = f(X) + Z b. Given y and the parameters, Z b is about normal
with mean m and variance v, and f is to be raised where the mean over it of the slope of the log
density in f, E s(y, f + Z b), is positive. That mean is the slope at one predictor, h, of which the
logistic function, for instance, is the mean of the logistic functions. No learner takes f + h - f
as an offset, but a response and weights with which its own loss has the same slope will do:

    classes         weights (1 - p) / (1 - q) of the second class, p / q of the first; p and q are
                    the probabilities at h and at f
    Poisson         y exp(-o) with weights exp(o), o = h - f = m + v / 2
    gamma           y exp(-o) with weights one, o = m - v / 2
    neg. binomial   y exp(-o) with weights exp(o) / (1 + exp(h) / theta), which has the slope of a
                    Poisson response

As weights they hold for all learners: at every x the probability that classes so weighted have is
that of f alone, whatever f the weights were made with, and the mean of y exp(-o) is exp(f).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from skmixed.core.families.binomial import Logit
from skmixed.core.families.family import MeanFamily
from skmixed.core.linalg import FloatArray
from skmixed.design.records import stored

_LEAST_CASES = 0.5  # among all rows: a share of 0 or 1 that is made of them is known no better


class EffectsOfRows(NamedTuple):
    """What a fit says of the rows it was made to."""

    f: FloatArray  # (n,), as it was given, on the scale of the link
    shift: FloatArray  # (n,), what is added to it, Z b at the modes and logarithms of exposures
    variance: FloatArray | None = None  # (n,), of Z b given y; None where it makes no difference
    phi: FloatArray | None = None  # (m,), dispersions


class LearnedTarget(NamedTuple):
    """What a learner is fitted to."""

    y: NDArray[Any]  # (n,)
    weights: FloatArray | None = None  # (n,), besides those of the rows


class LearnedResponse(Protocol):
    """A kind of responses as something to be learned."""

    @property
    def family(self) -> MeanFamily | None:
        """The family, if it is no normal one."""

    @property
    def needs_weights(self) -> bool:
        """Whether targets have weights."""

    def target(self, y: NDArray[Any], given: EffectsOfRows) -> LearnedTarget:
        """Return what f is fitted to, given responses, (n,), and random effects."""

    def predictor(self, model: Any, X: Any) -> FloatArray:
        """Return f(X), (n,), on the scale of the link."""

    def unseen(self, model: Any) -> FloatArray:
        """Return what the trees of a forest say of rows they have not seen; NaN if all have."""


@stored
@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """Any numbers, whose mean is f(X) + Z b."""

    @property
    def family(self) -> None:
        """None: it is the normal one."""

    @property
    def needs_weights(self) -> bool:
        """Whether targets have weights."""
        return False

    def target(self, y: NDArray[Any], given: EffectsOfRows) -> LearnedTarget:
        """Return y - Z b."""
        return LearnedTarget(y - given.shift)

    def predictor(self, model: Any, X: Any) -> FloatArray:
        """Return predictions."""
        return np.array(model.predict(X), dtype=np.float64).ravel()

    def unseen(self, model: Any) -> FloatArray:
        """Return out-of-bag predictions."""
        return np.array(model.oob_prediction_, dtype=np.float64).ravel()


@stored
@dataclass(frozen=True, slots=True, eq=False)
class PositiveMeans:
    """Responses of a family with the logarithmic link: the mean is exp(f(X) + Z b).

    With exposures that is the mean for an exposure of one.
    """

    family: MeanFamily
    least: float  # such a mean that stands for zero

    @classmethod
    def of(
        cls,
        family: MeanFamily,
        y: FloatArray,
        weights: FloatArray | None,
        exposure: FloatArray | None = None,
    ) -> PositiveMeans:
        """Tell from responses, (n,), what zero stands for; ValueError for impossible ones."""
        family.check(y, weights)
        mean = float(np.average(y, weights=weights))
        if exposure is not None:
            mean /= float(np.average(exposure, weights=weights))
        return cls(family, _LEAST_CASES * mean / _number(y, weights))

    @property
    def needs_weights(self) -> bool:
        """Whether rows tell unequally much of their mean."""
        return self.family.name in ("poisson", "negative binomial")

    def target(self, y: NDArray[Any], given: EffectsOfRows) -> LearnedTarget:
        """Return y without what the random effects make of it."""
        assert given.variance is not None
        assert given.phi is not None
        return _TARGETS[self.family.name](y, given.f, given.shift, given.variance, given.phi)

    def predictor(self, model: Any, X: Any) -> FloatArray:
        """Return logarithms of predictions. Raises ValueError for some that are negative."""
        return self._logarithm(model, model.predict(X))

    def unseen(self, model: Any) -> FloatArray:
        """Return logarithms of out-of-bag predictions."""
        return self._logarithm(model, model.oob_prediction_)

    def _logarithm(self, model: Any, values: Any) -> FloatArray:
        means = np.array(values, dtype=np.float64).ravel()
        wrong = np.flatnonzero(means < 0.0)
        if len(wrong):
            raise ValueError(
                f"{type(model).__name__} predicts the mean {means[wrong[0]]:g}, but means of "
                f"family {self.family.name!r} are positive: use a regressor whose predictions "
                "are, such as PoissonRegressor or HistGradientBoostingRegressor(loss='poisson')"
            )
        return np.log(np.maximum(means, self.least))


@stored
@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """Two classes: the log odds of the second are f(X) + Z b."""

    classes: NDArray[Any]  # (2,)
    least: float  # probability that stands for zero

    @classmethod
    def of(cls, classes: NDArray[Any], y: NDArray[Any], weights: FloatArray | None) -> Classes:
        """Tell from the number of rows what zero stands for."""
        return cls(classes, _LEAST_CASES / _number(y, weights))

    @property
    def family(self) -> Logit:
        """The family."""
        return Logit()

    @property
    def needs_weights(self) -> bool:
        """Whether targets have weights."""
        return True

    def target(self, y: NDArray[Any], given: EffectsOfRows) -> LearnedTarget:
        """Return the classes, weighted."""
        assert given.variance is not None
        averaged_miss, averaged_hit = self.family.outcomes(given.f + given.shift, given.variance)
        miss, hit = self.family.outcomes(given.f)
        return LearnedTarget(
            y, np.where(y == self.classes[1], averaged_miss / miss, averaged_hit / hit)
        )

    def predictor(self, model: Any, X: Any) -> FloatArray:
        """Return log odds."""
        if isinstance(model, LogisticRegression):
            return np.array(model.decision_function(X), dtype=np.float64)
        return self._log_odds(model, model.predict_proba(X))

    def unseen(self, model: Any) -> FloatArray:
        """Return out-of-bag log odds."""
        return self._log_odds(model, model.oob_decision_function_)

    def _log_odds(self, model: Any, probabilities: NDArray[Any]) -> FloatArray:
        """Return log odds, (n,), as far as rows can tell them, given (n, n_classes)."""
        hits = np.flatnonzero(model.classes_ == self.classes[1])
        hit = np.clip(probabilities[:, hits].sum(axis=1, dtype=np.float64), self.least, None)
        hit = np.minimum(hit, 1.0 - self.least)
        return np.asarray(np.log(hit) - np.log1p(-hit))


def _number(y: NDArray[Any], weights: FloatArray | None) -> float:
    """Return the number of rows that are counted by weights, (n,)."""
    return len(y) if weights is None else max(1.0, float(weights.sum()))


def _poisson(
    y: FloatArray, f: FloatArray, shift: FloatArray, variance: FloatArray, phi: FloatArray
) -> LearnedTarget:
    rate = np.exp(shift + 0.5 * variance)
    return LearnedTarget(y / rate, rate)


def _gamma(
    y: FloatArray, f: FloatArray, shift: FloatArray, variance: FloatArray, phi: FloatArray
) -> LearnedTarget:
    return LearnedTarget(y * np.exp(0.5 * variance - shift))


def _negative_binomial(
    y: FloatArray, f: FloatArray, shift: FloatArray, variance: FloatArray, phi: FloatArray
) -> LearnedTarget:
    """Find a slope that has the logistic function of f + Z b - log theta, mu / (mu + theta)."""
    miss, hit = Logit().outcomes(f + shift - phi[0], variance)
    rate = np.exp(np.log(hit) - np.log(miss) + phi[0] - f)
    return LearnedTarget(y / rate, rate * miss)


_TARGETS: dict[str, Callable[..., LearnedTarget]] = {
    "poisson": _poisson,
    "gamma": _gamma,
    "negative binomial": _negative_binomial,
}
"""What f is fitted to, by the name of the family, given y, f, m, v, (n,), and phi."""
