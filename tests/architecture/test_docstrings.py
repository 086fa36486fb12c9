"""Public objects have the sections that the linter asks of nothing else."""

import inspect

import pytest

import skmixed
from skmixed import datasets


def public_objects():
    things = [getattr(module, name) for module in (skmixed, datasets) for name in module.__all__]
    return [thing for thing in things if inspect.isfunction(thing) or inspect.isclass(thing)]


@pytest.mark.parametrize("thing", public_objects(), ids=lambda thing: thing.__name__)
def test_public_docstring_is_complete(thing):
    if inspect.isclass(thing) and issubclass(thing, Warning | Exception):
        pytest.skip("a warning or an error is explained by its summary")
    sections = inspect.getdoc(thing).splitlines()
    for title in ["See Also", "Examples"]:
        assert title in sections
