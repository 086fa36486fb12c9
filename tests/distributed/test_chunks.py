"""Rows that come in chunks: equal to one fit, whatever the split; errors that say where."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skmixed import (
    MixedClassifier,
    MixedGeneralizedRegressor,
    MixedLinearRegressor,
    distributed,
)
from skmixed.exceptions import PartitionError
from tests.distributed.rows import (
    assert_same_fit,
    engine_fit,
    model,
    table,
    whole_fit,
)


def chunks(rows, size=300):
    return [rows[i : i + size] for i in range(0, len(rows), size)]


@pytest.mark.parametrize(
    ("random", "fixed", "features"),
    [
        ("(x | g) + (1 | h)", None, ["x", "z", "g", "h"]),
        ("(1 | h/g)", None, ["g", "x", "h"]),
        ("(x || g)", None, ["x", "z", "g"]),
        ("(exp(x) | g)", None, ["x", "g"]),
        ("(c | g)", "x * c + log(z)", ["x", "z", "g", "c"]),
        ("(1 | g)", "0 + c + x:c", ["x", "g", "c"]),
        ("(1 | g)", "C(h) + x + offset(z)", ["x", "z", "g", "h"]),
        ("(1 | g)", "C(h):c + x", ["x", "g", "h", "c"]),
        ("(1 | g)", "C(c, levels=['blue', 'green', 'red']) + x", ["x", "g", "c"]),
        ("(1 | g)", "bs(x, knots=[0.0], lower_bound=-9, upper_bound=9)", ["x", "g"]),
    ],
)
def test_fit_is_that_of_all_rows_together(random, fixed, features):
    rows = table()
    whole = whole_fit(rows, features, random=random, fixed=fixed)
    parts = engine_fit(iter(chunks(rows)), features, random=random, fixed=fixed)
    assert_same_fit(parts, whole, rtol=1e-9 if "z" in features or "bs(" in str(fixed) else 1e-10)


@pytest.mark.parametrize("size", [1, 7, 1_999, 5_000])
def test_split_does_not_matter(size):
    rows = table(300 if size < 10 else 2_000)
    assert_same_fit(engine_fit(chunks(rows, size)), whole_fit(rows), rtol=1e-7)


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_threads_do_not_matter(n_jobs):
    rows = table()
    assert_same_fit(engine_fit(chunks(rows), n_jobs=n_jobs), engine_fit(chunks(rows)), rtol=1e-9)


def test_order_of_categories_is_that_of_their_type_where_all_parts_share_it():
    rows = table()
    rows["c"] = pd.Categorical(rows["c"], categories=["red", "never", "green", "blue"])
    fitted = engine_fit(chunks(rows))
    assert_same_fit(fitted, whole_fit(rows), rtol=1e-9)
    assert "c[T.blue]" in fitted.coef_covariance_.columns
    assert "c[T.red]" not in fitted.coef_covariance_.columns


def test_categories_that_are_given_have_their_order():
    rows = table()
    fitted = distributed.fit(
        model("(1 | g)", "c + x"),
        chunks(rows),
        target="y",
        features=["x", "c", "g"],
        categories={"c": ["green", "red", "blue"]},
    )
    ordered = rows.assign(c=pd.Categorical(rows["c"], categories=["green", "red", "blue"]))
    whole = model("(1 | g)", "c + x").fit(ordered[["x", "c", "g"]], rows["y"])
    assert_same_fit(fitted, whole)
    np.testing.assert_allclose(
        fitted.predict(rows[["x", "c", "g"]]), whole.predict(ordered[["x", "c", "g"]]), atol=1e-9
    )


def test_category_that_is_not_among_those_given_is_an_error_that_names_the_chunk():
    rows = table()
    rows.loc[350, "c"] = "purple"
    with pytest.raises(PartitionError, match=r"^chunk 1: .*'c' has the values \['purple'\]"):
        distributed.fit(
            model("(1 | g)", "c"),
            chunks(rows),
            target="y",
            features=["c", "g"],
            categories={"c": ["green", "red", "blue"]},
        )


def test_groups_beside_the_features():
    rows = table()
    whole = MixedLinearRegressor(tol=1e-13).fit(rows[["x"]], rows["y"], groups=rows[["g", "h"]])
    parts = distributed.fit(
        MixedLinearRegressor(tol=1e-13), chunks(rows), target="y", groups=["g", "h"], features=["x"]
    )
    assert_same_fit(parts, whole)
    lazy = distributed.predict(parts, chunks(rows))
    np.testing.assert_allclose(
        np.concatenate(list(lazy)), whole.predict(rows[["x"]], rows[["g", "h"]]), atol=1e-9
    )


def test_all_other_columns_are_features():
    rows = table()[["x", "g", "y", "w"]]
    fitted = distributed.fit(model(None, None), chunks(rows), target="y", groups="g", weight="w")
    assert list(fitted.feature_names_in_) == ["x"]
    assert fitted.formula_ == "y ~ x + (1 | g)"


@pytest.mark.parametrize("random", ["all", "none", ["h"]])
def test_predictions_chunk_by_chunk(random):
    rows = table()
    fitted = whole_fit(rows)
    parts = list(distributed.predict(fitted, chunks(rows), random=random))
    assert len(parts) == len(chunks(rows))
    np.testing.assert_array_equal(np.concatenate(parts), fitted.predict(rows, random=random))


def test_polars_and_arrow_chunks():
    rows = table()
    polars = [pl.from_pandas(chunk) for chunk in chunks(rows)]
    whole = whole_fit(rows)
    assert_same_fit(engine_fit(polars), whole, rtol=1e-9)
    assert_same_fit(engine_fit(chunk.to_arrow() for chunk in polars), whole, rtol=1e-9)


def test_one_frame_is_one_chunk():
    rows = table()
    assert_same_fit(engine_fit(rows), whole_fit(rows), rtol=1e-9)


def test_empty_chunks_and_chunks_without_weight_count_for_nothing():
    rows = table()
    light = rows[:300].assign(w=0, h="nowhere")
    assert_same_fit(engine_fit([rows[:0], *chunks(rows), light]), whole_fit(rows), rtol=1e-9)


def test_further_rows_after_a_fit_in_parts():
    rows = table()
    parts = engine_fit(chunks(rows[:1500]))
    parts.partial_fit(rows[1500:].drop(columns=["y", "w"]), rows["y"][1500:], rows["w"][1500:])
    assert_same_fit(parts, whole_fit(rows), rtol=1e-9)


def test_levels_far_apart_keep_their_digits():
    rows = table()
    rows["y"] += rows["g"] * 1e6
    parts = engine_fit(chunks(rows), ["x", "g"], random="(1 | g)", fixed=None)
    whole = whole_fit(rows, ["x", "g"], random="(1 | g)", fixed=None)
    np.testing.assert_allclose(parts.residual_variance_, whole.residual_variance_, rtol=1e-8)


def test_weights_that_are_no_whole_numbers_warn_as_in_fit():
    rows = table()
    rows["w"] = rows["w"] + 0.5
    with pytest.warns(UserWarning, match="not whole numbers"):
        engine_fit(chunks(rows))
    assert_same_fit(
        engine_fit(chunks(rows), weighting="precision"),
        whole_fit(rows, weighting="precision"),
        rtol=1e-9,
    )


@pytest.mark.parametrize(
    ("column", "message"), [("x", "'x' has missing values in row 1"), ("g", "NaN"), ("y", "NaN")]
)
def test_missing_value_is_an_error_that_names_the_chunk(column, message):
    rows = table().astype({"g": float})
    rows.loc[1211, column] = np.nan
    with pytest.raises(PartitionError, match=f"^chunk 4: .*{message}"):
        engine_fit(chunks(rows))


def test_chunk_that_cannot_be_made_is_named():
    def broken():
        yield table(50)
        raise OSError("the disk is gone")

    with pytest.raises(PartitionError, match="chunk 1 cannot be read: the disk is gone"):
        engine_fit(broken())


def test_chunk_without_a_column_is_named():
    rows = table()
    with pytest.raises(PartitionError, match=r"^chunk 1: the columns \['z'\] are missing"):
        engine_fit([rows[:300], rows[300:].drop(columns="z")])


@pytest.mark.parametrize("fixed", ["scale(x)", "poly(x, 2)", "bs(x, df=4)", "C(c, contr.sum)"])
def test_what_learns_from_all_rows_is_refused(fixed):
    rows = table()
    rows.loc[:299, "c"] = "red"
    with pytest.raises(ValueError, match="learns"):
        engine_fit(chunks(rows), random="(1 | g)", fixed=fixed)


def test_parts_that_know_only_their_own_few_rows_are_refused_too():
    with pytest.raises(ValueError, match=r"'scale\(x\)' would learn different values"):
        engine_fit(chunks(table(200), 40), random="(1 | g)", fixed="scale(x)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "nothing"}, r"\['nothing'\] do not exist; the frame has"),
        ({"target": "y", "features": ["x", "y"]}, r"\['y'\] are the target or the weight"),
        ({"target": "y", "groups": "shop"}, r"\['shop'\] do not exist; the frame has \['x'"),
        ({"target": "y", "weight": "weights"}, r"\['weights'\] do not exist; the frame has"),
    ],
)
def test_names_that_are_not_there(arguments, message):
    with pytest.raises(ValueError, match=message):
        distributed.fit(model(), [table(50)], **arguments)


@pytest.mark.parametrize("frame", [3, object(), np.ones((3, 2)), [np.ones((3, 2))]])
def test_frames_of_another_kind(frame):
    with pytest.raises(TypeError, match="frame"):
        distributed.fit(model(), frame, target="y")


def test_frame_that_is_lazy_says_what_to_do():
    with pytest.raises(TypeError, match="sink_parquet"):
        distributed.fit(model(), pl.LazyFrame({"y": [1.0]}), target="y")


def test_model_of_another_kind():
    with pytest.raises(TypeError, match="MixedLinearRegressor is expected"):
        distributed.fit("model", [table(50)], target="y")


@pytest.mark.parametrize("kind", [MixedClassifier, MixedGeneralizedRegressor])
def test_generalized_models_are_refused_with_the_reason(kind):
    with pytest.raises(TypeError, match=f"{kind.__name__}, which cannot be fitted in one pass"):
        distributed.fit(kind("(1 | school)"), [table(50)], target="y")


@pytest.mark.parametrize("frames", [[], [table(50)[:0]], [table(50).assign(w=0)]])
def test_no_rows(frames):
    with pytest.raises(ValueError, match="there are no"):
        engine_fit(frames)


def test_fit_that_fails_changes_nothing():
    fitted = whole_fit(table())
    before = fitted.coef_.copy()
    with pytest.raises(ValueError, match=r"the columns \['nothing'\] do not exist; the"):
        distributed.fit(fitted, [table(50)], target="nothing")
    np.testing.assert_array_equal(fitted.coef_, before)


def test_progress_without_an_end(capsys):
    engine_fit(iter(chunks(table())), verbose=1)
    assert "rows: 2.00k" in capsys.readouterr().err
