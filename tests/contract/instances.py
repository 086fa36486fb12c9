"""The public estimators in the settings worth checking; one line adds another."""

import numpy as np
import sklearn
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.fixes import parse_version

from skmixed import (
    BayesianMixedRegressor,
    BLUPEncoder,
    GroupedModels,
    MixedClassifier,
    MixedEffectsClassifier,
    MixedEffectsRegressor,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
    MixedLinearRegressorCV,
    MixedNonlinearRegressor,
    OrdinalMixedClassifier,
)
from skmixed.bayes import LKJ, Gamma, HalfNormal, InverseGamma, Prior


def bayesian(*random, **settings):
    """Return a Bayesian model with a fixed seed and few draws."""
    return BayesianMixedRegressor(*random, n_draws=20, n_chains=2, random_state=0, **settings)


class Plane:
    """A function whose name is the same in every process, as names of tests have to be."""

    def __call__(self, parameters, X):
        """Return a + b times the sum of the inputs less a half, a curve that any data have."""
        a, b = parameters
        return a + b * (X.sum(axis=1) - X.shape[1] / 2)

    def __repr__(self):
        """Say what it is."""
        return "plane"

    def __deepcopy__(self, memo):
        """Return it itself, as of a function."""
        return self


plane = Plane()


def on_plane(**settings):
    """Return a nonlinear model of it."""
    return MixedNonlinearRegressor(plane, {"a": 0.0, "b": 1.0}, **settings)


# For scikit-learn's checks, whose X is an array of numbers or has names of their own choice.
ON_ARRAYS = [
    MixedLinearRegressor(),
    MixedLinearRegressor(method="ml"),
    MixedLinearRegressor(covariance="diagonal"),
    MixedLinearRegressor(solver="em"),
    MixedLinearRegressor(fit_intercept=False),
    MixedLinearRegressor(weighting="precision"),
    MixedLinearRegressor(group_features=[0], residual_variance=0.5),
    MixedLinearRegressor(group_features=[0]),
    MixedLinearRegressor(group_features=[0], handle_unknown="nan"),
    MixedLinearRegressor(group_features=[0], method="ml"),
    MixedLinearRegressor(group_features=[0], covariance="diagonal"),
    MixedLinearRegressor(group_features=[0], solver="em"),
    MixedLinearRegressor(group_features=[0], solver="iterative"),
    MixedLinearRegressor(group_features=[0], fit_intercept=False),
    MixedLinearRegressor(group_features=[0], prior=Gamma(2.0, 1.0)),
    bayesian(),
    bayesian(group_features=[0]),
    MixedClassifier(),
    MixedClassifier(link="probit"),
    MixedClassifier(link="cloglog", fit_intercept=False),
    MixedClassifier(group_features=[0]),
    MixedClassifier(group_features=[0], averaging="plug-in"),
    MixedClassifier(group_features=[0], quadrature=5),
    OrdinalMixedClassifier(),
    OrdinalMixedClassifier(link="probit", averaging="plug-in"),
    # Not the logit of groups: of weighted rows of a check that are separated, a probability of 5e-5
    # differs in its fifth digit.
    OrdinalMixedClassifier(group_features=[0], link="probit"),
    OrdinalMixedClassifier(group_features=[0], link="cloglog", quadrature=3),
    MixedGeneralizedRegressor(),
    MixedGeneralizedRegressor(family="gamma"),
    MixedGeneralizedRegressor(family="negative_binomial"),
    MixedGeneralizedRegressor(group_features=[0]),
    MixedGeneralizedRegressor(group_features=[0], family="negative_binomial"),
    MixedGeneralizedRegressor(group_features=[0], handle_unknown="nan"),
    MixedGeneralizedRegressor(group_features=[0], quadrature=3, averaging="plug-in"),
    MixedNonlinearRegressor("asymptotic", inputs=0),
    on_plane(),
    on_plane(method="lindstrom-bates", reml=True, weighting="precision"),
    on_plane(random="a", group_features=[0]),
    on_plane(random="a", group_features=[0], method="lindstrom-bates", averaging="plug-in"),
    MixedLinearRegressorCV(),
    MixedLinearRegressorCV(group_features=[0]),
    GroupedModels(),
    GroupedModels(Ridge()),
    GroupedModels(DecisionTreeRegressor(random_state=0)),
    GroupedModels(LogisticRegression()),
    GroupedModels(DecisionTreeClassifier(random_state=0), shrinkage=None),
    GroupedModels(group_features=[0]),
    GroupedModels(Ridge(), group_features=[0]),
    GroupedModels(LinearRegression(fit_intercept=False), group_features=[0]),
    GroupedModels(group_features=[0], shrinkage=None),
    GroupedModels(group_features=[0], shrinkage=0.5),
    GroupedModels(PoissonRegressor(), group_features=[0]),
    GroupedModels(DecisionTreeRegressor(random_state=0), group_features=[0], shrinkage=None),
    MixedEffectsRegressor(LinearRegression()),
    MixedEffectsRegressor(LinearRegression(), group_features=[0]),
    MixedEffectsRegressor(),
    MixedEffectsRegressor(DecisionTreeRegressor(max_depth=3, random_state=0)),
    MixedEffectsRegressor(Ridge(), group_features=[0]),
    MixedEffectsRegressor(family="negative_binomial"),
    MixedEffectsRegressor(PoissonRegressor(alpha=0), group_features=[0], family="poisson"),
    MixedEffectsRegressor(PoissonRegressor(), group_features=[0], family="poisson"),
    MixedEffectsClassifier(),
    MixedEffectsClassifier(DecisionTreeClassifier(max_depth=3, random_state=0)),
    # Not the last of these by groups: rows of a check for estimators with `cv` have as many columns
    # as there are of them and are all separated, and where a search ends on its way to infinity,
    # the criterion being 1e-6, differs between weighted and repeated rows.
    MixedEffectsClassifier(LogisticRegression(), group_features=[0], averaging="plug-in"),
    MixedEffectsClassifier(LogisticRegression(C=np.inf)),
    BLUPEncoder(),
    BLUPEncoder(columns=[0]),
    # Not with joint=True: in some checks columns are nearly equal and determine y, and which of
    # them has the effects differs between folds and all rows, which these checks want alike.
    BLUPEncoder(cross_fit="loo"),
    BLUPEncoder(handle_missing="unknown", handle_unknown="nan"),
]

if parse_version(sklearn.__version__) >= parse_version("1.7"):
    # A check of 1.6 subtracts a mean from its own whole numbers, in place.
    ON_ARRAYS.append(BLUPEncoder(columns=[-1], slopes=[0]))
else:
    # Weighted rows of a check of 1.6 are nearly as few as columns: a residual is nearly nothing.
    left_out = repr(MixedLinearRegressor(group_features=[0], method="ml"))
    ON_ARRAYS = [each for each in ON_ARRAYS if repr(each) != left_out]

# For the checks of this folder: columns x and z, grouping columns school and class.
ON_GROUPS = [
    MixedLinearRegressor(),
    MixedLinearRegressor(method="ml"),
    MixedLinearRegressor(fit_intercept=False),
    MixedLinearRegressor(handle_unknown="nan"),
    MixedLinearRegressor(handle_unknown="error"),
    MixedLinearRegressor("(x | school)"),
    MixedLinearRegressor("(x | school) + (1 | class)", covariance="diagonal"),
    MixedLinearRegressor("(x | school)", weighting="precision"),
    MixedLinearRegressor("(1 | school/class)"),
    MixedLinearRegressor("(1 | school)", solver="em"),
    MixedLinearRegressor("(1 | school) + (1 | class)", solver="iterative"),
    MixedLinearRegressor("(x | school)", fixed="x * z"),
    MixedLinearRegressor("(1 | school)", residual="cs(| class:school)", weighting="precision"),
    MixedLinearRegressor("(1 | school)", fixed="z + s(x, 5)"),
    MixedLinearRegressor("(x | school)", prior=Prior(scales=Gamma(2.0, 2.0), correlation=LKJ(2.0))),
    bayesian("(x | school)", covariance="diagonal", handle_unknown="error"),
    bayesian("(1 | school)", fixed="x * z", prior=Prior(sigma=HalfNormal(3.0))),
    MixedClassifier(),
    MixedClassifier(averaging="plug-in", link="probit"),
    MixedClassifier("(1 | school)", handle_unknown="nan", link="cloglog"),
    MixedClassifier("(1 | school)", handle_unknown="error", fit_intercept=False),
    MixedClassifier("(x | school)", fixed="x * z", covariance="diagonal"),
    MixedClassifier("(1 | school)", quadrature=7),
    MixedClassifier("(1 | school)", prior=Gamma(2.0, 1.0)),
    OrdinalMixedClassifier(),
    OrdinalMixedClassifier("(x | school)", fixed="x * z", link="probit", handle_unknown="error"),
    OrdinalMixedClassifier("(1 | school)", quadrature=5, handle_unknown="nan", link="cloglog"),
    MixedGeneralizedRegressor(),
    MixedGeneralizedRegressor("(1 | school)", handle_unknown="error", family="gamma"),
    MixedGeneralizedRegressor("(x | school)", averaging="plug-in", family="negative_binomial"),
    MixedGeneralizedRegressor(
        "(1 | school)", fixed="x + offset(0.1 * z)", handle_unknown="nan", quadrature=5
    ),
    MixedGeneralizedRegressor("(1 | school)", family="binomial", link="probit"),
    MixedGeneralizedRegressor("(1 | school)", prior=InverseGamma(2.0, 0.5)),
    on_plane(random="a"),
    on_plane(random="a", method="lindstrom-bates", handle_unknown="nan"),
    on_plane(random="a | school", fixed={"b": "1 + z"}, handle_unknown="error"),
    on_plane(random="a + b | school", averaging="plug-in", weighting="precision"),
    MixedLinearRegressorCV("(x | school)", cv=3),
    GroupedModels(),
    GroupedModels(fallback="error"),
    GroupedModels(shrinkage=None),
    GroupedModels(shrinkage="relative"),
    GroupedModels(LinearRegression(fit_intercept=False), shrinkage=0.5),
    GroupedModels(Ridge(), min_samples=3),
    GroupedModels(LinearRegression(positive=True), shrinkage="equal"),
    GroupedModels(Ridge(), shrinkage="relative", use_pooled=False, fallback="error"),
    GroupedModels(LogisticRegression()),
    GroupedModels(PoissonRegressor()),
    GroupedModels(DecisionTreeClassifier(max_depth=2, random_state=0), min_samples=20),
    MixedEffectsRegressor(LinearRegression()),
    MixedEffectsRegressor(LinearRegression(), "(x | school)", handle_unknown="nan"),
    MixedEffectsRegressor(LinearRegression(), "(1 | school/class)", handle_unknown="error"),
    MixedEffectsRegressor(Ridge(0.1), "(x | school)", weighting="precision"),
    MixedEffectsRegressor(Ridge(0.1), cross_fit="none", tol=1e-6, max_iter=50),
    MixedEffectsRegressor(PoissonRegressor(alpha=0), "(x | school)", family="poisson"),
    MixedEffectsRegressor(
        GammaRegressor(alpha=0),
        "(1 | school)",
        family="gamma",
        handle_unknown="nan",
    ),
    MixedEffectsClassifier(LogisticRegression(C=np.inf), "(1 | school/class)"),
    MixedEffectsClassifier(
        DecisionTreeClassifier(max_depth=2, random_state=0), "(x | school)", handle_unknown="error"
    ),
]
