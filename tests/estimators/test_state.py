"""What a fitted estimator holds, forgets and survives."""

import copy
import pickle
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError

from skmixed import MixedLinearRegressor, lmer
from skmixed.bayes import Gamma
from skmixed.datasets import load_sleepstudy
from skmixed.exceptions import FormulaSyntaxError, UnidentifiedWarning
from tests.estimators.example import pupils

TABLE = pupils()
Y = TABLE["y"]
NAMED = TABLE[["x", "z", "school", "class"]]
NUMBERS = TABLE[["x", "z"]]
SLEEP = load_sleepstudy()

FITS = {
    "columns": lambda: MixedLinearRegressor("(x | school) + (1 | class)").fit(NAMED, Y),
    "nested": lambda: MixedLinearRegressor("(1 | school/class)").fit(NAMED, Y),
    "array": lambda: MixedLinearRegressor(group_features=[2, 3]).fit(NAMED.to_numpy(), Y),
    "formula": lambda: lmer("y ~ poly(x, 2) * class + offset(z) + (1 | school)", TABLE),
    "linear": lambda: MixedLinearRegressor().fit(NUMBERS, Y),
}
ROWS = {
    "columns": NAMED,
    "nested": NAMED,
    "array": NAMED.to_numpy(),
    "formula": TABLE,
    "linear": NUMBERS,
}


def attributes(model):
    """Everything a user can read off a fitted model."""
    names = [name for name in dir(model) if name.endswith("_") and not name.startswith("_")]
    return {name: getattr(model, name) for name in names if hasattr(model, name)}


def assert_same(one, other, rtol):
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key], rtol)
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, rtol=rtol, atol=0.0)
    elif isinstance(one, float) or (isinstance(one, np.ndarray) and one.dtype.kind == "f"):
        assert_allclose(other, one, rtol=rtol)
    elif type(one).__module__.startswith("skmixed"):  # the fit and the design say it elsewhere
        assert type(one) is type(other)
    else:
        assert_array_equal(other, one)


def assert_same_state(model, other, rtol=0.0):
    assert_same(attributes(model), attributes(other), rtol)


# --- fitting again ---


@pytest.mark.parametrize(
    ("params", "args", "error"),
    [
        ({}, (NAMED, None), ValueError),
        ({}, (NAMED, Y.where(Y < 5)), ValueError),
        ({}, (NAMED, Y[1:]), ValueError),
        ({}, (NAMED.assign(x=np.nan), Y), ValueError),
        ({}, (NAMED.assign(school=None), Y), ValueError),
        ({}, (NAMED.assign(more="text"), Y), ValueError),
        ({}, (NAMED.drop(columns="school"), Y), ValueError),
        ({}, (NAMED.assign(more=1.0), Y, -np.ones(150)), ValueError),
        ({}, (NUMBERS.to_numpy(), Y), ValueError),
        ({"random": "(x | school"}, (NAMED, Y), FormulaSyntaxError),
        ({"random": "(w | school)"}, (NAMED.assign(more=1.0), Y), ValueError),
        ({"fixed": "x + w"}, (NAMED.assign(more=1.0), Y), ValueError),
        ({"covariance": {"town": "identity"}}, (NAMED.assign(more=1.0), Y), ValueError),
        ({"solver": "none"}, (NAMED, Y), InvalidParameterError),
    ],
    ids=range(14),
)
def test_a_fit_that_fails_leaves_the_earlier_one(params, args, error):
    model = FITS["columns"]()
    state = dict(vars(model))
    before = model.predict(NAMED)
    model.set_params(**params)
    with pytest.raises(error):
        model.fit(*args)
    changed = {name for name, value in vars(model).items() if state.get(name) is not value}
    assert changed <= set(params)
    assert set(vars(model)) == set(state)
    assert_array_equal(model.predict(NAMED), before)
    assert model.n_features_in_ == 4
    assert "Error terms" in str(model.summary())


def test_a_first_fit_that_fails_leaves_nothing():
    model = MixedLinearRegressor("(1 | school)")
    with pytest.raises(ValueError, match="Input y contains NaN"):
        model.fit(NAMED.drop(columns="class"), Y.where(Y < 5))
    assert vars(model).keys() == model.get_params().keys()


@pytest.mark.parametrize("first", FITS)
@pytest.mark.parametrize("second", ["columns", "array", "linear"])
def test_fitting_again_forgets_the_earlier_fit(first, second):
    model, fresh = FITS[first](), FITS[second]()
    model.set_params(**fresh.get_params())
    model.fit(ROWS[second], Y)
    assert_same_state(model, fresh)
    assert_array_equal(model.predict(ROWS[second]), fresh.predict(ROWS[second]))
    assert str(model.summary()) == str(fresh.summary())


def test_a_count_of_left_out_rows_belongs_to_its_fit():
    model = lmer("y ~ x + (1 | school)", TABLE.assign(y=Y.where(Y < 5)))
    assert model.n_dropped_ > 0
    model.fit(NAMED, Y)
    assert "left out" not in str(model.summary())
    assert "y ~ x + (1 | school)" in str(model.summary())


def test_levels_of_an_earlier_fit_are_unknown():
    model = MixedLinearRegressor("(1 | school)", handle_unknown="nan", fixed="x")
    model.fit(NAMED, Y)
    some = NAMED["school"] != "north"
    model.fit(NAMED[some], Y[some])
    assert_array_equal(np.isnan(model.predict(NAMED)), ~some)


def test_fitting_twice_gives_the_same():
    model = FITS["columns"]()
    again = FITS["columns"]().fit(NAMED, Y)
    assert_same_state(model, again)


def test_a_model_keeps_its_data_to_itself():
    X, y = NAMED.copy(), Y.to_numpy(copy=True)
    groups = X[["school"]].copy()
    model = MixedLinearRegressor().fit(X[["x", "z"]], y, groups=groups)
    before = model.predict(NUMBERS, NAMED["school"])
    y[:] = 0.0
    groups["school"] = "none"
    X["x"] = 0.0
    assert_array_equal(model.predict(NUMBERS, NAMED["school"]), before)
    assert list(model.random_effects_["school"].index) == sorted(set(NAMED["school"]))


# --- copies ---


def test_clone_and_parameters():
    params = {
        "random": {"school": ["1", "x"]},
        "fixed": "x + z",
        "context": {"f": np.sin},
        "group_features": ["class"],
        "covariance": {"school": "diagonal"},
        "residual": "var(school)",
        "relationship": None,
        "residual_variance": None,
        "method": "ml",
        "prior": {"school": Gamma(2.0, 1.0)},
        "fit_intercept": True,
        "weighting": "precision",
        "handle_unknown": "nan",
        "solver": "newton",
        "max_iter": 50,
        "tol": 1e-6,
        "n_jobs": 2,
        "verbose": 0,
    }
    model = MixedLinearRegressor(**params)
    assert model.get_params() == params
    assert clone(model).get_params() == params
    assert MixedLinearRegressor().set_params(**params).get_params() == params
    model.fit(NAMED, Y)
    assert model.get_params() == params  # fit changes no parameter
    assert vars(clone(model)).keys() == params.keys()
    with pytest.raises(ValueError, match="Invalid parameter 'reml'"):
        model.set_params(reml=True)
    assert MixedLinearRegressor("(1 | g)").random == "(1 | g)"
    with pytest.raises(TypeError):
        MixedLinearRegressor("(1 | g)", "x")


def test_repr_shows_what_was_set():
    assert repr(MixedLinearRegressor("(1 | g)", method="ml")) == (
        "MixedLinearRegressor(method='ml', random='(1 | g)')"
    )


def through_joblib(model, tmp_path):
    joblib.dump(model, tmp_path / "model.joblib")
    return joblib.load(tmp_path / "model.joblib")


@pytest.mark.parametrize(
    "copied",
    [
        lambda model, _: pickle.loads(pickle.dumps(model)),
        lambda model, _: pickle.loads(pickle.dumps(model, protocol=4)),
        lambda model, _: copy.deepcopy(model),
        lambda model, _: copy.copy(model),
        through_joblib,
    ],
    ids=["pickle", "pickle4", "deepcopy", "copy", "joblib"],
)
@pytest.mark.parametrize("kind", FITS)
def test_copies_are_equal(kind, copied, tmp_path):
    model = FITS[kind]()
    for _ in range(2):  # before and after anything was asked of the model
        other = copied(model, tmp_path)
        assert_array_equal(other.predict(ROWS[kind]), model.predict(ROWS[kind]))
        assert_same_state(model, other, rtol=1e-9)
        assert str(other.summary()) == str(model.summary())
    other.set_params(random=None, fixed=None, group_features=None).fit(NUMBERS, Y)
    assert model.get_params() == FITS[kind]().get_params()


def wide_table(n):
    """Rows on a grid of levels and categories, so that only their number differs."""
    rng = np.random.default_rng(0)
    rows = np.arange(n)
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "kind": np.array(["u", "v", "w"], dtype=object)[rows % 3],
            "school": rows % 10,
            "class": rows // 10 % 4,
            "y": rng.normal(size=n) + rows % 10,
        }
    )


@pytest.mark.parametrize(
    "fit",
    [
        lambda table: MixedLinearRegressor("(x | school)").fit(table[["x", "school"]], table["y"]),
        lambda table: MixedLinearRegressor("(1 | school/class)", fixed="x * kind").fit(
            table, table["y"]
        ),
        lambda table: lmer("y ~ poly(x, 3) + kind + (kind | school) + (1 | class)", table),
        lambda table: MixedLinearRegressor().fit(
            table[["x"]].to_numpy(),
            table["y"],
            groups=table[["school", "class"]].astype("category"),
        ),
        lambda table: lmer("y ~ x + kind", table),
    ],
    ids=["slopes", "nested", "crossed", "categories", "linear"],
)
def test_no_row_is_kept(fit):
    sizes = []
    for n in (240, 24_000):
        model = fit(wide_table(n))
        sizes.append(len(pickle.dumps(model)))
        attributes(model), model.summary()  # what was computed from the fit is not kept either
        sizes.append(len(pickle.dumps(model)))
    assert max(sizes) - min(sizes) < 300  # numbers need more digits
    assert max(sizes) < 60_000


def test_predictions_of_many_threads():
    model = pickle.loads(pickle.dumps(FITS["columns"]()))  # with nothing computed yet
    expected = FITS["columns"]().predict(NAMED)
    start = threading.Barrier(8)

    def work(i):
        start.wait()
        rows = slice(i, None) if i % 2 else slice(None)
        found = [model.predict(NAMED.iloc[rows]) for _ in range(5)]
        model.random_effects_covariance_, model.summary()
        return all(np.allclose(each, expected[rows], rtol=1e-12) for each in found)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_fits_of_many_threads():
    expected = FITS["formula"]().predict(TABLE)
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: FITS["formula"](), range(8)))
    for model in models:
        assert_allclose(model.predict(TABLE), expected, rtol=1e-10)


# --- what the attributes are ---


def test_fitted_attributes():
    model = FITS["columns"]()
    assert model.coef_.shape == (2,)
    assert isinstance(model.intercept_, float)
    assert list(model.coef_covariance_.index) == ["(Intercept)", "x", "z"]
    assert list(model.coef_covariance_.columns) == ["(Intercept)", "x", "z"]
    assert list(model.random_effects_) == ["school", "class"]
    school = model.random_effects_["school"]
    assert list(school.columns) == ["(Intercept)", "x"]
    assert list(school.index) == sorted(set(TABLE["school"]))
    assert school.index.name == "school"
    assert model.random_effects_covariance_["school"].shape == (5, 2, 2)
    assert model.random_effects_covariance_["class"].shape == (3, 1, 1)
    covariance = model.random_covariance_["school"]
    assert list(covariance.index) == list(covariance.columns) == ["(Intercept)", "x"]
    assert_allclose(covariance, covariance.T)
    assert (np.linalg.eigvalsh(covariance) >= 0).all()
    assert model.n_groups_ == {"school": 5, "class": 3}
    assert model.theta_.shape == (4,)
    assert model.rank_ == 3
    assert model.n_features_in_ == 4
    assert list(model.feature_names_in_) == ["x", "z", "school", "class"]
    assert model.converged_
    assert model.n_iter_ >= 1
    assert model.log_likelihood_ == pytest.approx(-model.criterion_ / 2)
    assert model.aic_ == pytest.approx(model.criterion_ + 2 * (3 + 4 + 1))
    assert model.bic_ == pytest.approx(model.criterion_ + np.log(150) * (3 + 4 + 1))


def test_the_conditional_covariance_shrinks_the_prior_one():
    model = FITS["columns"]()
    prior = model.random_covariance_["school"].to_numpy()
    for conditional in model.random_effects_covariance_["school"]:
        assert (np.linalg.eigvalsh(prior - conditional) > -1e-8).all()


def test_attributes_are_the_callers_to_change():
    model = FITS["columns"]()
    before = model.predict(NAMED)
    for frames in (model.random_effects_, model.random_covariance_):
        frame = frames["school"]
        frame.iloc[:, :] = 0.0
    assert model.random_effects_["school"].to_numpy().any()
    assert model.random_covariance_["school"].to_numpy().any()
    assert_array_equal(model.predict(NAMED), before)


def test_verbose_prints_a_line_an_iteration(capsys):
    MixedLinearRegressor("(x | school)", verbose=1).fit(NAMED.drop(columns="class"), Y)
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(
        re.match(r"(several starts at once: |start \d of \d: )?criterion ", each) for each in lines
    )
    MixedLinearRegressor("(x | school)").fit(NAMED.drop(columns="class"), Y)
    assert capsys.readouterr().out == ""


def test_verbose_numbers_the_starts(capsys):
    rng = np.random.default_rng(0)  # two correlated columns on sixty levels: other starts are tried
    g = np.repeat(np.arange(60), 5)
    x = rng.standard_normal((300, 2))
    y = (rng.standard_normal((60, 2))[g] * x).sum(axis=1) + rng.standard_normal(300)
    X = pd.DataFrame({"x": x[:, 0], "z": x[:, 1], "g": g, "h": rng.permutation(g)})
    MixedLinearRegressor("(x | g) + (z | h)", verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("criterion ")
    assert any(
        re.match(r"(several starts at once|start 2 of \d): criterion ", each) for each in lines
    )


def test_a_long_crossed_fit_says_once_how_long_it_takes(monkeypatch, caplog):
    monkeypatch.setattr("skmixed.estimators.mixed._search_lines._UNSAID_SECONDS", 0.0)
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"g": rng.integers(30, size=400), "h": rng.integers(20, size=400)})
    y = rng.standard_normal(30)[X["g"]] + rng.standard_normal(20)[X["h"]] + rng.standard_normal(400)
    MixedLinearRegressor("(1 | g) + (1 | h)").fit(X, y)
    assert len(caplog.records) == 1
    assert "a dense matrix of 20 x 20 random effects" in caplog.text
    assert re.search(r"About \d+ s to go", caplog.text)
    for quiet in ({"solver": "newton"}, {"verbose": 1}):
        caplog.clear()
        MixedLinearRegressor("(1 | g) + (1 | h)", **quiet).fit(X, y)
        assert not caplog.records


def test_warnings_point_at_the_call_of_fit():
    model = MixedLinearRegressor("(1 | school)")
    with pytest.warns(UnidentifiedWarning) as caught:
        model.fit(NAMED.drop(columns="class"), np.ones(150))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="whole numbers") as caught:
        model.fit(NAMED.drop(columns="class"), Y, np.full(150, 1.5))
    assert caught[0].filename == __file__
