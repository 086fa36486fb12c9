"""The README's examples print what it says."""

import doctest
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_examples_of_the_readme():
    flags = doctest.NORMALIZE_WHITESPACE
    result = doctest.testfile(str(README), module_relative=False, optionflags=flags)
    assert result.attempted >= 10
    assert result.failed == 0


def test_readme_has_exactly_two_setup_commands():
    blocks = README.read_text(encoding="utf-8").split("```")[1::2]
    commands = [block.strip() for block in blocks if not block.startswith("python\n")]
    assert commands == [
        'python -m pip install ".[formula]" && python examples/quickstart.py',
        'python -m pip install -e ".[test]" && python -m pytest',
    ]
