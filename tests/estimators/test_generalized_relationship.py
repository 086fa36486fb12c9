"""Related levels in generalized and ordinal models: their levels are columns."""

import pickle

import numpy as np
import pandas as pd
import pytest

from skmixed import MixedClassifier, Relationship, bayes, clmm, glmer, lmer
from skmixed.inference import bootstrap

Q = 30
NAMES = [f"a{number:02d}" for number in range(Q)]
FAMILY = np.repeat(np.arange(10), 3)


@pytest.fixture(scope="module")
def data():
    """Rows of animals of ten families, whose members are alike."""
    rng = np.random.default_rng(3)
    animal = np.append(np.arange(Q), rng.integers(0, Q, 270))
    x = rng.standard_normal(300)
    eta = 0.5 * x + 1.2 * rng.standard_normal(10)[FAMILY[animal]]
    return pd.DataFrame(
        {
            "x": x,
            "animal": np.array(NAMES)[animal],
            "family": FAMILY[animal],
            "pen": rng.integers(0, 6, 300),
            "hit": (rng.random(300) < 1 / (1 + np.exp(-eta))).astype(int),
            "count": rng.poisson(np.exp(0.4 * eta)),
            "stars": np.digitize(eta + rng.logistic(size=300), [-1, 1]),
            "y": eta + rng.standard_normal(300),
        }
    )


@pytest.fixture(scope="module")
def twins():
    """K of animals that are alike within a family: the model of the families."""
    return pd.DataFrame((FAMILY[:, None] == FAMILY).astype(float), NAMES, NAMES)


MODELS = {
    "binomial": lambda random, d, **k: glmer(f"hit ~ x + {random}", d, family="binomial", **k),
    "poisson": lambda random, d, **k: glmer(f"count ~ x + {random}", d, family="poisson", **k),
    "slopes": lambda random, d, **k: glmer(
        f"count ~ x + {random.replace('1 |', 'x |')}", d, family="poisson", **k
    ),
    "ordinal": lambda random, d, **k: clmm(f"stars ~ x + {random}", d, **k),
    "beside": lambda random, d, **k: glmer(
        f"count ~ x + {random} + (1 | pen)", d, family="poisson", **k
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_identical_animals_are_the_model_of_their_families(name, data, twins):
    related = MODELS[name]("(1 | animal)", data, relationship={"animal": twins})
    plain = MODELS[name]("(1 | family)", data)
    assert related.criterion_ == pytest.approx(plain.criterion_, abs=1e-8)
    predicted = [
        m.predict_proba(data) if name == "ordinal" else m.predict(data) for m in (related, plain)
    ]
    np.testing.assert_allclose(*predicted, rtol=1e-5)
    effects = related.random_effects_["animal"].to_numpy()[::3]
    np.testing.assert_allclose(effects, plain.random_effects_["family"], rtol=1e-4, atol=1e-6)
    errors = [m.random_effects_covariance_[g] for m, g in ((related, "animal"), (plain, "family"))]
    np.testing.assert_allclose(errors[0][::3], errors[1], rtol=1e-4)
    assert related.n_groups_["animal"] == Q
    assert (np.sqrt(np.diag(related.coef_covariance_)) == pytest.approx(
        np.sqrt(np.diag(plain.coef_covariance_)), rel=1e-5))  # fmt: skip


# lme4 1.1, Zt of glFormula() multiplied by the transposed Cholesky factor of K, tolPwrss=1e-13, its
# criterion lowered to 1e-12 by nloptwrap: criterion, deviation, coefficients.
R_FITS = {
    "binomial": [249.081383477, 1.491112479, 0.466074162, 1.286835105],
    "poisson": [644.204192369, 0.486102224, 0.319222367, 0.383228268],
}


@pytest.mark.parametrize("times", [1.0, 1e10])
@pytest.mark.parametrize("family", R_FITS)
def test_fits_are_those_of_lme4_with_a_root_in_z(family, times):
    i, levels = np.arange(240), np.arange(17)
    first, x = (i * 7 + i // 11) % 17, ((i * 37) % 101) / 50.0 - 1.0
    z = 1.6 * np.sin(first * 0.5) + 0.7 * x + 1.5 * np.sin(i * 12.9898)
    y = (z > 0) if family == "binomial" else np.round(np.exp(0.5 * z))
    table = pd.DataFrame({"y": y.astype(int), "x": x, "first": first})
    K = Relationship(times * np.exp(-abs(levels[:, None] - levels) / 3), levels)
    model = glmer("y ~ x + (1 | first)", table, family=family, relationship={"first": K})
    criterion, deviation, *coef = R_FITS[family]
    assert model.criterion_ == pytest.approx(criterion, abs=2e-7)
    found = np.sqrt(times * model.random_covariance_["first"].iloc[0, 0])
    assert found == pytest.approx(deviation, rel=2e-5)
    assert [model.intercept_, *model.coef_] == pytest.approx(coef, rel=3e-5)


def test_animals_without_rows_have_effects_by_their_relatives(data, twins):
    seen, others = data[data.animal != "a00"], pd.DataFrame({"x": [0.0] * 3})
    model = MODELS["poisson"]("(1 | animal)", seen, relationship={"animal": twins})
    predicted = model.predict(others.assign(animal=["a00", "a01", "unknown"]))
    assert predicted[0] == pytest.approx(predicted[1])
    plain = MODELS["poisson"]("(1 | family)", seen)
    assert predicted == pytest.approx(plain.predict(others.assign(family=[0, 0, 99])), rel=1e-5)
    half = data[data.animal < "a20"]
    grown = MODELS["poisson"]("(1 | animal)", half, relationship={"animal": twins})
    new = data[data.animal == "a24"]
    grown.update_groups(new, new["count"])
    effects = grown.random_effects_["animal"].loc[["a24", "a25", "a27"], "(Intercept)"]
    assert effects["a24"] == pytest.approx(effects["a25"])
    assert effects["a24"] != pytest.approx(effects["a27"], abs=1e-3)


def test_simulated_animals_are_related(data, twins):
    model = MODELS["poisson"]("(1 | animal)", data, relationship={"animal": twins})
    rows = pd.DataFrame({"x": 0.0, "animal": ["a00", "a01", "a03", "new", "new"]})
    found = np.corrcoef(model.simulate(rows, n_samples=20_000, random_state=0))
    alike = [found[0, 1], found[3, 4]]
    apart = np.abs([found[0, 2], found[0, 3], found[2, 3]])
    assert min(alike) > 0.05
    assert max(apart) < 0.03
    drawn = bootstrap(model, 20, random_state=0, X=data, y=data["count"]).to_frame()
    assert drawn.std_error["sd_(Intercept)|animal"] > 0.0


def test_pickles_are_whole_and_estimators_take_it(data, twins):
    K = Relationship(twins)
    model = MixedClassifier("(1 | animal)", fixed="x", relationship={"animal": K})
    model.fit(data, data.hit)
    copy = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copy.predict_proba(data), model.predict_proba(data))
    assert model.formula_ == "y ~ x + (1 | animal)"


def test_members_are_related_too(data, twins):
    parents = data.assign(sire=data.animal, dam=data.animal)
    given = {"mm(sire, dam)": twins}
    plain = lmer("y ~ x + (1 | family)", parents)
    related = lmer("y ~ x + (1 | mm(sire, dam))", parents, relationship=given)
    assert related.criterion_ == pytest.approx(plain.criterion_, abs=1e-8)
    counted = MODELS["poisson"]("(1 | mm(sire, dam))", parents, relationship=given)
    families = MODELS["poisson"]("(1 | family)", parents)
    assert counted.criterion_ == pytest.approx(families.criterion_, abs=1e-8)


@pytest.mark.parametrize(
    ("random", "given", "message"),
    [
        ("(1 | animal)", lambda K: {"animals": K}, r"there are \['animal'\]"),
        ("(1 | animal)", lambda K: {"animal": K.iloc[:5, :5]}, "does not know 25 of its levels"),
        ("cs(x | animal)", lambda K: {"animal": K}, "only the covariances unstructured"),
    ],
)
def test_what_does_not_go_together_is_refused(random, given, message, data, twins):
    model = MixedClassifier(random, fixed="x", relationship=given(twins))
    with pytest.raises(ValueError, match=message):
        model.fit(data, data.hit)
    plain = MODELS["poisson"]("(1 | animal)", data, relationship={"animal": twins})
    with pytest.raises(ValueError, match="have no sampler"):
        bayes.sample(plain, X=data, y=data["count"])
