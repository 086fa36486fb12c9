"""Random tables with models, as a user has them: few rows, odd columns, odd labels, odd weights."""

import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import skmixed
from skmixed import MixedLinearRegressor

PACKAGE = Path(skmixed.__file__).parent
# Of scikit-learn's: checks of input, and splitters, whose words are as good.
CHECKS = ("utils/validation.py", "utils/_param_validation.py", "model_selection/_split.py")

SIZES = [3, 5, 8, 12, 20, 30, 45]
SHAPES = ["crossed", "nested", "partly nested", "one level", "a level a row"]
COLUMNS = ["normal", "huge", "tiny", "far", "whole", "two values", "heavy", "close", "constant"]
LABELS = {
    "numbers": lambda codes: codes - 2,
    "text": lambda codes: np.array([f"L {code}" for code in codes], dtype=object),
    "categories": lambda codes: pd.Categorical([f"c{code}" for code in codes]).add_categories("z"),
    "markup": lambda codes: np.array([f"<b>{code}</b>&\"'`:" for code in codes], dtype=object),
    "large numbers": lambda codes: codes + 2**60,
}


def seeds(short: int, long: int) -> Any:
    """Parametrise over the seeds of the suite and, marked as a study, further ones.

    SKMIXED_SEEDS=FIRST:END replaces both: `SKMIXED_SEEDS=500:900 python -m pytest tests/fuzz`.
    """
    if given := os.environ.get("SKMIXED_SEEDS"):
        return pytest.mark.parametrize("seed", range(*map(int, given.split(":"))))
    further = [pytest.param(seed, marks=pytest.mark.study) for seed in range(short, long)]
    return pytest.mark.parametrize("seed", [*range(short), *further])


def passes_the_package(error: BaseException) -> bool:
    """Tell whether an error came through the package."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(Path(frame.filename).is_relative_to(PACKAGE) for frame in frames)


def is_own(error: BaseException) -> bool:
    """Tell whether an error was raised by the package, or by a check that it called, in words."""
    file = traceback.extract_tb(error.__traceback__)[-1].filename
    is_raised_here = Path(file).is_relative_to(PACKAGE) or file.endswith(CHECKS)
    return is_raised_here and len(str(error)) > 20


@dataclass(frozen=True, eq=False)
class Case:
    """A table with a response and the model of it; `codes` are the levels behind the labels."""

    X: pd.DataFrame
    y: np.ndarray
    weights: np.ndarray | None
    codes: dict[str, np.ndarray]
    terms: list[tuple[str, list[str], str]]  # grouping column, columns ("1" too), covariance
    parameters: dict[str, Any]

    @property
    def has_intercept(self) -> bool:
        formula = self.parameters["fixed"] or ""
        return self.parameters["fit_intercept"] and not formula.startswith("0")

    @property
    def features(self) -> list[str]:
        return [name for name in self.X if name not in self.codes]

    @property
    def random(self) -> str:
        """Return the random part as a formula."""
        parts = []
        for name, columns, _ in self.terms:
            slopes = [column for column in columns if column != "1"]
            parts.append(f"({' + '.join(['1' if '1' in columns else '0', *slopes])} | {name})")
        return " + ".join(parts)

    @property
    def model(self) -> MixedLinearRegressor:
        covariance = {name: kind for name, _, kind in self.terms}
        return MixedLinearRegressor(self.random, covariance=covariance, **self.parameters)

    def fit(self) -> MixedLinearRegressor:
        return self.model.fit(self.X, self.y, self.weights)


def draw_levels(rng: np.random.Generator, n: int, shape: str, before: np.ndarray | None) -> Any:
    """Draw the level of every row, (n,)."""
    n_levels = int(rng.integers(1, max(2, n // 2) + 1))
    plain = rng.integers(0, n_levels, n)
    if before is None:
        return {"one level": np.zeros(n, int), "a level a row": np.arange(n)}.get(shape, plain)
    if shape == "nested":
        return before * 3 + rng.integers(0, 3, n)
    if shape == "partly nested":
        return np.where(rng.random(n) < 0.6, before, plain)
    return np.minimum(rng.geometric(0.4, n) - 1, n_levels - 1) if rng.random() < 0.3 else plain


def draw_column(rng: np.random.Generator, kind: str, other: np.ndarray) -> np.ndarray:
    """Draw one numeric column, (n,)."""
    x = rng.normal(size=len(other))
    return {
        "normal": lambda: x,
        "huge": lambda: x * 10.0 ** rng.integers(3, 12),
        "tiny": lambda: x * 10.0 ** -rng.integers(3, 12),
        "far": lambda: x + 10.0 ** rng.integers(1, 5),
        "whole": lambda: np.round(3 * x),
        "two values": lambda: (x > 0).astype(float),
        "heavy": lambda: rng.standard_cauchy(len(x)),
        "close": lambda: other + 1e-4 * np.std(other) * x,
        "constant": lambda: np.full(len(x), 1.5),
    }[kind]()


def draw_weights(rng: np.random.Generator, n: int) -> tuple[np.ndarray | None, str]:
    """Draw weights and what they mean: none in most cases, else some of them zero."""
    weighting = str(rng.choice(["frequency", "precision"]))
    w = rng.integers(0, 4, n).astype(float)
    if weighting == "precision":
        w = 10.0 ** rng.uniform(-3, 3, n) * (rng.random(n) < 0.8)
        w *= 10.0 ** rng.choice([0, 0, -12, 12])
    return (w if rng.random() < 0.3 and (w > 0).sum() > 2 else None), weighting


def draw_structure(seed: int, number: int, columns: list[str], kind: str) -> str:
    """Draw a structure in the place of another, of a quarter of the terms of several columns."""
    rng = np.random.default_rng([seed, number])
    if len(columns) == 1 or rng.random() > 0.25:
        return kind
    ordered = [] if "1" in columns else ["ar1", "hetar1", "toep", "homtoep"]
    return str(rng.choice(["cs", "homcs", "rr(1)", *ordered]))


def draw_case(seed: int) -> Case:
    """Draw a table and a model of it."""
    rng = np.random.default_rng(seed)
    n, shape = int(rng.choice(SIZES)), str(rng.choice(SHAPES, p=[0.4, 0.25, 0.2, 0.08, 0.07]))
    X, codes, terms = {}, {}, []
    x = rng.normal(size=n)
    for number in range(rng.integers(0, 4)):
        x = draw_column(rng, str(rng.choice(COLUMNS, p=[0.36] + [0.08] * 8)), x)
        X[f"x{number}"] = x
    level = None
    for number in range(rng.integers(1, 4)):
        level = draw_levels(rng, n, shape, level)
        codes[f"g{number}"] = level
        slopes = list(rng.permutation(list(X))[: rng.integers(0, min(len(X), 2) + 1)])
        with_intercept = not slopes or rng.random() < 0.85
        kind = str(rng.choice(["unstructured", "diagonal", "identity"], p=[0.6, 0.3, 0.1]))
        columns = ["1"] * with_intercept + sorted(slopes)
        terms.append((f"g{number}", columns, draw_structure(seed, number, columns, kind)))
    y = rng.normal(size=n) * rng.choice([1.0, 0.1, 3.0])
    for name, columns, _ in terms:
        size = rng.choice([0, 0, 0.3, 1, 3, 30])
        for column in columns:
            values = np.ones(n) if column == "1" else (X[column] - X[column].mean())
            effects = size * rng.normal(size=codes[name].max() + 1)
            y = y + effects[codes[name]] * values / (np.abs(values).max() or 1.0)
    y = (y + rng.choice([0, 0, 10, 1000])) * 10.0 ** rng.choice([0, 0, 0, -9, -4, 4, 9])
    weights, weighting = draw_weights(rng, n)
    parameters = {
        "method": str(rng.choice(["reml", "ml"])),
        "fit_intercept": bool(rng.random() < 0.9),
        "weighting": weighting,
        "fixed": " + ".join(X) or "1" if rng.random() < 0.4 else None,
    }
    if not X:
        parameters |= {"fixed": "1", "fit_intercept": True}
    if parameters["fixed"] and not parameters["fit_intercept"]:  # a formula says so itself
        parameters |= {"fixed": f"0 + {parameters['fixed']}", "fit_intercept": True}
    labels = LABELS[str(rng.choice(list(LABELS)))]
    table = pd.DataFrame(X | {name: labels(level) for name, level in codes.items()})
    return Case(table, y, weights, codes, terms, parameters)
