"""The README is short and its commands are two."""

from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_readme_has_exactly_two_setup_commands():
    blocks = README.read_text(encoding="utf-8").split("```")[1::2]
    commands = [block.strip() for block in blocks if not block.startswith("python\n")]
    assert commands == [
        "python -m pip install . && python examples/quickstart.py",
        'python -m pip install -e ".[test]" && python -m pytest',
    ]


def test_readme_is_short():
    assert README.read_text(encoding="utf-8").count("\n") < 130
