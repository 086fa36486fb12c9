"""The pages of the site and the README: code prints what they say, links lead somewhere.

Every block of Python on a page is an example that runs here, in the order of the page.
"""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRONT = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES = [*FRONT, *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ *(`{3,}|:{3,})(\S*)[^\n]*\n(.*?)^ *\1", re.DOTALL | re.MULTILINE)
# An API page is made from docstrings, and index pages are lists of pages.
WRITTEN = [page for page in PAGES if page.parent.name != "api" and page.name != "index.md"]


def name(page):
    return str(page.relative_to(ROOT))


def blocks(page):
    """Language and text of every fenced block of a page."""
    return [(language, text) for _, language, text in BLOCK.findall(page.read_text("utf-8"))]


def has_python(page):
    return any(language == "python" for language, _ in blocks(page))


@pytest.mark.parametrize("page", list(filter(has_python, PAGES)), ids=name)
def test_examples(page):
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testfile(str(page), module_relative=False, optionflags=flags)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_of_python_is_an_example_that_is_run(page):
    for language, text in blocks(page):
        assert language not in {"py", "python3", "pycon", "{code-block}", "{doctest}"}
        if language == "python":
            assert text.lstrip().startswith(">>> ")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_to_files_of_the_project(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    made_by_the_build = ("/gallery/", "/api/skmixed.")
    missing = [
        link
        for link in links
        if not (page.parent / link).exists()
        and not any(part in f"/{link}" for part in made_by_the_build)
    ]
    assert not missing


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_pages_are_short_enough_to_read(page):
    assert page.read_text(encoding="utf-8").count("\n") <= 260


# Pages that tell where things are: paths of files and folders, and the types of a table.
MAPS = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "contributing").glob("*.md"))]
PATH = re.compile(r"`((?:\w+/)*\w+(?:\.py|/|/\w+))`|^ *((?:\w+/)*\w+(?:\.py|/)) ", re.MULTILINE)
HERE = [
    f"/{path.relative_to(ROOT)}"
    for folder in ["skmixed", "tests", "benchmarks", "docs", "examples"]
    for path in [ROOT / folder, *(ROOT / folder).rglob("*")]
    if path.suffix == ".py" or path.is_dir()
]


@pytest.mark.parametrize("page", MAPS, ids=name)
def test_what_maps_name_is_there(page):
    lines = page.read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if "to come" not in line)
    named = [(one or other).removesuffix("/") for one, other in PATH.findall(text)]
    assert named or page.name == "index.md"
    assert not [path for path in named if not any(at.endswith(f"/{path}") for at in HERE)]


def test_types_of_the_table_are_there():
    page = ROOT / "docs" / "contributing" / "how_it_works.md"
    rows = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "skmixed").rglob("*.py"))
    assert named
    assert not named - set(re.findall(r"^class (\w+)", code, re.MULTILINE))
