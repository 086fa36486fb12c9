"""Every docstring is in numpydoc's form, checked on the imported objects.

numpydoc's own hook reads the source only, where the fields of a dataclass are no parameters.
"""

import importlib
import inspect
import pkgutil
import tomllib
from pathlib import Path

import pytest
from numpydoc.validate import validate

import skmixed
from skmixed import datasets, display, distributed, inference, model_selection

SETTINGS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
IGNORED = set(SETTINGS["tool"]["numpydoc_validation"]["checks"]) - {"all"}
# A one-line docstring of an internal function needs no sections; a public one does.
SECTIONS = {"PR01", "RT01", "YD01"}


def modules():
    return [module.name for module in pkgutil.walk_packages(skmixed.__path__, "skmixed.")]


def objects_of(name):
    """Yield the names of the public classes, functions and members defined in a module."""
    module = importlib.import_module(name)
    for key, thing in vars(module).items():
        if key.startswith("_") or getattr(thing, "__module__", None) != name:
            continue
        if inspect.isfunction(thing):
            yield f"{name}.{key}"
        elif inspect.isclass(thing):
            yield f"{name}.{key}"
            for member, value in vars(thing).items():
                documented = inspect.isfunction(value) or isinstance(value, property | classmethod)
                if documented and not member.startswith("_"):
                    yield f"{name}.{key}.{member}"


def public_objects():
    things = [
        getattr(module, name)
        for module in (skmixed, datasets, display, distributed, inference, model_selection)
        for name in module.__all__
    ]
    classes = [thing for thing in things if inspect.isclass(thing)]
    return [thing for thing in things if inspect.isfunction(thing)] + classes


def faults(name):
    """Return numpydoc's errors that count for one object."""
    report = validate(name)
    is_line = "\n" not in (report["docstring"] or "").strip()
    return [
        f"{name}: {code} {text}"
        for code, text in report["errors"]
        if code not in IGNORED and not (is_line and code in SECTIONS) and not is_private(code, text)
    ]


def is_private(code, text):
    """Tell whether undocumented parameters are private fields of a dataclass."""
    names = text.partition("{")[2].partition("}")[0].replace("'", "").split(", ")
    return code == "PR01" and all(name.startswith("_") for name in names)


@pytest.mark.parametrize("module", modules())
def test_docstrings_have_the_form_of_numpydoc(module):
    found = [fault for name in objects_of(module) for fault in faults(name)]
    assert not found, "\n".join(found)
    assert importlib.import_module(module).__doc__


@pytest.mark.parametrize("thing", public_objects(), ids=lambda thing: thing.__name__)
def test_public_docstring_is_complete(thing):
    sections = inspect.getdoc(thing).splitlines()
    for title in ["See Also", "Examples"]:
        assert title in sections
    if inspect.isclass(thing):
        for name, member in vars(thing).items():
            if inspect.isfunction(member) and not name.startswith("_"):
                assert "Returns" in inspect.getdoc(member).splitlines(), name
