"""What was learned is made again from records, equal and of the same types."""

import datetime
import json
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skmixed.design.design import Design
from skmixed.design.grammar.syntax import parse_random, split_formula
from skmixed.design.grouping import Grouping
from skmixed.design.records import checksum, read, write
from skmixed.design.source import Source

ROWS = np.arange(40)
FRAME = pd.DataFrame(
    {
        "x": np.sin(ROWS) + 1.5,
        "z": np.sqrt(ROWS),
        "i": ROWS % 4 - 1,
        "flag": ROWS % 3 == 0,
        "f": np.array(list("cab"))[ROWS % 3],
        "h": pd.Categorical(np.array(list("pqr"))[ROWS // 7 % 3], categories=list("sqrp")),
        "tot.al": ROWS / 3.0,
        "g": np.array(list("uvw"))[ROWS // 5 % 3],
        "k": ROWS // 4 % 5,
    }
)
ZONE = datetime.timezone(datetime.timedelta(hours=2))
LABELS = {
    "int8": np.array([3, 1, 2], dtype=np.int8),
    "unsigned": np.array([2**64 - 1, 1, 2], dtype=np.uint64),
    "float": np.array([0.1, 1e300, -2.5]),
    "float32": np.array([0.1, 1.5, 2.5], dtype=np.float32),
    "bool": np.array([True, False, True]),
    "text": np.array(["é", "a:b", ""], dtype=object),
    "str": pd.Series(["b", "a", "c"], dtype="str"),
    "numpy text": np.array(["b", "a", "c"]),
    "categories": pd.Categorical(["b", "a", "b"], categories=["c", "b", "a"]),
    "numbers as categories": pd.Categorical([2, 1, 2], categories=[3, 2, 1]),
    "dates": pd.Series(np.array(["2020-02-29", "1969-12-31T23:59:59.123"], "datetime64[ns]")),
    "seconds": np.array(["2020-02-29", "1970-01-01"], dtype="datetime64[s]"),
    "zones": pd.Series(pd.to_datetime(["2020-02-29", "2020-07-01"]).tz_localize("Europe/Berlin")),
    "durations": pd.Series(pd.to_timedelta(["1h", "2ns", "72h"])),
    "periods": pd.Series(pd.period_range("2020-01", periods=3, freq="M")),
    "intervals": pd.cut([1.0, 2.0, 3.0], 2),
    "tuples": pd.Series([(1, "a"), (1, "b"), (2, "a")]),
    "days": pd.Series([datetime.date(2020, 2, 29), datetime.date(1, 1, 1)], dtype=object),
    "moments": pd.Series([datetime.datetime(2020, 1, 1, 3, tzinfo=ZONE)], dtype=object),
    "times": pd.Series([datetime.time(3, 4), datetime.time(5)], dtype=object),
    "decimals": pd.Series([Decimal("1.10"), Decimal("2")], dtype=object),
    "fractions": pd.Series([Fraction(1, 3)], dtype=object),
    "uuids": pd.Series([UUID(int=7)], dtype=object),
    "bytes": pd.Series([b"\xff", b""], dtype=object),
    "mixed": pd.Series([1, "1", 1.5, (2, None), np.int16(4), np.str_("s")], dtype=object),
    "big": pd.Series([2**80, -1], dtype=object),
    "nullable": pd.Series([3, 1], dtype="Int32"),
}


def through_json(record):
    """The record after a file has held it."""
    return json.loads(json.dumps(record, default=np.ndarray.tolist))


def same(value, other):
    """Whether two values are equal and of the same types, all the way down."""
    if type(value) is not type(other):
        return False
    if isinstance(value, np.ndarray):
        if value.dtype != other.dtype or value.shape != other.shape:
            return False
        if value.dtype != object:
            return bool((value == other).all())
        value, other = list(value), list(other)
    if isinstance(value, list | tuple):
        return len(value) == len(other) and all(map(same, value, other))
    if isinstance(value, dict):
        return same(list(value.items()), list(other.items()))
    return bool(value == other)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(),
    st.binary(), st.dates(), st.datetimes(), st.times(), st.timedeltas(), st.fractions(),
    st.decimals(allow_nan=False), st.uuids(),
    st.floats(allow_nan=False).map(np.float64), st.integers(0, 255).map(np.uint8),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(st.one_of(st.text(), st.integers()), inner),
        st.lists(st.floats(allow_nan=False)).map(np.array),
    ),
    max_leaves=10,
)


@given(values)
def test_values_come_back_as_they_were(value):
    assert same(read(write(value)), value)
    assert same(read(through_json(write(value))), value)


@pytest.mark.parametrize("value", [object(), {1, 2}, lambda: 0, np.array([1j]), pd.Series([1])])
def test_other_values_are_refused(value):
    """By what files need; pickles take them as they are."""
    record = write([value])
    assert read(record)[0] is value
    with pytest.raises(TypeError, match="cannot be stored"):
        checksum(record)


def test_a_time_zone_that_has_no_name_is_refused():
    class Zone(datetime.tzinfo):
        def utcoffset(self, moment):
            return datetime.timedelta(minutes=7)

        def dst(self, moment):
            return None

        def tzname(self, moment):
            return "nowhere"

    with pytest.raises(TypeError, match="a Timestamp cannot be stored"):
        checksum(write(pd.Timestamp("2020-01-01", tz=Zone())))


def test_only_known_kinds_are_read():
    with pytest.raises(ValueError, match=r"'os\.system' is no kind of value that is stored"):
        read({"type": "os.system", "value": "true"})


@pytest.mark.parametrize("kind", LABELS)
def test_labels_keep_their_types(kind):
    columns = {"g": LABELS[kind], "h": np.arange(len(LABELS[kind])) % 2}
    grouping, codes = Grouping.learn(columns, [("g",), ("h", "g")])
    again = Grouping.from_record(through_json(grouping.record()))
    for one, other in zip(grouping.factors, again.factors, strict=True):
        assert one.index.key == other.index.key
        assert all(map(same, one.index.labels, other.index.labels))
    for one, other in zip(codes, again.codes(columns, len(columns["h"])), strict=True):
        assert_array_equal(one, other)
    levels = Grouping.of_levels([factor.index for factor in grouping.factors[::-1]])
    again = Grouping.from_record(through_json(levels.record()))
    for one, other in zip(codes[::-1], again.codes(columns, len(columns["h"])), strict=True):
        assert_array_equal(one, other)


def learn(fixed, random):
    groups = {name: FRAME[name] for name in ("g", "k")}
    if fixed is None:
        names = ("x", "z")
        source = Source(len(FRAME), names, FRAME[list(names)].to_numpy(), FRAME, groups)
        return source, Design.learn(source, parse_random(random), None)[0]
    source = Source(len(FRAME), frame=FRAME, groups=groups)
    return source, Design.learn(source, parse_random(random), split_formula(fixed))[0]


@pytest.mark.parametrize(
    "fixed",
    [
        None, "1", "0", "x + z", "x * f", "0 + f", "f:h - 1", "x + h + flag", "C(i) * x",
        "factor(f)", "log(x) + I(z^2) + `tot.al`", "poly(x, 3)", "poly(x, 2, raw=TRUE)",
        "bs(x, df=5) * f",
        "cs(x, df=4)", "cr(x, df=4, constraints='center')", "cc(x, df=4)",
        "scale(x) + center(z)",
        "scale(poly(x, 2))", "standardize(tot.al)", "C(f, contr.sum)", "C(f, contr.helmert) * x",
        "C(i, contr.poly)", "C(f, contr.treatment('b'))", "C(f, contr.sum, levels=['b', 'c', 'a'])",
        "C(f, contr.custom([[1, 0], [0, 1], [1, 1]]))", "C(flag, contr.SAS) + C(h, contr.diff)",
        "hashed(f, levels=3)", "2:x + np.cos(z):f", "x + offset(log(x)) + offset(2 * z)",
        "bs(x, knots=[1.0, 2.0], lower_bound=0, upper_bound=3)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("random", ["(1 | g)", "(x + I(z ** 2) | k:g) + (0 + f || g)"])
def test_designs_are_made_again_to_the_bit(fixed, random):
    pytest.importorskip("formulaic")
    source, design = learn(fixed, random)
    record = through_json(design.record())
    assert json.dumps(record) == json.dumps(through_json(Design.from_record(record).record()))
    again = Design.from_record(record)
    new = Source(3, source.names, None, FRAME.iloc[[30, 4, 7]], {})
    if fixed is None:
        new = Source(3, source.names, source.numeric[[30, 4, 7]], FRAME.iloc[[30, 4, 7]], {})
    for rows in (source, new):
        assert_array_equal(again.columns(rows), design.columns(rows), strict=True)
        assert_array_equal(again.offset(rows), design.offset(rows))
    assert again.layout == design.layout
    assert again.terms == design.terms
    assert again.fixed_names == design.fixed_names
    assert again.slopes == design.slopes
    assert again.learns_from_rows == design.learns_from_rows
    told, expected = again.fixed_design.part, design.fixed_design.part
    assert (told.terms, told.levels, told.numbers) == (
        expected.terms, expected.levels, expected.numbers,
    )  # fmt: skip
    for column, wanted in zip(told.columns, expected.columns, strict=True):
        assert column.numbers == wanted.numbers
        assert all(map(same, column.codes.values(), wanted.codes.values()))
    for matrix, wanted in zip(again.matrices, design.matrices, strict=True):
        assert matrix.learned_the_same_as(wanted)
        assert matrix.categories == wanted.categories


def test_a_record_tells_of_unknown_categories_as_the_design_does():
    _, design = learn("f * x + C(h, contr.sum)", "(1 | g)")
    again = Design.from_record(through_json(design.record()))
    for name, known in (("f", "'a', 'b', 'c'"), ("h", "'q', 'r', 'p'")):
        wrong = Source(2, frame=FRAME.iloc[:2].assign(**{name: "other"}), groups={})
        for each in (design, again):
            with pytest.raises(ValueError, match=f"not seen in fitting: 'other'; seen: {known}"):
                each.columns(wrong)
