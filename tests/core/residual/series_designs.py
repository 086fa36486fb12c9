"""Random series with correlated and unequal residuals, as the core sees them and densely."""

from dataclasses import dataclass

import numpy as np

from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.residual.products import ResidualProduct
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout, Rows
from tests.oracle import dense_fit, levels_to_columns

STRATA = ("low", "mid", "high")
STRUCTURES = [
    "ar1", "car1", "cs", "var", "power", "var power", "ar1 var", "car1 var", "cs var",
    "ar1 power", "car1 power", "cs power", "ar1 var power",
]  # fmt: skip
FACTORS = ["none", "intercept", "slope", "uncorrelated", "chain", "crossed"]


def structure_of(name: str) -> ResidualProduct:
    words = name.split()
    (correlation,) = {"ar1", "car1", "cs"} & set(words) or [None]
    return ResidualProduct.of(correlation, STRATA if "var" in words else (), "power" in words)


@dataclass(frozen=True)
class SeriesDesign:
    """Rows of series within the levels of factors."""

    columns: np.ndarray  # (n, 4): 1, x, t, y
    series: np.ndarray  # (n,)
    position: np.ndarray  # (n,)
    stratum: np.ndarray  # (n,)
    value: np.ndarray  # (n,)
    codes: tuple[np.ndarray, ...]  # (n,) a factor
    random: tuple[tuple[int, ...], ...]  # columns that vary over each factor
    covariance: str
    weights: np.ndarray | None = None

    @classmethod
    def drawn(cls, seed, factors="none", *, whole=True, n_series=12, weighted=False):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, 7, n_series)
        sizes[:2] = 4, 6
        series = np.repeat(np.arange(n_series), sizes)
        steps = (
            rng.integers(1, 3, len(series)) if whole else rng.choice([0.25, 0.5, 1.5], len(series))
        )
        position = np.concatenate([np.cumsum(s) for s in np.split(steps, np.cumsum(sizes)[:-1])])
        n = len(series)
        stratum = rng.integers(0, 3, n)
        value = rng.choice([0.5, 1.0, 2.0, 3.0], n)
        x, t = rng.standard_normal(n), position - position.mean()
        group = series % (5 if factors == "chain" else n_series // 2)
        codes = {"none": (), "chain": (group, group % 2), "crossed": (group, series // 4)}
        own = codes.get(factors, (group,))
        effects = sum((rng.standard_normal(c.max() + 1)[c] for c in own), np.zeros(n))
        noise = rng.standard_normal(n) * np.array([0.5, 1.0, 1.5])[stratum]
        noise += 0.7 * rng.standard_normal(n_series)[series]
        y = 1 + 0.5 * x + 0.2 * t + effects + noise
        columns = np.column_stack([np.ones(n), x, t, y])
        shuffled = rng.permutation(n)
        random = tuple((0, 2) if factors in ("slope", "uncorrelated") else (0,) for _ in own)
        weights = rng.choice([0.5, 1.0, 2.0], n) if weighted else None
        return cls(
            columns[shuffled], series[shuffled], position[shuffled].astype(float),
            stratum[shuffled], value[shuffled], tuple(c[shuffled] for c in own), random,
            "diagonal" if factors == "uncorrelated" else "unstructured", weights,
        )  # fmt: skip

    def spec(self, method="reml") -> ModelSpec:
        terms = tuple(
            Term(f, columns, self.covariance if len(columns) > 1 else "unstructured")
            for f, columns in enumerate(self.random)
        )
        weighting = "frequency" if self.weights is None else "precision"
        return ModelSpec((0, 1, 2), terms, method, weighting)

    @property
    def layout(self) -> Layout:
        factors = tuple(FactorLayout((f"f{i}",), z) for i, z in enumerate(self.random))
        return Layout(("1", "x", "t", "y"), factors)

    def rows(self, chosen, indexes=None):
        """Some of the rows, in levels of their own or in those given, and of their residuals."""
        levels = [np.unique(c[chosen], return_inverse=True) for c in self.codes]
        own = tuple(GroupIndex((f"f{i}",), (lab,)) for i, (lab, _) in enumerate(levels))
        weights = None if self.weights is None else self.weights[chosen]
        codes = tuple(code for _, code in levels)
        rows = Rows(np.ascontiguousarray(self.columns[chosen]), codes, own, weights)
        rows = rows if indexes is None else rows.at_levels(indexes)
        return rows, self.residual_rows(chosen)

    def tables(self, structure: ResidualProduct, chosen=None) -> ResidualTables:
        chosen = np.arange(len(self.series)) if chosen is None else chosen
        return ResidualTables.of(self.layout, *self.rows(chosen), structure)

    def residual_rows(self, chosen=None) -> ResidualRows:
        chosen = np.arange(len(self.series)) if chosen is None else chosen
        labels, series = np.unique(self.series[chosen], return_inverse=True)
        return ResidualRows(
            series, GroupIndex(("series",), (labels,)),
            self.position[chosen], self.stratum[chosen], self.value[chosen],
        )  # fmt: skip

    def covariance_of_residuals(self, name: str, fit: ResidualFit) -> np.ndarray:
        """R relative to sigma^2, from the reported parameters, as the textbook writes it."""
        found = {p.name: p.value for p in fit.residual_parameters}
        together = self.series[:, None] == self.series
        if "car1" in name or "ar1" in name:
            r = found["car1" if "car1" in name else "ar1"]
            R = together * r ** np.abs(self.position[:, None] - self.position)
        elif "cs" in name:
            R = together * found["cs"] + (1 - found["cs"]) * np.eye(len(self.series))
        else:
            R = np.eye(len(self.series))
        sd = np.ones(len(self.series))
        if "var" in name:
            reference = STRATA[fit.structure.reference]
            ratios = np.array([found.get(f"ratio {s}/{reference}", 1.0) for s in STRATA])
            sd = sd * ratios[self.stratum]
        if "power" in name:
            sd = sd * self.value ** found["power"]
        R = sd[:, None] * R * sd
        if self.weights is not None:
            R = R / np.sqrt(self.weights[:, None] * self.weights)
        return R

    def dense(self, R: np.ndarray, lambdas, *, reml: bool):
        """The textbook fit at given R and lambdas: rows are whitened, log|R| added."""
        white = np.linalg.inv(np.linalg.cholesky(R))
        Zs = [
            levels_to_columns(c, self.columns[:, list(z)], c.max() + 1)
            for c, z in zip(self.codes, self.random, strict=True)
        ]
        X, y = white @ self.columns[:, :3], white @ self.columns[:, 3]
        found = dense_fit(y, X, [white @ Z for Z in Zs], lambdas, reml=reml)
        return found, found.criterion + np.linalg.slogdet(R)[1]
