"""Folds of models with residual structures are those of refits, whatever they leave of a series."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, KFold, LeaveOneGroupOut

from skmixed import MixedLinearRegressor
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.model_selection import WithinGroupKFold, cross_val_predict, cross_validate

RNG = np.random.default_rng(8)
N_SERIES, LENGTH = 24, 6


def _table():
    """Series of six visits, some of which are missing, in two strata and four sites."""
    e = RNG.standard_normal((N_SERIES, LENGTH))
    for j in range(1, LENGTH):
        e[:, j] = 0.6 * e[:, j - 1] + 0.8 * e[:, j]
    subject, visit = np.divmod(np.arange(N_SERIES * LENGTH), LENGTH)
    kind = np.array(["a", "b"])[subject % 2]
    x = RNG.standard_normal(len(subject))
    y = 1 + 0.5 * x + 0.2 * visit + 0.7 * RNG.standard_normal(N_SERIES)[subject]
    y += e.ravel() * np.where(kind == "a", 1.0, 1.6)
    table = pd.DataFrame(
        {"subject": subject, "visit": visit, "kind": kind, "x": x, "site": subject // 6}
    )
    table["time"] = visit + RNG.uniform(-0.3, 0.3, len(table))
    table["size"] = RNG.uniform(0.5, 3.0, len(table))
    kept = RNG.uniform(size=len(table)) < 0.9
    return table[kept].reset_index(drop=True), y[kept]


X, Y = _table()
MODELS = {
    "ar1": ("(1 | subject)", "x + visit", "ar1(visit | subject)"),
    "rows in order": ({}, "x + visit", "ar1(| subject)"),
    "nested": ("(1 | site/subject)", "x", "ar1(visit | subject) * var(kind)"),
    "times": ("(1 | subject)", "x", "car1(visit | subject)"),
    "any times": ("(1 | subject)", "x", "car1(time | subject)"),
    "sizes": ("(1 | subject)", "x", "power(size)"),
    "shared and sizes": ({}, "x", "cs(| subject) * power(size)"),
    "cs": ({}, "x + visit", "cs(| subject) * var(kind)"),
    "strata": ("(1 | site)", "x", "var(kind)"),
    "visits": ({}, "x + visit", "us(visit | subject)"),
    "lags": ({}, "x", "toeplitz(visit | subject)"),
}


def model_of(name):
    random, fixed, residual = MODELS[name]
    return MixedLinearRegressor(random, fixed=fixed, residual=residual)


def same(one, other, rel=1e-5):
    """Two searches from different starts, that end at one optimum."""
    assert one.criterion_ == pytest.approx(other.criterion_, abs=1e-7)
    assert_allclose(one.coef_, other.coef_, rtol=rel, atol=rel)
    assert_allclose(one.residual_parameters_, other.residual_parameters_, rtol=rel, atol=rel)
    assert one.residual_variance_ == pytest.approx(other.residual_variance_, rel=rel)
    assert len(one.fit_.tables.counts) >= len(other.fit_.tables.counts)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_whole_series_are_subtracted(name, weighted, monkeypatch):
    model, splitter = model_of(name), GroupKFold(4)
    params = {"sample_weight": RNG.choice([0.5, 1.0, 2.0], len(X))} if weighted else {}
    model.set_params(weighting="precision" if weighted else "frequency")
    part_sizes = []
    monkeypatch.setattr(ResidualTables, "without", _counting(ResidualTables.without, part_sizes))
    scores = cross_validate(
        model, X, Y, split_by="subject", cv=splitter, return_estimator=True, params=params
    )
    splits = list(splitter.split(X, Y, X["subject"]))
    assert sorted(part_sizes) == sorted(len(test) for _, test in splits)
    for found, score, (train, test) in zip(
        scores["estimator"], scores["test_score"], splits, strict=True
    ):
        own = {key: values[train] for key, values in params.items()}
        again = clone(model).fit(X.iloc[train], Y[train], **own)
        same(found, again)
        assert score == pytest.approx(again.score(X.iloc[test], Y[test]), abs=1e-5)


def _counting(without, sizes):
    def counted(self, rows, residual_rows):
        sizes.append(len(rows.columns))
        return without(self, rows, residual_rows)

    return counted


@pytest.mark.parametrize("name", ["ar1", "cs", "visits", "strata"])
def test_folds_that_tear_series_are_fitted_to_the_rows_left(name):
    model, splitter = model_of(name), KFold(3, shuffle=True, random_state=0)
    kept = np.flatnonzero(X["visit"] < (3 if name == "visits" else LENGTH))
    table, y = X.iloc[kept], Y[kept]
    scores = cross_validate(model, table, y, cv=splitter, return_estimator=True)
    for found, (train, _) in zip(scores["estimator"], splitter.split(table), strict=True):
        same(found, clone(model).fit(table.iloc[train], y[train]))


def test_rows_left_of_a_series_keep_their_places():
    numbered = X.assign(place=X.groupby("subject").cumcount())
    splitter = WithinGroupKFold(3)
    found, named = (
        cross_validate(
            MixedLinearRegressor("(1 | subject)", fixed="x", residual=residual),
            numbered,
            Y,
            groups=numbered["subject"],
            cv=splitter,
            return_estimator=True,
        )["estimator"]
        for residual in ("ar1(| subject)", "ar1(place | subject)")
    )
    for one, other in zip(found, named, strict=True):
        same(one, other)
    (train, _), *_ = splitter.split(X, Y, X["subject"])
    joined = clone(found[0]).fit(X.iloc[train], Y[train])  # as if what is left were neighbours
    assert abs(joined.residual_parameters_["ar1"] / found[0].residual_parameters_["ar1"] - 1) > 1e-3


def test_places_that_would_be_lost_are_asked_for():
    model = MixedLinearRegressor("(1 | subject)", fixed="x + C(kind)", residual="ar1(| subject)")
    with pytest.raises(ValueError, match="a training set has only some rows of 1"):
        cross_val_predict(model, X, Y, cv=3)
    model.set_params(residual="ar1(visit | subject)")
    assert np.isfinite(cross_val_predict(model, X, Y, cv=3)).all()
    model.set_params(residual="ar1(| subject)")
    by_series = cross_val_predict(model, X, Y, split_by="subject", cv=GroupKFold(3))
    assert np.isfinite(by_series).all()


def test_one_series_at_a_time_and_half_of_them_are_left_out():
    model = model_of("ar1")
    for splitter in (LeaveOneGroupOut(), GroupShuffleSplit(3, test_size=0.7, random_state=1)):
        fits = cross_validate(model, X, Y, split_by="subject", cv=splitter, return_estimator=True)[
            "estimator"
        ]
        for found, (train, _) in list(zip(fits, splitter.split(X, Y, X["subject"]), strict=True))[
            :4
        ]:
            again = clone(model).fit(X.iloc[train], Y[train])
            same(found, again)
            later = X.iloc[train].assign(visit=X["visit"] + LENGTH)
            assert_allclose(
                found.predict(later, serial=True), again.predict(later, serial=True), rtol=1e-5
            )


def test_a_stratum_and_the_longest_series_may_go():
    table = X.assign(kind=np.where(X["subject"] == 0, "rare", X["kind"]))
    table = table[(table["subject"] == 3) | (table["visit"] < 5)]
    y = Y[table.index]
    table = table.reset_index(drop=True)
    for residual in ("var(kind)", "cs(| subject) * var(kind)", "cs(| subject)"):
        model = MixedLinearRegressor({}, fixed="x", residual=residual, weighting="precision")
        for weights in ({}, {"sample_weight": RNG.uniform(0.3, 0.7, len(table))}):
            fits = cross_validate(
                model,
                table,
                y,
                split_by="subject",
                cv=LeaveOneGroupOut(),
                params=weights,
                return_estimator=True,
            )["estimator"]
            for subject in (0, 3):
                kept = np.flatnonzero(table["subject"] != subject)
                own = {key: values[kept] for key, values in weights.items()}
                again = clone(model).fit(table.iloc[kept], y[kept], **own)
                same(fits[subject], again)
                assert list(fits[subject].residual_parameters_.index) == list(
                    again.residual_parameters_.index
                )


def test_folds_without_a_visit_have_a_structure_of_the_others():
    early = ((X["visit"] < 2) | ((X["visit"] == 2) & (X["site"] < 2))).to_numpy()
    table, y = X[early].reset_index(drop=True), Y[early]
    halves = [np.flatnonzero(table["site"] < 2), np.flatnonzero(table["site"] >= 2)]
    model = MixedLinearRegressor({}, fixed="x", residual="us(visit | subject)")
    fits = cross_validate(model, table, y, cv=[halves, halves[::-1]], return_estimator=True)
    for found, train in zip(fits["estimator"], halves, strict=True):
        same(found, clone(model).fit(table.iloc[train], y[train]))
    assert [fit.fit_.structure.n_visits for fit in fits["estimator"]] == [3, 2]
