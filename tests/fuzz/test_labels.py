"""Labels of every kind on every way in: the groups of plain codes, or an error, never others."""

import datetime
import pickle
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

from skmixed import MixedLinearRegressor
from skmixed.inference import random_effects_table
from tests.fuzz.cases import is_own, passes_the_package, seeds

N, N_LEVELS = 48, 8
_RNG = np.random.default_rng(3)
CODES = np.arange(N) % N_LEVELS
NUMBERS = _RNG.integers(0, 10, (N, 2)).astype(float)
Y = NUMBERS[:, 0] / 2 + 2 * _RNG.normal(size=N_LEVELS)[CODES] + _RNG.normal(size=N)


def of_objects(*labels):
    """Return a function that gives every code one of eight labels."""
    return lambda codes: pd.Series([labels[code] for code in codes], dtype=object)


def in_dtype(dtype):
    return lambda codes: pd.Series(codes).astype(dtype)


DAY = pd.Timestamp("2024-01-01")
KINDS = {
    **{
        str(dtype): in_dtype(dtype)
        for dtype in ("int8", "uint64", "float16", "float32", "Int64", "Float64", "int32[pyarrow]")
    },
    "big-endian": lambda codes: pd.Series(codes.astype(">i4")),
    "negative": lambda codes: pd.Series(codes - 4),
    "near 2**60": lambda codes: pd.Series(codes + 2**60),
    "near 2**64": lambda codes: pd.Series(codes.astype(np.uint64) + np.uint64(2**64 - 9)),
    "ends of int64": lambda codes: pd.Series(
        np.array([-(2**63), -5, 0, 1, 2, 3, 2**62, 2**63 - 1])[codes]
    ),
    "fractions": lambda codes: pd.Series(codes / 10),
    "float32 fractions": lambda codes: pd.Series((codes / 10).astype(np.float32)),
    "text": of_objects(*"abcdefgh"),
    "fixed width": lambda codes: np.array([f"L{code}" for code in codes]),
    "string": lambda codes: pd.Series([f"L{code}" for code in codes], dtype="string"),
    "accents": of_objects("é", "e\u0301", "日本", "😀", "a b", "a:b", "a\0b", ""),
    "zeros": of_objects("a", "a\0", "a\0\0", "b", "b:c", "c", "`q`", "'s\""),
    "blanks": of_objects("a", " a", "a ", "A", "\n", "\t", "nan", "None"),
    "long": of_objects(*("x" * 20_000 + letter for letter in "abcdefgh")),
    "mixed": of_objects(1, "1", 2, "2", "a", 3.5, "3.5", -1),
    "decimals": of_objects(*(Decimal(n) / 3 for n in range(8))),
    "dates": of_objects(*(datetime.date(2020, 1, 1 + n) for n in range(8))),
    "times": lambda codes: pd.Series(DAY + pd.to_timedelta(codes, "D")),
    "times of a zone": lambda codes: pd.Series(
        DAY.tz_localize("Europe/Paris") + pd.to_timedelta(codes, "D")
    ),
    "durations": lambda codes: pd.Series(pd.to_timedelta(codes, "D")),
    "periods": lambda codes: pd.Series(pd.period_range("2020-01", periods=8, freq="M")[codes]),
    "intervals": lambda codes: pd.Series(pd.interval_range(0, 8)[codes]),
    "tuples": of_objects(*((n, "t") for n in range(8))),
    "bytes": of_objects(*(bytes([65 + n]) for n in range(8))),
    "categories": lambda codes: pd.Series(
        pd.Categorical([f"L{c}" for c in codes], [f"L{n}" for n in range(9, -1, -1)], ordered=True)
    ),
    "categories of integers": lambda codes: pd.Series(pd.Categorical(codes)),
    "categories near 2**60": lambda codes: pd.Series(pd.Categorical(codes + 2**60)),
    "dates of arrow": lambda codes: pd.Series(
        [datetime.date(2020, 1, 1 + c) for c in codes], dtype=pd.ArrowDtype(pa.date32())
    ),
    "decimals of arrow": lambda codes: pd.Series(
        [Decimal(int(c)) for c in codes], dtype=pd.ArrowDtype(pa.decimal128(10, 2))
    ),
    "sparse": lambda codes: pd.Series(pd.arrays.SparseArray(codes)),
    "complex": lambda codes: pd.Series(codes.astype(complex)),
}


def table_of(labels):
    return pd.DataFrame({"x": NUMBERS[:, 0], "z": NUMBERS[:, 1], "g": labels})


def checked(model):
    assert list(model.n_groups_.values()) == [N_LEVELS]
    return model


def fitted(table):
    return checked(MixedLinearRegressor("(1 | g)").fit(table, Y))


def by_argument(labels):
    return checked(MixedLinearRegressor().fit(NUMBERS, Y, groups=labels)).predict(NUMBERS, labels)


def in_halves(labels):
    model = MixedLinearRegressor()
    for rows in (slice(N // 2), slice(N // 2, N)):
        model.partial_fit(NUMBERS[rows], Y[rows], groups=labels[rows])
    return checked(model).predict(NUMBERS, labels)


def stored(labels):
    model = pickle.loads(pickle.dumps(fitted(table_of(labels))))
    assert len(random_effects_table(model).to_frame()) == N_LEVELS
    assert repr(model.summary())
    return model.predict(table_of(labels))


def elsewhere(convert):
    """Predict for the same rows in another form; what is learned stays."""
    return lambda labels: fitted(table_of(labels)).predict(convert(table_of(labels)))


def combined(labels):
    table = table_of(labels).assign(h="c")
    model = checked(MixedLinearRegressor("(1 | g:h)").fit(table, Y))
    return model.predict(table)


def row_by_row(labels):
    model, table = fitted(table_of(labels)), table_of(labels)
    return np.concatenate([model.predict(table.iloc[n : n + 1]) for n in range(N)])


def through(library):
    def fit(labels):
        table = library(table_of(labels))
        return fitted(table).predict(table)

    return fit


WAYS = {
    "column": lambda labels: fitted(table_of(labels)).predict(table_of(labels)),
    "argument": by_argument,
    "halves": in_halves,
    "stored": stored,
    "combined": combined,
    "row by row": row_by_row,
    "polars": through(pl.from_pandas),
    "pyarrow": through(pa.Table.from_pandas),
    "records": elsewhere(lambda table: pd.DataFrame(table.to_dict("records"))),
    "to categories": elsewhere(lambda table: table.astype({"g": "category"})),
    "to objects": elsewhere(lambda table: table.astype({"g": object})),
    "with a missing one": lambda labels: fitted(table_of(labels)).predict(
        table_of(labels).reindex([*range(N), N + 5]).fillna({"x": 0.0, "z": 0.0})
    )[:N],
}
EXPECTED = WAYS["column"](CODES)


def compare(kind, way):
    """Compare predictions; an error is the package's, or that of a library which made the table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            found = WAYS[way](KINDS[kind](CODES))
        except (ValueError, TypeError, NotImplementedError, pa.ArrowException) as error:
            if passes_the_package(error) and not is_own(error):
                raise
            return
        assert_allclose(found, EXPECTED, rtol=0, atol=1e-6, err_msg=f"{kind}, {way}")


@seeds(60, 60)
def test_a_kind_of_labels_on_a_way_in(seed):
    rng = np.random.default_rng(seed)
    compare(str(rng.choice(list(KINDS))), str(rng.choice(list(WAYS))))


@pytest.mark.study
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_labels_on_every_way_in(kind, way):
    compare(kind, way)
