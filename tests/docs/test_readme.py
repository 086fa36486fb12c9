"""The examples of README and docs print what these say, and what they point at is there."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted(ROOT.glob("docs/*.md"))]


def has_python(page):
    return "```python" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", list(filter(has_python, PAGES)), ids=lambda page: page.stem)
def test_examples(page):
    flags = doctest.NORMALIZE_WHITESPACE
    result = doctest.testfile(str(page), module_relative=False, optionflags=flags)
    assert result.attempted >= 10
    assert result.failed == 0


def test_every_block_of_python_is_an_example_that_is_run():
    blocks = [
        block
        for page in PAGES
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ]
    assert len(blocks) >= 2
    assert all(block.lstrip().startswith(">>> ") for block in blocks)


def test_readme_has_exactly_two_setup_commands():
    blocks = README.read_text(encoding="utf-8").split("```")[1::2]
    commands = [block.strip() for block in blocks if not block.startswith("python\n")]
    assert commands == [
        'python -m pip install ".[formula]" && python examples/quickstart.py',
        'python -m pip install -e ".[test]" && python -m pytest',
    ]


def test_readme_is_short():
    assert README.read_text(encoding="utf-8").count("\n") < 130


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_to_files_of_the_project(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing
