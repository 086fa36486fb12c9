import dataclasses
import pickle

import pytest

from skmixed.design.terms import RandomTerm


def test_name_joins_the_grouping_columns_as_lme4_does():
    assert RandomTerm(("class", "school"), True).name == "class:school"


@pytest.mark.parametrize(
    ("intercept", "slopes", "expression"),
    [
        (True, (), "1"),
        (True, ("Days",), "1 + Days"),
        (False, ("Machine",), "0 + Machine"),
        (True, ("I(x ** 2)", "poly(x, 2)", "a:b"), "1 + I(x ** 2) + poly(x, 2) + a:b"),
    ],
)
def test_expression_makes_the_intercept_explicit(intercept, slopes, expression):
    assert RandomTerm(("g",), intercept, slopes).expression == expression


def test_is_a_value():
    term = RandomTerm(("g",), True, ("x",))
    assert term == RandomTerm(("g",), True, ("x",))
    assert len({term, RandomTerm(("g",), True, ("x",))}) == 1
    assert pickle.loads(pickle.dumps(term)) == term
    with pytest.raises(dataclasses.FrozenInstanceError):
        term.intercept = False


@pytest.mark.parametrize(
    ("group", "intercept", "slopes", "message"),
    [
        ((), True, (), "at least one grouping column"),
        (("",), True, (), "at least one grouping column"),
        (("g", "g"), True, (), "'g:g' repeats a grouping column"),
        (("g",), False, (), "'g' has no columns"),
        (("g",), True, (" ",), "slope without a name"),
        (("g",), True, ("x", "x"), "'g' repeats a slope"),
    ],
)
def test_refuses_terms_that_mean_nothing(group, intercept, slopes, message):
    with pytest.raises(ValueError, match=message):
        RandomTerm(group, intercept, slopes)
