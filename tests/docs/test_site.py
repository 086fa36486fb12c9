"""Everything public has a page of its own in the API reference, and diagrams link to these."""

import inspect
import re
import runpy
from pathlib import Path

import pytest

import skmixed
from skmixed.estimators._estimator import DOCUMENTATION

PUBLIC = [
    skmixed,
    *(
        getattr(skmixed, name)
        for name in skmixed.__all__
        if inspect.ismodule(getattr(skmixed, name))
    ),
]
API = Path(__file__).parents[2] / "docs" / "api"
LISTING = re.compile(r"currentmodule:: (\S+)\n\n\.\. autosummary::\n(?:   :.*\n)+\n((?:   \w+\n)+)")


def listed():
    """Full name of everything that the pages list."""
    return [
        f"{module}.{name}"
        for page in API.glob("*.md")
        for module, names in LISTING.findall(page.read_text(encoding="utf-8"))
        for name in names.split()
    ]


def names_of(module):
    names = getattr(module, "__all__", None) or [
        name for name, thing in vars(module).items() if inspect.isclass(thing)
    ]
    return [name for name in names if not inspect.ismodule(getattr(module, name))]


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_everything_public_is_listed(module):
    known = {entry.rpartition(".")[2] if module is not skmixed else entry for entry in listed()}
    for name in names_of(module):
        assert name in known or f"{module.__name__}.{name}" in known


def test_nothing_is_listed_twice():
    assert len(listed()) == len(set(listed()))


def test_diagrams_link_to_pages_of_the_site():
    place = DOCUMENTATION.partition("/stable/")[2]
    for name in names_of(skmixed):
        if inspect.isclass(getattr(skmixed, name)):
            page = place.format(name=name)
            assert page == f"api/skmixed.{name}.html"
            assert f"skmixed.{name}" in listed()


@pytest.mark.parametrize("room", ["guide", "api", "coming_from"])
def test_every_page_has_a_card(room):
    folder = API.parent / room
    index = (folder / "index.md").read_text(encoding="utf-8")
    pages = sorted(path.stem for path in folder.glob("*.md") if path.stem != "index")
    assert sorted(re.findall(r"^:link: (\w+)$", index, re.MULTILINE)) == pages


def test_every_example_is_in_a_section_of_the_gallery():
    listed_there = (API.parent / "gallery_pages.py").read_text(encoding="utf-8")
    for path in (API.parents[1] / "examples").glob("[0-9]*.py"):
        assert f'"{path.stem}": (' in listed_there


def test_explorers_that_the_guide_links_to_are_written(tmp_path):
    pytest.importorskip("bokeh", reason="the explorer needs Bokeh")
    guide = (API.parent / "guide" / "explorer.md").read_text(encoding="utf-8")
    program = runpy.run_path(str(API.parent / "pictures" / "explorers.py"))
    program["write"](tmp_path / "explorers")
    written = {path.name for path in (tmp_path / "explorers").iterdir()}
    assert set(re.findall(r"\.\./explorers/(\S+)", guide)) == written
