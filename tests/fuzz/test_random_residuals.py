"""Fits of random tables with residual structures end in words, or where no dense search gets below.

The covariance of the residuals is put together from the parameters that are reported, as the
textbook writes it, and searched for from several starts in parameters of its own.
"""

import re
import traceback
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import toeplitz
from scipy.optimize import minimize

from skmixed import MixedLinearRegressor
from tests.fuzz.cases import is_own, seeds
from tests.oracle import independent_columns, levels_to_columns

NAMES = ["ar1(visit | s)", "ar1(| s)", "car1(time | s)", "cs(| s)"]
PRODUCTS = ["", "var(sex)", "power(v)", "var(sex) * power(v)"]
OVER_VISITS = [
    "us(visit | s)", "toeplitz(visit | s)", "toeplitz(visit | s, hom=False)",
    "cs(visit | s, hom=False)", "ar1(visit | s, hom=False)",
]  # fmt: skip
STRUCTURES = [
    *(
        " * ".join(filter(None, pair))
        for a in ["", *NAMES]
        for b in PRODUCTS
        if any(pair := (a, b))
    ),
    *OVER_VISITS,
]
# Random terms, by the factors that series lie in, of two columns at most.
RANDOM = {
    None: [], "(1 | site)": [("site", ["1"])], "(1 + x0 | site)": [("site", ["1", "x0"])],
    "(0 + x0 | site)": [("site", ["x0"])], "(1 | s)": [("s", ["1"])],
    "(1 | s) + (1 | site)": [("s", ["1"]), ("site", ["1"])],
    "(1 | site) + (1 | other)": [("site", ["1"]), ("other", ["1"])],
}  # fmt: skip
UNDECIDED = re.compile(
    "without a rest|response completely|fits? the data exactly|nearly collinear|digits"
    "|did not converge|several maxima"
)
RESTS = 1e-6  # of what a dense search may be lower by
DIGITS = 1e-13  # of dense algebra, times the condition of V
FARTHEST = 5.0  # of a parameter without bounds: beyond it is on its way to infinity
NEARLY_DEPENDENT = 1e5  # condition of columns of which one may be left out
ROWS_A_PARAMETER = 4  # with fewer, likelihoods have several maxima
MOST = 1e-7  # error of dense algebra beyond which a comparison says nothing


@dataclass(frozen=True, eq=False)
class Case:
    """A table, its response and weights, and a model of them."""

    table: pd.DataFrame
    y: np.ndarray
    weights: np.ndarray | None
    features: list[str]
    random: str | None
    residual: str
    method: Any

    def fit(self) -> MixedLinearRegressor:
        model = MixedLinearRegressor(
            self.random, fixed=" + ".join(self.features) or "1", residual=self.residual,
            method=self.method, weighting="precision",
        )  # fmt: skip
        return model.fit(self.table, self.y, self.weights)


def draw_case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    n_series, n_visits = (
        int(rng.choice([2, 5, 9, 15])),
        int(rng.choice([1, 2, 3, 4, 5], p=[0.05, 0.15, 0.3, 0.3, 0.2])),
    )
    seen = rng.random((n_series, n_visits)) < rng.choice([0.4, 0.8, 1.0])
    s, visit = np.nonzero(seen)
    if len(s) and rng.random() < 0.06:
        again = rng.integers(0, len(s), 1)
        s, visit = np.append(s, s[again]), np.append(visit, visit[again])
    n = max(len(s), 1)
    s, visit = (s, visit) if len(s) else (np.zeros(1, int), np.zeros(1, int))
    shuffled = rng.permutation(n)
    s, visit = s[shuffled], visit[shuffled]
    times = np.sort(rng.exponential(1.0, 5)) if rng.random() < 0.5 else np.arange(5.0)
    site, sex = (
        s // int(rng.choice([1, 2, 4])),
        rng.integers(0, rng.choice([1, 2, 3], p=[0.06, 0.47, 0.47]), n),
    )
    other = rng.integers(0, 3, n_series)[s]
    v = rng.choice([0.5, 1.0, 3.0], n) if rng.random() < 0.5 else rng.lognormal(size=n)
    features = {f"x{j}": rng.normal(size=n) for j in range(rng.choice([1, 1, 2, 12]))}
    if len(features) > 1 and rng.random() < 0.3:
        features["x1"] = 2.0 * features["x0"] + rng.choice([0.0, 1e-5]) * features["x1"]
    scales = [1.0, 1.0, 1.0, 1e-8, 1e8]
    noise = rng.normal(size=n) * rng.choice([0.5, 1.0, 2.0], 3)[sex]
    noise += rng.choice([0.0, 0.7, 5.0]) * rng.normal(size=n_series)[s]
    y = 1.0 + features["x0"] + noise + rng.choice([0.0, 1.0]) * rng.normal(size=n_series)[site]
    kind = rng.random()
    y = np.ones(n) if kind < 0.03 else 1.0 + features["x0"] if kind < 0.06 else y
    weights = rng.choice([0.3, 1.0, 4.0, 0.0], n, p=[0.3, 0.3, 0.3, 0.1])
    table = pd.DataFrame(
        {name: x * rng.choice(scales) for name, x in features.items()}
        | {"s": s, "site": site, "other": other, "sex": sex, "visit": visit}
        | {"time": np.round(times[visit] * rng.choice(scales), 12), "v": v * rng.choice(scales)}
    )
    return Case(
        table, y * rng.choice(scales), weights if rng.random() < 0.2 else None, list(features),
        rng.choice(np.array(list(RANDOM), dtype=object)), str(rng.choice(STRUCTURES)),
        str(rng.choice(["reml", "ml"])),
    )  # fmt: skip


class Dense:
    """Rows of a case in units of their own, columns orthonormal, with their criterion."""

    def __init__(self, case: Case) -> None:
        used = np.ones(len(case.y), bool) if case.weights is None else case.weights > 0
        self.rows, self.case = case.table[used], case
        w = np.ones(used.sum()) if case.weights is None else case.weights[used]
        self.root = np.sqrt(w)
        y = case.y[used]
        self.unit = np.std(y) or 1.0
        self.y, self.reml = y / self.unit, case.method == "reml"
        X = np.column_stack([np.ones(len(y)), *(self.rows[name] for name in case.features)])
        scaled = X / np.linalg.norm(X, axis=0)
        self.kept = independent_columns(scaled, 1e-10)
        self.condition = np.linalg.cond(scaled[:, self.kept])
        self.Q, upper = np.linalg.qr(X[:, self.kept])
        self.nu = len(y) - len(self.kept) * self.reml
        self.change = 2.0 * self.nu * np.log(self.unit)
        if self.reml:
            self.change += 2.0 * np.log(np.abs(np.diag(upper))).sum()
        self.terms = []
        for factor, columns in RANDOM[case.random]:
            own = np.column_stack([np.ones(len(y)) if c == "1" else self.rows[c] for c in columns])
            unit = np.linalg.norm(own, axis=0) / np.sqrt(len(y))
            codes = pd.factorize(self.rows[factor])[0]
            self.terms.append((levels_to_columns(codes, own / unit, codes.max() + 1), unit))
        self.log_v = np.log(self.rows["v"].to_numpy())
        self.centre = self.log_v.mean()
        self.s = self.rows["s"].to_numpy()
        self.together = self.s[:, None] == self.s
        self.sex = self.rows["sex"].to_numpy()
        self.visits = np.unique(case.table["visit"])
        self.visit = np.searchsorted(self.visits, self.rows["visit"])

    @property
    def are_many_rows(self):
        """Whether there are enough for a likelihood of one maximum, as a rule."""
        n_parameters = self.drawn(np.zeros(100))[2] + len(self.kept) + 1
        return len(self.y) >= ROWS_A_PARAMETER * n_parameters

    def apart(self):
        """Return how far rows are apart, (n, n), in what the structure counts."""
        if "car1" in self.case.residual:
            place = self.rows["time"].to_numpy()
        elif "| s" in self.case.residual and "visit" in self.case.residual:
            place = self.rows["visit"].to_numpy(float)
        else:
            place = self.rows.groupby("s").cumcount().to_numpy(float)
        return np.abs(place[:, None] - place)

    def residuals(self, correlations, log_sd):
        """Return R, by weights."""
        sd = np.exp(log_sd) / self.root
        return np.where(self.together, correlations, 0.0) * sd[:, None] * sd

    def reported(self, model):
        """Return R relative to sigma^2 of a fitted model, by the names of its parameters."""
        found, text = model.residual_parameters_.to_dict(), self.case.residual
        log_sd, n = np.zeros(len(self.y)), len(self.y)
        reference = next((name.split("/")[1] for name in found if name.startswith("ratio")), None)
        ratio = {name[6:].split("/")[0]: np.log(x) for name, x in found.items() if "ratio" in name}
        if reference is not None:
            codes = self.sex if "var" in text else self.visits[self.visit]
            log_sd += np.array([ratio.get(str(code), 0.0) for code in codes])
        if "power" in text:
            log_sd += found["power"] * self.log_v
        if text.startswith("us"):
            C = np.eye(len(self.visits))
            for name, x in found.items():
                if name.startswith("correlation"):
                    i, j = (list(map(str, self.visits)).index(v) for v in name[12:].split(":"))
                    C[i, j] = C[j, i] = x
            return self.residuals(C[np.ix_(self.visit, self.visit)], log_sd)
        if text.startswith("toeplitz"):
            lags = [1.0, *(found[f"toeplitz {j}"] for j in range(1, len(self.visits)))]
            return self.residuals(toeplitz(lags)[np.ix_(self.visit, self.visit)], log_sd)
        name = text[: text.index("(")]
        if name == "cs":
            return self.residuals(
                found.get("cs", 0.0) + (1.0 - found.get("cs", 0.0)) * np.eye(n), log_sd
            )
        if name == "car1":
            (said,) = (each for each in found if each.startswith(name))
            gap = float(said.removeprefix("car1 at a gap of ")) if " " in said else 1.0
            return self.residuals(found[said] ** (self.apart() / gap), log_sd)
        if name == "ar1":
            apart = self.apart() if "hom" not in text else np.abs(self.visit[:, None] - self.visit)
            return self.residuals(found.get(name, 0.0) ** apart, log_sd)
        return self.residuals(np.eye(n), log_sd)

    def drawn(self, x):
        """Return relative covariances and R of parameters without bounds, and their number."""
        given = iter(x)

        def take(k):
            return np.array([next(given) for _ in range(k)])

        lambdas = []
        for _, unit in self.terms:
            lam = np.zeros((len(unit),) * 2)
            lam[np.tril_indices(len(unit))] = take(len(unit) * (len(unit) + 1) // 2)
            lambdas.append(lam)
        R = self.residuals(*self.drawn_residuals(take))
        return lambdas, R, len(x) - len(list(given))

    def drawn_residuals(self, take):
        """Return correlations, (n, n), and logs of deviations, (n,), of numbers to be taken."""
        text, n, V = self.case.residual, len(self.y), len(self.visits)
        log_sd = np.zeros(n)
        if "var" in text:
            log_sd += np.append(0.0, take(2))[self.sex]
        if "power" in text:
            log_sd += take(1) * (self.log_v - self.centre)
        if "hom" in text or text.startswith("us"):
            log_sd += np.append(0.0, take(V - 1))[self.visit]
        if text.startswith("us"):
            T = np.eye(V)
            T[np.tril_indices(V, -1)] = take(V * (V - 1) // 2)
            T /= np.linalg.norm(T, axis=1)[:, None]
            return (T @ T.T)[np.ix_(self.visit, self.visit)], log_sd
        if text.startswith("toeplitz"):
            C = toeplitz(lags_of(np.tanh(take(V - 1))))
            return C[np.ix_(self.visit, self.visit)], log_sd
        C = np.eye(n)
        if text.startswith("cs"):
            least = -1.0 / (max(np.bincount(self.s).max() if "hom" not in text else V, 2) - 1.0)
            r = least + (1.0 - least) / (1.0 + np.exp(-take(1)))
            C = r + (1.0 - r) * C
        elif text.startswith("ar1"):
            C = np.tanh(take(1)) ** self.apart()
        elif text.startswith("car1"):
            apart = self.apart()
            gaps = apart[self.together & (apart > 0)]
            C = np.exp(-np.exp(take(1)) * apart / (np.median(gaps) if len(gaps) else 1.0))
        return C, log_sd

    def marginal(self, lambdas, R):
        return R + sum(
            Z @ np.kron(np.eye(Z.shape[1] // len(lam)), lam @ lam.T) @ Z.T
            for (Z, _), lam in zip(self.terms, lambdas, strict=True)
        )

    def criterion(self, lambdas, R):
        """Return the criterion and the relative error to expect of it."""
        V = self.marginal(lambdas, R)
        V = V / np.exp(np.mean(np.log(np.diag(V))))
        root = np.linalg.cholesky(V)
        X, y = (np.linalg.solve(root, values) for values in (self.Q, self.y))
        q, upper = np.linalg.qr(X)
        rest = y - q @ (q.T @ y)
        found = self.nu * (1.0 + np.log(2.0 * np.pi * (rest @ rest) / self.nu))
        found += 2.0 * np.log(np.diag(root)).sum()
        if self.reml:
            found += 2.0 * np.log(np.abs(np.diag(upper))).sum()
        return found + self.change, DIGITS * np.linalg.cond(V)

    def of_model(self, model):
        lambdas = []
        for (factor, _), (_, unit) in zip(RANDOM[self.case.random], self.terms, strict=True):
            covariance = model.random_covariance_[factor].to_numpy() * np.outer(unit, unit)
            values, vectors = np.linalg.eigh(covariance / model.residual_variance_)
            lambdas.append(vectors * np.sqrt(np.maximum(values, 0.0)))
        return self.criterion(lambdas, self.reported(model))

    def searched(self, seed, n_starts):
        """Return the lowest criterion of a search from random starts, but for runaway ends."""

        def objective(x):
            try:
                with np.errstate(all="ignore"):
                    found, error = self.criterion(*self.drawn(x)[:2])
            except np.linalg.LinAlgError:
                return 1e10
            return found if np.isfinite(found) and error < MOST else 1e10

        rng = np.random.default_rng(seed)
        n_parameters = self.drawn(np.zeros(100))[2]
        starts = [scale * rng.normal(size=n_parameters) for scale in (0.3, 1.0, 2.0)[:n_starts]]
        ends = [minimize(objective, x, method="BFGS", options={"maxiter": 200}) for x in starts]
        n_theta = sum(len(unit) * (len(unit) + 1) // 2 for _, unit in self.terms)
        inner = [end.fun for end in ends if (np.abs(end.x[n_theta:]) < FARTHEST).all()]
        return min(inner, default=np.inf)


def lags_of(partial):
    """Return correlations by lag, (V,), of partial ones, (V - 1,): always positive definite."""
    lags, forward = [1.0], np.zeros(0)
    for p in partial:
        left = 1.0 - forward @ np.array(lags[1:])
        lags.append(float(forward @ np.array(lags[1:])[::-1] + p * left))
        forward = np.append(forward - p * forward[::-1], p)
    return np.array(lags)


def checked(seed):
    """Fit a case and compare; return case, dense figures and criterion if these say something."""
    case = draw_case(seed)
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = case.fit()
        except ValueError as raised:
            error = raised
    if error is not None:
        assert is_own(error), error
        assert traceback.extract_tb(error.__traceback__)[-1].line.startswith("raise"), error
        return None
    said = " ".join(str(warning.message) for warning in caught)
    assert not any(issubclass(w.category, RuntimeWarning) for w in caught), said
    assert np.isfinite(model.criterion_)
    assert np.isfinite(model.residual_parameters_).all()
    if UNDECIDED.search(said):
        return None
    dense = Dense(case)
    if dense.condition > NEARLY_DEPENDENT:
        return None
    assert model.rank_ == len(dense.kept)
    there, error = dense.of_model(model)
    error += 1e-15 * dense.condition**2
    if error > MOST:
        return None
    assert model.criterion_ == pytest.approx(there, abs=RESTS / 10 + 1e3 * error)
    return dense, there, error


@seeds(20, 600)
def test_a_fit_with_a_residual_structure_ends_in_words_or_is_what_dense_algebra_makes_of_it(seed):
    checked(seed)


@seeds(4, 300)
def test_no_dense_search_of_a_residual_structure_gets_lower(seed):
    found = checked(seed)
    if found is not None and found[0].are_many_rows:
        dense, there, error = found
        assert there <= dense.searched(seed, 3) + RESTS + 1e3 * error
