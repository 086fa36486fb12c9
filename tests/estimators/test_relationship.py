"""Relationships in the linear estimator, from a user's side."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_predict

from skmixed import BayesianMixedRegressor, MixedLinearRegressor, Relationship, bayes, lmer
from skmixed.distributed import fit as distributed_fit
from skmixed.inference import (
    anova,
    bootstrap,
    compare_models,
    confidence_intervals,
    heritability,
    icc,
    influence,
    r2,
    ranova,
    sim,
)
from skmixed.model_selection import cross_val_predict as grouped_cross_val_predict
from skmixed.model_selection import profile_range

Q = 30
NAMES = [f"a{number:02d}" for number in range(Q)]
FAMILY = np.repeat(np.arange(10), 3)


@pytest.fixture(scope="module")
def data():
    """Rows of animals of ten families, whose members are alike."""
    rng = np.random.default_rng(3)
    animal = np.append(np.arange(Q), rng.integers(0, Q, 120))
    x = rng.standard_normal(150)
    y = x + 0.8 * rng.standard_normal(10)[FAMILY[animal]] + rng.standard_normal(150)
    return pd.DataFrame(
        {
            "y": y,
            "x": x,
            "animal": np.array(NAMES)[animal],
            "family": FAMILY[animal],
            "pen": rng.integers(0, 5, 150),
        }
    )


@pytest.fixture(scope="module")
def twins():
    """K of animals that are alike within a family: the model of the families."""
    return pd.DataFrame((FAMILY[:, None] == FAMILY).astype(float), NAMES, NAMES)


@pytest.fixture(scope="module")
def kinship():
    """K of distinct animals."""
    root = np.random.default_rng(4).standard_normal((Q, Q))
    return Relationship(root @ root.T / Q + 0.2 * np.eye(Q), NAMES)


@pytest.fixture(scope="module")
def model(data, kinship):
    return lmer("y ~ x + (1 | animal)", data, relationship={"animal": kinship})


@pytest.mark.parametrize("times", [1e-9, 1e9])
def test_units_of_the_covariance_do_not_matter(times, data, kinship, model):
    given = {"animal": Relationship(times * kinship.matrix, NAMES)}
    other = lmer("y ~ x + (1 | animal)", data, relationship=given)
    assert other.criterion_ == pytest.approx(model.criterion_, abs=1e-9)
    for function in (
        heritability,
        icc,
        r2,
        lambda m: anova(m, df="kenward-roger"),
        lambda m: confidence_intervals(m, method="profile").to_frame()[1:],
    ):
        found = [function(each) for each in (model, other)]
        frames = [each if isinstance(each, pd.DataFrame) else each.to_frame() for each in found]
        numbers = [each.select_dtypes("number").to_numpy() for each in frames]
        np.testing.assert_allclose(*numbers, rtol=1e-5, atol=1e-8)
    intervals = [
        each.predict_interval(data, method="bootstrap", random_state=0) for each in (model, other)
    ]
    assert intervals[0] == pytest.approx(intervals[1], rel=1e-5)


@pytest.mark.parametrize("beside", ["", " + (1 | pen)"])
def test_identical_animals_are_the_model_of_their_families(beside, data, twins):
    related = lmer(f"y ~ x + (1 | animal){beside}", data, relationship={"animal": twins})
    plain = lmer(f"y ~ x + (1 | family){beside}", data)
    assert related.criterion_ == pytest.approx(plain.criterion_, abs=1e-9)
    assert related.predict(data) == pytest.approx(plain.predict(data), abs=1e-9)
    intervals = [each.predict_interval(data) for each in (related, plain)]
    assert intervals[0] == pytest.approx(intervals[1], abs=1e-9)
    left_out = [each.loo_predict(data, data.y) for each in (related, plain)]
    assert left_out[0] == pytest.approx(left_out[1], abs=1e-9)
    for function in (
        anova,
        lambda m: anova(m, df="kenward-roger"),
        lambda m: confidence_intervals(m, method="profile"),
        r2,
        icc,
        ranova,
        lambda m: influence(m, data, data.y),
        lambda m: heritability(m, next(iter(m.n_groups_))),
    ):
        tables = [function(each) for each in (related, plain)]
        frames = [each.to_frame() for each in tables]
        numbers = [each.select_dtypes("number").to_numpy() for each in frames]
        np.testing.assert_allclose(*numbers, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("residual", [None, "var(pen)"])
@pytest.mark.parametrize("random", ["(1 | ANIMAL)", "(x | ANIMAL)", "(x || ANIMAL)"])
def test_several_effects_and_residual_structures_are_those_of_families(
    random, residual, data, twins
):
    table = data.assign(y=data.y + data.x * np.cos(data.family * 2.0))
    given = {"relationship": {"animal": twins}, "residual": residual}
    related = lmer(f"y ~ x + {random.replace('ANIMAL', 'animal')}", table, **given)
    plain = lmer(f"y ~ x + {random.replace('ANIMAL', 'family')}", table, residual=residual)
    assert related.criterion_ == pytest.approx(plain.criterion_, abs=1e-8)
    effects = [m.random_effects_[g] for m, g in ((related, "animal"), (plain, "family"))]
    np.testing.assert_allclose(effects[0][::3], effects[1], rtol=1e-4, atol=1e-6)
    covariances = [
        m.random_effects_covariance_[g] for m, g in ((related, "animal"), (plain, "family"))
    ]
    np.testing.assert_allclose(covariances[0][::3], covariances[1], rtol=1e-4, atol=1e-7)
    for function in (
        lambda m: m.predict_interval(table),
        lambda m: anova(m).to_frame(),
        lambda m: confidence_intervals(m).to_frame(),
        lambda m: next(iter(m.random_covariance_.values())),
        lambda m: r2(m).to_frame(),
        lambda m: ranova(m).to_frame() if residual is None else r2(m).to_frame(),
    ):
        numbers = [function(each) for each in (related, plain)]
        numbers = [
            each.select_dtypes("number").to_numpy() if isinstance(each, pd.DataFrame) else each
            for each in numbers
        ]
        np.testing.assert_allclose(*numbers, rtol=1e-4, atol=1e-6)


def test_effects_of_distinct_animals_are_those_of_the_dense_model(data, kinship):
    table = data.assign(y=data.y + data.x * np.cos(data.family * 2.0))
    model = lmer("y ~ x + (x | animal) + (1 | pen)", table, relationship={"animal": kinship})
    Z = np.eye(Q)[[NAMES.index(name) for name in table.animal]]
    x, pens = table.x.to_numpy(), np.eye(5)[table.pen]
    both = np.hstack([Z, Z * x[:, None]])
    sigma = model.random_covariance_["animal"].to_numpy()
    D = np.kron(sigma, kinship.matrix)
    V = both @ D @ both.T + model.random_covariance_["pen"].iloc[0, 0] * pens @ pens.T
    V += model.residual_variance_ * np.eye(len(x))
    inverse, X = np.linalg.inv(V), np.column_stack([np.ones(len(x)), x])
    beta = np.linalg.solve(X.T @ inverse @ X, X.T @ inverse @ table.y)
    rest = table.y - X @ beta
    criterion = np.linalg.slogdet(V)[1] + rest @ inverse @ rest
    criterion += np.linalg.slogdet(X.T @ inverse @ X)[1] + (len(x) - 2) * np.log(2 * np.pi)
    assert model.criterion_ == pytest.approx(criterion, abs=1e-8)
    modes = (D @ both.T @ inverse @ rest).reshape(2, Q).T
    assert model.random_effects_["animal"].to_numpy() == pytest.approx(modes, abs=1e-8)
    left = D - D @ both.T @ inverse @ both @ D
    found = model.random_effects_covariance_["animal"]
    assert found[:, 0, 1] == pytest.approx(np.diag(left[:Q, Q:]), abs=1e-8)
    theta = model.theta_
    for step in (1e-3, -1e-3):
        for place in range(len(theta)):
            moved = theta + step * np.eye(len(theta))[place]
            assert model.fit_.criterion_at(moved) > model.criterion_
    intervals = confidence_intervals(model, method="profile").to_frame()
    assert "cor_x.(Intercept)|animal" in intervals.index
    copy = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copy.predict(table), model.predict(table))


def test_simulated_slopes_are_related(data, twins):
    table = data.assign(y=data.y + data.x * np.cos(data.family * 2.0))
    model = lmer("y ~ x + (x | animal)", table, relationship={"animal": twins})
    rows = pd.DataFrame({"x": [1.0, -1.0, 1.0, 1.0], "animal": ["a00", "a01", "a03", "new"]})
    found = np.cov(model.simulate(rows, n_samples=20_000, random_state=0))
    z = np.column_stack([np.ones(4), rows.x])
    alike = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    expected = alike * (z @ model.random_covariance_["animal"].to_numpy() @ z.T)
    expected += model.residual_variance_ * np.eye(4)
    np.testing.assert_allclose(found, expected, atol=0.08)


def test_draws_are_those_of_the_families(data, twins):
    related = lmer("y ~ x + (1 | animal)", data, relationship={"animal": twins})
    plain = lmer("y ~ x + (1 | family)", data)
    found, expected = [bootstrap(m, 400, random_state=0).to_frame() for m in (related, plain)]
    np.testing.assert_allclose(found.estimate, expected.estimate, rtol=1e-6)
    np.testing.assert_allclose(found.std_error, expected.std_error, rtol=0.2)
    drawn, plainly = [sim(m, 2_000, random_state=0) for m in (related, plain)]
    of_animals = drawn.random_effects["animal"][:, :, 0]
    of_families = plainly.random_effects["family"][:, :, 0]
    assert of_animals[:, 0] == pytest.approx(of_animals[:, 1], abs=1e-6)
    np.testing.assert_allclose(of_animals[:, ::3].mean(0), of_families.mean(0), atol=0.1)
    np.testing.assert_allclose(of_animals[:, ::3].std(0), of_families.std(0), rtol=0.1)


def test_animals_without_rows_are_predicted_by_their_relatives(data, twins):
    seen = data[data.animal != "a00"]
    model = lmer("y ~ x + (1 | animal)", seen, relationship={"animal": twins})
    new = pd.DataFrame({"x": [0.0, 0.0], "animal": ["a00", "a01"]})
    assert model.n_groups_ == {"animal": Q}
    assert model.predict(new)[0] == pytest.approx(model.predict(new)[1])
    assert model.random_effects_["animal"].loc["a00"].item() != 0.0
    whole = lmer("y ~ x + (1 | family)", seen)
    known = compare_models(whole, model, names=["families", "animals"]).to_frame()
    assert known["aic"].iloc[0] == pytest.approx(known["aic"].iloc[1])
    assert model.criterion_ == pytest.approx(whole.criterion_, abs=1e-9)


def test_a_frame_and_a_relationship_are_one(data, kinship, model):
    frame = kinship.to_frame().sample(frac=1.0, random_state=0)
    frame = frame[frame.index]
    again = lmer("y ~ x + (1 | animal)", data, relationship={"animal": frame})
    assert again.criterion_ == model.criterion_
    assert np.array_equal(again.predict(data), model.predict(data))


def test_groups_come_any_way(data, kinship, model):
    X, y = data[["x", "animal"]], data.y
    regressor = MixedLinearRegressor(relationship={"animal": kinship})
    beside = regressor.fit(X[["x"]], y, groups=X["animal"])
    assert beside.criterion_ == pytest.approx(model.criterion_, abs=1e-9)
    plain = MixedLinearRegressor(relationship={"group": kinship})
    of_arrays = plain.fit(X[["x"]].to_numpy(), y, groups=X["animal"].to_numpy())
    assert of_arrays.criterion_ == pytest.approx(model.criterion_, abs=1e-9)


def test_clones_share_it_and_pickles_hold_it(data, kinship):
    regressor = MixedLinearRegressor("(1 | animal)", relationship={"animal": kinship})
    assert clone(regressor).relationship["animal"] is kinship
    X = data[["x", "animal"]]
    fitted = regressor.fit(X, data.y)
    copy = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(copy.predict(X), fitted.predict(X))
    assert copy.relationship["animal"] == kinship
    assert np.array_equal(copy.predict_interval(X), fitted.predict_interval(X))


def test_sums_of_parts_are_those_of_all(data, kinship):
    regressor = MixedLinearRegressor("(1 | animal)", relationship={"animal": kinship})
    X, y = data[["x", "animal"]], data.y
    whole = clone(regressor).fit(X, y)
    growing = clone(regressor).partial_fit(X[:70], y[:70]).partial_fit(X[70:], y[70:])
    assert growing.criterion_ == pytest.approx(whole.criterion_, abs=1e-8)
    chunks = [data[["x", "animal", "y"]][:70], data[["x", "animal", "y"]][70:]]
    apart = distributed_fit(clone(regressor), chunks, target="y")
    assert apart.criterion_ == pytest.approx(whole.criterion_, abs=1e-8)
    assert apart.predict(X) == pytest.approx(whole.predict(X), abs=1e-8)


def test_folds_by_subtraction_are_refits(data, kinship):
    regressor = MixedLinearRegressor("(1 | animal)", relationship={"animal": kinship})
    X, y, cv = data[["x", "animal"]], data.y, GroupKFold(4)
    by_sums = grouped_cross_val_predict(regressor, X, y, groups=X["animal"], cv=cv)
    refitted = cross_val_predict(regressor, X, y, groups=X["animal"], cv=cv)
    np.testing.assert_allclose(by_sums, refitted, atol=1e-5)
    others = cross_val_predict(MixedLinearRegressor("(1 | animal)"), X, y, groups=X.animal, cv=cv)
    assert np.abs(refitted - others).max() > 0.05  # relatives tell of animals that are left out


def test_update_groups_tells_of_animals_that_were_not_there(data, twins):
    X, y = data[["x", "animal"]], data.y
    seen = ~X.animal.isin(["a00", "a01", "a02"])  # a family
    model = MixedLinearRegressor("(1 | animal)", relationship={"animal": twins})
    model.fit(X[seen], y[seen])
    assert model.random_effects_["animal"].loc["a00"].item() == 0.0
    one = X.animal == "a00"
    model.update_groups(X[one], y[one])
    effects = model.random_effects_["animal"].loc[["a00", "a01", "a02"]].to_numpy()
    assert np.ptp(effects) == pytest.approx(0.0, abs=1e-9)
    assert np.abs(effects).min() > 0.0


@pytest.mark.parametrize(
    ("random", "relationship", "more", "message"),
    [
        ("cs(x | animal)", "animal", {}, "only the covariances unstructured, diagonal"),
        ("(x | animal)", "animal", {"prior": "wishart"}, "for which there is no prior"),
        ("(x | animal)", "animals", {"residual": "var(pen)"}, r"there are \['animal'\]"),
        ("(1 | animal)", "animals", {}, r"there are \['animal'\]"),
        ("(1 | animal)", "animal", {"solver": "em"}, "use 'auto' or 'newton'"),
    ],
)
def test_what_does_not_go_together_is_refused(random, relationship, more, message, data, kinship):
    model = MixedLinearRegressor(random, relationship={relationship: kinship}, **more)
    with pytest.raises(ValueError, match=message):
        model.fit(data.drop(columns=["y", "family"]), data.y)


def test_labels_that_are_not_there_are_named(data, kinship):
    model = MixedLinearRegressor("(1 | animal)", relationship={"animal": kinship})
    other = data[["x"]].assign(animal=FAMILY[0] + np.arange(150) % 30)
    with pytest.raises(
        ValueError, match=r"30 of its levels, such as 0, 1, 2; known ones are like \['a00'\]"
    ):
        model.fit(other, data.y)
    some = data[["x", "animal"]].replace({"animal": {"a05": "b05"}})
    with pytest.raises(ValueError, match="'animal' lacks 1 of its levels, such as 'b05'"):
        model.fit(some, data.y)


def test_simulated_animals_are_related(data, twins):
    model = lmer("y ~ x + (1 | animal)", data, relationship={"animal": twins})
    variance = model.random_covariance_["animal"].iloc[0, 0]
    rows = pd.DataFrame({"x": 0.0, "animal": ["a00", "a01", "a03", "new", "new"]})
    found = np.cov(model.simulate(rows, n_samples=20_000, random_state=0))
    found -= model.residual_variance_ * np.eye(5)
    alike = np.zeros((5, 5))
    alike[:2, :2] = alike[2, 2] = alike[3:, 3:] = variance
    np.testing.assert_allclose(found, alike, atol=0.06)


def test_functions_that_draw_levels_refuse_related_ones(data, model):
    for kind in ("residual", "cases"):
        with pytest.raises(ValueError, match="are not exchangeable"):
            bootstrap(model, 3, kind=kind, X=data, y=data.y, random_state=0)
    with pytest.raises(ValueError, match="related levels have no sampler"):
        bayes.sample(model)
    assert "relationship" not in BayesianMixedRegressor().get_params()


def test_heritability_has_an_interval_within_its_range(model, data):
    table = heritability(model).to_frame().loc["animal"]
    assert 0.0 < table.lower < table.estimate < table.upper < 1.0
    share = icc(model).to_frame().loc["animal"].item()
    assert table.estimate == pytest.approx(share)
    flat = lmer("y ~ x + (1 | family)", data.assign(y=data.x + np.tile([1.0, -1.0], 75)))
    at_zero = heritability(flat, "family").to_frame().loc["family"]
    assert (at_zero.estimate, at_zero.lower, at_zero.upper) == (0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="name the factor"):
        heritability(flat)
    with pytest.raises(ValueError, match="random slopes"):
        heritability(lmer("y ~ x + (x | family)", data), "family")
    with pytest.raises(ValueError, match="not between 0 and 1"):
        heritability(model, level=95)


def test_the_range_is_where_the_likelihood_is_highest():
    rng = np.random.default_rng(0)
    places = pd.DataFrame(rng.uniform(0, 10, (80, 2)), [f"p{i:02d}" for i in range(80)], list("ab"))
    K = Relationship.matern(places, 1.5).matrix
    effects = np.linalg.cholesky(K + 1e-9 * np.eye(80)) @ rng.standard_normal(80)
    X = pd.DataFrame({"place": np.repeat(places.index, 4)})
    y = np.repeat(effects, 4) + 0.5 * rng.standard_normal(320)
    model = MixedLinearRegressor("(1 | place)")
    found = profile_range(model, X, y, places, factor="place")
    assert found.interval[0] < 1.5 < found.interval[1]
    lowest = found.table.criterion.min()
    assert found.estimator.criterion_ == pytest.approx(lowest, abs=1e-6)
    for range_ in (0.9 * found.range, 1.1 * found.range):
        given = {"place": Relationship.matern(places, range_)}
        other = clone(model).set_params(relationship=given).fit(X, y)
        assert other.criterion_ > lowest
    for end in found.interval:
        given = {"place": Relationship.matern(places, end)}
        other = clone(model).set_params(relationship=given).fit(X, y)
        assert other.criterion_ - lowest == pytest.approx(3.841459, abs=1e-2)
    with pytest.raises(ValueError, match="limits"):
        profile_range(model, X, y, places, factor="place", limits=(2.0, 1.0))
