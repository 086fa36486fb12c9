"""Small linear algebra takes one thread of BLAS, and leaves as many as there were."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Thread

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import ThreadpoolController

from skmixed import lmer
from skmixed.core.linalg import triangular_solution
from skmixed.core.one_thread import one_thread
from skmixed.core.search.newton import Newton

CROSSED = "y ~ x + (1 | g) + (1 | h)"
WIDE = "y ~ s(x, k=12)"
PLAIN = "y ~ x + (1 | g)"


def elsewhere(function, *args):
    thread = Thread(target=function, args=args)
    thread.start()
    thread.join()


@pytest.fixture
def libraries():
    """Give BLAS two threads, by a Python thread that ends, so that any other may change them."""
    controller = ThreadpoolController().select(user_api="blas")
    before = [library.get_num_threads() for library in controller.lib_controllers]
    elsewhere(lambda: controller.limit(limits=2))
    yield controller.lib_controllers
    for library, n in zip(controller.lib_controllers, before, strict=True):
        elsewhere(library.set_num_threads, n)


@pytest.fixture
def seen(monkeypatch, libraries):
    """Collect the numbers of threads that searches have."""
    numbers, search = [], Newton._search

    def watched(self, *args, **kwargs):
        numbers.append({library.get_num_threads() for library in libraries})
        return search(self, *args, **kwargs)

    monkeypatch.setattr(Newton, "_search", watched)
    return numbers


@pytest.fixture
def table():
    rng = np.random.default_rng(3)
    g, h = rng.integers(0, 9, 90), rng.integers(0, 7, 90)
    x = rng.standard_normal(90)
    y = x + rng.standard_normal(9)[g] + rng.standard_normal(7)[h] + rng.standard_normal(90)
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h})


def threads(libraries):
    return {library.get_num_threads() for library in libraries}


@pytest.mark.parametrize(("formula", "n"), [(CROSSED, 1), (WIDE, 1), (PLAIN, 2)])
def test_searches_with_matrices_take_one_thread(table, libraries, seen, formula, n):
    lmer(formula, table)
    assert set(map(frozenset, seen)) == {frozenset({n})}
    assert threads(libraries) == {2}


def test_threads_are_restored_after_errors(table, libraries, monkeypatch):
    def fails(self, *args, **kwargs):
        raise ArithmeticError("lost")

    monkeypatch.setattr(Newton, "_search", fails)
    with pytest.raises(ArithmeticError, match="lost"):
        lmer(PLAIN.replace("x +", "s(x) +"), table)
    assert threads(libraries) == {2}


def test_one_within_another_changes_nothing(libraries):
    with one_thread():
        with one_thread():
            assert threads(libraries) == {1}
        assert threads(libraries) == {1}
    assert threads(libraries) == {2}


def test_the_python_thread_that_set_the_number_restores_it(libraries):
    """Others that begin meanwhile end before it, or after it."""
    is_inside, may_leave = Event(), Event()

    def first():
        with one_thread():
            is_inside.set()
            may_leave.wait(10)

    beside = Thread(target=first)
    beside.start()
    assert is_inside.wait(10)
    with one_thread():
        assert threads(libraries) == {1}
    assert threads(libraries) == {1}
    with one_thread():
        may_leave.set()
        beside.join()
    assert threads(libraries) == {2}


def test_fits_side_by_side_are_those_one_after_the_other(table, libraries):
    together = Barrier(4)

    def fitted(seed):
        rows = table.sample(80, random_state=seed)
        if seed < 4:
            together.wait(10)
        return lmer(CROSSED, rows).criterion_

    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(fitted, range(8)))
    assert threads(libraries) == {2}
    alone = [lmer(CROSSED, table.sample(80, random_state=seed)).criterion_ for seed in range(8)]
    np.testing.assert_allclose(beside, alone, rtol=1e-12)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("transposes", [True, False])
@pytest.mark.parametrize("unit", [True, False])
def test_triangular_systems_are_solved(lower, transposes, unit):
    rng = np.random.default_rng(5)
    matrix, right = rng.standard_normal((4, 4)) + 4.0 * np.eye(4), rng.standard_normal((4, 3))
    triangle = np.tril(matrix) if lower else np.triu(matrix)
    if unit:
        np.fill_diagonal(triangle, 1.0)
    found = triangular_solution(matrix, right, lower=lower, unit=unit, transposes=transposes)
    expected = np.linalg.solve(triangle.T if transposes else triangle, right)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
